"""TFRS's multi-task recommender, with Barlow Twins.

    python -m examples.tfrs_tutorials.multitask
    python -m examples.tfrs_tutorials.multitask --dataset=ml-latest-small

The model is that of https://www.tensorflow.org/recommenders/examples/multitask.
The lines with "+ Barlow Twins" are added to it.

One model predicts ratings and watches, both with a weight of 1. As in
`basic_retrieval`, the history joins the user id, so that Barlow Twins has a sequence to
learn from. On ml-latest-small it helps retrieval, but makes the ratings worse in the
first epochs: their loss is a mean over the batch, while that of the watches is a sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from examples.tfrs_tutorials import movielens as data  # isort: skip

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

import tfrs_barlow as tfrsb  # + Barlow Twins

EMBEDDING_DIMENSION = 32
BATCH_SIZE = 8192


class MovielensModel(tfrs.models.Model):
    """Embeddings of users and movies, shared by retrieval and the rating model."""

    def __init__(
        self,
        user_model: Any,
        movie_model: Any,
        movies: tf.data.Dataset,
        rating_weight: float,
        retrieval_weight: float,
    ) -> None:
        super().__init__()
        self.movie_model = movie_model
        self.user_model = user_model
        self.rating_model = tf.keras.Sequential(
            [
                tf.keras.layers.Dense(256, activation="relu"),
                tf.keras.layers.Dense(128, activation="relu"),
                tf.keras.layers.Dense(1),
            ]
        )
        self.rating_task = tfrs.tasks.Ranking(
            loss=tf.keras.losses.MeanSquaredError(),
            metrics=[tf.keras.metrics.RootMeanSquaredError()],
        )
        self.retrieval_task = tfrs.tasks.Retrieval(
            metrics=tfrs.metrics.FactorizedTopK(movies.batch(128).map(movie_model))
        )
        self.rating_weight = rating_weight
        self.retrieval_weight = retrieval_weight
        self.history_model = None  # + Barlow Twins

    def add_history(self, history_model: Any, weight: float) -> None:  # + Barlow Twins
        """Adds a tower, and Barlow Twins to train it."""  # + Barlow Twins
        self.history_model = history_model  # + Barlow Twins
        self.barlow_twins = tfrsb.models.BarlowTwinsPretraining(  # + Barlow Twins
            history_model,  # + Barlow Twins
            projector=tfrsb.layers.Projector([128, 128]),  # + Barlow Twins
        )  # + Barlow Twins
        self.barlow_weight = weight  # + Barlow Twins

    def call(self, features: Any) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns the embeddings of users and movies, and the predicted ratings."""
        user_embeddings = self.user_model(features["user_id"])
        if self.history_model is not None:  # + Barlow Twins
            user_embeddings += self.history_model(features["history"])  # + Barlow Twins
        movie_embeddings = self.movie_model(features["movie_title"])
        both = tf.concat([user_embeddings, movie_embeddings], axis=1)
        return user_embeddings, movie_embeddings, self.rating_model(both)

    def compute_loss(self, features: Any, training: bool = False) -> tf.Tensor:
        """Returns the weighted sum of both losses."""
        user_embeddings, movie_embeddings, rating_predictions = self(features)
        rating_loss = self.rating_task(
            labels=features["user_rating"], predictions=rating_predictions
        )
        retrieval_loss = self.retrieval_task(
            user_embeddings, movie_embeddings, compute_metrics=not training
        )
        loss = self.rating_weight * rating_loss + self.retrieval_weight * retrieval_loss
        if self.history_model is not None and training:  # + Barlow Twins
            extra = self.barlow_twins.compute_loss(features, True)  # + Barlow Twins
            loss += self.barlow_weight * extra  # + Barlow Twins
        return loss


def train_and_evaluate(
    movielens: data.Movielens, variant: data.Variant
) -> dict[str, float]:
    """Trains the model, and returns the metrics of the test set."""
    movies = movielens.movies.map(lambda movie: movie["movie_title"])
    train, test, vocabulary = data.split(
        movielens.ratings, ["movie_title", "user_id", "user_rating"]
    )
    unique_movie_titles = np.unique(list(movies.as_numpy_iterator()))
    user_ids = movielens.ratings.map(lambda rating: rating["user_id"])
    unique_user_ids = np.unique(list(user_ids.as_numpy_iterator()))

    user_model = tf.keras.Sequential(
        [
            tf.keras.layers.StringLookup(vocabulary=unique_user_ids, mask_token=None),
            tf.keras.layers.Embedding(len(unique_user_ids) + 1, EMBEDDING_DIMENSION),
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

    model = MovielensModel(
        user_model, movie_model, movies, rating_weight=1.0, retrieval_weight=1.0
    )
    if variant.with_history:  # + Barlow Twins
        history_model = tfrsb.layers.ItemPoolingEncoder(  # + Barlow Twins
            vocabulary.size,  # + Barlow Twins
            embedding_dim=EMBEDDING_DIMENSION,  # + Barlow Twins
            output_dim=EMBEDDING_DIMENSION,  # + Barlow Twins
            pooling="mean",  # + Barlow Twins
        )  # + Barlow Twins
        # The loss of retrieval is a sum over the batch.  # + Barlow Twins
        weight = variant.barlow_weight * BATCH_SIZE  # + Barlow Twins
        model.add_history(history_model, weight)  # + Barlow Twins
    model.compile(optimizer=tf.keras.optimizers.Adagrad(learning_rate=0.1))
    cached_train = train.shuffle(100_000, seed=42).batch(BATCH_SIZE).cache()
    model.fit(cached_train, epochs=variant.epochs, verbose=0)
    return model.evaluate(test.batch(4096).cache(), return_dict=True, verbose=0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Compares the tutorial with and without Barlow Twins."""
    data.compare(
        __doc__,
        train_and_evaluate,
        [
            "factorized_top_k/top_100_categorical_accuracy",
            "root_mean_squared_error",
        ],
        barlow_weight=1e-3,
        arguments=arguments,
    )


if __name__ == "__main__":
    main()
