r"""Compares Barlow Twins with the dual encoder on public data or a log of yours.

    python -m tfrs_barlow.study
    python -m tfrs_barlow.study --data=ml-1m
    python -m tfrs_barlow.study --data=path/to/ml-1m --config=main
    python -m tfrs_barlow.study --data=path/to/yelp_dataset.tar --config=main
    python -m tfrs_barlow.study --data=ratings.csv --user_column=user \
        --item_column=movie --time_column=time --category_column=genres

The first takes a minute and needs no network. The second downloads MovieLens-1M. Every
finished measurement is a line in `OUTPUT_DIR/rows.jsonl`. If a run is stopped, the same
command resumes it. The tables and plots at the end show all rows of this data and these
settings, whatever part of the grid was measured now.
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any, get_args

import pandas as pd

import tfrs_barlow as tfrsb
from tfrs_barlow.data import InteractionLog, MovieLensDataset
from tfrs_barlow.study import StudyConfig
from tfrs_barlow.study.config import Method

CONFIGS = {
    # Small, to see what it does.
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
    # All methods, tasks and shares of labels.
    "main": StudyConfig(),
    # Which methods need large batches?
    "batch_size": StudyConfig(
        methods=("dual_encoder_few", "dual_encoder", "barlow_twins"),
        protocols=("frozen",),
        label_fractions=(0.1,),
        batch_sizes=(32, 64, 128, 256, 512, 1024),
    ),
}

COMPARISONS: tuple[tuple[Method, Method, str], ...] = (
    ("barlow_twins", "dual_encoder_few", "a dual encoder trained on the known labels"),
    ("barlow_twins", "random", "no pretraining"),
    ("barlow_twins", "dual_encoder", "a dual encoder trained on all training users"),
    ("joint", "dual_encoder", "a dual encoder trained on all training users"),
)
"""The methods and baselines of the tables of gains, and the baselines in words."""

MOVIELENS = get_args(MovieLensDataset)

LAYOUTS: dict[str, MovieLensDataset] = {
    "ratings.dat": "ml-1m",
    "ratings.csv": "ml-latest-small",  # All later releases share this format.
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the study that the command line describes."""
    parser = _parser()
    flags = parser.parse_args(arguments)
    try:
        config = _config(flags)
        name, log = load(flags)
        print(log)
        output_dir = flags.output_dir or pathlib.Path("runs") / f"study-{name}"
        rows = tfrsb.study.run_study(
            log, config, output_dir, dataset=name, other_grids=True
        )
    except (ImportError, OSError, TypeError, ValueError) as error:
        parser.exit(1, f"error: {error}\n")
    if rows.empty:
        parser.exit(1, "error: No cell of the grid has users with labels.\n")
    report(rows, output_dir)


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
        help=f"synthetic, {', '.join(MOVIELENS)}, a folder of MovieLens or Yelp, an "
        "archive of Yelp, or a table such as a CSV file (default: %(default)s)",
    )
    parser.add_argument(
        "--data_dir",
        type=pathlib.Path,
        help="the folder of the MovieLens data set that --data names, or with "
        "--data=yelp the folder or archive of Yelp",
    )
    for column in ("user", "item", "time", "category"):
        parser.add_argument(
            f"--{column}_column", help=f"the column of a table that holds the {column}"
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
    names = [field.name for field in dataclasses.fields(StudyConfig)]
    given = {name: getattr(flags, name) for name in names}
    given = {name: value for name, value in given.items() if value is not None}
    return dataclasses.replace(CONFIGS[flags.config], **given)


def load(flags: argparse.Namespace) -> tuple[str, InteractionLog]:
    """Reads the log that `--data` names, and returns its name too."""
    data, data_dir = flags.data, flags.data_dir
    if data == "synthetic":
        return data, tfrsb.data.generate_synthetic_log()
    if data in MOVIELENS:
        return data, tfrsb.data.load_movielens(data, data_dir)
    path = data_dir if data == "yelp" and data_dir else pathlib.Path(data)
    if data == "yelp" and not path.exists():
        raise ValueError("--data=yelp needs --data_dir: Yelp asks for a license.")
    if not path.exists():
        raise ValueError(
            f"--data must be synthetic, yelp, {', '.join(MOVIELENS)}, or a folder or "
            f"file, but there is no {str(path)!r}."
        )
    name = "yelp" if data == "yelp" else path.resolve().stem
    columns = {
        f"{column}_column": getattr(flags, f"{column}_column")
        for column in ("user", "item", "time", "category")
    }
    if any(columns.values()):
        # Without categories, only the next item can be judged; the study says so.
        missing = [
            f"--{column}"
            for column, given in columns.items()
            if given is None and column != "category_column"
        ]
        if missing:
            raise ValueError(f"--data={data} needs {', '.join(missing)}.")
        return name, tfrsb.data.read_interactions(path, **columns)
    if path.name in LAYOUTS:
        path = path.parent
        name = path.resolve().name
    return name, _load_public(path)


def _load_public(path: pathlib.Path) -> InteractionLog:
    """Recognizes a public data set by its files."""
    for file, dataset in LAYOUTS.items():
        if (path / file).exists():
            return tfrsb.data.load_movielens(dataset, path)
    if path.is_dir() and any(path.glob("yelp_academic_dataset_*")):
        return tfrsb.data.read_yelp(path)
    if path.name.endswith((".zip", ".tar", ".tar.gz", ".tgz")):
        return tfrsb.data.read_yelp(path)
    if path.is_dir():
        raise ValueError(
            f"{path} must hold ratings.dat or ratings.csv (MovieLens) or "
            "yelp_academic_dataset_review.json (Yelp)."
        )
    raise ValueError(
        f"--data={path} is a table, so it needs --user_column, --item_column and "
        "--time_column."
    )


def tables(rows: pd.DataFrame, opening: str) -> str:
    """Returns all tables as Markdown, after an opening line."""
    parts = [opening, tfrsb.study.summary_markdown(rows)]
    titles = {"barlow_twins": "Barlow Twins", "joint": "Joint training"}
    for method, baseline, words in COMPARISONS:
        table = tfrsb.study.gains(rows, method=method, baseline=baseline)
        if len(table):
            parts.append(f"\n## {titles[method]} compared with {words}\n")
            parts.append(tfrsb.study.gains_markdown(table))
    return "\n".join(parts)


def report(rows: pd.DataFrame, output_dir: pathlib.Path) -> None:
    """Prints the tables, and writes them and the plots to files."""
    text = tables(rows, "## Metrics of test users\n")
    (output_dir / "report.md").write_text(text)
    flat = rows.drop(columns=["curve", "versions"], errors="ignore")
    flat.to_csv(output_dir / "rows.csv", index=False)
    plots = tfrsb.study.write_plots(rows, output_dir)
    names = ", ".join(["report.md", "rows.csv", *(plot.name for plot in plots)])
    print(f"\n{text}\nWrote {names} to {output_dir}.")


if __name__ == "__main__":
    main()
