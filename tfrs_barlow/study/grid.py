"""The grid of a study: which methods are judged where."""

from __future__ import annotations

import itertools
from typing import NamedTuple

from tfrs_barlow.evaluation.downstream_tasks import TaskName
from tfrs_barlow.study.config import REFERENCES, Method, Protocol, StudyConfig

WITHOUT_ENCODER: tuple[Method, ...] = ("counting", "category_counts")

WITH_FEW_LABELS: dict[Method, Method] = {
    "dual_encoder_few": "dual_encoder",
    "transformer_few": "transformer",
}
"""Methods trained anew for every share of labels, and what they are with all labels."""

WITH_ALL_NEXT_ITEMS: tuple[Method, ...] = ("dual_encoder", "joint", "transformer")
"""Methods that train a candidate tower on the next items of all training users."""


class Cell(NamedTuple):
    """A place in the grid of a study."""

    seed: int
    batch_size: int
    method: Method
    label_fraction: float
    protocol: Protocol
    task: TaskName


def cells_of(config: StudyConfig) -> list[Cell]:
    """Returns the cells to measure; those that share an encoder follow each other."""
    grid = itertools.product(
        config.seeds,
        config.batch_sizes,
        config.methods,
        config.label_fractions,
        config.protocols,
        config.tasks,
    )
    cells = [cell for cell in itertools.starmap(Cell, grid) if _makes_sense(cell)]
    if not cells:
        raise ValueError(
            f"No method of {config.methods} is judged by a protocol of "
            f"{config.protocols} and a task of {config.tasks} with these shares of "
            "labels."
        )
    return cells


def trained_as(cell: Cell) -> tuple[Method, float | None]:
    """Returns the method that trains a cell's encoder, and on which share of users.

    `None` stands for all training users, whatever labels are known downstream.
    """
    if cell.method not in WITH_FEW_LABELS:
        return cell.method, None
    if cell.label_fraction == 1:
        return WITH_FEW_LABELS[cell.method], None
    return cell.method, cell.label_fraction


def _makes_sense(cell: Cell) -> bool:
    if cell.method in WITHOUT_ENCODER:
        counts_categories = cell.method == "category_counts"
        return cell.protocol == "frozen" and not (
            counts_categories and cell.task == "next_item"
        )
    if cell.protocol == "as_trained":
        # With all labels `transformer_few` is `transformer`.
        all_labels = cell.label_fraction == 1
        judged = WITH_ALL_NEXT_ITEMS if all_labels else ("transformer_few",)
        return cell.task == "next_item" and cell.method in judged
    if cell.method in REFERENCES:
        return False
    # For the next item, fine-tuning a random encoder is the same.
    return not (cell.method == "dual_encoder_few" and cell.task == "next_item")
