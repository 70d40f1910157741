"""The cross-correlation matrix as a picture in TensorBoard."""

from __future__ import annotations

import importlib.util
import pathlib
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfrs_barlow.losses import cross_correlation_matrix

EmbedViews = Callable[[Any], tuple[tf.Tensor, tf.Tensor]]


class CrossCorrelationImage(tf.keras.callbacks.Callback):
    """Writes the cross-correlation matrix of a fixed batch after every few epochs.

    A healthy one turns into a red diagonal on white: each feature agrees with itself
    across views, and no two features say the same. Red is a correlation of 1, white 0,
    blue -1. Training is not disturbed: views are made from a fixed seed, and the model
    is called in inference mode.

    Example:
        >>> import tempfile
        >>> encoder = tfrsb.layers.ItemPoolingEncoder(
        ...     vocabulary_size=10, output_dim=4, pooling="mean"
        ... )
        >>> model = tfrsb.models.BarlowTwinsPretraining(encoder)
        >>> model.compile(tf.keras.optimizers.Adam())
        >>> histories = tf.constant([[3, 4, 5, 6], [7, 8, 9, 0], [3, 5, 7, 9]])
        >>> picture = tfrsb.callbacks.CrossCorrelationImage(
        ...     tempfile.mkdtemp(), histories
        ... )
        >>> batches = tf.data.Dataset.from_tensors(histories)
        >>> history = model.fit(batches, callbacks=[picture], verbose=0)
    """

    def __init__(
        self,
        log_dir: str | pathlib.Path,
        batch: Any,
        *,
        embed_views: EmbedViews | None = None,
        every: int = 1,
        max_features: int = 128,
        seed: int = 0,
    ) -> None:
        """Initializes the callback.

        Args:
            log_dir: Where TensorBoard looks for events.
            batch: A batch of features as the model takes them; of some hundred rows,
                since chance correlations are of the size 1 / sqrt(rows).
            embed_views: From `batch` to the embeddings of two views, `[rows, dim]`
                each. Default: what the `embed_views` of a `BarlowTwinsPretraining` or
                `JointModel` makes of it.
            every: After how many epochs to write a picture, at least 1.
            max_features: The most features to show, the first ones; at least 1.
            seed: Fixes the views.

        Raises:
            ValueError: If `every` or `max_features` is less than 1.
            ImportError: If TensorBoard is not installed.
        """
        super().__init__()
        # TensorFlow has left out TensorBoard of its requirements, and would only say
        # so at the end of the first epoch.
        if importlib.util.find_spec("tensorboard") is None:
            raise ImportError(
                "CrossCorrelationImage needs TensorBoard: pip install "
                "'tfrs-barlow[tensorboard]'"
            )
        for name, value in (("every", every), ("max_features", max_features)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, but it is {value}.")
        self.log_dir = str(log_dir)
        self.batch = batch
        self.every = every
        self.max_features = max_features
        self.seed = seed
        self._embed_views = embed_views
        self._writer: tf.summary.SummaryWriter | None = None

    def set_model(self, model: tf.keras.Model) -> None:
        """Makes sure that the model can embed views, before training begins.

        Raises:
            ValueError: If it has no `embed_views`, and the callback got none.
        """
        if self._embed_views is None and not hasattr(model, "embed_views"):
            raise ValueError(
                f"embed_views must be given, since {type(model).__name__} has none."
            )
        super().set_model(model)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes the picture, if it is time."""
        if (epoch + 1) % self.every:
            return
        first, second = (
            embeddings[:, : self.max_features] for embeddings in self._embeddings()
        )
        image = correlation_image(cross_correlation_matrix(first, second))
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(self.log_dir)
        with self._writer.as_default(step=epoch):
            tf.summary.image("cross_correlation", image[tf.newaxis])
        self._writer.flush()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Closes the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _embeddings(self) -> tuple[tf.Tensor, tf.Tensor]:
        if self._embed_views is not None:
            return self._embed_views(self.batch)
        seed = tf.constant([self.seed, 0], tf.int64)
        return self.model.embed_views(self.batch, seed=seed)


def correlation_image(matrix: tf.Tensor, pixels: int = 512) -> tf.Tensor:
    """Returns a picture of correlations: red is 1, white 0, blue -1.

    Args:
        matrix: `[rows, columns]`, in [-1, 1]; what is beyond is cut off.
        pixels: The least width and height; each element becomes a square.

    Returns:
        `[height, width, 3]`, float32 in [0, 1].
    """
    matrix = tf.clip_by_value(tf.cast(matrix, tf.float32), -1, 1)
    red, blue = 1 + tf.minimum(matrix, 0), 1 - tf.maximum(matrix, 0)
    image = tf.stack([red, tf.minimum(red, blue), blue], axis=-1)
    square = -(-pixels // min(matrix.shape))
    return tf.repeat(tf.repeat(image, square, axis=0), square, axis=1)
