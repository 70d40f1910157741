"""Ranking metrics from embeddings, as `tfrs.tasks.Retrieval` takes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrs_barlow import _checks
from tfrs_barlow.metrics.item_scores import label_ids


class FactorizedRanking(tfrs.metrics.Factorized):
    """Ranks all items for each query, by id, for any metrics of `(y_true, y_pred)`.

    Use it in place of `tfrs.metrics.FactorizedTopK` or together with it:

        retrieval = tfrs.tasks.Retrieval(metrics=[factorized_top_k, factorized_ranking])
        retrieval(queries, candidates, candidate_ids=ids, compute_metrics=not training)

    It differs in three ways, each of which can make `FactorizedTopK` report too much:

    - It identifies items by id, so `candidate_ids` must be given. Without them
      `FactorizedTopK` compares scores: it asks whether the label's score is among the
      best, and a tie counts as yes. A collapsed encoder, which scores all items alike,
      then gets an accuracy of 1 (or of 0: it computes the label's score in another way
      than those of the candidates, so rounding may decide). Here it gets nearly 0.
    - It uses the current candidates. An index or a cached dataset of candidates keeps
      the embeddings from when it was built.
    - It can leave out the items a user has seen. The task does not pass them on, so
      then keep it out of the task, as an attribute of the model, and write in
      `compute_loss`:

          if not training:
              self.ranking.update_state(queries, None, ids, excluded_ids=history)

      The model still reports its metrics.

    All scores of a batch are held at once, `[batch, num_items]` in float32.

    Args:
        candidates: The embeddings of all ids, `[num_items, dim]`, where row i belongs
            to the id i, reserved ids included: a variable, or a function that returns
            them, such as `lambda: model.candidate_embeddings(vocabulary.size)`. A
            tensor or an array never changes. They do not become weights of the metric.
        metrics: What to compute, such as `[HitRate(10), NDCG(10)]`: any Keras metrics
            of `y_true` ids and `y_pred` scores of all ids.
        name: The name of the layer. The metrics keep theirs.

    Raises:
        ValueError: If `metrics` is empty or two have the same name.
        TypeError: If `metrics` is not a list of Keras metrics.

    Examples:
        >>> table = tf.Variable([[0.0], [0.0], [0.0], [1.0], [2.0], [3.0]])
        >>> ranking = tfrsb.metrics.FactorizedRanking(
        ...     table, [tfrsb.metrics.HitRate(1), tfrsb.metrics.MRR()]
        ... )
        >>> query = tf.constant([[1.0]])
        >>> _ = ranking.update_state(query, table[4:5], tf.constant([4]))
        >>> [float(result) for result in ranking.result()]
        [0.0, 0.5]
        >>> ranking.reset_states()
        >>> _ = ranking.update_state(
        ...     query, table[4:5], tf.constant([4]), excluded_ids=tf.constant([[5]])
        ... )
        >>> [float(result) for result in ranking.result()]
        [1.0, 1.0]

    References:
        - Krichene and Rendle (2020), "On sampled metrics for item recommendation" (why
          to rank all items), https://doi.org/10.1145/3394486.3403226.
    """

    def __init__(
        self,
        candidates: Any | Callable[[], Any],
        metrics: Sequence[tf.keras.metrics.Metric],
        *,
        name: str = "factorized_ranking",
    ) -> None:
        metrics = _checks.instances("metrics", metrics, tf.keras.metrics.Metric)
        names = [metric.name for metric in metrics]
        if not names or len(set(names)) < len(names):
            raise ValueError(
                "metrics must hold at least one metric and no name twice, but it "
                f"holds {names}."
            )
        super().__init__(name=name)
        # Keras would take a variable or a layer for a weight of this layer.
        self._candidates = candidates if callable(candidates) else lambda: candidates
        self._ranking_metrics = metrics

    def update_state(
        self,
        query_embeddings: Any,
        true_candidate_embeddings: Any,
        true_candidate_ids: Any | None = None,
        sample_weight: Any | None = None,
        excluded_ids: Any | None = None,
    ) -> tf.Operation:
        """Adds a batch.

        Args:
            query_embeddings: `[batch, dim]`, floating.
            true_candidate_embeddings: Not used, may be `None`: the score of a label is
                computed like that of any other item, so rounding makes no difference.
            true_candidate_ids: `[batch]` or `[batch, 1]`, the integer ids of the
                labels. More than queries, as with extra negatives in
                `tfrs.tasks.Retrieval`, means that the first ones are the labels.
            sample_weight: `[batch]`, the weights of the queries.
            excluded_ids: `[batch, any]`, dense or ragged: ids to leave out of the row's
                ranking unless they are its label. Reserved ids, such as the padding 0,
                and ids that are out of range, such as -1, have no effect.

        Returns:
            The update, for graph mode.

        Raises:
            ValueError: If `true_candidate_ids` is missing.
        """
        del true_candidate_embeddings
        if true_candidate_ids is None:
            raise ValueError(
                "FactorizedRanking ranks by id and needs true_candidate_ids: pass "
                "candidate_ids to tfrs.tasks.Retrieval."
            )
        scores = tf.matmul(
            tf.cast(query_embeddings, tf.float32),
            tf.cast(self._candidates(), tf.float32),
            transpose_b=True,
        )
        num_queries = tf.shape(scores)[0]
        labels = label_ids(true_candidate_ids[:num_queries], num_queries)
        if excluded_ids is not None:
            scores = _without(excluded_ids, scores, labels)
        return tf.group(
            [
                metric.update_state(labels, scores, sample_weight=sample_weight)
                for metric in self._ranking_metrics
            ]
        )


def _without(excluded_ids: Any, scores: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns `scores` with -inf for the excluded ids other than the labels."""
    if isinstance(excluded_ids, tf.RaggedTensor):
        excluded_ids = excluded_ids.to_tensor(default_value=-1)
    ids = tf.cast(excluded_ids, tf.int64)
    rows, columns = tf.unstack(tf.shape(scores, tf.int64))
    cells = tf.range(rows)[:, tf.newaxis] * columns + ids
    ignored = (ids < 0) | (ids >= columns) | (ids == labels[:, tf.newaxis])
    # A sum over segments skips negative ids, and keeps shapes static for XLA.
    cells = tf.where(ignored, tf.constant(-1, tf.int64), cells)
    times = tf.math.unsorted_segment_sum(
        tf.ones_like(ids, tf.int32), cells, rows * columns
    )
    seen = tf.reshape(times, tf.shape(scores)) > 0
    return tf.where(seen, float("-inf"), scores)
