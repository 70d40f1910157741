"""A client of `benchmarks.serving_load`: asks again and again, and times the answers.

It knows gRPC alone and sends and keeps bytes, so that eight of them, in a process each,
leave as much of the machine to the server as they can.
"""

from __future__ import annotations

import base64
import collections
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import grpc

PREDICT = "/tensorflow.serving.PredictionService/Predict"


class Outcome(NamedTuple):
    """What clients have met.

    Attributes:
        latencies: The seconds that each answered request took.
        failures: By the name of its status how often a request failed.
        answers: The different answers, each with the number of its request.
    """

    latencies: list[float]
    failures: collections.Counter[str]
    answers: set[tuple[int, bytes]]


class Clients:
    """Processes that ask at the same time."""

    def __init__(self, address: str, requests: Sequence[bytes], count: int) -> None:
        """Starts them, and waits until they are connected.

        Args:
            address: That of the server.
            requests: Serialized messages, which every client sends in turn, from
                another one on.
            count: How many clients.
        """
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.serving_load_client"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(count)
        ]
        encoded = [base64.b64encode(request).decode() for request in requests]
        for number, process in enumerate(self._processes):
            first = number * len(requests) // count
            _send(process, {"address": address, "requests": encoded, "first": first})
        for process in self._processes:
            _receive(process)

    def start(self, seconds: float) -> None:
        """Lets them ask for so long."""
        for process in self._processes:
            _send(process, seconds)

    def join(self) -> Outcome:
        """Waits for the clients, and returns what they have met."""
        outcome = Outcome([], collections.Counter(), set())
        for process in self._processes:
            met = _receive(process)
            outcome.latencies.extend(met["latencies"])
            outcome.failures.update(met["failures"])
            outcome.answers.update(
                (number, base64.b64decode(answer)) for number, answer in met["answers"]
            )
            process.communicate()
        return outcome


def ask(
    predict: Any, requests: Sequence[bytes], first: int, seconds: float
) -> dict[str, Any]:
    """Sends a request, and the next one when it is answered, for so long."""
    latencies, answers = [], set()
    failures: collections.Counter[str] = collections.Counter()
    numbers = itertools.islice(itertools.cycle(range(len(requests))), first, None)
    end = time.perf_counter() + seconds
    while (start := time.perf_counter()) < end:
        number = next(numbers)
        try:
            answer = predict(requests[number], timeout=30)
        except grpc.RpcError as error:
            failures[error.code().name] += 1
            continue
        latencies.append(time.perf_counter() - start)
        answers.add((number, answer))
    encoded = [(number, base64.b64encode(a).decode()) for number, a in answers]
    return {"latencies": latencies, "failures": failures, "answers": encoded}


def main() -> None:
    """Connects, reports that, and asks once it learns for how long."""
    task = json.loads(sys.stdin.readline())
    requests = [base64.b64decode(request) for request in task["requests"]]
    with grpc.insecure_channel(task["address"]) as channel:
        grpc.channel_ready_future(channel).result(timeout=60)
        print(json.dumps("ready"), flush=True)
        seconds = json.loads(sys.stdin.readline())
        met = ask(channel.unary_unary(PREDICT), requests, task["first"], seconds)
    print(json.dumps(met), flush=True)


def _send(process: subprocess.Popen[str], message: Any) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(message) + "\n")
    process.stdin.flush()


def _receive(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError("A client has ended; its error stands above.")
    return json.loads(line)


if __name__ == "__main__":
    main()
