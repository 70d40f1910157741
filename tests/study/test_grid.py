"""The cells of a study: which methods are judged where."""

from __future__ import annotations

import collections
import itertools

import pytest

from tfrs_barlow.study import StudyConfig
from tfrs_barlow.study.grid import Cell, cells_of, trained_as


def test_each_method_is_judged_where_it_makes_sense() -> None:
    config = StudyConfig(label_fractions=(0.2, 1.0), seeds=(0,))
    cells = cells_of(config)
    assert len(set(cells)) == len(cells)
    counts = collections.Counter(
        (cell.method, cell.protocol, cell.label_fraction) for cell in cells
    )
    expected = {
        ("counting", "frozen"): 4,
        # By the categories of a history one judges the other three tasks.
        ("category_counts", "frozen"): 3,
        ("random", "frozen"): 4,
        ("random", "fine_tuned"): 4,
        # For the next item this is the random encoder, fine-tuned.
        ("dual_encoder_few", "frozen"): 3,
        ("dual_encoder_few", "fine_tuned"): 3,
        ("dual_encoder", "frozen"): 4,
        ("dual_encoder", "fine_tuned"): 4,
        ("barlow_twins", "frozen"): 4,
        ("barlow_twins", "fine_tuned"): 4,
        ("joint", "frozen"): 4,
        ("joint", "fine_tuned"): 4,
    }
    as_trained = {
        # With all labels, this would be the training of `transformer` once more.
        ("transformer_few", "as_trained", 0.2): 1,
        ("dual_encoder", "as_trained", 1.0): 1,
        ("joint", "as_trained", 1.0): 1,
        ("transformer", "as_trained", 1.0): 1,
    }
    assert counts == as_trained | {
        (*key, fraction): count
        for key, count in expected.items()
        for fraction in (0.2, 1.0)
    }


def test_cells_that_share_an_encoder_follow_each_other() -> None:
    config = StudyConfig(methods=("barlow_twins", "joint"), batch_sizes=(32, 64))
    cells = cells_of(config)
    encoders = [(cell.seed, cell.batch_size, *trained_as(cell)) for cell in cells]
    runs = [key for key, _ in itertools.groupby(encoders)]
    assert len(runs) == len(set(encoders)) == 3 * 2 * 2


@pytest.mark.parametrize(
    ("method", "fraction", "expected"),
    [
        ("barlow_twins", 0.1, ("barlow_twins", None)),
        ("dual_encoder_few", 0.1, ("dual_encoder_few", 0.1)),
        ("dual_encoder_few", 1.0, ("dual_encoder", None)),
        ("transformer_few", 1.0, ("transformer", None)),
    ],
)
def test_few_labels_are_trained_on_anew(
    method: str, fraction: float, expected: tuple
) -> None:
    cell = Cell(0, 32, method, fraction, "frozen", "favorite_category")  # type: ignore[arg-type]
    assert trained_as(cell) == expected
