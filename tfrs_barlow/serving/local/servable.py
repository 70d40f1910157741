"""One version of a model, asked by the names of its signatures and their inputs."""

from __future__ import annotations

import pathlib
from collections.abc import Collection, Mapping
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2

import tfrs_barlow as tfrsb


class Servable:
    """A version of an export, ready to answer.

    Attributes:
        version: Its number.
        description: What the manifest says of the export.
        signatures: By name the `SignatureDef`s, as TensorFlow Serving has them.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        """Loads the version in `folder`, and sends it its own warm-up requests.

        Raises:
            CorruptExportError: If it is not as it was exported.
            ValueError: If it has no signature `recommend`.
        """
        self.version = int(folder.name) if folder.name.isdecimal() else 1
        self.description = tfrsb.serving.verify(folder).description
        if self.description.candidates is None:
            raise ValueError(
                f"{folder} must have the signature recommend, but it was exported "
                "without candidates: tfrsb.serving.export(..., candidates=...)."
            )
        model = tfrsb.serving.load(folder)
        saved_model = saved_model_pb2.SavedModel.FromString(
            (folder / "saved_model.pb").read_bytes()
        )
        definitions = saved_model.meta_graphs[0].signature_def
        self.signatures = {name: definitions[name] for name in model.signatures}
        self._functions = {name: model.signatures[name] for name in model.signatures}
        # Without the model its variables would go.
        self._model = model
        self._defaults = {
            name: {
                key: tf.constant(tf.make_ndarray(value))
                for key, value in definition.defaults.items()
            }
            for name, definition in self.signatures.items()
        }
        self._warm_up(folder / "assets.extra" / "tf_serving_warmup_requests")

    def signature(self, name: str) -> Any:
        """Returns a `SignatureDef`; the empty name stands for `serving_default`."""
        try:
            return self.signatures[name or "serving_default"]
        except KeyError:
            raise _invalid(
                f'Serving signature name: "{name}" not found in signature def. There '
                f"are {', '.join(sorted(self.signatures))}."
            ) from None

    def predict(
        self,
        signature_name: str,
        inputs: Mapping[str, tf.Tensor],
        output_filter: Collection[str] = (),
    ) -> dict[str, tf.Tensor]:
        """Answers one request.

        Args:
            signature_name: Of which signature; empty for `serving_default`.
            inputs: Those that have a default may be left out.
            output_filter: Which outputs are wanted; empty for all.

        Raises:
            tf.errors.InvalidArgumentError: If the request does not fit the signature.
        """
        signature = self.signature(signature_name)
        name = signature_name or "serving_default"
        inputs = {**self._defaults[name], **inputs}
        if inputs.keys() != signature.inputs.keys():
            extra = sorted(inputs.keys() - signature.inputs.keys())
            missing = sorted(signature.inputs.keys() - inputs.keys())
            raise _invalid(
                f"The inputs must be those of {name}. Sent extra: {extra}. Missing but "
                f"required: {missing}."
            )
        for key, value in inputs.items():
            _check_input(key, value, signature.inputs[key])
        unknown = sorted(set(output_filter) - signature.outputs.keys())
        if unknown:
            raise _invalid(
                f"output_filter must name outputs of {name}, which are "
                f"{sorted(signature.outputs)}, but it names {unknown}."
            )
        outputs = self._functions[name](**inputs)
        return {key: outputs[key] for key in output_filter or sorted(outputs)}

    def _warm_up(self, path: pathlib.Path) -> None:
        # As TensorFlow Serving does, so that the first user does not wait.
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            log = prediction_log_pb2.PredictionLog.FromString(record)
            request = log.predict_log.request
            self.predict(request.model_spec.signature_name, tensors(request.inputs))


def tensors(protos: Mapping[str, Any]) -> dict[str, tf.Tensor]:
    """Returns the tensors in the messages of a request."""
    return {name: tf.constant(tf.make_ndarray(proto)) for name, proto in protos.items()}


def _check_input(name: str, value: tf.Tensor, info: Any) -> None:
    dtype, shape = tf.as_dtype(info.dtype), tf.TensorShape(info.tensor_shape)
    if value.dtype != dtype or not shape.is_compatible_with(value.shape):
        of_shape = "" if shape.rank is None else f" of shape {shape.as_list()}"
        raise _invalid(
            f"{name} must be {dtype.name}{of_shape}, but it is {value.dtype.name} of "
            f"shape {value.shape.as_list()}."
        )


def _invalid(message: str) -> tf.errors.InvalidArgumentError:
    return tf.errors.InvalidArgumentError(None, None, message)
