"""The signs of collapse, where the usual one is blind."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfrs_barlow.metrics import collapse_diagnostics

RNG = np.random.default_rng(0)


def signs(first, second=None):
    second = first if second is None else second
    diagnostics = collapse_diagnostics(tf.constant(first), tf.constant(second))
    return {name: float(value) for name, value in diagnostics._asdict().items()}


def std_of_l2(embeddings):
    """The usual sign."""
    normalized = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    return normalized.std(axis=0).mean()


def test_rank_one_shows_where_the_usual_sign_is_blind() -> None:
    healthy = RNG.normal(size=(512, 64))
    copies = RNG.normal(size=(512, 1)) * RNG.choice([-1, 1], size=(1, 64))
    copies += 1e-3 * RNG.normal(size=(512, 64))
    assert std_of_l2(copies) == pytest.approx(std_of_l2(healthy), rel=0.15)
    assert signs(copies)["effective_rank"] == pytest.approx(1, abs=0.05)
    assert signs(copies)["mean_abs_off_diagonal"] > 0.95
    # Of a finite batch, 1 / (1 + 64 / 512) of 64.
    assert signs(healthy)["effective_rank"] == pytest.approx(57, abs=1)
    expected = np.sqrt(2 / np.pi / 512)
    assert signs(healthy)["mean_abs_off_diagonal"] == pytest.approx(expected, rel=0.1)


def test_total_collapse() -> None:
    constant = signs(np.full((32, 8), 0.1))
    assert constant["effective_rank"] == 0
    assert constant["mean_abs_off_diagonal"] == 0
    assert constant["standard_deviation"] == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("rows", [0, 1])
def test_a_replica_with_one_row_or_none(rows: int) -> None:
    assert set(signs(np.ones((rows, 8))).values()) == {0.0}


def test_by_hand() -> None:
    view = np.array([[3.0, 1.0], [3.0, -1.0], [-3.0, 1.0], [-3.0, -1.0]])
    assert signs(view, view[:, ::-1]) == pytest.approx(
        {
            "mean_abs_off_diagonal": 1.0,
            "effective_rank": 2.0,
            "standard_deviation": 2.0,
        }
    )


def test_half_of_the_features_copy_the_other_half() -> None:
    view = np.linalg.qr(RNG.normal(size=(64, 9)))[0][:, 1:]
    view -= view.mean(axis=0)
    doubled = np.concatenate([view, view], axis=1)
    assert signs(doubled)["effective_rank"] == pytest.approx(8, rel=0.05)


@pytest.mark.parametrize("dim", [128, 129, 1000])
def test_many_features_are_sampled(dim: int) -> None:
    copies = np.tile(RNG.normal(size=(32, 1)), [1, dim])
    assert signs(copies)["effective_rank"] == pytest.approx(1, abs=1e-5)


def test_half_precision_and_no_gradient() -> None:
    embeddings = tf.Variable(tf.cast(300 * RNG.normal(size=(32, 8)), tf.float16))
    with tf.GradientTape() as tape:
        rank = collapse_diagnostics(embeddings, embeddings).effective_rank
    assert rank.dtype == tf.float32
    assert 1 < float(rank) < 8
    assert tape.gradient(rank, embeddings) is None
