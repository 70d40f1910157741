"""Keras metrics of what a model recommends: how many items, and how popular ones.

They take the same arguments and follow the same rules about reserved ids, -inf and NaN
as the metrics in `ranking.py`. The labels do not matter. Among items that score the
same, those with the lowest ids are recommended.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfrs_barlow import _checks
from tfrs_barlow.ids import FIRST_ITEM_ID
from tfrs_barlow.metrics.item_scores import row_weights, top_items


@tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
class Coverage(tf.keras.metrics.Metric):
    """Catalog coverage: the share of all items that are in any user's first k.

    It means nothing without the number of users: n users can cover at most n k items.

    Args:
        k: How many items are recommended, at least 1.
        vocabulary_size: The number of ids, reserved ones included: the columns of the
            scores.
        first_item_id: The ids below are reserved; 0 reserves none.
        name: The name of the metric, by default `coverage_10` and so on.
        dtype: The type of the result; see `tf.keras.metrics.Metric`.

    Examples:
        >>> coverage = tfrsb.metrics.Coverage(1, vocabulary_size=7)
        >>> alike = tf.constant([[0, 0, 0, 0.1, 0.7, 0.2, 0.3]] * 2)
        >>> _ = coverage.update_state([3, 4], alike)
        >>> float(coverage.result())  # One of the items 3, 4, 5, 6.
        0.25

    References:
        - Ge et al. (2010), "Beyond accuracy: evaluating recommender systems by coverage
          and serendipity", https://doi.org/10.1145/1864708.1864761.
    """

    def __init__(
        self,
        k: int,
        vocabulary_size: int,
        *,
        first_item_id: int = FIRST_ITEM_ID,
        name: str | None = None,
        dtype: Any | None = None,
    ) -> None:
        k = _checks.integer("k", k, at_least=1)
        super().__init__(name=name or f"coverage_{k}", dtype=dtype)
        self.k = k
        self.vocabulary_size = _checks.integer(
            "vocabulary_size", vocabulary_size, at_least=1
        )
        self.first_item_id = _checks.integer(
            "first_item_id", first_item_id, at_least=0, at_most=vocabulary_size - 1
        )
        # Counts, not booleans, because replicas sum theirs.
        self.batches_with_item = self.add_weight(
            name="batches_with_item", shape=[vocabulary_size], initializer="zeros"
        )

    def update_state(
        self, y_true: Any, y_pred: Any, sample_weight: Any | None = None
    ) -> tf.Operation:
        """Adds a batch.

        Args:
            y_true: Ignored.
            y_pred: `[batch, vocabulary_size]`, floating, the score of every id; -inf
                for items that are not to be recommended.
            sample_weight: `[batch]` or a scalar: users of weight 0 are left out, all
                others count the same.
        """
        del y_true
        ids, recommended = top_items(
            y_pred, self.k, self.first_item_id, self.vocabulary_size
        )
        counted = row_weights(sample_weight, tf.shape(ids)[0]) > 0
        times = tf.math.unsorted_segment_sum(
            tf.cast(recommended & counted[:, tf.newaxis], tf.int32),
            ids,
            num_segments=self.vocabulary_size,
        )
        state = self.batches_with_item
        return state.assign_add(tf.cast(times > 0, state.dtype))

    def result(self) -> tf.Tensor:
        """Returns the share, a scalar."""
        covered = self.batches_with_item[self.first_item_id :] > 0
        return tf.reduce_mean(tf.cast(covered, self.dtype))

    def reset_state(self) -> None:
        """Forgets all batches."""
        state = self.batches_with_item
        tf.keras.backend.batch_set_value([(state, np.zeros(state.shape))])

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        own = {
            "k": self.k,
            "vocabulary_size": self.vocabulary_size,
            "first_item_id": self.first_item_id,
        }
        return {**super().get_config(), **own}


@tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
class PopularityBias(tf.keras.metrics.Mean):
    """ARP@k, the average recommendation popularity.

    It is the mean over users u of the mean popularity of their first k items L_u:

        ARP = 1 / |U| * sum_u (1 / |L_u| * sum_{i in L_u} popularity(i))

    where the popularity of an item is how often it occurs in the training data. Compare
    it with the mean popularity of the labels, `item_counts[labels].mean()`: a model
    with a higher ARP recommends popular items more than users choose them. Counts
    divided by their sum make data sets comparable.

    Args:
        k: How many items are recommended, at least 1.
        item_counts: `[vocabulary_size]`, how often each id occurs in the training data,
            or another measure of its popularity; those of reserved ids do not matter.
        first_item_id: The ids below are reserved; 0 reserves none.
        name: The name of the metric, by default `popularity_bias_10` and so on.
        dtype: The type of the result; see `tf.keras.metrics.Metric`.

    Raises:
        ValueError: If `item_counts` is not a vector of finite numbers of at least 0, or
            another argument is out of its range.
        TypeError: If an argument is of a wrong type.

    Examples:
        >>> counts = np.array([0, 0, 0, 10, 2, 4])
        >>> popularity = tfrsb.metrics.PopularityBias(2, counts)
        >>> _ = popularity.update_state([5], tf.constant([[0, 0, 0, 0.8, 0.1, 0.5]]))
        >>> float(popularity.result())  # Of the items 3 and 5.
        7.0

    References:
        - Yin et al. (2012), "Challenging the long tail recommendation",
          https://arxiv.org/abs/1205.6700.
        - Abdollahpouri et al. (2019), "Managing popularity bias in recommender systems
          with personalized re-ranking", https://arxiv.org/abs/1901.07555.
    """

    def __init__(
        self,
        k: int,
        item_counts: npt.ArrayLike,
        *,
        first_item_id: int = FIRST_ITEM_ID,
        name: str | None = None,
        dtype: Any | None = None,
    ) -> None:
        k = _checks.integer("k", k, at_least=1)
        super().__init__(name=name or f"popularity_bias_{k}", dtype=dtype)
        self.k = k
        self.item_counts = _checked_counts(item_counts)
        self.first_item_id = _checks.integer(
            "first_item_id",
            first_item_id,
            at_least=0,
            at_most=self.item_counts.size - 1,
        )

    def update_state(
        self, y_true: Any, y_pred: Any, sample_weight: Any | None = None
    ) -> tf.Operation:
        """Adds a batch.

        Args:
            y_true: Ignored.
            y_pred: `[batch, vocabulary_size]`, floating, the score of every id; -inf
                for items that are not to be recommended. A user without any item left
                to recommend does not count.
            sample_weight: `[batch]` or a scalar, the weights of the users in the mean.
        """
        del y_true
        ids, recommended = top_items(
            y_pred, self.k, self.first_item_id, self.item_counts.size
        )
        in_list = tf.cast(recommended, tf.float32)
        lengths = tf.reduce_sum(in_list, axis=1)
        sums = tf.reduce_sum(in_list * tf.gather(self.item_counts, ids), axis=1)
        weights = row_weights(sample_weight, tf.shape(ids)[0])
        return super().update_state(
            tf.math.divide_no_nan(sums, lengths), tf.where(lengths > 0, weights, 0.0)
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        own = {
            "k": self.k,
            "item_counts": self.item_counts.tolist(),
            "first_item_id": self.first_item_id,
        }
        return {**super().get_config(), **own}


def _checked_counts(item_counts: npt.ArrayLike) -> npt.NDArray[np.float32]:
    counts = np.asarray(item_counts)
    if not np.can_cast(counts.dtype, np.float64):
        raise TypeError(
            f"item_counts must hold numbers, but its type is {counts.dtype}."
        )
    counts = counts.astype(np.float32)
    if counts.ndim != 1 or not (np.isfinite(counts) & (counts >= 0)).all():
        raise ValueError(
            "item_counts must have the shape [vocabulary_size] and be finite and not "
            f"negative, but it is {counts}."
        )
    return counts
