"""Towers as an export needs them: checked, and in inference mode."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfrs_barlow.data import Vocabulary
from tfrs_barlow.ids import FIRST_ITEM_ID, OUT_OF_VOCABULARY_ID, PADDING_ID

Tower = Callable[..., tf.Tensor]
"""A Keras layer or model, a `tf.Module` or a function: ids in, embeddings out."""

Inference = Callable[[tf.Tensor], tf.Tensor]
"""A function of ids alone."""

_CANDIDATES_PER_CALL = 4096


def inference(tower: Tower) -> Inference:
    """Returns `tower` as a function of ids alone, in inference mode."""
    call = tower.call if isinstance(tower, tf.keras.layers.Layer) else tower
    if "training" in inspect.signature(call).parameters:
        return lambda ids: tower(ids, training=False)
    return lambda ids: tower(ids)


def embedding_dim(infer: Inference, max_length: int) -> int:
    """Returns the dimension of the tower's embeddings, after checking a few of them.

    This call also builds a tower that has never been called: a function that is traced
    for export may not create variables.
    """
    padding = [PADDING_ID] * max_length
    firsts = {
        "an empty": PADDING_ID,
        "a one-item": FIRST_ITEM_ID,
        "an unknown item's": OUT_OF_VOCABULARY_ID,
    }
    ids = tf.constant([[first, *padding[1:]] for first in firsts.values()])
    embeddings = infer(ids)
    is_tensor = tf.is_tensor(embeddings)
    if not (is_tensor and embeddings.shape.rank == 2 and embeddings.shape[0] == 3):
        returned = embeddings.shape if is_tensor else type(embeddings).__name__
        raise ValueError(
            "query_tower must return a tensor of shape [batch, dim], but for ids of "
            f"shape {ids.shape} it returned {returned}."
        )
    for history, embedding in zip(firsts, embeddings, strict=True):
        if not np.isfinite(tf.cast(embedding, tf.float32)).all():
            raise ValueError(
                f"query_tower must return finite embeddings, but for {history} history "
                "it returned NaN or infinity. Does it divide by the number of items?"
            )
    return int(embeddings.shape[1])


def refuse_python(embed: Any) -> None:
    """Raises a ValueError if the concrete function `embed` calls back into Python."""
    graph = embed.graph.as_graph_def()
    nodes = [*graph.node]
    for function in graph.library.function:
        nodes.extend(function.node_def)
    python = {node.op for node in nodes} & {"PyFunc", "PyFuncStateless", "EagerPyFunc"}
    if python:
        raise ValueError(
            "query_tower must consist of TensorFlow operations, but it calls Python "
            f"({', '.join(sorted(python))}), which no server can do. Does it use "
            "tf.py_function or tf.numpy_function?"
        )


def state(tower: Tower, embed: Any) -> list[Any]:
    """Returns what the SavedModel must store for `embed` to run.

    To store the tower itself would make Keras trace and store every layer a second
    time, with the optimizer and the metrics of a compiled model.
    """
    modules = [tower, *tower.submodules] if isinstance(tower, tf.Module) else []
    tables = [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, tf.saved_model.experimental.TrackableResource)
    ]
    return [*embed.variables, *tables]


def candidate_embeddings(
    candidates: npt.ArrayLike | tf.Tensor | Tower, vocabulary: Vocabulary
) -> npt.ArrayLike | tf.Tensor:
    """Returns the embeddings of all items, from a tower or as given."""
    if not callable(candidates):
        return candidates
    infer = inference(candidates)
    starts = range(FIRST_ITEM_ID, vocabulary.size, _CANDIDATES_PER_CALL)
    batches = [
        tf.range(start, min(start + _CANDIDATES_PER_CALL, vocabulary.size))
        for start in starts
    ]
    return tf.concat([infer(ids) for ids in batches], axis=0)
