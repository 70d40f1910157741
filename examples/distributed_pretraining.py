r"""Pretrains a user encoder on one device or many: the script is the same.

    python -m examples.distributed_pretraining
    python -m examples.distributed_pretraining --strategy=mirrored
    TF_CONFIG='{"cluster": {"worker": ["host0:12345", "host1:12345"]}, \
        "task": {"type": "worker", "index": 0}}' \
        python -m examples.distributed_pretraining --strategy=workers

The first command trains on one device, the second on all GPUs of this machine (without
GPUs, on its CPU, split in two). The third starts one of two workers; start the other
with the index 1. `--strategy=tpu` exists too, but has never been run.

`--batch_size` is that of the global batch: with more devices each gets fewer rows, and
the training is the same up to rounding. Views are made with the batches, from seeds
that depend on the step, so they do not depend on the devices either.

A run that was killed, or stopped by SIGTERM or Ctrl-C, resumes when it is started
again, with any number of devices. Only `--steps` may change. All workers must reach
`--output_dir`.
"""

from __future__ import annotations

import argparse
import functools
import os
import pathlib
from collections.abc import Sequence

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf

import tfrs_barlow as tfrsb

OPTIMIZERS = {"adam": tf.keras.optimizers.Adam, "sgd": tf.keras.optimizers.SGD}
SETTINGS = ("optimizer", "learning_rate", "batch_size", "length", "seed")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the training that the command line describes."""
    parser = _parser()
    flags = parser.parse_args(arguments)
    tf.keras.utils.set_random_seed(flags.seed)
    # This comes first, since it sets up the devices.
    strategy = STRATEGIES[flags.strategy]()
    replicas = strategy.num_replicas_in_sync
    if flags.batch_size % replicas:
        parser.exit(
            1,
            f"error: batch_size must be a multiple of the number of replicas, "
            f"{replicas}, but it is {flags.batch_size}.\n",
        )
    print(
        f"{type(strategy).__name__}: {replicas} replicas, each with "
        f"{flags.batch_size // replicas} of the {flags.batch_size} rows of a batch"
    )
    log = (
        tfrsb.data.load_movielens("ml-1m", flags.data_dir)
        if flags.data_dir
        else tfrsb.data.generate_synthetic_log()
    )
    print(log)
    settings = {name: getattr(flags, name) for name in SETTINGS}
    if strategy.extended.should_checkpoint:
        try:
            # A backup of a run with other settings must not be resumed.
            tfrsb.study.require_same_settings(
                flags.output_dir, {"data": str(log), **settings}
            )
        except ValueError as error:
            parser.exit(1, f"error: {error}\n")
    sequences, vocabulary = tfrsb.data.build_sequences(log)

    with strategy.scope():
        model = tfrsb.models.BarlowTwinsPretraining(
            tfrsb.layers.ConvolutionEncoder(vocabulary.size),
            views=tfrsb.layers.TwoViews([]),  # They come with the batches.
            partner_column="partner",
        )
        # So weights are the same under every strategy; `fit` would draw others.
        model.query_tower.build([None, flags.length])
        model.projector.build([None, model.query_tower.output_dim])
        model.compile(OPTIMIZERS[flags.optimizer](flags.learning_rate))
    tfrsb.models.fit_resumable(
        model,
        functools.partial(make_batches, sequences, flags),
        steps=flags.steps,
        steps_per_epoch=flags.steps_per_epoch,
        backup_dir=flags.output_dir / "backup",
        verbose=2,
    )
    print(f"Trained {flags.steps} steps.")
    # All workers hold the same weights; one of them writes.
    if strategy.extended.should_checkpoint:
        version = tfrsb.serving.export(
            model.query_tower, flags.output_dir / "model", vocabulary=vocabulary
        )
        print(f"Saved model: {version}")


def make_batches(
    sequences: tfrsb.data.UserSequences, flags: argparse.Namespace, first_step: int
) -> tf.data.Dataset:
    """Returns global batches of two views of each history, from a step on."""
    views = tfrsb.layers.TwoViews(
        [tfrsb.layers.RandomCrop(0.5), tfrsb.layers.RandomMask(0.2)]
    )
    views.build([None, flags.length])

    def augment(step: tf.Tensor, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        seed = tf.stack([tf.constant(flags.seed, tf.int64), step])
        first, second = views(batch["history"], training=True, seed=seed)
        return {"history": first, "partner": second}

    batches = tfrsb.data.training_batches(
        sequences,
        batch_size=flags.batch_size,
        length=flags.length,
        seed=flags.seed,
        first_step=first_step,
    )
    # Each worker gets a part of the rows of a batch, not of the files.
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.DATA
    )
    augmented = batches.enumerate(first_step).map(augment, tf.data.AUTOTUNE)
    return augmented.prefetch(tf.data.AUTOTUNE).with_options(options)


def _mirrored() -> tf.distribute.Strategy:
    if tf.config.list_physical_devices("GPU"):
        return tf.distribute.MirroredStrategy()
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * 2,
    )
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def _tpu() -> tf.distribute.Strategy:
    resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect()
    return tf.distribute.TPUStrategy(resolver)


STRATEGIES = {
    "one_device": tf.distribute.get_strategy,
    "mirrored": _mirrored,
    "workers": tf.distribute.MultiWorkerMirroredStrategy,
    "tpu": _tpu,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m examples.distributed_pretraining",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--strategy", choices=STRATEGIES, default="one_device")
    parser.add_argument(
        "--data_dir", type=pathlib.Path, help="MovieLens-1M (default: synthetic data)"
    )
    parser.add_argument(
        "--output_dir", type=pathlib.Path, default=pathlib.Path("runs/distributed")
    )
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default="adam")
    for name, default in (
        ("batch_size", 256),
        ("length", 100),
        ("steps", 200),
        ("steps_per_epoch", 50),
        ("seed", 0),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--learning_rate", type=float, default=1e-3)
    return parser


if __name__ == "__main__":
    main()
