"""One process at a time owns a folder."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

from tfrs_barlow._lock import locked


def test_a_second_owner_is_refused_by_the_name_of_the_first(
    tmp_path: pathlib.Path,
) -> None:
    with (
        locked(tmp_path),
        pytest.raises(BlockingIOError, match=f"in use by process {os.getpid()} on"),
        locked(tmp_path),
    ):
        pass


def test_the_next_owner_follows_the_last(tmp_path: pathlib.Path) -> None:
    for _ in range(2):
        with locked(tmp_path / "new"):
            assert (tmp_path / "new" / "lock").read_text().count("process") == 1


def test_a_killed_owner_owns_nothing(tmp_path: pathlib.Path) -> None:
    code = (
        "import os, pathlib, sys\n"
        "from tfrs_barlow._lock import locked\n"
        "with locked(pathlib.Path(sys.argv[1])):\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    environment = {**os.environ, "TF_USE_LEGACY_KERAS": "1"}
    killed = subprocess.run(
        [sys.executable, "-c", code, tmp_path], env=environment, check=False
    )
    assert killed.returncode == -9
    with locked(tmp_path):
        pass
