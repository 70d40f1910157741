"""The one place where a part of a request becomes a tensor.

A client can send anything. TensorFlow ends the process for some of it, so types, ranks
and depths are checked against the signature before a tensor is made.
"""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

_HIGHEST_RANK = 8
"""Of an input whose signature leaves the rank open."""


def to_tensor(name: str, value: Any, info: Any) -> tf.Tensor:
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
        value = _decoded(value, rank)
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


def _decoded(value: Any, depth: int) -> Any:
    """Returns lists with `{"b64": ...}` as bytes, at most `depth` of them nested."""
    if isinstance(value, list):
        if not depth:
            raise ValueError("its lists are nested more deeply.")
        return [_decoded(item, depth - 1) for item in value]
    if isinstance(value, dict) and value.keys() == {"b64"}:
        return base64.b64decode(value["b64"], validate=True)
    return value
