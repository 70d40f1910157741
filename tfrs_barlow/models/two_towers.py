"""What models of a query and a candidate tower share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfrs_barlow.models.base import Model


class TwoTowers(Model):
    """A query tower that embeds histories, and a candidate tower that embeds items.

    A subclass says in `compute_loss` how they are trained.
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
        """Initializes the model.

        Args:
            query_tower: From histories `[batch, length]` to `[batch, dim]`.
            candidate_tower: From item ids `[batch]` to `[batch, dim]`.
            history_column: Which feature holds the histories.
            label_column: Which feature holds the items that follow them.
            name: The name of the model.
        """
        super().__init__(name=name)
        self.query_tower = query_tower
        self.candidate_tower = candidate_tower
        self.history_column = history_column
        self.label_column = label_column

    def call(self, features: Any, training: bool | None = None) -> tf.Tensor:
        """Returns the query embeddings of the histories, `[batch, dim]`.

        Args:
            features: A dict with the histories under `history_column`, or they alone.
            training: Whether to apply dropout.
        """
        if isinstance(features, Mapping):
            features = features[self.history_column]
        return self.query_tower(features, training=training)

    def candidate_embeddings(self, vocabulary_size: int) -> tf.Tensor:
        """Returns the embeddings of all item ids, `[vocabulary_size, dim]`."""
        return self.candidate_tower(tf.range(vocabulary_size))
