"""The projector: TensorBoard itself reads the embeddings and the metadata."""

import json
import pathlib
import sys
import types
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from tensorboard.plugins import base_plugin
from tensorboard.plugins.projector import projector_plugin
from werkzeug import test

import tfrs_barlow as tfrsb
from tfrs_barlow.callbacks import EmbeddingProjector, write_projector
from tfrs_barlow.data import UserSequences, Vocabulary
from tfrs_barlow.evaluation import embed_users

USERS = UserSequences.from_lists({"ann": [5, 3, 4], "bob": [4]})
VOCABULARY = Vocabulary(["Alien", "Brazil", "Casablanca"])
ITEMS = pd.DataFrame(
    {
        "item_id": ["Casablanca", "Alien"],
        "title": ["Casablanca", 'Alien\t"the\nfirst"'],
        "categories": [("Drama", "Romance"), ()],
    }
)


class Shown:
    """What TensorBoard's own plugin serves of a folder."""

    def __init__(self, folder):
        context = base_plugin.TBContext(logdir=str(folder))
        self._apps = projector_plugin.ProjectorPlugin(context).get_plugin_apps()

    def _get(self, route, **query):
        client = test.Client(self._apps[route])
        response = client.get(query_string={"run": ".", **query})
        assert response.status_code == 200, response.text
        return response

    @property
    def config(self):
        return json.loads(self._get("/info").text)["embeddings"]

    def tensor(self, name, dim):
        data = self._get("/tensor", name=name).data
        return np.frombuffer(data, np.float32).reshape(-1, dim)

    def metadata(self, name):
        return self._get("/metadata", name=name).text.split("\n")


def make_encoder(rows=VOCABULARY.size):
    encoder = tfrsb.layers.ItemPoolingEncoder(rows, embedding_dim=4, output_dim=3)
    encoder(tf.constant([[3]]))
    return encoder


def show(folder, encoder=None, **options):
    """Returns what is shown after the training of a model with this encoder."""
    callback = EmbeddingProjector(folder, USERS, length=2, **options)
    callback.set_model(types.SimpleNamespace(query_tower=encoder or make_encoder()))
    callback.on_train_end()
    return Shown(folder)


def test_shows_users_and_items(tmp_path: pathlib.Path) -> None:
    encoder = make_encoder()
    metadata = pd.DataFrame({"country": ["fr", None]}, index=[7, 8])
    shown = show(
        tmp_path,
        encoder,
        user_metadata=metadata,
        vocabulary=VOCABULARY,
        items=ITEMS,
    )
    assert [(one["tensorName"], one["tensorShape"]) for one in shown.config] == [
        ("users", [2, 3]),
        ("items", [3, 4]),
    ]
    np.testing.assert_array_equal(
        shown.tensor("users", 3), embed_users(encoder, USERS, length=2)
    )
    np.testing.assert_array_equal(
        shown.tensor("items", 4), encoder.item_embedding.embeddings[3:]
    )
    assert shown.metadata("users") == ["user_id\tcountry", "ann\tfr", "bob\t-", ""]
    assert shown.metadata("items") == [
        "item_id\ttitle\tcategories",
        'Alien\tAlien "the first"\t-',
        "Brazil\t-\t-",
        "Casablanca\tCasablanca\tDrama, Romance",
        "",
    ]


def test_a_single_column_has_no_header(tmp_path: pathlib.Path) -> None:
    shown = show(tmp_path, vocabulary=VOCABULARY)
    assert shown.metadata("users") == ["ann", "bob", ""]
    assert shown.metadata("items") == ["Alien", "Brazil", "Casablanca", ""]


def test_writes_when_training_ends(tmp_path: pathlib.Path) -> None:
    model = tf.keras.Sequential([tf.keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    encoder = make_encoder()
    projector = EmbeddingProjector(tmp_path / "new", USERS, length=2, encoder=encoder)
    model.fit(np.ones([2, 1]), np.ones([2, 1]), callbacks=[projector], verbose=0)
    assert Shown(tmp_path / "new").metadata("users") == ["ann", "bob", ""]


def test_any_embeddings_to_the_last_bit(tmp_path: pathlib.Path) -> None:
    rng = np.random.default_rng(0)
    points = (rng.normal(size=[50, 3]) * 10.0 ** rng.integers(-30, 30, [50, 1])).astype(
        np.float32
    )
    about = pd.DataFrame({"n": range(50), "é\n": np.linspace(0, 1, 50)})
    write_projector(tmp_path, {"films & co": (points, about)})
    shown = Shown(tmp_path)
    np.testing.assert_array_equal(shown.tensor("films & co", 3), points)
    assert shown.metadata("films & co")[0] == "n\té"


GOOD = np.ones([2, 3]), pd.DataFrame({"id": [1, 2]})


@pytest.mark.parametrize(
    ("name", "points", "message"),
    [
        ("../up", GOOD, "Names of clouds must be file names, but one is '../up'"),
        ("", GOOD, "Names of clouds must be file names"),
        ("x", (np.ones(3), GOOD[1]), r"embeddings of 'x' must .* \[3\]"),
        ("x", (np.full([2, 3], np.nan), GOOD[1]), "there is a NaN"),
        ("x", (GOOD[0], GOOD[1][:1]), r"metadata of 'x' .* 2 points, .* \[1, 1\]"),
        ("x", (GOOD[0], pd.DataFrame(index=[0, 1])), "must have columns"),
    ],
)
def test_bad_points_are_named_and_nothing_is_written(
    tmp_path: pathlib.Path, name: str, points: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        write_projector(tmp_path, {"good": GOOD, name: points})
    assert list(tmp_path.iterdir()) == []


def test_bad_arguments_are_named_before_training(tmp_path: pathlib.Path) -> None:
    for options, message in (
        ({"length": 0}, "length must be .* at least 1, but it is 0"),
        ({"user_metadata": GOOD[1][:1]}, "a row for each of the 2 users, but it has 1"),
        ({"items": ITEMS}, "items must .* come with a vocabulary"),
        ({"items": GOOD[1], "vocabulary": VOCABULARY}, r"columns are \['id'\]"),
    ):
        with pytest.raises(ValueError, match=message):
            EmbeddingProjector(tmp_path, USERS, **{"length": 2, **options})
    projector = EmbeddingProjector(tmp_path, USERS, length=2, vocabulary=VOCABULARY)
    with pytest.raises(ValueError, match=r"size is 6, and 'item_pool.*' embeds 9 ids"):
        projector.set_model(types.SimpleNamespace(query_tower=make_encoder(9)))
    with pytest.raises(ValueError, match="encoder must be given"):
        projector.set_model(tf.keras.Sequential())


def test_without_tensorboard_it_says_what_to_install(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard.plugins", None)
    for make in (
        lambda: EmbeddingProjector(tmp_path, USERS, length=2),
        lambda: write_projector(tmp_path, {"x": GOOD}),
    ):
        with pytest.raises(
            ImportError, match=r"pip install 'tfrs-barlow\[tensorboard\]"
        ):
            make()
