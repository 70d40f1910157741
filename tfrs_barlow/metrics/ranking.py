"""Keras metrics of where a model ranks the right item among all items, by its id.

They take `y_true`, `[batch]` integer item ids, and `y_pred`, `[batch, num_items]`
floating scores, of which column i belongs to the id i. So they go into
`model.compile(metrics=[...])` of any Keras model that scores all items, and, through
`FactorizedRanking`, into `tfrs.tasks.Retrieval`. All of them follow these rules:

- Reserved ids, those below `first_item_id`, are never recommended.
- An item that scores -inf is never recommended: so a seen item is left out of a user's
  ranking. A label that scores -inf is a miss, so leave the score of the label as it is.
- A label that is reserved or out of range is a miss.
- Another item that scores the same as the label is ranked before it. So a collapsed
  model, which scores all items alike, gets values near zero and not perfect ones.
  Scores in half precision tie often: prefer float32.
- NaN is an error, not a rank. (XLA drops such checks; there a NaN counts against the
  label.)
"""

from __future__ import annotations

import abc
from typing import Any

import tensorflow as tf

from tfrs_barlow import _checks
from tfrs_barlow.ids import FIRST_ITEM_ID
from tfrs_barlow.metrics.item_scores import MISS, label_ranks


class _LabelRankMean(tf.keras.metrics.Mean, abc.ABC):
    """The mean over users of the value of their label's rank."""

    prefix: str

    def __init__(
        self, k: int | None, first_item_id: int, name: str | None, dtype: Any
    ) -> None:
        default = self.prefix if k is None else f"{self.prefix}_{k}"
        super().__init__(name=name or default, dtype=dtype)
        self.k = k
        self.first_item_id = _checks.integer("first_item_id", first_item_id, at_least=0)

    @abc.abstractmethod
    def _value(self, ranks: tf.Tensor) -> tf.Tensor:
        """Returns the values of ranks of at most `k`."""

    def update_state(
        self, y_true: Any, y_pred: Any, sample_weight: Any | None = None
    ) -> tf.Operation:
        """Adds a batch.

        Args:
            y_true: `[batch]` or `[batch, 1]`, the integer ids of the right items.
            y_pred: `[batch, num_items]`, floating, the score of every id; -inf for
                items that are not to be recommended.
            sample_weight: `[batch]` or a scalar, the weights of the users in the mean.

        Raises:
            TypeError: If `y_true` is not integer or `y_pred` not floating.
            ValueError: If `y_pred` is not a matrix.
            tf.errors.InvalidArgumentError: If a score is NaN, or `y_true` does not hold
                one id for each row of `y_pred`.
        """
        ranks = label_ranks(y_true, y_pred, self.first_item_id)
        counted = ranks <= (MISS if self.k is None else self.k)
        values = tf.where(counted, self._value(ranks), 0.0)
        return super().update_state(values, sample_weight)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        own = {"k": self.k, "first_item_id": self.first_item_id}
        return {**super().get_config(), **own}


@tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
class HitRate(_LabelRankMean):
    """HR@k: the share of users whose item is among the first k.

    With one right item per user it equals the recall.

    Args:
        k: How many items are recommended, at least 1.
        first_item_id: The ids below are reserved; 0 reserves none.
        name: The name of the metric, by default `hit_rate_10` and so on.
        dtype: The type of the result; see `tf.keras.metrics.Metric`.

    Examples:
        >>> hit_rate = tfrsb.metrics.HitRate(1)
        >>> scores = tf.constant([[9, 9, 9, 0.1, 0.7], [9, 9, 9, 0.5, 0.5]])
        >>> _ = hit_rate.update_state([4, 4], scores)  # The ids 0 to 2 are reserved.
        >>> float(hit_rate.result())  # The second row is a tie.
        0.5
    """

    prefix = "hit_rate"

    def __init__(
        self,
        k: int,
        *,
        first_item_id: int = FIRST_ITEM_ID,
        name: str | None = None,
        dtype: Any | None = None,
    ) -> None:
        k = _checks.integer("k", k, at_least=1)
        super().__init__(k, first_item_id, name, dtype)

    def _value(self, ranks: tf.Tensor) -> tf.Tensor:
        return tf.ones_like(ranks)


@tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
class NDCG(_LabelRankMean):
    """NDCG@k: the normalized discounted cumulative gain of the first k.

    With one right item per user the ideal gain is 1, and the mean is that of
    1 / log2(1 + rank), or 0 for ranks beyond k.

    Args:
        k: How many items are recommended, at least 1.
        first_item_id: The ids below are reserved; 0 reserves none.
        name: The name of the metric, by default `ndcg_10` and so on.
        dtype: The type of the result; see `tf.keras.metrics.Metric`.

    Examples:
        >>> ndcg = tfrsb.metrics.NDCG(10, first_item_id=0)
        >>> _ = ndcg.update_state([0], tf.constant([[0.3, 0.2, 0.4, 0.5]]))
        >>> float(ndcg.result())  # Rank 3.
        0.5

    References:
        - Järvelin and Kekäläinen (2002), "Cumulated gain-based evaluation of IR
          techniques", https://doi.org/10.1145/582415.582418.
    """

    prefix = "ndcg"

    def __init__(
        self,
        k: int,
        *,
        first_item_id: int = FIRST_ITEM_ID,
        name: str | None = None,
        dtype: Any | None = None,
    ) -> None:
        k = _checks.integer("k", k, at_least=1)
        super().__init__(k, first_item_id, name, dtype)

    def _value(self, ranks: tf.Tensor) -> tf.Tensor:
        return tf.math.log(2.0) / tf.math.log1p(ranks)


@tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
class MRR(_LabelRankMean):
    """The mean reciprocal rank.

    Args:
        k: Ranks beyond this count as 0, at least 1; `None` counts all.
        first_item_id: The ids below are reserved; 0 reserves none.
        name: The name of the metric, by default `mrr`, or `mrr_10` and so on.
        dtype: The type of the result; see `tf.keras.metrics.Metric`.

    Examples:
        >>> mrr = tfrsb.metrics.MRR(first_item_id=0)
        >>> _ = mrr.update_state([0, 3], tf.constant([[0.3, 0.2, 0.4, 0.5]] * 2))
        >>> round(float(mrr.result()), 4)  # Ranks 3 and 1.
        0.6667
    """

    prefix = "mrr"

    def __init__(
        self,
        k: int | None = None,
        *,
        first_item_id: int = FIRST_ITEM_ID,
        name: str | None = None,
        dtype: Any | None = None,
    ) -> None:
        k = None if k is None else _checks.integer("k", k, at_least=1)
        super().__init__(k, first_item_id, name, dtype)

    def _value(self, ranks: tf.Tensor) -> tf.Tensor:
        return 1.0 / ranks
