"""The projector: the network between encoder and Barlow Twins loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tfrs_barlow import _checks
from tfrs_barlow.layers._build import build_layer


@tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
class Projector(tf.keras.layers.Layer):
    """Maps embeddings to the space in which Barlow Twins compares two views.

    Every layer but the last is linear without bias, batch normalization, activation.
    The last layer is linear without bias. After pretraining the projector is dropped:
    probes, fine-tuning and serving use the encoder.

    Batch normalization computes its statistics over all replicas, because under
    `tf.distribute` the loss is that of the global batch.

    Args:
        units: The width of each layer. The last one is the width of the output.
        activation: The activation, as in `tf.keras.layers.Dense`.
        name: The name of the layer.
        **kwargs: Passed on to `tf.keras.layers.Layer`.

    Raises:
        TypeError: If `units` is not a sequence of integers.
        ValueError: If `units` is empty or has a width below 1, or `activation` is
            unknown.

    Examples:
        >>> projector = tfrsb.layers.Projector([512, 512, 2048])
        >>> projector(tf.random.normal([32, 128]), training=True).shape
        TensorShape([32, 2048])

    References:
        Zbontar et al. (2021), "Barlow Twins: Self-Supervised Learning via Redundancy
        Reduction", https://arxiv.org/abs/2103.03230, section 3.
    """

    def __init__(
        self,
        units: Sequence[int] = (512, 512, 512),
        *,
        activation: str | Callable[[tf.Tensor], tf.Tensor] = "relu",
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        if isinstance(units, str) or not isinstance(units, Sequence):
            raise TypeError(f"units must be a list of integers, but it is {units!r}.")
        if not units:
            raise ValueError("units must have at least one width, but it is empty.")
        self.units = tuple(
            _checks.integer("units", width, at_least=1) for width in units
        )
        self.activation = tf.keras.activations.get(activation)
        self.input_spec = tf.keras.layers.InputSpec(ndim=2)
        self._dense = [
            tf.keras.layers.Dense(
                width, use_bias=False, dtype=self.dtype_policy, name=f"dense_{index}"
            )
            for index, width in enumerate(self.units)
        ]
        # Momentum and epsilon as in the original implementation. Keras' epsilon of 1e-3
        # would exceed the variance of the embeddings of a fresh encoder.
        self._norms = [
            tf.keras.layers.BatchNormalization(
                momentum=0.9,
                epsilon=1e-5,
                synchronized=True,
                dtype=self.dtype_policy,
                name=f"norm_{index}",
            )
            for index in range(len(self.units) - 1)
        ]

    def build(self, input_shape: Any) -> None:
        """Creates all weights, for embeddings `input_shape[-1]` wide."""
        width = input_shape[-1]
        for dense in self._dense:
            build_layer(dense, [None, width])
            width = dense.units
        for norm, width in zip(self._norms, self.units, strict=False):
            build_layer(norm, [None, width])
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Projects embeddings.

        Args:
            inputs: `[batch, dim]` embeddings.
            training: Whether batch normalization uses the statistics of this batch, and
                updates its moving averages, or uses these averages.

        Returns:
            The projections, `[batch, units[-1]]`.
        """
        outputs = inputs
        for dense, norm in zip(self._dense, self._norms, strict=False):
            outputs = self.activation(norm(dense(outputs), training=training))
        return self._dense[-1](outputs)

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        """Returns `[batch, units[-1]]`."""
        return tf.TensorShape([tf.TensorShape(input_shape)[0], self.units[-1]])

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {
            **super().get_config(),
            "units": self.units,
            "activation": tf.keras.activations.serialize(self.activation),
        }
