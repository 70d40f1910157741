"""The tables and plots of a study, worked out by hand."""

from __future__ import annotations

import itertools
import pathlib

import numpy as np
import pandas as pd
import pytest

from tfrs_barlow.study import (
    best_by_validation,
    gains,
    gains_markdown,
    summary,
    summary_markdown,
    write_plots,
)


def rows_of(values: list[tuple[str, int, float]]) -> pd.DataFrame:
    """Rows of one place, from (method, seed, accuracy)."""
    return pd.DataFrame(
        [
            {
                "dataset": "d",
                "batch_size": 256,
                "label_fraction": 0.1,
                "protocol": "frozen",
                "task": "next_category",
                "method": method,
                "seed": seed,
                "test_accuracy": accuracy,
            }
            for method, seed, accuracy in values
        ]
    )


def test_summary_by_hand() -> None:
    table = summary(rows_of([("random", 0, 0.2), ("random", 1, 0.4)]))
    assert table.loc[0, "mean"] == pytest.approx(0.3)
    # The standard deviation is 0.1414, of two seeds.
    assert table.loc[0, "standard_error"] == pytest.approx(0.1)
    assert table.loc[0, "seeds"] == 2


def test_gains_are_paired_by_seed() -> None:
    """A gain that is the same for every seed has no error, however seeds differ."""
    rows = rows_of(
        [("joint", s, 0.3 * (1 + s)) for s in range(3)]
        + [("random", s, 0.2 * (1 + s)) for s in range(3)]
        + [("random", 3, 0.9)]
    )
    gain = gains(rows, method="joint", baseline="random").iloc[0]
    assert gain["gain"] == pytest.approx(0.5)
    assert gain["standard_error"] == pytest.approx(0, abs=1e-12)
    assert gain["seeds"] == 3


def test_a_baseline_of_nothing_gives_no_gain() -> None:
    rows = rows_of([("joint", 0, 0.3), ("random", 0, 0.0)])
    table = gains(rows, method="joint", baseline="random")
    assert np.isnan(table.iloc[0]["gain"])
    assert "nan" not in gains_markdown(table)


@pytest.mark.parametrize("setting", ["learning_rate", "batch_size"])
def test_each_method_counts_at_the_value_that_is_best_for_validation_users(
    setting: str,
) -> None:
    few = rows_of([("joint", 0, 0.6), ("joint", 1, 0.6), ("random", 0, 0.4)])
    many = rows_of([("joint", 0, 0.5), ("joint", 1, 0.7), ("random", 0, 0.9)])
    lone = rows_of([("joint", 0, 1.0)])  # The best one, but of fewer seeds.
    rows = pd.concat(
        [
            few.assign(**{setting: 32, "validation_accuracy": [0.3, 0.5, 0.2]}),
            many.assign(**{setting: 64, "validation_accuracy": [0.2, 0.5, 0.3]}),
            lone.assign(**{setting: 128, "validation_accuracy": [0.9]}),
        ]
    )
    best = best_by_validation(rows, setting)
    assert best["test_accuracy"].tolist() == [0.6, 0.6, 0.9]
    gain = gains(best, method="joint", baseline="random").iloc[0]
    assert gain["gain"] == pytest.approx(0.6 / 0.9 - 1)
    assert "0.900" in summary_markdown(best)


@pytest.mark.parametrize(
    ("share", "expected"), [(1, "100%"), (0.1, "10%"), (0.002, "0.2%")]
)
def test_shares_of_labels_can_be_told_apart(share: float, expected: str) -> None:
    rows = rows_of([("random", 0, 0.2)]).assign(label_fraction=share)
    assert f"| {expected} | frozen | random | 0.200 |" in summary_markdown(rows)


def test_methods_and_settings_are_checked() -> None:
    rows = rows_of([("joint", 0, 0.3)])
    with pytest.raises(ValueError, match=r"baseline must be one of .* is 'nothing'"):
        gains(rows, method="joint", baseline="nothing")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="setting must be a column of rows"):
        best_by_validation(rows, "height")


@pytest.mark.parametrize(
    ("fractions", "batch_sizes", "protocols", "expected"),
    [
        ((0.1,), (32,), ("frozen",), []),
        ((0.1, 1.0), (32,), ("frozen",), ["gain_by_label_fraction.png"]),
        ((0.1,), (32, 64), ("frozen",), ["metrics_by_batch_size.png"]),
        # Batch sizes are compared by frozen encoders alone.
        ((0.1,), (32, 64), ("fine_tuned",), ["learning_curves.png"]),
        (
            (0.1, 1.0),
            (32, 64),
            ("frozen", "fine_tuned"),
            [
                "gain_by_label_fraction.png",
                "metrics_by_batch_size.png",
                "learning_curves.png",
            ],
        ),
    ],
)
def test_plots_are_drawn_of_what_is_there(
    fractions: tuple[float, ...],
    batch_sizes: tuple[int, ...],
    protocols: tuple[str, ...],
    expected: list[str],
    tmp_path: pathlib.Path,
) -> None:
    one = rows_of([("barlow_twins", 0, 0.3), ("dual_encoder", 0, 0.2)])
    rows = pd.concat(
        one.assign(label_fraction=fraction, batch_size=size, protocol=protocol)
        for fraction, size, protocol in itertools.product(
            fractions, batch_sizes, protocols
        )
    )
    # The seeds stop after different numbers of evaluations.
    rows["curve"] = [[0.1, 0.3], [0.2, 0.1, 0.4]] * (len(rows) // 2)
    files = write_plots(rows, str(tmp_path))
    assert [file.name for file in files] == expected
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)
