"""Requests that no client would send, and damaged exports."""

from __future__ import annotations

import contextlib
import json
import pathlib
import random
import resource
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

import tfrs_barlow as tfrsb
from tests.hostile.conftest import Draws

pytest.importorskip("starlette", reason="needs the extra serve")
predict_pb2 = pytest.importorskip("tensorflow_serving.apis.predict_pb2")

from tfrs_barlow.serving.local import rest_api  # noqa: E402
from tfrs_barlow.serving.local.errors import CLIENT_ERRORS, message_of  # noqa: E402
from tfrs_barlow.serving.local.grpc_api import Services  # noqa: E402
from tfrs_barlow.serving.local.servable import Servable  # noqa: E402
from tfrs_barlow.serving.local.versions import Versions  # noqa: E402

pytestmark = pytest.mark.hostile

PEAK = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + 2 * 2**20
"""In KiB."""

ITEMS = [f"item {number}" for number in range(20)]
SIZES = (0, 1, 2, 3, 7, 33, 1024, 2**20, 2**31, 2**40, 2**62, -1, -(2**62))
NUMBERS = (0, 1, 2, 20, 21, -1, 2**31 - 1, 2**31, -(2**31), 2**63 - 1, -(2**63))


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    rows = tf.random.stateless_normal([23, 4], seed=[0, 0])
    return tfrsb.serving.export(
        lambda ids: tf.reduce_sum(tf.gather(rows, ids), axis=1),
        tmp_path_factory.mktemp("models") / "items",
        vocabulary=tfrsb.data.Vocabulary(ITEMS),
        candidates=rows[3:],
        popularity=[*range(20)],
        max_length=5,
    )


@pytest.fixture(scope="module")
def versions(version: pathlib.Path) -> Versions[Servable]:
    return Versions(version, Servable)


class RefusedError(Exception):
    """What the context of gRPC raises to end a call."""


class Context:
    """The context of a call, without a socket."""

    def abort(self, code: Any, details: str) -> None:
        assert code.name in ("INVALID_ARGUMENT", "NOT_FOUND", "OUT_OF_RANGE")
        assert details and details.encode()
        raise RefusedError(details)


def assert_answers(versions: Versions[Servable]) -> None:
    """The server answers a good request, and has never held gigabytes."""
    answer = rest_api.predict_json(versions.current, {"instances": [["item 3"]]})
    assert len(answer["predictions"][0]["ids"]) == 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < PEAK


def word(draw: random.Random) -> str:
    words = ("", "item 3", "x" * draw.choice((1, 300, 2**16)), "\ud800", "é\0")
    return draw.choice(words)


def example(draw: random.Random) -> bytes:
    message = tf.train.Example()
    for name in draw.sample(["history", "k", "excluded", "exclude_history"], 2):
        feature = message.features.feature[name]
        match draw.randrange(3):
            case 0:
                feature.int64_list.value.extend(draw.choices(NUMBERS, k=2))
            case 1:
                feature.bytes_list.value.extend([b"item 3"] * draw.randrange(2000))
            case 2:
                feature.float_list.value.append(1.5)
    content = bytearray(message.SerializeToString())
    if content and not draw.randrange(4):
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return bytes(content)


def proto(draw: random.Random, name: str, info: Any) -> Any:
    """A tensor that mostly has the right type, and any shape."""
    message = tensor_pb2.TensorProto(dtype=info.dtype)
    if not draw.randrange(8):
        message.dtype = draw.randrange(0, 140)
    rank = draw.choice((0, 1, 2, 2, 3, 8, 9, 33, 65, 254, 300))
    if draw.randrange(3):
        rank = len(info.tensor_shape.dim)
    few = draw.randrange(2)
    for _ in range(rank):
        message.tensor_shape.dim.add().size = draw.choice(SIZES[:4] if few else SIZES)
    message.tensor_shape.unknown_rank = not draw.randrange(20)
    for _ in range(draw.choice((0, 1, 1, 2, 4, 9))):
        if name == "examples":
            message.string_val.append(example(draw))
        else:
            message.string_val.append(word(draw).encode(errors="replace"))
        message.int64_val.append(draw.choice(NUMBERS))
        message.int_val.append(draw.choice(NUMBERS[:7]))
        message.bool_val.append(bool(draw.randrange(2)))
    if not draw.randrange(8):
        message.tensor_content = draw.randbytes(draw.choice((1, 8, 16, 4096)))
    return message


def test_any_message_is_answered_or_refused(
    draws: Draws, versions: Versions[Servable]
) -> None:
    services, signatures = Services(versions), versions.current.signatures
    for draw in draws():
        name = draw.choice(sorted(signatures))
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "items"
        request.model_spec.signature_name = name
        for key, info in signatures[name].inputs.items():
            if draw.randrange(10):
                request.inputs[key].CopyFrom(proto(draw, key, info))
        if not draw.randrange(20):
            request.inputs[word(draw)[:9].encode(errors="replace").decode()].Clear()
        content = bytearray(request.SerializeToString())
        if not draw.randrange(5):
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        try:
            request = predict_pb2.PredictRequest.FromString(bytes(content))
        except Exception:
            continue  # gRPC refuses what is no message.
        with contextlib.suppress(RefusedError):
            services.Predict(request, Context())
        if not draw.randrange(100):
            assert_answers(versions)
    assert_answers(versions)


def value(draw: random.Random, depth: int = 0) -> Any:
    """Anything that JSON can hold: deep, wide, and of mixed types."""
    kind = draw.randrange(12)
    if kind < 5 and depth < 5:
        return [value(draw, depth + 1) for _ in range(draw.randrange(4))]
    if kind == 5:
        return {draw.choice(("b64", "history", "k")): value(draw, depth + 1)}
    if kind == 6:
        return ["item 3"[: draw.randrange(9)]] * draw.choice((3, 300, 30_000))
    if kind == 7:
        return draw.choice((*NUMBERS, 1.5, 1e400, float("nan"), 10**30, True, None))
    if kind == 8:
        deep = word(draw)
        for _ in range(draw.choice((3, 33, 64, 255, 900))):
            deep = [deep]
        return deep
    return draw.choice((word(draw), [[word(draw)]], [word(draw)], draw.choice(NUMBERS)))


def bodies(draw: random.Random, signatures: Any) -> Iterator[tuple[str, Any]]:
    name = draw.choice(sorted(signatures))
    yield "signature_name", name if draw.randrange(20) else value(draw)
    inputs = {key: value(draw) for key in signatures[name].inputs if draw.randrange(20)}
    match draw.randrange(4):
        case 0:
            yield "instances", [inputs] * draw.randrange(3)
        case 1:
            yield "instances", value(draw)
        case _:
            yield "inputs", inputs


def test_any_json_is_answered_or_refused(
    draws: Draws, versions: Versions[Servable]
) -> None:
    for draw in draws():
        body = dict(bodies(draw, versions.current.signatures))
        content = bytearray(json.dumps(body).encode())
        if not draw.randrange(5):
            content[draw.randrange(len(content))] = draw.randrange(256)
        try:
            answer = rest_api.predict_json(
                versions.current, rest_api.parsed(bytes(content))
            )
            rest_api.to_json(answer)
        except CLIENT_ERRORS as error:
            rest_api.to_json({"error": message_of(error)})
        if not draw.randrange(100):
            assert_answers(versions)
    assert_answers(versions)


def test_a_changed_byte_is_refused_or_changes_nothing(
    draws: Draws, version: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    copy = tmp_path / "1"
    shutil.copytree(version, copy)
    files = [path for path in sorted(copy.rglob("*")) if path.is_file()]
    asked = tf.constant([["item 3", "item 5"]])
    expected = tfrsb.serving.load(version).recommend(asked)
    manifest = tfrsb.serving.verify(version)
    for draw in draws():
        file = draw.choice(files)
        before = file.read_bytes()
        after = bytearray(before)
        after[draw.randrange(len(after))] ^= draw.randrange(1, 256)
        file.write_bytes(after)
        try:
            found = tfrsb.serving.verify(copy)
            answer = tfrsb.serving.load(copy).recommend(asked)
        except tfrsb.serving.CorruptExportError as error:
            assert str(copy) in str(error)
        else:
            assert found.description == manifest.description
            for name, tensor in expected.items():
                np.testing.assert_array_equal(answer[name], tensor)
        file.write_bytes(before)
