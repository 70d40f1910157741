"""The REST interface of TensorFlow Serving."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from typing import Any

import tensorflow as tf
from google.protobuf import json_format
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tfrs_barlow.serving.local import grpc_api
from tfrs_barlow.serving.local.errors import CLIENT_ERRORS, code_of, message_of
from tfrs_barlow.serving.local.servable import Servable
from tfrs_barlow.serving.local.versions import Versions


def routes(versions: Versions) -> list[Route]:
    """Returns the paths of the interface and what answers them."""

    def predict(servable: Servable, body: bytes) -> Any:
        return predict_json(servable, parsed(body))

    def status(servable: Servable, _: bytes) -> Any:
        return json_format.MessageToDict(
            grpc_api.status(servable),
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
        )

    def metadata(servable: Servable, _: bytes) -> Any:
        return json_format.MessageToDict(
            grpc_api.metadata(servable, versions.name), preserving_proto_field_name=True
        )

    answers: list[tuple[str, str, Callable[[Servable, bytes], Any]]] = [
        ("POST", ":predict", predict),
        ("GET", "/metadata", metadata),
        ("GET", "", status),
    ]
    return [
        Route(f"/v1/models/{{name}}{of_version}{verb}", endpoint, methods=[method])
        for method, verb, answer in answers
        for of_version in ("/versions/{number:int}", "")
        for endpoint in [_endpoint(versions, answer)]
    ]


def _endpoint(
    versions: Versions, answer: Callable[[Servable, bytes], Any]
) -> Callable[[Request], Any]:
    def reply(name: str, number: int | None, body: bytes) -> Response:
        return to_json(answer(versions.find(name, number), body))

    async def endpoint(request: Request) -> Response:
        path = request.path_params
        body = await body_of(request, versions.max_body_bytes)
        return await run_in_threadpool(reply, path["name"], path.get("number"), body)

    return endpoint


async def body_of(request: Request, max_bytes: int) -> bytes:
    """Returns the body of a request; too large a one is not read to its end."""
    body, declared = bytearray(), request.headers.get("Content-Length", "0")
    if not declared.isdigit() or int(declared) <= max_bytes:  # The server checks it.
        async for chunk in request.stream():
            body += chunk
            if len(body) > max_bytes:
                break
        else:
            return bytes(body)
    detail = f"the body must have at most {max_bytes} bytes."
    raise HTTPException(413, detail, {"Connection": "close"})


class HostCheck:
    """Refuses other hosts: a page's name can come to mean this machine, to read it."""

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] == "http":
            host = re.sub(r":\d*$", "", Headers(scope=scope).get("host", "")).lower()
            if host not in self._hosts:
                error = f"{host} is not served. --allow_host can add it."
                await to_json({"error": error}, 421)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def to_json(content: Any, status: int = 200, headers: Any = None) -> Response:
    """Returns a response; -inf is written as TensorFlow Serving does: -Infinity."""
    return Response(json.dumps(content), status, headers, "application/json")


def error_handlers() -> dict[Any, Any]:
    """Returns what makes `{"error": ...}` of every exception."""

    def of_request(_: Request, error: Exception) -> Response:
        not_found = code_of(error) == tf.errors.NOT_FOUND
        return to_json({"error": message_of(error)}, 404 if not_found else 400)

    def of_path(request: Request, error: HTTPException) -> Response:
        asked = f"{request.method} {request.url.path}"
        message = f"Malformed request: {asked}: {error.detail}"
        return to_json({"error": message}, error.status_code, error.headers)

    return {HTTPException: of_path} | dict.fromkeys(CLIENT_ERRORS, of_request)


def parsed(body: bytes) -> dict[str, Any]:
    """Returns the JSON object in the body of a request."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"The body must be JSON, but it is not: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(
            f"The body must be a JSON object, but it is a {type(content).__name__}."
        )
    return content


def predict_json(servable: Servable, body: dict[str, Any]) -> dict[str, Any]:
    """Answers a request in one of the two forms: by rows or by columns."""
    if ("instances" in body) == ("inputs" in body):
        raise ValueError("The body must have one of the keys instances and inputs.")
    by_row = "instances" in body
    name = body.get("signature_name", "serving_default")
    if not isinstance(name, str):
        raise ValueError(f"signature_name must be a string, but it is {name!r}.")
    name = name or "serving_default"
    expected = sorted(servable.signature(name).inputs)
    given = _columns(body["instances"]) if by_row else body["inputs"]
    if not isinstance(given, dict) or "b64" in given:
        if len(expected) != 1:
            raise ValueError(f"The inputs must be named, for they are {expected}.")
        given = {expected[0]: given}
    missing = sorted(set(expected) - given.keys())
    if missing:
        raise ValueError(f"Missing named input: {', '.join(missing)}")
    answer = servable.predict(name, {key: given[key] for key in expected})
    outputs = {key: _encoded(value.numpy().tolist()) for key, value in answer.items()}
    if not by_row:
        return {"outputs": outputs}
    rows = zip(*outputs.values(), strict=True)
    return {"predictions": [dict(zip(outputs, row, strict=True)) for row in rows]}


def _columns(instances: Any) -> Any:
    """Returns rows as the values of one input, or the values of named inputs."""
    if not isinstance(instances, list) or not instances:
        raise ValueError("instances must be a list of at least one row.")
    first = instances[0]
    if not isinstance(first, dict) or "b64" in first:
        return instances
    for number, row in enumerate(instances):
        if not isinstance(row, dict) or row.keys() != first.keys():
            raise ValueError(
                f"Every row must name the inputs {sorted(first)}, but row {number} "
                "does not."
            )
    return {key: [row[key] for row in instances] for key in first}


def _encoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_encoded(item) for item in value]
    return value.decode(errors="replace") if isinstance(value, bytes) else value
