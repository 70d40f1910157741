"""Random draws that augmentations share.

Every draw is stateless and, for a given seed, the same in eager mode, in a graph and
under XLA; a draw for a position does not depend on how far its row is padded. All
counts, lengths and results are int32.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import tensorflow as tf

from tfrs_barlow.layers.augmentation.row_ops import in_xla, ranks

_PHILOX = 1
_BLOCKS = 2**40
"""More blocks of random bits than one draw takes from a seed."""

KEY_SPAN = 2**30
"""Random integers lie below it, so that differences of them fit an int32 too."""

_STEP = 0x1E3779B9
_FACTORS = 0x21F0AAAD, 0x335A2D97
"""Odd, so that multiplying by them modulo `KEY_SPAN` is one-to-one."""

_GOLDEN_RATIO = 0x9E3779B1
"""Its fraction, as 32 bits."""


def fold_in(seed: tf.Tensor, number: int) -> tf.Tensor:
    """Returns a new `[2]` seed, independent of those for other numbers."""
    return _random_bits([2], seed, tf.int64, block=(number + 1) * _BLOCKS)


def split(seed: tf.Tensor, count: int) -> list[tf.Tensor]:
    """Returns `count` independent `[2]` seeds."""
    return tf.unstack(_random_bits([count, 2], seed, tf.int64))


def random_counts(rate: float, lengths: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns `rate * lengths`, rounded up or down at random so that the mean is exact.

    Rounding down, as other libraries do, would leave every sequence shorter than
    1 / rate as it is.

    Args:
        rate: Between 0 and 1.
        lengths: `[batch]`.
        seed: `[2]`.

    Returns:
        `[batch]`, between 0 and `lengths`.
    """
    # In float64: a product that is an integer must not be rounded to a fraction.
    uniform = tf.cast(_random_integers(tf.shape(lengths), seed), tf.float64) / KEY_SPAN
    counts = tf.floor(rate * tf.cast(lengths, tf.float64) + uniform)
    return tf.minimum(tf.cast(counts, tf.int32), lengths)


def max_counts(rate: float, length: tf.Tensor) -> tf.Tensor:
    """Returns an upper bound of `random_counts` for rows of at most this length."""
    bound = tf.cast(rate * tf.cast(length, tf.float64), tf.int32) + 1
    return tf.minimum(bound, length)


def random_starts(counts: tf.Tensor, lengths: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns where a window of `counts` items starts: uniform over all that fit.

    All are `[batch]`; a start lies between 0 and `lengths - counts` inclusive.
    """
    return random_choices(lengths - counts + 1, seed)


def random_choices(choices: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns integers from 0 to `choices - 1`, `[batch]`, all equally likely."""
    return _random_integers(tf.shape(choices), seed) % choices


def random_positions(
    counts: tf.Tensor, lengths: tf.Tensor, length: tf.Tensor, seed: tf.Tensor
) -> tf.Tensor:
    """Returns which positions are drawn: every set of `counts` is equally likely.

    Args:
        counts: `[batch]`, between 0 and `lengths`.
        lengths: `[batch]`.
        length: Scalar, the width of the batch.
        seed: `[2]`.

    Returns:
        `[batch, length]`, bool; true `counts` times in a row, within its length.
    """
    return smallest_mask(random_keys(lengths, length, seed), counts, lengths)


def random_keys(lengths: tf.Tensor, length: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns random integers to compare, `[batch, length]`, no two in a row equal.

    They are below `KEY_SPAN` within the length of a row, and `KEY_SPAN` beyond it.
    """
    keys = random_integers(tf.size(lengths), length, seed)
    is_item = tf.range(length)[tf.newaxis] < lengths[:, tf.newaxis]
    return tf.where(is_item, keys, KEY_SPAN)


def random_integers(
    batch_size: tf.Tensor, length: tf.Tensor, seed: tf.Tensor
) -> tf.Tensor:
    """Returns random integers below `KEY_SPAN`, all different in a row.

    Each row is a sequence with equal steps, mixed in a way that is one-to-one, as in
    SplitMix. Random bits, which cost ten times as much, are taken only for its start
    and for the way it is mixed.
    """
    bits = tf.bitcast(_random_integers([batch_size, 2], seed), tf.uint32)
    start, twist = bits[:, :1], bits[:, 1:]
    steps = tf.cast(tf.range(length), tf.uint32) * _STEP
    numbers = _mixed(_wrapped(start + steps[tf.newaxis]), _FACTORS[0]) ^ twist
    return tf.bitcast(_folded(_mixed(numbers, _FACTORS[1])), tf.int32)


def spread_choices(
    integers: tf.Tensor, choices: int | tf.Tensor, most: int
) -> tf.Tensor:
    """Returns integers from 0 to `choices - 1`, all equally likely for random integers.

    The result stays uniform even if only small integers are passed in, for example
    those of positions selected for being smallest. A remainder would be uniform too,
    but takes a division.

    Args:
        integers: Any shape, random below `KEY_SPAN` or a part of it.
        choices: An integer or of the shape of `integers`, between 1 and `most`.
        most: Less than 2^16.

    Returns:
        Of the shape of `integers`.
    """
    # The multiples of the golden ratio lie evenly between two whole numbers. Their
    # fraction is cut to so many bits that its product with the choices fits 32 bits.
    bits = 32 - most.bit_length()
    fractions = tf.bitwise.right_shift(
        tf.bitcast(integers, tf.uint32) * _GOLDEN_RATIO,
        tf.constant(32 - bits, tf.uint32),
    )
    products = fractions * tf.cast(choices, tf.uint32)
    return tf.bitcast(
        tf.bitwise.right_shift(products, tf.constant(bits, tf.uint32)), tf.int32
    )


def random_orders(counts: tf.Tensor, length: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns permutations of `counts`, `[batch]`, items: all are equally likely.

    A row of the result, `[batch, length]`, is a permutation of 0 to its count - 1,
    followed by the numbers from its count on, in order.
    """
    numbers = tf.range(length)[tf.newaxis]
    keys = random_integers(tf.size(counts), length, seed)
    # Keys that sort the rest behind the permutation, in order.
    keys = tf.where(numbers < counts[:, tf.newaxis], keys, -1 - numbers)
    return ranks(keys)


def smallest_mask(keys: tf.Tensor, counts: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """Returns which keys are the `counts` smallest of their row, `[batch, length]`.

    The keys, `[batch, length]`, must be those of `random_keys`.
    """
    if in_xla():
        return keys <= _guessed_threshold(keys, counts, lengths)
    return keys <= _selected_threshold(keys, counts)


def _mixed(numbers: tf.Tensor, factor: int) -> tf.Tensor:
    return _wrapped(_folded(numbers) * tf.constant(factor, tf.uint32))


def _folded(numbers: tf.Tensor) -> tf.Tensor:
    """Mixes the upper half of the bits into the lower; a product does the reverse."""
    return numbers ^ tf.bitwise.right_shift(numbers, tf.constant(15, tf.uint32))


def _wrapped(numbers: tf.Tensor) -> tf.Tensor:
    return numbers & tf.constant(KEY_SPAN - 1, tf.uint32)


def _selected_threshold(keys: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
    """Returns the largest key of each row's `counts` smallest, `[batch, 1]`."""
    # NthElement takes one n for all rows, so each row is padded with (largest count -
    # own count) keys smaller than any real key.
    most = tf.maximum(tf.reduce_max(counts), 1)
    is_below = tf.range(most)[tf.newaxis] < (most - counts)[:, tf.newaxis]
    keys = tf.concat([keys, tf.where(is_below, -1, KEY_SPAN)], axis=1)
    return tf.raw_ops.NthElement(input=keys, n=most - 1)[:, tf.newaxis]


_GUESSES = 7
"""Then hardly a row is more than two or three keys below its threshold."""


class _Bound(NamedTuple):
    """A key of each row, and how many keys are not above it; `[batch, 1]`, float."""

    key: tf.Tensor
    count: tf.Tensor


def _guessed_threshold(
    keys: tf.Tensor, counts: tf.Tensor, lengths: tf.Tensor
) -> tf.Tensor:
    """Does as `_selected_threshold`, in operations that XLA has.

    A threshold is guessed between bounds some times, and then moved from key to key.
    Random keys are spread so evenly that the guesses come close. They aim between the
    last key to select and the first one not to.
    """
    wanted, lengths = (
        tf.cast(number[:, tf.newaxis], tf.float32) for number in (counts, lengths)
    )
    low = _Bound(tf.zeros_like(wanted) - 1, tf.zeros_like(wanted))
    high = _Bound(tf.zeros_like(wanted) + KEY_SPAN, lengths)
    aim = wanted + 0.5
    for _ in range(_GUESSES):
        guess = _guess(keys, aim, low, high)
        is_above = guess.count > wanted
        pick = functools.partial(tf.where, is_above)
        low, high = _Bound(*map(pick, low, guess)), _Bound(*map(pick, guess, high))
        # If every guess fell on the same side, the other bound would never move.
        other_is_far = pick(wanted - low.count, high.count - wanted) > 2
        aim = wanted + tf.where(other_is_far, pick(-0.5, 1.5), 0.5)
    return _advance(keys, low, wanted)


def _guess(keys: tf.Tensor, aim: tf.Tensor, low: _Bound, high: _Bound) -> _Bound:
    """Returns a key between two bounds, with about `aim` keys that are not above it."""
    share = (aim - low.count) / (high.count - low.count + 1)
    key = tf.floor(low.key + (high.key - low.key) * share)
    below = tf.cast(keys <= tf.cast(key, tf.int32), tf.int32)
    count = tf.reduce_sum(below, axis=1, keepdims=True)
    return _Bound(key, tf.cast(count, tf.float32))


def _advance(keys: tf.Tensor, low: _Bound, wanted: tf.Tensor) -> tf.Tensor:
    """Returns the key of rank `wanted`, `[batch, 1]`, by going up from a bound."""

    def next_key(key: tf.Tensor, missing: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        above = tf.where(keys > key, keys, KEY_SPAN)
        following = tf.reduce_min(above, axis=1, keepdims=True)
        return tf.where(missing > 0, following, key), missing - 1

    key, missing = tf.cast(low.key, tf.int32), tf.cast(wanted - low.count, tf.int32)
    return tf.while_loop(
        lambda _, missing: tf.reduce_any(missing > 0), next_key, (key, missing)
    )[0]


def _random_integers(shape: Any, seed: tf.Tensor) -> tf.Tensor:
    """Returns random integers below `KEY_SPAN`, int32.

    All draws are made from these, since XLA makes other floats from the same seed.
    """
    return tf.bitwise.bitwise_and(_random_bits(shape, seed, tf.int32), KEY_SPAN - 1)


def _random_bits(
    shape: Any, seed: tf.Tensor, dtype: tf.DType, block: int = 0
) -> tf.Tensor:
    """Returns integers all of whose bits are random, starting at a block of the seed's.

    By the raw operation, since the functions of `tf.random` take longer to convert a
    seed than a small draw takes. By Philox, since the default algorithm depends on the
    device, and views must not.
    """
    key, stream = tf.unstack(tf.bitcast(tf.cast(seed, tf.int64), tf.uint64))
    return tf.raw_ops.StatelessRandomUniformFullIntV2(
        shape=shape,
        key=key[tf.newaxis],
        counter=tf.stack([tf.constant(block, tf.uint64), stream]),
        alg=_PHILOX,
        dtype=dtype,
    )
