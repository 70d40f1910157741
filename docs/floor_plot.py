"""Draws `docs/images/floor.svg`, the picture of `docs/loss.md`.

Run `python docs/floor_plot.py` where `tfrs_barlow` and matplotlib are installed.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Sequence

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from matplotlib.axes import Axes

import tfrs_barlow as tfrsb

PICTURE = pathlib.Path(__file__).parent / "images" / "floor.svg"
USUAL_WEIGHT = 5e-3
WEIGHTS = np.geomspace(1e-5, 1, 200)
SHAPES = ((256, 512), (256, 2048), (256, 8192), (64, 8192))
# Of the palette of Okabe and Ito, which color-blind readers can tell apart.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#000000")
STYLES = ("-", "--", "-.", ":")
STYLE = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 12,
    "font.size": 11,
    "grid.alpha": 0.3,
    "legend.fontsize": 10,
    "lines.linewidth": 2,
    # The same picture, byte for byte, at every run.
    "svg.hashsalt": "floor",
}


def main() -> None:
    """Draws the four panels and writes the picture."""
    mpl.rcParams.update(STYLE)
    figure, axes = plt.subplots(2, 2, figsize=(9, 7.4), layout="constrained")
    _draw_against_dimension(axes[0, 0])
    _draw_against_batch_size(axes[0, 1])
    _draw_floor_against_weight(axes[1, 0])
    _draw_invariance_against_weight(axes[1, 1])
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, metadata={"Date": None})


def _draw_against_dimension(axes: Axes) -> None:
    dimensions = _integers(64, 8192)
    for index, batch_size in enumerate((64, 256, 1024, 4096)):
        floor = tfrsb.losses.barlow_twins_floor(batch_size, dimensions, USUAL_WEIGHT)
        _draw_line(axes, dimensions, floor, index, f"N = {batch_size}")
    _label_sizes(axes, "dimension D", (64, 256, 1024, 4096))
    _label_floor(axes, 0.1)
    axes.set_title(r"The floor rises with the dimension ($\lambda$ = 0.005)")
    axes.legend()


def _draw_against_batch_size(axes: Axes) -> None:
    batch_sizes = _integers(16, 8192)
    for index, dimension in enumerate((128, 512, 2048, 8192)):
        floor = tfrsb.losses.barlow_twins_floor(batch_sizes, dimension, USUAL_WEIGHT)
        _draw_line(axes, batch_sizes, floor, index, f"D = {dimension}")
    _label_sizes(axes, "batch size N", (16, 64, 256, 1024, 4096))
    _label_floor(axes, 0.1)
    axes.set_title(r"It falls with the batch size ($\lambda$ = 0.005)")
    axes.legend()


def _draw_floor_against_weight(axes: Axes) -> None:
    _draw_against_weight(axes, tfrsb.losses.barlow_twins_floor)
    # Room for the legend.
    _label_floor(axes, 0.001)
    axes.set_title("It rises with the weight ...")
    axes.legend(loc="lower right")


def _draw_invariance_against_weight(axes: Axes) -> None:
    _draw_against_weight(axes, tfrsb.losses.optimal_invariance)
    axes.set(
        title="... which asks for less agreement",
        ylabel=r"best $C_{ii}$",
        ylim=(0, 1.03),
    )
    axes.legend(loc="lower left")


def _draw_against_weight(axes: Axes, of_weight: Callable[..., tf.Tensor]) -> None:
    for index, (batch_size, dimension) in enumerate(SHAPES):
        label = f"N = {batch_size}, D = {dimension}"
        values = of_weight(batch_size, dimension, WEIGHTS)
        _draw_line(axes, WEIGHTS, values, index, label)
    axes.set(xlabel=r"weight $\lambda$", xscale="log")


def _draw_line(axes: Axes, x: np.ndarray, y: tf.Tensor, index: int, label: str) -> None:
    # A floor of 0 has no place on a logarithmic axis.
    y = np.where(y > 0, y, np.nan)
    axes.plot(x, y, STYLES[index], color=COLORS[index], label=label)


def _label_sizes(axes: Axes, label: str, ticks: Sequence[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.set_xlabel(label)


def _label_floor(axes: Axes, lowest: float) -> None:
    axes.set(ylabel="floor of the loss", yscale="log", ylim=(lowest, 3e4))
    axes.yaxis.set_major_formatter("{x:,g}")


def _integers(first: int, last: int) -> np.ndarray:
    return np.unique(np.geomspace(first, last, 400).round().astype(int))


if __name__ == "__main__":
    main()
