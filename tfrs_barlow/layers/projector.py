"""The projector: the network between encoder and Barlow Twins loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tfrs_barlow._checks import checked_integer
from tfrs_barlow.layers._build import build_layer


@tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
class Projector(tf.keras.layers.Layer):
    """Maps embeddings to the space in which Barlow Twins compares two views.

    Every layer but the last is linear without bias, batch normalization, activation;
    the last is linear without bias. Once pretraining is done the projector is thrown
    away: probes, fine-tuning and serving read the encoder.

    Batch normalization takes its statistics over all replicas, since the loss under
    `tf.distribute` is that of the global batch.

    References:
        Zbontar et al., "Barlow Twins: Self-Supervised Learning via Redundancy
        Reduction", 2021, section 3, https://arxiv.org/abs/2103.03230.

    Example:
        >>> projector = tfrsb.layers.Projector([512, 512, 2048])
        >>> projector(tf.random.normal([32, 128]), training=True).shape
        TensorShape([32, 2048])
    """

    def __init__(
        self,
        units: Sequence[int] = (512, 512, 512),
        activation: str | Callable[[tf.Tensor], tf.Tensor] = "relu",
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Initializes the projector.

        Args:
            units: The width of every layer, the last being that of the output.
            activation: The activation, as `tf.keras.layers.Dense` takes it.
            name: The name of the layer.
            **kwargs: The arguments of `tf.keras.layers.Layer`.

        Raises:
            ValueError: If `units` is empty or not all positive integers, or
                `activation` is unknown.
        """
        super().__init__(name=name, **kwargs)
        if not units:
            raise ValueError("units must hold at least one width, but it is empty.")
        self.units = tuple(checked_integer("units", width) for width in units)
        self.activation = tf.keras.activations.get(activation)
        self.input_spec = tf.keras.layers.InputSpec(ndim=2)
        self._dense = [
            tf.keras.layers.Dense(
                width, use_bias=False, dtype=self.dtype_policy, name=f"dense_{index}"
            )
            for index, width in enumerate(self.units)
        ]
        # Momentum and epsilon are those of the original implementation. Keras' epsilon
        # of 1e-3 would outweigh the variance that a fresh encoder comes with.
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
        """Creates all weights, for embeddings as wide as `input_shape` ends."""
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
            inputs: Embeddings of shape [batch, dim].
            training: Whether batch normalization goes by this batch, and learns from
                it, or by what it has learned.

        Returns:
            The projections, of shape [batch, units[-1]].
        """
        outputs = inputs
        for dense, norm in zip(self._dense, self._norms, strict=False):
            outputs = self.activation(norm(dense(outputs), training=training))
        return self._dense[-1](outputs)

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        """Returns [batch, units[-1]]."""
        return tf.TensorShape([tf.TensorShape(input_shape)[0], self.units[-1]])

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make a projector like this one."""
        return {
            **super().get_config(),
            "units": self.units,
            "activation": tf.keras.activations.serialize(self.activation),
        }
