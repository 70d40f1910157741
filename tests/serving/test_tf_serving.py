"""What TensorFlow Serving reads in addition to the model, parsed by its messages."""

import pathlib
import resource
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)

import tfrs_barlow as tfrsb
from tfrs_barlow.serving.tf_serving import write_configuration


def exported(path: pathlib.Path, **arguments: Any) -> pathlib.Path:
    return tfrsb.serving.export(
        lambda ids: tf.cast(ids, tf.float32),
        path,
        vocabulary=tfrsb.data.Vocabulary([7, 8, 9]),
        max_length=4,
        **arguments,
    )


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("models") / "movies"
    return exported(path, candidates=np.eye(3, 4))


# --- Warm-up requests


def warmup_requests(version: pathlib.Path) -> list[Any]:
    prediction_log_pb2 = pytest.importorskip(
        "tensorflow_serving.apis.prediction_log_pb2",
        reason="needs tensorflow-serving-api: pip install 'tfrs-barlow[serving]'",
    )
    path = version / "assets.extra" / "tf_serving_warmup_requests"
    requests = []
    for record in tf.data.TFRecordDataset(str(path)):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        assert log.WhichOneof("log_type") == "predict_log"
        assert not log.predict_log.HasField("response")
        requests.append(log.predict_log.request)
    return requests


def test_there_is_a_warmup_request_for_every_signature_that_batches(
    films: Any, version: pathlib.Path
) -> None:
    for export in (films.version, version):
        signatures = tf.saved_model.load(export).signatures
        warmed = {
            request.model_spec.signature_name for request in warmup_requests(export)
        }
        assert warmed == set(signatures) - {"embed_ragged", "recommend_ragged"}


def test_every_warmup_request_is_answered(films: Any, version: pathlib.Path) -> None:
    """By itself, and joined to another as a server that batches would."""
    for export in (films.version, version):
        signatures = tf.saved_model.load(export).signatures
        for request in warmup_requests(export):
            inputs = {
                name: tf.constant(tf.make_ndarray(proto))
                for name, proto in request.inputs.items()
            }
            call = signatures[request.model_spec.signature_name]
            assert set(inputs) == set(call.structured_input_signature[1])
            joined = {name: tf.concat([x, x], axis=0) for name, x in inputs.items()}
            for values, batch in ((inputs, 1), (joined, 2)):
                answer = call(**values)
                assert {len(value) for value in answer.values()} == {batch}
                assert not answer["cold_start"].numpy().any()


def test_without_candidates_only_embed_is_warmed_up(tmp_path: pathlib.Path) -> None:
    requests = warmup_requests(exported(tmp_path))
    assert [request.model_spec.signature_name for request in requests] == [
        "serving_default",
        "embed",
        "embed_examples",
    ]


# --- Configuration


@pytest.mark.parametrize("name", ["movies", 'new "films"', "Spielfilme für \\ alle"])
def test_models_config_names_the_model_after_its_folder(
    tmp_path: pathlib.Path, name: str
) -> None:
    model_server_config_pb2 = pytest.importorskip(
        "tensorflow_serving.config.model_server_config_pb2",
        reason="needs tensorflow-serving-api: pip install 'tfrs-barlow[serving]'",
    )
    folder = tmp_path / name
    folder.mkdir()
    write_configuration(folder)
    config = text_format.Parse(
        (folder / "models.config").read_text(),
        model_server_config_pb2.ModelServerConfig(),
    )
    (model,) = config.model_config_list.config
    assert (model.name, model.base_path) == (name, f"/models/{name}")
    assert model.model_platform == "tensorflow"
    assert model.model_version_policy.latest.num_versions == 1


def batching_parameters() -> Any:
    """The message `BatchingParameters` of TensorFlow Serving.

    It is in session_bundle_config.proto, which no package ships: so here are its fields
    by their names, types and numbers.
    """
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="batching.proto",
        package="tensorflow.serving",
        dependency=["google/protobuf/wrappers.proto"],
        syntax="proto3",
    )
    message = file.message_type.add(name="BatchingParameters")
    numbers = {
        "max_batch_size": 1,
        "batch_timeout_micros": 2,
        "max_enqueued_batches": 3,
        "num_batch_threads": 4,
    }
    for name, number in numbers.items():
        message.field.add(
            name=name,
            number=number,
            label=field.LABEL_OPTIONAL,
            type=field.TYPE_MESSAGE,
            type_name=".google.protobuf.Int64Value",
        )
    message.field.add(
        name="pad_variable_length_inputs",
        number=7,
        label=field.LABEL_OPTIONAL,
        type=field.TYPE_BOOL,
    )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    found = pool.FindMessageTypeByName("tensorflow.serving.BatchingParameters")
    return message_factory.GetMessageClass(found)()


def test_batching_parameters_are_parsed(version: pathlib.Path) -> None:
    text = (version.parent / "batching_parameters.txt").read_text()
    parameters = text_format.Parse(text, batching_parameters())
    assert parameters.max_batch_size.value == 64
    assert parameters.num_batch_threads.value >= 1
    assert parameters.batch_timeout_micros.value <= 10_000
    # It would pad a history with its own first item.
    assert not parameters.pad_variable_length_inputs


def test_the_next_export_leaves_an_edited_file_alone(tmp_path: pathlib.Path) -> None:
    exported(tmp_path)
    (tmp_path / "models.config").write_text("# mine")
    (tmp_path / "batching_parameters.txt").unlink()
    exported(tmp_path)
    assert (tmp_path / "models.config").read_text() == "# mine"
    assert (tmp_path / "batching_parameters.txt").exists()
    assert (tmp_path / "2").is_dir()


def test_an_empty_file_of_a_full_disk_is_written_again(tmp_path: pathlib.Path) -> None:
    write_configuration(tmp_path)
    expected = (tmp_path / "models.config").read_text()
    (tmp_path / "models.config").write_text("")
    (tmp_path / "batching_parameters.txt").write_text("edited")
    write_configuration(tmp_path)
    assert (tmp_path / "models.config").read_text() == expected
    assert (tmp_path / "batching_parameters.txt").read_text() == "edited"


@pytest.mark.parametrize("most", [0, 100, 2_000, 20_000])
def test_without_space_there_is_an_oserror_and_no_version(
    tmp_path: pathlib.Path, most: int
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        with pytest.raises(OSError):
            exported(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path for path in tmp_path.iterdir() if path.name.isdigit()] == []
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert exported(tmp_path).name == "1"
