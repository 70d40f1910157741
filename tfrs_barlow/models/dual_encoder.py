"""The dual encoder of TFRS: the supervised baseline and the fine-tuned model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrs_barlow._replicas import gather_rows, num_replicas
from tfrs_barlow.models.base import TwoTowers


class DualEncoder(TwoTowers):
    """A query tower and a candidate tower, trained to find the next item.

    The loss is the in-batch softmax of `tfrs.tasks.Retrieval`, with the two corrections
    that it needs: for the popularity of the items that serve as negatives (log-Q), and
    for accidental hits, where another user of the batch has the same next item.

    Args:
        query_tower: From histories `[batch, length]` to `[batch, dim]`.
        candidate_tower: From item ids `[batch]` to `[batch, dim]`.
        sampling_probability: `[vocabulary size]`, how likely each item is to be a
            label. None to leave out the correction.
        task: The loss. Default: `tfrs.tasks.Retrieval(remove_accidental_hits=True)`.
        history_column: The feature that holds the histories.
        label_column: The feature that holds the next items.
        name: The name of the model.

    Raises:
        TypeError: If an argument has a wrong type.
        ValueError: If `sampling_probability` is not a vector, or has values that are
            negative or not finite.

    Examples:
        >>> model = tfrsb.models.DualEncoder(
        ...     tfrsb.layers.ItemPoolingEncoder(vocabulary_size=10, output_dim=4),
        ...     tf.keras.layers.Embedding(10, 4),
        ...     sampling_probability=np.full(10, 0.1),
        ... )
        >>> model.compile(tf.keras.optimizers.Adam())
        >>> features = {
        ...     "history": tf.constant([[3, 4, 5], [7, 8, 0]]),
        ...     "label": tf.constant([6, 9]),
        ... }
        >>> losses = model.fit(tf.data.Dataset.from_tensors(features), verbose=0)
        >>> model(features).shape
        TensorShape([2, 4])

    References:
        Yi et al. (2019), "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item
        Recommendations", https://doi.org/10.1145/3298689.3346996 (log-Q).
    """

    def __init__(
        self,
        query_tower: tf.keras.layers.Layer,
        candidate_tower: tf.keras.layers.Layer,
        *,
        sampling_probability: npt.ArrayLike | None = None,
        task: tfrs.tasks.Retrieval | None = None,
        history_column: str = "history",
        label_column: str = "label",
        name: str | None = None,
    ) -> None:
        super().__init__(
            query_tower,
            candidate_tower,
            history_column=history_column,
            label_column=label_column,
            name=name,
        )
        self.sampling_probability: tf.Tensor | None = None
        if sampling_probability is not None:
            self.sampling_probability = _checked_probability(sampling_probability)
        self.mean_loss = tf.keras.metrics.Mean(name="retrieval/loss")
        with _full_precision():
            self.task = task or tfrs.tasks.Retrieval(remove_accidental_hits=True)

    @property
    def _progress_metrics(self) -> Mapping[str, str]:
        return {"loss": "loss", "mean_loss": "retrieval/loss"}

    def compute_loss(
        self, features: Mapping[str, Any], training: bool = False
    ) -> tf.Tensor:
        """Returns the sum of the losses of the batch; see `tfrs.Model.compute_loss`.

        Under `tf.distribute` each replica computes the loss of the global batch, with
        all of its negatives, and returns its share.
        """
        labels = gather_rows(features[self.label_column])
        probability = self.sampling_probability
        queries = gather_rows(self(features, training=training))
        candidates = gather_rows(self.candidate_tower(features[self.label_column]))
        with _full_precision():
            loss = self.task(
                _in_full(queries),
                _in_full(candidates),
                candidate_sampling_probability=(
                    None if probability is None else tf.gather(probability, labels)
                ),
                candidate_ids=labels,
                compute_metrics=not training,
            )
        self.mean_loss.update_state(loss / tf.cast(tf.size(labels), loss.dtype))
        return loss / num_replicas()


def _checked_probability(probability: npt.ArrayLike) -> tf.Tensor:
    values = np.asarray(probability)
    if not np.issubdtype(values.dtype, np.number):
        raise TypeError(
            f"sampling_probability must be numbers, but its dtype is {values.dtype}."
        )
    if values.ndim != 1 or not (np.isfinite(values) & (values >= 0)).all():
        raise ValueError(
            "sampling_probability must be a vector of finite numbers of at least 0, "
            f"but it is {values!r}."
        )
    return tf.constant(values, tf.float32)


@contextlib.contextmanager
def _full_precision() -> Iterator[None]:
    """Lets `tfrs.tasks.Retrieval` compute in float32 under a mixed policy.

    It creates layers when it is called. Under a mixed policy they would add tensors of
    different precision, which fails.
    """
    policy = tf.keras.mixed_precision.global_policy()
    if policy.compute_dtype in ("float16", "bfloat16"):
        tf.keras.mixed_precision.set_global_policy("float32")
    try:
        yield
    finally:
        tf.keras.mixed_precision.set_global_policy(policy)


def _in_full(embeddings: tf.Tensor) -> tf.Tensor:
    half = embeddings.dtype in (tf.float16, tf.bfloat16)
    return tf.cast(embeddings, tf.float32) if half else embeddings
