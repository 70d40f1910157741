"""What a training run is made of, as far as a backup can be compared with it."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import json
import logging
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_barlow.layers.augmentation.two_views import TwoViews

IGNORED = {
    "first batch": "make_batches gives another first batch",
    "seeds of views": "the views draw from other seeds",
}
"""The settings whose change is only said: they may be drawn anew by every process."""


def run_settings(
    model: tf.keras.Model, make_batches: Callable[..., tf.data.Dataset], batch: Any
) -> dict[str, Any]:
    """Returns the settings of a run, as JSON can hold them.

    They are the class of the optimizer, the views, the first batch, and the arguments
    of a `functools.partial`: numbers and strings as they are, arrays by their checksum.
    Other objects and paths are not compared, since equal ones may look different.
    """
    views = [layer for layer in model.submodules if isinstance(layer, TwoViews)]
    configs: Any = [_without(("name", "seed"), layer.get_config()) for layer in views]
    return {
        "optimizer": _class_name(model.optimizer),
        "views": _digest(configs),
        # A layer within draws from the seeds that these pass on.
        "seeds of views": [layer.seed for layer in views],
        "first batch": _digest(tf.nest.flatten(batch, expand_composites=True)),
        **_arguments(make_batches),
    }


def require_same_run(
    then: Mapping[str, Any], now: Mapping[str, Any], path: pathlib.Path
) -> None:
    """Compares the settings in a backup with those of the run that restores it.

    Raises:
        ValueError: If a setting is another one, and not among `IGNORED`; names it.
    """
    changed = [name for name in then if name in now and then[name] != now[name]]
    for name in changed:
        if name not in IGNORED:
            raise ValueError(
                f"{name} must be what it was in the run that wrote {path}: "
                f"{then[name]}, but it is {now[name]}. Choose another backup_dir, or "
                "delete this one."
            )
    for name in changed:
        logging.getLogger("tfrs_barlow").warning(
            "Since %s was written, %s. This is ignored, but the run will not end at "
            "the weights of an uninterrupted one.",
            path,
            IGNORED[name],
        )


def _class_name(optimizer: Any) -> str:
    return f"{type(optimizer).__module__}.{type(optimizer).__qualname__}"


def _arguments(make_batches: Callable[..., tf.data.Dataset]) -> dict[str, Any]:
    """Returns the arguments bound to `make_batches`, if they can be compared."""
    if not isinstance(make_batches, functools.partial):
        return {}
    signature = inspect.signature(make_batches.func)
    bound = signature.bind_partial(*make_batches.args, **make_batches.keywords)
    bound.apply_defaults()
    return {
        name: value if _is_plain(value) else _digest(value)
        for name, value in bound.arguments.items()
        if name != "first_step" and _is_comparable(value) and not _is_path(value)
    }


def _is_comparable(value: Any) -> bool:
    """Whether two such values are equal if their checksums are."""
    if dataclasses.is_dataclass(value):
        value = [getattr(value, field.name) for field in dataclasses.fields(value)]
    if isinstance(value, Mapping):
        value = list(value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_comparable, value))
    return _is_plain(value) or isinstance(value, np.ndarray | np.generic | tf.Tensor)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def _is_path(value: Any) -> bool:
    """Whether it may be another path to the same files."""
    return isinstance(value, os.PathLike) or (
        isinstance(value, str) and pathlib.Path(value).exists()
    )


def _digest(value: Any) -> str:
    """Returns a checksum of arrays, dataclasses, and lists and dicts of them."""
    state = hashlib.sha256()

    def update(part: Any) -> None:
        if dataclasses.is_dataclass(part):
            part = [getattr(part, field.name) for field in dataclasses.fields(part)]
        if isinstance(part, Mapping):
            part = sorted(part.items())
        if isinstance(part, list | tuple):
            state.update(f"{len(part)}[".encode())
            for one in part:
                update(one)
            return
        array = np.asarray(part)
        state.update(f"{array.dtype}{array.shape}".encode())
        if array.dtype == object:
            state.update(json.dumps(array.tolist(), default=str).encode())
        else:
            state.update(np.ascontiguousarray(array).tobytes())

    update(value)
    return f"checksum {state.hexdigest()[:16]}"


def _without(names: tuple[str, ...], config: Any) -> Any:
    """Returns a configuration without some names, at any depth."""
    if isinstance(config, Mapping):
        return {k: _without(names, v) for k, v in config.items() if k not in names}
    if isinstance(config, list | tuple):
        return [_without(names, one) for one in config]
    return config
