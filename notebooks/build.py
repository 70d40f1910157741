"""Makes the notebooks out of their sources and runs them.

    python -m notebooks.build                # all
    python -m notebooks.build quickstart     # one

`notebooks/src` has the sources: Python in the percent format of Jupytext. Edit those.
What comes out is written with its outputs, so that it can be read without being run.
"""

from __future__ import annotations

import pathlib
import sys
import time
from collections.abc import Sequence

import jupytext
import nbformat
from nbclient import NotebookClient

FOLDER = pathlib.Path(__file__).parent


def sources() -> list[pathlib.Path]:
    """Returns the sources of all notebooks."""
    return sorted((FOLDER / "src").glob("*.py"))


def convert(source: pathlib.Path) -> nbformat.NotebookNode:
    """Returns the notebook of a source, without outputs."""
    notebook = jupytext.read(source)
    for number, cell in enumerate(notebook.cells):
        # Instead of random ones: what has not changed shows no difference.
        cell["id"] = f"cell-{number}"
    return notebook


def execute(notebook: nbformat.NotebookNode, folder: pathlib.Path) -> None:
    """Runs all cells in `folder`, and keeps what they show but for log messages."""
    client = NotebookClient(
        notebook,
        timeout=900,
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    # Its patch level would change with the machine.
    notebook.metadata.pop("language_info", None)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [
                output for output in cell.outputs if output.get("name") != "stderr"
            ]


def main(names: Sequence[str]) -> None:
    """Makes the notebooks of these names, or all."""
    for source in sources():
        if names and source.stem not in names:
            continue
        start = time.monotonic()
        notebook = convert(source)
        execute(notebook, FOLDER)
        target = FOLDER / f"{source.stem}.ipynb"
        nbformat.write(notebook, target)
        print(f"{target.name}: {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
