"""Generators of hostile inputs: a fixed seed, and a limit of time for each."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator

import pytest

SEED = int(os.environ.get("TFRS_BARLOW_HOSTILE_SEED", "0"))
SECONDS = float(os.environ.get("TFRS_BARLOW_HOSTILE_SECONDS", "20"))

Draws = Callable[[], Iterator[random.Random]]


@pytest.fixture
def draws(request: pytest.FixtureRequest) -> Iterator[Draws]:
    """Yields a generator of inputs for as long as the limit allows, and counts them.

    The n-th input is the same in every run: an error names its number, and
    `random.Random(f"{SEED}-{number}")` draws it again.
    """
    count = 0

    def until_time_is_over() -> Iterator[random.Random]:
        nonlocal count
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            yield random.Random(f"{SEED}-{count}")
            count += 1

    yield until_time_is_over
    print(f"{request.node.name}: {count:,} inputs")
    assert count, "the limit of time was too short for a single input"
