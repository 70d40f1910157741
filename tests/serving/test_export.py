"""A trained tower becomes a SavedModel that TensorFlow alone can serve."""

import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_recommenders as tfrs

import tfrs_barlow as tfrsb
from tfrs_barlow.serving.index import ExactIndex
from tfrs_barlow.serving.towers import candidate_embeddings

TITLES = [f"Film {number:02}" for number in range(40)]
MAX_LENGTH = 6
DIM = 8


@pytest.fixture
def vocabulary() -> tfrsb.data.Vocabulary:
    return tfrsb.data.Vocabulary(TITLES)


class MeanTower(tf.keras.Model):
    """The mean of the items, or zeros for an empty history, through a dense layer."""

    def __init__(self, size: int = 3 + len(TITLES), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.items = tf.keras.layers.Embedding(
            size, 16, embeddings_initializer="normal"
        )
        self.dropout = tf.keras.layers.Dropout(0.5)
        self.dense = tf.keras.layers.Dense(DIM)

    def call(self, ids: tf.Tensor, training: bool = False) -> tf.Tensor:
        items = self.items(ids)
        real = tf.cast(ids != 0, items.dtype)[..., tf.newaxis]
        mean = tf.math.divide_no_nan(
            tf.reduce_sum(items * real, axis=1), tf.reduce_sum(real, axis=1)
        )
        return self.dense(self.dropout(mean, training=training))


def keras_model() -> Any:
    return MeanTower()


def functional_model() -> Any:
    ids = tf.keras.Input([None], dtype=tf.int32)
    return tf.keras.Model(ids, MeanTower()(ids))


def sequential_of_fixed_length() -> Any:
    return tf.keras.Sequential(
        [
            tf.keras.Input([MAX_LENGTH], dtype=tf.int32),
            tf.keras.layers.Embedding(3 + len(TITLES), 4),
            tf.keras.layers.Flatten(),
            tf.keras.layers.Dense(DIM),
        ]
    )


def mixed_precision_model() -> Any:
    return MeanTower(dtype=tf.keras.mixed_precision.Policy("mixed_float16"))


def layer_without_training_argument() -> Any:
    class Layer(tf.keras.layers.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.tower = MeanTower()

        def call(self, ids: tf.Tensor) -> tf.Tensor:
            return self.tower(ids)

    return Layer()


def layer_with_a_lookup_table() -> Any:
    class GenreTower(tf.keras.layers.Layer):
        def __init__(self) -> None:
            super().__init__()
            ids = tf.range(3, 3 + len(TITLES))
            self.genres = tf.lookup.StaticHashTable(
                tf.lookup.KeyValueTensorInitializer(ids, ids % 5), default_value=5
            )
            self.embedding = tf.keras.layers.Embedding(6, DIM)

        def call(self, ids: tf.Tensor) -> tf.Tensor:
            return tf.reduce_mean(self.embedding(self.genres.lookup(ids)), axis=1)

    return GenreTower()


def plain_module() -> Any:
    class Module(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = tf.Variable(tf.random.normal([3 + len(TITLES), DIM]))

        @tf.function
        def __call__(self, ids: tf.Tensor) -> tf.Tensor:
            return tf.reduce_sum(tf.gather(self.table, ids), axis=1)

    return Module()


def plain_function() -> Any:
    tower = MeanTower()

    def embed(ids: tf.Tensor, training: bool) -> tf.Tensor:
        assert training is False
        return tf.math.l2_normalize(tower(ids, training=training), axis=1)

    return embed


TOWERS = [
    keras_model,
    functional_model,
    sequential_of_fixed_length,
    mixed_precision_model,
    layer_without_training_argument,
    layer_with_a_lookup_table,
    plain_module,
    plain_function,
]

HISTORIES = [
    [],
    ["", "", ""],
    ["Film 03"],
    ["", "Film 03", "", "Film 01", ""],
    ["a film nobody knows", "Film 39"],
    [f"Film {number:02}" for number in range(12)],
]


def dense(histories: list[list[Any]], padding: Any) -> np.ndarray:
    width = max(map(len, histories))
    return np.array([row + [padding] * (width - len(row)) for row in histories])


def ids_of(histories: list[list[Any]], vocabulary: tfrsb.data.Vocabulary) -> np.ndarray:
    """The rows a tower must be given for string `histories`, worked out plainly."""
    rows = np.zeros([len(histories), MAX_LENGTH], np.int32)
    for row, history in zip(rows, histories, strict=True):
        items = [item for item in history if item != ""][-MAX_LENGTH:]
        if items:
            row[: len(items)] = vocabulary.encode(items)
    return rows


def function(version: pathlib.Path, name: str) -> Callable[..., dict[str, tf.Tensor]]:
    """The function, which keeps the model alive that holds its variables."""
    model = tf.saved_model.load(version)

    def call(**inputs: Any) -> dict[str, tf.Tensor]:
        return getattr(model, name)(**inputs)

    return call


# --- The embeddings


@pytest.mark.parametrize("make_tower", TOWERS)
def test_embed_gives_what_the_tower_gives(
    make_tower: Callable[[], Any],
    vocabulary: tfrsb.data.Vocabulary,
    tmp_path: pathlib.Path,
) -> None:
    tower = make_tower()
    version = tfrsb.serving.export(
        tower, tmp_path, vocabulary=vocabulary, max_length=MAX_LENGTH
    )
    ids = tf.constant(ids_of(HISTORIES, vocabulary))
    expected = (
        tower(ids, training=False) if make_tower is plain_function else tower(ids)
    )
    for name in ("embed", "serving_default"):
        embedding = function(version, name)(
            history=tf.constant(dense(HISTORIES, padding=""))
        )["embedding"]
        assert embedding.dtype == tf.float32
        np.testing.assert_allclose(embedding, expected, atol=1e-6)


@pytest.mark.parametrize("base", [tf.keras.layers.Layer, tf.Module])
def test_the_tower_is_called_in_inference_mode(
    base: type, vocabulary: tfrsb.data.Vocabulary, tmp_path: pathlib.Path
) -> None:
    class Tower(base):
        def call(self, ids: tf.Tensor, training: bool = True) -> tf.Tensor:
            return tf.fill([tf.shape(ids)[0], 1], float(training))

        if base is tf.Module:
            __call__ = call

    version = tfrsb.serving.export(Tower(), tmp_path, vocabulary=vocabulary)
    embedding = function(version, "embed")(history=tf.constant([["Film 01"]]))
    np.testing.assert_array_equal(embedding["embedding"], [[0.0]])


@pytest.mark.parametrize("shape", [(2, 0), (2, 3), (0, 3)])
def test_an_empty_history_has_the_embedding_of_padding(
    films: Any, shape: tuple[int, int]
) -> None:
    model = tf.saved_model.load(films.version)
    embedding = model.embed(tf.fill(shape, ""))["embedding"]
    expected = films.tower(tf.zeros([shape[0], MAX_LENGTH], tf.int32))
    np.testing.assert_allclose(embedding, expected, atol=1e-6)


def test_an_embedding_does_not_depend_on_the_rest_of_the_batch(films: Any) -> None:
    model = tf.saved_model.load(films.version)
    together = model.embed(tf.constant(dense(HISTORIES, padding="")))["embedding"]
    alone = [
        model.embed(tf.constant([history], tf.string))["embedding"][0]
        for history in HISTORIES
    ]
    np.testing.assert_allclose(together, tf.stack(alone), atol=1e-6)


# --- The recommendations


def test_the_history_is_kept_if_export_says_so(
    vocabulary: tfrsb.data.Vocabulary, tmp_path: pathlib.Path
) -> None:
    version = tfrsb.serving.export(
        lambda ids: tf.one_hot(ids[:, 0] - 3, len(TITLES)),
        tmp_path,
        vocabulary=vocabulary,
        candidates=np.eye(len(TITLES)),
        exclude_history=False,
    )
    answer = function(version, "recommend")(history=tf.constant([["Film 05"]]), k=1)
    np.testing.assert_array_equal(answer["ids"], [[b"Film 05"]])


@pytest.mark.parametrize(
    ("tokens", "dtype", "history", "left"),
    [
        (["a", "b", "c"], tf.string, [["c", "", "a"]], [[b"b", b"", b""]]),
        ([7, 8, 9], tf.int64, [[9, -5, 0, 7, 1]], [[8, -1, -1]]),
        ([0, 8, 9], tf.int64, [[9, -5, 0]], [[8, -1, -1]]),
    ],
)
def test_recommendations_end_in_padding_when_the_items_run_out(
    tokens: list[Any],
    dtype: tf.DType,
    history: list[list[Any]],
    left: list[list[Any]],
    tmp_path: pathlib.Path,
) -> None:
    version = tfrsb.serving.export(
        MeanTower(size=6),
        tmp_path,
        vocabulary=tfrsb.data.Vocabulary(tokens),
        candidates=tf.random.normal([3, DIM]),
    )
    answer = function(version, "recommend")(
        history=tf.constant(history, dtype), k=tf.constant(3)
    )
    assert answer["ids"].dtype == dtype
    np.testing.assert_array_equal(answer["ids"], left)
    np.testing.assert_array_equal(np.isneginf(answer["scores"]), [[False, True, True]])


def test_candidates_may_be_a_tower(tmp_path: pathlib.Path) -> None:
    # More items than go through a candidate tower at once.
    vocabulary = tfrsb.data.Vocabulary(range(10_000))
    items = tf.keras.layers.Embedding(vocabulary.size, DIM)
    version = tfrsb.serving.export(
        lambda ids: tf.reduce_mean(items(ids), axis=1),
        tmp_path,
        vocabulary=vocabulary,
        candidates=lambda ids, training: items(ids),
        max_length=1,
    )
    answer = function(version, "recommend")(history=tf.constant([[5]], tf.int64), k=20)
    matrix = items(tf.range(3, vocabulary.size)).numpy()
    scores = matrix @ matrix[5]
    scores[5] = -np.inf
    np.testing.assert_array_equal(answer["ids"], [np.argsort(-scores)[:20]])


@pytest.mark.parametrize("kind", [np.asarray, tf.Variable, tf.identity, np.float64])
def test_candidates_may_be_a_matrix_of_any_kind(kind: Callable[[Any], Any]) -> None:
    vocabulary = tfrsb.data.Vocabulary(["a", "b", "c"])
    matrix = np.arange(6, dtype=np.float32).reshape(3, 2)
    embeddings = candidate_embeddings(kind(matrix), vocabulary)
    blocks = ExactIndex(vocabulary, embeddings).blocks.numpy()
    np.testing.assert_array_equal(blocks, [matrix.T], strict=True)


def test_by_default_no_more_items_are_asked_for_than_there_are(
    vocabulary: tfrsb.data.Vocabulary, tmp_path: pathlib.Path
) -> None:
    version = tfrsb.serving.export(
        MeanTower(),
        tmp_path,
        vocabulary=vocabulary,
        candidates=tf.random.normal([len(TITLES), DIM]),
        default_k=1000,
    )
    answer = function(version, "recommend")(history=tf.constant([["Film 01"]]))
    assert answer["ids"].shape == (1, len(TITLES))


def test_without_candidates_there_is_nothing_to_recommend(
    vocabulary: tfrsb.data.Vocabulary, tmp_path: pathlib.Path
) -> None:
    version = tfrsb.serving.export(MeanTower(), tmp_path, vocabulary=vocabulary)
    assert set(tf.saved_model.load(version).signatures) == {
        "embed",
        "embed_ragged",
        "embed_examples",
        "serving_default",
    }


# --- What is written


def test_only_the_weights_of_inference_are_stored(
    vocabulary: tfrsb.data.Vocabulary, tmp_path: pathlib.Path
) -> None:
    class TwoTowers(tfrs.Model):
        def __init__(self) -> None:
            super().__init__()
            self.query_tower = MeanTower()
            self.items = tf.keras.layers.Embedding(3 + len(TITLES), DIM)
            self.task = tfrs.tasks.Retrieval()

        def compute_loss(
            self, features: dict[str, tf.Tensor], training: bool = False
        ) -> tf.Tensor:
            query = self.query_tower(features["history"], training=training)
            return self.task(query, self.items(features["label"]))

    model = TwoTowers()
    model.query_tower.compile("adam", "mse")
    model.query_tower.fit(tf.ones([4, 5], tf.int32), tf.zeros([4, DIM]), verbose=0)
    model.compile("adam")
    model.fit({"history": tf.ones([4, 5]), "label": tf.range(4)}, verbose=0)

    version = tfrsb.serving.export(
        model.query_tower, tmp_path, vocabulary=vocabulary, candidates=model.items
    )
    stored = tf.train.list_variables(str(version / "variables" / "variables"))
    shapes = sorted(shape for name, shape in stored if shape)
    weights = [weight.shape.as_list() for weight in model.query_tower.weights]
    count = len(TITLES)
    tokens, candidates, norms, embeddings = [count], [count], [count], [1, DIM, count]
    assert shapes == sorted([*weights, tokens, candidates, norms, embeddings])
    assert not (version / "keras_metadata.pb").exists()


def test_every_export_is_a_new_version(
    vocabulary: tfrsb.data.Vocabulary, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "models" / "films"
    tower = MeanTower()
    first = tfrsb.serving.export(tower, str(path), vocabulary=vocabulary)
    tower.dense.bias.assign_add(tf.ones([DIM]))
    second = tfrsb.serving.export(tower, path, vocabulary=vocabulary)
    assert (first, second) == (path / "1", path / "2")

    history = tf.constant([["Film 01"]])
    before = function(first, "embed")(history=history)["embedding"]
    after = function(second, "embed")(history=history)["embedding"]
    np.testing.assert_allclose(after, before + 1, atol=1e-6)


def test_a_failed_export_leaves_no_version(
    vocabulary: tfrsb.data.Vocabulary,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(model: tf.Module, folder: str, signatures: dict[str, Any]) -> None:
        pathlib.Path(folder).mkdir()
        raise OSError("disk full")

    monkeypatch.setattr(tf.saved_model, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        tfrsb.serving.export(MeanTower(), tmp_path, vocabulary=vocabulary)
    assert list(tmp_path.iterdir()) == []


def test_numbers_may_be_those_of_numpy(
    vocabulary: tfrsb.data.Vocabulary, tmp_path: pathlib.Path
) -> None:
    version = tfrsb.serving.export(
        MeanTower(),
        tmp_path,
        vocabulary=vocabulary,
        max_length=np.int64(5),
        default_k=np.int32(2),
        exclude_history=np.bool_(True),
    )
    assert tfrsb.serving.verify(version).description.max_length == 5


# --- What is refused


def tower_returning(output: Any) -> Any:
    return lambda ids: output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"query_tower": "tower"}, "query_tower must be callable"),
        ({"vocabulary": TITLES}, "vocabulary must be a tfrsb.data.Vocabulary"),
        ({"candidates": "matrix"}, "candidates must be numbers"),
        ({"candidates": [[1.0], [1.0, 2.0]]}, "candidates must be an array"),
        (
            {"query_tower": tower_returning(tf.zeros([3, 6, DIM]))},
            r"query_tower must return .* it returned \(3, 6, 8\)",
        ),
        (
            {"query_tower": tower_returning(tf.zeros([DIM]))},
            r"query_tower must return .* it returned \(8,\)",
        ),
        (
            {"query_tower": tower_returning(tf.zeros([1, DIM]))},
            r"query_tower must return .* it returned \(1, 8\)",
        ),
        (
            {"query_tower": tower_returning({"embedding": tf.zeros([3, DIM])})},
            "query_tower must return .* it returned dict",
        ),
        (
            {"candidates": np.zeros([3 + len(TITLES), DIM])},
            r"candidates must .* \(40, 8\).* but they have the shape \(43, 8\)",
        ),
        (
            {"candidates": np.zeros([len(TITLES), DIM + 1])},
            r"candidates must .* the shape \(40, 9\)",
        ),
        ({"candidates": np.zeros([DIM])}, r"candidates must .* the shape \(8,\)"),
        (
            {"candidates": lambda ids: tf.zeros([len(ids), 1, DIM])},
            r"candidates must .* the shape \(40, 1, 8\)",
        ),
        (
            {"candidates": np.full([len(TITLES), DIM], np.nan)},
            "candidates must be finite",
        ),
        (
            {"candidates": np.full([len(TITLES), DIM], 1e39)},
            "candidates must be finite",
        ),
        (
            {"candidates": np.zeros([len(TITLES), DIM]), "popularity": [1.0, 2.0]},
            r"popularity must .* \(40,\).* it has the shape \(2,\)",
        ),
        (
            {
                "candidates": np.zeros([len(TITLES), DIM]),
                "popularity": np.full(len(TITLES), np.nan),
            },
            "popularity must be finite",
        ),
        ({"popularity": np.ones(len(TITLES))}, "popularity must be None if"),
    ],
)
def test_a_wrong_argument_is_named(
    vocabulary: tfrsb.data.Vocabulary,
    tmp_path: pathlib.Path,
    arguments: dict[str, Any],
    message: str,
) -> None:
    valid = {"query_tower": MeanTower(), "vocabulary": vocabulary, "max_length": 6}
    with pytest.raises((TypeError, ValueError), match=f"(?is){message}"):
        tfrsb.serving.export(path=tmp_path / "models", **(valid | arguments))
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("history", "first"), [("an empty", 0), ("a one-item", 3), ("an unknown item's", 2)]
)
def test_a_tower_that_divides_by_zero_is_refused(
    vocabulary: tfrsb.data.Vocabulary, tmp_path: pathlib.Path, history: str, first: int
) -> None:
    def tower(ids: tf.Tensor) -> tf.Tensor:
        return 1 / (tf.cast(ids, tf.float32) - [first, *range(100, 199)])

    with pytest.raises(ValueError, match=f"query_tower must .* finite .* {history}"):
        tfrsb.serving.export(tower, tmp_path, vocabulary=vocabulary)


def test_pooling_by_keras_is_refused_for_its_empty_history(
    vocabulary: tfrsb.data.Vocabulary, tmp_path: pathlib.Path
) -> None:
    tower = tf.keras.Sequential(
        [
            tf.keras.layers.Embedding(3 + len(TITLES), DIM, mask_zero=True),
            tf.keras.layers.GlobalAveragePooling1D(),
        ]
    )
    with pytest.raises(ValueError, match="finite embeddings, but for an empty history"):
        tfrsb.serving.export(tower, tmp_path, vocabulary=vocabulary)


def test_a_tower_that_calls_python_is_refused(
    vocabulary: tfrsb.data.Vocabulary, tmp_path: pathlib.Path
) -> None:
    def tower(ids: tf.Tensor) -> tf.Tensor:
        doubled = tf.numpy_function(lambda x: 2 * x, [ids], tf.int32)
        return tf.cast(tf.reshape(doubled, tf.shape(ids)), tf.float32)

    with pytest.raises(ValueError, match=r"query_tower must .* it calls Python"):
        tfrsb.serving.export(tower, tmp_path / "models", vocabulary=vocabulary)
    assert not (tmp_path / "models").exists()


def test_a_file_is_no_folder_for_versions(
    vocabulary: tfrsb.data.Vocabulary, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "model"
    path.touch()
    with pytest.raises(NotADirectoryError, match="path must be a folder"):
        tfrsb.serving.export(MeanTower(), path, vocabulary=vocabulary)
