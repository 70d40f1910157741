r"""Compares Barlow Twins with the dual encoder on a log of yours, or on public ones.

    python -m tfrs_barlow.study --config=quick
    python -m tfrs_barlow.study --data=ml-1m --data_dir=path/to/ml-1m
    python -m tfrs_barlow.study --data=yelp --data_dir=path/to/yelp
    python -m tfrs_barlow.study --data=ratings.csv --user_column=user \
        --item_column=movie --time_column=time --category_column=genres

The first takes a minute and needs no network. Every finished measurement is a line in
`OUTPUT_DIR/rows.jsonl`; a run that was stopped goes on where it was when it is started
again. The tables and plots at the end are of all rows of this data and these settings,
whatever part of the grid was measured now.
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any, cast, get_args

import pandas as pd

import tfrs_barlow as tfrsb
from tfrs_barlow.data import InteractionLog, MovieLensDataset
from tfrs_barlow.study import StudyConfig

CONFIGS = {
    # Everything once, small: to see what it does.
    "quick": StudyConfig(
        seeds=(0,),
        label_fractions=(0.1, 1.0),
        batch_sizes=(64,),
        encoder_passes=30,
        fine_tuning_steps=100,
        embedding_dim=32,
        output_dim=32,
        projector=(128, 128),
    ),
    # The question of the paper.
    "main": StudyConfig(),
    # Which of them needs large batches?
    "batch_size": StudyConfig(
        methods=("dual_encoder_few", "dual_encoder", "barlow_twins"),
        protocols=("frozen",),
        label_fractions=(0.1,),
        batch_sizes=(32, 64, 128, 256, 512, 1024),
    ),
}

COMPARISONS = (
    (
        "barlow_twins",
        "dual_encoder_few",
        "Barlow Twins over a dual encoder trained on the known labels alone",
    ),
    ("barlow_twins", "random", "Barlow Twins over no pretraining"),
    (
        "barlow_twins",
        "dual_encoder",
        "Barlow Twins over a dual encoder trained on all training users",
    ),
    (
        "joint",
        "dual_encoder",
        "Joint training over a dual encoder trained on all training users",
    ),
)
"""The methods and baselines of the tables of gains, with their titles."""

MOVIELENS = get_args(MovieLensDataset)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the study that the command line describes."""
    parser = _parser()
    flags = parser.parse_args(arguments)
    name = pathlib.Path(flags.data).stem
    output_dir = flags.output_dir or pathlib.Path("runs") / f"study-{name}"
    try:
        config = _config(flags)
        log = _load(flags)
        print(log)
        rows = tfrsb.study.run_study(
            log, config, output_dir, dataset=name, other_grids=True
        )
    except (ImportError, OSError, TypeError, ValueError) as error:
        parser.exit(1, f"error: {error}\n")
    _report(rows, output_dir)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tfrs_barlow.study",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config", choices=CONFIGS, default="quick", help="default: %(default)s"
    )
    parser.add_argument(
        "--data",
        default="synthetic",
        help=f"synthetic, yelp, {', '.join(MOVIELENS)}, or a CSV or Parquet file",
    )
    parser.add_argument(
        "--data_dir",
        type=pathlib.Path,
        help="the folder of a public data set; without it MovieLens is downloaded",
    )
    for column in ("user", "item", "time", "category"):
        parser.add_argument(
            f"--{column}_column", help=f"the column of a file that holds the {column}"
        )
    parser.add_argument(
        "--output_dir",
        type=pathlib.Path,
        help="where to keep rows and trainings (default: runs/study-DATA)",
    )
    settings = parser.add_argument_group(
        "settings", "explained in tfrs_barlow.study.StudyConfig"
    )
    for field in dataclasses.fields(StudyConfig):
        default: Any = field.default
        several = isinstance(default, tuple)
        settings.add_argument(
            f"--{field.name}",
            type=type(default[0] if several else default),
            nargs="+" if several else None,
        )
    return parser


def _config(flags: argparse.Namespace) -> StudyConfig:
    given: dict[str, Any] = {
        field.name: getattr(flags, field.name)
        for field in dataclasses.fields(StudyConfig)
        if getattr(flags, field.name) is not None
    }
    given = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in given.items()
    }
    return dataclasses.replace(CONFIGS[flags.config], **given)


def _load(flags: argparse.Namespace) -> InteractionLog:
    if flags.data == "synthetic":
        return tfrsb.data.generate_synthetic_log()
    if flags.data == "yelp":
        if flags.data_dir is None:
            raise ValueError("--data=yelp needs --data_dir: Yelp asks for a license.")
        return tfrsb.data.read_yelp(flags.data_dir)
    if flags.data in MOVIELENS:
        dataset = cast(MovieLensDataset, flags.data)
        return tfrsb.data.load_movielens(dataset, flags.data_dir)
    columns = {
        f"{name}_column": getattr(flags, f"{name}_column")
        for name in ("user", "item", "time", "category")
    }
    # Without categories the next item can be judged; where not, the study says so.
    missing = [
        f"--{name}"
        for name, column in columns.items()
        if column is None and name != "category_column"
    ]
    if missing:
        raise ValueError(f"--data={flags.data} needs {', '.join(missing)}.")
    return tfrsb.data.read_interactions(flags.data, **columns)


def tables(rows: pd.DataFrame, opening: str) -> str:
    """Returns all tables as Markdown, after what is to stand before them."""
    parts = [opening, tfrsb.study.summary_markdown(rows)]
    for method, baseline, title in COMPARISONS:
        table = tfrsb.study.gains(rows, method=method, baseline=baseline)
        if len(table):
            parts.append(f"\n## {title}\n")
            parts.append(tfrsb.study.gains_markdown(table))
    return "\n".join(parts)


def _report(rows: pd.DataFrame, output_dir: pathlib.Path) -> None:
    """Prints the tables, and writes them and the plots to files."""
    text = tables(rows, "## Figures\n")
    (output_dir / "report.md").write_text(text)
    flat = rows.drop(columns=["curve", "versions"], errors="ignore")
    flat.to_csv(output_dir / "rows.csv", index=False)
    try:
        plots = tfrsb.study.write_plots(rows, output_dir)
    except ImportError:
        plots = []
        print("No plots: pip install 'tfrs-barlow[study]'")
    names = ", ".join(["report.md", "rows.csv", *(plot.name for plot in plots)])
    print(f"\n{text}\nWrote {names} to {output_dir}.")


if __name__ == "__main__":
    main()
