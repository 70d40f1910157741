"""Where things stand in their row: ranks, inverse permutations, running counts.

TensorFlow has operations for most of it. These take a half to a tenth of their time.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf
from tf_keras.src.utils import control_flow_util

_LONGEST_PRODUCT = 128
"""Up to so many positions are counted by one product of matrices."""

_BLOCKS = (32, 40, 24, 48, 16, 56, 64)
"""So many of a longer row are: multiples of 8, for vector instructions."""

_KEYS_A_STEP = 8
"""So many are compared before the counts are written: most of the time a step takes."""

_KEYS_A_STEP_OF_ONE_ROW = 64
"""With one row only, a step takes longer to begin than to compare so few."""


def in_xla() -> bool:
    """Returns whether XLA will compile what is computed here."""
    graph = tf.compat.v1.get_default_graph()
    return bool(control_flow_util.GraphOrParentsInXlaContext(graph))


def ranks(keys: tf.Tensor) -> tf.Tensor:
    """Returns where each key would stand if its row were sorted, the largest first.

    Of equal keys the first ones are.

    Args:
        keys: `[batch, length]`, int32 or int64.

    Returns:
        `[batch, length]`, int32, a permutation in each row.
    """
    if in_xla():
        return _ranks_by_counting(keys)
    return inverse_permutations(tf.math.top_k(keys, tf.shape(keys)[1]).indices)


def _ranks_by_counting(keys: tf.Tensor) -> tf.Tensor:
    """Does as `ranks`, by comparing each key with all of its row.

    XLA makes vector instructions of that, so that it takes a tenth of its sorting.
    """
    a_step = _KEYS_A_STEP_OF_ONE_ROW if keys.shape[0] == 1 else _KEYS_A_STEP
    keys = tf.transpose(keys)
    length = tf.shape(keys)[0]
    numbers = tf.range(length)[:, tf.newaxis]
    # What fills the last step up is before no key.
    missing = tf.where(length > 0, -length % a_step, a_step)
    filler = [[0, missing], [0, 0]]
    others = tf.pad(keys, filler, constant_values=keys.dtype.min)

    def count(is_before: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
        def step(number: tf.Tensor, ranks: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            for ahead in range(a_step):
                ranks += tf.cast(is_before(number + ahead), tf.int32)
            return number + a_step, ranks

        start = 0, tf.zeros_like(keys, tf.int32)
        return tf.while_loop(lambda number, _: number < length, step, start)[1]

    def count_with_equal_keys() -> tf.Tensor:
        # Of two equal keys the one with the lower number counts for the other.
        return count(
            lambda number: others[number] > keys - tf.cast(number < numbers, keys.dtype)
        )

    ranks = count(lambda number: others[number] > keys)
    # If no two keys are equal, the ranks are the numbers from 0 on.
    are_different = tf.reduce_all(
        tf.reduce_sum(ranks, axis=0) == length * (length - 1) // 2
    )
    ranks = tf.cond(are_different, lambda: ranks, count_with_equal_keys)
    return tf.transpose(ranks)


def inverse_permutations(permutations: tf.Tensor) -> tf.Tensor:
    """Returns the inverse of the permutation in each row: where each number stands.

    Args:
        permutations: `[batch, length]`, int32, of the numbers from 0 to `length - 1`.

    Returns:
        `[batch, length]`, int32.
    """
    # As one long permutation, which is ten times as fast as to search or to sort.
    batch_size, length = tf.unstack(tf.shape(permutations))
    starts = tf.range(batch_size)[:, tf.newaxis] * length
    inverse = tf.math.invert_permutation(tf.reshape(permutations + starts, [-1]))
    return tf.reshape(inverse, [batch_size, length]) - starts


def arrivals(places: tf.Tensor, width: tf.Tensor, first: tf.Tensor) -> tf.Tensor:
    """Returns which position of a row goes to each place.

    Args:
        places: `[batch, length]`, int32, where each position goes, no two of a row to
            the same place; to none if it is below 0 or not below `width`.
        width: Scalar, int32, how many places there are.
        first: Scalar, int32, at least 1, from which number on to count the positions.

    Returns:
        `[batch, width]`, int32, the numbers of the positions; 0 where none goes.
    """
    batch_size, length = tf.unstack(tf.shape(places))
    numbers = tf.broadcast_to(first + tf.range(length), [batch_size, length])
    size = width
    # What is too large does not count; what is negative is made so, else it is refused.
    places = tf.bitwise.bitwise_and(places, tf.int32.max)
    if in_xla():
        # As places of one long row: it need not put pairs of indices together then.
        starts = tf.range(batch_size)[:, tf.newaxis] * width
        size *= batch_size
        places = tf.reshape(tf.where(places < width, places + starts, size), [-1])
        numbers = tf.reshape(numbers, [-1])
    # A sum of one number is the number: this takes half the time of a scatter.
    sums = tf.raw_ops.DenseBincount(input=places, size=size, weights=numbers)
    return tf.reshape(sums, [batch_size, width])


def running_counts(where: tf.Tensor) -> tf.Tensor:
    """Returns how many positions are true up to each one, itself included.

    Args:
        where: `[batch, length]`, bool.

    Returns:
        `[batch, length]`, int32.
    """
    # By products of matrices: floats count exactly up to 2^24.
    ones = tf.cast(where, tf.float32)
    length = where.shape[1]
    if length is not None and length <= _LONGEST_PRODUCT:
        counts = tf.matmul(ones, _triangle(length))
    else:
        counts = _running_counts_by_blocks(ones)
    return tf.cast(counts, tf.int32)


def _running_counts_by_blocks(ones: tf.Tensor) -> tf.Tensor:
    """Does as `running_counts`, within each block and then of the blocks."""
    batch_size, length = tf.unstack(tf.shape(ones))
    block = _block(ones.shape[1])
    blocks = -(-length // block)
    padded = tf.pad(ones, [[0, 0], [0, blocks * block - length]])
    within = tf.matmul(tf.reshape(padded, [-1, block]), _triangle(block))
    within = tf.reshape(within, [batch_size, blocks, block])
    before = tf.cumsum(within[:, :, -1:], axis=1, exclusive=True)
    counts = tf.reshape(within + before, [batch_size, blocks * block])[:, :length]
    return tf.ensure_shape(counts, ones.shape)


def _block(length: int | None) -> int:
    """Returns a length of block that divides a row's, if one does: padding costs."""
    dividing = (block for block in _BLOCKS if length and length % block == 0)
    return next(dividing, _BLOCKS[0])


def _triangle(length: int) -> tf.Tensor:
    return tf.linalg.band_part(tf.ones([length, length]), 0, -1)
