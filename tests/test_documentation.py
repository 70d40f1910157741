"""The code of the README and of the pages in docs runs as printed."""

import pathlib
import re

import numpy as np
import pytest
import tensorflow as tf

import tfrs_barlow as tfrsb

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def code_blocks(text):
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


MODEL, PIECES = code_blocks(README)


def successors(users, ragged):
    """Histories that count up; the label is the next number."""
    rng = np.random.default_rng(0)
    starts, lengths = rng.integers(3, 40, users), rng.integers(1, 11, users)
    rows = [
        list(range(start, start + n)) for start, n in zip(starts, lengths, strict=True)
    ]
    history = tf.ragged.constant(rows, dtype=tf.int32)
    return {
        "history": history if ragged else history.to_tensor(),
        "label": tf.constant(starts + lengths),
    }


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("eagerly", [False, True])
def test_the_model_with_retrieval_and_barlow_twins(ragged, eagerly):
    names = {}
    exec(MODEL, names)
    vocabulary_size = 60
    candidate_tower = tf.keras.layers.Embedding(vocabulary_size, 16)
    candidates = tf.data.Dataset.range(vocabulary_size).batch(32).map(candidate_tower)
    model = names["MyModel"](
        tfrsb.layers.GRUEncoder(vocabulary_size, output_dim=16),
        candidate_tower,
        candidates,
    )
    model.compile(tf.keras.optimizers.Adam(0.01), run_eagerly=eagerly)
    batches = tf.data.Dataset.from_tensor_slices(successors(128, ragged)).batch(64)
    epochs = 1 if eagerly else 6
    history = model.fit(batches, epochs=epochs, verbose=0).history
    evaluation = model.evaluate(batches, return_dict=True, verbose=0)
    name = model.barlow.name
    assert np.isfinite(history[f"{name}/loss"]).all()
    assert evaluation[f"{name}/dead_columns"] == 0
    # In evaluation both views are the same: nothing but epsilon tells them apart.
    assert evaluation[f"{name}/invariance"] < 512 * 1e-2
    if not eagerly:
        assert history["total_loss"][-1] < 0.95 * history["total_loss"][0]
        assert history[f"{name}/loss"][-1] < history[f"{name}/loss"][0]


def test_the_pieces_for_a_log_of_your_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = tfrsb.data.generate_synthetic_log(num_users=50, num_items=80, mean_length=20)
    names = {
        "tf": tf,
        "tfrsb": tfrsb,
        "interactions": log.interactions,
        "items": log.items,
    }
    # Fewer steps, which is all that is changed.
    exec(PIECES.replace("steps=1500", "steps=1, steps_per_epoch=1"), names)
    served = tf.saved_model.load("models/user_tower/1")
    history = tf.constant([names["vocabulary"].tokens[:3].tolist()], tf.int64)
    assert served.signatures["embed"](history)["embedding"].shape == (1, 128)


def test_the_floor_that_the_text_names():
    floor = float(tfrsb.losses.barlow_twins_floor(64, 8192, 5e-3))
    assert int(floor) == 3212
    assert "floor is 3,212" in README


@pytest.mark.parametrize(
    "page",
    sorted((ROOT / "docs").rglob("*.md")),
    ids=lambda page: page.relative_to(ROOT / "docs").as_posix(),
)
def test_the_code_of_a_page_runs_from_top_to_bottom(page):
    names = {}
    for block in code_blocks(page.read_text()):
        exec(block, names)
