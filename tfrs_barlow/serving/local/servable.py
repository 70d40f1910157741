"""One version of a model, asked by the names of its signatures and their inputs."""

from __future__ import annotations

import pathlib
from collections.abc import Collection, Mapping
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2

from tfrs_barlow.serving.loading import load
from tfrs_barlow.serving.local.inputs import MAX_ELEMENTS, check_size, to_tensor
from tfrs_barlow.serving.manifest import verify
from tfrs_barlow.serving.versions import number_of


class Servable:
    """A version of an export, loaded and warmed up.

    Args:
        folder: The folder of the version, which must have candidates.
        max_elements: Of a request: its rows times their width.

    Attributes:
        version: Its number.
        description: What the manifest says of the export.
        signatures: The `SignatureDef`s by name, as TensorFlow Serving has them.
    """

    def __init__(self, folder: pathlib.Path, max_elements: int = MAX_ELEMENTS) -> None:
        self.max_elements = max_elements
        self.version = number_of(folder.name) or 1
        self.description = verify(folder).description
        if self.description.candidates is None:
            raise ValueError(
                f"{folder} must have the signature recommend, but it was exported "
                "without candidates: tfrsb.serving.export(..., candidates=...)."
            )
        self._model = load(folder)
        saved_model = saved_model_pb2.SavedModel.FromString(
            (folder / "saved_model.pb").read_bytes()
        )
        definitions = saved_model.meta_graphs[0].signature_def
        self.signatures = {name: definitions[name] for name in self._model.signatures}
        # As TensorFlow Serving does, so that the first user does not wait.
        path = folder / "assets.extra" / "tf_serving_warmup_requests"
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            log = prediction_log_pb2.PredictionLog.FromString(record)
            request = log.predict_log.request
            self.predict(request.model_spec.signature_name, request.inputs)

    def signature(self, name: str) -> Any:
        """Returns a `SignatureDef`."""
        try:
            return self.signatures[name]
        except KeyError:
            raise ValueError(
                f'Serving signature name: "{name}" not found in signature def. There '
                f"are {', '.join(sorted(self.signatures))}."
            ) from None

    def predict(
        self,
        signature_name: str,
        inputs: Mapping[str, Any],
        output_filter: Collection[str] = (),
    ) -> dict[str, tf.Tensor]:
        """Answers one request.

        Inputs are tensors, `TensorProto`s or JSON values, and may be left out if they
        have a default. An empty `output_filter` asks for all outputs. A ValueError or
        `tf.errors.InvalidArgumentError` says why a request does not fit.
        """
        signature = self.signature(signature_name)
        inputs = {**signature.defaults, **inputs}
        if inputs.keys() != signature.inputs.keys():
            extra = sorted(inputs.keys() - signature.inputs.keys())
            missing = sorted(signature.inputs.keys() - inputs.keys())
            raise ValueError(
                f"The inputs must be those of {signature_name}. Sent extra: {extra}. "
                f"Missing but required: {missing}."
            )
        unknown = sorted(set(output_filter) - signature.outputs.keys())
        if unknown:
            raise ValueError(
                f"output_filter must name outputs of {signature_name}, which are "
                f"{sorted(signature.outputs)}, but it names {unknown}."
            )
        tensors = {
            name: to_tensor(name, value, signature.inputs[name], self.max_elements)
            for name, value in inputs.items()
        }
        if not any(isinstance(value, tf.Tensor) for value in inputs.values()):
            check_size(tensors, self.max_elements)  # A client never sends a tensor.
        outputs = self._model.signatures[signature_name](**tensors)
        return {name: outputs[name] for name in output_filter or sorted(outputs)}
