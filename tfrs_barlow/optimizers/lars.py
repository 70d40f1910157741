"""Layer-wise adaptive rate scaling: the optimizer of Barlow Twins."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfrs_barlow import _checks

_BIAS_OR_NORM = re.compile(r"(^|/)(bias|beta|gamma)(/replica_\d+)?(:\d+)?$")


@tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
class LARS(tf.keras.optimizers.Optimizer):
    """Momentum with a step for every weight in proportion to the weight's norm.

    Large batches want large learning rates, at which the layer with the largest
    gradient relative to its weights diverges. LARS gives every weight matrix a separate
    rate. With the gradient g of a matrix w,

    - g <- g + weight_decay * w
    - g <- g * trust_coefficient * |w| / |g|, unless a norm is 0
    - m <- momentum * m + g
    - w <- w - learning_rate * m

    Biases and the scales and offsets of normalization layers get neither the decay nor
    this scaling, and `bias_learning_rate_factor` times the learning rate. A weight
    counts as one of them if it has at most one axis, or is named `bias`, `beta` or
    `gamma`: in Keras the biases of a GRU and of an attention layer have two axes.

    This is the algorithm of the Barlow Twins authors' program, and the defaults are
    theirs for a batch of 256. They raise the learning rate in proportion to the batch,
    warm it up linearly for ten epochs, and let it fall along a cosine to a thousandth.

    Args:
        learning_rate: A number of at least 0, or a schedule of the step.
        momentum: How much of the last update goes into the next, in [0, 1).
        weight_decay: The weight of the L2 penalty in the gradient, at least 0.
        trust_coefficient: The size of a step relative to the weight, at a learning rate
            of 1; above 0.
        bias_learning_rate_factor: What to multiply the learning rate by for biases and
            normalization, which are not scaled down; at least 0.
        name: The name of the optimizer.
        **kwargs: Passed on to `tf.keras.optimizers.Optimizer`, such as
            `global_clipnorm` and `use_ema`.

    Examples:
        >>> batch_size, steps_per_epoch, epochs = 2048, 100, 1000
        >>> rate = tf.keras.optimizers.schedules.CosineDecay(
        ...     initial_learning_rate=0.0,
        ...     warmup_target=0.2 * batch_size / 256,
        ...     warmup_steps=10 * steps_per_epoch,
        ...     decay_steps=(epochs - 10) * steps_per_epoch,
        ...     alpha=1e-3,
        ... )
        >>> optimizer = tfrsb.optimizers.LARS(rate)
        >>> weights = tf.Variable([[3.0, 4.0]])
        >>> optimizer.apply_gradients([(tf.constant([[1.0, 0.0]]), weights)])
        <tf.Variable ... numpy=1>

    References:
        - You et al. (2017), "Large Batch Training of Convolutional Networks",
          https://arxiv.org/abs/1708.03888.
        - Zbontar et al. (2021), "Barlow Twins: Self-Supervised Learning via Redundancy
          Reduction", section 2.2, https://arxiv.org/abs/2103.03230.
    """

    def __init__(
        self,
        learning_rate: float | tf.keras.optimizers.schedules.LearningRateSchedule = 0.2,
        *,
        momentum: float = 0.9,
        weight_decay: float = 1e-6,
        trust_coefficient: float = 1e-3,
        bias_learning_rate_factor: float = 0.024,
        name: str = "LARS",
        **kwargs: Any,
    ) -> None:
        schedule = tf.keras.optimizers.schedules.LearningRateSchedule
        if not isinstance(learning_rate, schedule):
            _checks.number("learning_rate", learning_rate, at_least=0)
        _checks.number("weight_decay", weight_decay, at_least=0)
        super().__init__(name=name, weight_decay=weight_decay, **kwargs)
        self._learning_rate = self._build_learning_rate(learning_rate)
        self.momentum = _checks.number("momentum", momentum, at_least=0, below=1)
        self.trust_coefficient = _checks.number(
            "trust_coefficient", trust_coefficient, above=0
        )
        self.bias_learning_rate_factor = _checks.number(
            "bias_learning_rate_factor", bias_learning_rate_factor, at_least=0
        )

    def build(self, var_list: Sequence[tf.Variable]) -> None:
        """Creates a momentum for every variable."""
        super().build(var_list)
        if getattr(self, "_built", False):
            return
        self.momentums = [
            self.add_variable_from_reference(variable, "m") for variable in var_list
        ]
        self._built = True

    def update_step(
        self, gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable
    ) -> None:
        """Makes one step of one variable."""
        # Norm, decay and momentum of an embedding table need all of its rows.
        gradient = tf.convert_to_tensor(gradient)
        rate = tf.cast(self.learning_rate, variable.dtype)
        if variable.shape.rank <= 1 or _BIAS_OR_NORM.search(variable.name):
            rate = rate * self.bias_learning_rate_factor
        else:
            if self._use_weight_decay(variable):
                gradient = gradient + self.weight_decay * variable
            gradient = gradient * self._trust_ratio(variable, gradient)
        momentum = self.momentums[self._index_dict[self._var_key(variable)]]
        momentum.assign(self.momentum * momentum + gradient)
        variable.assign_sub(rate * momentum)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {
            **super().get_config(),
            "learning_rate": self._serialize_hyperparameter(self._learning_rate),
            "momentum": self.momentum,
            "trust_coefficient": self.trust_coefficient,
            "bias_learning_rate_factor": self.bias_learning_rate_factor,
        }

    def _trust_ratio(self, variable: tf.Variable, gradient: tf.Tensor) -> tf.Tensor:
        weight_norm = tf.norm(tf.cast(variable, tf.float32))
        gradient_norm = tf.norm(tf.cast(gradient, tf.float32))
        ratio = tf.where(
            (weight_norm > 0) & (gradient_norm > 0),
            self.trust_coefficient * weight_norm / gradient_norm,
            1.0,
        )
        return tf.cast(ratio, variable.dtype)

    def _apply_weight_decay(self, variables: Sequence[tf.Variable]) -> None:
        """Does nothing: the decay is a part of the gradient."""
