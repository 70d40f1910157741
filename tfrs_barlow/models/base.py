"""What our models share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrs_barlow import _checks
from tfrs_barlow._replicas import num_replicas
from tfrs_barlow.models.progress_line import ProgbarLogger


class Model(tfrs.Model):
    """A `tfrs.Model` with a short progress line, and right under `tf.distribute`.

    Every replica adds the whole regularization to a gradient that is then summed over
    replicas, so a `tfrs.Model` regularizes N times as hard on N replicas. Here each
    replica adds its share, as `BarlowTwinsTask` does with its loss.
    """

    @property
    def _progress_metrics(self) -> Mapping[str, str]:
        """What the progress line of `fit` shows: short names, and those in the logs."""
        return {"loss": "loss"}

    @property
    def losses(self) -> list[tf.Tensor]:
        """The regularization losses of all layers: this replica's share of them."""
        return [loss / num_replicas() for loss in super().losses]

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> tf.keras.callbacks.History:
        """Trains as `tf.keras.Model.fit` does, with at most four metrics in a line.

        The history and all callbacks get all metrics. To see all of them in the
        terminal too, pass your own `tf.keras.callbacks.ProgbarLogger("steps")`.
        """
        if verbose and not isinstance(callbacks, tf.keras.callbacks.CallbackList):
            callbacks = tf.nest.flatten(callbacks or [])
            if not any(
                isinstance(one, tf.keras.callbacks.ProgbarLogger) for one in callbacks
            ):
                callbacks.append(ProgbarLogger(self._progress_metrics))
        return super().fit(
            x, y, batch_size, epochs, verbose, callbacks, *args, **kwargs
        )


class TwoTowers(Model):
    """A query tower that embeds histories, and a candidate tower that embeds items.

    A subclass defines in `compute_loss` how they are trained.
    """

    def __init__(
        self,
        query_tower: tf.keras.layers.Layer,
        candidate_tower: tf.keras.layers.Layer,
        *,
        history_column: str,
        label_column: str,
        name: str | None,
    ) -> None:
        super().__init__(name=name)
        layer = tf.keras.layers.Layer
        self.query_tower = _checks.instance("query_tower", query_tower, layer)
        self.candidate_tower = _checks.instance(
            "candidate_tower", candidate_tower, layer
        )
        self.history_column = _checks.text("history_column", history_column)
        self.label_column = _checks.text("label_column", label_column)

    def call(self, features: Any, training: bool | None = None) -> tf.Tensor:
        """Returns the query embeddings of the histories, `[batch, dim]`.

        Args:
            features: The histories, or a dict with them under `history_column`.
            training: Whether dropout applies.
        """
        histories = column(features, self.history_column)
        return self.query_tower(histories, training=training)

    def candidate_embeddings(self, vocabulary_size: int) -> tf.Tensor:
        """Returns the embeddings of all item ids, `[vocabulary_size, dim]`."""
        return self.candidate_tower(tf.range(vocabulary_size))


def column(features: Any, name: str) -> Any:
    """Returns a column of a dict of features, or the features if they are no dict."""
    return features[name] if isinstance(features, Mapping) else features
