"""What all encoders share: how they read sequences, and the embedding they end in."""

from __future__ import annotations

import abc
import logging
from typing import Any

import tensorflow as tf

from tfrs_barlow._checks import checked_integer, checked_rate
from tfrs_barlow.ids import (
    FIRST_ITEM_ID,
    OUT_OF_VOCABULARY_ID,
    PADDING_ID,
)
from tfrs_barlow.layers._build import build_layer
from tfrs_barlow.layers.encoders.hashed_embedding import HashedEmbedding
from tfrs_barlow.layers.encoders.item_embedding import ItemEmbedding
from tfrs_barlow.layers.encoders.pooling import (
    DECAYS,
    POOLING_NAMES,
    POOLINGS,
    AttentionPooling,
)
from tfrs_barlow.layers.encoders.table_memory import OPTIMIZERS, TableMemory

_LOGGER = logging.getLogger(__name__)

# A table of so many bytes is announced before it is allocated.
_WORTH_MENTIONING = 2**30


class SequenceEncoder(tf.keras.layers.Layer, abc.ABC):
    """Turns user sequences into embeddings of shape [batch, output_dim].

    An encoder reads, with the same weights,

    - item ids: integers of shape [batch, length], where `PADDING_ID` is padding
      wherever it stands and an id that the table lacks counts as
      `OUT_OF_VOCABULARY_ID`;
    - item embeddings: floats of shape [batch, length, embedding_dim], with a boolean
      `mask` of shape [batch, length] (given, or passed on by Keras) that is true where
      a position is real. Without a mask all are.

    Both may be `tf.RaggedTensor`s. Padding changes nothing, on either side or between
    items: a row encodes as its real items alone do, in their order. A row without any
    has one well-defined embedding, whatever its length.

    A subclass builds its layers in `build`, names the width of its states in
    `state_dim`, and computes them in `encode`. The embedding is then one linear map of
    the pooled states. `ItemPoolingEncoder` is the smallest example.

    Attributes:
        item_embedding: The `tf.keras.layers.Embedding` or, given `hash_buckets`, the
            `HashedEmbedding` that ids are looked up in, to share with a candidate tower
            or to start one from; None without a vocabulary.
        causal: Whether a state knows the items up to its own alone.

    Example:
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
        embedding_dim: int = 64,
        output_dim: int = 128,
        dropout: float = 0.0,
        pooling: str = "mean",
        hash_buckets: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Initializes the encoder.

        Args:
            vocabulary_size: The number of ids, reserved ones included: the rows of the
                item table (`Vocabulary.size`). None for an encoder that reads
                embeddings only.
            embedding_dim: The width of the item embeddings, looked up or given.
            output_dim: The width of the embedding of a sequence.
            dropout: The fraction of units that training sets to zero, among the item
                embeddings and after every layer.
            pooling: What becomes of the states of the real items: `"mean"`; `"last"`
                for the state of the most recent one; or `"attention"` for several
                means with learned weights, side by side.
            hash_buckets: The rows of the item table where it is to have fewer than ids,
                for vocabularies of millions: see `HashedEmbedding`. None for a row for
                each id. All encoders take it.
            **kwargs: The arguments of `tf.keras.layers.Layer`.

        Raises:
            ValueError: If an argument is out of its range.
        """
        super().__init__(**kwargs)
        if pooling not in POOLING_NAMES:
            raise ValueError(
                f"pooling must be one of {POOLING_NAMES}, but it is {pooling!r}."
            )
        self.embedding_dim = checked_integer("embedding_dim", embedding_dim)
        self.output_dim = checked_integer("output_dim", output_dim)
        self.dropout = checked_rate("dropout", dropout)
        self.pooling = pooling
        self.hash_buckets = hash_buckets
        self.vocabulary_size: int | None = None
        self.item_embedding: Any = None
        if vocabulary_size is not None:
            self.vocabulary_size = checked_integer(
                "vocabulary_size", vocabulary_size, minimum=FIRST_ITEM_ID + 1
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
            embeddings: The item embeddings, of shape [batch, length, embedding_dim]
                with length 1 or more: in every row first the real ones, oldest first,
                then padding of any finite value.
            mask: Booleans of shape [batch, length], true where an item is real.
            training: Whether dropout applies.

        Returns:
            Finite states of shape [batch, length, state_dim]. Those at padding count
            for nothing.
        """

    def build(self, input_shape: Any) -> None:
        """Creates all weights: none depends on `input_shape`."""
        if self.item_embedding is not None:
            self._announce_a_large_table()
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
            mask: Which positions are real, of shape [batch, length] and dense or
                ragged as `inputs` are. Positions of `PADDING_ID` are not in any case.
            training: Whether dropout applies.

        Returns:
            The embeddings, of shape [batch, output_dim].

        Raises:
            TypeError: If `inputs` or `mask` is no dense or ragged tensor, or of a
                wrong dtype.
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

        What comes after an item does not reach the state there, so that a model can
        learn all next items of a sequence at once. Positions of a `TransformerEncoder`
        are those in the whole sequence.

        Args:
            ids: Item ids `[batch, length]`, dense or ragged.
            training: Whether dropout applies.

        Returns:
            The embeddings, `[batch, length, output_dim]`; and `ids` as they belong to
            them, `[batch, length]`: each row's items first, then `PADDING_ID`.

        Raises:
            ValueError: If the encoder is not causal, or pools more than the last state.
        """
        if not self.causal or self.pooling != "last":
            raise ValueError(
                "Only a causal encoder with pooling='last' can embed prefixes, but "
                f"{self.name!r} has causal={self.causal} and pooling={self.pooling!r}."
            )
        self._check_inputs(ids)
        if not self.built:
            with tf.init_scope():  # As Keras does where it builds.
                build_layer(self, ids.shape)
        items, mask = self._read_ids(*_densify(ids, None))
        embeddings = self._drop(self.item_embedding(items), training=training)
        return self._head(self.encode(embeddings, mask, training)), items

    def item_table_memory(
        self, optimizer: str = "adam", items_per_step: int = 2 * 256 * 100
    ) -> TableMemory:
        """Estimates what training the item table takes, before it is allocated.

        Args:
            optimizer: `"sgd"`, `"adagrad"` or `"adam"`.
            items_per_step: How many items a step looks up; by default two views of 256
                histories of 100.

        Returns:
            The estimate, which prints as a line.

        Raises:
            ValueError: If the encoder has no vocabulary, or the optimizer is unknown.
        """
        if self.vocabulary_size is None:
            raise ValueError(
                f"{self.name!r} has no item table, since it has no vocabulary_size."
            )
        rows, width = self.vocabulary_size, self.embedding_dim
        if self.hash_buckets is not None:
            width //= self.item_embedding.num_hashes
            items_per_step *= self.item_embedding.num_hashes
            rows = self.hash_buckets
        return TableMemory.estimate(rows, width, optimizer, items_per_step)

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        """Returns None: one embedding per sequence leaves nothing to mask."""

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        """Returns [batch, output_dim]."""
        return tf.TensorShape([tf.TensorShape(input_shape)[0], self.output_dim])

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an encoder like this one."""
        return {
            **super().get_config(),
            "vocabulary_size": self.vocabulary_size,
            "embedding_dim": self.embedding_dim,
            "output_dim": self.output_dim,
            "dropout": self.dropout,
            "pooling": self.pooling,
            "hash_buckets": self.hash_buckets,
        }

    def _announce_a_large_table(self) -> None:
        if self.item_table_memory().table >= _WORTH_MENTIONING:
            lines = (str(self.item_table_memory(optimizer)) for optimizer in OPTIMIZERS)
            _LOGGER.warning(
                "%s makes a large item table. What training will take, at its peak:\n"
                "%s\nhash_buckets makes it smaller.",
                self.name,
                "\n".join(lines),
            )

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
        """Returns known ids, those of items in front, and which these are."""
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
            if inputs.shape.rank != 2:
                raise ValueError(
                    "inputs must have the shape [batch, length] if they are ids, but "
                    f"it is {inputs.shape}."
                )
        elif inputs.dtype.is_floating:
            if inputs.shape.rank != 3 or inputs.shape[2] != self.embedding_dim:
                raise ValueError(
                    "inputs must have the shape [batch, length, embedding_dim="
                    f"{self.embedding_dim}] if they are floats (ids are integers), but "
                    f"it is {inputs.shape}."
                )
        else:
            raise TypeError(
                "inputs must be integer ids or floating embeddings, but their dtype "
                f"is {inputs.dtype.name}."
            )

    def _replace_unknown(self, ids: tf.Tensor) -> tf.Tensor:
        # In 64 bits, so that no large id can pass for a small one.
        ids = tf.cast(ids, tf.int64)
        known = (ids >= 0) & (ids < self.vocabulary_size)
        return tf.where(known, ids, OUT_OF_VOCABULARY_ID)


def _checked_mask(
    mask: Any, inputs: tf.Tensor | tf.RaggedTensor
) -> tf.Tensor | tf.RaggedTensor | None:
    """Returns `mask` as a tensor if it fits `inputs`."""
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

    So no encoder ever meets padding before or between items: a convolution sees true
    neighbors, a position is a count of items, and a GRU may use cuDNN.

    Args:
        values: Values of shape [batch, length, ...].
        mask: Booleans of shape [batch, length], true where a position is real.

    Returns:
        The values, then zeros, and their mask. They are one position long at least.
    """
    shape = tf.shape(values, out_type=tf.int64)
    width = tf.maximum(shape[1], 1)
    # Padding adds its zero to some item: an exact no-op, so that no row needs a slot
    # to throw padding into.
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
