"""The Barlow Twins loss."""

from __future__ import annotations

from typing import Literal

import tensorflow as tf

from tfrs_barlow import _checks
from tfrs_barlow.losses._paths import Algorithm
from tfrs_barlow.losses.cross_correlation import (
    CorrelationTerms,
    cross_correlation_terms,
)

OffDiagonalWeight = float | Literal["auto"]


def barlow_twins_loss(
    first_embeddings: tf.Tensor,
    second_embeddings: tf.Tensor,
    *,
    off_diagonal_weight: OffDiagonalWeight = 5e-3,
    scale: float = 1.0,
    sample_weight: tf.Tensor | None = None,
    epsilon: float = 1e-5,
    algorithm: Algorithm = "auto",
    check_finite: bool = False,
) -> tf.Tensor:
    """Drives the cross-correlation matrix C of two views to the identity.

        loss = scale * (sum_i (1 - C_ii)^2 + off_diagonal_weight * sum_{i != j} C_ij^2)

    The first term, *invariance*, makes each feature agree between the views of one
    sequence. The second, *redundancy*, makes different features uncorrelated, so that
    the embedding cannot collapse. No negatives are needed.

    If the dimension exceeds the batch, the loss cannot reach 0: see
    `barlow_twins_floor`.

    Args:
        first_embeddings: `[batch, dim]`, floating, batch >= 2.
        second_embeddings: The other view, of the same shape and dtype.
        off_diagonal_weight: The weight lambda of the redundancy term, at least 0. The
            default is that of Zbontar et al. for a dimension of 8192; narrow projectors
            (512 features, batches of 256) want about 0.05, which is why
            `BarlowTwinsPretraining` takes that. `"auto"` is 1 / dim, which gives both
            terms about the same size at any dimension (Bielak et al.).
        scale: Multiplies the loss, at least 0.
        sample_weight: `[batch]`, not negative: how much each row counts. A weight of 2
            equals the row being there twice.
        epsilon: Added to each column's variance before its root is taken, at least 0.
        algorithm: `"direct"` computes C, `"gram"` Gram matrices, `"auto"` whichever is
            cheaper for the shape.
        check_finite: Whether a NaN or an infinity is an error that names its column,
            rather than a loss that is NaN.

    Returns:
        The scalar loss, in float32 (float64 if an input is).

    Raises:
        ValueError: If the shapes are not two equal `[batch, dim]`, or `sample_weight`
            is not `[batch]`.
        TypeError: If an input is not floating.

    Examples:
        >>> view = tf.constant([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
        >>> float(tfrsb.losses.barlow_twins_loss(view, view, epsilon=0.0))
        0.0
        >>> float(tfrsb.losses.barlow_twins_loss(view, -view, epsilon=0.0))
        8.0

    References:
        - Zbontar et al. (2021), "Barlow Twins: Self-Supervised Learning via Redundancy
          Reduction", equations 1 and 2, https://arxiv.org/abs/2103.03230.
        - Bielak et al. (2022), "Graph Barlow Twins", https://arxiv.org/abs/2106.02466.
    """
    validate_off_diagonal_weight(off_diagonal_weight)
    _checks.number("scale", scale, at_least=0)
    terms = cross_correlation_terms(
        first_embeddings,
        second_embeddings,
        sample_weight=sample_weight,
        epsilon=epsilon,
        algorithm=algorithm,
        check_finite=check_finite,
    )
    weight = resolve_off_diagonal_weight(off_diagonal_weight, terms)
    return scale * (invariance(terms) + weight * terms.off_diagonal)


def invariance(terms: CorrelationTerms) -> tf.Tensor:
    """Returns the invariance term, sum_i (1 - C_ii)^2."""
    return tf.reduce_sum(tf.square(1 - terms.diagonal))


def validate_off_diagonal_weight(weight: OffDiagonalWeight) -> None:
    """Raises an error unless the weight is `"auto"` or a number of at least 0."""
    if isinstance(weight, str):
        _checks.one_of("off_diagonal_weight", weight, ["auto"])
    else:
        _checks.number("off_diagonal_weight", weight, at_least=0)


def resolve_off_diagonal_weight(
    weight: OffDiagonalWeight, terms: CorrelationTerms
) -> tf.Tensor:
    """Returns the weight as a number, in the dtype of the terms."""
    dtype = terms.diagonal.dtype
    if weight == "auto":
        return 1 / tf.cast(tf.size(terms.diagonal), dtype)
    return tf.constant(weight, dtype)
