"""The search: a real one, what it proposes and keeps, and what it refuses."""

from __future__ import annotations

import pathlib
import re
from typing import Any

import pandas as pd
import pytest

import tfrs_barlow as tfrsb
from examples import tune_pretraining
from examples.tune_pretraining import OBJECTIVE, Settings

TINY = ["--steps=4", "--steps_per_evaluation=2", "--batch_size=8", "--length=5"]
SPACE = [
    "projector_width",
    "off_diagonal_weight",
    "dropout",
    "crop",
    "mask",
    "learning_rate",
]


@pytest.fixture
def small(monkeypatch):
    """A smaller synthetic log than that of the example."""
    log = tfrsb.data.generate_synthetic_log(
        num_users=80, num_items=50, num_categories=3, mean_length=10
    )
    monkeypatch.setattr(tune_pretraining, "_load", lambda *_: log)


@pytest.fixture
def untrained(monkeypatch, small):
    """Trainings that reach their mask rate, or diverge; returns what was tried."""
    tried = []

    def train(hp, data, settings):
        values = {name: hp.Float(name, 0.0, 1.0) for name in ("mask", "crop")}
        tried.append(values)
        if values["crop"] > 0.5:
            raise ValueError("training has diverged")
        encoder = tfrsb.layers.ItemPoolingEncoder(
            data.vocabulary_size, embedding_dim=2, output_dim=2
        )
        return encoder, {OBJECTIVE: values["mask"]}

    monkeypatch.setattr(tune_pretraining, "train", train)
    return tried


def run(folder, *arguments):
    tune_pretraining.main([f"--output_dir={folder}", *TINY, *arguments])
    return pd.read_csv(folder / "trials.csv", index_col="trial")


@pytest.mark.slow
def test_a_real_search(small: None, tmp_path: pathlib.Path) -> None:
    data = tune_pretraining.Data.from_log(tune_pretraining._load())
    settings = Settings(steps=4, steps_per_evaluation=2, batch_size=8, length=5)
    tuner = tune_pretraining.search(data, settings, trials=1, output_dir=tmp_path)
    table = tune_pretraining.trials_table(tuner)
    assert list(table) == [*SPACE, OBJECTIVE]
    assert 0 < table[OBJECTIVE].item() <= 1
    (trial,) = tuner.oracle.get_best_trials()
    assert trial.metrics.exists("barlow_twins/effective_rank")


def test_the_best_is_first_and_trained_again(
    untrained: list[dict[str, float]], tmp_path: pathlib.Path
) -> None:
    table = run(tmp_path, "--trials=6", "--seed=3")
    assert len(table) <= 6
    assert table[OBJECTIVE].is_monotonic_decreasing
    assert untrained[-1]["mask"] == pytest.approx(table["mask"].max())
    assert (table["crop"] <= 0.5).all()
    diverged = sum(values["crop"] > 0.5 for values in untrained)
    assert diverged > 0
    assert len(table) + diverged + 1 == len(untrained)


def test_a_search_goes_on(
    untrained: list[dict[str, float]], tmp_path: pathlib.Path
) -> None:
    first = run(tmp_path, "--trials=2")
    done = len(untrained)
    table = run(tmp_path, "--trials=4")
    assert len(untrained) - done == 2 + 1
    assert set(first.index) < set(table.index)


def test_another_search_in_the_same_folder_is_refused(
    untrained: list[dict[str, float]],
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(tmp_path, "--trials=1")
    with pytest.raises(SystemExit):
        run(tmp_path, "--trials=1", "--output_dim=3")
    assert "output_dim was 64 and is now 3" in capsys.readouterr().err


def test_the_users_that_judge_are_not_trained_on(small: None) -> None:
    data = tune_pretraining.Data.from_log(tune_pretraining._load())
    trained = set(data.sequences.user_ids)
    train, validation, test = (
        set(part.histories.user_ids)
        for part in (data.train, data.validation, data.test)
    )
    assert train <= trained
    assert len(validation) == len(test) == 8
    assert len(trained | validation | test) == len(trained) + 16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trials=0"], "--trials: must be at least 1, but it is 0"),
        (["--steps=-3"], "--steps: must be at least 1, but it is -3"),
        (["--dataset=netflix"], "--dataset: invalid choice: 'netflix'"),
        (["--data_dir=nowhere"], "error: .*nowhere"),
        (["--trial=3"], "unrecognized arguments: --trial=3"),
    ],
)
def test_bad_flags_are_named(
    arguments: dict[str, Any],
    message: str,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as error:
        tune_pretraining.main([f"--output_dir={tmp_path}", *arguments])
    assert error.value.code != 0
    assert re.search(message, capsys.readouterr().err)


def test_flags_are_the_settings() -> None:
    flags = tune_pretraining._parser().parse_args(["--patience=7"])
    values = {name: getattr(flags, name) for name in vars(Settings())}
    assert Settings(**values) == Settings(patience=7)
