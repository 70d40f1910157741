"""What is recommended, what is similar, and what those get who are unknown."""

import numpy as np
import pytest
import tensorflow as tf

import tfrs_barlow as tfrsb
from tfrs_barlow.serving import index as index_module
from tfrs_barlow.serving.index import ExactIndex

ITEMS = [f"item {number}" for number in range(50)]
EMBEDDINGS = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
EMBEDDINGS[7] = 0
POPULARITY = np.random.default_rng(1).permutation(50).astype(np.float32)
NOTHING = tf.constant([["", ""]])


def index(popularity: np.ndarray | None = POPULARITY) -> ExactIndex:
    return ExactIndex(tfrsb.data.Vocabulary(ITEMS), EMBEDDINGS, popularity)


def sorted_items(scores: np.ndarray) -> np.ndarray:
    order = np.argsort(-scores, axis=-1, kind="stable")
    return np.array(ITEMS)[order].astype(bytes)


def test_recommend_ranks_by_inner_product() -> None:
    queries = tf.random.normal([3, 8])
    items, scores = index().recommend(
        queries, tf.constant(50), NOTHING, tf.zeros([3], tf.bool)
    )
    products = queries.numpy() @ EMBEDDINGS.T
    np.testing.assert_array_equal(items, sorted_items(products))
    np.testing.assert_allclose(scores, -np.sort(-products), atol=1e-5)


def test_a_cold_start_gets_popular_items_but_the_excluded() -> None:
    items, scores = index().recommend(
        tf.zeros([2, 8]),
        tf.constant(50),
        tf.constant([["item 3", "unknown"], ["", ""]]),
        tf.constant([True, False]),
    )
    popular = sorted_items(POPULARITY)
    np.testing.assert_array_equal(items[0, :49], popular[popular != b"item 3"])
    assert scores[0, 0] == 49
    assert items[0, 49] == b"" and scores[0, 49] == -np.inf
    np.testing.assert_array_equal(scores[1], np.zeros(50))  # Not the other row.


def test_without_popularity_a_cold_start_is_ranked_as_the_others() -> None:
    queries = tf.random.normal([2, 8])
    cold, _ = index(None).recommend(
        queries, tf.constant(9), NOTHING, tf.constant([True, False])
    )
    warm, _ = index().recommend(
        queries, tf.constant(9), NOTHING, tf.constant([False, False])
    )
    np.testing.assert_array_equal(cold, warm)


def test_similar_items_are_ranked_by_cosine_without_the_item_itself() -> None:
    asked = [4, 31]
    items, scores, unknown = index().similar(
        tf.constant([ITEMS[i] for i in asked]), tf.constant(50)
    )
    norms = np.maximum(np.linalg.norm(EMBEDDINGS, axis=1), 1e-30)
    cosines = EMBEDDINGS[asked] @ EMBEDDINGS.T / norms / norms[asked][:, np.newaxis]
    cosines[[0, 1], asked] = -np.inf
    np.testing.assert_array_equal(items[:, :49], sorted_items(cosines)[:, :49])
    np.testing.assert_array_equal(items[:, 49], [b"", b""])
    np.testing.assert_allclose(scores, -np.sort(-cosines), atol=1e-6)
    np.testing.assert_array_equal(unknown, [False, False])


def test_an_embedding_of_zeros_is_similar_to_none_and_gives_no_nan() -> None:
    _, scores, _ = index().similar(tf.constant(["item 7"]), tf.constant(49))
    np.testing.assert_array_equal(scores, np.zeros([1, 49]))


@pytest.mark.parametrize("item", ["unknown", ""])
def test_an_unknown_item_is_similar_to_popular_ones(item: str) -> None:
    items, scores, unknown = index().similar(tf.constant([item]), tf.constant(5))
    np.testing.assert_array_equal(items, sorted_items(POPULARITY)[np.newaxis, :5])
    np.testing.assert_array_equal(scores, [[49, 48, 47, 46, 45]])
    np.testing.assert_array_equal(unknown, [True])


def test_an_unknown_item_is_similar_to_nothing_without_popularity() -> None:
    items, scores, unknown = index(None).similar(tf.constant(["new"]), tf.constant(2))
    np.testing.assert_array_equal(items, [[b"", b""]])
    np.testing.assert_array_equal(scores, [[-np.inf, -np.inf]])
    np.testing.assert_array_equal(unknown, [True])


@pytest.mark.parametrize("block", [1, 7, 25, 50, 51])
def test_the_size_of_the_blocks_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    queries = tf.random.normal([3, 8])
    cold = tf.constant([False, True, False])
    whole = index()
    monkeypatch.setattr(index_module, "BLOCK", block)
    blocked = index()
    assert tf.shape(blocked.blocks)[2] == min(block, 50)
    for part, all_at_once in zip(
        (
            *blocked.recommend(queries, tf.constant(9), NOTHING, cold),
            *blocked.similar(tf.constant(["item 49", "item 0"]), tf.constant(9)),
        ),
        (
            *whole.recommend(queries, tf.constant(9), NOTHING, cold),
            *whole.similar(tf.constant(["item 49", "item 0"]), tf.constant(9)),
        ),
        strict=True,
    ):
        if part.dtype == tf.float32:
            np.testing.assert_allclose(part, all_at_once, atol=1e-6)
        else:
            np.testing.assert_array_equal(part, all_at_once)
