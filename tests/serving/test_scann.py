"""The approximate index: its message where ScaNN is not, its answers where it is."""

import importlib
import pathlib
import sys
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfrs_barlow as tfrsb
from tfrs_barlow.serving.index import ExactIndex
from tfrs_barlow.serving.scann import ScannIndex

ITEMS = 300
VOCABULARY = tfrsb.data.Vocabulary(range(ITEMS))


def exported(path: pathlib.Path, **arguments: Any) -> pathlib.Path:
    rng = np.random.default_rng(0)
    candidates = rng.normal(size=(ITEMS, 8)).astype(np.float32)
    table = tf.constant(rng.normal(size=(3 + ITEMS, 8)).astype(np.float32))
    return tfrsb.serving.export(
        lambda ids: tf.reduce_mean(tf.gather(table, ids), axis=1),
        path,
        vocabulary=VOCABULARY,
        candidates=candidates,
        popularity=np.arange(ITEMS),
        max_length=4,
        **arguments,
    )


def test_popular_items_are_those_of_the_exact_index() -> None:
    """They are ranked once for all rows, without ScaNN."""
    popularity = np.random.default_rng(0).integers(0, 9, ITEMS)
    index = ExactIndex(VOCABULARY, np.zeros([ITEMS, 8]), popularity)
    hidden = tf.constant([[3, 7, 299], [-1, -1, 0], [1, 2, 4]])
    k = tf.constant([5, 2, 4])
    positions, scores = ScannIndex._most_popular(
        index, tf.constant(3), tf.constant(8), k, hidden
    )
    expected, expected_scores = ExactIndex.recommend(
        index,
        tf.zeros([3, 8]),
        k,
        index.items.name_of(hidden),
        tf.ones([3], tf.bool),
    )
    np.testing.assert_array_equal(index.items.name_of(positions), expected)
    np.testing.assert_array_equal(scores, expected_scores)


# --- Where it is not


class Absent:
    """Finds no ScaNN, or one that was built for another TensorFlow."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def find_spec(self, name: str, *_: Any) -> None:
        if name.partition(".")[0] == "scann":
            raise self.error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ModuleNotFoundError("No module named 'scann'"), "needs ScaNN, which is not"),
        (tf.errors.NotFoundError(None, None, "undefined symbol"), "does not fit this"),
    ],
)
def test_without_scann_the_message_says_what_to_install(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    message: str,
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "scann"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Absent(error), *sys.meta_path])
    with pytest.raises(
        ImportError,
        match=rf"{message}.*tfrs-barlow\[scann\].*TensorFlow {tf.__version__}",
    ):
        exported(tmp_path / "models", index="scann")
    assert not (tmp_path / "models").exists()


def test_another_index_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match=r"index must be one of .*, but it is 'faiss'"):
        exported(tmp_path, index="faiss")


def test_an_exact_index_has_no_recall_to_report(films: Any) -> None:
    about = tfrsb.serving.verify(films.version).description
    assert (about.index, about.recall) == ("exact", None)


# --- Where it is


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pathlib.Path]:
    """The same model by both indexes; ScaNN scores all candidates if they are few."""
    try:
        importlib.import_module("scann")
    except (ImportError, tf.errors.NotFoundError) as error:
        pytest.skip(f"needs ScaNN and its TensorFlow, 'tfrs-barlow[scann]': {error}")
    folder = tmp_path_factory.mktemp("indexes")
    return {
        index: exported(folder / index, index=index) for index in ("exact", "scann")
    }


REQUEST: dict[str, Any] = {
    "history": [[5, 7, -1], [9, -1, -1], [10**6, -1, -1]],
    "k": [4, 9, 2],
    "excluded": [[3, 299, 298]],
}


def assert_same_answers(versions: dict[str, pathlib.Path]) -> None:
    exact, scann = (tfrsb.serving.load(versions[name]) for name in ("exact", "scann"))
    expected = exact.recommend(**REQUEST)
    answer = scann.recommend(**REQUEST)
    np.testing.assert_array_equal(answer["ids"], expected["ids"])
    np.testing.assert_allclose(answer["scores"], expected["scores"], atol=1e-5)
    np.testing.assert_array_equal(
        scann.similar_items([5, 9], k=3)["ids"], exact.similar_items([5, 9], k=3)["ids"]
    )


def test_scann_that_scores_all_equals_exact(versions: dict[str, pathlib.Path]) -> None:
    assert_same_answers(versions)
    assert tfrsb.serving.verify(versions["scann"]).description.recall == 1.0


def test_k_out_of_range_is_an_invalid_argument(
    versions: dict[str, pathlib.Path],
) -> None:
    model = tfrsb.serving.load(versions["scann"])
    for k in (-1, 0, 301):
        with pytest.raises(tf.errors.InvalidArgumentError, match="k must lie in"):
            model.recommend([[5]], k=k)


def test_the_candidates_are_replaced(versions: dict[str, pathlib.Path]) -> None:
    items = list(range(100, 500))
    candidates = np.random.default_rng(1).normal(size=(400, 8))
    replaced = {
        index: tfrsb.serving.replace_candidates(
            version, items=items, candidates=candidates, popularity=items
        )
        for index, version in versions.items()
    }
    assert_same_answers(replaced)


def test_the_recall_of_a_tree_is_measured(
    versions: dict[str, pathlib.Path],
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys.modules["tfrs_barlow.serving.scann"], "_FEW", 100)
    version = exported(tmp_path, index="scann")
    assert 0.1 < tfrsb.serving.verify(version).description.recall <= 1
