"""Pretrains a query tower with Barlow Twins alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfrs_barlow.layers import Projector, TwoViews, preset_views
from tfrs_barlow.models.base import Model
from tfrs_barlow.tasks import BarlowTwinsTask


class BarlowTwinsPretraining(Model):
    """A sequence encoder, trained to see through augmentation.

    Each history is augmented twice; encoder and projector embed both views, and the
    `BarlowTwinsTask` compares them. Labels are not looked at. After training, keep the
    `encoder` and drop the rest.

    Example:
        >>> encoder = tfrsb.layers.ItemPoolingEncoder(
        ...     vocabulary_size=10, output_dim=4, pooling="mean"
        ... )
        >>> model = tfrsb.models.BarlowTwinsPretraining(encoder)
        >>> model.compile(tf.keras.optimizers.Adam())
        >>> histories = tf.constant([[3, 4, 5, 6], [7, 8, 9, 0], [3, 5, 7, 9]])
        >>> batches = tf.data.Dataset.from_tensors({"history": histories})
        >>> losses = model.fit(batches, verbose=0)
        >>> model({"history": histories}).shape
        TensorShape([3, 4])

    References:
        Zbontar et al. 2021, arXiv 2103.03230; for user sequences arXiv 2505.00953.
    """

    def __init__(
        self,
        encoder: tf.keras.layers.Layer,
        *,
        views: TwoViews | None = None,
        projector: tf.keras.layers.Layer | None = None,
        task: BarlowTwinsTask | None = None,
        history_column: str = "history",
        partner_column: str | None = None,
        name: str | None = None,
    ) -> None:
        """Initializes the model.

        Args:
            encoder: The query tower to pretrain: from histories `[batch, length]` to
                embeddings `[batch, dim]`.
            views: Makes two views of each history. Default:
                `preset_views("barlow_twins")`, which drops half of the items.
            projector: From embeddings to the features that the loss compares. Default:
                `Projector((512, 512, 512))`.
            task: The loss. Default: `BarlowTwinsTask(0.05)`. Such weights and views
                were among the best in the study (docs/study.md), for batches of 256.
            history_column: Which feature holds the histories.
            partner_column: Which feature holds, for each history, another that says the
                same, to make the second view of: `"partner"` in the batches of
                `tfrsb.data.pair_batches`. `None`: both views are of the history.
            name: The name of the model.
        """
        super().__init__(name=name)
        self.encoder = encoder
        self.views = views or preset_views("barlow_twins")
        self.projector = projector or Projector((512, 512, 512))
        self.task = task or BarlowTwinsTask(0.05, name="barlow_twins")
        self.history_column = history_column
        self.partner_column = partner_column

    def call(self, features: Any, training: bool | None = None) -> tf.Tensor:
        """Returns the embeddings of the histories, `[batch, dim]`.

        Args:
            features: A dict with the histories under `history_column`, or they alone.
            training: Whether to apply dropout.
        """
        return self.encoder(self._histories(features), training=training)

    def compute_loss(self, features: Any, training: bool = False) -> tf.Tensor:
        """Returns the Barlow Twins loss of the batch; see `tfrs.Model.compute_loss`."""
        views = self._views(features, training=training)
        return self.task(*[self._project(view, training) for view in views])

    def embed_views(
        self, features: Any, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Embeds two augmented views without changing any state, to look at them.

        Args:
            features: A dict with the histories under `history_column`, or they alone.
            seed: `[2]` integers that fix the views.

        Returns:
            What the projector makes of either view, `[batch, dim]`, in inference mode.
        """
        first, second = self._views(features, training=True, seed=seed)
        return self._project(first, False), self._project(second, False)

    def _views(self, features: Any, **kwargs: Any) -> tuple[Any, Any]:
        if self.partner_column is not None:
            kwargs["partners"] = features[self.partner_column]
        return self.views(self._histories(features), **kwargs)

    def _project(self, view: Any, training: bool) -> tf.Tensor:
        return self.projector(self.encoder(view, training=training), training=training)

    def _histories(self, features: Any) -> Any:
        if isinstance(features, Mapping):
            return features[self.history_column]
        return features
