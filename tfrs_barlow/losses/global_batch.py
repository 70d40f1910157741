"""The correlations of the global batch, computed from the rows of all replicas."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrs_barlow._replicas import gather_rows, num_replicas, sum_over_replicas
from tfrs_barlow.losses._paths import Path, gram_is_cheaper
from tfrs_barlow.losses.cross_correlation import (
    CorrelationTerms,
    cross_correlation_terms,
)


def global_batch_terms(
    first_embeddings: tf.Tensor,
    second_embeddings: tf.Tensor,
    sample_weight: tf.Tensor | None,
    *,
    path: Path,
    **options: Any,
) -> tuple[CorrelationTerms, tf.Tensor]:
    """Returns the terms and the size of the global batch, the same on every replica.

    The gradients of a replica's rows are those of the sum over replicas of whatever is
    computed from the terms: divide the loss by `num_replicas()`.

    Replicas either exchange their embeddings, which the Gram path needs, or sum up
    their shares of C. The latter moves less and divides the work where C is the cheaper
    path. It takes shapes that are known, to be chosen alike by all replicas.

    Args:
        first_embeddings: `[rows, dim]`, the rows of this replica.
        second_embeddings: The other view.
        sample_weight: `[rows]` or `None`.
        path: As of `cross_correlation_terms`, for the global batch.
        **options: More arguments of `cross_correlation_terms`.
    """
    if num_replicas() == 1:
        terms = cross_correlation_terms(
            first_embeddings,
            second_embeddings,
            sample_weight=sample_weight,
            path=path,
            **options,
        )
        return terms, tf.shape(first_embeddings)[0]
    if _sums_are_cheaper(first_embeddings, path):
        terms = cross_correlation_terms(
            first_embeddings,
            second_embeddings,
            sample_weight=sample_weight,
            path="direct",
            reduce=sum_over_replicas,
            **options,
        )
        return terms, sum_over_replicas(tf.shape(first_embeddings)[0])

    first = gather_rows(first_embeddings)
    terms = cross_correlation_terms(
        first,
        gather_rows(second_embeddings),
        sample_weight=gather_rows(sample_weight),
        path=path,
        **options,
    )
    return terms, tf.shape(first)[0]


def _sums_are_cheaper(embeddings: tf.Tensor, path: Path) -> bool:
    """Returns whether to sum up shares of C, rather than to exchange embeddings."""
    if path != "auto":
        return path == "direct"
    context = tf.distribute.get_replica_context()
    # The last batch may be unequal: replicas must not each go by their own rows.
    rows = context.merge_call(_most_rows, args=(embeddings.shape[0],))
    dim = embeddings.shape[1]
    if rows is None or dim is None:
        return False
    return not gram_is_cheaper(rows * num_replicas(), dim)


def _most_rows(strategy: tf.distribute.Strategy, rows: Any) -> int | None:
    """Returns the largest of the replicas' static numbers of rows, if all are known."""
    known = strategy.experimental_local_results(rows)
    return None if None in known else max(known)
