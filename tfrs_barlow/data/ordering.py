"""Numbers distinct values and orders events by user and time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd


def factorize(values: pd.Series | npt.NDArray) -> tuple[npt.NDArray, pd.Index]:
    """Returns the distinct values, sorted, and the place of each value among them."""
    if pd.api.types.is_signed_integer_dtype(values.dtype):
        integers = np.asarray(values, np.int64)
        low, high = int(integers.min()), int(integers.max())
        # For dense integers a lookup table is several times as fast as hashing.
        if high - low <= 2 * len(integers):
            places = integers - low
            present = np.zeros(high - low + 1, np.bool_)
            present[places] = True
            rank = np.cumsum(present, dtype=np.int32) - np.int32(1)
            return rank[places], pd.Index(np.flatnonzero(present) + low)
    codes, uniques = pd.factorize(values, sort=True)
    return codes, pd.Index(uniques)


def time_order(
    users: npt.NDArray, timestamps: npt.NDArray[np.int64]
) -> npt.NDArray[np.intp]:
    """Returns the order by user and time; equal events keep the order they have."""
    first, last = int(timestamps.min()), int(timestamps.max())
    time_bits = (last - first).bit_length()
    if int(users.max()).bit_length() + time_bits > 63:
        return np.lexsort((timestamps, users))
    # One sort instead of two, of integers with the user and, in the low bits, the time.
    keys = users.astype(np.int64)
    keys <<= time_bits
    keys += timestamps  # May overflow; the subtraction wraps back.
    keys -= first
    return np.argsort(keys, kind="stable")
