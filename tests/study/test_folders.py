"""The folder of a run: every stage once, and never another run's."""

import pathlib
import time

import pytest

from tfrs_barlow.study import StagedRun


def test_a_stage_is_computed_once(tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return {"accuracy": 0.5}

    for _ in range(2):
        run = StagedRun(tmp_path, {"seed": 1, "widths": (3, 4)})
        assert run.figures("probe", compute) == {"accuracy": 0.5}
    assert len(calls) == 1


def test_a_stage_that_fails_leaves_nothing(tmp_path):
    run = StagedRun(tmp_path, {})
    with pytest.raises(ZeroDivisionError):
        run.figures("probe", lambda: {"accuracy": 1 / 0})
    assert run.figures("probe", lambda: {"accuracy": 1.0}) == {"accuracy": 1.0}


def test_other_settings_are_refused_by_name(tmp_path):
    StagedRun(tmp_path, {"seed": 1, "steps": 10})
    with pytest.raises(ValueError, match="seed was 1 and is now 2") as error:
        StagedRun(tmp_path, {"seed": 2, "steps": 10})
    assert "steps" not in str(error.value)


def test_a_folder_of_something_else_is_refused(tmp_path):
    pathlib.Path(tmp_path / "thesis.tex").touch()
    with pytest.raises(ValueError, match="must be empty or hold an earlier run"):
        StagedRun(tmp_path, {})
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


def test_seconds_add_up_over_interruptions(tmp_path):
    with pytest.raises(KeyboardInterrupt), StagedRun(tmp_path, {}).timed("training"):
        time.sleep(0.02)
        raise KeyboardInterrupt
    run = StagedRun(tmp_path, {})
    before = run.seconds("training")
    assert before >= 0.02
    with run.timed("training"):
        time.sleep(0.02)
    assert run.seconds("training") >= before + 0.02
    assert run.seconds("another") == 0
