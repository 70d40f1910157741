"""The linear probe: finds what is linear, chooses on validation, reports on test."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tfrs_barlow.evaluation import LabeledEmbeddings, linear_probe
from tfrs_barlow.evaluation.probe import fit_probe


def users(
    count: int, seed: int, noise: float = 0.1, scale: float = 1.0
) -> LabeledEmbeddings:
    """Three classes at three corners."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, size=count)
    embeddings = np.eye(3)[labels] + noise * rng.normal(size=(count, 3))
    return LabeledEmbeddings(scale * embeddings, labels)


def test_reads_off_what_is_linear() -> None:
    metrics = linear_probe(users(60, 0), users(60, 1), users(200, 2))
    assert metrics.accuracy == metrics.macro_f1 == 1


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_scale_does_not_matter(scale) -> None:
    parts = [users(60, seed, noise=0.5) for seed in range(3)]
    scaled = [users(60, seed, noise=0.5, scale=scale) for seed in range(3)]
    assert linear_probe(*scaled) == pytest.approx(linear_probe(*parts), rel=1e-3)


def test_chance_if_there_is_nothing_to_read() -> None:
    parts = [users(300, seed, noise=1000.0) for seed in range(3)]
    assert linear_probe(*parts).accuracy == pytest.approx(1 / 3, abs=0.1)


def test_penalty_is_chosen_by_validation_users() -> None:
    train, test = users(60, 0), users(60, 2)
    # Validation users of one class, which only a probe that hardly learns prefers.
    majority = np.bincount(train.labels).argmax()
    validation = LabeledEmbeddings(users(60, 1).embeddings, np.full(60, majority))
    metrics = linear_probe(train, validation, test, penalties=(1e-9, 1.0))
    assert metrics.penalty == 1e-9


def test_users_without_a_label_are_left_out() -> None:
    def with_unlabeled(part):
        labels = part.labels.copy()
        labels[::2] = -1
        return LabeledEmbeddings(part.embeddings, labels)

    parts = [with_unlabeled(users(120, seed)) for seed in range(3)]
    assert linear_probe(*parts).accuracy == 1


def test_a_single_class_is_predicted_for_all() -> None:
    train = LabeledEmbeddings(np.ones([3, 3]), np.array([1, 1, 1]))
    test = users(90, 2)
    metrics = linear_probe(train, users(9, 1), test)
    assert metrics.accuracy == np.mean(test.labels == 1)


def test_bad_input_is_named() -> None:
    good = users(30, 0)
    nan = LabeledEmbeddings(np.full([30, 3], np.nan), good.labels)
    with pytest.raises(ValueError, match="validation embeddings must be finite"):
        linear_probe(good, nan, good)
    unlabeled = LabeledEmbeddings(good.embeddings, np.full(30, -1))
    with pytest.raises(ValueError, match="test users must have labels"):
        linear_probe(good, good, unlabeled)


@pytest.mark.parametrize("classes", [[0, 1, 2], [0, 2]], ids=str)
def test_predicts_what_scikit_learn_predicts(classes: list[int]) -> None:
    """Among five classes, of which the training users have some."""
    parts = []
    for seed, count in enumerate([60, 60, 200]):
        part = users(count, seed, noise=0.5, scale=100.0)
        kept = np.isin(part.labels, classes)
        parts.append(LabeledEmbeddings(part.embeddings[kept], part.labels[kept]))
    train, validation, test = parts
    probe = fit_probe(train, validation, num_classes=5)
    reference = make_pipeline(
        StandardScaler(), LogisticRegression(C=probe.penalty, max_iter=300, tol=1e-3)
    ).fit(*train)
    expected = reference.predict(test.embeddings)
    np.testing.assert_array_equal(probe.predict(test.embeddings), expected)
    assert probe.kernel.shape == (3, 5)


@pytest.mark.parametrize(
    ("penalties", "error"),
    [((), ValueError), ((0.1, 0.0), ValueError), (("1",), TypeError), (1.0, TypeError)],
)
def test_penalties_are_checked(penalties: Any, error: type[Exception]) -> None:
    good = users(30, 0)
    with pytest.raises(error, match="penalties"):
        linear_probe(good, good, good, penalties=penalties)


def test_penalties_may_be_an_array() -> None:
    good = users(30, 0)
    metrics = linear_probe(good, good, good, penalties=np.logspace(-2, 0, 2))  # type: ignore[arg-type]
    assert metrics.penalty in (0.01, 1.0)


def test_labels_beyond_the_classes_are_named() -> None:
    with pytest.raises(ValueError, match="num_classes must be above all labels"):
        fit_probe(users(30, 0), users(30, 1), num_classes=2)
