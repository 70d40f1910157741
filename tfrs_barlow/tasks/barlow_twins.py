"""The Barlow Twins task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrs_barlow._replicas import num_replicas
from tfrs_barlow.losses._paths import Path, validate_path
from tfrs_barlow.losses.barlow_twins import (
    OFF_DIAGONAL_TARGETS,
    Objective,
    OffDiagonalWeight,
    invariance,
    resolve_off_diagonal_weight,
    validate_objective,
    validate_off_diagonal_weight,
)
from tfrs_barlow.losses.cross_correlation import CorrelationTerms
from tfrs_barlow.losses.floor import barlow_twins_floor, hsic_floor
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

    A retrieval task tells a user's next item from the items of other users, and so
    needs labels and many negatives. This task needs neither: it takes the embeddings
    of two augmented views of each sequence and drives their cross-correlation matrix
    to the identity (see `tfrs_barlow.losses.barlow_twins_loss`). It stands beside
    `tfrs.tasks.Retrieval` in the `compute_loss` of any `tfrs.Model`.

    Under `tf.distribute` every replica computes the loss of the global batch, divided
    by the number of replicas, so that the sum over replicas of loss and gradients
    equals that of one device with the whole batch. (Put
    `BatchNormalization(synchronized=True)` into the projector, as
    `tfrs_barlow.layers.Projector` does.) Replicas exchange their embeddings or, where
    that is less, their shares of C.

    It keeps the epoch means of these metrics, each prefixed with the task's name, so
    that two tasks of one model do not overwrite each other:

    - `loss`, and its parts `invariance` and `redundancy` (the latter not weighted);
    - `floor`, the least loss possible at this batch size, dimension and weight, and
      `excess`, how far the loss is above it: the figure that should approach 0;
    - `dead_columns`, the number of features that are constant over the batch;
    - `mean_abs_off_diagonal`, `effective_rank` and `standard_deviation`, as
      `tfrs_barlow.metrics.collapse_diagnostics` has them; of a replica's own rows.

    Example:
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
        Zbontar et al. 2021, Barlow Twins: Self-Supervised Learning via Redundancy
        Reduction, arXiv 2103.03230. Its use for user sequences: arXiv 2505.00953.
    """

    def __init__(
        self,
        off_diagonal_weight: OffDiagonalWeight = 5e-3,
        *,
        objective: Objective = "barlow_twins",
        scale: float = 1.0,
        epsilon: float = 1e-5,
        path: Path = "auto",
        check_finite: bool = False,
        batch_metrics: Sequence[tf.keras.metrics.Metric] | None = None,
        loss_metrics: Sequence[tf.keras.metrics.Metric] | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Initializes the task.

        Args:
            off_diagonal_weight: The weight lambda of the redundancy term: a number of
                at least 0 (the paper's 5e-3; `tfrsb.losses.weight_for_invariance`
                chooses one for wide projectors), or `"auto"` for 1 / dim.
            objective: `"barlow_twins"`, or `"hsic"`, which wants different features to
                correlate by -1 instead of 0: see `tfrsb.losses.barlow_twins_loss`.
            scale: Multiplies the loss, to weigh it against other tasks.
            epsilon: Added to each feature's variance before its root is taken.
            path: How to compute the loss: `"direct"`, `"gram"` or, by shape, `"auto"`.
            check_finite: Whether a NaN or an infinity in the embeddings is an error
                that names its column, rather than a loss that is NaN.
            batch_metrics: Metrics of two batches of embeddings, updated with
                `(first_embeddings, second_embeddings, sample_weight)`, such as
                `tf.keras.metrics.CosineSimilarity()`.
            loss_metrics: Metrics that summarize the loss value.
            name: The name of the task, which prefixes its metrics.
            **kwargs: As of `tf.keras.layers.Layer`. The default dtype is float32 even
                under a mixed-precision policy: half precision would overflow.

        Raises:
            ValueError: If `off_diagonal_weight`, `scale` or `epsilon` is negative, or
                `objective` or `path` is unknown.
        """
        kwargs.setdefault("dtype", tf.float32)
        super().__init__(name=name, **kwargs)
        validate_off_diagonal_weight(off_diagonal_weight)
        for argument, value in (("scale", scale), ("epsilon", epsilon)):
            if not value >= 0:
                raise ValueError(f"{argument} must be at least 0, but it is {value}.")
        validate_objective(objective)
        validate_path(path)
        self.off_diagonal_weight = off_diagonal_weight
        self.objective = objective
        self.scale = scale
        self.epsilon = epsilon
        self.path = path
        self.check_finite = check_finite
        self._batch_metrics = list(batch_metrics or [])
        self._loss_metrics = list(loss_metrics or [])
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
            off_diagonal_target=OFF_DIAGONAL_TARGETS[self.objective],
            epsilon=self.epsilon,
            path=self.path,
            check_finite=self.check_finite,
        )
        weight = resolve_off_diagonal_weight(self.off_diagonal_weight, terms)
        loss = invariance(terms) + weight * terms.off_diagonal
        loss = tf.cast(self.scale * loss, tf.float32)

        updates = [metric.update_state(loss) for metric in self._loss_metrics]
        if compute_metrics:
            diagnostics = {
                **self._parts(loss, terms, weight, batch_size),
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

    def _parts(
        self,
        loss: tf.Tensor,
        terms: CorrelationTerms,
        weight: tf.Tensor,
        batch_size: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """Returns what the loss is made of, and what it could be."""
        dimension = tf.size(terms.diagonal)
        if self.objective == "hsic":
            floor = self.scale * hsic_floor(dimension, weight)
        else:
            floor = self.scale * barlow_twins_floor(batch_size, dimension, weight)
        return {
            "loss": loss,
            "invariance": invariance(terms),
            "redundancy": terms.off_diagonal,
            "floor": floor,
            "excess": loss - floor,
            "dead_columns": terms.dead_columns,
        }

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs to make the same task."""
        return {
            **super().get_config(),
            "off_diagonal_weight": self.off_diagonal_weight,
            "objective": self.objective,
            "scale": self.scale,
            "epsilon": self.epsilon,
            "path": self.path,
            "check_finite": self.check_finite,
            "batch_metrics": _serialize(self._batch_metrics),
            "loss_metrics": _serialize(self._loss_metrics),
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


def _serialize(metrics: Sequence[tf.keras.metrics.Metric]) -> list[Any]:
    return [tf.keras.metrics.serialize(metric) for metric in metrics]
