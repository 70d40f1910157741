"""The demo, as a user starts, interrupts and restarts it."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
import tensorflow as tf

import tfrs_barlow as tfrsb
from tfrs_barlow import demo

TINY = ["--steps=60", "--batch_size=16", "--length=20"]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A small log in the files of MovieLens-1M."""
    log = tfrsb.data.generate_synthetic_log(
        num_users=120, num_items=100, mean_length=15
    )
    folder = tmp_path_factory.mktemp("ml-1m")
    events = log.interactions
    (folder / "ratings.dat").write_text(
        "".join(
            f"{user}::{item}::5::{time}\n"
            for user, item, time in zip(
                events["user_id"], events["item_id"], events["timestamp"], strict=True
            )
        )
    )
    (folder / "movies.dat").write_text(
        "".join(
            f"{item}::{title}::{'|'.join(categories)}\n"
            for item, title, categories in zip(
                *map(log.items.get, ["item_id", "title", "categories"]), strict=True
            )
        ),
        encoding="latin-1",
    )
    return folder


def test_ends_with_a_table_a_picture_and_a_saved_model(
    data_dir: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demo.main([f"--data_dir={data_dir}", f"--output_dir={tmp_path}", *TINY])
    printed = capsys.readouterr().out
    assert re.search(r"User \d+, recommended:\n  \w+ \d+\n", printed)
    assert "9 users with labels, 12 to test" in printed
    assert printed.splitlines()[-1].startswith("pretrained  ")
    metrics = pd.read_csv(tmp_path / "metrics.csv", index_col="encoder")
    assert metrics.index.tolist() == ["untrained", "pretrained"]
    assert metrics.stack().between(0, 1).all()
    picture = (tmp_path / "result.png").read_bytes()
    assert picture.startswith(b"\x89PNG") and len(picture) > 10_000
    model = tf.saved_model.load(tmp_path / "model" / "1")
    history = tf.constant([[1, 2, 3]], tf.int64)
    assert model.signatures["embed"](history)["embedding"].shape == (1, 128)


def test_a_log_is_named_after_its_data_set_or_its_folder(
    data_dir: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copytree(data_dir, tmp_path / "my-ratings")
    monkeypatch.chdir(copy)
    assert demo.load(None, pathlib.Path())[0] == "my-ratings"
    assert demo.load(None, copy)[0] == "my-ratings"
    assert demo.load("ml-1m", copy)[0] == "ml-1m"
    assert demo.load(None, None)[0] == "synthetic"


def test_later_releases_of_movielens_are_recognized_by_their_files(
    tmp_path: pathlib.Path,
) -> None:
    (tmp_path / "movies.csv").write_text("movieId,title,genres\n7,Alien,Horror\n")
    (tmp_path / "ratings.csv").write_text(
        "userId,movieId,rating,timestamp\n1,7,4.5,964982703\n"
    )
    name, log = demo.load(None, tmp_path)
    assert name == tmp_path.name
    assert log.interactions["item_id"].tolist() == [7]


def test_a_run_with_other_settings_needs_another_folder(
    data_dir: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    tfrsb.study.require_same_settings(folder, {"seed": 1})
    with pytest.raises(SystemExit):
        demo.main([f"--data_dir={data_dir}", f"--output_dir={folder}", *TINY])
    assert "seed was 1 and is now 0" in capsys.readouterr().err


def start(data_dir: pathlib.Path, output_dir: pathlib.Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tfrs_barlow.demo",
            f"--data_dir={data_dir}",
            f"--output_dir={output_dir}",
            *TINY,
        ],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
def test_ctrl_c_and_a_second_start_resume(
    data_dir: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    first = start(data_dir, tmp_path)
    backup = tmp_path / "pretraining" / "chief" / "checkpoint"
    deadline = time.monotonic() + 120
    while not backup.exists() and first.poll() is None:
        assert time.monotonic() < deadline, "No backup was written."
        time.sleep(0.01)
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=60)

    second = start(data_dir, tmp_path)
    printed, _ = second.communicate(timeout=240)
    assert second.returncode == 0, printed
    assert "Saved model" in printed
    epochs = pd.read_csv(tmp_path / "pretraining.csv")["epoch"]
    assert epochs.tolist() == [0, 1]
    # The first epoch was not trained again.
    assert "Epoch 2/2" in printed
    assert "Epoch 1/2" not in printed


def error_of(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as error:
        demo.main(arguments)
    assert error.value.code != 0
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--learning_speed=1"], "unrecognized arguments: --learning_speed=1"),
        (["--dataset=netflix"], "invalid choice: 'netflix' .*ml-1m"),
        (["--seed=one"], "argument --seed: invalid int value: 'one'"),
        (["--data_dir=nowhere"], "nowhere must hold ratings.dat"),
        (["--dataset=ml-1m", "--data_dir=nowhere"], r"nowhere/ratings\.dat"),
    ],
)
def test_bad_flags_are_named(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert re.search(message, error_of(arguments, capsys))


def test_a_malformed_line_is_named(
    data_dir: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ratings = (data_dir / "ratings.dat").read_text()
    (tmp_path / "ratings.dat").write_text(ratings + "17::23::4\n")
    (tmp_path / "movies.dat").write_bytes((data_dir / "movies.dat").read_bytes())
    line = ratings.count("\n") + 1
    error = error_of([f"--data_dir={tmp_path}"], capsys)
    assert re.search(rf"ratings\.dat.*{line}.*17::23::4", error)
    assert "UserID::MovieID::Rating::Timestamp" in error
