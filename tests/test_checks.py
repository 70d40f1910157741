"""The checks of arguments: what passes, and which error the rest gets."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfrs_barlow import _checks


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), tf.constant(3)])
def test_integers_of_any_library_become_python_integers(value: Any) -> None:
    result = _checks.integer("size", value, at_least=3, at_most=3)
    assert (type(result), result) == (int, 3)


@pytest.mark.parametrize(
    "value", [2.5, 3.0, "3", None, True, np.True_, float("nan"), [3], b"3", 3j]
)
def test_what_is_no_integer_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError, match="size must be an integer of at least 1, but"):
        _checks.integer("size", value, at_least=1)


@pytest.mark.parametrize("value", [0, -1, 5, 10**30])
def test_an_integer_out_of_range_is_a_value_error(value: int) -> None:
    expected = f"size must be an integer of at least 1 and of at most 4, .* {value}"
    with pytest.raises(ValueError, match=expected):
        _checks.integer("size", value, at_least=1, at_most=4)


@pytest.mark.parametrize("value", [0.5, np.float32(0.5), np.float64(0.5)])
def test_numbers_of_any_library_become_python_floats(value: Any) -> None:
    result = _checks.number("rate", value, at_least=0.5, at_most=0.5)
    assert (type(result), result) == (float, 0.5)


def test_an_integer_is_a_number() -> None:
    result = _checks.number("rate", 1)
    assert (type(result), result) == (float, 1.0)


@pytest.mark.parametrize("value", ["0.5", None, True, [0.5], 1j])
def test_what_is_no_number_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError, match="rate must be a number"):
        _checks.number("rate", value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -np.inf, 10**400])
def test_a_number_must_be_finite(value: float) -> None:
    with pytest.raises(ValueError, match="rate must be a number, and finite"):
        _checks.number("rate", value)


@pytest.mark.parametrize(
    ("bounds", "value", "words"),
    [
        ({"at_least": 0}, -0.1, "of at least 0"),
        ({"above": 0}, 0.0, "above 0"),
        ({"at_most": 1}, 1.1, "of at most 1"),
        ({"below": 1}, 1.0, "below 1"),
        ({"at_least": 0, "below": 1}, 2, "of at least 0 and below 1"),
    ],
)
def test_a_number_out_of_range_is_a_value_error(
    bounds: dict[str, float], value: float, words: str
) -> None:
    with pytest.raises(ValueError, match=f"rate must be a number {words}, .* {value}"):
        _checks.number("rate", value, **bounds)


def test_a_name_must_be_known() -> None:
    assert _checks.one_of("mode", "fast", ["fast", "slow"]) == "fast"
    with pytest.raises(ValueError, match=r"mode must be one of 'fast', 'slow', .*'no'"):
        _checks.one_of("mode", "no", ["fast", "slow"])


@pytest.mark.parametrize("value", [3, None, ["fast"], b"fast"])
def test_a_name_of_another_type_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError, match="mode must be one of"):
        _checks.one_of("mode", value, ["fast", "slow"])


@pytest.mark.parametrize("value", [True, False, np.True_])
def test_booleans_of_any_library_become_python_booleans(value: Any) -> None:
    assert _checks.boolean("verbose", value) is bool(value)


@pytest.mark.parametrize("value", [0, 1, None, "yes", tf.constant(True)])
def test_what_is_no_boolean_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError, match="verbose must be True or False"):
        _checks.boolean("verbose", value)


def test_a_text_must_not_be_empty() -> None:
    assert _checks.text("column", "user") == "user"
    with pytest.raises(ValueError, match="column must be a string that is not empty"):
        _checks.text("column", "")


@pytest.mark.parametrize("value", [3, None, b"user"])
def test_what_is_no_text_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError, match="column must be a string"):
        _checks.text("column", value)


@pytest.mark.parametrize("value", ["a/b", pathlib.PurePosixPath("a/b")])
def test_texts_and_paths_become_paths(value: Any) -> None:
    assert _checks.path("folder", value) == pathlib.Path("a/b")


@pytest.mark.parametrize("value", [3, None, b"a/b", ["a"]])
def test_what_is_no_path_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError, match="folder must be a path"):
        _checks.path("folder", value)


def test_an_instance_is_returned_as_it_is() -> None:
    value: list[int] = []
    assert _checks.instance("values", value, list) is value
    with pytest.raises(TypeError, match="values must be a list, but it is 3"):
        _checks.instance("values", 3, list)


def test_instances_become_a_list() -> None:
    assert _checks.instances("parts", (1, 2), int) == [1, 2]


@pytest.mark.parametrize("value", [None, 3, "ab", [1, "b"]])
def test_what_is_no_list_of_instances_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError, match="parts must be a list of int objects"):
        _checks.instances("parts", value, int)
