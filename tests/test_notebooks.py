"""Notebooks match their sources, have outputs, and run."""

import pathlib
import re

import pytest

jupytext = pytest.importorskip("jupytext")
nbformat = pytest.importorskip("nbformat")

FOLDER = pathlib.Path(__file__).parents[1] / "notebooks"
SOURCES = sorted((FOLDER / "src").glob("*.py"))

# Parameters that make each notebook short: appended to its cell of parameters.
SHORT = {
    "add_to_existing_tfrs_model": "NUM_USERS, EPOCHS, PRETRAINING_STEPS = 200, 1, 2",
    "bring_your_own_log": "NUM_USERS, STEPS = 200, 40",
    "quickstart": "NUM_USERS, EPOCHS, STUDY_PASSES = 400, 1, 2.0",
    "reproduce_the_paper": (
        "NUM_USERS, PASSES, TUNING_STEPS, SEEDS = 200, 2.0, 20, (0,)"
    ),
    "serving": "NUM_USERS, STEPS = 200, 2",
}

TEXTS = ("text/plain", "text/html")


def the_notebook(source: pathlib.Path) -> nbformat.NotebookNode:
    return nbformat.read(FOLDER / f"{source.stem}.ipynb", as_version=4)


def cells(notebook: nbformat.NotebookNode) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def test_every_notebook_has_a_source_and_a_short_form() -> None:
    names = {source.stem for source in SOURCES}
    assert names == {path.stem for path in FOLDER.glob("*.ipynb")} == set(SHORT)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_it_is_in_step_with_its_source(source: pathlib.Path) -> None:
    """`make notebooks` was run after the last change."""
    assert cells(the_notebook(source)) == cells(jupytext.read(source))


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_it_was_run_from_top_to_bottom_and_shows_plots(source: pathlib.Path) -> None:
    code = [cell for cell in the_notebook(source).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert not [
        o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"
    ]
    shown = [output.get("data", {}) for output in outputs]
    assert any("image/png" in data for data in shown)
    texts = [output.get("text", "") for output in outputs]
    texts += [data.get(kind, "") for data in shown for kind in TEXTS]
    assert not re.search(r"/tmp/|/home/|/root/", "".join(texts)), "of one machine"


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_it_sets_keras_2_before_anything_is_imported(source: pathlib.Path) -> None:
    first = next(c for c in jupytext.read(source).cells if c.cell_type == "code")
    assert 'os.environ["TF_USE_LEGACY_KERAS"] = "1"' in first.source
    assert "import tensorflow" not in first.source


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_it_runs(source: pathlib.Path, tmp_path: pathlib.Path) -> None:
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = jupytext.read(source)
    (parameters,) = (
        cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])
    )
    parameters.source += "\n" + SHORT[source.stem]
    nbclient.NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute()
