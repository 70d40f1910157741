"""The graph encodes items as the vocabulary does, and also knows padding."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import tfrs_barlow as tfrsb
from tfrs_barlow.serving.items import ItemTable

strings = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1
)
integers = st.integers(min_value=1, max_value=2**63 - 1)


@settings(deadline=None)
@given(st.data(), st.sampled_from([strings, integers]))
def test_real_items_are_encoded_as_by_the_vocabulary(
    data: st.DataObject, items: st.SearchStrategy[Any]
) -> None:
    tokens = data.draw(st.lists(items, min_size=1, unique=True))
    values = data.draw(st.lists(st.sampled_from(tokens) | items, min_size=1))
    vocabulary = tfrsb.data.Vocabulary(tokens)
    table = ItemTable(vocabulary)
    ids = table.encode(tf.constant(values, table.dtype))
    assert ids.dtype == tf.int32
    np.testing.assert_array_equal(ids, vocabulary.encode(np.array(values, object)))


@settings(deadline=None)
@given(st.data(), st.sampled_from([strings, integers]))
def test_an_item_is_found_and_named(
    data: st.DataObject, items: st.SearchStrategy[Any]
) -> None:
    tokens = data.draw(st.lists(items, min_size=1, unique=True))
    table = ItemTable(tfrsb.data.Vocabulary(tokens))
    raw = tf.constant(tokens, table.dtype)
    np.testing.assert_array_equal(table.find(raw), np.arange(len(tokens)))
    np.testing.assert_array_equal(table.name_of(table.find(raw)), raw)


@pytest.mark.parametrize(
    ("tokens", "items", "ids"),
    [
        (["a", "b"], ["a", "", "b", "c"], [3, 0, 4, 2]),
        ([7, 8], [7, -1, 8, 0, 9, -(2**63)], [3, 0, 4, 0, 2, 0]),
        ([0, 7], [7, -1, 0], [4, 0, 3]),  # Here 0 is an item.
    ],
)
def test_padding_and_unknown_items_get_their_reserved_ids(
    tokens: list[Any], items: list[Any], ids: list[int]
) -> None:
    table = ItemTable(tfrsb.data.Vocabulary(tokens))
    encoded = table.encode(tf.constant([items], table.dtype))
    np.testing.assert_array_equal(encoded, [ids])


@pytest.mark.parametrize(("tokens", "blank"), [(["a"], b""), ([0], -1), ([7], -1)])
def test_nowhere_is_named_as_padding(tokens: list[Any], blank: bytes | int) -> None:
    table = ItemTable(tfrsb.data.Vocabulary(tokens))
    blanks = table.name_of(tf.constant([-1, -1]))
    np.testing.assert_array_equal(blanks, [blank] * 2)
    np.testing.assert_array_equal(table.encode(blanks), [0] * 2)


@pytest.mark.parametrize("tokens", [["a", ""], [4, -1, -2]])
def test_an_item_that_stands_for_padding_is_refused(tokens: list[Any]) -> None:
    with pytest.raises(ValueError, match=r'vocabulary must not hold (""|-2)'):
        ItemTable(tfrsb.data.Vocabulary(tokens))


def test_a_list_is_no_vocabulary() -> None:
    with pytest.raises(TypeError, match=r"vocabulary must be .*, but it is a list"):
        ItemTable(["a", "b"])
