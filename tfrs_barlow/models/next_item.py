"""The supervised reference: a causal encoder that learns every next item."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfrs_barlow._replicas import sum_over_replicas
from tfrs_barlow.ids import FIRST_ITEM_ID, PADDING_ID
from tfrs_barlow.models.two_towers import TwoTowers


class NextItemModel(TwoTowers):
    """A causal query tower, trained by a softmax over items at every position.

    With a causal `TransformerEncoder` this is SASRec with full cross-entropy, among the
    strongest of the known sequence recommenders; with a `GRUEncoder` it is GRU4Rec.
    Each item of a history is to be told from those before it, and the label from all:
    one sequence gives as many examples as it has items, where `DualEncoder` makes one.

    Scores are dot products, so what is trained serves as a dual encoder does.

    Example:
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
        Kang and McAuley 2018, Self-Attentive Sequential Recommendation, arXiv
        1808.09781; with cross-entropy over all items, Klenitskiy and Vasilev 2023,
        Turning Dross Into Gold Loss, arXiv 2309.07602.
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
        """Initializes the model.

        Args:
            query_tower: A causal encoder: it has `embed_prefixes`.
            candidate_tower: From item ids `[items]` to `[items, dim]`.
            vocabulary_size: The number of ids, reserved ones included.
            num_sampled: How many items, drawn evenly for each batch, stand for all in
                the softmax; `None` for all. Where millions of items are ranked, all are
                too many to embed at every step.
            seed: Fixes the drawn items, step by step.
            history_column: Which feature holds the histories.
            label_column: Which feature holds the items that follow them.
            name: The name of the model.

        Raises:
            ValueError: If `vocabulary_size` leaves no item, or `num_sampled` is less
                than 1.
        """
        super().__init__(
            query_tower,
            candidate_tower,
            history_column=history_column,
            label_column=label_column,
            name=name,
        )
        if vocabulary_size <= FIRST_ITEM_ID:
            raise ValueError(
                f"vocabulary_size must be more than {FIRST_ITEM_ID}, the number of "
                f"reserved ids, but it is {vocabulary_size}."
            )
        if num_sampled is not None and num_sampled < 1:
            raise ValueError(
                f"num_sampled must be at least 1, but it is {num_sampled}."
            )
        self.vocabulary_size = vocabulary_size
        self.num_sampled = num_sampled
        self.seed = seed
        self.mean_loss = tf.keras.metrics.Mean(name="next_item/loss")

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
        """Returns the same, of the label among drawn items that are not the label.

        All items are equally likely to be drawn, so that the usual correction for this
        is one number, of which the softmax takes no notice.
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
