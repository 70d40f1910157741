"""Checks of arguments: every public function and constructor refuses them alike.

A wrong type is a `TypeError`, a wrong value a `ValueError`. The message names the
argument, its value and what was expected.
"""

from __future__ import annotations

import math
import numbers
import operator
import os
import pathlib
from collections.abc import Collection
from typing import Any, TypeVar

import numpy as np

_T = TypeVar("_T")


def integer(
    name: str,
    value: Any,
    *,
    at_least: int | None = None,
    at_most: int | None = None,
) -> int:
    """Returns an argument that must be an integer as an `int`.

    Python's integers, NumPy's, and scalar integer tensors pass; booleans do not.
    """
    expected = "an integer" + _bounds(at_least=at_least, at_most=at_most)
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(_message(name, expected, value)) from None
    _require_bounds(name, expected, value, at_least=at_least, at_most=at_most)
    return number


def number(
    name: str,
    value: Any,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
) -> float:
    """Returns an argument that must be a finite real number as a `float`.

    Python's numbers and NumPy's pass; booleans and strings do not.
    """
    bounds = {"at_least": at_least, "above": above, "at_most": at_most, "below": below}
    expected = "a number" + _bounds(**bounds)
    if not isinstance(value, numbers.Real) or isinstance(value, bool | np.bool_):
        raise TypeError(_message(name, expected, value))
    if not _is_finite(value):
        raise ValueError(_message(name, f"{expected}, and finite", value))
    _require_bounds(name, expected, value, **bounds)
    return float(value)


def _is_finite(value: numbers.Real) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # An integer too large for a float.
        return False


def one_of(name: str, value: _T, known: Collection[_T]) -> _T:
    """Returns an argument that must be one of `known`, which share one type."""
    expected = f"one of {', '.join(map(repr, known))}"
    if not isinstance(value, tuple({type(choice) for choice in known})):
        raise TypeError(_message(name, expected, value))
    if value not in known:
        raise ValueError(_message(name, expected, value))
    return value


def boolean(name: str, value: Any) -> bool:
    """Returns an argument that must be true or false as a `bool`."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(_message(name, "True or False", value))
    return bool(value)


def text(name: str, value: Any) -> str:
    """Returns an argument that must be a `str`, and not empty."""
    if not isinstance(value, str):
        raise TypeError(_message(name, "a string", value))
    if not value:
        raise ValueError(_message(name, "a string that is not empty", value))
    return value


def path(name: str, value: Any) -> pathlib.Path:
    """Returns an argument that must be a path as a `pathlib.Path`."""
    if not isinstance(value, str | os.PathLike):
        raise TypeError(_message(name, "a path", value))
    return pathlib.Path(value)


def instance(name: str, value: Any, kind: type[_T]) -> _T:
    """Returns an argument that must be an object of a class."""
    if not isinstance(value, kind):
        raise TypeError(_message(name, f"a {kind.__name__}", value))
    return value


def instances(name: str, values: Any, kind: type[_T]) -> list[_T]:
    """Returns an argument that must be a list or tuple of objects of one class."""
    is_list = isinstance(values, list | tuple)
    if not is_list or not all(isinstance(value, kind) for value in values):
        raise TypeError(_message(name, f"a list of {kind.__name__} objects", values))
    return list(values)


_COMPARISONS = {
    "at_least": (operator.ge, "of at least"),
    "above": (operator.gt, "above"),
    "at_most": (operator.le, "of at most"),
    "below": (operator.lt, "below"),
}


def _bounds(**bounds: float | None) -> str:
    """Returns the bounds in words."""
    words = [
        f"{_COMPARISONS[kind][1]} {bound}"
        for kind, bound in bounds.items()
        if bound is not None
    ]
    return " " + " and ".join(words) if words else ""


def _require_bounds(
    name: str, expected: str, value: Any, **bounds: float | None
) -> None:
    for kind, bound in bounds.items():
        if bound is not None and not _COMPARISONS[kind][0](value, bound):
            raise ValueError(_message(name, expected, value))


def _message(name: str, expected: str, value: Any) -> str:
    return f"{name} must be {expected}, but it is {value!r}."
