"""Pretrains a query tower with Barlow Twins alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfrs_barlow import _checks
from tfrs_barlow.layers import Projector, TwoViews, preset_views
from tfrs_barlow.models.base import Model, column
from tfrs_barlow.tasks import BarlowTwinsTask


class BarlowTwinsPretraining(Model):
    """Barlow Twins pretraining of a query tower, without labels.

    Each history is augmented twice. The query tower and the projector embed both views,
    and the `BarlowTwinsTask` compares them. After training, keep the `query_tower`.

    Args:
        query_tower: The encoder to pretrain: from histories `[batch, length]` to
            embeddings `[batch, dim]`.
        views: Makes two views of each history. Default:
            `preset_views("barlow_twins")`, which drops half of the items.
        projector: From embeddings to the features that the loss compares. Default:
            `Projector((512, 512, 512))`.
        task: The loss. Default: `BarlowTwinsTask(0.05)`. The 5e-3 of Zbontar et al. is
            for 8,192 features; 0.05 is better for the 512 features of this projector
            and batches of 256 (see docs/study.md).
        history_column: The feature that holds the histories.
        partner_column: The feature that holds a second history for each row, such as
            `"partner"` in the batches of `tfrsb.data.pair_batches`. The second view is
            made from it. None to make both views from the history.
        name: The name of the model.

    Raises:
        TypeError: If an argument has a wrong type.

    Examples:
        >>> encoder = tfrsb.layers.ItemPoolingEncoder(vocabulary_size=10, output_dim=4)
        >>> model = tfrsb.models.BarlowTwinsPretraining(encoder)
        >>> model.compile(tf.keras.optimizers.Adam())
        >>> histories = tf.constant([[3, 4, 5, 6], [7, 8, 9, 0], [3, 5, 7, 9]])
        >>> batches = tf.data.Dataset.from_tensors({"history": histories})
        >>> losses = model.fit(batches, verbose=0)
        >>> model({"history": histories}).shape
        TensorShape([3, 4])

    References:
        Zbontar et al. (2021), "Barlow Twins: Self-Supervised Learning via Redundancy
        Reduction", https://arxiv.org/abs/2103.03230.
        For user sequences: https://arxiv.org/abs/2505.00953.
    """

    def __init__(
        self,
        query_tower: tf.keras.layers.Layer,
        *,
        views: TwoViews | None = None,
        projector: tf.keras.layers.Layer | None = None,
        task: BarlowTwinsTask | None = None,
        history_column: str = "history",
        partner_column: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        layer = tf.keras.layers.Layer
        self.query_tower = _checks.instance("query_tower", query_tower, layer)
        views = views or preset_views("barlow_twins")
        self.views = _checks.instance("views", views, layer)
        self.projector = _checks.instance("projector", projector or Projector(), layer)
        task = task or BarlowTwinsTask(0.05, name="barlow_twins")
        self.task = _checks.instance("task", task, layer)
        self.history_column = _checks.text("history_column", history_column)
        if partner_column is not None:
            _checks.text("partner_column", partner_column)
        self.partner_column = partner_column

    @property
    def _progress_metrics(self) -> Mapping[str, str]:
        return {
            "loss": "loss",
            "excess": f"{self.task.name}/excess",
            "effective_rank": f"{self.task.name}/effective_rank",
            "identical_views": f"{self.views.name}/identical_views",
        }

    def call(self, features: Any, training: bool | None = None) -> tf.Tensor:
        """Returns the embeddings of the histories, `[batch, dim]`.

        Args:
            features: The histories, or a dict with them under `history_column`.
            training: Whether dropout applies.
        """
        histories = column(features, self.history_column)
        return self.query_tower(histories, training=training)

    def compute_loss(self, features: Any, training: bool = False) -> tf.Tensor:
        """Returns the Barlow Twins loss of the batch; see `tfrs.Model.compute_loss`."""
        views = self._views(features, training=training)
        return self.task(*[self._project(view, training) for view in views])

    def embed_views(
        self, features: Any, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Embeds two augmented views without changing any state.

        Args:
            features: The histories, or a dict with them under `history_column`.
            seed: `[2]` integers that fix the views.

        Returns:
            The projections of both views, `[batch, dim]` each, in inference mode.
        """
        first, second = self._views(features, training=True, seed=seed)
        return self._project(first, False), self._project(second, False)

    def _views(self, features: Any, **kwargs: Any) -> tuple[Any, Any]:
        if self.partner_column is not None:
            kwargs["partners"] = features[self.partner_column]
        return self.views(column(features, self.history_column), **kwargs)

    def _project(self, view: Any, training: bool) -> tf.Tensor:
        embeddings = self.query_tower(view, training=training)
        return self.projector(embeddings, training=training)
