"""The linear probe: finds what is linear, chooses on validation, reports on test."""

import numpy as np
import pytest

from tfrs_barlow.evaluation import LabeledEmbeddings, linear_probe
from tfrs_barlow.evaluation.linear_probe import probe_predictions, probe_weights


def users(count, seed, noise=0.1, scale=1.0):
    """Three classes at three corners."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, size=count)
    embeddings = np.eye(3)[labels] + noise * rng.normal(size=(count, 3))
    return LabeledEmbeddings(scale * embeddings, labels)


def test_reads_off_what_is_linear():
    figures = linear_probe(users(60, 0), users(60, 1), users(200, 2))
    assert figures.accuracy == figures.macro_f1 == 1


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_scale_does_not_matter(scale):
    parts = [users(60, seed, noise=0.5) for seed in range(3)]
    scaled = [users(60, seed, noise=0.5, scale=scale) for seed in range(3)]
    assert linear_probe(*scaled) == pytest.approx(linear_probe(*parts), rel=1e-3)


def test_chance_if_there_is_nothing_to_read():
    parts = [users(300, seed, noise=1000.0) for seed in range(3)]
    assert linear_probe(*parts).accuracy == pytest.approx(1 / 3, abs=0.1)


def test_penalty_is_chosen_by_validation_users():
    train, test = users(60, 0), users(60, 2)
    # Validation users of one class, which only a probe that hardly learns prefers.
    majority = np.bincount(train.labels).argmax()
    validation = LabeledEmbeddings(users(60, 1).embeddings, np.full(60, majority))
    figures = linear_probe(train, validation, test, penalties=(1e-9, 1.0))
    assert figures.penalty == 1e-9


def test_users_without_a_label_are_left_out():
    def with_unlabeled(part):
        labels = part.labels.copy()
        labels[::2] = -1
        return LabeledEmbeddings(part.embeddings, labels)

    parts = [with_unlabeled(users(120, seed)) for seed in range(3)]
    assert linear_probe(*parts).accuracy == 1


def test_a_single_class_is_predicted_for_all():
    train = LabeledEmbeddings(np.ones([3, 3]), np.array([1, 1, 1]))
    test = users(90, 2)
    figures = linear_probe(train, users(9, 1), test)
    assert figures.accuracy == np.mean(test.labels == 1)


def test_bad_input_is_named():
    good = users(30, 0)
    nan = LabeledEmbeddings(np.full([30, 3], np.nan), good.labels)
    with pytest.raises(ValueError, match="validation embeddings must be finite"):
        linear_probe(good, nan, good)
    unlabeled = LabeledEmbeddings(good.embeddings, np.full(30, -1))
    with pytest.raises(ValueError, match="test users must have labels"):
        linear_probe(good, good, unlabeled)


@pytest.mark.parametrize("classes", [[0, 1, 2], [0, 2], [1]], ids=str)
def test_its_weights_predict_what_it_predicts(classes):
    """Among five classes, of which the training users are of some."""
    parts = []
    for seed, count in enumerate([60, 60, 200]):
        part = users(count, seed, noise=0.5, scale=100.0)
        kept = np.isin(part.labels, classes)
        parts.append(LabeledEmbeddings(part.embeddings[kept], part.labels[kept]))
    train, validation, test = parts
    weights = probe_weights(train, validation, num_classes=5)
    standardized = (test.embeddings - weights.mean) / weights.scale
    logits = standardized @ weights.kernel + weights.bias
    assert logits.shape == (len(test.labels), 5)
    predicted = probe_predictions(train, validation, test).test
    np.testing.assert_array_equal(logits.argmax(axis=1), predicted)
