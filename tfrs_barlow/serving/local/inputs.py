"""The one place where a part of a request becomes a tensor.

A client can send anything. TensorFlow ends the process for some of it, so types, ranks
and depths are checked against the signature before a tensor is made.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.framework import tensor_pb2

MAX_BODY_BYTES = 16 * 2**20
MAX_ELEMENTS = 2**20
"""Of a tensor, and of a request: its rows times their width."""

_HIGHEST_RANK = 8
"""Of an input whose signature leaves the rank open."""

_ROW = 1024
"""The least width of a row: the tower and a block of candidates cost as much."""

_OF_JSON = {"i": (int,), "f": (int, float), "b": (bool,), "O": (str, bytes)}
"""The types of elements, by the kind of an input's NumPy type."""


def to_tensor(
    name: str, value: Any, info: Any, max_elements: int = MAX_ELEMENTS
) -> tf.Tensor:
    """Returns an input of a request as a tensor that fits a `TensorInfo`.

    `value` is a tensor, a `TensorProto`, or what a JSON document holds. A ValueError
    names the input.
    """
    dtype, shape = tf.as_dtype(info.dtype), tf.TensorShape(info.tensor_shape)
    if isinstance(value, tf.Tensor):
        _check(name, value.dtype, value.shape, dtype, shape)
        return value
    if isinstance(value, tensor_pb2.TensorProto):
        sizes = [dim.size if dim.size >= 0 else None for dim in value.tensor_shape.dim]
        own_shape = tf.TensorShape(None if value.tensor_shape.unknown_rank else sizes)
        _check(name, tf.as_dtype(value.dtype), own_shape, dtype, shape)
        # Sizes of 0 are not free, and the last string stands for all that are missing.
        size, strings = math.prod(size or 1 for size in sizes), value.string_val
        repeated = (size - len(strings)) * len(strings[-1]) if strings else 0
        if max(size, repeated) > max_elements:
            raise ValueError(f"{name} must have at most {max_elements} elements.")
        return tf.constant(tf.make_ndarray(value))
    tensor = _from_json(name, value, dtype, shape)
    _check(name, tensor.dtype, tensor.shape, dtype, shape)
    return tensor


def _check(
    name: str,
    own_dtype: tf.DType,
    own_shape: tf.TensorShape,
    dtype: tf.DType,
    shape: tf.TensorShape,
) -> None:
    is_full = own_shape.is_fully_defined() and own_shape.rank <= _HIGHEST_RANK
    if not is_full or own_dtype != dtype or not shape.is_compatible_with(own_shape):
        found = f"{own_dtype.name} of shape {own_shape}"
        raise ValueError(
            f"{name} must be {dtype.name} of shape {shape}, but it is {found}."
        )


def _from_json(
    name: str, value: Any, dtype: tf.DType, shape: tf.TensorShape
) -> tf.Tensor:
    rank = _HIGHEST_RANK if shape.rank is None else shape.rank
    try:
        # NumPy would make all elements as wide as the longest string among them.
        kinds = _OF_JSON[np.dtype(dtype.as_numpy_dtype).kind]
        value = _decoded(value, rank, kinds)
        if dtype == tf.string:
            return tf.constant(value, tf.string)
        array, target = np.array(value), np.dtype(dtype.as_numpy_dtype)
        if array.size and array.dtype.kind != target.kind:
            raise ValueError("it holds others.")
        cast = array.astype(target)
        if (cast != array).any():
            raise ValueError("a number is too large.")
        return tf.constant(cast)
    except (TypeError, ValueError) as error:
        of_shape = f"{dtype.name} tensor of shape {shape}"
        raise ValueError(f"{name} must be a {of_shape}: {error}") from None


def _decoded(value: Any, depth: int, kinds: tuple[type, ...]) -> Any:
    """Returns lists with `{"b64": ...}` as bytes, at most `depth` of them nested."""
    if isinstance(value, list):
        if not depth:
            raise ValueError("its lists are nested more deeply.")
        return [_decoded(item, depth - 1, kinds) for item in value]
    if isinstance(value, dict) and value.keys() == {"b64"}:
        value = base64.b64decode(value["b64"], validate=True)
    if type(value) not in kinds:
        raise ValueError(f"it holds a {type(value).__name__}.")
    return value


def check_size(tensors: Mapping[str, tf.Tensor], max_elements: int) -> None:
    """Refuses inputs that are small, but not what is computed of them.

    One long history widens all rows, and `k` is the width of the response.
    """
    rows, width = 1, _ROW
    for name, tensor in tensors.items():
        if name in ("k", "row_lengths"):
            width = max(width, int(tensor.numpy().max(initial=0)))
        if name == "excluded" and tensor.dtype == tf.string and len(tensor) == 1:
            width = max(width, sum(map(len, tensor.numpy()[0])))  # Copied to all rows.
        if name != "values":  # Their rows are in `row_lengths`.
            rows = max([rows, *tensor.shape[:1]])
            width = max([width, *tensor.shape[1:]])
        if name == "examples" and rows * width <= max_elements:
            width = max([width, *map(_width, tensor.numpy())])
    if rows * width > max_elements:
        raise ValueError(
            f"A request must have at most {max_elements} elements, but it has {rows} "
            f"rows of {width}."
        )


def _width(serialized: bytes) -> int:
    """Returns how wide a `tf.train.Example` makes all rows of a request."""
    try:
        features = tf.train.Example.FromString(serialized).features.feature
    except DecodeError:
        return 0  # The model says what is wrong.
    sizes = [
        len(one.int64_list.value or one.bytes_list.value) for one in features.values()
    ]
    return max([0, *sizes, *features["k"].int64_list.value])
