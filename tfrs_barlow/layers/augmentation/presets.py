"""The views of methods, by name: ours and published ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import numpy.typing as npt

from tfrs_barlow._checks import one_of, text
from tfrs_barlow.layers.augmentation.base import SequenceAugmentation
from tfrs_barlow.layers.augmentation.composition import ByLength, RandomChoice
from tfrs_barlow.layers.augmentation.random_crop import RandomCrop
from tfrs_barlow.layers.augmentation.random_drop import RandomDrop
from tfrs_barlow.layers.augmentation.random_mask import RandomMask
from tfrs_barlow.layers.augmentation.random_reorder import RandomReorder
from tfrs_barlow.layers.augmentation.similar_items import RandomInsert, RandomSubstitute
from tfrs_barlow.layers.augmentation.time_intervals import (
    TimeIntervalCrop,
    TimeIntervalInsert,
    TimeIntervalMask,
    TimeIntervalReorder,
    TimeIntervalSubstitute,
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

    - `"barlow_twins"`: the default of `BarlowTwinsPretraining`: half of the items are
      dropped at random, so that both views still end with recent ones. No other views
      did clearly better in the study (docs/study.md).
    - `"cl4srec"`: a crop (0.6), a mask (0.3) or a reordering (0.6), a different one for
      each view.
    - `"coserec"`: a substitution (0.1), an insertion (0.4) or a mask (0.7); for
      sequences of more than 4 items also a crop (0.2) or a reordering (0.2).
    - `"ticoserec"`: the same five by time intervals: substitution (0.1), insertion
      (0.5), mask (0.5); for sequences of more than 12 items crop (0.7) and reordering
      (0.2). The method's rule that leaves the most uneven 15 % of the users as they are
      is left out.

    Where the code of a method has defects that its paper does not describe (crops that
    never hold the most recent item, counts that round to nothing, masks that are
    padding), these layers do what the paper says.

    Args:
        preset: One of the names above.
        neighbors: `[vocabulary size, k]`, integers: the items similar to each id, such
            as `tfrsb.data.cooccurrence_neighbors` returns. `"coserec"` and
            `"ticoserec"` need it.
        item_tables: By column, its values by item id, `[vocabulary size, ...]`, for the
            items that these two bring in.
        time_column: The column of times, which `"ticoserec"` needs.
        **kwargs: Passed on to `TwoViews`.

    Returns:
        The layer that makes the two views.

    Raises:
        ValueError: If the name is unknown, or the preset needs `neighbors`.

    Examples:
        >>> views = tfrsb.layers.preset_views("cl4srec", seed=1)
        >>> first, second = views(tf.constant([[3, 4, 5, 6, 7]]), training=True)
        >>> first.shape, second.shape
        (TensorShape([1, 5]), TensorShape([1, 5]))

    References:
        Xie et al. (2022), "Contrastive Learning for Sequential Recommendation"
        (CL4SRec), https://arxiv.org/abs/2010.14395.

        Liu et al. (2021), "Contrastive Self-supervised Sequential Recommendation with
        Robust Augmentation" (CoSeRec), https://arxiv.org/abs/2108.06479.

        Dang et al. (2023), "Uniform Sequence Better: Time Interval Aware Data
        Augmentation for Sequential Recommendation" (TiCoSeRec),
        https://arxiv.org/abs/2212.08262.
    """
    one_of("preset", preset, get_args(Preset))
    text("time_column", time_column)
    if preset == "barlow_twins":
        return TwoViews(RandomDrop(0.5), **kwargs)
    if preset == "cl4srec":
        return TwoViews(_cl4srec(), **kwargs)
    if neighbors is None:
        raise ValueError(
            f"The preset {preset!r} needs neighbors: a table of similar items, such "
            "as tfrs_barlow.data.cooccurrence_neighbors returns."
        )
    # Even a short sequence gets at least one substitution or insertion.
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
