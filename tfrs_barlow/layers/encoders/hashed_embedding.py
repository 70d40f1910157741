"""An item table with fewer rows than items."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_barlow._checks import checked_integer
from tfrs_barlow.ids import FIRST_ITEM_ID

# A prime above all ids, whose products fit into 64 bits.
_PRIME = 2**31 - 1


@tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
class HashedEmbedding(tf.keras.layers.Layer):
    """Looks items up in several rows of one small table, chosen by hash functions.

    An embedding is the rows of an item side by side, each of `output_dim / num_hashes`
    numbers. With ten million items, two hashes and a million rows, each row is that of
    some twenty items, but few items share both of theirs with another: two given items
    do so with a probability of about one in the square of the number of rows. Reserved
    ids have rows of their own.

    The hash functions are those of Carter and Wegman, in integers of 64 bits: an id has
    its rows on any device, and in any process that loads the layer.

    Attributes:
        embeddings: The table, `[num_buckets, output_dim / num_hashes]`.

    Example:
        >>> table = tfrsb.layers.HashedEmbedding(10_000_000, 8, num_buckets=1_000)
        >>> table(tf.constant([[3, 9_999_999], [0, 1]])).shape
        TensorShape([2, 2, 8])
        >>> table.embeddings.shape
        TensorShape([1000, 4])

    References:
        Carter and Wegman 1979, Universal classes of hash functions; Coleman et al.
        2023, Unified Embedding: Battle-Tested Feature Representations for Web-Scale ML
        Systems, arXiv 2305.12102, which has the shared table.
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        *,
        num_buckets: int,
        num_hashes: int = 2,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        """Initializes the layer.

        Args:
            input_dim: The number of ids, as of `tf.keras.layers.Embedding`.
            output_dim: The width of an embedding, a multiple of `num_hashes`.
            num_buckets: The rows of the table, those of reserved ids included.
            num_hashes: In how many rows an item is looked up.
            seed: Fixes the hash functions.
            **kwargs: The arguments of `tf.keras.layers.Layer`.

        Raises:
            ValueError: If an argument is out of its range.
        """
        # The table stays as it is, and what is looked up takes the dtype of the layer.
        super().__init__(autocast=False, **kwargs)
        self.input_dim = checked_integer("input_dim", input_dim)
        if self.input_dim > _PRIME:
            raise ValueError(
                f"input_dim must be at most {_PRIME}, but it is {input_dim}."
            )
        self.num_buckets = checked_integer(
            "num_buckets", num_buckets, minimum=FIRST_ITEM_ID + 1
        )
        self.num_hashes = checked_integer("num_hashes", num_hashes)
        self.output_dim = checked_integer("output_dim", output_dim)
        if self.output_dim % self.num_hashes:
            raise ValueError(
                f"output_dim must be a multiple of num_hashes={num_hashes}, but it is "
                f"{output_dim}."
            )
        self.seed = seed
        self.embeddings: Any = None
        generator = np.random.default_rng(seed)
        self._factors = generator.integers(1, _PRIME, self.num_hashes)
        self._summands = generator.integers(0, _PRIME, self.num_hashes)

    def build(self, input_shape: Any) -> None:
        """Creates the table."""
        self.embeddings = self.add_weight(
            "embeddings",
            shape=[self.num_buckets, self.output_dim // self.num_hashes],
            initializer="uniform",
            experimental_autocast=False,
        )
        super().build(input_shape)

    def call(self, ids: tf.Tensor) -> tf.Tensor:
        """Looks items up.

        Args:
            ids: Integers from 0 to `input_dim` - 1, of any shape.

        Returns:
            The embeddings, of the shape of `ids` and `[output_dim]`.
        """
        rows = self._rows(tf.cast(ids, tf.int64))
        parts = tf.nn.embedding_lookup(self.embeddings, rows)
        shape = tf.concat([tf.shape(ids), [self.output_dim]], axis=0)
        embeddings = tf.reshape(parts, shape)
        embeddings.set_shape([*ids.shape, self.output_dim])
        return tf.cast(embeddings, self.compute_dtype)

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        """Returns the shape of the ids and `[output_dim]`."""
        return tf.TensorShape(input_shape).concatenate([self.output_dim])

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make a layer like this one."""
        return {
            **super().get_config(),
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            "num_buckets": self.num_buckets,
            "num_hashes": self.num_hashes,
            "seed": self.seed,
        }

    def _rows(self, ids: tf.Tensor) -> tf.Tensor:
        """Returns the rows of ids, `[..., num_hashes]`."""
        ids = ids[..., tf.newaxis]
        hashes = (ids * self._factors + self._summands) % _PRIME
        rows = FIRST_ITEM_ID + hashes % (self.num_buckets - FIRST_ITEM_ID)
        return tf.where(ids < FIRST_ITEM_ID, ids, rows)
