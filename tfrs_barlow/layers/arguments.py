"""Checks of arguments that layers and exports share."""

from __future__ import annotations

import numbers
import operator
from typing import Any

import numpy as np


def checked_integer(name: str, value: Any, minimum: int = 1) -> int:
    """Returns `value` as an int, or raises a ValueError that names the argument."""
    if not isinstance(value, numbers.Integral) or value < minimum:
        raise ValueError(
            f"{name} must be an integer of {minimum} or more, but it is {value!r}."
        )
    return int(value)


def whole(name: str, value: Any) -> int:
    """Returns the value of an argument that must be an integer.

    Raises:
        TypeError: If it is none.
    """
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, but it is {value!r}.") from None


def checked_rate(name: str, value: Any) -> float:
    """Returns `value` as a float, or raises a ValueError that names the argument."""
    if not isinstance(value, (int, float, np.floating)) or not 0 <= value < 1:
        raise ValueError(f"{name} must be a number in [0, 1), but it is {value!r}.")
    return float(value)
