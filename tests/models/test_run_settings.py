"""A backup knows which run wrote it: its batches, its views, its optimizer."""

from __future__ import annotations

import functools
import pathlib
import types
from collections.abc import Callable
from typing import Any

import pytest
import tensorflow as tf

import tfrs_barlow as tfrsb
from tfrs_barlow.models.run_settings import require_same_run, run_settings

LOG = tfrsb.data.generate_synthetic_log(num_users=10, num_items=20, mean_length=6)
SEQUENCES, VOCABULARY = tfrsb.data.build_sequences(LOG)
PATH = pathlib.Path("backups/ckpt-5")


def batches(**arguments: Any) -> Callable[..., tf.data.Dataset]:
    arguments = {"sequences": SEQUENCES, "batch_size": 4, "length": 5} | arguments
    return functools.partial(tfrsb.data.training_batches, **arguments)


def model(rate: float = 0.5, seed: int = 1) -> tf.keras.Model:
    encoder = tfrsb.layers.ItemPoolingEncoder(VOCABULARY.size, output_dim=4)
    views = tfrsb.layers.TwoViews([tfrsb.layers.RandomDrop(rate, seed=seed)], seed=seed)
    pretraining = tfrsb.models.BarlowTwinsPretraining(encoder, views=views)
    pretraining.compile(tf.keras.optimizers.Adam())
    return pretraining


def settings(
    a_model: tf.keras.Model, make_batches: Callable[..., tf.data.Dataset]
) -> dict[str, Any]:
    batch = next(iter(make_batches(first_step=0)))
    return run_settings(a_model, make_batches, batch)


def test_the_same_run_is_known_again(caplog: pytest.LogCaptureFixture) -> None:
    require_same_run(settings(model(), batches()), settings(model(), batches()), PATH)
    assert not caplog.messages


def test_a_default_that_is_written_out_is_the_same() -> None:
    then = settings(model(), batches())
    require_same_run(then, settings(model(), batches(seed=0, layout="padded")), PATH)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("batch_size", 3),
        ("length", 4),
        ("seed", 1),
        ("layout", "ragged"),
        ("sequences", SEQUENCES.without_last()),
    ],
)
def test_other_batches_are_refused(argument: str, value: Any) -> None:
    then = settings(model(), batches())
    now = settings(model(), batches(**{argument: value}))
    with pytest.raises(ValueError, match=rf"^{argument} must be what it was .*ckpt-5"):
        require_same_run(then, now, PATH)


def test_other_views_are_refused() -> None:
    then = settings(model(), batches())
    with pytest.raises(ValueError, match=r"^views must be what it was"):
        require_same_run(then, settings(model(rate=0.4), batches()), PATH)


@pytest.mark.parametrize(
    "optimizer", [tf.keras.optimizers.SGD(), tf.keras.optimizers.legacy.Adam()]
)
def test_another_optimizer_is_refused(optimizer: Any) -> None:
    other = model()
    other.compile(optimizer)
    then = settings(model(), batches())
    with pytest.raises(ValueError, match=r"^optimizer must be what it was"):
        require_same_run(then, settings(other, batches()), PATH)


def test_other_seeds_of_views_are_said_to_be_ignored(
    caplog: pytest.LogCaptureFixture,
) -> None:
    then = settings(model(), batches())
    require_same_run(then, settings(model(seed=2), batches()), PATH)
    assert "the views draw from other seeds. This is ignored" in caplog.text


def test_another_first_batch_of_an_unknown_function_is_said_to_be_ignored(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def other(first_step: int) -> tf.data.Dataset:
        return batches()(first_step=first_step + 1)

    require_same_run(settings(model(), batches()), settings(model(), other), PATH)
    assert "make_batches gives another first batch. This is ignored" in caplog.text


@pytest.mark.parametrize("other", [object(), types.SimpleNamespace(strategy="one")])
def test_arguments_that_cannot_be_compared_are_left_out(other: Any) -> None:
    def make(flags: Any, first_step: int) -> tf.data.Dataset:
        return batches()(first_step=first_step)

    then = settings(model(), functools.partial(make, other))
    now = functools.partial(make, types.SimpleNamespace(strategy="two"))
    require_same_run(then, settings(model(), now), PATH)
