"""Barlow Twins against the dual encoder: every method, task and share of labels.

Users are split into training, validation and test users, anew for each seed. Encoders
are trained on the training users only; the labels of a share of them are known. Every
choice (the step to keep, the penalty of a probe) is made on validation users. Test
users are used once for every row.
"""

from __future__ import annotations

import functools
import operator
import os
import zlib
from collections.abc import Iterable

import pandas as pd

from tfrs_barlow import _checks
from tfrs_barlow.data import InteractionLog
from tfrs_barlow.evaluation.downstream_tasks import TASKS
from tfrs_barlow.study.config import METHODS, PROTOCOLS, StudyConfig
from tfrs_barlow.study.grid import Cell, cells_of
from tfrs_barlow.study.report import MAIN_METRIC, per_cent
from tfrs_barlow.study.rows import Row, RowFile
from tfrs_barlow.study.split import Split, StudyData


def run_study(
    log: InteractionLog,
    config: StudyConfig,
    output_dir: str | os.PathLike[str],
    *,
    dataset: str,
    other_grids: bool = False,
    verbose: bool = True,
) -> pd.DataFrame:
    """Measures every cell of the grid that has not been measured yet.

    The rows are in `output_dir / "rows.jsonl"`. A run that was killed continues when it
    is started again, also in the middle of a training. A larger grid with the same
    settings adds to the rows. Folders of finished trainings may be deleted. A cell is
    passed over if no user with known labels, no validation user or no test user has the
    label.

    Args:
        log: The interactions, and the categories of the items.
        config: The grid and the settings.
        output_dir: Where to keep rows and trainings.
        dataset: The name of the log, for the rows.
        other_grids: Whether to return the rows of other grids of this log and these
            settings, too.
        verbose: Whether to show progress.

    Returns:
        The rows of this log, these settings and this grid: one per cell, the newest,
        ordered by seed, batch size and share of labels.

    Raises:
        TypeError, ValueError: If an argument is of a wrong type, the log has too few
            users to be split, or no categories though a task needs them, or no cell of
            the grid makes sense.

    Examples:
        >>> import tempfile
        >>> log = tfrsb.data.generate_synthetic_log(num_users=60)
        >>> config = tfrsb.study.StudyConfig(
        ...     methods=("counting", "random"),
        ...     tasks=("favorite_category",),
        ...     protocols=("frozen",),
        ...     label_fractions=(1.0,),
        ...     seeds=(0,),
        ... )
        >>> rows = tfrsb.study.run_study(
        ...     log, config, tempfile.mkdtemp(), dataset="synthetic", verbose=False
        ... )
        >>> rows["method"].tolist()
        ['counting', 'random']
    """
    _checks.instance("log", log, InteractionLog)
    _checks.instance("config", config, StudyConfig)
    output_dir = _checks.path("output_dir", output_dir)
    _checks.text("dataset", dataset)
    _checks.boolean("other_grids", other_grids)
    _checks.boolean("verbose", verbose)
    cells = cells_of(config)
    data = StudyData.from_log(log, config.tasks)
    identity = {"dataset": dataset, "data": data.fingerprint(), **config.settings()}
    key = zlib.crc32(repr(sorted(identity.items())).encode())
    new_split = functools.partial(
        Split,
        data,
        config,
        trainings_dir=output_dir / "trainings" / f"{key:08x}",
        verbose=verbose,
    )
    rows = RowFile(output_dir / "rows.jsonl")
    measured = set(map(_cell_of, rows.select(identity)))
    missing = [cell for cell in cells if cell not in measured]
    split = None
    for count, cell in enumerate(missing, 1):
        if split is None or split.seed != cell.seed:
            split = new_split(seed=cell.seed)
        row = split.measure(cell)
        if row is not None:
            rows.append({**identity, **cell._asdict(), **row})
        if verbose:
            print(f"[{count}/{len(missing)}] {_describe(cell, row)}", flush=True)
    return table_of(rows.select(identity), None if other_grids else cells)


def table_of(rows: Iterable[Row], cells: Iterable[Cell] | None = None) -> pd.DataFrame:
    """Returns the newest row of each cell, of those measured by default."""
    newest = {_cell_of(row): row for row in rows}
    if cells is None:
        cells = sorted(newest, key=_usual_order)
    place = operator.attrgetter("seed", "batch_size", "label_fraction")
    in_order = sorted(cells, key=place)
    return pd.DataFrame([newest[cell] for cell in in_order if cell in newest])


def _cell_of(row: Row) -> Cell:
    return Cell(**{name: row[name] for name in Cell._fields})


def _usual_order(cell: Cell) -> tuple[int, ...]:
    """Returns the place of a cell in the grid of all."""
    return (
        METHODS.index(cell.method),
        PROTOCOLS.index(cell.protocol),
        TASKS.index(cell.task),
    )


def _describe(cell: Cell, row: Row | None) -> str:
    outcome = "not measured: nobody to learn from or to judge by has this label"
    if row is not None:
        metric = MAIN_METRIC[cell.task]
        outcome = f"{metric} {row[f'test_{metric}']:.3f} ({row['seconds']:.0f} s)"
    return (
        f"seed {cell.seed}, batch {cell.batch_size}, {cell.method}, {cell.protocol}, "
        f"{cell.task}, {per_cent(cell.label_fraction)} of labels: {outcome}"
    )
