"""A trained query tower as a SavedModel that turns raw histories into items."""

from __future__ import annotations

import os
import pathlib
from typing import Literal

import numpy.typing as npt
import tensorflow as tf

from tfrs_barlow._checks import boolean, integer, one_of
from tfrs_barlow.data import Vocabulary
from tfrs_barlow.serving import manifest, versions
from tfrs_barlow.serving.items import tokens_of
from tfrs_barlow.serving.manifest import Description
from tfrs_barlow.serving.responses import Embedder, Recommender
from tfrs_barlow.serving.scann import INDEXES, ScannIndex, recall
from tfrs_barlow.serving.signatures import embed_signatures, recommend_signatures
from tfrs_barlow.serving.tf_serving import write_configuration, write_warmup_requests
from tfrs_barlow.serving.towers import (
    Tower,
    candidate_embeddings,
    embedding_dim,
    inference,
    refuse_python,
    state,
)


def export(
    query_tower: Tower,
    path: str | os.PathLike[str],
    *,
    vocabulary: Vocabulary,
    candidates: npt.ArrayLike | tf.Tensor | Tower | None = None,
    popularity: npt.ArrayLike | None = None,
    max_length: int = 100,
    default_k: int = 10,
    exclude_history: bool = True,
    index: Literal["exact", "scann"] = "exact",
) -> pathlib.Path:
    """Writes a new version of a SavedModel that needs nothing but TensorFlow.

    The model takes histories `[batch, any length]` of items as users know them, the
    oldest first: strings or int64 integers, by the type of the vocabulary. `""`, every
    negative integer, and 0 unless it is an item, are padding and may stand anywhere.
    The last `max_length` items count, unknown ones included. The signatures:

    - `embed(history)` returns `embedding`, `[batch, dim]` float32.
    - `recommend(history, k, excluded, exclude_history)` returns the items with the
      largest inner products, best first: `ids`, `[batch, k]`, as users know them, and
      `scores`, `[batch, k]` float32. Of equal items the first in the vocabulary comes
      first. It leaves out the items in the row of `excluded`, `[batch or 1, any]`, and
      those of the whole history if `exclude_history`. If fewer than `k` items are left,
      the row ends in `""` or -1 with the score -inf.
    - `similar_items(items, k)` returns `ids` and `scores`, `[batch, k]`: the candidates
      with the largest cosine to each of `items`, `[batch]`.
    - `serving_default(history)` is `recommend` with the defaults, or `embed` if there
      are no candidates.
    - `embed_ragged` and `recommend_ragged` take the histories as `values`, `[items]`,
      and `row_lengths`, `[batch]` int64.
    - `embed_examples` and `recommend_examples` take `examples`, `[batch]`: serialized
      `tf.train.Example`s with the features `history`, `k`, `excluded` and
      `exclude_history`, each of which may be missing.

    `k` (int32, from 1 to the number of items) and `exclude_history` (bool) are one
    value for the batch or one for each row, `[batch]`. Rows are as wide as the largest
    `k`, and padded past their own.

    Every response has `cold_start`, `[batch]` bool: true if none of the items that
    count is known. Then `recommend` returns the most popular items, with their
    popularity as scores, and so does `similar_items` for an item that is not a
    candidate. Without `popularity`, `recommend` ranks by the embedding of such a
    history, and `similar_items` returns padding.

    A bad request fails with INVALID_ARGUMENT. Only the weights that inference reads are
    written: no optimizer, no metrics. Each version also holds warm-up requests for
    TensorFlow Serving, and checksums for `load` and `verify`. The folder of the
    versions gets `models.config` and `batching_parameters.txt`, which you may edit.

    Args:
        query_tower: Called with int32 ids `[batch, max_length]`, padded on the right
            with `PADDING_ID`, and with `training=False` if it has such an argument.
            Returns embeddings `[batch, dim]`, finite ones even for an empty history,
            which is a row of padding.
        path: A local folder for the versions; made if it does not exist. The first
            version is `path/1`, the next `path/2`. It appears when it is complete.
        vocabulary: The items that the tower was trained on.
        candidates: The embeddings of all items, in the order of the vocabulary: a
            matrix `[len(vocabulary), dim]`, or a candidate tower that makes it from
            ids `[batch]`. If None, only `embed` and its forms exist.
            `replace_candidates` replaces them later.
        popularity: `[len(vocabulary)]`, how popular each item is, such as in how many
            histories it occurs.
        max_length: How many items of a history the query tower reads.
        default_k: The `k` of a request without one, if the runtime honors the defaults
            of a signature. At most the number of items.
        exclude_history: The same for `exclude_history`.
        index: How `recommend` searches the candidates. `"exact"` scores them all.
            `"scann"` is approximate, and faster for millions of them; `verify` returns
            the share of the best ten that it finds. It needs the extra `scann`, and
            the server of the model needs the operations of ScaNN.

    Returns:
        The folder of the version.

    Raises:
        TypeError: If an argument has a wrong type.
        ValueError: If `path` is a URL; if `index` is unknown; if `max_length` or
            `default_k` is less than 1; if an item of the vocabulary stands for
            padding; if the query tower returns anything but a finite `[batch, dim]`
            tensor, or calls Python; or if `candidates` or `popularity` are not finite
            or have another shape.
        NotADirectoryError: If `path` is a file.
        OSError: If a file cannot be written, such as on a full disk.
        ImportError: If `index` is `"scann"` and ScaNN is not installed, or does not
            fit this TensorFlow.

    Examples:
        >>> import tempfile
        >>> vocabulary = tfrsb.data.Vocabulary(["Alien", "Brazil", "Casablanca"])
        >>> items = tf.keras.layers.Embedding(vocabulary.size, 4)
        >>> version = tfrsb.serving.export(
        ...     lambda ids: tf.reduce_mean(items(ids), axis=1),
        ...     tempfile.mkdtemp(),
        ...     vocabulary=vocabulary,
        ...     candidates=items,
        ... )
        >>> version.name
        '1'
        >>> model = tf.saved_model.load(version)
        >>> response = model.recommend(history=[["Alien", "Brazil"]], k=2)
        >>> response["ids"].numpy()
        array([[b'Casablanca', b'']], dtype=object)
    """
    folder = versions.local_folder(path)
    max_length = integer("max_length", max_length, at_least=1)
    default_k = integer("default_k", default_k, at_least=1)
    exclude_history = boolean("exclude_history", exclude_history)
    one_of("index", index, INDEXES)
    if not callable(query_tower):
        raise TypeError(f"query_tower must be callable, but it is {query_tower!r}.")
    tokens_of("vocabulary", vocabulary)
    infer = inference(query_tower)
    dim = embedding_dim(infer, max_length)
    default_k = min(default_k, len(vocabulary))
    model = tf.Module()
    model.embedder = Embedder(infer, vocabulary, max_length)
    functions = embed_signatures(model.embedder)
    found = None
    if candidates is None:
        if popularity is not None:
            raise ValueError("popularity must be None if candidates are None.")
    else:
        embeddings = candidate_embeddings(candidates, vocabulary)
        candidate_index = INDEXES[index](vocabulary, embeddings, popularity, dim)
        if isinstance(candidate_index, ScannIndex):
            found = recall(candidate_index, model.embedder.embed)
        model.recommender = Recommender(model.embedder, candidate_index)
        functions |= recommend_signatures(
            model.recommender, default_k=default_k, exclude_history=exclude_history
        )
    for name, function in functions.items():
        setattr(model, name, function)
    embed = functions["embed"].get_concrete_function()
    refuse_python(embed)
    model.tower_state = state(query_tower, embed)

    about = Description(
        dim=dim,
        max_length=max_length,
        default_k=default_k,
        exclude_history=exclude_history,
        item_type=model.embedder.items.dtype.name,
        candidates=None if candidates is None else len(vocabulary),
        popularity=popularity is not None,
        index=index,
        recall=found,
    )

    def write(draft: pathlib.Path) -> None:
        tf.saved_model.save(model, str(draft), functions)
        write_warmup_requests(draft, vocabulary, about)
        manifest.write(draft, about)
        write_configuration(folder)

    return versions.publish(folder, write)
