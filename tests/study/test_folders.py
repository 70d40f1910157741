"""The folder of a run: its settings and its seconds."""

from __future__ import annotations

import pathlib
import threading
import time

import pytest

from tfrs_barlow._lock import locked
from tfrs_barlow.study import require_same_settings
from tfrs_barlow.study.folders import seconds, timed


def test_the_same_settings_may_come_again(tmp_path: pathlib.Path) -> None:
    for _ in range(2):
        require_same_settings(tmp_path / "new", {"seed": 1, "widths": (3, 4)})
    (tmp_path / "new" / "model").mkdir()
    require_same_settings(str(tmp_path / "new"), {"seed": 1, "widths": (3, 4)})


def test_other_settings_are_refused_by_name(tmp_path: pathlib.Path) -> None:
    require_same_settings(tmp_path, {"seed": 1, "steps": 10})
    with pytest.raises(ValueError, match="seed was 1 and is now 2") as error:
        require_same_settings(tmp_path, {"seed": 2, "steps": 10})
    assert "steps" not in str(error.value)


def test_a_folder_of_something_else_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ValueError, match="must be empty or hold an earlier run"):
        require_same_settings(tmp_path, {})
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


def test_seconds_add_up_over_interruptions(tmp_path: pathlib.Path) -> None:
    assert seconds(tmp_path) == 0
    with pytest.raises(KeyboardInterrupt), timed(tmp_path):
        time.sleep(0.02)
        raise KeyboardInterrupt
    before = seconds(tmp_path)
    assert before >= 0.02
    with timed(tmp_path):
        time.sleep(0.02)
    assert seconds(tmp_path) >= before + 0.02


def test_processes_that_train_the_same_take_turns(tmp_path: pathlib.Path) -> None:
    entered = threading.Event()

    def enter() -> None:
        with locked(tmp_path, wait=True):
            entered.set()

    with locked(tmp_path, wait=True):
        thread = threading.Thread(target=enter)
        thread.start()
        assert not entered.wait(0.2)
    thread.join(10)
    assert entered.is_set()
