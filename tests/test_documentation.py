"""The code of the README and of the pages in docs runs as printed."""

import pathlib
import re
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfrs_barlow as tfrsb

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def code_blocks(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


PROGRAM, MODEL = code_blocks(README)


def successors(users: int, ragged: bool) -> dict[str, tf.Tensor]:
    """Returns histories that count up; the label is the next number."""
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
def test_the_model_with_retrieval_and_barlow_twins(ragged: bool, eagerly: bool) -> None:
    names: dict[str, Any] = {}
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
    # In evaluation both views are the same, up to epsilon.
    assert evaluation[f"{name}/invariance"] < 512 * 1e-2
    if not eagerly:
        assert history["total_loss"][-1] < 0.95 * history["total_loss"][0]
        assert history[f"{name}/loss"][-1] < history[f"{name}/loss"][0]


def test_the_first_program_shows_what_pretraining_gains(
    capsys: pytest.CaptureFixture[str],
) -> None:
    exec(PROGRAM, {})
    before, after = re.findall(r"\d\.\d\d", capsys.readouterr().out.splitlines()[-1])
    assert float(after) > float(before) + 0.1


def test_the_readme_is_read_in_two_minutes() -> None:
    assert len(README.split()) <= 700


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_lead_to_files(page: str) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / page).read_text())
    assert [target for target in targets if not (ROOT / target).exists()] == []


@pytest.mark.parametrize(
    "page",
    sorted((ROOT / "docs").rglob("*.md")),
    ids=lambda page: page.relative_to(ROOT / "docs").as_posix(),
)
def test_the_code_of_a_page_runs_from_top_to_bottom(page: pathlib.Path) -> None:
    names: dict[str, Any] = {}
    for block in code_blocks(page.read_text()):
        exec(block, names)
