"""Which items are alike: tables that substitution and insertion draw from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from tfrs_barlow import _checks
from tfrs_barlow.data.sequences import UserSequences
from tfrs_barlow.ids import FIRST_ITEM_ID, PADDING_ID

if TYPE_CHECKING:
    from scipy import sparse

_Similar = tuple[int, npt.NDArray[np.int32], npt.NDArray[np.floating]]
"""An item, the ids of others, and how similar each of them is to it."""

_PAIRS_AT_ONCE = 2**22
"""The number of pairs of items whose similarities may be in memory at one time."""

_STACK = 32
"""The number of similarities of which only the largest is compared at first."""


def cooccurrence_neighbors(
    sequences: UserSequences,
    vocabulary_size: int,
    *,
    k: int = 10,
    inverse_user_frequency: bool = True,
) -> npt.NDArray[np.int32]:
    """Returns for each item those that most often occur with the same users.

    The similarity of items i and j is sum_u w_u / sqrt(n_i n_j) over the users u that
    have both, where n_i is the number of users of item i. With inverse user frequency
    w_u = 1 / log(1 + items of u), so that users who have seen everything count less
    (ItemCF-IUF); else w_u = 1 (ItemCF).

    Args:
        sequences: The users.
        vocabulary_size: The number of ids, reserved ones included.
        k: The number of neighbors to list.
        inverse_user_frequency: Whether users with many items count less.

    Returns:
        `[vocabulary_size, k]`, int32, the most similar first, the lower id first among
        equally similar ones. `PADDING_ID` fills the rows of items with fewer neighbors
        and of reserved ids.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If `k` is less than 1, or an id does not fit the vocabulary.

    Examples:
        >>> sequences = tfrsb.data.UserSequences.from_lists(
        ...     {"ann": [3, 4, 5], "bob": [3, 4]}
        ... )
        >>> tfrsb.data.cooccurrence_neighbors(sequences, 6, k=2)
        array([[0, 0],
               [0, 0],
               [0, 0],
               [4, 5],
               [3, 5],
               [3, 4]], dtype=int32)

    References:
        - Liu et al. (2021), "Contrastive Self-supervised Sequential Recommendation with
          Robust Augmentation" (CoSeRec, section 3.2), https://arxiv.org/abs/2108.06479
        - Breese et al. (1998), "Empirical Analysis of Predictive Algorithms for
          Collaborative Filtering" (the weights), https://arxiv.org/abs/1301.7363
    """
    from scipy import sparse

    size = _checks.integer("vocabulary_size", vocabulary_size, at_least=FIRST_ITEM_ID)
    k = _checks.integer("k", k, at_least=1)
    inverse = _checks.boolean("inverse_user_frequency", inverse_user_frequency)
    if sequences.item_ids.size and sequences.item_ids.max() >= size:
        raise ValueError(
            f"sequences must hold ids below vocabulary_size = {size}, but one is "
            f"{sequences.item_ids.max()}."
        )
    seen = _users_by_items(sequences, size)
    users_of_item = np.maximum(np.bincount(seen.indices, minlength=size), 1)
    seen = seen @ sparse.diags_array(users_of_item**-0.5)
    weighted = seen
    if inverse:
        weights = 1 / np.log1p(np.maximum(sequences.lengths, 1))
        weighted = sparse.diags_array(weights) @ seen
    return _table(_cooccurrences(seen.T.tocsr(), weighted), size, k)


def embedding_neighbors(
    embeddings: npt.ArrayLike,
    *,
    k: int = 10,
    similarity: Literal["cosine", "dot"] = "cosine",
) -> npt.NDArray[np.int32]:
    """Returns for each item those with the most similar embeddings.

    Use it to take similar items from a trained encoder. An item always gets `k`
    neighbors if there are enough items, even if they are not alike.

    Args:
        embeddings: `[vocabulary size, dim]`, such as the weights of an embedding layer.
            The rows of the reserved ids are ignored. A row of zeros stands for an item
            without an embedding: it has no neighbors, and is nobody's neighbor.
        k: The number of neighbors to list.
        similarity: `"cosine"`, or `"dot"` for the scalar product.

    Returns:
        `[vocabulary size, k]`, int32, the most similar first, the lower id first among
        those that are equally similar in float32. `PADDING_ID` fills the rows of items
        with fewer neighbors and of reserved ids.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If `k` is less than 1, `similarity` is unknown, or `embeddings` does
            not have two axes or holds an item that is not finite.

    Examples:
        >>> embeddings = np.array(
        ...     [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [3.0, 1.0], [0.0, 1.0]]
        ... )
        >>> tfrsb.data.embedding_neighbors(embeddings, k=2)
        array([[0, 0],
               [0, 0],
               [0, 0],
               [4, 5],
               [3, 5],
               [4, 3]], dtype=int32)

    References:
        Liu et al. (2021), "Contrastive Self-supervised Sequential Recommendation with
        Robust Augmentation" (CoSeRec; updates such a table during training),
        https://arxiv.org/abs/2108.06479
    """
    k = _checks.integer("k", k, at_least=1)
    similarity = _checks.one_of("similarity", similarity, ("cosine", "dot"))
    table = np.asarray(embeddings)
    if table.ndim != 2:
        raise ValueError(
            "embeddings must have the shape [vocabulary size, dim], but it is "
            f"{list(table.shape)}."
        )
    vectors = table[FIRST_ITEM_ID:].astype(np.promote_types(table.dtype, np.float32))
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        raise ValueError(
            "embeddings must be finite, but the row of item "
            f"{finite.argmin() + FIRST_ITEM_ID} is not."
        )
    present = vectors.any(axis=1)
    item_ids = FIRST_ITEM_ID + np.flatnonzero(present).astype(np.int32)
    vectors = _scaled(vectors[present], similarity)
    return _table(_products(item_ids, vectors), len(table), k)


def _users_by_items(sequences: UserSequences, vocabulary_size: int) -> sparse.csr_array:
    """Returns a 1 where a user has an item, however often; no reserved ids."""
    from scipy import sparse

    # SciPy keeps 32-bit indices, and multiplies faster with them.
    users = np.repeat(np.arange(len(sequences), dtype=np.int32), sequences.lengths)
    real = sequences.item_ids >= FIRST_ITEM_ID
    seen = sparse.csr_array(
        (np.ones(real.sum()), (users[real], sequences.item_ids[real])),
        shape=(len(sequences), vocabulary_size),
    )
    # SciPy has summed the entries of an item that a user has several times.
    seen.data[:] = 1
    return seen


def _cooccurrences(
    by_item: sparse.csr_array, weighted: sparse.csr_array
) -> Iterator[_Similar]:
    """Yields for each item those that it shares a user with."""
    for block in _blocks(by_item.shape[0]):
        products = by_item[block] @ weighted
        ends = products.indptr[1:-1]
        ids = np.split(products.indices, ends)
        similarities = np.split(products.data, ends)
        yield from zip(range(block.start, block.stop), ids, similarities, strict=True)


def _scaled(
    vectors: npt.NDArray[np.floating], similarity: str
) -> npt.NDArray[np.float32]:
    """Scales the vectors so that their similarities are scalar products.

    They are first scaled by a power of two, which rounds nothing, so that no square
    leaves the range of float32. For the scalar product it is one power for all vectors,
    which changes no order.
    """
    largest = np.abs(vectors).max(axis=1, keepdims=True, initial=0)
    if similarity == "dot":
        largest = largest.max(initial=0)
    _, exponents = np.frexp(largest)
    vectors = np.ldexp(vectors, -exponents).astype(np.float32)
    if similarity == "dot":
        return vectors
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _products(
    item_ids: npt.NDArray[np.int32], vectors: npt.NDArray[np.float32]
) -> Iterator[_Similar]:
    """Yields for each item all items, with their scalar products."""
    for block in _blocks(len(item_ids)):
        products = vectors[block] @ vectors.T
        for item, similarities in zip(item_ids[block], products, strict=True):
            yield item, item_ids, similarities


def _blocks(items: int) -> Iterator[slice]:
    """Yields slices of the items: all pairs may be too many to hold at once."""
    # At least 64 rows, since SciPy has costs per block that grow with the columns.
    size = max(64, _PAIRS_AT_ONCE // max(items, 1))
    for start in range(0, items, size):
        yield slice(start, min(start + size, items))


def _table(
    rows: Iterable[_Similar], vocabulary_size: int, k: int
) -> npt.NDArray[np.int32]:
    """Returns the neighbors of each item, filled up with `PADDING_ID`."""
    table = np.full((vocabulary_size, k), PADDING_ID, np.int32)
    for item, ids, similarities in rows:
        # One more, since the item itself may be among them.
        best = _most_similar(ids, similarities, k + 1)
        best = best[best != item][:k]
        table[item, : len(best)] = best
    return table


def _most_similar(
    ids: npt.NDArray[np.int32], similarities: npt.NDArray[np.floating], k: int
) -> npt.NDArray[np.int32]:
    """Returns the `k` most similar ids, or all: by similarity, then by id."""
    # Few need sorting. Split into stacks, at least k ids are as similar as the k-th
    # best maximum of a stack. All that tie with it stay, so that the ids decide.
    stacks = len(ids) // _STACK
    if stacks >= k:
        tops = similarities[: stacks * _STACK].reshape(_STACK, stacks).max(axis=0)
        candidates = similarities >= np.partition(tops, -k)[-k]
        ids, similarities = ids[candidates], similarities[candidates]
    return ids[np.lexsort((ids, -similarities))][:k]
