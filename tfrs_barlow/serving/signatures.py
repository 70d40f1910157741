"""The signatures of an export, one for each form of request."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrs_barlow.serving.items import ItemTable
from tfrs_barlow.serving.requests import RequestOptions, from_examples, from_ragged
from tfrs_barlow.serving.responses import Embedder, Recommender, Response

Signatures = dict[str, Any]
"""From the name of a signature to its `tf.function`."""

_EXAMPLES = tf.TensorSpec([None], tf.string, name="examples")


def embed_signatures(embedder: Embedder) -> Signatures:
    """Returns the signatures of an export without candidates."""
    items = embedder.items

    # Every form calls this one, so that the tower is traced and stored once.
    @tf.function(input_signature=[_history(items)])
    def respond(history: tf.Tensor) -> Response:
        return embedder.embed(history)

    @tf.function(input_signature=[_history(items)])
    def embed(history: tf.Tensor) -> Response:
        return respond(_dense(history))

    @tf.function(input_signature=_ragged_history(items))
    def embed_ragged(values: tf.Tensor, row_lengths: tf.Tensor) -> Response:
        return respond(from_ragged(values, row_lengths, items))

    unused = _options(items, k=1, exclude_history=False)

    @tf.function(input_signature=[_EXAMPLES])
    def embed_examples(examples: tf.Tensor) -> Response:
        return respond(from_examples(examples, items, unused)[0])

    return {
        "embed": embed,
        "embed_ragged": embed_ragged,
        "embed_examples": embed_examples,
        "serving_default": embed,
    }


def recommend_signatures(
    recommender: Recommender, *, default_k: int, exclude_history: bool
) -> Signatures:
    """Returns the signatures that an export with candidates has in addition."""
    table = recommender.embedder.items
    defaults = _options(table, default_k, exclude_history)
    # `k` and `exclude_history` have any rank: one number, or one for each row, which a
    # server that batches needs.
    k_spec = tf.TensorSpec(None, tf.int32, name="k")
    other_specs = [
        tf.TensorSpec([None, None], table.dtype, name="excluded"),
        tf.TensorSpec(None, tf.bool, name="exclude_history"),
    ]
    k_of_examples = tf.TensorSpec(None, tf.int64, name="k")

    @tf.function(input_signature=[_history(table), k_of_examples, *other_specs])
    def respond_graph(
        history: tf.Tensor,
        k: tf.Tensor,
        excluded: tf.Tensor,
        exclude_history: tf.Tensor,
    ) -> Response:
        options = RequestOptions(k, excluded, exclude_history)
        return recommender.recommend(history, options)

    def respond(
        history: tf.Tensor,
        k: tf.Tensor,
        excluded: tf.Tensor,
        exclude_history: tf.Tensor,
    ) -> Response:
        k = tf.cast(k, tf.int64)
        return respond_graph(history, k, _dense(excluded), exclude_history)

    @tf.function(input_signature=[_history(table), k_spec, *other_specs])
    def recommend(
        history: tf.Tensor,
        k: tf.Tensor = defaults.k,
        excluded: tf.Tensor = defaults.excluded,
        exclude_history: tf.Tensor = defaults.exclude_history,
    ) -> Response:
        return respond(_dense(history), k, excluded, exclude_history)

    @tf.function(input_signature=[*_ragged_history(table), k_spec, *other_specs])
    def recommend_ragged(
        values: tf.Tensor,
        row_lengths: tf.Tensor,
        k: tf.Tensor = defaults.k,
        excluded: tf.Tensor = defaults.excluded,
        exclude_history: tf.Tensor = defaults.exclude_history,
    ) -> Response:
        history = from_ragged(values, row_lengths, table)
        return respond(history, k, excluded, exclude_history)

    @tf.function(input_signature=[_EXAMPLES])
    def recommend_examples(examples: tf.Tensor) -> Response:
        history, options = from_examples(examples, table, defaults)
        return respond(history, *options)

    @tf.function(input_signature=[_history(table)])
    def serving_default(history: tf.Tensor) -> Response:
        return respond(_dense(history), *defaults)

    item_spec = tf.TensorSpec([None], table.dtype, name="items")

    @tf.function(input_signature=[item_spec, k_spec])
    def similar_items(items: tf.Tensor, k: tf.Tensor = defaults.k) -> Response:
        return recommender.similar_items(tf.ensure_shape(items, [None]), k)

    return {
        "recommend": recommend,
        "recommend_ragged": recommend_ragged,
        "recommend_examples": recommend_examples,
        "serving_default": serving_default,
        "similar_items": similar_items,
    }


def _options(items: ItemTable, k: int, exclude_history: bool) -> RequestOptions:
    # Only tensors become the defaults of a signature.
    return RequestOptions(
        k=tf.constant(k, tf.int32),
        excluded=tf.fill([1, 1], items.blank),
        exclude_history=tf.constant(exclude_history),
    )


def _history(items: ItemTable) -> tf.TensorSpec:
    return tf.TensorSpec([None, None], items.dtype, name="history")


def _ragged_history(items: ItemTable) -> list[tf.TensorSpec]:
    return [
        tf.TensorSpec([None], items.dtype, name="values"),
        tf.TensorSpec([None], tf.int64, name="row_lengths"),
    ]


def _dense(rows: tf.Tensor) -> tf.Tensor:
    # A session feeds whatever it is given, even if the signature has another shape.
    return tf.ensure_shape(rows, [None, None])
