"""Vocabulary: items become consecutive ids after the reserved ones, and back."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_barlow.data import Vocabulary
from tfrs_barlow.ids import FIRST_ITEM_ID, MASK_ID, OUT_OF_VOCABULARY_ID, PADDING_ID

# NumPy strings cannot end in a NUL character.
# Text that UTF-8 can hold: pandas keeps strings in Arrow where that is installed.
_STRINGS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)
_TOKENS = st.one_of(
    st.lists(st.integers(-(2**40), 2**40), unique=True, min_size=1),
    st.lists(_STRINGS, unique=True, min_size=1),
)


def test_reserved_ids_come_before_the_items() -> None:
    assert [PADDING_ID, MASK_ID, OUT_OF_VOCABULARY_ID, FIRST_ITEM_ID] == [0, 1, 2, 3]


def test_ids_follow_the_order_of_the_tokens() -> None:
    vocabulary = Vocabulary(["pear", "apple"])
    assert vocabulary.encode(["apple", "pear"]).tolist() == [4, 3]


def test_ids_are_int32() -> None:
    assert Vocabulary([10]).encode([10, 20]).dtype == np.int32


def test_unknown_items_share_one_id() -> None:
    vocabulary = Vocabulary([10, 20])
    assert vocabulary.encode([99, 10, -1]).tolist() == [2, 3, 2]


def test_size_counts_the_reserved_ids_and_len_does_not() -> None:
    vocabulary = Vocabulary([10, 20])
    assert (vocabulary.size, len(vocabulary)) == (5, 2)


def test_encodes_nothing_to_nothing() -> None:
    assert Vocabulary([10]).encode([]).tolist() == []


@pytest.mark.parametrize(
    "values",
    [[3, 1, 3, 2], np.array([3, 1, 2]), pd.Series([2, 1, 3])],
    ids=["list", "array", "series"],
)
def test_from_values_sorts_the_distinct_values(values: object) -> None:
    assert Vocabulary.from_values(values).tokens.tolist() == [1, 2, 3]


def test_from_values_takes_strings() -> None:
    assert Vocabulary.from_values(pd.Series(["b", "a", "b"])).tokens.tolist() == [
        "a",
        "b",
    ]


def test_decode_keeps_the_shape() -> None:
    decoded = Vocabulary([10, 20]).decode([[3, 4], [4, 4]])
    assert decoded.tolist() == [[10, 20], [20, 20]]


@settings(deadline=None, max_examples=50)
@given(_TOKENS)
def test_decode_inverts_encode(tokens: list) -> None:
    vocabulary = Vocabulary(tokens)
    ids = vocabulary.encode(tokens)
    assert ids.tolist() == list(range(FIRST_ITEM_ID, vocabulary.size))
    assert vocabulary.decode(ids).tolist() == tokens


@pytest.mark.parametrize("bad", [0, 1, 2, 5, -1])
def test_decode_refuses_ids_that_stand_for_no_item(bad: int) -> None:
    with pytest.raises(ValueError, match=r"\[3, 5\)"):
        Vocabulary([10, 20]).decode([3, bad])


@pytest.mark.parametrize("bad", [3.0, "3", True, None])
def test_decode_refuses_what_is_no_integer(bad: object) -> None:
    with pytest.raises(TypeError, match="ids must be integers"):
        Vocabulary([10, 20]).decode([bad])


def test_refuses_to_be_empty() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Vocabulary([])


def test_refuses_duplicates() -> None:
    with pytest.raises(ValueError, match=r"20\)? is there twice"):
        Vocabulary([10, 20, 20])


@pytest.mark.parametrize("tokens", [[1, "a"], [1.5, 2.5], [True, False]])
def test_refuses_tokens_that_are_neither_integers_nor_strings(tokens: list) -> None:
    with pytest.raises(TypeError, match="all integers or all strings"):
        Vocabulary(tokens)


@pytest.mark.parametrize("tokens", ["abc", b"abc", 5, None])
def test_refuses_what_is_no_list(tokens: object) -> None:
    with pytest.raises(TypeError, match="tokens must be a list of items"):
        Vocabulary(tokens)


def test_equal_vocabularies_hash_alike() -> None:
    assert Vocabulary([1, 2]) == Vocabulary([1, 2])
    assert hash(Vocabulary([1, 2])) == hash(Vocabulary([1, 2]))
    assert Vocabulary([1, 2]) != Vocabulary([2, 1])


@pytest.mark.parametrize(
    ("tokens", "values", "kind"),
    [
        ([7, 8], ["7", "8"], "string"),
        (["a", "b"], [7, 8], "integer"),
        (["a", "b"], [b"a"], "bytes"),
    ],
)
def test_items_of_another_type_are_refused(
    tokens: list, values: list, kind: str
) -> None:
    with pytest.raises(TypeError, match=f"values must be of the type.*of type {kind}"):
        Vocabulary(tokens).encode(values)
