"""Learning rates that differ by layer, for any optimizer of Keras."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfrs_barlow import _checks

LearningRateSchedule = tf.keras.optimizers.schedules.LearningRateSchedule
Multiplier = float | Callable[[tf.Tensor], tf.Tensor]

_OF_KERAS = (
    tf.keras.optimizers.Adadelta,
    tf.keras.optimizers.Adafactor,
    tf.keras.optimizers.Adagrad,
    tf.keras.optimizers.Adam,
    tf.keras.optimizers.AdamW,
    tf.keras.optimizers.Adamax,
    tf.keras.optimizers.Nadam,
    tf.keras.optimizers.RMSprop,
    tf.keras.optimizers.SGD,
)


def discriminative(
    optimizer: tf.keras.optimizers.Optimizer,
    multipliers: Mapping[tf.keras.layers.Layer, Multiplier],
) -> tf.keras.optimizers.Optimizer:
    """Returns an optimizer that trains some layers at other learning rates.

    So a pretrained encoder is fine-tuned without being forgotten: at a lower rate than
    new layers, or not at all for the first steps. The rate itself is multiplied, not
    the gradient, which optimizers such as Adam would scale back. A multiplier may be a
    schedule of the step that freezes and unfreezes a layer: the moments of a frozen
    layer are still estimated, so that its first step is of the usual size. Since only
    the step decides, an interrupted run continues at the right rates. (To freeze a
    layer for good, `layer.trainable = False` is cheaper.)

    The result is of a subclass of the class of `optimizer`, so schedules, callbacks,
    clipping, weight decay (which is multiplied too), checkpoints and strategies work
    as usual. Its `learning_rate` is that of all other layers. `get_config` identifies
    weights by their index in the list the optimizer was built with, so call it after
    `build`.

    Args:
        optimizer: Any `tf.keras.optimizers.Optimizer` but Ftrl, which divides by its
            rate. It must not be built yet, and is not changed.
        multipliers: What to multiply the learning rate of each layer by: a number of
            at least 0, or a function of the step, such as a `LearningRateSchedule`.
            (Of the functions, only schedules can be serialized.)

    Returns:
        The optimizer.

    Raises:
        TypeError: If `optimizer` is not such an optimizer, `multipliers` is not a
            mapping, a key is not a layer, or a multiplier is not a number.
        ValueError: If `optimizer` is built, or a multiplier is negative. At `build`: if
            a layer has no weight that is trained, or shares one with another layer.

    Examples:
        >>> encoder = tfrsb.layers.ItemPoolingEncoder(
        ...     vocabulary_size=10, output_dim=4, pooling="mean"
        ... )
        >>> frozen_at_first = tf.keras.optimizers.schedules.PiecewiseConstantDecay(
        ...     boundaries=[99],
        ...     values=[0.0, 0.1],  # Steps count from 0.
        ... )
        >>> optimizer = tfrsb.optimizers.discriminative(
        ...     tf.keras.optimizers.Adam(1e-3), {encoder: frozen_at_first}
        ... )
        >>> model = tfrsb.models.DualEncoder(encoder, tf.keras.layers.Embedding(10, 4))
        >>> model.compile(optimizer)

    References:
        - Howard and Ruder (2018), "Universal Language Model Fine-tuning for Text
          Classification", https://arxiv.org/abs/1801.06146.
    """
    if not isinstance(optimizer, tf.keras.optimizers.Optimizer) or isinstance(
        optimizer,
        (
            tf.keras.optimizers.Ftrl,
            tf.keras.mixed_precision.LossScaleOptimizer,
            _Discriminative,
        ),
    ):
        raise TypeError(
            "optimizer must be a tf.keras.optimizers.Optimizer (not Ftrl, not a legacy "
            "one, not wrapped in another, and not discriminative already), but it is a "
            f"{type(optimizer).__name__}."
        )
    if getattr(optimizer, "_built", False):
        raise ValueError(
            "optimizer must be new, but it is built: its state would be lost."
        )
    mapping: type = Mapping
    _checks.instance("multipliers", multipliers, mapping)
    for layer, multiplier in multipliers.items():
        _checks.instance("Each key of multipliers", layer, tf.keras.layers.Layer)
        if not callable(multiplier):
            _checks.number(f"multipliers[{layer.name!r}]", multiplier, at_least=0)
    base: Any = type(optimizer)
    changed = _subclass(base).from_config(optimizer.get_config())
    # Set by methods, these are not part of the configuration.
    for exclusion in ("_exclude_from_weight_decay", "_exclude_from_weight_decay_names"):
        if hasattr(optimizer, exclusion):
            setattr(changed, exclusion, getattr(optimizer, exclusion))
    changed.rates.by_layer = dict(multipliers)
    return changed


@dataclasses.dataclass
class _Rates:
    """The multipliers of an optimizer.

    They are kept in a separate object because an optimizer would take layers that are
    its attributes for a part of its checkpoints.

    Attributes:
        by_layer: Multipliers by layer, before the optimizer is built.
        by_index: Multipliers by the index of a weight, once it is built or loaded.
        current: The multiplier of the weight being updated.
    """

    by_layer: dict[tf.keras.layers.Layer, Multiplier] = dataclasses.field(
        default_factory=dict
    )
    by_index: dict[int, Multiplier] = dataclasses.field(default_factory=dict)
    current: Multiplier | None = None


class _Discriminative:
    """A mixin for optimizers, which sets the learning rate they use for each weight."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.rates = _Rates()
        super().__init__(*args, **kwargs)

    @property
    def learning_rate(self) -> tf.Tensor:
        """The learning rate; while a weight is updated, that of the weight."""
        rate = super().learning_rate  # type: ignore[misc]
        multiplier = self.rates.current
        if multiplier is None:
            return rate
        if callable(multiplier):
            multiplier = multiplier(self.iterations)  # type: ignore[attr-defined]
        return rate * tf.cast(multiplier, rate.dtype)

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        # An overridden property offers no other way to its setter.
        base = tf.keras.optimizers.Optimizer.learning_rate
        base.fset(self, value)

    def build(self, var_list: Sequence[tf.Variable]) -> None:
        """Creates the state and looks up the weights of the layers."""
        super().build(var_list)  # type: ignore[misc]
        if not self.rates.by_index:
            self.rates.by_index = self._indices(self.rates.by_layer)
        elif max(self.rates.by_index) >= len(var_list):
            raise ValueError(
                f"The optimizer was saved with rates for {max(self.rates.by_index) + 1}"
                f" weights or more, but the model trains {len(var_list)}."
            )

    def update_step(self, gradient: Any, variable: tf.Variable) -> None:
        """Updates a variable at its own rate."""
        with self._at(variable):
            super().update_step(gradient, variable)  # type: ignore[misc]

    def get_config(self) -> dict[str, Any]:
        """Returns the configuration, with multipliers by the index of a weight."""
        rates = self.rates
        if rates.by_layer and not rates.by_index:
            raise ValueError(
                "The rates of layers can be serialized once the optimizer is built: "
                "call optimizer.build(model.trainable_variables) first."
            )
        return {
            **super().get_config(),  # type: ignore[misc]
            "multipliers": [
                [index, _serialize(multiplier)]
                for index, multiplier in rates.by_index.items()
            ],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """Makes an optimizer from what `get_config` returned."""
        config = dict(config)
        multipliers = config.pop("multipliers", [])
        optimizer = super().from_config(config, custom_objects)  # type: ignore[misc]
        deserialize = tf.keras.saving.deserialize_keras_object
        optimizer.rates.by_index = {
            index: deserialize(multiplier, custom_objects)
            for index, multiplier in multipliers
        }
        return optimizer

    def _apply_weight_decay(self, variables: Sequence[tf.Variable]) -> None:
        for variable in variables:
            with self._at(variable):
                super()._apply_weight_decay([variable])  # type: ignore[misc]

    @contextlib.contextmanager
    def _at(self, variable: tf.Variable) -> Iterator[None]:
        """Makes `learning_rate` return that of a variable."""
        self.rates.current = self.rates.by_index.get(self._index(variable))
        try:
            yield
        finally:
            self.rates.current = None

    def _index(self, variable: tf.Variable) -> int:
        key = self._var_key(variable)  # type: ignore[attr-defined]
        return self._index_dict.get(key, -1)  # type: ignore[attr-defined]

    def _indices(
        self, by_layer: Mapping[tf.keras.layers.Layer, Multiplier]
    ) -> dict[int, Multiplier]:
        owners: dict[int, tf.keras.layers.Layer] = {}
        for layer in by_layer:
            indices = {self._index(weight) for weight in layer.trainable_weights} - {-1}
            if not indices:
                raise ValueError(
                    f"The optimizer has a rate for {layer.name!r} but trains no weight "
                    "of it: the layer is frozen, or not a part of the model."
                )
            for index in indices:
                if index in owners:
                    raise ValueError(
                        f"The layers {owners[index].name!r} and {layer.name!r} share a "
                        "weight but have different rates: name one of them."
                    )
                owners[index] = layer
        return {index: by_layer[layer] for index, layer in owners.items()}


@functools.cache
def _subclass(base: Any) -> Any:
    """Returns the class of optimizers like `base` with rates by layer."""
    name = f"Discriminative{base.__name__}"
    subclass = type(name, (_Discriminative, base), {"__doc__": base.__doc__})
    register = tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
    return register(subclass)


# Registers their classes for programs that only load them.
for _base in _OF_KERAS:
    _subclass(_base)


def _serialize(multiplier: Multiplier) -> Any:
    if callable(multiplier) and not isinstance(multiplier, LearningRateSchedule):
        raise ValueError(
            "A multiplier can be serialized if it is a number or a "
            f"LearningRateSchedule, but one is {multiplier}."
        )
    return tf.keras.saving.serialize_keras_object(multiplier)
