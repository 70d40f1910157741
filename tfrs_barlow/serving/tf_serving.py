"""The files that TensorFlow Serving reads in addition to a SavedModel."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping

import tensorflow as tf

from tfrs_barlow.data import Vocabulary
from tfrs_barlow.serving.manifest import Description

_MODELS = """\
# Which models TensorFlow Serving serves, with this folder mounted at /models/{name}:
# --model_config_file=/models/{name}/models.config
model_config_list {{
  config {{
    name: {quoted_name}
    base_path: {quoted_path}
    model_platform: "tensorflow"
    model_version_policy {{ latest {{ num_versions: 1 }} }}
  }}
}}
"""

_BATCHING = """\
# How TensorFlow Serving joins requests into one: --enable_batching
# --batching_parameters_file=/models/{name}/batching_parameters.txt
max_batch_size {{ value: 64 }}
batch_timeout_micros {{ value: 1000 }}
max_enqueued_batches {{ value: 100 }}
num_batch_threads {{ value: 4 }}
# Requests that are joined must have equal widths, or they fail. If this were true,
# TensorFlow Serving would widen them, but with the first value of the request: the
# oldest item of a history would become its latest. So pad histories to one length, or
# send tf.Examples (recommend_examples), which may have any length.
pad_variable_length_inputs: false
"""


def write_configuration(folder: pathlib.Path) -> None:
    """Writes `models.config` and `batching_parameters.txt`, unless they exist.

    The user may edit them, so a later export leaves them alone, unless they are empty,
    as a full disk leaves them. The name of the model is that of `folder`, which holds
    its versions.
    """
    name = folder.resolve().name
    # A JSON string is also a string of a text-format protocol buffer.
    quoted = {
        "quoted_name": json.dumps(name, ensure_ascii=False),
        "quoted_path": json.dumps(f"/models/{name}", ensure_ascii=False),
    }
    files = {"models.config": _MODELS, "batching_parameters.txt": _BATCHING}
    for file, template in files.items():
        path = folder / file
        if path.is_file() and not path.stat().st_size:
            path.unlink()
        try:
            with path.open("x") as stream:
                stream.write(template.format(name=name, **quoted))
        except FileExistsError:
            continue
        except OSError:
            path.unlink(missing_ok=True)
            raise


def write_warmup_requests(
    version: pathlib.Path, vocabulary: Vocabulary, about: Description
) -> None:
    """Writes a request for each signature, which the server sends to itself first.

    So the first user does not wait for the graph to be optimized. The ragged signatures
    get none: a server that batches cannot answer them.
    """
    item = vocabulary.tokens[0]
    dtype = tf.as_dtype(about.item_type)
    history = tf.constant([[item]], dtype)
    example = tf.constant([_example(item)])
    requests: list[tuple[str, Mapping[str, tf.Tensor]]] = [
        ("serving_default", {"history": history}),
        ("embed", {"history": history}),
        ("embed_examples", {"examples": example}),
    ]
    if about.candidates is not None:
        k = tf.constant([about.default_k], tf.int32)
        seen = tf.constant([about.exclude_history])
        options = {"k": k, "excluded": history, "exclude_history": seen}
        requests += [
            ("recommend", {"history": history, **options}),
            ("recommend_examples", {"examples": example}),
            ("similar_items", {"items": tf.constant([item], dtype), "k": k}),
        ]
    folder = version / "assets.extra"
    folder.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(f"{folder}/tf_serving_warmup_requests") as writer:
        for signature, inputs in requests:
            writer.write(_prediction_log(signature, inputs))


def _example(item: str | int) -> bytes:
    example = tf.train.Example()
    feature = example.features.feature["history"]
    if isinstance(item, str):
        feature.bytes_list.value.append(item.encode())
    else:
        feature.int64_list.value.append(item)
    return example.SerializeToString()


def _prediction_log(signature: str, inputs: Mapping[str, tf.Tensor]) -> bytes:
    """Returns a serialized `tensorflow.serving.PredictionLog` of a request.

    Written by hand, since it has four fields, and tensorflow-serving-api is not needed
    for anything else here.
    """
    request = _field(1, _field(3, signature.encode()))  # model_spec.signature_name
    for name, value in inputs.items():
        tensor = tf.make_tensor_proto(value).SerializeToString()
        entry = _field(1, name.encode()) + _field(2, tensor)
        request += _field(2, entry)  # inputs
    return _field(6, _field(1, request))  # predict_log.request


def _field(number: int, payload: bytes) -> bytes:
    """Returns a field of a protocol buffer that holds bytes."""
    return bytes([number << 3 | 2]) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])
