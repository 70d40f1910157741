"""What an export costs: to write, to load, and to ask for the best of many items.

    python -m benchmarks.serving
    python -m benchmarks.serving --items=100000 --dim=64

Exports a small tower with a million candidates of 128 dimensions, then loads the model
in a fresh process, on one thread, and asks `recommend` for ten items. NumPy computes
the same with a matrix product, `argpartition`, and a sort of what that finds. Both take
turns; the least CPU time of the repetitions counts. The goals are 1.3 times the time of
NumPy, and twice the memory of the candidates.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from benchmarks.measure import ONE_THREAD

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

BATCHES = (1, 32, 256)
K = 10
MIB = 2**20


def main() -> None:
    """Prints the measurements."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--ask", type=pathlib.Path, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.ask:
        print(json.dumps(ask(flags.ask, flags.repetitions)))
        return
    with tempfile.TemporaryDirectory() as folder:
        write(pathlib.Path(folder), flags.items, flags.dim)
        child = subprocess.run(
            [
                *(sys.executable, "-m", "benchmarks.serving"),
                *("--ask", folder, "--repetitions", str(flags.repetitions)),
            ],
            env={**os.environ, **ONE_THREAD, "OPENBLAS_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    report(json.loads(child.stdout), flags.items * flags.dim * 4 / MIB)


def write(folder: pathlib.Path, items: int, dim: int) -> None:
    """Exports the model into `folder`, and replaces its candidates."""
    import tfrs_barlow as tfrsb

    rng = np.random.default_rng(0)
    candidates = rng.standard_normal((items, dim), dtype=np.float32)
    vocabulary = tfrsb.data.Vocabulary(range(items))
    table = tf.Variable(rng.standard_normal((1000, dim), dtype=np.float32))
    np.save(folder / "candidates.npy", candidates)

    def tower(ids: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(tf.gather(table, ids % 1000), axis=1)

    version, seconds = timed(
        lambda: tfrsb.serving.export(
            tower, folder / "model", vocabulary=vocabulary, candidates=candidates
        )
    )
    size = sum(file.stat().st_size for file in version.rglob("*") if file.is_file())
    print(f"export                        {seconds:6.1f} s, {size / MIB:.0f} MiB")
    _, seconds = timed(
        lambda: tfrsb.serving.replace_candidates(
            folder / "model", items=vocabulary, candidates=candidates
        )
    )
    print(f"replace_candidates            {seconds:6.1f} s")


def ask(folder: pathlib.Path, repetitions: int) -> dict[str, Any]:
    """Measures the export in this process, which has only TensorFlow."""
    before = resident("VmRSS")
    model, load_seconds = timed(
        lambda: tf.saved_model.load(str(folder / "model" / "2"))
    )
    loaded = resident("VmRSS") - before
    rng = np.random.default_rng(1)
    histories = [tf.constant(rng.integers(0, 1000, (batch, 20))) for batch in BATCHES]
    for history in histories:
        model.recommend(history, k=K)
    peak = resident("VmHWM") - before

    candidates = np.load(folder / "candidates.npy")
    times = []
    for history in histories:
        queries = model.embed(history)["embedding"].numpy()
        seen = history.numpy()

        def ours(history: tf.Tensor = history) -> Any:
            return model.recommend(history, k=K)["ids"].numpy()

        def numpy(queries: Any = queries, seen: Any = seen) -> Any:
            scores = queries @ candidates.T
            np.put_along_axis(scores, seen, -np.inf, axis=1)
            best = np.argpartition(scores, -K, axis=1)[:, -K:]
            order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
            return np.take_along_axis(best, order, axis=1)

        np.testing.assert_array_equal(ours(), numpy())
        least = [float("inf")] * 2
        for _ in range(repetitions):
            for number, call in enumerate((ours, numpy)):
                start = time.process_time()
                call()
                least[number] = min(least[number], time.process_time() - start)
        times.append(least)
    return {
        "load_seconds": load_seconds,
        "loaded": loaded,
        "peak": peak,
        "times": times,
    }


def report(measured: dict[str, Any], matrix: float) -> None:
    """Prints what `ask` measured, compared with the candidates in MiB."""
    print(f"load                          {measured['load_seconds']:6.1f} s")
    for name, key in (("loaded", "loaded"), ("at most, all batches", "peak")):
        memory = measured[key] / MIB
        print(
            f"memory, {name:<22} {memory:5.0f} MiB, {memory / matrix:.2f} x candidates"
        )
    print(f"\nbatch   recommend, ms   NumPy, ms   ratio   (k = {K})")
    for batch, (ours, numpy) in zip(BATCHES, measured["times"], strict=True):
        print(
            f"{batch:5}   {1e3 * ours:13.0f}   {1e3 * numpy:9.0f}   {ours / numpy:5.2f}"
        )


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """Returns what `call` returns and the seconds it took."""
    start = time.perf_counter()
    result = call()
    return result, time.perf_counter() - start


def resident(field: str) -> int:
    """Returns the memory of this process in bytes, or its peak."""
    status = pathlib.Path("/proc/self/status").read_text()
    return 1024 * int(status.split(f"{field}:")[1].split()[0])


if __name__ == "__main__":
    main()
