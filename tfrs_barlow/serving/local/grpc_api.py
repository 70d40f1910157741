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
from tfrs_barlow.serving.local.servable import Servable
from tfrs_barlow.serving.local.versions import Versions

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_THREADS = 8


def start(versions: Versions, address: str) -> tuple[Any, int]:
    """Starts a server at an address, such as `"localhost:8500"`.

    Returns the server and its port, a free one for port 0. Raises an OSError if the
    port is in use.
    """
    options = [
        ("grpc.so_reuseport", 0),  # Or two servers could share a port unnoticed.
        ("grpc.max_receive_message_length", versions.max_body_bytes),
    ]
    pool = concurrent.futures.ThreadPoolExecutor(_THREADS)
    server = grpc.server(pool, options=options)
    services = Services(versions)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        services, server
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(services, server)
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(str(error)) from error
    server.start()
    return server, port


def _answering(
    method: Callable[[Any, Any, Servable], Any],
) -> Callable[[Any, Any, grpc.ServicerContext], Any]:
    """Finds what answers a request, and turns errors into those of gRPC."""

    def answer(self: Any, request: Any, context: grpc.ServicerContext) -> Any:
        spec = request.model_spec
        number = spec.version.value if spec.HasField("version") else None
        try:
            return method(self, request, self.versions.find(spec.name, number))
        except CLIENT_ERRORS as error:
            context.abort(_CODES[code_of(error)], message_of(error))

    return answer


class Services(
    prediction_service_pb2_grpc.PredictionServiceServicer,
    model_service_pb2_grpc.ModelServiceServicer,
):
    """Answers `Predict`, `GetModelMetadata` and `GetModelStatus`."""

    def __init__(self, versions: Versions) -> None:
        self.versions = versions

    @_answering
    def Predict(self, request: Any, servable: Servable) -> Any:  # noqa: N802
        """Runs a signature."""
        name = request.model_spec.signature_name or "serving_default"
        outputs = servable.predict(name, request.inputs, request.output_filter)
        response = predict_pb2.PredictResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = servable.version
        response.model_spec.signature_name = name
        for key, value in outputs.items():
            response.outputs[key].CopyFrom(tf.make_tensor_proto(value.numpy()))
        return response

    @_answering
    def GetModelMetadata(self, request: Any, servable: Servable) -> Any:  # noqa: N802
        """Describes the signatures."""
        fields = list(request.metadata_field)
        if fields != ["signature_def"]:
            raise ValueError(
                f"metadata_field must be signature_def, but it is {fields}."
            )
        return metadata(servable, self.versions.name)

    @_answering
    def GetModelStatus(self, request: Any, servable: Servable) -> Any:  # noqa: N802
        """Says which version is served."""
        return status(servable)


def metadata(servable: Servable, name: str) -> Any:
    """Returns the message that describes the signatures of a model."""
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name = name
    response.model_spec.version.value = servable.version
    definitions = get_model_metadata_pb2.SignatureDefMap(
        signature_def=servable.signatures
    )
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
