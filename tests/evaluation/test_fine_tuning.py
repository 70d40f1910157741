"""Training on labels: what is kept, and what is left as it was."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import tfrs_barlow as tfrsb
from tfrs_barlow.data import UserSequences
from tfrs_barlow.evaluation.downstream_tasks import DownstreamTask, downstream_task
from tfrs_barlow.evaluation.embedding import embed_users
from tfrs_barlow.evaluation.fine_tuning import (
    FineTuningSettings,
    fine_tune_classifier,
    fit_and_keep_best,
    predict_classes,
    probe_next_item,
)
from tfrs_barlow.evaluation.probe import LabeledEmbeddings, fit_probe

SETTINGS = FineTuningSettings(
    steps=60, steps_per_evaluation=20, batch_size=16, learning_rate=0.05, length=8
)


def users(count: int, seed: int) -> DownstreamTask:
    """Users of two kinds: of the items 3 to 7, or of 8 to 12."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, 2, count)
    items = 3 + 5 * kinds[:, np.newaxis] + rng.integers(0, 5, [count, 6])
    return DownstreamTask(UserSequences.from_lists(dict(enumerate(items))), kinds)


def encoder() -> tf.keras.layers.Layer:
    tf.keras.utils.set_random_seed(0)
    return tfrsb.layers.ItemPoolingEncoder(
        13, embedding_dim=4, output_dim=4, pooling="mean"
    )


@pytest.mark.parametrize(
    ("values", "patience", "kept"),
    [
        # The first value is of the model as it was.
        ([0.0, 0.1, 0.3, 0.2, 0.2], 8, 2),
        ([0.4, 0.1, 0.3, 0.2, 0.2], 8, 0),
        # The first of equals.
        ([0.0, 0.3, 0.3, 0.2, 0.2], 8, 1),
        # Two evaluations without a new best end it: the last is not seen.
        ([0.0, 0.3, 0.1, 0.2, 0.9], 2, 1),
    ],
)
def test_the_best_weights_are_kept(values, patience, kept) -> None:
    """A model whose only weight counts its steps."""
    model = tf.keras.Sequential([tf.keras.layers.Dense(1, use_bias=False)])
    model.build([None, 1])
    model.set_weights([np.zeros([1, 1])])
    # The gradient of the mean output is 1: a step adds 1 to the weight.
    model.compile(tf.keras.optimizers.SGD(1.0), lambda _, output: -output)
    batches = tf.data.Dataset.from_tensors((tf.ones([1, 1]), tf.ones([1, 1])))
    remaining = iter(values)
    curve = fit_and_keep_best(
        model,
        batches.repeat(),
        lambda: next(remaining),
        FineTuningSettings(steps=4, steps_per_evaluation=1, patience=patience),
    )
    assert curve == values[: len(curve)]
    assert len(curve) == (4 if patience == 2 else 5)
    assert model.get_weights()[0].item() == kept


def test_a_classifier_learns_what_can_be_predicted() -> None:
    train, validation, test = (
        users(count, seed) for seed, count in enumerate([64] * 3)
    )
    model, curve = fine_tune_classifier(
        encoder(), train, validation, num_classes=2, settings=SETTINGS
    )
    predicted = predict_classes(model, test, length=8)
    assert np.mean(predicted == test.labels) > 0.9
    accuracy = np.mean(
        predict_classes(model, validation, length=8) == validation.labels
    )
    assert max(curve) == pytest.approx(accuracy)


def test_a_classifier_starts_from_a_linear_probe() -> None:
    train, validation = users(40, 0), users(40, 1)
    embedded = [
        LabeledEmbeddings(embed_users(encoder(), task.histories, length=8), task.labels)
        for task in (train, validation)
    ]
    probed = fit_probe(*embedded).predict(embedded[1].embeddings)
    _, curve = fine_tune_classifier(
        encoder(), train, validation, num_classes=3, settings=SETTINGS
    )
    assert curve[0] == pytest.approx(np.mean(probed == validation.labels))


def test_no_labeled_user_is_refused() -> None:
    task = users(4, 0)
    none = task.select(np.array([], np.int64))
    with pytest.raises(ValueError, match="validation must have a user with a label"):
        fine_tune_classifier(encoder(), task, none, num_classes=2, settings=SETTINGS)


def test_a_probe_leaves_the_encoder_as_it_was() -> None:
    histories = users(64, 0).histories
    frozen = encoder()
    frozen.build([None, 8])
    before = frozen.get_weights()
    model, curve = probe_next_item(
        frozen,
        histories,
        downstream_task("next_item", users(32, 1).histories),
        vocabulary_size=13,
        settings=SETTINGS,
    )
    assert frozen.trainable
    for old, new in zip(before, frozen.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    # It predicts the kind of a user: the items of the other kind score less.
    logits = model(tf.constant([[3, 4, 5, 6, 7, 3, 4, 5]])).numpy()[0]
    assert logits[3:8].mean() > logits[8:].mean() + 0.3
    assert len(curve) == 4
