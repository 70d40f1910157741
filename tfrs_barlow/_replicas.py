"""What the replicas of a `tf.distribute` strategy share of a batch."""

from __future__ import annotations

import tensorflow as tf


def num_replicas() -> int:
    """Returns how many replicas share the batch: 1 outside a replica."""
    context = tf.distribute.get_replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def sum_over_replicas(value: tf.Tensor) -> tf.Tensor:
    """Returns the sum of the replicas' values: the value itself outside a replica."""
    if num_replicas() == 1:
        return value
    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, value)


def gather_rows(rows: tf.Tensor | None) -> tf.Tensor | None:
    """Returns the rows of all replicas: the rows themselves outside a replica."""
    if rows is None or num_replicas() == 1:
        return rows
    context = tf.distribute.get_replica_context()
    # What comes right from the input has no device, which a gather asks for.
    return context.all_gather(tf.identity(rows), axis=0)
