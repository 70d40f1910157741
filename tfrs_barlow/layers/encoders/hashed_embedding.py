"""An item table with fewer rows than items."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_barlow import _checks
from tfrs_barlow.ids import FIRST_ITEM_ID

# A prime above all ids, whose products fit into 64 bits.
_PRIME = 2**31 - 1


@tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
class HashedEmbedding(tf.keras.layers.Layer):
    """Looks items up in several rows of one small table, chosen by hash functions.

    An embedding is the concatenation of `num_hashes` rows, each of
    `output_dim / num_hashes` numbers. With ten million items, two hashes and a million
    rows, about twenty items share each row, but two given items share both rows with a
    probability of only about one in the square of the number of rows. Each reserved id
    has its own row.

    The hash functions are those of Carter and Wegman, in integers of 64 bits, so an id
    has the same rows on any device and in any process that loads the layer.

    Args:
        input_dim: The number of ids, as in `tf.keras.layers.Embedding`.
        output_dim: The width of an embedding, a multiple of `num_hashes`.
        num_buckets: The rows of the table, those of reserved ids included.
        num_hashes: The number of rows that make up an embedding.
        seed: Fixes the hash functions.
        **kwargs: Passed on to `tf.keras.layers.Layer`.

    Attributes:
        embeddings: The table, `[num_buckets, output_dim / num_hashes]`.

    Raises:
        TypeError: If an argument has a wrong type.
        ValueError: If an argument is out of its range.

    Examples:
        >>> table = tfrsb.layers.HashedEmbedding(10_000_000, 8, num_buckets=1_000)
        >>> table(tf.constant([[3, 9_999_999], [0, 1]])).shape
        TensorShape([2, 2, 8])
        >>> table.embeddings.shape
        TensorShape([1000, 4])

    References:
        Carter and Wegman (1979), "Universal Classes of Hash Functions",
        https://doi.org/10.1016/0022-0000(79)90044-8.
        Coleman et al. (2023), "Unified Embedding: Battle-Tested Feature Representations
        for Web-Scale ML Systems", https://arxiv.org/abs/2305.12102 (the shared table).
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
        # Without autocast the table keeps its dtype: `call` casts what it looks up.
        super().__init__(autocast=False, **kwargs)
        self.input_dim = _checks.integer(
            "input_dim", input_dim, at_least=1, at_most=_PRIME
        )
        self.num_buckets = _checks.integer(
            "num_buckets", num_buckets, at_least=FIRST_ITEM_ID + 1
        )
        self.num_hashes = _checks.integer("num_hashes", num_hashes, at_least=1)
        self.output_dim = _checks.integer("output_dim", output_dim, at_least=1)
        if self.output_dim % self.num_hashes:
            raise ValueError(
                f"output_dim must be a multiple of num_hashes={num_hashes}, but it is "
                f"{output_dim}."
            )
        self.seed = _checks.integer("seed", seed, at_least=0)
        self.embeddings: Any = None
        generator = np.random.default_rng(self.seed)
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
            The embeddings, `[..., output_dim]`.
        """
        rows = self._rows(tf.cast(ids, tf.int64))
        parts = tf.nn.embedding_lookup(self.embeddings, rows)
        shape = tf.concat([tf.shape(ids), [self.output_dim]], axis=0)
        embeddings = tf.reshape(parts, shape)
        embeddings.set_shape([*ids.shape, self.output_dim])
        return tf.cast(embeddings, self.compute_dtype)

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        """Returns `[..., output_dim]`."""
        return tf.TensorShape(input_shape).concatenate([self.output_dim])

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
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
