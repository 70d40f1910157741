"""The gRPC services of TensorFlow Serving."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from typing import Any

import grpc
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tfrs_barlow.serving.local.errors import CLIENT_ERRORS, code_of, message_of
from tfrs_barlow.serving.local.servable import Servable, tensors
from tfrs_barlow.serving.local.versions import Versions

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_THREADS = 8


def start(versions: Versions, address: str) -> tuple[Any, int]:
    """Starts to answer at `address`, such as `"localhost:8500"`.

    Returns:
        The server, and its port: the one of the address, or a free one for port 0.

    Raises:
        OSError: If the port is in use.
    """
    options = [
        ("grpc.so_reuseport", 0),  # Or two servers could share a port unnoticed.
        ("grpc.max_receive_message_length", -1),
    ]
    server = grpc.server(
        concurrent.futures.ThreadPoolExecutor(_THREADS), options=options
    )
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        PredictionService(versions), server
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(
        ModelService(versions), server
    )
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(str(error)) from error
    server.start()
    return server, port


def _answering(
    method: Callable[[Any, Any], Any],
) -> Callable[[Any, Any, grpc.ServicerContext], Any]:
    """Makes the errors of a method those of gRPC."""

    def answer(self: Any, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(self, request)
        except CLIENT_ERRORS as error:
            context.abort(_CODES[code_of(error)], message_of(error))

    return answer


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers `Predict` and `GetModelMetadata`."""

    def __init__(self, versions: Versions) -> None:
        self._versions = versions

    @_answering
    def Predict(self, request: Any) -> Any:  # noqa: N802
        """Runs a signature."""
        spec = request.model_spec
        servable = _servable(self._versions, spec)
        outputs = servable.predict(
            spec.signature_name, tensors(request.inputs), request.output_filter
        )
        response = predict_pb2.PredictResponse()
        response.model_spec.name = spec.name
        response.model_spec.version.value = servable.version
        response.model_spec.signature_name = spec.signature_name or "serving_default"
        for name, value in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value.numpy()))
        return response

    @_answering
    def GetModelMetadata(self, request: Any) -> Any:  # noqa: N802
        """Describes the signatures."""
        if list(request.metadata_field) != ["signature_def"]:
            raise ValueError(
                "metadata_field must be signature_def, but it is "
                f"{list(request.metadata_field)}."
            )
        return metadata(_servable(self._versions, request.model_spec), self._versions)


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """Answers `GetModelStatus`."""

    def __init__(self, versions: Versions) -> None:
        self._versions = versions

    @_answering
    def GetModelStatus(self, request: Any) -> Any:  # noqa: N802
        """Says which version is served."""
        return status(_servable(self._versions, request.model_spec))


def metadata(servable: Servable, versions: Versions) -> Any:
    """Returns the message that describes the signatures."""
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name = versions.name
    response.model_spec.version.value = servable.version
    definitions = get_model_metadata_pb2.SignatureDefMap()
    for name, definition in servable.signatures.items():
        definitions.signature_def[name].CopyFrom(definition)
    response.metadata["signature_def"].Pack(definitions)
    return response


def status(servable: Servable) -> Any:
    """Returns the message that says that a version is served."""
    response = get_model_status_pb2.GetModelStatusResponse()
    response.model_version_status.add(
        version=servable.version,
        state=get_model_status_pb2.ModelVersionStatus.State.AVAILABLE,
    ).status.SetInParent()
    return response


def _servable(versions: Versions, spec: Any) -> Servable:
    number = spec.version.value if spec.HasField("version") else None
    return versions.find(spec.name, number)
