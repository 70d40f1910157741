"""The Barlow Twins loss."""

from __future__ import annotations

from typing import Literal

import tensorflow as tf

from tfrs_barlow.losses._paths import Path
from tfrs_barlow.losses.cross_correlation import (
    CorrelationTerms,
    cross_correlation_terms,
)

OffDiagonalWeight = float | Literal["auto"]

Objective = Literal["barlow_twins", "hsic"]
OFF_DIAGONAL_TARGETS: dict[str, float] = {"barlow_twins": 0.0, "hsic": -1.0}
"""What an objective wants of the correlation of different features."""


def barlow_twins_loss(
    first_embeddings: tf.Tensor,
    second_embeddings: tf.Tensor,
    *,
    off_diagonal_weight: OffDiagonalWeight = 5e-3,
    objective: Objective = "barlow_twins",
    scale: float = 1.0,
    sample_weight: tf.Tensor | None = None,
    epsilon: float = 1e-5,
    path: Path = "auto",
    check_finite: bool = False,
) -> tf.Tensor:
    """Drives the cross-correlation matrix C of two views to the identity.

        loss = scale * (sum_i (1 - C_ii)^2 + off_diagonal_weight * sum_{i != j} C_ij^2)

    The first term, *invariance*, makes each feature agree between the views of one
    sequence. The second, *redundancy*, makes different features uncorrelated, so that
    the embedding cannot collapse. No negatives are needed.

    Where the dimension exceeds the batch the loss cannot reach 0: see
    `barlow_twins_floor`.

    With `objective="hsic"` different features are driven to a correlation of -1
    instead of 0, which relates the loss to the Hilbert-Schmidt Independence Criterion.

    Example:
        >>> view = tf.constant([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
        >>> float(tfrsb.losses.barlow_twins_loss(view, view, epsilon=0.0))
        0.0
        >>> float(tfrsb.losses.barlow_twins_loss(view, -view, epsilon=0.0))
        8.0

    References:
        Zbontar et al. 2021, Barlow Twins: Self-Supervised Learning via Redundancy
        Reduction, arXiv 2103.03230, equations 1 and 2. Tsai et al. 2021, A Note on
        Connecting Barlow Twins with Negative-Sample-Free Contrastive Learning, arXiv
        2104.13712 (the HSIC objective).

    Args:
        first_embeddings: `[batch, dim]`, floating, batch >= 2.
        second_embeddings: The other view, of the same shape and dtype.
        off_diagonal_weight: The weight lambda of the redundancy term, at least 0; or
            `"auto"`, which is 1 / dim, so that both terms have about the same size at
            any dimension (Bielak et al. 2022, Graph Barlow Twins, arXiv 2106.02466).
        objective: `"barlow_twins"` or `"hsic"`.
        scale: Multiplies the loss.
        sample_weight: `[batch]`: see `cross_correlation_terms`.
        epsilon: Added to each column's variance before its root is taken.
        path: How to compute it: see `cross_correlation_terms`.
        check_finite: Whether a NaN or an infinity is an error that names its column,
            rather than a loss that is NaN.

    Returns:
        The scalar loss, in float32 (float64 if an input is).

    Raises:
        ValueError: As `cross_correlation_terms`, or if `off_diagonal_weight` is
            negative or an unknown word, or `objective` is unknown.
        TypeError: If an input is not floating.
    """
    validate_off_diagonal_weight(off_diagonal_weight)
    validate_objective(objective)
    terms = cross_correlation_terms(
        first_embeddings,
        second_embeddings,
        sample_weight=sample_weight,
        off_diagonal_target=OFF_DIAGONAL_TARGETS[objective],
        epsilon=epsilon,
        path=path,
        check_finite=check_finite,
    )
    weight = resolve_off_diagonal_weight(off_diagonal_weight, terms)
    return scale * (invariance(terms) + weight * terms.off_diagonal)


def invariance(terms: CorrelationTerms) -> tf.Tensor:
    """Returns the invariance term, sum_i (1 - C_ii)^2."""
    return tf.reduce_sum(tf.square(1 - terms.diagonal))


def validate_off_diagonal_weight(off_diagonal_weight: OffDiagonalWeight) -> None:
    """Raises a ValueError unless the weight is `"auto"` or a number of at least 0."""
    if off_diagonal_weight == "auto":
        return
    if isinstance(off_diagonal_weight, str) or not off_diagonal_weight >= 0:
        raise ValueError(
            'off_diagonal_weight must be a number of at least 0, or "auto", but it is '
            f"{off_diagonal_weight!r}."
        )


def validate_objective(objective: str) -> None:
    """Raises a ValueError unless `objective` is one of the two."""
    if objective not in OFF_DIAGONAL_TARGETS:
        raise ValueError(
            f"objective must be one of {sorted(OFF_DIAGONAL_TARGETS)}, but it is "
            f"{objective!r}."
        )


def resolve_off_diagonal_weight(
    off_diagonal_weight: OffDiagonalWeight, terms: CorrelationTerms
) -> tf.Tensor:
    """Returns the weight as a number, in the dtype of the terms."""
    dtype = terms.diagonal.dtype
    if off_diagonal_weight == "auto":
        return 1 / tf.cast(tf.size(terms.diagonal), dtype)
    return tf.constant(off_diagonal_weight, dtype)
