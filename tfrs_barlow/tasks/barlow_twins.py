"""The Barlow Twins task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrs_barlow import _checks
from tfrs_barlow._replicas import num_replicas
from tfrs_barlow.losses._paths import ALGORITHMS, Algorithm
from tfrs_barlow.losses.barlow_twins import (
    OffDiagonalWeight,
    invariance,
    resolve_off_diagonal_weight,
    validate_off_diagonal_weight,
)
from tfrs_barlow.losses.floor import barlow_twins_floor
from tfrs_barlow.losses.global_batch import global_batch_terms
from tfrs_barlow.metrics import CollapseDiagnostics, collapse_diagnostics

DIAGNOSTICS = (
    "loss",
    "invariance",
    "redundancy",
    "floor",
    "excess",
    "dead_columns",
    *CollapseDiagnostics._fields,
)


@tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
class BarlowTwinsTask(tf.keras.layers.Layer, tfrs.tasks.Task):
    """Pulls two views of a sequence together and decorrelates their features.

    A retrieval task distinguishes a user's next item from the items of other users, and
    so needs labels and many negatives. This task needs neither: it takes the embeddings
    of two augmented views of each sequence and drives their cross-correlation matrix
    to the identity (see `tfrs_barlow.losses.barlow_twins_loss`). It works alone or
    together with `tfrs.tasks.Retrieval` in the `compute_loss` of any `tfrs.Model`. It
    returns a mean over the batch where `Retrieval` returns a sum: multiply its weight
    by the batch size to keep their proportion at any batch size.

    Under `tf.distribute` every replica computes the loss of the global batch, divided
    by the number of replicas, so that the sum over replicas of loss and gradients
    equals that of one device with the whole batch. (Put
    `BatchNormalization(synchronized=True)` into the projector, as
    `tfrs_barlow.layers.Projector` does.) Replicas exchange their embeddings or, if
    that is less data, their shares of the cross-correlation matrix.

    It keeps the epoch means of these metrics, each prefixed with the task's name, so
    that two tasks of one model do not overwrite each other:

    - `loss`, and its parts `invariance` and `redundancy` (the latter not weighted);
    - `floor`, the least loss possible at this batch size, dimension and weight, and
      `excess`, how far the loss is above it: the metric that should approach 0;
    - `dead_columns`, the number of features that are constant over the batch;
    - `mean_abs_off_diagonal`, `effective_rank` and `standard_deviation`, those of
      `tfrs_barlow.metrics.collapse_diagnostics`, from a replica's own rows.

    Args:
        off_diagonal_weight: The weight lambda of the redundancy term, at least 0. The
            default is that of Zbontar et al. for a dimension of 8192; narrow projectors
            (512 features, batches of 256) want about 0.05, which is why
            `BarlowTwinsPretraining` takes that. `"auto"` is 1 / dim;
            `tfrsb.losses.weight_for_invariance` computes one for wide projectors.
        scale: Multiplies the loss, to weigh it against other tasks; at least 0.
        epsilon: Added to each feature's variance before its root is taken, at least 0.
        algorithm: How to compute the loss: `"direct"`, `"gram"` or, by shape, `"auto"`.
        check_finite: Whether a NaN or an infinity in the embeddings is an error that
            names its column, rather than a loss that is NaN.
        batch_metrics: Metrics of two batches of embeddings, updated with
            `(first_embeddings, second_embeddings, sample_weight)`, such as
            `tf.keras.metrics.CosineSimilarity()`.
        loss_metrics: Metrics that summarize the loss value.
        name: The name of the task, which prefixes its metrics.
        **kwargs: Passed on to `tf.keras.layers.Layer`. The default dtype is float32
            even under a mixed-precision policy: half precision would overflow.

    Examples:
        >>> task = tfrsb.tasks.BarlowTwinsTask(epsilon=0.0, name="barlow_twins")
        >>> view = tf.constant([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
        >>> swapped = tf.reverse(view, axis=[1])  # So C is [[0, 1], [1, 0]].
        >>> round(float(task(view, swapped)), 4)
        2.01
        >>> for metric in task.metrics:
        ...     print(metric.name, round(float(metric.result()), 4))
        barlow_twins/dead_columns 0.0
        barlow_twins/effective_rank 2.0
        barlow_twins/excess 2.01
        barlow_twins/floor 0.0
        barlow_twins/invariance 2.0
        barlow_twins/loss 2.01
        barlow_twins/mean_abs_off_diagonal 1.0
        barlow_twins/redundancy 2.0
        barlow_twins/standard_deviation 1.0

    References:
        - Zbontar et al. (2021), "Barlow Twins: Self-Supervised Learning via Redundancy
          Reduction", https://arxiv.org/abs/2103.03230. Its use for user sequences:
          https://arxiv.org/abs/2505.00953.
    """

    def __init__(
        self,
        off_diagonal_weight: OffDiagonalWeight = 5e-3,
        *,
        scale: float = 1.0,
        epsilon: float = 1e-5,
        algorithm: Algorithm = "auto",
        check_finite: bool = False,
        batch_metrics: Sequence[tf.keras.metrics.Metric] | None = None,
        loss_metrics: Sequence[tf.keras.metrics.Metric] | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("dtype", tf.float32)
        super().__init__(name=name, **kwargs)
        validate_off_diagonal_weight(off_diagonal_weight)
        self.off_diagonal_weight = off_diagonal_weight
        self.scale = _checks.number("scale", scale, at_least=0)
        self.epsilon = _checks.number("epsilon", epsilon, at_least=0)
        self.algorithm = _checks.one_of("algorithm", algorithm, ALGORITHMS)
        self.check_finite = _checks.boolean("check_finite", check_finite)
        metric = tf.keras.metrics.Metric
        self._batch_metrics = _checks.instances(
            "batch_metrics", batch_metrics or [], metric
        )
        self._loss_metrics = _checks.instances(
            "loss_metrics", loss_metrics or [], metric
        )
        self._diagnostics = {
            diagnostic: tf.keras.metrics.Mean(name=f"{self.name}/{diagnostic}")
            for diagnostic in DIAGNOSTICS
        }

    def call(
        self,
        first_embeddings: tf.Tensor,
        second_embeddings: tf.Tensor,
        sample_weight: tf.Tensor | None = None,
        compute_metrics: bool = True,
        compute_batch_metrics: bool = True,
    ) -> tf.Tensor:
        """Computes the loss and updates the metrics.

        Args:
            first_embeddings: `[batch, dim]` embeddings of one view of each sequence,
                usually from a projector; floating, batch >= 2.
            second_embeddings: The embeddings of the other view, row by row.
            sample_weight: `[batch]`, not negative: how much each sequence counts in
                the statistics. A weight of 2 equals the sequence being there twice.
            compute_metrics: Whether to update the task's own diagnostics.
            compute_batch_metrics: Whether to update `batch_metrics`.

        Returns:
            The loss, a float32 scalar.

        Raises:
            ValueError: If the embeddings are not two equal `[batch, dim]`, or the batch
                holds fewer than 2 rows.
            TypeError: If the embeddings are not floating.
        """
        terms, batch_size = global_batch_terms(
            first_embeddings,
            second_embeddings,
            sample_weight,
            epsilon=self.epsilon,
            algorithm=self.algorithm,
            check_finite=self.check_finite,
        )
        weight = resolve_off_diagonal_weight(self.off_diagonal_weight, terms)
        loss = invariance(terms) + weight * terms.off_diagonal
        loss = tf.cast(self.scale * loss, tf.float32)

        updates = [metric.update_state(loss) for metric in self._loss_metrics]
        if compute_metrics:
            dimension = tf.size(terms.diagonal)
            floor = self.scale * barlow_twins_floor(batch_size, dimension, weight)
            diagnostics = {
                "loss": loss,
                "invariance": invariance(terms),
                "redundancy": terms.off_diagonal,
                "floor": floor,
                "excess": loss - floor,
                "dead_columns": terms.dead_columns,
                **collapse_diagnostics(first_embeddings, second_embeddings)._asdict(),
            }
            updates += [
                self._diagnostics[name].update_state(value)
                for name, value in diagnostics.items()
            ]
        if compute_batch_metrics:
            updates += [
                metric.update_state(
                    first_embeddings, second_embeddings, sample_weight=sample_weight
                )
                for metric in self._batch_metrics
            ]
        # Keras metrics return no operation in eager mode.
        with tf.control_dependencies([one for one in updates if one is not None]):
            return loss / num_replicas()

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        serialize = tf.keras.metrics.serialize
        return {
            **super().get_config(),
            "off_diagonal_weight": self.off_diagonal_weight,
            "scale": self.scale,
            "epsilon": self.epsilon,
            "algorithm": self.algorithm,
            "check_finite": self.check_finite,
            "batch_metrics": [serialize(metric) for metric in self._batch_metrics],
            "loss_metrics": [serialize(metric) for metric in self._loss_metrics],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> BarlowTwinsTask:
        """Makes a task from what `get_config` returned."""
        config = dict(config)
        for metrics in ("batch_metrics", "loss_metrics"):
            config[metrics] = [
                tf.keras.metrics.deserialize(metric) for metric in config[metrics]
            ]
        return cls(**config)
