"""Neighbors by co-occurrence and by embedding: against their definitions."""

import pathlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from tfrs_barlow.data import (
    UserSequences,
    build_sequences,
    cooccurrence_neighbors,
    embedding_neighbors,
    load_movielens,
)


def make_sequences(*rows: Sequence[int]) -> UserSequences:
    return UserSequences.from_lists(dict(enumerate(rows)))


def by_definition(rows: list[list[int]], size: int, iuf: bool) -> np.ndarray:
    similarity = np.zeros((size, size))
    users_of = [sum(item in row for row in rows) for item in range(size)]
    for i in range(3, size):
        for j in range(3, size):
            for row in rows:
                if i != j and i in row and j in row:
                    weight = 1 / np.log1p(len(row)) if iuf else 1
                    similarity[i, j] += weight / np.sqrt(users_of[i] * users_of[j])
    return similarity


@pytest.mark.parametrize("iuf", [True, False])
def test_by_definition(iuf: bool) -> None:
    rng = np.random.default_rng(0)
    rows = [
        rng.choice(np.arange(2, 12), size=n, replace=False).tolist()
        for n in rng.integers(1, 8, size=30)
    ]
    expected = by_definition(rows, 12, iuf)
    neighbors = cooccurrence_neighbors(
        make_sequences(*rows), 12, k=4, inverse_user_frequency=iuf
    )
    for item in range(3, 12):
        best = np.sort(expected[item])[::-1][:4]
        np.testing.assert_allclose(expected[item][neighbors[item]], best)
    assert not neighbors[:3].any()


def test_users_who_have_everything_count_less() -> None:
    everything = list(range(3, 13))
    sequences = make_sequences(everything, everything, everything, [3, 4], [3, 4])
    frequency = cooccurrence_neighbors(sequences, 13, k=1)
    assert frequency[3] == [4]


def test_an_item_without_company_has_no_neighbor() -> None:
    neighbors = cooccurrence_neighbors(make_sequences([3, 4], [5], [5]), 7, k=3)
    assert neighbors[3:].tolist() == [[4, 0, 0], [3, 0, 0], [0, 0, 0], [0, 0, 0]]


def test_ties_go_to_the_lower_id() -> None:
    # Of 100 items that are all equally similar.
    neighbors = cooccurrence_neighbors(make_sequences(range(3, 103)), 103, k=3)
    assert neighbors[3].tolist() == [4, 5, 6]
    assert neighbors[4].tolist() == [3, 5, 6]
    assert neighbors[102].tolist() == [3, 4, 5]


def test_without_users_nobody_has_neighbors() -> None:
    assert cooccurrence_neighbors(make_sequences(), 5, k=2).tolist() == [[0, 0]] * 5


def test_how_often_a_user_has_an_item_does_not_matter() -> None:
    once = cooccurrence_neighbors(make_sequences([3, 4], [3, 5], [3, 5]), 6, k=2)
    often = make_sequences([3, 4, 4, 4, 4], [3, 5], [3, 5])
    assert (
        cooccurrence_neighbors(often, 6, k=2, inverse_user_frequency=False).tolist()
        == once.tolist()
    )


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="k must be an integer of at least 1"):
        cooccurrence_neighbors(make_sequences([3, 4]), 5, k=0)
    with pytest.raises(ValueError, match="below vocabulary_size = 4"):
        cooccurrence_neighbors(make_sequences([3, 4]), 4)


def test_movielens(ml_1m_dir: pathlib.Path) -> None:
    log = load_movielens("ml-1m", ml_1m_dir)
    sequences, vocabulary = build_sequences(log)
    neighbors = cooccurrence_neighbors(sequences, vocabulary.size, k=5)
    titles = log.items.set_index("item_id")["title"]
    star_wars = vocabulary.encode([260])
    assert titles[260] == "Star Wars: Episode IV - A New Hope (1977)"
    alike = set(titles[vocabulary.decode(neighbors[star_wars][0])])
    assert "Star Wars: Episode V - The Empire Strikes Back (1980)" in alike


def table(*items: npt.ArrayLike) -> np.ndarray:
    """The embeddings of some items, after those of the reserved ids."""
    items = np.asarray(items)
    return np.concatenate([np.zeros_like(items, shape=(3, items.shape[1])), items])


def most_similar(similarities: np.ndarray, k: int) -> np.ndarray:
    """By the definition: all others, by similarity and then by id."""
    neighbors = np.zeros((len(similarities), k), np.int32)
    for item in range(3, len(similarities)):
        others = [other for other in range(3, len(similarities)) if other != item]
        others.sort(key=lambda other: (-similarities[item, other], other))
        neighbors[item, : len(others[:k])] = others[:k]
    return neighbors


class TestEmbeddings:
    def test_by_cosine_and_by_scalar_product(self) -> None:
        embeddings = table([1.0, 0.0], [9.0, 9.0], [1.0, 0.5], [-1.0, 0.0])
        cosine = embedding_neighbors(embeddings, k=3)
        assert cosine.dtype == np.int32
        assert cosine.tolist() == [
            [0, 0, 0],
            [0, 0, 0],
            [0, 0, 0],
            [5, 4, 6],
            [5, 3, 6],
            [4, 3, 6],
            [4, 5, 3],
        ]
        dot = embedding_neighbors(embeddings, k=1, similarity="dot")
        assert dot[3:].tolist() == [[4], [5], [4], [3]]

    @pytest.mark.parametrize("similarity", ["cosine", "dot"])
    @pytest.mark.parametrize(("size", "k"), [(60, 7), (700, 3), (700, 40), (3_000, 2)])
    def test_by_definition(self, size: int, k: int, similarity: str) -> None:
        """For few items and many, which are left out and compared block by block."""
        embeddings = np.random.default_rng(0).normal(size=(size, 5))
        unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
        vectors = unit if similarity == "cosine" else embeddings
        expected = np.where(np.eye(size), -np.inf, vectors @ vectors.T)
        expected[:, :3] = -np.inf
        neighbors = embedding_neighbors(embeddings, k=k, similarity=similarity)
        assert neighbors[3:].min() >= 3
        np.testing.assert_allclose(
            np.take_along_axis(expected, neighbors, axis=1)[3:],
            np.sort(expected, axis=1)[3:, : -k - 1 : -1],
            atol=1e-5,
        )

    @settings(deadline=None)
    @given(
        st_numpy.arrays(
            np.int64,
            st.tuples(st.integers(0, 100), st.just(2)),
            elements=st.integers(1, 9),
        ),
        st.integers(1, 5),
    )
    def test_ties_go_to_the_lower_id(self, items: np.ndarray, k: int) -> None:
        embeddings = table(*items) if len(items) else np.zeros((3, 2))
        np.testing.assert_array_equal(
            embedding_neighbors(embeddings, k=k, similarity="dot"),
            most_similar(embeddings @ embeddings.T, k),
        )

    @pytest.mark.parametrize("similarity", ["cosine", "dot"])
    def test_an_item_without_embedding_has_no_neighbors_and_is_not_one(
        self, similarity: str
    ) -> None:
        embeddings = table([1.0, 0.0], [0.0, 0.0], [-1.0, 0.1])
        neighbors = embedding_neighbors(embeddings, k=2, similarity=similarity)
        assert neighbors[3:].tolist() == [[5, 0], [0, 0], [3, 0]]

    @pytest.mark.parametrize("similarity", ["cosine", "dot"])
    @pytest.mark.parametrize("shape", [(0, 4), (2, 4), (5, 4), (5, 0)])
    def test_nobody_may_have_one(self, shape: tuple[int, ...], similarity: str) -> None:
        neighbors = embedding_neighbors(np.zeros(shape), k=2, similarity=similarity)
        assert neighbors.tolist() == [[0, 0]] * shape[0]

    def test_the_rows_of_reserved_ids_do_not_matter(self) -> None:
        embeddings = table([1.0, 0.0], [0.0, 1.0], [1.0, 1.0])
        expected = embedding_neighbors(embeddings, k=2)
        embeddings[:3] = [[1.0, 1.0], [np.nan, 0.0], [np.inf, 0.0]]
        np.testing.assert_array_equal(embedding_neighbors(embeddings, k=2), expected)

    @pytest.mark.parametrize("similarity", ["cosine", "dot"])
    @pytest.mark.parametrize("scale", [1e-200, 1e-30, 1.0, 1e30, 1e200])
    def test_the_scale_does_not_matter(self, scale: float, similarity: str) -> None:
        embeddings = np.random.default_rng(0).normal(size=(50, 4))
        np.testing.assert_array_equal(
            embedding_neighbors(embeddings * scale, k=5, similarity=similarity),
            embedding_neighbors(embeddings, k=5, similarity=similarity),
        )

    @pytest.mark.parametrize("dtype", [tf.float16, tf.float32, tf.float64, tf.int32])
    def test_takes_the_weights_of_a_layer(self, dtype: tf.DType) -> None:
        embeddings = table([4, 0], [0, 4], [4, 1])
        weights = tf.Variable(tf.cast(embeddings, dtype))
        np.testing.assert_array_equal(
            embedding_neighbors(weights, k=2), embedding_neighbors(embeddings, k=2)
        )

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_an_item_must_be_finite(self, value: float) -> None:
        embeddings = table([1.0, 0.0], [1.0, value], [value, value])
        with pytest.raises(ValueError, match=r"embeddings must be finite, .* item 4"):
            embedding_neighbors(embeddings)

    def test_bad_arguments_are_named(self) -> None:
        with pytest.raises(
            ValueError, match="k must be an integer of at least 1, but it is 0"
        ):
            embedding_neighbors(np.ones((5, 2)), k=0)
        with pytest.raises(ValueError, match=r"embeddings must .* but it is \[5\]"):
            embedding_neighbors(np.ones(5))
        with pytest.raises(
            ValueError, match="similarity must be one of 'cosine', 'dot'"
        ):
            embedding_neighbors(np.ones((5, 2)), similarity="euclid")
