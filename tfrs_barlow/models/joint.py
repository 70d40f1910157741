"""Trains a dual encoder and Barlow Twins on its query tower at the same time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from tfrs_barlow import _checks
from tfrs_barlow._replicas import sum_over_replicas
from tfrs_barlow.models.base import Model
from tfrs_barlow.models.dual_encoder import DualEncoder
from tfrs_barlow.models.pretraining import BarlowTwinsPretraining

Weight = float | Callable[[tf.Tensor], tf.Tensor]


class JointModel(Model):
    """Retrieval and Barlow Twins on one query tower.

    The loss is that of the dual encoder, a sum over the batch, plus `barlow_weight`
    times the number of rows times the Barlow Twins loss. The weight thus compares the
    mean retrieval loss of a row with one Barlow Twins loss, and the same weight fits
    any batch size. With a weight of 0 the towers train as the dual encoder alone would.

    Barlow Twins embeds two views where retrieval embeds one history. If passes of the
    encoder are what counts, let it see only a `barlow_share` of the batch (see
    docs/study.md).

    Barlow Twins can read other histories than the labeled ones: put them in another
    column of the batch, and name it as the `history_column` of `barlow_twins`. This
    trains on few labels and many sequences together.

    Args:
        dual_encoder: The retrieval model.
        barlow_twins: The pretraining model of its query tower.
        barlow_weight: The weight of the Barlow Twins loss: a number of at least 0, or a
            function of the step, such as a
            `tf.keras.optimizers.schedules.LearningRateSchedule`.
        barlow_share: The share of the rows of a batch that Barlow Twins sees: the first
            rows, at least two.
        name: The name of the model.

    Raises:
        TypeError: If an argument has a wrong type.
        ValueError: If the models do not share the query tower, `barlow_weight` is
            negative, or `barlow_share` is not above 0 and at most 1.

    Examples:
        >>> encoder = tfrsb.layers.ItemPoolingEncoder(vocabulary_size=10, output_dim=4)
        >>> model = tfrsb.models.JointModel(
        ...     tfrsb.models.DualEncoder(encoder, tf.keras.layers.Embedding(10, 4)),
        ...     tfrsb.models.BarlowTwinsPretraining(encoder, history_column="others"),
        ...     barlow_weight=0.01,
        ... )
        >>> model.compile(tf.keras.optimizers.Adam())
        >>> features = {
        ...     "history": tf.constant([[3, 4, 5], [7, 8, 0]]),
        ...     "label": tf.constant([6, 9]),
        ...     "others": tf.constant([[9, 8, 7, 6], [3, 5, 0, 0], [4, 5, 6, 7]]),
        ... }
        >>> losses = model.fit(tf.data.Dataset.from_tensors(features), verbose=0)
        >>> model(features).shape
        TensorShape([2, 4])
    """

    def __init__(
        self,
        dual_encoder: DualEncoder,
        barlow_twins: BarlowTwinsPretraining,
        *,
        barlow_weight: Weight = 0.01,
        barlow_share: float = 1.0,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        _checks.instance("dual_encoder", dual_encoder, DualEncoder)
        _checks.instance("barlow_twins", barlow_twins, BarlowTwinsPretraining)
        if not callable(barlow_weight):
            barlow_weight = _checks.number("barlow_weight", barlow_weight, at_least=0)
        self.barlow_share = _checks.number(
            "barlow_share", barlow_share, above=0, at_most=1
        )
        if dual_encoder.query_tower is not barlow_twins.query_tower:
            raise ValueError(
                "barlow_twins must pretrain the query tower of dual_encoder, but its "
                f"query_tower is another layer, {barlow_twins.query_tower.name!r}."
            )
        self.dual_encoder = dual_encoder
        self.barlow_twins = barlow_twins
        self.barlow_weight = barlow_weight
        # In checkpoints all models have the towers under the same names.
        self.query_tower = dual_encoder.query_tower
        self.candidate_tower = dual_encoder.candidate_tower

    @property
    def _progress_metrics(self) -> Mapping[str, str]:
        barlow_twins = self.barlow_twins._progress_metrics
        return {
            "loss": "loss",
            "retrieval_loss": "retrieval/loss",
            "excess": barlow_twins["excess"],
            "effective_rank": barlow_twins["effective_rank"],
        }

    def call(self, features: Any, training: bool | None = None) -> tf.Tensor:
        """Returns the query embeddings of the histories, `[batch, dim]`."""
        return self.dual_encoder(features, training=training)

    def embed_views(
        self, features: Any, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Embeds two views, as `BarlowTwinsPretraining.embed_views` does."""
        return self.barlow_twins.embed_views(features, seed)

    def compute_loss(self, features: Any, training: bool = False) -> tf.Tensor:
        """Returns the weighted sum of both losses; see `tfrs.Model.compute_loss`."""
        retrieval = self.dual_encoder.compute_loss(features, training=training)
        barlow_twins = self.barlow_twins.compute_loss(
            self._share_of(features), training=training
        )
        labels = features[self.dual_encoder.label_column]
        rows = sum_over_replicas(tf.cast(tf.size(labels), barlow_twins.dtype))
        return retrieval + self._weight(barlow_twins.dtype) * rows * barlow_twins

    def candidate_embeddings(self, vocabulary_size: int) -> tf.Tensor:
        """Returns the embeddings of all item ids, `[vocabulary_size, dim]`."""
        return self.dual_encoder.candidate_embeddings(vocabulary_size)

    def _share_of(self, features: Mapping[str, Any]) -> Mapping[str, Any]:
        """Returns the columns that Barlow Twins reads, and its share of their rows."""
        if self.barlow_share == 1:
            return features
        names = (self.barlow_twins.history_column, self.barlow_twins.partner_column)
        read = {name: features[name] for name in names if name is not None}
        return tf.nest.map_structure(self._first_rows, read)

    def _first_rows(self, column: tf.Tensor | tf.RaggedTensor) -> Any:
        rows = column.shape[0]
        if rows is not None:
            return column[: max(2, math.ceil(self.barlow_share * rows))]
        rows = tf.shape(column, tf.int64)[0]
        share = tf.math.ceil(self.barlow_share * tf.cast(rows, tf.float64))
        return column[: tf.maximum(tf.cast(share, tf.int64), 2)]

    def _weight(self, dtype: tf.DType) -> tf.Tensor:
        weight = self.barlow_weight
        if callable(weight):
            weight = weight(self.optimizer.iterations)
        return tf.cast(weight, dtype)
