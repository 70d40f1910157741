"""The supervised reference: a causal encoder that predicts every next item."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfrs_barlow import _checks
from tfrs_barlow._replicas import sum_over_replicas
from tfrs_barlow.ids import FIRST_ITEM_ID, PADDING_ID
from tfrs_barlow.models.base import TwoTowers


class NextItemModel(TwoTowers):
    """A causal query tower, trained by a softmax over items at every position.

    With a causal `TransformerEncoder` this is SASRec with full cross-entropy, one of
    the strongest known sequence recommenders; with a `GRUEncoder` it is GRU4Rec. The
    model predicts each item of a history from the earlier ones, and the label from the
    whole history. One sequence gives as many examples as it has items, where
    `DualEncoder` gets one.

    Scores are dot products, so the trained towers are served like those of a dual
    encoder.

    Args:
        query_tower: A causal encoder: it has `embed_prefixes`.
        candidate_tower: From item ids `[items]` to `[items, dim]`.
        vocabulary_size: The number of ids, reserved ids included.
        num_sampled: How many items, drawn uniformly for each batch, replace all items
            in the softmax: with millions of items, all would be too many to embed at
            every step. None for all items.
        seed: Fixes the items drawn at each step.
        history_column: The feature that holds the histories.
        label_column: The feature that holds the next items.
        name: The name of the model.

    Raises:
        TypeError: If an argument has a wrong type, or `query_tower` has no
            `embed_prefixes`.
        ValueError: If `vocabulary_size` leaves no item, or `num_sampled` is below 1.

    Examples:
        >>> encoder = tfrsb.layers.TransformerEncoder(
        ...     vocabulary_size=10, output_dim=4, causal=True
        ... )
        >>> model = tfrsb.models.NextItemModel(
        ...     encoder, tf.keras.layers.Embedding(10, 4), vocabulary_size=10
        ... )
        >>> model.compile(tf.keras.optimizers.Adam())
        >>> features = {
        ...     "history": tf.constant([[3, 4, 5], [7, 8, 0]]),
        ...     "label": tf.constant([6, 9]),
        ... }
        >>> losses = model.fit(tf.data.Dataset.from_tensors(features), verbose=0)
        >>> model(features).shape
        TensorShape([2, 4])

    References:
        Kang and McAuley (2018), "Self-Attentive Sequential Recommendation",
        https://arxiv.org/abs/1808.09781.
        Klenitskiy and Vasilev (2023), "Turning Dross Into Gold Loss: is BERT4Rec really
        better than SASRec?", https://arxiv.org/abs/2309.07602 (full cross-entropy).
    """

    def __init__(
        self,
        query_tower: tf.keras.layers.Layer,
        candidate_tower: tf.keras.layers.Layer,
        *,
        vocabulary_size: int,
        num_sampled: int | None = None,
        seed: int = 0,
        history_column: str = "history",
        label_column: str = "label",
        name: str | None = None,
    ) -> None:
        super().__init__(
            query_tower,
            candidate_tower,
            history_column=history_column,
            label_column=label_column,
            name=name,
        )
        if not hasattr(query_tower, "embed_prefixes"):
            raise TypeError(
                "query_tower must be a causal encoder with embed_prefixes, but it is "
                f"{query_tower!r}."
            )
        self.vocabulary_size = _checks.integer(
            "vocabulary_size", vocabulary_size, at_least=FIRST_ITEM_ID + 1
        )
        if num_sampled is not None:
            num_sampled = _checks.integer("num_sampled", num_sampled, at_least=1)
        self.num_sampled = num_sampled
        self.seed = _checks.integer("seed", seed)
        self.mean_loss = tf.keras.metrics.Mean(name="next_item/loss")

    @property
    def _progress_metrics(self) -> Mapping[str, str]:
        return {"loss": "loss", "mean_loss": "next_item/loss"}

    def compute_loss(
        self, features: Mapping[str, Any], training: bool = False
    ) -> tf.Tensor:
        """Returns the mean cross-entropy of all positions whose next item is known."""
        queries, labels = self._positions(features, training)
        count = tf.shape(labels)[0]
        if self.num_sampled is None:
            losses = self._losses_among_all(queries, labels)
        else:
            losses = self._losses_among_some(queries, labels)
        total = tf.reduce_sum(losses)
        self.mean_loss.update_state(losses)
        global_count = tf.maximum(sum_over_replicas(count), 1)
        return total / tf.cast(global_count, total.dtype)

    def _positions(
        self, features: Mapping[str, Any], training: bool
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns `[positions, dim]` queries, and the item that follows each."""
        queries, items = self.query_tower.embed_prefixes(
            features[self.history_column], training=training
        )
        following = tf.pad(items[:, 1:], [[0, 0], [0, 1]])
        is_last = (items != PADDING_ID) & (following == PADDING_ID)
        label = tf.cast(features[self.label_column], items.dtype)
        labels = tf.where(is_last, label[:, tf.newaxis], following)
        known = labels >= FIRST_ITEM_ID
        return tf.boolean_mask(queries, known), tf.boolean_mask(labels, known)

    def _losses_among_all(self, queries: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Returns the cross-entropy of every position, `[positions]`."""
        items = tf.range(FIRST_ITEM_ID, self.vocabulary_size)
        logits = tf.matmul(queries, self.candidate_tower(items), transpose_b=True)
        return tf.nn.sparse_softmax_cross_entropy_with_logits(
            labels - FIRST_ITEM_ID, tf.cast(logits, tf.float32)
        )

    def _losses_among_some(self, queries: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Returns the cross-entropy of the label among sampled items, `[positions]`.

        All items are equally likely to be drawn, so the correction for sampling is a
        constant, which does not change the softmax. Sampled labels are left out.
        """
        items = tf.random.stateless_uniform(
            [self.num_sampled],
            tf.stack([tf.constant(self.seed, tf.int64), self._step()]),
            minval=FIRST_ITEM_ID,
            maxval=self.vocabulary_size,
            dtype=labels.dtype,
        )
        own = tf.reduce_sum(queries * self.candidate_tower(labels), axis=1)
        others = tf.matmul(queries, self.candidate_tower(items), transpose_b=True)
        hit = labels[:, tf.newaxis] == items
        others = tf.where(hit, others.dtype.min, others)
        logits = tf.cast(tf.concat([own[:, tf.newaxis], others], axis=1), tf.float32)
        return tf.reduce_logsumexp(logits, axis=1) - logits[:, 0]

    def _step(self) -> tf.Tensor:
        """Returns the number of the training step."""
        optimizer = getattr(self, "optimizer", None)
        return tf.constant(0, tf.int64) if optimizer is None else optimizer.iterations
