"""TFRS's sequential retrieval, with Barlow Twins.

    python -m examples.tfrs_tutorials.sequential_retrieval
    python -m examples.tfrs_tutorials.sequential_retrieval --dataset=ml-1m

The model is that of
https://www.tensorflow.org/recommenders/examples/sequential_retrieval.
The lines with "+ Barlow Twins" are added to it.

Its query tower reads the last ten movies, so Barlow Twins can train it without changes.
Views are made of integers, so they are made after the lookup at the start of the tower.
Its 0 is padding and everything unknown, and no number is free for a mask, so the views
crop and drop items, but do not mask them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from examples.tfrs_tutorials import movielens as data  # isort: skip

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

import tfrs_barlow as tfrsb  # + Barlow Twins
from tfrs_barlow.data import build_sequences

EMBEDDING_DIMENSION = 32
CONTEXT_LENGTH = 10
BATCH_SIZE = 12800


class Model(tfrs.Model):
    """Predicts the next movie from the earlier ones."""

    def __init__(self, query_model: Any, candidate_model: Any, task: Any) -> None:
        super().__init__()
        self._query_model = query_model
        self._candidate_model = candidate_model
        self._task = task
        self.barlow_twins: Any = None  # + Barlow Twins

    def add_barlow_twins(self, weight: float) -> None:  # + Barlow Twins
        """Trains the tower after its lookup."""  # + Barlow Twins
        self.lookup, *tower = self._query_model.layers  # + Barlow Twins
        self.barlow_twins = tfrsb.models.BarlowTwinsPretraining(  # + Barlow Twins
            tf.keras.Sequential(tower),  # + Barlow Twins
            views=tfrsb.layers.TwoViews(  # + Barlow Twins
                [  # + Barlow Twins
                    tfrsb.layers.RandomCrop(0.8),  # + Barlow Twins
                    tfrsb.layers.RandomDrop(0.2),  # + Barlow Twins
                ]  # + Barlow Twins
            ),  # + Barlow Twins
            projector=tfrsb.layers.Projector([128, 128]),  # + Barlow Twins
        )  # + Barlow Twins
        self.barlow_weight = weight  # + Barlow Twins

    def compute_loss(self, features: Any, training: bool = False) -> tf.Tensor:
        """Returns the sum of the losses of the batch."""
        watch_history = features["context_movie_id"]
        watch_next_label = features["label_movie_id"]
        query_embedding = self._query_model(watch_history)
        candidate_embedding = self._candidate_model(watch_next_label)
        loss = self._task(
            query_embedding, candidate_embedding, compute_metrics=not training
        )
        if self.barlow_twins is not None and training:  # + Barlow Twins
            ids = self.lookup(watch_history)  # + Barlow Twins
            extra = self.barlow_twins.compute_loss(ids, True)  # + Barlow Twins
            loss += self.barlow_weight * extra  # + Barlow Twins
        return loss


def examples_of(movielens: data.Movielens) -> dict[str, Any]:
    """Returns each event behind at least two as a label, and up to ten before it."""
    sequences, vocabulary = build_sequences(movielens.log)
    names = np.array(["0", "", "", *map(str, vocabulary.tokens)], dtype=object)
    contexts, labels = [], []
    for start, end in zip(
        sequences.row_splits[:-1], sequences.row_splits[1:], strict=True
    ):
        events = sequences.item_ids[start:end]
        padded = np.pad(events, (0, CONTEXT_LENGTH))
        windows = np.lib.stride_tricks.sliding_window_view(padded, CONTEXT_LENGTH)
        for last in range(2, len(events)):
            first = max(last - CONTEXT_LENGTH, 0)
            window = windows[first].copy()
            window[last - first :] = 0
            contexts.append(window)
            labels.append(events[last])
    return {
        "context_movie_id": names[np.stack(contexts)],
        "label_movie_id": names[np.array(labels)],
    }


def train_and_evaluate(
    movielens: data.Movielens, variant: data.Variant
) -> dict[str, float]:
    """Trains the model, and returns the metrics of the test set."""
    movies = movielens.movies.map(lambda movie: movie["movie_id"])
    unique_movie_ids = np.unique(list(movies.as_numpy_iterator()))
    rows = tf.data.Dataset.from_tensor_slices(examples_of(movielens))
    count = int(rows.cardinality())
    shuffled = rows.shuffle(count, seed=42, reshuffle_each_iteration=False)
    train_ds = shuffled.take(9 * count // 10)
    test_ds = shuffled.skip(9 * count // 10)

    query_model = tf.keras.Sequential(
        [
            tf.keras.layers.StringLookup(vocabulary=unique_movie_ids, mask_token=None),
            tf.keras.layers.Embedding(len(unique_movie_ids) + 1, EMBEDDING_DIMENSION),
            tf.keras.layers.GRU(EMBEDDING_DIMENSION),
        ]
    )
    candidate_model = tf.keras.Sequential(
        [
            tf.keras.layers.StringLookup(vocabulary=unique_movie_ids, mask_token=None),
            tf.keras.layers.Embedding(len(unique_movie_ids) + 1, EMBEDDING_DIMENSION),
        ]
    )
    metrics = tfrs.metrics.FactorizedTopK(movies.batch(128).map(candidate_model))
    task = tfrs.tasks.Retrieval(metrics=metrics)

    model = Model(query_model, candidate_model, task)
    if variant.with_history:  # + Barlow Twins
        # The loss of the task is a sum over the batch.  # + Barlow Twins
        model.add_barlow_twins(variant.barlow_weight * BATCH_SIZE)  # + Barlow Twins
    model.compile(optimizer=tf.keras.optimizers.Adagrad(learning_rate=0.1))
    cached_train = train_ds.batch(BATCH_SIZE).cache()
    model.fit(cached_train, epochs=variant.epochs, verbose=0)
    return model.evaluate(test_ds.batch(2560).cache(), return_dict=True, verbose=0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Compares the tutorial with and without Barlow Twins."""
    data.compare(
        __doc__,
        train_and_evaluate,
        [f"factorized_top_k/top_{k}_categorical_accuracy" for k in (10, 100)],
        barlow_weight=1e-3,
        history_is_new=False,
        arguments=arguments,
    )


if __name__ == "__main__":
    main()
