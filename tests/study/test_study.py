"""A study as a whole, on synthetic data: its grid, its rows, and its interruptions."""

import dataclasses
import subprocess
import sys
import threading
import time

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import tfrs_barlow as tfrsb
from tfrs_barlow.data import InteractionLog
from tfrs_barlow.study import (
    RowFile,
    StudyConfig,
    best_by_validation,
    gains,
    gains_markdown,
    run_study,
    summary,
    summary_markdown,
    write_plots,
)
from tfrs_barlow.study import __main__ as downstream_study
from tfrs_barlow.study.methods import Trainer
from tfrs_barlow.study.run import _alone_in

LOG = tfrsb.data.generate_synthetic_log(num_users=300, num_items=150, seed=1)
CONFIG = StudyConfig(
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
GRID = ["method", "protocol", "task"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    return folder, run_study(LOG, CONFIG, folder, dataset="made up", verbose=False)


def test_every_cell_has_one_row(finished):
    _, rows = finished
    assert not rows.duplicated(GRID).any()
    # Two protocols of two tasks by five methods, counting by one protocol; the dual
    # encoder on few labels is, for the next item, fine-tuning from scratch. As trained,
    # the Transformer on few labels is judged, for the next item; and by the categories
    # of a history one judges the other task.
    assert len(rows) == 2 * 2 * 5 + 2 - 2 + 1 + 1
    assert set(rows["dataset"]) == {"made up"}
    assert set(rows["seed"]) == {0}


def test_figures_are_shares(finished):
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


def test_categories_tell_the_favorite_better_than_guessing(tmp_path):
    config = dataclasses.replace(
        CONFIG,
        methods=("counting", "category_counts"),
        tasks=("favorite_category",),
        label_fractions=(1.0,),
    )
    rows = run_study(LOG, config, tmp_path, dataset="made up", verbose=False)
    guessing, told = rows["test_accuracy"]
    assert told > 2 * guessing


def test_methods_have_the_same_number_of_encoder_passes(finished):
    _, rows = finished
    steps = rows.groupby("method")["pretraining_steps"].first()
    users = 240  # Of 300, four fifths.
    passes = 4 * users
    assert steps["dual_encoder"] * 32 == pytest.approx(passes, abs=32)
    assert steps["barlow_twins"] * 32 * 2 == pytest.approx(passes, abs=64)
    # Once for retrieval, and two views of a quarter.
    assert steps["joint"] * 32 * 1.5 == pytest.approx(passes, abs=48)
    assert steps["dual_encoder_few"] * 32 == pytest.approx(4 * 48, abs=32)
    assert steps["random"] == 0


@pytest.mark.parametrize("method", ["dual_encoder", "barlow_twins", "joint"])
def test_the_steps_of_a_row_were_taken(method, tmp_path, monkeypatch):
    models = []
    compile_model = tf.keras.Model.compile
    monkeypatch.setattr(
        tf.keras.Model,
        "compile",
        lambda model, *args, **kwargs: (
            models.append(model) or compile_model(model, *args, **kwargs)
        ),
    )
    users, vocabulary = tfrsb.data.build_sequences(LOG)
    # More than one epoch of 250, and no whole number of them.
    config = dataclasses.replace(CONFIG, encoder_passes=30, length=5)
    trainer = Trainer(config, vocabulary.size, seed=0, batch_size=16)
    towers = trainer.train(method, users, tmp_path)
    assert towers.steps > 250
    assert int(models[0].optimizer.iterations) == towers.steps
    # A training that was finished before is known by its time.
    assert trainer.train(method, users, tmp_path).seconds > towers.seconds


def test_the_scores_of_a_dual_encoder_are_divided_by_the_temperature():
    users, vocabulary = tfrsb.data.build_sequences(LOG)
    batch = next(
        iter(tfrsb.data.training_batches(users, batch_size=32, length=20, seed=0))
    )
    losses = []
    for temperature in (1.0, 2.0):
        config = dataclasses.replace(CONFIG, temperature=temperature)
        trainer = Trainer(config, vocabulary.size, seed=0, batch_size=32)
        model = trainer.new_dual_encoder(trainer.new_encoder("dual_encoder"), users)
        last = model.candidate_tower.layers[-1]
        last.set_weights([temperature * weight for weight in last.get_weights()])
        losses.append(float(model.compute_loss(batch)))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize(("batch_size", "weight"), [(256, 0.05), (64, 0.0125)])
def test_lambda_is_in_proportion_to_the_batch_size(batch_size, weight):
    config = dataclasses.replace(CONFIG, off_diagonal_weight=0.05)
    trainer = Trainer(config, 20, seed=0, batch_size=batch_size)
    model = trainer.new_pretraining(trainer.new_encoder("barlow_twins"), batch_size)
    assert model.task.off_diagonal_weight == pytest.approx(weight)


def test_a_second_start_measures_nothing(finished):
    folder, rows = finished
    before = (folder / "rows.jsonl").read_bytes()
    again = run_study(LOG, CONFIG, folder, dataset="made up", verbose=False)
    assert (folder / "rows.jsonl").read_bytes() == before
    pd.testing.assert_frame_equal(again, rows)


def test_a_larger_grid_adds_to_what_is_there(finished):
    folder, _ = finished
    config = dataclasses.replace(
        CONFIG,
        methods=("counting", "barlow_twins"),
        tasks=("favorite_category",),
        protocols=("frozen",),
        label_fractions=(1.0, 0.2),
    )
    before = len(list(RowFile(folder / "rows.jsonl")))
    larger = run_study(LOG, config, folder, dataset="made up", verbose=False)
    # Few labels first, and the methods as they were named, for tables.
    assert larger["label_fraction"].tolist() == [0.2, 0.2, 1.0, 1.0]
    assert larger["method"].tolist() == ["counting", "barlow_twins"] * 2
    both = run_study(
        LOG, config, folder, dataset="made up", other_grids=True, verbose=False
    )
    assert len(both) == before + 2
    assert both["label_fraction"].is_monotonic_increasing
    assert len(list(RowFile(folder / "rows.jsonl"))) == before + 2


def test_as_trained_each_method_is_judged_where_it_has_its_labels(tmp_path):
    config = dataclasses.replace(
        CONFIG,
        methods=("dual_encoder", "transformer_few", "transformer"),
        tasks=("next_item",),
        protocols=("as_trained",),
        label_fractions=(0.2, 1.0),
        encoder_passes=1,
    )
    rows = run_study(LOG, config, tmp_path, dataset="made up", verbose=False)
    # Of few labels with all labels there would be the same training twice.
    assert set(zip(rows["method"], rows["label_fraction"], strict=True)) == {
        ("transformer_few", 0.2),
        ("dual_encoder", 1.0),
        ("transformer", 1.0),
    }


@pytest.mark.parametrize("pairs", ["different_periods", "same_target"])
def test_views_of_two_histories(pairs, tmp_path):
    users, vocabulary = tfrsb.data.build_sequences(LOG)
    config = dataclasses.replace(CONFIG, pairs=pairs)
    trainer = Trainer(config, vocabulary.size, seed=0, batch_size=32)
    towers = trainer.train("barlow_twins", users, tmp_path)
    untrained = trainer.new_encoder("barlow_twins").get_weights()
    assert towers.steps > 0
    assert not np.allclose(towers.encoder.get_weights()[0], untrained[0])
    # They are others than those of one history, and joint training has none.
    assert trainer._batches("barlow_twins", users)().element_spec.keys() >= {"partner"}
    assert "partner" not in trainer._batches("joint", users)().element_spec


@pytest.mark.parametrize(
    "change", [{"mask_rate": 0.5}, {"projector": (32, 16)}, {"seeds": (1,)}]
)
def test_other_settings_are_measured_anew(finished, change):
    folder, _ = finished
    config = dataclasses.replace(
        CONFIG,
        methods=("random",),
        tasks=("favorite_category",),
        protocols=("frozen",),
        **change,
    )
    before = len(list(RowFile(folder / "rows.jsonl")))
    rows = run_study(LOG, config, folder, dataset="made up", verbose=False)
    assert len(rows) == 1
    assert len(list(RowFile(folder / "rows.jsonl"))) == before + 1


def test_pretraining_beats_a_random_encoder(tmp_path):
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
    rows = run_study(log, config, tmp_path, dataset="made up", verbose=False)
    accuracy = rows.set_index("method")["test_accuracy"]
    assert accuracy["barlow_twins"] > accuracy["random"] + 0.05
    assert accuracy["barlow_twins"] > accuracy["counting"] + 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": ("sum",)}, "methods must be of .* but hold 'sum'"),
        ({"tasks": ("age",)}, "tasks must be of .* but hold 'age'"),
        ({"protocols": ("warm",)}, "protocols must be of .* but hold 'warm'"),
        ({"encoder": "lstm"}, "encoder must be one of .* but it is 'lstm'"),
        ({"label_fractions": (0.0,)}, r"label_fractions must lie in \(0, 1\]"),
        ({"pairs": "friends"}, "pairs must be one of .* but it is 'friends'"),
        ({"temperature": 0.0}, "temperature must be above 0, but it is 0.0"),
        ({"batch_sizes": (1,)}, "batch_sizes must be at least 2"),
        ({"drop_rate": 0.0}, "must not all leave a history as it is"),
    ],
)
def test_settings_out_of_range_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CONFIG, **change)


@pytest.mark.parametrize(
    "name", ["encoder_passes", "length", "fine_tuning_steps", "barlow_weight"]
)
def test_settings_that_must_be_positive(name):
    with pytest.raises(ValueError, match=f"{name} must be above 0, but it is 0"):
        dataclasses.replace(CONFIG, **{name: 0})


def test_a_share_above_one_is_named():
    with pytest.raises(ValueError, match=r"drop_rate must lie in \[0, 1\], but it is"):
        dataclasses.replace(CONFIG, drop_rate=1.5)


def counting_of(log, folder, **change):
    """The rows of the method that needs no training."""
    config = dataclasses.replace(CONFIG, methods=("counting",), **change)
    return run_study(log, config, folder, dataset="made up", verbose=False)


def test_other_categories_are_other_data(tmp_path):
    items = LOG.items.assign(
        categories=[("a",), ("b",), ("c",)] * (len(LOG.items) // 3)
    )
    for folder in (tmp_path / "shared", tmp_path / "fresh"):
        if folder.name == "shared":
            counting_of(LOG, folder)
        rows = counting_of(InteractionLog(LOG.interactions, items), folder)
        figure = rows.set_index("task")["test_accuracy"]["favorite_category"]
        if folder.name == "shared":
            expected = figure
    assert figure == expected


def test_the_next_item_needs_no_categories(tmp_path):
    log = InteractionLog(
        LOG.interactions, LOG.items.assign(categories=[()] * len(LOG.items))
    )
    assert len(counting_of(log, tmp_path, tasks=("next_item",))) == 1
    with pytest.raises(ValueError, match="no item of the log has a category"):
        counting_of(log, tmp_path)


def test_cells_without_labels_are_passed_over(tmp_path, capsys):
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
    assert (
        "not measured, since no user with known labels has" in capsys.readouterr().out
    )


def test_a_grid_without_a_cell_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"No method of .*'counting'.* is judged by"):
        counting_of(LOG, tmp_path, protocols=("fine_tuned",))


def test_too_few_users_are_counted(tmp_path):
    log = tfrsb.data.generate_synthetic_log(num_users=7)
    with pytest.raises(ValueError, match="10 users with 5 events or more, but only 7"):
        counting_of(log, tmp_path)


def rows_of(figures):
    """Rows of one place, from (method, seed, accuracy)."""
    return pd.DataFrame(
        [
            {
                "dataset": "d",
                "batch_size": 256,
                "label_fraction": 0.1,
                "protocol": "frozen",
                "task": "next_category",
                "method": method,
                "seed": seed,
                "test_accuracy": accuracy,
            }
            for method, seed, accuracy in figures
        ]
    )


def test_summary_by_hand():
    table = summary(rows_of([("random", 0, 0.2), ("random", 1, 0.4)]))
    assert table.loc[0, "mean"] == pytest.approx(0.3)
    # The standard deviation is 0.1414, of two seeds.
    assert table.loc[0, "standard_error"] == pytest.approx(0.1)
    assert table.loc[0, "seeds"] == 2


def test_gains_are_paired_by_seed():
    """A gain that is the same for every seed has no error, however seeds differ."""
    rows = rows_of(
        [("joint", s, 0.3 * (1 + s)) for s in range(3)]
        + [("random", s, 0.2 * (1 + s)) for s in range(3)]
        + [("random", 3, 0.9)]
    )
    gain = gains(rows, method="joint", baseline="random").iloc[0]
    assert gain["gain"] == pytest.approx(0.5)
    assert gain["standard_error"] == pytest.approx(0, abs=1e-12)
    assert gain["seeds"] == 3


def test_a_baseline_of_nothing_gives_no_gain():
    rows = rows_of([("joint", 0, 0.3), ("random", 0, 0.0)])
    table = gains(rows, method="joint", baseline="random")
    assert np.isnan(table.iloc[0]["gain"])
    assert "nan" not in gains_markdown(table)


@pytest.mark.parametrize("setting", ["learning_rate", "batch_size"])
def test_each_method_counts_at_the_value_that_is_best_for_validation_users(setting):
    few = rows_of([("joint", 0, 0.6), ("joint", 1, 0.6), ("random", 0, 0.4)])
    many = rows_of([("joint", 0, 0.5), ("joint", 1, 0.7), ("random", 0, 0.9)])
    lone = rows_of([("joint", 0, 1.0)])  # The best one, but of fewer seeds.
    rows = pd.concat(
        [
            few.assign(**{setting: 32, "validation_accuracy": [0.3, 0.5, 0.2]}),
            many.assign(**{setting: 64, "validation_accuracy": [0.2, 0.5, 0.3]}),
            lone.assign(**{setting: 128, "validation_accuracy": [0.9]}),
        ]
    )
    best = best_by_validation(rows, setting)
    assert best["test_accuracy"].tolist() == [0.6, 0.6, 0.9]
    gain = gains(best, method="joint", baseline="random").iloc[0]
    assert gain["gain"] == pytest.approx(0.6 / 0.9 - 1)
    assert "0.900" in summary_markdown(best)


@pytest.mark.parametrize(
    ("share", "expected"), [(1, "100%"), (0.1, "10%"), (0.002, "0.2%")]
)
def test_shares_of_labels_can_be_told_apart(share, expected):
    rows = rows_of([("random", 0, 0.2)]).assign(label_fraction=share)
    assert f"| {expected} | frozen | random | 0.200 |" in summary_markdown(rows)


def test_plots_are_drawn_of_what_is_there(finished, tmp_path):
    _, rows = finished
    assert [file.name for file in write_plots(rows, tmp_path)] == [
        "learning_curves.png"
    ]
    more = pd.concat(
        [
            rows,
            rows.assign(label_fraction=1.0),
            rows.assign(batch_size=64),
        ]
    )
    files = write_plots(more, tmp_path)
    assert [file.name for file in files] == [
        "gain_by_label_fraction.png",
        "figures_by_batch_size.png",
        "learning_curves.png",
    ]
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)
    tuned = more[more["protocol"] == "fine_tuned"]
    assert "figures_by_batch_size.png" not in [
        file.name for file in write_plots(tuned, tmp_path)
    ]
    counted = rows[rows["method"] == "counting"]
    assert write_plots(counted, tmp_path) == []


@pytest.mark.slow
def test_a_killed_run_goes_on(tmp_path):
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
    config = dataclasses.replace(downstream_study.CONFIGS["quick"], **settings)
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


def test_two_processes_do_not_train_in_one_folder(tmp_path):
    entered = threading.Event()

    def enter():
        with _alone_in(tmp_path):
            entered.set()

    with _alone_in(tmp_path):
        thread = threading.Thread(target=enter)
        thread.start()
        assert not entered.wait(0.2)
    thread.join(10)
    assert entered.is_set()
