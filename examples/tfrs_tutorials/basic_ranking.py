"""TFRS's "Recommending movies: ranking", with Barlow Twins.

    python -m examples.tfrs_tutorials.basic_ranking
    python -m examples.tfrs_tutorials.basic_ranking --dataset=ml-latest-small

The model is that of https://www.tensorflow.org/recommenders/examples/basic_ranking.
The lines with "+ Barlow Twins" are added to it.

The task is to predict ratings. Its loss is a mean over the batch. As in
`basic_retrieval`, the history joins the user id, so that Barlow Twins has a sequence to
learn from.
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


class RankingModel(tf.keras.Model):
    """Predicts the rating from the embeddings of user and movie."""

    def __init__(self, user_embeddings: Any, movie_embeddings: Any) -> None:
        super().__init__()
        self.user_embeddings = user_embeddings
        self.movie_embeddings = movie_embeddings
        self.ratings = tf.keras.Sequential(
            [
                tf.keras.layers.Dense(256, activation="relu"),
                tf.keras.layers.Dense(64, activation="relu"),
                tf.keras.layers.Dense(1),
            ]
        )
        self.history_model = None  # + Barlow Twins

    def call(self, features: Any) -> tf.Tensor:
        """Returns the predicted ratings."""
        user_embedding = self.user_embeddings(features["user_id"])
        if self.history_model is not None:  # + Barlow Twins
            user_embedding += self.history_model(features["history"])  # + Barlow Twins
        movie_embedding = self.movie_embeddings(features["movie_title"])
        return self.ratings(tf.concat([user_embedding, movie_embedding], axis=1))


class MovielensModel(tfrs.models.Model):
    """Trains the ranking model."""

    def __init__(self, ranking_model: RankingModel) -> None:
        super().__init__()
        self.ranking_model = ranking_model
        self.task = tfrs.tasks.Ranking(
            loss=tf.keras.losses.MeanSquaredError(),
            metrics=[tf.keras.metrics.RootMeanSquaredError()],
        )
        self.barlow_twins: Any = None  # + Barlow Twins

    def add_history(self, history_model: Any, weight: float) -> None:  # + Barlow Twins
        """Adds a tower, and Barlow Twins to train it."""  # + Barlow Twins
        self.ranking_model.history_model = history_model  # + Barlow Twins
        self.barlow_twins = tfrsb.models.BarlowTwinsPretraining(  # + Barlow Twins
            history_model,  # + Barlow Twins
            projector=tfrsb.layers.Projector([128, 128]),  # + Barlow Twins
        )  # + Barlow Twins
        self.barlow_weight = weight  # + Barlow Twins

    def call(self, features: Any) -> tf.Tensor:
        """Returns the predicted ratings."""
        return self.ranking_model(features)

    def compute_loss(self, features: Any, training: bool = False) -> tf.Tensor:
        """Returns the mean squared error."""
        loss = self.task(labels=features["user_rating"], predictions=self(features))
        if self.barlow_twins is not None and training:  # + Barlow Twins
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

    model = MovielensModel(RankingModel(user_model, movie_model))
    if variant.with_history:  # + Barlow Twins
        history_model = tfrsb.layers.ItemPoolingEncoder(  # + Barlow Twins
            vocabulary.size,  # + Barlow Twins
            embedding_dim=EMBEDDING_DIMENSION,  # + Barlow Twins
            output_dim=EMBEDDING_DIMENSION,  # + Barlow Twins
            pooling="mean",  # + Barlow Twins
        )  # + Barlow Twins
        model.add_history(history_model, variant.barlow_weight)  # + Barlow Twins
    model.compile(optimizer=tf.keras.optimizers.Adagrad(learning_rate=0.1))
    cached_train = train.shuffle(100_000, seed=42).batch(BATCH_SIZE).cache()
    model.fit(cached_train, epochs=variant.epochs, verbose=0)
    return model.evaluate(test.batch(4096).cache(), return_dict=True, verbose=0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Compares the tutorial with and without Barlow Twins."""
    data.compare(
        __doc__,
        train_and_evaluate,
        ["root_mean_squared_error"],
        barlow_weight=1e-3,
        arguments=arguments,
    )


if __name__ == "__main__":
    main()
