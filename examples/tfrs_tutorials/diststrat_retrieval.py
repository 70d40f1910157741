"""TFRS's retrieval with a distribution strategy, with Barlow Twins.

    python -m examples.tfrs_tutorials.diststrat_retrieval
    python -m examples.tfrs_tutorials.diststrat_retrieval --dataset=ml-latest-small

The model is that of https://www.tensorflow.org/recommenders/examples/diststrat_retrieval.
The lines with "+ Barlow Twins" are added to it.

It runs on two logical devices. `Retrieval` takes its negatives from the rows of one
replica; the loss of Barlow Twins is that of the global batch, for any number of
replicas. As in `basic_retrieval`, the history joins the user id, so that Barlow Twins
has a sequence to learn from.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from examples.tfrs_tutorials import movielens as data  # isort: skip

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

import tfrs_barlow as tfrsb  # + Barlow Twins

EMBEDDING_DIMENSION = 32
BATCH_SIZE = 8192


class MovielensModel(tfrs.Model):
    """Matrix factorization: an embedding per user and one per movie."""

    def __init__(self, user_model: Any, movie_model: Any, task: Any) -> None:
        super().__init__()
        self.movie_model = movie_model
        self.user_model = user_model
        self.task = task
        self.history_model = None  # + Barlow Twins

    def add_history(self, history_model: Any, weight: float) -> None:  # + Barlow Twins
        """Adds a tower, and Barlow Twins to train it."""  # + Barlow Twins
        self.history_model = history_model  # + Barlow Twins
        self.barlow_twins = tfrsb.models.BarlowTwinsPretraining(  # + Barlow Twins
            history_model,  # + Barlow Twins
            projector=tfrsb.layers.Projector([128, 128]),  # + Barlow Twins
        )  # + Barlow Twins
        self.barlow_weight = weight  # + Barlow Twins

    def compute_loss(self, features: Any, training: bool = False) -> tf.Tensor:
        """Returns the sum of the losses of the batch."""
        user_embeddings = self.user_model(features["user_id"])
        if self.history_model is not None:  # + Barlow Twins
            user_embeddings += self.history_model(features["history"])  # + Barlow Twins
        movie_embeddings = self.movie_model(features["movie_title"])
        loss = self.task(
            user_embeddings, movie_embeddings, compute_metrics=not training
        )
        if self.history_model is not None and training:  # + Barlow Twins
            extra = self.barlow_twins.compute_loss(features, True)  # + Barlow Twins
            loss += self.barlow_weight * extra  # + Barlow Twins
        return loss


@functools.cache
def make_strategy() -> tf.distribute.Strategy:
    """Returns a strategy for two logical devices, GPUs where there are any."""
    gpus = tf.config.list_physical_devices("GPU")
    kind = "GPU" if gpus else "CPU"
    device = tf.config.list_physical_devices(kind)[0]
    memory_limit = 1024 if gpus else None
    halves = [tf.config.LogicalDeviceConfiguration(memory_limit=memory_limit)] * 2
    tf.config.set_logical_device_configuration(device, halves)
    return tf.distribute.MirroredStrategy([f"{kind}:0", f"{kind}:1"])


def train_and_evaluate(
    movielens: data.Movielens, variant: data.Variant
) -> dict[str, float]:
    """Trains the model, and returns the metrics of the test set."""
    strategy = make_strategy()
    movies = movielens.movies.map(lambda movie: movie["movie_title"])
    train, test, vocabulary = data.split(movielens.ratings, ["movie_title", "user_id"])
    unique_movie_titles = np.unique(list(movies.as_numpy_iterator()))
    user_ids = movielens.ratings.map(lambda rating: rating["user_id"])
    unique_user_ids = np.unique(list(user_ids.as_numpy_iterator()))

    with strategy.scope():
        user_model = tf.keras.Sequential(
            [
                tf.keras.layers.StringLookup(
                    vocabulary=unique_user_ids, mask_token=None
                ),
                tf.keras.layers.Embedding(
                    len(unique_user_ids) + 1, EMBEDDING_DIMENSION
                ),
            ]
        )
        movie_model = tf.keras.Sequential(
            [
                tf.keras.layers.StringLookup(
                    vocabulary=unique_movie_titles, mask_token=None
                ),
                tf.keras.layers.Embedding(
                    len(unique_movie_titles) + 1, EMBEDDING_DIMENSION
                ),
            ]
        )
        metrics = tfrs.metrics.FactorizedTopK(movies.batch(128).map(movie_model))
        task = tfrs.tasks.Retrieval(metrics=metrics)

        model = MovielensModel(user_model, movie_model, task)
        if variant.with_history:  # + Barlow Twins
            history_model = tfrsb.layers.ItemPoolingEncoder(  # + Barlow Twins
                vocabulary.size,  # + Barlow Twins
                embedding_dim=EMBEDDING_DIMENSION,  # + Barlow Twins
                output_dim=EMBEDDING_DIMENSION,  # + Barlow Twins
                pooling="mean",  # + Barlow Twins
            )  # + Barlow Twins
            # The loss of the task is a sum over the batch.  # + Barlow Twins
            weight = variant.barlow_weight * BATCH_SIZE  # + Barlow Twins
            model.add_history(history_model, weight)  # + Barlow Twins
        model.compile(optimizer=tf.keras.optimizers.Adam(learning_rate=0.1))
    cached_train = train.shuffle(100_000, seed=42).batch(BATCH_SIZE).cache()
    model.fit(cached_train, epochs=variant.epochs, verbose=0)
    return model.evaluate(test.batch(4096).cache(), return_dict=True, verbose=0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Compares the tutorial with and without Barlow Twins."""
    make_strategy()  # Devices are to be set up before TensorFlow uses them.
    data.compare(
        __doc__,
        train_and_evaluate,
        [f"factorized_top_k/top_{k}_categorical_accuracy" for k in (10, 100)],
        barlow_weight=1e-3,
        arguments=arguments,
    )


if __name__ == "__main__":
    main()
