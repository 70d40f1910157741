"""The progress line of our models: one line, the same history."""

from __future__ import annotations

import contextlib
import io
import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfrs_barlow as tfrsb
from tfrs_barlow.models import progress_line

FEATURES = {
    "history": tf.constant([[3, 4, 5, 0], [6, 7, 0, 0], [8, 3, 6, 5]]),
    "label": tf.constant([6, 8, 6]),
}


def pretraining() -> tf.keras.Model:
    return tfrsb.models.BarlowTwinsPretraining(
        tfrsb.layers.ItemPoolingEncoder(10, output_dim=4),
        projector=tfrsb.layers.Projector([6, 6]),
    )


def dual_encoder() -> tf.keras.Model:
    return tfrsb.models.DualEncoder(
        tfrsb.layers.ItemPoolingEncoder(10, output_dim=4),
        tf.keras.layers.Embedding(10, 4),
    )


def joint() -> tf.keras.Model:
    barlow_twins, dual = pretraining(), dual_encoder()
    barlow_twins.query_tower = dual.query_tower
    return tfrsb.models.JointModel(dual, barlow_twins)


def next_item() -> tf.keras.Model:
    return tfrsb.models.NextItemModel(
        tfrsb.layers.GRUEncoder(10, output_dim=4),
        tf.keras.layers.Embedding(10, 4),
        vocabulary_size=10,
    )


SHOWN = {
    pretraining: ["loss", "excess", "effective_rank", "identical_views"],
    dual_encoder: ["loss", "mean_loss"],
    joint: ["loss", "retrieval_loss", "excess", "effective_rank"],
    next_item: ["loss", "mean_loss"],
}


class Terminal(io.StringIO):
    """A terminal that can update a line."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 80 columns, whose line is updated after every step."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(progress_line, "_SECONDS_BETWEEN_UPDATES", 0)


def fit(
    model: tf.keras.Model, stream: io.StringIO, **kwargs: Any
) -> dict[str, list[float]]:
    """Trains for two epochs of three steps, and returns the history."""
    model.compile(tf.keras.optimizers.SGD(0.01), run_eagerly=True)
    batches = tf.data.Dataset.from_tensors(FEATURES).repeat(3)
    with contextlib.redirect_stdout(stream):
        return model.fit(batches, **{"epochs": 2, **kwargs}).history


def words(line: str) -> dict[str, float]:
    """Returns the metrics of a line."""
    _, *metrics, _ = line.split()
    return dict(zip(metrics[::2], map(float, metrics[1::2]), strict=True))


@pytest.mark.parametrize("make", SHOWN)
def test_is_one_line_of_80_columns(make: Any) -> None:
    model, terminal = make(), Terminal()
    history = fit(model, terminal)
    first, line, second, last, rest = terminal.getvalue().split("\n")
    assert (first, second, rest) == ("Epoch 1/2", "Epoch 2/2", "")
    updates = line.split("\r")[1:]
    assert [one.split()[0] for one in updates] == ["1/3", "2/3", "3/3", "3/3"]
    updates += last.split("\r")[1:]
    assert {len(update) for update in updates} == {79}
    shown = words(updates[-1])
    assert list(shown) == SHOWN[make]
    # The history has them too, under the names of their tasks.
    for name, value in shown.items():
        logged = history[model._progress_metrics[name]][-1]
        np.testing.assert_allclose(value, logged, rtol=1e-2)


def test_all_metrics_are_in_the_history() -> None:
    model = pretraining()
    history = fit(model, Terminal())
    assert {metric.name for metric in model.metrics} < set(history)
    assert {"barlow_twins/dead_columns", "barlow_twins/floor", "total_loss"} < set(
        history
    )


@pytest.mark.parametrize("verbose", [1, 2])
def test_a_file_gets_one_line_for_each_epoch(verbose: int) -> None:
    file = io.StringIO()
    fit(next_item(), file, verbose=verbose)
    first, line, second, last, rest = file.getvalue().split("\n")
    assert (first, second, rest) == ("Epoch 1/2", "Epoch 2/2", "")
    assert list(words(line)) == list(words(last)) == ["loss", "mean_loss"]


def test_nothing_is_printed_if_that_is_asked_for() -> None:
    terminal = Terminal()
    fit(next_item(), terminal, verbose=0)
    assert terminal.getvalue() == ""


def test_validation_and_callbacks_follow_if_there_is_space() -> None:
    class Probe(tf.keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            logs["probe_accuracy"] = 0.5

    validation = tf.data.Dataset.from_tensors(FEATURES)
    for make, followers in (
        (next_item, ["probe_accuracy", "val_loss"]),
        (pretraining, []),
    ):
        terminal = Terminal()
        kwargs = {"validation_data": validation, "callbacks": Probe(), "epochs": 1}
        history = fit(make(), terminal, **kwargs)
        line = terminal.getvalue().split("\r")[-1]
        assert len(line.rstrip("\n")) == 79
        found = [word for word in line.split() if word.startswith(("val", "probe"))]
        assert found == followers
        assert history["probe_accuracy"] == [0.5] and "val_loss" in history


def test_a_bar_of_the_user_is_used_instead() -> None:
    terminal = Terminal()
    bar = tf.keras.callbacks.ProgbarLogger("steps")
    fit(next_item(), terminal, epochs=1, callbacks=[bar])
    assert "[====" in terminal.getvalue()
    assert "next_item/loss" in terminal.getvalue()


def test_a_dataset_of_unknown_size_is_counted() -> None:
    model, terminal = next_item(), Terminal()
    model.compile(tf.keras.optimizers.SGD(0.01), run_eagerly=True)
    batches = tf.data.Dataset.from_tensors(FEATURES).repeat(2).filter(lambda _: True)
    with contextlib.redirect_stdout(terminal):
        model.fit(batches)
    updates = terminal.getvalue().split("\r")[1:]
    assert [one.split()[0] for one in updates] == ["1/?", "2/?", "2/2"]


def test_fit_resumable_shows_it_too(tmp_path: pathlib.Path) -> None:
    model, terminal = next_item(), Terminal()
    model.compile(tf.keras.optimizers.SGD(0.01), run_eagerly=True)
    with contextlib.redirect_stdout(terminal):
        tfrsb.models.fit_resumable(
            model,
            lambda first_step: tf.data.Dataset.from_tensors(FEATURES).repeat(),
            steps=2,
            steps_per_epoch=2,
            backup_dir=tmp_path,
        )
    updates = terminal.getvalue().split("\r")[1:]
    assert [one.split()[0] for one in updates] == ["1/2", "2/2", "2/2"]
