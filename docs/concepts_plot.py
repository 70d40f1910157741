"""Draws the pictures of `docs/concepts.md`, after a short pretraining.

Run `python docs/concepts_plot.py`, with `tfrs_barlow` and matplotlib installed. It
takes a minute.
"""

from __future__ import annotations

import os
import pathlib

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import tfrs_barlow as tfrsb

IMAGES = pathlib.Path(__file__).parent / "images"
LENGTH = 50
DIMENSION = 64
STYLE = {
    "axes.titlesize": 10,
    "font.size": 10,
    # Makes every run write the same bytes.
    "svg.hashsalt": "concepts",
}


def main() -> None:
    """Draws both pictures and writes them."""
    mpl.rcParams.update(STYLE)
    IMAGES.mkdir(exist_ok=True)
    _draw_views().savefig(IMAGES / "views.svg", metadata={"Date": None})
    _draw_correlations().savefig(IMAGES / "cross_correlation.png", dpi=140)


def _draw_views() -> Figure:
    history = tf.range(3, 13)[tf.newaxis]
    views = tfrsb.layers.TwoViews(
        [tfrsb.layers.RandomCrop(0.6), tfrsb.layers.RandomMask(0.3)], seed=6
    )
    rows = [history, *views(history, training=True)]
    figure, axes = plt.subplots(figsize=(8, 2.4), layout="constrained")
    for row, (items, label) in enumerate(
        zip(rows, ("history", "one view", "the other view"), strict=True)
    ):
        axes.text(2.6, -row, label, ha="right", va="center")
        _draw_items(axes, items[0].numpy(), -row)
    axes.set(xlim=(0.9, 13), ylim=(-2.6, 0.6))
    axes.axis("off")
    return figure


def _draw_items(axes: Axes, items: npt.NDArray[np.int32], y: float) -> None:
    """Draws the items of a history, and a crop below the items it was cut from."""
    items = items[items != tfrsb.data.PADDING_ID]
    seen = items > tfrsb.data.OUT_OF_VOCABULARY_ID
    first = int((items - np.arange(len(items)))[seen][0])
    for place, item in enumerate(items, start=first):
        hidden = item == tfrsb.data.MASK_ID
        color = "white" if hidden else mpl.colormaps["viridis"](0.05 + (item - 3) / 13)
        axes.add_patch(
            Rectangle((place - 0.2, y - 0.4), 0.9, 0.8, color=color, ec="grey")
        )
        label = "hidden" if hidden else chr(ord("A") + item - 3)
        axes.text(
            place + 0.25,
            y,
            label,
            ha="center",
            va="center",
            fontsize=7 if hidden else 11,
            color="black" if hidden else "white",
        )


def _draw_correlations() -> Figure:
    """Draws the matrix untrained, trained, and trained for invariance alone."""
    log = tfrsb.data.generate_synthetic_log(num_users=4_000)
    sequences, vocabulary = tfrsb.data.build_sequences(log)
    train, held_out = (
        sequences.select(users)
        for users in np.split(np.arange(len(sequences)), [len(sequences) // 2])
    )
    histories = tf.constant(held_out.to_dense(LENGTH))
    batches = tfrsb.data.training_batches(train, batch_size=256, length=LENGTH)

    figure, panels = plt.subplots(1, 3, figsize=(9.5, 3.6), layout="constrained")
    for axes, (title, weight, steps) in zip(
        panels,
        (
            ("not trained", 0.05, 0),
            ("Barlow Twins", 0.05, 600),
            ("invariance alone", 0.0, 600),
        ),
        strict=True,
    ):
        matrix = _correlation(_trained(vocabulary, batches, weight, steps), histories)
        picture = axes.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1)
        off_diagonal = np.abs(matrix[~np.eye(DIMENSION, dtype=bool)]).mean()
        axes.set_title(
            f"{title}\ndiagonal {np.diag(matrix).mean():.2f}, "
            f"others ±{off_diagonal:.2f}"
        )
        axes.set_xlabel("feature of one view")
    panels[0].set_ylabel("feature of the other")
    figure.colorbar(picture, ax=panels, shrink=0.8, label="correlation")
    return figure


def _trained(
    vocabulary: tfrsb.data.Vocabulary,
    batches: tf.data.Dataset,
    weight: float,
    steps: int,
) -> tfrsb.models.BarlowTwinsPretraining:
    tf.keras.utils.set_random_seed(0)
    model = tfrsb.models.BarlowTwinsPretraining(
        tfrsb.layers.ItemPoolingEncoder(vocabulary.size, pooling="mean"),
        projector=tfrsb.layers.Projector([256, DIMENSION]),
        task=tfrsb.tasks.BarlowTwinsTask(off_diagonal_weight=weight),
    )
    model.compile(tf.keras.optimizers.Adam(3e-3))
    if steps:
        model.fit(batches, epochs=1, steps_per_epoch=steps, verbose=0)
    return model


def _correlation(
    model: tfrsb.models.BarlowTwinsPretraining, histories: tf.Tensor
) -> npt.NDArray[np.float32]:
    """Returns the cross-correlation matrix of two views of users not trained on."""
    first, second = (
        # With the statistics of the batch, as in training.
        model.projector(model.query_tower(view), training=True)
        for view in model.views(histories, training=True)
    )
    return tfrsb.losses.cross_correlation_matrix(first, second).numpy()


if __name__ == "__main__":
    main()
