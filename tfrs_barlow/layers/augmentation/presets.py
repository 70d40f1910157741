"""The views of methods, by name: ours and published ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import numpy.typing as npt

from tfrs_barlow.layers.augmentation.base import SequenceAugmentation
from tfrs_barlow.layers.augmentation.composition import ByLength, RandomChoice
from tfrs_barlow.layers.augmentation.random_crop import RandomCrop
from tfrs_barlow.layers.augmentation.random_drop import RandomDrop
from tfrs_barlow.layers.augmentation.random_mask import RandomMask
from tfrs_barlow.layers.augmentation.random_reorder import RandomReorder
from tfrs_barlow.layers.augmentation.similar_items import RandomInsert, RandomSubstitute
from tfrs_barlow.layers.augmentation.time_interval_items import (
    TimeIntervalInsert,
    TimeIntervalMask,
    TimeIntervalSubstitute,
)
from tfrs_barlow.layers.augmentation.time_interval_windows import (
    TimeIntervalCrop,
    TimeIntervalReorder,
)
from tfrs_barlow.layers.augmentation.two_views import TwoViews

Preset = Literal["barlow_twins", "cl4srec", "coserec", "ticoserec"]


def preset_views(
    preset: Preset,
    *,
    neighbors: npt.ArrayLike | None = None,
    item_tables: Mapping[str, npt.ArrayLike] | None = None,
    time_column: str = "timestamp",
    **kwargs: Any,
) -> TwoViews:
    """Returns the `TwoViews` of a method, with its default rates.

    - `"barlow_twins"`: what `BarlowTwinsPretraining` does by default: half of the items
      are dropped at random, so that both views still end with recent ones. None did
      clearly better in the study (docs/study.md).
    - `"cl4srec"`: a crop (0.6), a mask (0.3) or a reordering (0.6), another one for
      each view.
    - `"coserec"`: a substitution (0.1), an insertion (0.4) or a mask (0.7); for
      sequences of more than 4 items also a crop (0.2) or a reordering (0.2).
    - `"ticoserec"`: the same five by time intervals: substitution (0.1), insertion
      (0.5), mask (0.5); for sequences of more than 12 items crop (0.7) and reordering
      (0.2).

    Where the methods' code departs from their papers by defects (crops that never hold
    the most recent item, counts that round to nothing, masks that are padding), these
    layers do what the papers say.

    Example:
        >>> views = tfrsb.layers.preset_views("cl4srec", seed=1)
        >>> first, second = views(tf.constant([[3, 4, 5, 6, 7]]), training=True)
        >>> first.shape, second.shape
        (TensorShape([1, 5]), TensorShape([1, 5]))

    References:
        CL4SRec: Xie et al. 2022, arXiv 2010.14395. CoSeRec: Liu et al. 2021, arXiv
        2108.06479. TiCoSeRec: Dang et al. 2023, arXiv 2212.08262, without its rule that
        leaves the most uneven 15 % of the users as they are.

    Args:
        preset: One of the names above.
        neighbors: `[vocabulary size, k]`: see `RandomSubstitute`. For `"coserec"` and
            `"ticoserec"`.
        item_tables: By column, its values by item id: see `RandomSubstitute`.
        time_column: The column of times. For `"ticoserec"`.
        **kwargs: As of `TwoViews`.

    Raises:
        ValueError: If the name is unknown, or the preset needs `neighbors`.
    """
    if preset == "barlow_twins":
        return TwoViews(RandomDrop(0.5), **kwargs)
    if preset == "cl4srec":
        return TwoViews(_cl4srec(), **kwargs)
    if preset not in _WITH_NEIGHBORS:
        raise ValueError(
            f"preset must be one of {get_args(Preset)}, but it is {preset!r}."
        )
    if neighbors is None:
        raise ValueError(
            f"The preset {preset!r} needs neighbors: a table of similar items, such "
            "as tfrs_barlow.data.cooccurrence_neighbors returns."
        )
    # Of short sequences too at least one item is replaced, or gets a new one beside it.
    similar = {"neighbors": neighbors, "item_tables": item_tables, "at_least": 1}
    return TwoViews(_WITH_NEIGHBORS[preset](similar, time_column), **kwargs)


def _cl4srec() -> SequenceAugmentation:
    return RandomChoice(
        [RandomCrop(0.6), RandomMask(0.3), RandomReorder(0.6)], replacement=False
    )


def _coserec(similar: dict[str, Any], _: str) -> SequenceAugmentation:
    return _by_length(
        4,
        gentle=[
            RandomSubstitute(0.1, **similar),
            RandomInsert(0.4, **similar),
            RandomMask(0.7),
        ],
        rough=[RandomCrop(0.2), RandomReorder(0.2)],
    )


def _ticoserec(similar: dict[str, Any], time_column: str) -> SequenceAugmentation:
    return _by_length(
        12,
        gentle=[
            TimeIntervalSubstitute(0.1, time_column=time_column, **similar),
            TimeIntervalInsert(0.5, time_column=time_column, **similar),
            TimeIntervalMask(0.5, time_column=time_column),
        ],
        rough=[
            TimeIntervalCrop(0.7, time_column=time_column),
            TimeIntervalReorder(0.2, time_column=time_column),
        ],
    )


def _by_length(
    threshold: int,
    *,
    gentle: list[SequenceAugmentation],
    rough: list[SequenceAugmentation],
) -> SequenceAugmentation:
    """Returns a choice of the gentle ones, for long sequences of the rough ones too."""
    return ByLength(
        threshold, short=RandomChoice(gentle), long=RandomChoice([*gentle, *rough])
    )


_WITH_NEIGHBORS: dict[str, Callable[[dict[str, Any], str], SequenceAugmentation]] = {
    "coserec": _coserec,
    "ticoserec": _ticoserec,
}
