"""What a second worker adds: training steps of one worker and of two, a core for each.

    python -m benchmarks.distribution
    python -m benchmarks.distribution --batch_size=256 --steps=40

Trains `BarlowTwinsPretraining` with the default convolutional encoder and projector on
synthetic histories, by `fit_resumable`: alone, and with two workers on loopback
(`MultiWorkerMirroredStrategy`), each bound to a core and one thread. All take turns
with two independent trainings, which show what the machine gives two processes.
Prints the histories per second, and how many times those of one worker they are: at the
same batch per worker (weak scaling; the goal is 1.7) and at the same global batch
(strong scaling). The CPU time of a step is what the work costs a worker, even if
other programs keep it waiting.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any, NamedTuple

from benchmarks.measure import ONE_THREAD, machine

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf

import tfrs_barlow as tfrsb

LENGTH = 100


class Setting(NamedTuple):
    """How many workers share a batch.

    Attributes:
        workers: How many there are.
        batch_size: The rows of the global batch, by that of one worker alone.
        apart: Whether each trains a separate model.
    """

    workers: int
    batch_size: int
    apart: bool = False


SETTINGS = {
    "one worker": Setting(1, 1),
    "two, each on its own": Setting(2, 2, apart=True),
    "two, same batch per worker": Setting(2, 2),
    "two, same global batch": Setting(2, 1),
}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.distribution",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--batch_size", type=int, default=1024, help="of one worker")
    parser.add_argument("--steps", type=int, default=20, help="default: 20")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument("--work", type=int, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.work:
        print(json.dumps(work(flags.work, flags.steps)))
        return
    found: dict[str, list[dict[str, float]]] = {name: [] for name in SETTINGS}
    for number in range(flags.rounds):
        for name, setting in SETTINGS.items():
            found[name].append(measure(setting, flags))
            print(f"round {number + 1}, {name}: {found[name][-1]}", file=sys.stderr)
    report(found, flags)


def measure(setting: Setting, flags: argparse.Namespace) -> dict[str, float]:
    """Runs the workers of a setting, and returns what the slowest has measured."""
    rows = setting.batch_size * flags.batch_size
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(setting.workers)]
    addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    processes = []
    for index in range(setting.workers):
        environment = {**os.environ, **ONE_THREAD, "WORKER_CORE": str(index)}
        if setting.workers > 1 and not setting.apart:
            task = {"type": "worker", "index": index}
            environment["TF_CONFIG"] = json.dumps(
                {"cluster": {"worker": addresses}, "task": task}
            )
        batch_size = rows // setting.workers if setting.apart else rows
        command = [
            *(sys.executable, "-m", "benchmarks.distribution"),
            *(f"--work={batch_size}", f"--steps={flags.steps}"),
        ]
        processes.append(
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
        )
    results = []
    for process in processes:
        printed, _ = process.communicate()
        if process.returncode:
            sys.exit(f"A worker has failed: rc {process.returncode}.")
        results.append(json.loads(printed.splitlines()[-1]))
    slowest = {name: max(result[name] for result in results) for name in results[0]}
    return {"rows_per_second": rows * flags.steps / slowest.pop("seconds"), **slowest}


def work(batch_size: int, steps: int) -> dict[str, float]:
    """Trains as one of the workers; returns the time of an epoch after the first."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[int(os.environ["WORKER_CORE"]) % len(cores)]})
    strategy = tf.distribute.get_strategy()
    if "TF_CONFIG" in os.environ:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    log = tfrsb.data.generate_synthetic_log(num_users=10_000, mean_length=120)
    sequences, vocabulary = tfrsb.data.build_sequences(log)
    with strategy.scope():
        model = tfrsb.models.BarlowTwinsPretraining(
            tfrsb.layers.ConvolutionEncoder(vocabulary.size),
            # Workers add up C, since a batch has more rows than C has.
            task=tfrsb.tasks.BarlowTwinsTask(
                0.05, algorithm="direct", name="barlow_twins"
            ),
        )
        model.compile(tf.keras.optimizers.Adam(1e-3))
    epoch = _Epoch()
    with tempfile.TemporaryDirectory() as folder:
        tfrsb.models.fit_resumable(
            model,
            functools.partial(
                tfrsb.data.training_batches,
                sequences,
                batch_size=batch_size,
                length=LENGTH,
            ),
            steps=2 * steps,
            steps_per_epoch=steps,
            backup_dir=folder,
            backup_seconds=1e9,
            callbacks=[epoch],
            verbose=0,
        )
    return {"seconds": epoch.seconds, "cpu_ms_per_step": 1e3 * epoch.cpu / steps}


class _Epoch(tf.keras.callbacks.Callback):
    """Times the last epoch."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._start, self._cpu_start = time.monotonic(), time.process_time()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.seconds = time.monotonic() - self._start
        self.cpu = time.process_time() - self._cpu_start


def report(found: dict[str, list[dict[str, float]]], flags: argparse.Namespace) -> None:
    """Prints the medians over the rounds, and the scaling within each round."""
    print(machine())
    print(f"batch of one worker: {flags.batch_size}, length {LENGTH}")
    print(f"{'':<28}histories/s   CPU ms/step   scaling, median (least to most)")
    alone = [round_["rows_per_second"] for round_ in found["one worker"]]
    for name, rounds in found.items():
        rates = [round_["rows_per_second"] for round_ in rounds]
        ratios = [ours / other for ours, other in zip(rates, alone, strict=True)]
        cpu = statistics.median(round_["cpu_ms_per_step"] for round_ in rounds)
        print(
            f"{name:<28}{statistics.median(rates):11.0f}   {cpu:11.1f}   "
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
