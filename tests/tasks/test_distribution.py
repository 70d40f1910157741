"""The task on several replicas: the loss and gradient of one device, and how it fails.

Every strategy runs in separate processes: see `distributed_run`.
"""

from __future__ import annotations

import json
import os
import pathlib
import pickle
import socket
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.slow

SCRIPT = pathlib.Path(__file__).with_name("distributed_run.py")
PYTHONPATH = [*filter(None, [os.environ.get("PYTHONPATH")]), str(SCRIPT.parents[2])]
TIMEOUT = 480  # Seconds; a worker whose fellow has died waits forever.

MIRRORED = ["mirrored_2", "mirrored_4"]
DISTRIBUTED = [*MIRRORED, "workers"]
EVERYWHERE = ["one_device", *DISTRIBUTED]
PAIRS = ["one_device", "mirrored_2", "workers"]


def task(rows, dim, strategies=EVERYWHERE, **case):
    """The raw task, and the gradients of the embeddings."""
    case.setdefault("options", {})
    return {"run": "task", "strategies": strategies, "rows": rows, "dim": dim, **case}


def fit(rows, dim, strategies=EVERYWHERE, **case):
    """`fit` with batches of 16, of which the last may be smaller."""
    case = {"batch_size": 16, **case}
    return {"run": "fit", "strategies": strategies, "rows": rows, "dim": dim, **case}


# Of 7 rows two replicas have 4 and 3, four have 2, 2, 2 and 1. Their numbers are known
# only when the step runs, unless `known_shape`.
EXACT_TASKS = {
    "gather": task(16, 64, PAIRS, known_shape=True, weighted=True),
    "gather, unequal": task(7, 64),
    "gather, though C is cheaper": task(27, 8, ["one_device", "mirrored_2"]),
    "gather, forced, weighted": task(
        27, 8, ["one_device", "workers"], weighted=True, options={"algorithm": "gram"}
    ),
    "sums": task(64, 8, PAIRS, known_shape=True),
    "sums, forced, unequal, weighted": task(
        27, 8, weighted=True, options={"algorithm": "direct"}
    ),
    "sums, another weight": task(
        32,
        8,
        ["one_device", "mirrored_4"],
        known_shape=True,
        options={"off_diagonal_weight": "auto", "scale": 0.5},
    ),
    # The last replica's single row would choose otherwise than the three of the others.
    "sums, unequal, known": task(
        10, 12, ["one_device", "mirrored_4"], known_shape=True
    ),
}
# A last batch of 11 falls into 6 and 5 rows, one of 10 into 3, 3, 3 and 1.
EXACT_FITS = {
    "gather, last batch of 10": fit(26, 32, ["one_device", "mirrored_4"]),
    "gather, last batch of 11, weighted": fit(
        27, 32, ["one_device", "mirrored_2", "workers"], weighted=True
    ),
    "sums in fit": fit(48, 8, ["one_device", "mirrored_4"], drop_remainder=True),
    # Workers do not know the shape of what `fit` gives them, even so.
    "sums in fit, forced": fit(27, 8, ["one_device", "workers"], algorithm="direct"),
    "Adam": fit(27, 32, ["one_device", "mirrored_2"], optimizer="Adam"),
}
OTHERS = {
    "local statistics": task(16, 8, ["one_device", "mirrored_4"], task="LocalTask"),
    "not divided": task(16, 8, ["one_device", "mirrored_4"], task="UndividedTask"),
    "norm not synchronized": fit(
        32, 32, ["one_device", "mirrored_2"], synchronized=False
    ),
    "regularized": fit(32, 32, ["one_device", "mirrored_2"], l2=0.02),
    "regularized twice": fit(32, 32, ["one_device"], l2=0.04),
    "regularized, ours": fit(32, 32, ["mirrored_2"], l2=0.02, model="ModelOfOurs"),
    # The last batch falls into 3, 3, 3 and 0 rows.
    "a replica without rows": fit(25, 32, ["one_device", "mirrored_4"]),
    "joint": {"run": "joint", "strategies": PAIRS, "rows": 26},
    "views": {"run": "views", "strategies": PAIRS},
}
CASES = {**EXACT_FITS, **OTHERS, **EXACT_TASKS}
assert list(CASES)[-1] == "sums, unequal, known"  # A strategy may not survive it.

# The rest are those of a replica's own rows.
GLOBAL_METRICS = ("loss", "invariance", "redundancy", "floor", "excess", "dead_columns")


def start(strategy, folder, environment=None, name=None):
    results = folder / f"{name or strategy}.pickle"
    log = results.with_suffix(".log")
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, SCRIPT, strategy, folder / "cases.json", results],
            env={
                **os.environ,
                "TF_USE_LEGACY_KERAS": "1",
                "TF_CPP_MIN_LOG_LEVEL": "3",
                "CUDA_VISIBLE_DEVICES": "",
                "PYTHONPATH": os.pathsep.join(PYTHONPATH),
                **(environment or {}),
            },
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    return process, log, results


def start_workers(folder, number=2):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    return [
        start(
            "workers",
            folder,
            {
                "TF_CONFIG": json.dumps(
                    {
                        "cluster": {"worker": addresses},
                        "task": {"type": "worker", "index": index},
                    }
                )
            },
            f"worker_{index}",
        )
        for index in range(number)
    ]


def collect(processes):
    """Returns what the processes of a strategy have found, or why they failed."""
    for process, log, _ in processes:
        try:
            code = process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            code = f"none within {TIMEOUT} s"
        if code != 0:
            return f"{log.name}, exit code {code}:\n{log.read_text()[-6000:]}"
    found = [pickle.loads(results.read_bytes()) for _, _, results in processes]
    return {name: joined([one[name] for one in found]) for name in found[0]}


def joined(results):
    """Returns the results of several workers as those of one with all replicas."""
    together = dict(results[0])
    if "gradients" in together:
        views = zip(*(result["gradients"] for result in results), strict=True)
        together["gradients"] = [np.concatenate(view) for view in views]
    for calls in {"unbroken", "restored"} & set(together):
        by_call = zip(*(result[calls] for result in results), strict=True)
        together[calls] = [
            [view for worker in call for view in worker] for call in by_call
        ]
    return together


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The results of all cases, by strategy and name."""
    folder = tmp_path_factory.mktemp("distribution")
    (folder / "cases.json").write_text(json.dumps(CASES))
    started = {name: [start(name, folder)] for name in ("one_device", *MIRRORED)}
    started["workers"] = start_workers(folder)
    try:
        yield {strategy: collect(started[strategy]) for strategy in started}
    finally:
        for processes in started.values():
            for process, _, _ in processes:
                process.kill()
                process.wait()


def on_replicas(cases):
    """Parametrizes a test by case and strategy."""
    return pytest.mark.parametrize(
        ("case", "strategy"),
        [
            (name, strategy)
            for name, case in cases.items()
            for strategy in case["strategies"]
            if strategy != "one_device"
        ],
    )


def result(runs, case, strategy):
    assert not isinstance(runs[strategy], str), runs[strategy]
    found = runs[strategy][case]
    assert "error" not in found, found["error"]
    return found


def deviation(ours, expected):
    """Returns the largest difference of two lists of arrays, by the largest value."""
    pairs = list(zip(ours, expected, strict=True))
    assert all(one.shape == other.shape for one, other in pairs)
    difference = max(np.abs(one - other).max() for one, other in pairs)
    return difference / max(np.abs(other).max() for _, other in pairs)


def assert_same_metrics(ours, expected, tolerance):
    scale = expected["task/loss"]
    for name in (f"task/{metric}" for metric in GLOBAL_METRICS):
        assert ours[name] == pytest.approx(
            expected[name], rel=tolerance, abs=tolerance * scale
        ), name


@on_replicas(EXACT_TASKS)
def test_loss_and_gradients_are_those_of_one_device(
    runs: dict[str, Any], case: str, strategy: str
) -> None:
    ours, expected = (result(runs, case, one) for one in (strategy, "one_device"))
    assert ours["loss"] == pytest.approx(expected["loss"], rel=1e-6)
    assert deviation(ours["gradients"], expected["gradients"]) < 1e-6
    assert_same_metrics(ours["metrics"], expected["metrics"], 1e-6)


@on_replicas({**EXACT_TASKS, **EXACT_FITS})
def test_the_cheaper_communication_is_chosen(
    runs: dict[str, Any], case: str, strategy: str
) -> None:
    sent, dim = result(runs, case, strategy)["sent"], CASES[case]["dim"]
    shares_of_c = ("all_reduce", (dim, dim))
    gathered = {shape[-1] for how, shape in sent if how == "all_gather"}
    if case.startswith("sums"):
        assert shares_of_c in sent
        assert not gathered
    else:
        assert dim in gathered
        assert shares_of_c not in sent


@on_replicas(EXACT_FITS)
def test_fit_is_that_of_one_device(
    runs: dict[str, Any], case: str, strategy: str
) -> None:
    """Six steps of SGD, to 1e-6; Adam divides by gradients that may be rounding."""
    tolerance = 1e-5 if case == "Adam" else 1e-6
    ours, expected = (result(runs, case, one) for one in (strategy, "one_device"))
    for weights in ("trainable", "moving"):
        for one, other in zip(ours[weights], expected[weights], strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=tolerance)
    assert_same_metrics(ours["metrics"], expected["metrics"], tolerance)
    for shown in ("loss", "total_loss"):
        assert ours["history"][shown] == pytest.approx(
            expected["history"][shown], rel=tolerance
        )


@on_replicas(EXACT_FITS)
def test_fit_shows_the_metrics(runs: dict[str, Any], case: str, strategy: str) -> None:
    """But tf_keras sums up what workers show, although each shows the mean of all."""
    shown = {
        name: values[-1]
        for name, values in result(runs, case, strategy)["history"].items()
    }
    if strategy == "workers":
        shown = {name: value / 2 for name, value in shown.items()}
    expected = result(runs, case, "one_device")["metrics"]
    assert_same_metrics(shown, expected, 1e-5)


def test_local_statistics_would_be_another_loss(runs: dict[str, Any]) -> None:
    local, whole = (
        result(runs, "local statistics", one) for one in ("mirrored_4", "one_device")
    )
    assert local["loss"] != pytest.approx(whole["loss"], rel=1e-1)
    assert deviation(local["gradients"], whole["gradients"]) > 1e-1


def test_an_undivided_loss_would_count_each_replica(runs: dict[str, Any]) -> None:
    undivided, whole = (
        result(runs, "not divided", one) for one in ("mirrored_4", "one_device")
    )
    assert undivided["loss"] == pytest.approx(4 * whole["loss"], rel=1e-6)
    expected = [4 * gradient for gradient in whole["gradients"]]
    assert deviation(undivided["gradients"], expected) < 1e-6


def test_a_norm_that_is_not_synchronized_would_be_wrong(runs: dict[str, Any]) -> None:
    ours, expected = (
        result(runs, "norm not synchronized", one)
        for one in ("mirrored_2", "one_device")
    )
    assert deviation(ours["trainable"], expected["trainable"]) > 1e-3


def test_tfrs_regularizes_once_for_each_replica(runs: dict[str, Any]) -> None:
    ours = result(runs, "regularized", "mirrored_2")
    once, twice = (
        result(runs, case, "one_device")
        for case in ("regularized", "regularized twice")
    )
    assert deviation(ours["trainable"], once["trainable"]) > 1e-3
    assert deviation(ours["trainable"], twice["trainable"]) < 1e-6


def test_our_models_regularize_once(runs: dict[str, Any]) -> None:
    ours = result(runs, "regularized, ours", "mirrored_2")
    expected = result(runs, "regularized", "one_device")
    assert deviation(ours["trainable"], expected["trainable"]) < 1e-6
    assert ours["history"]["regularization_loss"] == pytest.approx(
        expected["history"]["regularization_loss"], rel=1e-6
    )


def test_a_replica_without_rows_keeps_the_weights_exact(runs: dict[str, Any]) -> None:
    """But not Keras' moving statistics: those of such a replica are of no rows."""
    ours, expected = (
        result(runs, "a replica without rows", one)
        for one in ("mirrored_4", "one_device")
    )
    assert deviation(ours["trainable"], expected["trainable"]) < 1e-6
    assert deviation(ours["moving"], expected["moving"]) > 1e-3
    for shown in ("loss", "task/loss"):
        assert ours["history"][shown] == pytest.approx(
            expected["history"][shown], rel=1e-6
        )


def test_a_replica_without_rows_does_not_spoil_the_metrics(
    runs: dict[str, Any],
) -> None:
    history = result(runs, "a replica without rows", "mirrored_4")["history"]
    assert not [name for name, values in history.items() if np.isnan(values).any()]


@pytest.mark.parametrize("strategy", PAIRS[1:])
def test_joint_training_is_that_of_one_device(
    runs: dict[str, Any], strategy: str
) -> None:
    """Retrieval too: the rows of other replicas are negatives, as on one device."""
    ours, expected = (result(runs, "joint", one) for one in (strategy, "one_device"))
    assert deviation(ours["trainable"], expected["trainable"]) < 1e-6
    if strategy != "workers":  # Where tf_keras sums up what is shown.
        for shown in ("loss", "retrieval/loss", "barlow_twins/loss"):
            assert ours["history"][shown] == pytest.approx(
                expected["history"][shown], rel=1e-5
            )


@pytest.mark.parametrize("strategy", PAIRS[1:])
def test_replicas_draw_different_views_of_the_same_rows(
    runs: dict[str, Any], strategy: str
) -> None:
    on_one = result(runs, "views", "one_device")["unbroken"]
    for (first, second), (alone,) in zip(
        result(runs, "views", strategy)["unbroken"], on_one, strict=True
    ):
        assert np.mean(first != second) > 0.1
        np.testing.assert_array_equal(first, alone)


@pytest.mark.parametrize("strategy", PAIRS)
def test_restored_views_continue_where_they_were(
    runs: dict[str, Any], strategy: str
) -> None:
    views = result(runs, "views", strategy)
    calls = views["unbroken"]
    assert not np.array_equal(calls[0], calls[1])
    assert not np.array_equal(calls[1], calls[2])
    np.testing.assert_array_equal(views["restored"], calls[1:])
