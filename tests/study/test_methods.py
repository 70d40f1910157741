"""How each method of a study comes to its encoder."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfrs_barlow as tfrsb
from tfrs_barlow.study import StudyConfig
from tfrs_barlow.study.config import Method
from tfrs_barlow.study.methods import Trainer

USERS, VOCABULARY = tfrsb.data.build_sequences(
    tfrsb.data.generate_synthetic_log(num_users=300, num_items=150, seed=1)
)


def trainer(method: Method, *, batch_size: int = 32, **settings: Any) -> Trainer:
    config = StudyConfig(
        embedding_dim=8, output_dim=8, projector=(16, 16), length=5, **settings
    )
    return Trainer(method, config, VOCABULARY.size, seed=0, batch_size=batch_size)


@pytest.mark.parametrize("method", ["barlow_twins", "joint"])
def test_the_steps_of_a_row_were_taken(
    method: Method, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = []
    compile_model = tf.keras.Model.compile
    monkeypatch.setattr(
        tf.keras.Model,
        "compile",
        lambda model, *args, **kwargs: (
            models.append(model) or compile_model(model, *args, **kwargs)
        ),
    )
    # More than one epoch of 250 steps, and not a multiple.
    one = trainer(method, batch_size=16, encoder_passes=30)
    towers = one.train(USERS, tmp_path)
    assert towers.steps > 250
    assert int(models[0].optimizer.iterations) == towers.steps
    # A training that was finished before is recognized by its time.
    assert one.train(USERS, tmp_path).seconds > towers.seconds


@pytest.mark.parametrize(
    ("method", "embedded"),
    [
        ("dual_encoder", 32),
        ("dual_encoder_few", 32),
        ("transformer", 32),
        ("barlow_twins", 2 * 32),
        # Once for retrieval, and two views of a quarter.
        ("joint", 1.5 * 32),
    ],
)
def test_methods_have_the_same_number_of_encoder_passes(
    method: Method, embedded: float
) -> None:
    steps = trainer(method, encoder_passes=4)._steps(240)
    assert steps * embedded == pytest.approx(4 * 240, abs=embedded)


def test_the_scores_of_a_dual_encoder_are_divided_by_the_temperature() -> None:
    batches = tfrsb.data.training_batches(USERS, batch_size=32, length=5, seed=0)
    batch = next(iter(batches))
    losses = []
    for temperature in (1.0, 2.0):
        one = trainer("dual_encoder", temperature=temperature)
        model = one.new_dual_encoder(one.new_encoder(), USERS)
        last = model.candidate_tower.layers[-1]
        last.set_weights([temperature * weight for weight in last.get_weights()])
        losses.append(float(model.compute_loss(batch)))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize(
    ("method", "batch_size", "weight"),
    [
        ("barlow_twins", 256, 0.05),
        ("barlow_twins", 64, 0.0125),
        # Barlow Twins sees a quarter of the batch.
        ("joint", 256, 0.0125),
    ],
)
def test_lambda_is_in_proportion_to_the_rows(
    method: Method, batch_size: int, weight: float
) -> None:
    one = trainer(method, batch_size=batch_size, off_diagonal_weight=0.05)
    model = one.new_pretraining(one.new_encoder())
    assert model.task.off_diagonal_weight == pytest.approx(weight)


@pytest.mark.parametrize("pairs", ["different_periods", "same_target"])
def test_views_of_two_histories(pairs: str, tmp_path: pathlib.Path) -> None:
    one = trainer("barlow_twins", pairs=pairs, encoder_passes=2)
    towers = one.train(USERS, tmp_path)
    untrained = one.new_encoder().get_weights()
    assert towers.steps > 0
    assert not np.allclose(towers.encoder.get_weights()[0], untrained[0])
    assert one.batches(USERS)().element_spec.keys() >= {"partner"}
    # Joint training always takes the same history.
    joint = trainer("joint", pairs=pairs)
    assert "partner" not in joint.batches(USERS)().element_spec
