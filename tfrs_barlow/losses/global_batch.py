"""The correlations of the global batch, computed from the rows of all replicas."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrs_barlow._replicas import gather_rows, num_replicas, sum_over_replicas
from tfrs_barlow.losses._paths import Algorithm, gram_is_cheaper
from tfrs_barlow.losses.cross_correlation import (
    CorrelationTerms,
    cross_correlation_terms,
)


def global_batch_terms(
    first_embeddings: tf.Tensor,
    second_embeddings: tf.Tensor,
    sample_weight: tf.Tensor | None,
    *,
    algorithm: Algorithm,
    **options: Any,
) -> tuple[CorrelationTerms, tf.Tensor]:
    """Returns the terms and the size of the global batch, the same on every replica.

    The gradients of a replica's rows are those of the sum over replicas of whatever is
    computed from the terms: divide the loss by `num_replicas()`.

    Replicas either exchange their embeddings, which Gram matrices need, or sum their
    shares of C. If the direct algorithm is cheaper, summing transfers less data and
    splits the work. It needs static shapes, so that all replicas make the same choice.
    """
    rows = tf.shape(first_embeddings)[0]
    if num_replicas() > 1:
        if _sums_are_cheaper(first_embeddings, algorithm):
            options["reduce"], algorithm = sum_over_replicas, "direct"
            rows = sum_over_replicas(rows)
        else:
            first_embeddings = gather_rows(first_embeddings)
            second_embeddings = gather_rows(second_embeddings)
            sample_weight = gather_rows(sample_weight)
            rows = tf.shape(first_embeddings)[0]
    terms = cross_correlation_terms(
        first_embeddings,
        second_embeddings,
        sample_weight=sample_weight,
        algorithm=algorithm,
        **options,
    )
    return terms, rows


def _sums_are_cheaper(embeddings: tf.Tensor, algorithm: Algorithm) -> bool:
    """Returns whether to sum shares of C rather than exchange embeddings."""
    if algorithm != "auto":
        return algorithm == "direct"
    context = tf.distribute.get_replica_context()
    # The last batch may be unequal: replicas must not decide by their own rows.
    rows = context.merge_call(_most_rows, args=(embeddings.shape[0],))
    dim = embeddings.shape[1]
    if rows is None or dim is None:
        return False
    return not gram_is_cheaper(rows * num_replicas(), dim)


def _most_rows(strategy: tf.distribute.Strategy, rows: Any) -> int | None:
    """Returns the largest of the replicas' static numbers of rows, if all are known."""
    known = strategy.experimental_local_results(rows)
    return None if None in known else max(known)
