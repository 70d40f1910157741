"""The two paths to the off-diagonal elements of a product C = A'B, and which to take.

Redundancy-reduction losses need of a `[dim, dim]` product C = A'B only its diagonal and
the sum of (C_ij - t)^2 over i != j, whose target t is nearly always 0. Both can be had
without C:

    C_ii = sum_n A_ni B_ni,    ||C||_F^2 = sum_nm (A A')_nm (B B')_nm,

two `[batch, batch]` Gram matrices instead of one `[dim, dim]` product. Where the batch
is small beside the dimension, as it is for projectors thousands wide, this saves most
of the time and nearly all of the memory.

The gradients are written by hand, since automatic differentiation would keep every
intermediate alive.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import tensorflow as tf

Path = Literal["auto", "direct", "gram"]
PATHS = ("auto", "direct", "gram")

Reduce = Callable[[tf.Tensor], tf.Tensor]
"""Completes a sum over rows by the rows that are elsewhere."""


def reduce_nothing(total: tf.Tensor) -> tf.Tensor:
    """Returns a sum over rows that are all here."""
    return total


def validate_path(path: str) -> None:
    """Raises a ValueError unless `path` is one of the three."""
    if path not in PATHS:
        raise ValueError(f"path must be one of {PATHS}, but it is {path!r}.")


def gram_is_cheaper(batch: Any, dim: Any) -> Any:
    """Counts floating-point operations: 8 N^2 D by Gram matrices, 6 N D^2 by C."""
    return 4 * batch < 3 * dim


def choose_gram(
    path: Path,
    embeddings: tf.Tensor,
    cheaper: Callable[[Any, Any], Any] = gram_is_cheaper,
) -> bool | tf.Tensor:
    """Returns whether to go by Gram matrices; a tensor if a size is not known yet."""
    if path != "auto":
        return path == "gram"
    batch, dim = embeddings.shape
    if batch is None or dim is None:
        batch, dim = tf.unstack(tf.shape(embeddings))
    return cheaper(batch, dim)
