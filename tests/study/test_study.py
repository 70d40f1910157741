"""A study as a whole, on synthetic data: its grid, its rows, and its interruptions."""

from __future__ import annotations

import dataclasses
import pathlib
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pandas as pd
import pytest

import tfrs_barlow as tfrsb
from tfrs_barlow.data import InteractionLog
from tfrs_barlow.study import StudyConfig, __main__, run_study
from tfrs_barlow.study.grid import cells_of
from tfrs_barlow.study.rows import RowFile

LOG = tfrsb.data.generate_synthetic_log(num_users=300, num_items=150, seed=1)
CONFIG = StudyConfig(
    methods=("counting", "category_counts", "random", "dual_encoder_few", "joint"),
    tasks=("next_item", "favorite_category"),
    label_fractions=(0.2,),
    batch_sizes=(32,),
    seeds=(0,),
    embedding_dim=16,
    output_dim=16,
    length=20,
    encoder_passes=4,
    projector=(32, 32),
    fine_tuning_steps=25,
)
Finished = tuple[pathlib.Path, pd.DataFrame]


def run(
    log: InteractionLog,
    folder: pathlib.Path,
    config: StudyConfig = CONFIG,
    **change: Any,
) -> pd.DataFrame:
    other_grids = change.pop("other_grids", False)
    config = dataclasses.replace(config, **change)
    return run_study(
        log,
        config,
        folder,
        dataset="made up",
        other_grids=other_grids,
        verbose=False,
    )


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory,
) -> Finished:
    folder = tmp_path_factory.mktemp("study")
    return folder, run(LOG, folder)


def test_every_cell_has_one_row(finished: Finished) -> None:
    _, rows = finished
    grid = ["seed", "batch_size", "method", "label_fraction", "protocol", "task"]
    measured = list(rows[grid].itertuples(index=False, name=None))
    assert measured == list(map(tuple, cells_of(CONFIG)))
    assert set(rows["dataset"]) == {"made up"}


def test_metrics_are_shares(finished: Finished) -> None:
    _, rows = finished
    for part in ("validation", "test"):
        assert rows[f"{part}_accuracy"].between(0, 1).all()
    items = rows["task"] == "next_item"
    assert rows.loc[items, "test_hit_rate_10"].notna().all()
    assert rows.loc[~items, "test_macro_f1"].notna().all()
    # The curve is what the step was chosen by.
    tuned = rows[(rows["protocol"] == "fine_tuned") & (rows["task"] == "next_item")]
    for row in tuned.to_dict("records"):
        assert max(row["curve"]) == pytest.approx(row["validation_ndcg_10"])


def test_categories_predict_the_favorite_better_than_guessing(
    tmp_path: pathlib.Path,
) -> None:
    config = dataclasses.replace(
        CONFIG,
        methods=("counting", "category_counts"),
        tasks=("favorite_category",),
        label_fractions=(1.0,),
    )
    rows = run(LOG, tmp_path, config)
    guessing, counted = rows["test_accuracy"]
    assert counted > 2 * guessing


def test_a_second_start_measures_nothing(finished: Finished) -> None:
    folder, rows = finished
    before = (folder / "rows.jsonl").read_bytes()
    again = run(LOG, folder)
    assert (folder / "rows.jsonl").read_bytes() == before
    pd.testing.assert_frame_equal(again, rows)


def test_a_larger_grid_adds_to_what_is_there(finished: Finished) -> None:
    folder, _ = finished
    config = dataclasses.replace(
        CONFIG,
        methods=("counting", "random"),
        tasks=("favorite_category",),
        protocols=("frozen",),
        label_fractions=(1.0, 0.2),
    )
    before = len(list(RowFile(folder / "rows.jsonl")))
    larger = run(LOG, folder, config)
    # Few labels first, and the methods as they were named, for tables.
    assert larger["label_fraction"].tolist() == [0.2, 0.2, 1.0, 1.0]
    assert larger["method"].tolist() == ["counting", "random"] * 2
    both = run(LOG, folder, config, other_grids=True)
    assert len(both) == before + 2
    assert both["label_fraction"].is_monotonic_increasing
    assert len(list(RowFile(folder / "rows.jsonl"))) == before + 2


def test_as_trained_each_method_is_judged_where_it_has_its_labels(
    tmp_path: pathlib.Path,
) -> None:
    config = dataclasses.replace(
        CONFIG,
        methods=("dual_encoder", "transformer_few", "transformer"),
        tasks=("next_item",),
        protocols=("as_trained",),
        label_fractions=(0.2, 1.0),
        encoder_passes=1,
    )
    rows = run(LOG, tmp_path, config)
    # Of few labels with all labels there would be the same training twice.
    assert set(zip(rows["method"], rows["label_fraction"], strict=True)) == {
        ("transformer_few", 0.2),
        ("dual_encoder", 1.0),
        ("transformer", 1.0),
    }


@pytest.mark.parametrize(
    "change", [{"mask_rate": 0.5}, {"projector": (32, 16)}, {"seeds": (1,)}]
)
def test_other_settings_are_measured_anew(
    finished: Finished, change: dict[str, Any]
) -> None:
    folder, _ = finished
    config = dataclasses.replace(
        CONFIG,
        methods=("random",),
        tasks=("favorite_category",),
        protocols=("frozen",),
        **change,
    )
    before = len(list(RowFile(folder / "rows.jsonl")))
    rows = run(LOG, folder, config)
    assert len(rows) == 1
    assert len(list(RowFile(folder / "rows.jsonl"))) == before + 1


def test_pretraining_beats_a_random_encoder(tmp_path: pathlib.Path) -> None:
    config = dataclasses.replace(
        CONFIG,
        methods=("counting", "random", "barlow_twins"),
        tasks=("favorite_category",),
        protocols=("frozen",),
        label_fractions=(1.0,),
        encoder="mean_pooling",
        encoder_passes=60,
        learning_rate=5e-3,
    )
    log = tfrsb.data.generate_synthetic_log(num_users=600, num_items=300, seed=1)
    rows = run(log, tmp_path, config)
    accuracy = rows.set_index("method")["test_accuracy"]
    assert accuracy["barlow_twins"] > accuracy["random"] + 0.05
    assert accuracy["barlow_twins"] > accuracy["counting"] + 0.1


def counting_of(
    log: InteractionLog, folder: pathlib.Path, **change: Any
) -> pd.DataFrame:
    """The rows of the method that needs no training."""
    return run(log, folder, methods=("counting",), **change)


def test_other_categories_are_other_data(tmp_path: pathlib.Path) -> None:
    items = LOG.items.assign(
        categories=[("a",), ("b",), ("c",)] * (len(LOG.items) // 3)
    )
    for folder in (tmp_path / "shared", tmp_path / "fresh"):
        if folder.name == "shared":
            counting_of(LOG, folder)
        rows = counting_of(InteractionLog(LOG.interactions, items), folder)
        value = rows.set_index("task")["test_accuracy"]["favorite_category"]
        if folder.name == "shared":
            expected = value
    assert value == expected


def test_the_next_item_needs_no_categories(tmp_path: pathlib.Path) -> None:
    log = InteractionLog(
        LOG.interactions, LOG.items.assign(categories=[()] * len(LOG.items))
    )
    assert len(counting_of(log, tmp_path, tasks=("next_item",))) == 1
    with pytest.raises(ValueError, match="no item of the log has a category"):
        counting_of(log, tmp_path)


def test_cells_without_labels_are_passed_over(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = [("a",)] + [()] * (len(LOG.items) - 1)
    log = InteractionLog(LOG.interactions, LOG.items.assign(categories=one))
    config = dataclasses.replace(
        CONFIG,
        methods=("counting",),
        tasks=("next_category", "next_item"),
        label_fractions=(0.01,),
    )
    rows = run_study(log, config, tmp_path, dataset="made up")
    assert rows["task"].tolist() == ["next_item"]
    assert "next_category, 1% of labels: not measured" in capsys.readouterr().out


def test_a_grid_without_a_cell_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match=r"No method of .*'counting'.* is judged by"):
        counting_of(LOG, tmp_path, protocols=("fine_tuned",))


def test_too_few_users_are_counted(tmp_path: pathlib.Path) -> None:
    log = tfrsb.data.generate_synthetic_log(num_users=7)
    with pytest.raises(ValueError, match="10 users with 5 events or more, but only 7"):
        counting_of(log, tmp_path)


@pytest.mark.slow
def test_a_killed_run_goes_on(tmp_path: pathlib.Path) -> None:
    """A run killed in a training ends with the rows of one that was not."""
    data = tmp_path / "events.csv"
    events = LOG.interactions.merge(LOG.items, on="item_id")
    events["category"] = events["categories"].str.join("|")
    events.drop(columns="categories").to_csv(data, index=False)
    settings = {
        "methods": ("barlow_twins",),
        "tasks": ("favorite_category",),
        "protocols": ("frozen",),
        "encoder": "mean_pooling",
        # Two epochs of 250 steps: killed after the first.
        "encoder_passes": 130.0,
        "label_fractions": (0.2, 1.0),
        "batch_sizes": (32,),
        "seeds": (0,),
    }
    command = [sys.executable, "-m", "tfrs_barlow.study", f"--data={data}"]
    command += [f"--output_dir={tmp_path / 'run'}"]
    for column in ("user_id", "item_id", "timestamp", "category"):
        name = {"timestamp": "time"}.get(column, column.removesuffix("_id"))
        command.append(f"--{name}_column={column}")
    for name, value in settings.items():
        values = value if isinstance(value, tuple) else (value,)
        command += [f"--{name}", *map(str, values)]

    run = subprocess.Popen(command)
    deadline = time.monotonic() + 120
    while not any((tmp_path / "run").rglob("checkpoint")):
        assert run.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    run.kill()
    run.wait()
    assert not (tmp_path / "run" / "rows.jsonl").exists()
    finished = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "Epoch 2/2" in finished.stdout
    assert "Epoch 1/2" not in finished.stdout

    broken = list(RowFile(tmp_path / "run" / "rows.jsonl"))
    config = dataclasses.replace(__main__.CONFIGS["quick"], **settings)
    log = tfrsb.data.read_interactions(
        data,
        user_column="user_id",
        item_column="item_id",
        time_column="timestamp",
        category_column="category",
    )
    unbroken = run_study(log, config, tmp_path / "2", dataset="events", verbose=False)
    assert len(broken) == len(unbroken) == 2
    # Other processes change the order of sums, so a user may fall on the other side.
    accuracy = [row["test_accuracy"] for row in broken]
    np.testing.assert_allclose(accuracy, unbroken["test_accuracy"], atol=0.07)
    assert (tmp_path / "run" / "report.md").read_text().count("barlow twins") == 2
