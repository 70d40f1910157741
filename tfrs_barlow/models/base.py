"""What `tfrs.Model` lacks under `tf.distribute`."""

from __future__ import annotations

import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrs_barlow._replicas import num_replicas


class Model(tfrs.Model):
    """A `tfrs.Model` whose regularization counts once, however many replicas train it.

    Every replica adds all of it to a gradient that is then summed over replicas, so a
    `tfrs.Model` regularizes N times as hard on N replicas. Here each adds its share, as
    `BarlowTwinsTask` does of its loss.
    """

    @property
    def losses(self) -> list[tf.Tensor]:
        """The regularization losses of all layers: this replica's share of them."""
        return [loss / num_replicas() for loss in super().losses]
