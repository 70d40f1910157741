"""Two models that many tests use, and plain NumPy that says what they must answer."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfrs_barlow as tfrsb

TITLES = [f"Film {number:02}" for number in range(40)]
MAX_LENGTH = 6
DIM = 8


@dataclasses.dataclass(frozen=True)
class Export:
    """A version on disk, and plain NumPy that says what it must answer."""

    version: pathlib.Path
    tower: Callable[[Any], tf.Tensor]
    candidates: np.ndarray
    popularity: np.ndarray
    titles: np.ndarray = dataclasses.field(default_factory=lambda: np.array(TITLES))

    def embeddings(self, histories: list[list[str]]) -> np.ndarray:
        """The tower's output for the last known and unknown items."""
        rows = np.zeros([len(histories), MAX_LENGTH], np.int32)
        for row, history in zip(rows, histories, strict=True):
            items = [item for item in history if item != ""][-MAX_LENGTH:]
            row[: len(items)] = [
                3 + TITLES.index(item) if item in TITLES else 2 for item in items
            ]
        return self.tower(tf.constant(rows)).numpy()

    def recommended(
        self, histories: list[list[str]], k: int, excluded: list[list[str]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k best titles and their scores, by a full sort."""
        scores = self.embeddings(histories) @ self.candidates.T
        for row, history, out in zip(scores, histories, excluded, strict=True):
            known = [i for i in history if i != ""][-MAX_LENGTH:]
            if not set(known) & set(TITLES):
                row[:] = self.popularity
            row[np.isin(self.titles, out)] = -np.inf
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        best = np.take_along_axis(scores, order, axis=1)
        return np.where(best == -np.inf, "", self.titles[order]), best


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Export:
    """A tower that depends on the order of the items and on padding."""
    tf.keras.utils.set_random_seed(1)
    tower = tf.keras.Sequential(
        [
            tf.keras.Input([MAX_LENGTH], dtype=tf.int32),
            tf.keras.layers.Embedding(
                3 + len(TITLES), 4, embeddings_initializer="normal"
            ),
            tf.keras.layers.Flatten(),
            tf.keras.layers.Dense(DIM),
        ]
    )
    rng = np.random.default_rng(0)
    candidates = rng.normal(size=(len(TITLES), DIM)).astype(np.float32)
    popularity = rng.permutation(len(TITLES)).astype(np.float32)
    version = tfrsb.serving.export(
        tower,
        tmp_path_factory.mktemp("models") / "films",
        vocabulary=tfrsb.data.Vocabulary(TITLES),
        candidates=candidates,
        popularity=popularity,
        max_length=MAX_LENGTH,
        default_k=5,
    )
    return Export(version, tower, candidates, popularity)


HISTORIES = [
    [],
    ["", "", ""],
    ["Film 03"],
    ["", "Film 03", "", "Film 01", ""],
    ["a film nobody knows", "Film 39"],
    ["a film nobody knows"],
    [f"Film {number:02}" for number in range(12)],
]


@pytest.fixture
def histories() -> list[list[str]]:
    """Histories of every kind: empty, unknown, padded anywhere, longer than is read."""
    return [list(history) for history in HISTORIES]


@pytest.fixture
def dense(histories: list[list[str]]) -> np.ndarray:
    """The same as a matrix that is padded on the right."""
    width = max(map(len, histories))
    return np.array([row + [""] * (width - len(row)) for row in histories])


GENRES = {
    **{10: "Alien", 11: "Aliens", 12: "Blade Runner", 13: "The Matrix"},
    **{20: "Amélie", 21: "Before Sunrise", 22: "Notting Hill", 23: "When Harry Met"},
}
# Two genres; within each the later film is the better one.
GENRE_CANDIDATES = np.float32(
    [[i, 0] for i in range(1, 5)] + [[0, i] for i in range(1, 5)]
)


def export_genres(
    folder: pathlib.Path, candidates: np.ndarray | None = GENRE_CANDIDATES
) -> pathlib.Path:
    """A model of integer items whose user is the sum of the genres watched."""
    genres = np.concatenate([np.zeros([3, 2]), np.sign(GENRE_CANDIDATES)])
    return tfrsb.serving.export(
        lambda ids: tf.reduce_sum(tf.gather(tf.constant(genres, tf.float32), ids), 1),
        folder,
        vocabulary=tfrsb.data.Vocabulary(GENRES),
        candidates=candidates,
        popularity=None if candidates is None else [*range(8, 0, -1)],
        max_length=5,
    )


@pytest.fixture(scope="session")
def genres(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The version of an export of the genre model."""
    return export_genres(tmp_path_factory.mktemp("models") / "genres")


@pytest.fixture(scope="session")
def make_genres() -> Callable[..., pathlib.Path]:
    """Exports the genre model into a folder, perhaps with other candidates."""
    return export_genres


@pytest.fixture(scope="session")
def titles() -> dict[int, str]:
    """The titles of the items of the genre model."""
    return GENRES


@pytest.fixture(scope="session")
def make_request() -> Callable[..., Any]:
    """Makes the message that asks a model over gRPC."""
    predict_pb2 = pytest.importorskip("tensorflow_serving.apis.predict_pb2")

    def make(
        signature: str, model: str, version: int | None = None, **inputs: Any
    ) -> Any:
        message = predict_pb2.PredictRequest()
        message.model_spec.name = model
        message.model_spec.signature_name = signature
        if version is not None:
            message.model_spec.version.value = version
        for name, value in inputs.items():
            if not hasattr(value, "tensor_shape"):
                value = tf.make_tensor_proto(value)
            message.inputs[name].CopyFrom(value)
        return message

    return make
