"""What a served model bears: eight clients at once, new versions, bad requests.

    python -m benchmarks.serving_load --data_dir=path/to/ml-1m
    python -m benchmarks.serving_load

Trains for a moment on MovieLens-1M, or on a synthetic log of its size, exports, and
starts `tfrs_barlow.serving` in another process. Eight clients, a process each, ask
`recommend` over gRPC for the ten best items after each user's last 100; a client sends
its next request when the last one is answered. A server of the same kind, which does
the same mathematics in NumPy and nothing else, then gets the same requests.

In two more runs new versions come in while the clients ask, and requests that are
malformed in six ways are sent as well. In the end every different answer that a
client got is compared with what NumPy makes of its request and of the version that
answered.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import functools
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import grpc
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

import tfrs_barlow as tfrsb
from benchmarks.measure import machine
from benchmarks.serving_load_client import Clients, Outcome
from benchmarks.serving_load_peer import NumpyModel

Array = npt.NDArray[Any]

BATCHES = (1, 32)
K = 10
LENGTH = 100
REQUESTS = 64  # Different ones, for each size of batch.
TOLERANCE = 1e-5

MALFORMED = {
    "wrong dtype": {"history": [["Alien"]]},
    "rank 3": {"history": np.int64([[[1]]])},
    "k = 0": {"history": np.int64([[1]]), "k": 0},
    "k > items": {"history": np.int64([[1]]), "k": 10**6},
    "a string of 1 MB": {"history": [["x" * 2**20]]},
    "no history": {"k": K},
}


class Server(NamedTuple):
    """A server that runs, and where."""

    process: subprocess.Popen[str]
    address: str


class Run(NamedTuple):
    """What a server was asked, what that cost it, and what its clients have met."""

    name: str
    histories: Array
    seconds: float
    cpu_seconds: float
    outcome: Outcome


def main() -> None:
    """Prints the measurements."""
    flags = _flags()
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        histories, models = write(folder, flags)
        ours = ["tfrs_barlow.serving", "--port=0", str(folder / "films")]
        peer = ["benchmarks.serving_load_peer", str(folder / "model.npz")]
        runs, refusals = [], collections.Counter[str]()
        for title, command in (("ours", ours), ("NumPy", peer)):
            with serving(command) as server:
                runs += [measure(title, server, asked, flags) for asked in histories]
        with serving(ours) as server:
            for asked in histories:
                with disturbed(folder, models, server, flags, refusals):
                    runs.append(measure("ours, disturbed", server, asked, flags))
    answers = [check_answers(run, models) for run in runs]
    report(runs, answers, refusals)


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving_load",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data_dir", type=pathlib.Path, help="where MovieLens-1M is")
    for flag, default, meaning in (
        ("--seconds", 60, "how long each run takes"),
        ("--clients", 8, "how many ask at once"),
        ("--steps", 100, "of training"),
        ("--versions", 5, "how many come in during a disturbed run"),
    ):
        help_text = f"{meaning} (default: {default})"
        parser.add_argument(flag, type=int, default=default, help=help_text)
    return parser.parse_args()


# --- The model


def write(
    folder: pathlib.Path, flags: argparse.Namespace
) -> tuple[list[Array], list[NumpyModel]]:
    """Exports a model into `folder/films`, and its weights next to it.

    Returns:
        Histories to ask for, of shape [requests, batch, LENGTH] for each of `BATCHES`;
        and what NumPy makes of the odd versions and of the even ones.
    """
    if flags.data_dir is None:
        log = tfrsb.data.generate_synthetic_log(6_040, 3_706, 18, mean_length=165)
    else:
        log = tfrsb.data.load_movielens("ml-1m", flags.data_dir)
    sequences, vocabulary = tfrsb.data.build_sequences(log)
    encoder, candidates = train(sequences, vocabulary, flags.steps)
    version = tfrsb.serving.export(
        encoder,
        folder / "films",
        vocabulary=vocabulary,
        candidates=candidates,
        max_length=LENGTH,
    )
    weights = {
        weight.name.split("/")[-1].removesuffix(":0"): weight.numpy()
        for weight in encoder.weights
    }
    tokens = np.array(list(vocabulary.tokens))
    arrays = {**weights, "items": tokens, "candidates": candidates}
    np.savez(folder / "model.npz", **arrays)
    print(f"{log}\n{len(tokens)} items, version {version.name}", flush=True)
    other = {**arrays, "candidates": candidates[::-1]}
    return histories_of(sequences, tokens), [NumpyModel(arrays), NumpyModel(other)]


def train(
    sequences: tfrsb.data.UserSequences, vocabulary: tfrsb.data.Vocabulary, steps: int
) -> tuple[tf.keras.layers.Layer, Array]:
    """Returns an encoder and the embeddings of all items, after a short training."""
    tf.keras.utils.set_random_seed(0)
    encoder = tfrsb.layers.ItemPoolingEncoder(vocabulary.size)
    items = tf.keras.layers.Embedding(vocabulary.size, encoder.output_dim)
    model = tfrsb.models.JointModel(
        tfrsb.models.DualEncoder(encoder, items),
        tfrsb.models.BarlowTwinsPretraining(encoder),
    )
    model.compile(tf.keras.optimizers.Adam(3e-3))
    batches = tfrsb.data.training_batches(sequences, batch_size=128, length=LENGTH)
    model.fit(batches, steps_per_epoch=steps, verbose=0)
    return encoder, items.get_weights()[0][tfrsb.data.FIRST_ITEM_ID :]


def histories_of(sequences: tfrsb.data.UserSequences, tokens: Array) -> list[Array]:
    """Returns histories of random users, for each batch size, padded in front."""
    rng = np.random.default_rng(0)
    found = []
    for batch in BATCHES:
        users = rng.choice(len(sequences), REQUESTS * batch, replace=False)
        recent = sequences.select(users).most_recent(LENGTH)
        rows = np.full([len(users), LENGTH], -1)
        is_item = np.arange(LENGTH) >= LENGTH - recent.lengths[:, np.newaxis]
        rows[is_item] = tokens[recent.item_ids - tfrsb.data.FIRST_ITEM_ID]
        found.append(rows.reshape(REQUESTS, batch, LENGTH))
    return found


# --- Servers and their clients


@contextlib.contextmanager
def serving(command: Sequence[str]) -> Iterator[Server]:
    """Runs a server, a module and its flags, in another process."""
    with socket.create_server(("localhost", 0)) as listener:
        port = listener.getsockname()[1]
    flag = "--grpc_port" if "tfrs_barlow.serving" in command else "--port"
    process = subprocess.Popen(
        [sys.executable, "-m", *command, f"{flag}={port}"],
        # Threads inside a product of NumPy's would only wait for each other here.
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if "gRPC" in line:
                break
        else:
            raise RuntimeError(f"{command[0]} has ended; its error stands above.")
        # Somebody has to read on, or the server would wait for it one day.
        threading.Thread(target=collections.deque, args=[process.stdout, 0]).start()
        yield Server(process, f"localhost:{port}")
        if process.poll() is not None:
            raise RuntimeError(f"{command[0]} has ended under load.")
    finally:
        process.terminate()
        process.wait()


def measure(
    name: str, server: Server, histories: Array, flags: argparse.Namespace
) -> Run:
    """Has the clients ask for the histories."""
    messages = [request(history=rows, k=K) for rows in histories]
    serialized = [message.SerializeToString() for message in messages]
    clients = Clients(server.address, serialized, flags.clients)
    before, start = cpu_seconds(server.process.pid), time.perf_counter()
    clients.start(flags.seconds)
    outcome = clients.join()
    seconds = time.perf_counter() - start
    cpu = cpu_seconds(server.process.pid) - before
    print(f"{name}, {histories.shape[1]}: {len(outcome.latencies)} answers", flush=True)
    return Run(name, histories, seconds, cpu, outcome)


@contextlib.contextmanager
def disturbed(
    folder: pathlib.Path,
    models: Sequence[NumpyModel],
    server: Server,
    flags: argparse.Namespace,
    refusals: collections.Counter[str],
) -> Iterator[None]:
    """Writes new versions meanwhile, and sends bad requests; counts their statuses."""
    done = threading.Event()

    def publish() -> None:
        for _ in range(flags.versions):
            if done.wait(flags.seconds / (flags.versions + 1)):
                return
            number = max(int(path.name) for path in (folder / "films").glob("[1-9]*"))
            model = models[number % 2]  # The next one is number + 1.
            tfrsb.serving.replace_candidates(
                folder / "films",
                items=model.items.tolist(),
                candidates=model.candidates,
            )

    def send_malformed() -> None:
        with grpc.insecure_channel(server.address) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            while not done.wait(0.1):
                for kind, inputs in MALFORMED.items():
                    status = "OK"
                    try:
                        stub.Predict(request(**inputs), timeout=30)
                    except grpc.RpcError as error:
                        status = error.code().name
                    refusals[f"{kind}: {status}"] += 1

    threads = [threading.Thread(target=target) for target in (publish, send_malformed)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join()


def request(**inputs: Any) -> Any:
    """Returns the message that asks `recommend`."""
    message = predict_pb2.PredictRequest()
    message.model_spec.name = "films"
    message.model_spec.signature_name = "recommend"
    for name, value in inputs.items():
        message.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return message


def cpu_seconds(pid: int) -> float:
    """Returns the CPU time that a process has taken, of all its threads."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# --- What came of it


def check_answers(run: Run, models: Sequence[NumpyModel]) -> collections.Counter[int]:
    """Compares all different answers with NumPy, and counts them by their version.

    Items that are equally good but for rounding may stand in either order.
    """

    @functools.cache
    def expected(number: int, odd: int) -> tuple[Array, Array]:
        model = models[0] if odd else models[1]
        scores = model.scores(run.histories[number])
        return scores, -np.sort(-scores, axis=1)[:, :K]

    versions: collections.Counter[int] = collections.Counter()
    for number, content in run.outcome.answers:
        answer = predict_pb2.PredictResponse.FromString(content)
        version = answer.model_spec.version.value
        scores, best = expected(number, version % 2)
        ids, found = (tf.make_ndarray(answer.outputs[key]) for key in ("ids", "scores"))
        places = np.searchsorted(models[0].items, ids)
        of_ids = np.take_along_axis(scores, places, axis=1)
        for ours in (of_ids, found):
            np.testing.assert_allclose(ours, best, rtol=TOLERANCE, atol=TOLERANCE)
        versions[version] += 1
    return versions


def report(
    runs: Sequence[Run],
    answers: Sequence[collections.Counter[int]],
    refusals: collections.Counter[str],
) -> None:
    """Prints the table, and what became of the bad requests."""
    print(
        "\nbatch   server            requests/s   histories/s   p50, ms   p99, ms   "
        "server CPU, ms/request   failed   versions"
    )
    for run, versions in zip(runs, answers, strict=True):
        batch, latencies = run.histories.shape[1], run.outcome.latencies
        rate = len(latencies) / run.seconds
        p50, p99 = 1e3 * np.percentile(latencies, [50, 99])
        cpu = 1e3 * run.cpu_seconds / len(latencies)
        print(
            f"{batch:5}   {run.name:<15}   {rate:10.0f}   {rate * batch:11.0f}   "
            f"{p50:7.1f}   {p99:7.1f}   {cpu:22.2f}   "
            f"{run.outcome.failures.total():6}   {len(versions):8}"
        )
        for status, number in run.outcome.failures.items():
            print(f"        {number} times {status}")
    checked = sum(versions.total() for versions in answers)
    print(f"{checked} different answers are as they should be")
    for status, number in sorted(refusals.items()):
        print(f"{number:6} times {status}")


if __name__ == "__main__":
    main()
