"""CPU time and peak memory of one step, each measured in a fresh process.

CPU time, not wall time, since other programs share the machine; the minimum over
repetitions, since they share its caches too. A fresh process, since an allocator that
has served one implementation serves the next one differently.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import pathlib
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

Step = Callable[[], tuple[Any, ...]]
"""Computes a scalar and its gradients, which are dropped: only their cost counts."""

ONE_THREAD = {
    "CUDA_VISIBLE_DEVICES": "",
    "MKL_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
}

_OUT_OF_REACH = str(2**46)


class Allocator(NamedTuple):
    """How glibc hands out large buffers.

    Attributes:
        environment: The variables that configure it.
        warm_up: How many steps it takes until their cost is steady.
    """

    environment: Mapping[str, str]
    warm_up: int


ALLOCATORS = {
    # Every large buffer is mapped anew, and each of its pages faults at its first use.
    "default": Allocator({}, warm_up=1),
    # With the thresholds out of reach it comes from the heap and goes back to it, so
    # that the faults are paid once, when the heap grows. Heaps of threads other than
    # the main one, such as that of torch's backward pass, cannot grow so large and
    # would keep mapping: so all threads share the main heap.
    "retaining": Allocator(
        {
            "MALLOC_ARENA_MAX": "1",
            "MALLOC_MMAP_THRESHOLD_": _OUT_OF_REACH,
            "MALLOC_TRIM_THRESHOLD_": _OUT_OF_REACH,
        },
        warm_up=4,
    ),
}


class Measurement(NamedTuple):
    """What a step costs.

    Attributes:
        cpu_ms: User and system time of all threads: the least over the repetitions.
        peak_mib: By how much the process grew at most.
        repetitions: How many there were, after the warm-up.
        value: The scalar that the step computes.
    """

    cpu_ms: float
    peak_mib: float
    repetitions: int
    value: float


class ProcessError(RuntimeError):
    """A measuring process failed."""


def measure(step: Step, budget_s: float, warm_up: int) -> Measurement:
    """Measures a step in this process, which should have done little else.

    Args:
        step: The step; its inputs exist already.
        budget_s: How much CPU time to repeat it for. It runs once even if that takes
            longer.
        warm_up: How many steps go first that count for the memory only.

    Returns:
        The `Measurement`.
    """
    baseline = _reset_peak_mib()
    for _ in range(warm_up):
        step()
    best, spent, repetitions = float("inf"), 0.0, 0
    while not repetitions or spent < budget_s:
        seconds, value = _timed(step)
        best, spent, repetitions = min(best, seconds), spent + seconds, repetitions + 1
    return Measurement(1e3 * best, _peak_mib() - baseline, repetitions, value)


def least(one: Measurement, other: Measurement) -> Measurement:
    """Returns the lesser values of two measurements of the same step."""
    return one._replace(
        cpu_ms=min(one.cpu_ms, other.cpu_ms), peak_mib=min(one.peak_mib, other.peak_mib)
    )


def in_fresh_process(
    arguments: Sequence[str], environment: Mapping[str, str]
) -> Measurement:
    """Runs `python -m arguments`, which prints a measurement by `to_json` at its end.

    Args:
        arguments: A module and its flags.
        environment: What to add to the environment: see `ALLOCATORS`.

    Returns:
        The `Measurement`.

    Raises:
        ProcessError: If the process fails, with the last line that it printed.
    """
    process = subprocess.run(
        [sys.executable, "-m", *arguments],
        env={**os.environ, **ONE_THREAD, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode:
        lines = process.stderr.strip().splitlines() or [f"rc {process.returncode}"]
        raise ProcessError(lines[-1])
    return Measurement(**json.loads(process.stdout.splitlines()[-1]))


def to_json(measurement: Measurement) -> str:
    """Returns a measurement as one line, for `in_fresh_process` to read."""
    return json.dumps(measurement._asdict())


def machine() -> str:
    """Describes the machine that the measurements were made on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{_cpu_model()}, {os.cpu_count()} cores, {memory:.0f} GiB, "
        f"{' '.join(platform.libc_ver())}, Python {platform.python_version()}"
    )


def _timed(step: Step) -> tuple[float, float]:
    """Returns the CPU time of one call in seconds, and the scalar that it computes."""
    start = time.process_time()
    results = step()
    value = float(results[0])  # Waits for it, where a framework computes later.
    return time.process_time() - start, value


def _reset_peak_mib() -> float:
    """Forgets the peak so far, and returns what is in use."""
    gc.collect()
    # Memory freed after importing, warming up and making the inputs must go back to the
    # system: if the step used it again, it would not count as growth.
    ctypes.CDLL(None).malloc_trim(0)
    # Unlike `VmHWM`, `ru_maxrss` cannot be reset and includes the parent's peak.
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    return _peak_mib()


def _peak_mib() -> float:
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return float(line.split()[1]) / 2**10
    raise OSError("/proc/self/status has no VmHWM: peak memory needs Linux.")


def _cpu_model() -> str:
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()
