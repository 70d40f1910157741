"""How commands of the package start: `python -m tfrs_barlow.demo` and its like."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
COMMANDS = ["tfrs_barlow.demo", "tfrs_barlow.study", "tfrs_barlow.serving"]
SET_BY_HAND = ("TF_USE_LEGACY_KERAS", "TF_CPP_MIN_LOG_LEVEL")


def python(
    *arguments: str, cwd: pathlib.Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs Python as a user does who has set nothing."""
    clean = {k: v for k, v in os.environ.items() if k not in SET_BY_HAND}
    path = os.pathsep.join([str(cwd), str(ROOT)])
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**clean, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_starts_without_variables_and_without_noise(
    command: str, tmp_path: pathlib.Path
) -> None:
    result = python("-m", command, "--help", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"usage: python -m {command}")
    assert result.stderr == ""


@pytest.mark.slow
def test_a_command_trains_without_noise(tmp_path: pathlib.Path) -> None:
    result = python("-mtfrs_barlow.demo", "--steps=2", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "Saved model" in result.stdout
    assert result.stderr == ""


BROKEN_TENSORFLOW = """
import os
os.write(2, b"E0000 the driver does not match")
raise ImportError("broken")
"""


def test_what_tensorflow_said_is_shown_if_its_import_fails(
    tmp_path: pathlib.Path,
) -> None:
    (tmp_path / "tensorflow.py").write_text(BROKEN_TENSORFLOW)
    result = python("-m", "tfrs_barlow.demo", "--help", cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith("E0000 the driver does not match")
    assert result.stderr.strip().endswith("ImportError: broken")


def test_a_command_starts_with_stderr_closed(tmp_path: pathlib.Path) -> None:
    start = f"{sys.executable} -m tfrs_barlow.demo --help 2>&-"
    result = python("-c", f"import os; exit(os.system({start!r}) >> 8)", cwd=tmp_path)
    assert result.returncode == 0
    assert result.stdout.startswith("usage: ")


CHANGES_NOTHING = """
import os, logging, absl.logging
before = dict(os.environ), absl.logging.get_verbosity(), os.fstat(2)
import tfrs_barlow
assert (dict(os.environ), absl.logging.get_verbosity(), os.fstat(2)) == before
"""


@pytest.mark.parametrize("start", [("program.py",), ("-m", "theirs.program")])
def test_a_program_that_imports_the_package_is_left_alone(
    start: tuple[str, ...], tmp_path: pathlib.Path
) -> None:
    (tmp_path / "program.py").write_text(CHANGES_NOTHING)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    # Here, too, `sys.argv[0]` is "-m" while the package is imported.
    (theirs / "__init__.py").write_text(CHANGES_NOTHING)
    (theirs / "program.py").write_text("")
    result = python(*start, cwd=tmp_path, TF_USE_LEGACY_KERAS="1")
    assert result.returncode == 0, result.stderr
