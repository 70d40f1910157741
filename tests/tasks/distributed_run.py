"""Runs cases of `test_distribution` on the replicas of one strategy, then ends.

    python distributed_run.py STRATEGY CASES.json RESULTS.pickle

A process holds one strategy: two of them abort each other's collectives. STRATEGY is
`one_device`, `mirrored_2`, `mirrored_4`, or `workers`, for which TF_CONFIG names the
processes. The cases say what to run; the results are numbers, and judged elsewhere.
"""

import json
import os
import pathlib
import pickle
import sys
import tempfile

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

import tfrs_barlow as tfrsb

FEATURES = 10


def make_strategy(name):
    if name == "one_device":
        return tf.distribute.get_strategy()
    if name == "workers":
        return tf.distribute.MultiWorkerMirroredStrategy()
    replicas = int(name.removeprefix("mirrored_"))
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * replicas,
    )
    return tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(replicas)])


def record_communications():
    """Returns a set that fills with what replicas exchange: (how, shape)."""
    sent = set()

    def recording(name):
        original = getattr(tf.distribute.ReplicaContext, name)

        def method(self, *args, **kwargs):
            # The values come last: all_gather(value), all_reduce(operation, value).
            for value in tf.nest.flatten(args[-1]):
                sent.add((name, tuple(value.shape)))
            return original(self, *args, **kwargs)

        setattr(tf.distribute.ReplicaContext, name, method)

    recording("all_gather")
    recording("all_reduce")
    return sent


def data(rows, dim, seed=0):
    """Two views that agree in part, of columns that differ in mean and spread."""
    rng = np.random.default_rng(seed)
    first = rng.normal(size=[rows, dim]) * rng.uniform(0.5, 2, dim) + rng.normal(
        size=dim
    )
    second = first + rng.normal(size=[rows, dim])
    # Zeros among them: rows that do not count.
    weight = rng.integers(0, 4, rows) / 2
    return {
        "first": first.astype(np.float32),
        "second": second.astype(np.float32),
        "weight": weight.astype(np.float32),
    }


class LocalTask(tfrsb.tasks.BarlowTwinsTask):
    """A peer's mistake: each replica standardizes over its own rows."""

    def call(self, first, second, sample_weight=None):
        loss = tfrsb.losses.barlow_twins_loss(first, second)
        return loss / tf.distribute.get_replica_context().num_replicas_in_sync


class UndividedTask(tfrsb.tasks.BarlowTwinsTask):
    """A peer's mistake: each replica counts the whole of the global loss."""

    def call(self, first, second, sample_weight=None):
        replicas = tf.distribute.get_replica_context().num_replicas_in_sync
        return replicas * super().call(first, second, sample_weight)


TASKS = {
    "BarlowTwinsTask": tfrsb.tasks.BarlowTwinsTask,
    "LocalTask": LocalTask,
    "UndividedTask": UndividedTask,
}


def run_task(
    strategy,
    sent,
    *,
    rows,
    dim,
    task="BarlowTwinsTask",
    weighted=False,
    known_shape=False,
    options,
):
    """Returns the loss and the gradients of the rows that this process holds."""
    with strategy.scope():
        layer = TASKS[task](name="task", **options)
    batch = data(rows, dim)
    per_replica = -(-rows // strategy.num_replicas_in_sync)  # As tf.data divides.

    def share(context):
        start = per_replica * context.replica_id_in_sync_group
        own = {
            name: value[start : start + per_replica] for name, value in batch.items()
        }
        count = len(own["weight"])
        if not known_shape:
            padding = per_replica - count
            own = {
                name: np.pad(value, [(0, padding)] + [(0, 0)] * (value.ndim - 1))
                for name, value in own.items()
            }
        return tf.nest.map_structure(tf.constant, {**own, "count": count})

    def step(own):
        first, second, weight = own["first"], own["second"], own["weight"]
        with tf.GradientTape() as tape:
            tape.watch([first, second])
            rows = slice(None) if known_shape else slice(own["count"])
            loss = layer(first[rows], second[rows], weight[rows] if weighted else None)
        return loss, [
            gradient[rows] for gradient in tape.gradient(loss, [first, second])
        ]

    @tf.function(autograph=False)
    def replicated(own):
        return strategy.run(step, [own])

    sent.clear()
    loss, gradients = replicated(
        strategy.experimental_distribute_values_from_function(share)
    )
    return {
        "loss": float(strategy.reduce("SUM", loss, axis=None)),
        "gradients": [
            np.concatenate(strategy.experimental_local_results(gradient))
            for gradient in gradients
        ],
        "metrics": {metric.name: float(metric.result()) for metric in layer.metrics},
        "sent": set(sent),
    }


class Model(tfrs.Model):
    """The smallest user's model: an encoder, a projector, the task."""

    def __init__(self, dim, l2, synchronized, task, algorithm):
        super().__init__()
        self.encoder = tf.keras.layers.Dense(
            12,
            "tanh",
            kernel_regularizer=tf.keras.regularizers.L2(l2) if l2 else None,
        )
        self.projector = tfrsb.layers.Projector([16, dim])
        if not synchronized:
            self.projector = tf.keras.Sequential(
                [
                    tf.keras.layers.Dense(16, use_bias=False),
                    tf.keras.layers.BatchNormalization(epsilon=1e-5),
                    tf.keras.layers.Activation("relu"),
                    tf.keras.layers.Dense(dim, use_bias=False),
                ]
            )
        self.task = TASKS[task](0.05, algorithm=algorithm, name="task")

    @tf.autograph.experimental.do_not_convert  # Which would take long.
    def compute_loss(self, features, training=False):
        first, second = (
            self.projector(self.encoder(features[view]), training=training)
            for view in ("first", "second")
        )
        return self.task(first, second, features.get("weight"))


class ModelOfOurs(tfrsb.models.base.Model, Model):
    """The same on our base."""


MODELS = {"Model": Model, "ModelOfOurs": ModelOfOurs}


def run_fit(
    strategy,
    sent,
    *,
    rows,
    batch_size,
    dim,
    epochs=3,
    model="Model",
    optimizer="SGD",
    weighted=False,
    drop_remainder=False,
    l2=0.0,
    synchronized=True,
    task="BarlowTwinsTask",
    algorithm="auto",
):
    """Returns what `fit` shows and the weights that it ends with."""
    tf.keras.utils.set_random_seed(1)
    with strategy.scope():
        network = MODELS[model](dim, l2, synchronized, task, algorithm)
        network.compile(
            {
                "SGD": tf.keras.optimizers.SGD(0.02),
                "Adam": tf.keras.optimizers.Adam(0.01),
            }[optimizer]
        )
        # Variables that were created in the step would have it traced twice.
        network.encoder.build([None, FEATURES])
        network.projector.build([None, network.encoder.units])
        network.optimizer.build(network.trainable_variables)
    features = data(rows, FEATURES)
    if not weighted:
        del features["weight"]
    batches = tf.data.Dataset.from_tensor_slices(features).batch(
        batch_size, drop_remainder=drop_remainder
    )
    # Workers then see every second row; together they have the same batches.
    sharding = tf.data.Options()
    sharding.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.DATA
    )
    sent.clear()
    history = network.fit(
        batches.with_options(sharding), epochs=epochs, shuffle=False, verbose=0
    ).history
    return {
        "history": history,
        "metrics": {metric.name: float(metric.result()) for metric in network.metrics},
        "trainable": [weight.numpy() for weight in network.trainable_weights],
        "moving": [
            weight.numpy()
            for weight in network.non_trainable_weights
            if "moving" in weight.name
        ],
        "sent": set(sent),
    }


def run_views(strategy, sent):
    """Returns the views that each replica of this process draws of the same rows.

    The outer list is by call; `restored` continues after the first of them.
    """
    rows = tf.reshape(tf.range(3, 75), [6, 12])

    def make_views():
        with strategy.scope():
            views = tfrsb.layers.TwoViews(tfrsb.layers.RandomMask(0.3), seed=5)
            views.build(rows.shape)
            return views

    def draw(views):
        @tf.function(autograph=False)
        def replicated():
            return strategy.run(lambda: tf.stack(views(rows, training=True)))

        return lambda: [
            np.asarray(one) for one in strategy.experimental_local_results(replicated())
        ]

    views, again = make_views(), make_views()
    draw_views, draw_again = draw(views), draw(again)
    unbroken = [draw_views()]
    with tempfile.TemporaryDirectory() as folder:
        backup = tf.train.Checkpoint(views=views).write(f"{folder}/views")
        tf.train.Checkpoint(views=again).read(backup)
        restored = [draw_again(), draw_again()]
    unbroken += [draw_views(), draw_views()]
    return {"unbroken": unbroken, "restored": restored}


def run_joint(strategy, sent, *, rows, epochs=3):
    """Returns what training a joint model shows, and the weights that it ends with."""
    tf.keras.utils.set_random_seed(1)
    rng = np.random.default_rng(0)
    with strategy.scope():
        encoder = tfrsb.layers.ItemPoolingEncoder(
            20, embedding_dim=8, output_dim=8, pooling="mean"
        )
        candidates = tf.keras.layers.Embedding(20, 8)
        network = tfrsb.models.JointModel(
            tfrsb.models.DualEncoder(
                encoder, candidates, sampling_probability=rng.uniform(0.01, 0.1, 20)
            ),
            tfrsb.models.BarlowTwinsPretraining(
                encoder,
                views=tfrsb.layers.TwoViews([]),
                projector=tfrsb.layers.Projector([16, 16]),
                partner_column="partner",
            ),
            barlow_weight=0.05,
        )
        encoder.build([None, None])
        candidates.build([None])
        network.barlow_twins.projector.build([None, 8])
        network.compile(tf.keras.optimizers.SGD(0.01))
        network.optimizer.build(network.trainable_variables)
    history, partner = rng.integers(3, 20, [2, rows, 6])
    features = {
        "history": history,
        "partner": np.where(rng.random([rows, 6]) < 0.5, history, partner),
        "label": rng.integers(3, 20, rows),  # So that some are accidental hits.
    }
    batches = tf.data.Dataset.from_tensor_slices(features).batch(16)
    shown = network.fit(batches, epochs=epochs, shuffle=False, verbose=0).history
    return {
        "history": shown,
        "trainable": [weight.numpy() for weight in network.trainable_weights],
    }


RUNS = {"task": run_task, "fit": run_fit, "views": run_views, "joint": run_joint}


def main(strategy_name, cases_file, results_file):
    strategy = make_strategy(strategy_name)
    sent = record_communications()
    results = {}
    for name, case in json.loads(pathlib.Path(cases_file).read_text()).items():
        if strategy_name not in case.pop("strategies"):
            continue
        try:
            results[name] = RUNS[case.pop("run")](strategy, sent, **case)
        except Exception as error:
            if not strategy_name.startswith("mirrored"):
                raise  # The other worker would wait for ever.
            results[name] = {"error": str(error)}
    pathlib.Path(results_file).write_bytes(pickle.dumps(results))


if __name__ == "__main__":
    main(*sys.argv[1:])
