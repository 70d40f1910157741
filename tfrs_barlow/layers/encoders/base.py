"""What all encoders share: how they read sequences, and the embedding they return."""

from __future__ import annotations

import abc
from typing import Any

import tensorflow as tf

from tfrs_barlow import _checks
from tfrs_barlow.ids import FIRST_ITEM_ID, OUT_OF_VOCABULARY_ID, PADDING_ID
from tfrs_barlow.layers._build import build_layer
from tfrs_barlow.layers.encoders.hashed_embedding import HashedEmbedding
from tfrs_barlow.layers.encoders.item_embedding import ItemEmbedding
from tfrs_barlow.layers.encoders.pooling import (
    DECAYS,
    POOLING_NAMES,
    POOLINGS,
    AttentionPooling,
    Pooling,
)


class SequenceEncoder(tf.keras.layers.Layer, abc.ABC):
    """Turns user sequences into embeddings `[batch, output_dim]`.

    With the same weights, an encoder reads either

    - item ids: integers `[batch, length]`. `PADDING_ID` is padding wherever it stands,
      and an id without a row in the table counts as `OUT_OF_VOCABULARY_ID`; or
    - item embeddings: floats `[batch, length, embedding_dim]`, with a boolean `mask`
      `[batch, length]` (an argument, or passed on by Keras) that is true where a
      position is real. Without a mask all positions are real.

    Both may be `tf.RaggedTensor`s. Padding changes nothing, on either side or between
    items: a row encodes as its real items alone do, in their order. All rows without
    items have the same embedding, whatever their length.

    A subclass builds its layers in `build`, states the width of its states in
    `state_dim`, and computes them in `encode`. The embedding is one linear map of the
    pooled states. `ItemPoolingEncoder` is the smallest example.

    Args:
        vocabulary_size: The number of ids, reserved ids included: the rows of the item
            table (`Vocabulary.size`). None for an encoder that reads only embeddings.
        embedding_dim: The width of the item embeddings, looked up or given.
        output_dim: The width of the embedding of a sequence.
        dropout: The fraction of units that training sets to zero, in the item
            embeddings and after every layer.
        pooling: How the states of the real items become one vector: `"mean"`; `"last"`,
            the state of the most recent item; or `"attention"`, several means with
            learned weights, concatenated.
        hash_buckets: The rows of the item table if it shall have fewer rows than ids,
            for vocabularies of millions: see `HashedEmbedding`. None for one row per
            id.
        **kwargs: Passed on to `tf.keras.layers.Layer`.

    Attributes:
        item_embedding: The layer that looks ids up: a `tf.keras.layers.Embedding` or,
            with `hash_buckets`, a `HashedEmbedding`; None without a vocabulary. A
            candidate tower can share it or start from it.
        causal: Whether a state depends only on its own item and earlier ones.

    Raises:
        TypeError: If an argument has a wrong type.
        ValueError: If an argument is out of its range.

    Examples:
        >>> encoder = tfrsb.layers.ConvolutionEncoder(vocabulary_size=100, output_dim=8)
        >>> embeddings = encoder(tf.constant([[0, 0, 7, 9], [5, 8, 6, 0]]))
        >>> embeddings.shape
        TensorShape([2, 8])
        >>> ragged = encoder(tf.ragged.constant([[7, 9], [5, 8, 6]]))
        >>> bool(np.allclose(embeddings, ragged, atol=1e-6))
        True
        >>> encoder.item_embedding(tf.constant([7, 9])).shape
        TensorShape([2, 64])
    """

    causal = False

    def __init__(
        self,
        vocabulary_size: int | None = None,
        *,
        embedding_dim: int = 64,
        output_dim: int = 128,
        dropout: float = 0.0,
        pooling: Pooling = "mean",
        hash_buckets: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.embedding_dim = _checks.integer("embedding_dim", embedding_dim, at_least=1)
        self.output_dim = _checks.integer("output_dim", output_dim, at_least=1)
        self.dropout = _checks.number("dropout", dropout, at_least=0, below=1)
        self.pooling = _checks.one_of("pooling", pooling, POOLING_NAMES)
        self.vocabulary_size: int | None = None
        self.hash_buckets: int | None = None
        # Checked without a vocabulary too, where it has no effect.
        if hash_buckets is not None:
            self.hash_buckets = _checks.integer(
                "hash_buckets", hash_buckets, at_least=FIRST_ITEM_ID + 1
            )
        self.item_embedding: Any = None
        if vocabulary_size is not None:
            self.vocabulary_size = _checks.integer(
                "vocabulary_size", vocabulary_size, at_least=FIRST_ITEM_ID + 1
            )
            self.item_embedding = self._make_item_embedding(self.vocabulary_size)
        self._drop = tf.keras.layers.Dropout(self.dropout, dtype=self.dtype_policy)
        self._attention_pooling: Any = None
        if pooling == "attention":
            self._attention_pooling = AttentionPooling(
                dtype=self.dtype_policy, name="pooling"
            )
        self._head = tf.keras.layers.Dense(
            self.output_dim, dtype=self.dtype_policy, name="head"
        )

    @property
    @abc.abstractmethod
    def state_dim(self) -> int:
        """The width of the states that `encode` returns."""

    @abc.abstractmethod
    def encode(
        self, embeddings: tf.Tensor, mask: tf.Tensor, training: bool | None
    ) -> tf.Tensor:
        """Computes a state for every position.

        Args:
            embeddings: `[batch, length, embedding_dim]` item embeddings, length 1 or
                more. In every row the real ones come first, oldest first, then padding
                of any finite value.
            mask: `[batch, length]` booleans, true where an item is real.
            training: Whether dropout applies.

        Returns:
            Finite states `[batch, length, state_dim]`. Those at padding are ignored.
        """

    def build(self, input_shape: Any) -> None:
        """Creates all weights: none depends on `input_shape`."""
        if self.item_embedding is not None:
            build_layer(self.item_embedding, [None, None])
        width = self.state_dim
        if self._attention_pooling is not None:
            build_layer(self._attention_pooling, [None, None, width])
            width *= len(DECAYS)
        build_layer(self._head, [None, width])
        super().build(input_shape)

    def call(
        self,
        inputs: tf.Tensor | tf.RaggedTensor,
        mask: tf.Tensor | tf.RaggedTensor | None = None,
        training: bool | None = None,
    ) -> tf.Tensor:
        """Encodes sequences.

        Args:
            inputs: Item ids or item embeddings, dense or ragged (see the class).
            mask: `[batch, length]` booleans, dense or ragged as `inputs` are: which
                positions are real. Positions of `PADDING_ID` never are.
            training: Whether dropout applies.

        Returns:
            The embeddings, `[batch, output_dim]`.

        Raises:
            TypeError: If `inputs` is not a dense or ragged tensor, or `inputs` or
                `mask` has a wrong dtype.
            ValueError: If `inputs` or `mask` has a wrong shape, or `inputs` are ids
                and there is no vocabulary.
        """
        embeddings, mask = self._read(inputs, mask)
        embeddings = self._drop(embeddings, training=training)
        states = self.encode(embeddings, mask, training)
        pool = self._attention_pooling or POOLINGS[self.pooling]
        return self._head(pool(states, mask))

    def embed_prefixes(
        self, ids: tf.Tensor | tf.RaggedTensor, training: bool | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Encodes each sequence up to each of its items, in one pass.

        The state of an item does not depend on later items, so a model can learn all
        next items of a sequence at once. A `TransformerEncoder` counts positions in
        the whole sequence.

        Args:
            ids: `[batch, length]` item ids, dense or ragged.
            training: Whether dropout applies.

        Returns:
            The embeddings, `[batch, length, output_dim]`, and the ids they belong to,
            `[batch, length]`: the items of each row first, then `PADDING_ID`.

        Raises:
            TypeError: If `ids` are not integers.
            ValueError: If the encoder is not causal, or its pooling is not `"last"`.
        """
        if not self.causal or self.pooling != "last":
            raise ValueError(
                "Only a causal encoder with pooling='last' can embed prefixes, but "
                f"{self.name!r} has causal={self.causal} and pooling={self.pooling!r}."
            )
        self._check_inputs(ids)
        if not ids.dtype.is_integer:
            raise TypeError(f"ids must be integers, but they are {ids.dtype.name}.")
        if not self.built:
            with tf.init_scope():  # As Keras does where it builds.
                build_layer(self, ids.shape)
        items, mask = self._read_ids(*_densify(ids, None))
        embeddings = self._drop(self.item_embedding(items), training=training)
        return self._head(self.encode(embeddings, mask, training)), items

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        """Returns None: no position is left to mask."""

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        """Returns `[batch, output_dim]`."""
        return tf.TensorShape([tf.TensorShape(input_shape)[0], self.output_dim])

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {
            **super().get_config(),
            "vocabulary_size": self.vocabulary_size,
            "embedding_dim": self.embedding_dim,
            "output_dim": self.output_dim,
            "dropout": self.dropout,
            "pooling": self.pooling,
            "hash_buckets": self.hash_buckets,
        }

    def _make_item_embedding(self, vocabulary_size: int) -> tf.keras.layers.Layer:
        kwargs = {"dtype": self.dtype_policy, "name": "item_embedding"}
        if self.hash_buckets is None:
            return ItemEmbedding(vocabulary_size, self.embedding_dim, **kwargs)
        return HashedEmbedding(
            vocabulary_size,
            self.embedding_dim,
            num_buckets=self.hash_buckets,
            **kwargs,
        )

    def _read(
        self,
        inputs: tf.Tensor | tf.RaggedTensor,
        mask: tf.Tensor | tf.RaggedTensor | None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns embeddings and mask as `encode` takes them."""
        self._check_inputs(inputs)
        values, mask = _densify(inputs, _checked_mask(mask, inputs))
        if values.dtype.is_floating:
            return _compact(values, mask)
        ids, mask = self._read_ids(values, mask)
        return self.item_embedding(ids), mask

    def _read_ids(self, ids: tf.Tensor, mask: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the ids of all rows with their items in front, and the mask."""
        ids = self._replace_unknown(ids)
        return _compact(ids, mask & (ids != PADDING_ID))

    def _check_inputs(self, inputs: Any) -> None:
        if not isinstance(inputs, (tf.Tensor, tf.Variable, tf.RaggedTensor)):
            raise TypeError(
                "inputs must be a dense or a ragged tensor, but they are a "
                f"{type(inputs).__name__}."
            )
        if inputs.dtype.is_integer:
            if self.item_embedding is None:
                raise ValueError(
                    "inputs must be embeddings, since the encoder has no "
                    f"vocabulary_size, but they are ids of dtype {inputs.dtype.name}."
                )
            expected = "[batch, length] if they are ids"
            fits = inputs.shape.rank == 2
        elif inputs.dtype.is_floating:
            expected = (
                f"[batch, length, embedding_dim={self.embedding_dim}] if they are "
                "floats (ids are integers)"
            )
            fits = inputs.shape.rank == 3 and inputs.shape[2] == self.embedding_dim
        else:
            raise TypeError(
                "inputs must be integer ids or floating embeddings, but their dtype "
                f"is {inputs.dtype.name}."
            )
        if not fits:
            raise ValueError(
                f"inputs must have the shape {expected}, but it is {inputs.shape}."
            )

    def _replace_unknown(self, ids: tf.Tensor) -> tf.Tensor:
        # In 64 bits, so that no large id can pass for a small one.
        ids = tf.cast(ids, tf.int64)
        known = (ids >= 0) & (ids < self.vocabulary_size)
        return tf.where(known, ids, OUT_OF_VOCABULARY_ID)


def _checked_mask(
    mask: Any, inputs: tf.Tensor | tf.RaggedTensor
) -> tf.Tensor | tf.RaggedTensor | None:
    """Returns `mask` as a tensor, after checking that it fits `inputs`."""
    if mask is None:
        return None
    if isinstance(mask, tf.RaggedTensor) != isinstance(inputs, tf.RaggedTensor):
        raise ValueError(
            "mask must be dense or ragged as inputs are, but they are a "
            f"{type(mask).__name__} and a {type(inputs).__name__}."
        )
    if not isinstance(mask, tf.RaggedTensor):
        mask = tf.convert_to_tensor(mask)
    if mask.dtype != tf.bool:
        raise TypeError(f"mask must be boolean, but its dtype is {mask.dtype.name}.")
    if not inputs.shape[:2].is_compatible_with(mask.shape):
        raise ValueError(
            f"mask must have the shape [batch, length] of inputs, {inputs.shape[:2]}, "
            f"but it is {mask.shape}."
        )
    return mask


def _densify(
    inputs: tf.Tensor | tf.RaggedTensor, mask: tf.Tensor | tf.RaggedTensor | None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns `inputs` and `mask` (all true if None) as dense tensors."""
    if isinstance(inputs, tf.RaggedTensor):
        values = inputs.to_tensor()
        if mask is None:
            return values, tf.sequence_mask(inputs.row_lengths(), tf.shape(values)[1])
        return values, mask.to_tensor()
    if mask is None:
        mask = tf.ones(tf.shape(inputs)[:2], tf.bool)
    return inputs, mask


def _compact(values: tf.Tensor, mask: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Moves the real positions of every row to its front, in their order.

    So no encoder sees padding before or between items: a convolution sees true
    neighbors, a position is a count of items, and a GRU may use cuDNN. Takes values
    `[batch, length, ...]` and a mask `[batch, length]`; returns the values followed by
    zeros, and their mask, at least one position long.
    """
    shape = tf.shape(values, out_type=tf.int64)
    width = tf.maximum(shape[1], 1)
    # Padding adds its zero to some item, which changes nothing: no row needs an extra
    # position to put padding into.
    target = tf.maximum(tf.cumsum(tf.cast(mask, tf.int64), axis=1) - 1, 0)
    row = tf.broadcast_to(tf.range(shape[0])[:, tf.newaxis], shape[:2])
    real = mask if values.shape.rank == 2 else mask[..., tf.newaxis]
    compacted = tf.scatter_nd(
        tf.stack([row, target], axis=-1),
        tf.where(real, values, tf.zeros([], values.dtype)),
        tf.concat([shape[:1], width[tf.newaxis], shape[2:]], axis=0),
    )
    count = tf.math.count_nonzero(mask, axis=1)
    return compacted, tf.sequence_mask(count, width)
