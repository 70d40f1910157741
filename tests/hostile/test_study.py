"""Studies of odd logs, with odd settings, and on damaged rows."""

from __future__ import annotations

import dataclasses
import math
import pathlib
import random
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest

import tfrs_barlow as tfrsb
from tests.hostile.conftest import Draws
from tests.hostile.test_readers import damaged
from tfrs_barlow.study import StudyConfig, run_study
from tfrs_barlow.study.rows import RowFile

pytestmark = pytest.mark.hostile

SETTINGS: dict[str, Any] = {
    "methods": ("counting", "random"),
    "tasks": ("next_item", "favorite_category"),
    "protocols": ("frozen",),
    "label_fractions": (1.0,),
    "batch_sizes": (2,),
    "seeds": (0,),
    "embedding_dim": 4,
    "output_dim": 4,
    "length": 5,
    "projector": (4,),
    "fine_tuning_steps": 2,
    "fine_tuning_batch_size": 4,
}
CONFIG = StudyConfig(**SETTINGS)
ODD = [None, True, 0, -1, 0.5, 1, 1.0, 2, 2**40, 10**30, math.nan, math.inf, -0.0, "3"]
ODD += ["", "frozen", (), [], {}, b"x", object(), np.int64(2), np.float32(0.5)]
ODD += [np.array([1, 2]), np.bool_(True), 5e-324, 1e308, "next_item", StudyConfig]


def odd_log(draw: random.Random) -> tfrsb.data.InteractionLog:
    """A log of few users or items, with equal times, or hardly any categories."""
    users, items = draw.choice([1, 9, 10, 11, 30]), draw.choice([1, 2, 3, 25])
    most = draw.choice([4, 5, 6, 30])
    name = draw.choice([int, str, lambda n: f"ü {n}\n", lambda n: n - 2**62])
    times = draw.choice([[7], [0, 1], range(-(2**62), 2**62, 2**55), range(1000)])
    rows = [
        (name(user), name(draw.randrange(items)), draw.choice(times))
        for user in range(users)
        for _ in range(most if draw.random() < 0.9 else draw.randint(1, most))
    ]
    draw.shuffle(rows)
    known = draw.sample(range(items), draw.randint(0, items))
    kinds = draw.choice([[()], [("a",)], [(), ("a",), ("b", "a")], [("",), ("a", "a")]])
    return tfrsb.data.InteractionLog(
        pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"]),
        pd.DataFrame(
            {
                "item_id": pd.Series([name(item) for item in known], dtype=object),
                "title": ["t"] * len(known),
                "categories": pd.Series(
                    [draw.choice(kinds) for _ in known], dtype=object
                ),
            }
        ),
    )


def are_whole(rows: RowFile) -> bool:
    """Whether every number of every row is one."""

    def numbers(value: Any) -> bool:
        if isinstance(value, dict):
            return all(map(numbers, value.values()))
        if isinstance(value, list):
            return all(map(numbers, value))
        return not isinstance(value, float) or math.isfinite(value)

    return all(map(numbers, rows))


def test_odd_logs_are_refused_by_name_or_measured(
    draws: Draws, tmp_path: pathlib.Path
) -> None:
    tasks = ("next_item", "next_category", "favorite_category", "future_category")
    for number, draw in enumerate(draws()):
        folder = tmp_path / str(number)
        log = odd_log(draw)
        config = dataclasses.replace(
            CONFIG,
            methods=draw.choice([("counting",), ("category_counts", "random")]),
            tasks=draw.choice([tasks, tasks[:1], tasks[1:]]),
            label_fractions=draw.choice([(1.0,), (0.01, 0.5)]),
            seeds=(draw.choice([0, 1, 2**32 - 1]),),
            categories=draw.choice([1, 2, 20]),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                run_study(log, config, folder, dataset="odd", verbose=False)
            except ValueError as error:
                assert str(error).startswith(("log must", "tasks are")), error
                continue
        assert are_whole(RowFile(folder / "rows.jsonl"))


def test_odd_settings_are_refused_by_name(draws: Draws) -> None:
    fields = [field.name for field in dataclasses.fields(StudyConfig)]
    for draw in draws():
        name, value = draw.choice(fields), draw.choice(ODD)
        if draw.random() < 0.5:
            value = (value,) * draw.choice([1, 1, 2])
        try:
            config = StudyConfig(**{**SETTINGS, name: value})
        except (TypeError, ValueError) as error:
            assert name in str(error), error
        else:
            again = StudyConfig(**dataclasses.asdict(config))
            assert again == config


def test_damaged_rows_are_refused_by_line_or_measured_again(
    draws: Draws, tmp_path: pathlib.Path
) -> None:
    log = tfrsb.data.generate_synthetic_log(
        num_users=40, num_items=30, mean_length=10, seed=3
    )
    config = dataclasses.replace(CONFIG, methods=("counting",))
    metrics = [f"{part}_accuracy" for part in ("validation", "test")]

    def run() -> pd.DataFrame:
        return run_study(log, config, tmp_path, dataset="made up", verbose=False)

    expected = run()[[*metrics, "task", "method"]]
    file = tmp_path / "rows.jsonl"
    content = file.read_bytes()
    for draw in draws():
        file.write_bytes(broken(content, draw))
        try:
            found = run()
        except ValueError as error:
            assert f"{file}, line " in str(error)
            continue
        pd.testing.assert_frame_equal(found[expected.columns], expected)
        # Whatever is left is well formed.
        assert len(list(RowFile(file))) >= len(expected)


def broken(content: bytes, draw: random.Random) -> bytes:
    """Damages the file in a way that editors, disks and kills do."""
    kind = draw.choice(["damaged", "empty", "garbage", "twice"])
    if kind == "damaged":
        return damaged(content, draw)
    if kind == "empty":
        return draw.choice([b"", b"\n", b"\x00" * len(content)])
    lines = content.splitlines(keepends=True)
    line = draw.choice([b"{}\n", b"[]\n", b"\xff\xfe\n", b"null\n", lines[0], b"\n"])
    lines.insert(draw.randint(0, len(lines)), line)
    return b"".join(lines)
