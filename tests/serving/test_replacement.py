"""Other candidates in an export: the same tower and graph, other answers."""

import pathlib
import shutil
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfrs_barlow as tfrsb

# Films 0 to 9 are gone, 10 are new.
ITEMS = [f"Film {number:02}" for number in range(10, 50)]
EMBEDDINGS = np.random.default_rng(5).normal(size=(40, 8)).astype(np.float32)
POPULARITY = np.arange(40, dtype=np.float32)


@pytest.fixture(scope="module")
def folder(films: Any, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with version 1."""
    folder = tmp_path_factory.mktemp("replaced")
    shutil.copytree(films.version, folder / "1")
    return folder


@pytest.fixture(scope="module")
def replaced(folder: pathlib.Path) -> pathlib.Path:
    return tfrsb.serving.replace_candidates(
        folder, items=ITEMS, candidates=EMBEDDINGS, popularity=POPULARITY
    )


def test_it_is_the_next_version_and_whole(
    folder: pathlib.Path, replaced: pathlib.Path
) -> None:
    assert replaced == folder / "2"
    assert tfrsb.serving.verify(replaced).description.candidates == len(ITEMS)


@pytest.mark.parametrize("path", [".", "../link"])
def test_it_is_next_to_its_source_by_any_path(
    films: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    source = tmp_path / "versions" / "1"
    shutil.copytree(films.version, source)
    (tmp_path / "versions" / ".." / "link").symlink_to(source)
    monkeypatch.chdir(source if path == "." else source.parent)
    version = tfrsb.serving.replace_candidates(
        path, items=ITEMS, candidates=EMBEDDINGS, popularity=POPULARITY
    )
    assert version == tmp_path / "versions" / "2"
    tfrsb.serving.verify(source)


def test_the_graph_and_the_tower_stay(
    films: Any, replaced: pathlib.Path, dense: np.ndarray
) -> None:
    before, after = (path / "saved_model.pb" for path in (films.version, replaced))
    assert before.read_bytes() == after.read_bytes()
    embeddings = [
        tfrsb.serving.load(path).signatures for path in (films.version, replaced)
    ]
    first, second = (
        signatures["embed"](history=tf.constant(dense)) for signatures in embeddings
    )
    np.testing.assert_array_equal(first["embedding"], second["embedding"])


def test_the_new_items_are_recommended_and_excluded(
    films: Any, replaced: pathlib.Path
) -> None:
    # Film 45 is new, and unknown to the tower; film 2 is gone, but known to it.
    histories = [["Film 02", "Film 45"], ["Film 20"]]
    model = tfrsb.serving.load(replaced)
    answer = model.recommend(
        tf.constant([["Film 02", "Film 45"], ["Film 20", ""]]), k=40
    )
    scores = films.embeddings(histories) @ EMBEDDINGS.T
    for row, history in zip(scores, histories, strict=True):
        row[np.isin(ITEMS, history)] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")
    titles = np.array(ITEMS)[order]
    titles[:, -1] = ""
    np.testing.assert_array_equal(answer["ids"].numpy().astype(str), titles)
    np.testing.assert_allclose(answer["scores"], -np.sort(-scores), atol=1e-6)
    np.testing.assert_array_equal(answer["cold_start"], [False, False])


def test_the_new_items_are_popular_and_similar(replaced: pathlib.Path) -> None:
    model = tfrsb.serving.load(replaced)
    popular = model.recommend([["Film 45"]], k=2)  # All that is known is new.
    np.testing.assert_array_equal(popular["ids"], [[b"Film 49", b"Film 48"]])
    np.testing.assert_array_equal(popular["cold_start"], [True])

    unit = EMBEDDINGS / np.linalg.norm(EMBEDDINGS, axis=1, keepdims=True)
    order = np.argsort(-(unit @ unit[35]))[1:4]
    similar = model.similar_items(["Film 45"], k=3)
    np.testing.assert_array_equal(
        similar["ids"].numpy().astype(str), [np.array(ITEMS)[order]]
    )
    np.testing.assert_array_equal(
        model.similar_items(["Film 02"], k=1)["cold_start"], [True]
    )


def test_a_session_of_each_version_has_its_own_items(
    films: Any, replaced: pathlib.Path
) -> None:
    """Both at once, as a server has them while it changes from one to the other."""
    answers = []
    sessions = []
    for version in (films.version, replaced):
        with tf.Graph().as_default():
            session = tf.compat.v1.Session()
            graph = tf.compat.v1.saved_model.load(session, ["serve"], str(version))
        sessions.append((session, graph.signature_def["similar_items"]))
    for session, definition in sessions:
        flag = definition.outputs["cold_start"].name
        asked = {definition.inputs["items"].name: ["Film 02", "Film 45"]}
        answers.append(session.run(flag, asked).tolist())
    assert answers == [[False, True], [True, False]]


def test_more_items_than_before_and_then_fewer(
    films: Any, tmp_path: pathlib.Path
) -> None:
    path = shutil.copytree(films.version, tmp_path / "1")
    rng = np.random.default_rng(0)
    for count in (5000, 5):
        items = [f"item {number}" for number in range(count)]
        path = tfrsb.serving.replace_candidates(
            path,
            items=tfrsb.data.Vocabulary(items),
            candidates=rng.normal(size=(count, 8)),
            popularity=rng.normal(size=count),
        )
        answer = tfrsb.serving.load(path).signatures["serving_default"](
            history=tf.constant([["Film 01"]])
        )
        assert set(answer["ids"].numpy()[0].astype(str)) <= set(items)
    assert path.name == "3"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"items": ITEMS[:4]}, ValueError, "items must be at least 5"),
        ({"items": [*ITEMS[:-1], "Film 10"]}, ValueError, "must be unique"),
        ({"items": [*ITEMS[:-1], ""]}, ValueError, "must not hold"),
        ({"items": [*ITEMS[:-1], 3]}, TypeError, "all integers or all strings"),
        ({"items": range(40)}, ValueError, "items must have the type string"),
        ({"items": "Alien"}, TypeError, "items must be several items"),
        ({"items": 40}, TypeError, "items must be several items"),
        ({"candidates": ITEMS}, TypeError, "candidates must be numbers"),
        (
            {"candidates": EMBEDDINGS[:, :7]},
            ValueError,
            r"candidates must .* \(40, 8\).* \(40, 7\)",
        ),
        ({"candidates": EMBEDDINGS[1:]}, ValueError, r"candidates must .*\(39, 8\)"),
        ({"candidates": EMBEDDINGS * np.inf}, ValueError, "candidates must be finite"),
        ({"popularity": None}, ValueError, "popularity must be given"),
        ({"popularity": POPULARITY[1:]}, ValueError, r"popularity must .*\(39,\)"),
    ],
)
def test_a_wrong_argument_is_named(
    films: Any,
    tmp_path: pathlib.Path,
    arguments: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    shutil.copytree(films.version, tmp_path / "1")
    valid = {"items": ITEMS, "candidates": EMBEDDINGS, "popularity": POPULARITY}
    with pytest.raises(error, match=f"(?s){message}"):
        tfrsb.serving.replace_candidates(tmp_path, **(valid | arguments))
    assert [entry.name for entry in tmp_path.iterdir()] == ["1"]


def test_a_damaged_export_is_refused(films: Any, tmp_path: pathlib.Path) -> None:
    shutil.copytree(films.version, tmp_path / "1")
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"")
    with pytest.raises(tfrsb.serving.CorruptExportError, match="has changed"):
        tfrsb.serving.replace_candidates(
            tmp_path, items=ITEMS, candidates=EMBEDDINGS, popularity=POPULARITY
        )


def test_no_private_file_is_copied_through_a_link(
    films: Any, tmp_path: pathlib.Path
) -> None:
    shutil.copytree(films.version, tmp_path / "1")
    (tmp_path / "private").mkdir()
    (tmp_path / "1" / "assets.extra" / "notes").symlink_to(tmp_path / "private")
    with pytest.raises(tfrsb.serving.CorruptExportError, match="notes is a link"):
        tfrsb.serving.replace_candidates(
            tmp_path, items=ITEMS, candidates=EMBEDDINGS, popularity=POPULARITY
        )
    assert not (tmp_path / "2").exists()


def test_an_export_without_candidates_is_refused(tmp_path: pathlib.Path) -> None:
    version = tfrsb.serving.export(
        lambda ids: tf.cast(ids, tf.float32),
        tmp_path,
        vocabulary=tfrsb.data.Vocabulary([7, 8]),
    )
    with pytest.raises(ValueError, match="path must be an export with candidates"):
        tfrsb.serving.replace_candidates(version, items=[1], candidates=[[1.0]])
