"""The same answers wherever TensorFlow runs, even without Python."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

import tfrs_barlow as tfrsb

ROOT = pathlib.Path(__file__).parents[2]
WITHOUT_THE_PACKAGE = {"TF_CPP_MIN_LOG_LEVEL": "3", "PATH": os.environ["PATH"]}


def assert_recommends(films: Any, histories: Any, titles: Any, scores: Any) -> None:
    k = np.shape(scores)[1]
    expected = films.recommended(histories, k, excluded=histories)
    np.testing.assert_array_equal(titles, expected[0])
    np.testing.assert_allclose(scores, expected[1], atol=1e-6)


CLEAN_PROCESS = """
import json, sys
import tensorflow as tf

def rows(tensor):
    return [[x.decode() if isinstance(x, bytes) else x.item() for x in row]
            for row in tensor.numpy()]

model = tf.saved_model.load(sys.argv[1])
history = tf.constant(json.loads(sys.argv[2]))
embedded = model.signatures["embed"](history=history)
answer = model.signatures["recommend"](
    history=history,
    k=tf.constant(7),
    excluded=tf.constant([[""]]),
    exclude_history=tf.constant(True),
)
libraries = {"tf_keras", "tensorflow_recommenders", "tfrs_barlow"}
print(json.dumps({
    "embedding": rows(embedded["embedding"]),
    "ids": rows(answer["ids"]),
    "scores": rows(answer["scores"]),
    "libraries": sorted(libraries & set(sys.modules)),
}))
"""


def assert_python_answers(
    python: str | pathlib.Path,
    films: Any,
    version: pathlib.Path,
    histories: list[list[str]],
    dense: np.ndarray,
) -> None:
    """A process of `python`, with TensorFlow alone, loads and asks the model."""
    process = subprocess.run(
        [python, "-c", CLEAN_PROCESS, version, json.dumps(dense.tolist())],
        env=WITHOUT_THE_PACKAGE,
        cwd=version,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    answer = json.loads(process.stdout)
    assert answer["libraries"] == []
    np.testing.assert_allclose(
        answer["embedding"], films.embeddings(histories), atol=1e-6
    )
    assert_recommends(films, histories, answer["ids"], answer["scores"])


def test_python_that_has_only_tensorflow(
    films: Any, histories: list[list[str]], dense: np.ndarray
) -> None:
    assert_python_answers(sys.executable, films, films.version, histories, dense)


def test_the_command_line(tmp_path: pathlib.Path) -> None:
    # Of integers, since the command line cannot write out strings.
    embeddings = np.float32([[1, 0], [0, 1], [1, 1]])
    version = tfrsb.serving.export(
        lambda ids: tf.cast(ids[:, :2], tf.float32),
        tmp_path / "models",
        vocabulary=tfrsb.data.Vocabulary([7, 8, 9]),
        candidates=embeddings,
    )
    subprocess.run(
        [
            pathlib.Path(sys.executable).with_name("saved_model_cli"),
            *("run", "--dir", version, "--tag_set", "serve"),
            *("--signature_def", "recommend", "--outdir", tmp_path),
            *("--input_exprs", "history=[[9, -1]];k=2;excluded=[[-1]]"),
        ],
        env=WITHOUT_THE_PACKAGE,
        check=True,
        capture_output=True,
    )
    np.testing.assert_array_equal(np.load(tmp_path / "ids.npy"), [[7, 8]])
    # The id of 9 is 5: the tower makes [5, 0] of it.
    np.testing.assert_allclose(np.load(tmp_path / "scores.npy"), [[5, 0]], atol=1e-6)


# --- C


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The C program, linked to the library in the wheel of TensorFlow."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    folder = pathlib.Path(tf.sysconfig.get_lib())
    libraries = ["libtensorflow_cc.so.2", "libtensorflow_framework.so.2"]
    missing = [name for name in libraries if not (folder / name).exists()]
    if missing:
        pytest.skip(f"this build of TensorFlow has no {missing[0]}")
    program = tmp_path_factory.mktemp("c") / "serve"
    subprocess.run(
        [
            *(compiler, "-O1", "-Wall", pathlib.Path(__file__).with_name("serve.c")),
            *("-o", program, f"-I{tf.sysconfig.get_include()}", f"-L{folder}"),
            *(f"-l:{name}" for name in libraries),
            f"-Wl,-rpath,{folder}",
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    return program


def run_c(
    serve: pathlib.Path, version: pathlib.Path, inputs: dict[str, list[str]]
) -> subprocess.CompletedProcess[str]:
    """Asks `recommend` for its ids, scores and flags."""
    model = saved_model_pb2.SavedModel()
    model.ParseFromString((version / "saved_model.pb").read_bytes())
    definition = model.meta_graphs[0].signature_def["recommend"]
    outputs = [definition.outputs[key].name for key in ("ids", "scores", "cold_start")]
    arguments = [
        argument
        for key, value in inputs.items()
        for argument in (definition.inputs[key].name, *value)
    ]
    return subprocess.run(
        [serve, version, *outputs, "--", *arguments],
        env={"TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
    )


def matrix(rows: np.ndarray) -> list[str]:
    return ["s", *map(str, rows.shape), *rows.flatten().tolist()]


def assert_c_answers(
    serve: pathlib.Path,
    films: Any,
    version: pathlib.Path,
    histories: list[list[str]],
    dense: np.ndarray,
) -> None:
    process = run_c(serve, version, {"history": matrix(dense), "k": ["i", "7"]})
    assert process.returncode == 0, process.stderr
    titles, scores, cold_start = (
        np.array(line.split("\t")).reshape(len(histories), -1)
        for line in process.stdout.splitlines()
    )
    assert_recommends(films, histories, titles, scores.astype(np.float32))
    assert cold_start.flatten().tolist() == list("1100010")


def test_c(
    serve: pathlib.Path, films: Any, histories: list[list[str]], dense: np.ndarray
) -> None:
    assert_c_answers(serve, films, films.version, histories, dense)


def test_c_may_leave_out_what_has_a_default(serve: pathlib.Path, films: Any) -> None:
    process = run_c(serve, films.version, {"history": ["s", "1", "1", "Film 03"]})
    titles, scores, _ = (line.split("\t") for line in process.stdout.splitlines())
    assert_recommends(films, [["Film 03"]], [titles], np.float32([scores]))
    assert len(titles) == 5


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"k": ["i", "0"]}, "k must lie in"),
        ({"k": ["i", "41"]}, "k must lie in"),
        ({"history": ["S", "1", "1", "Film 03"]}, "not compatible"),
        ({"excluded": ["S", "1", "1", "Film 03"]}, "not compatible"),
        ({"history": ["i", "3"]}, "string"),
    ],
)
def test_c_gets_an_error_for_a_bad_request(
    serve: pathlib.Path, films: Any, inputs: dict[str, list[str]], message: str
) -> None:
    """Shapes and types are checked by nobody between this program and the graph."""
    request = {"history": ["s", "1", "1", "Film 03"], **inputs}
    process = run_c(serve, films.version, request)
    assert process.returncode == tf.errors.INVALID_ARGUMENT, process.stdout
    assert message in process.stderr


# --- Another TensorFlow: the image tensorflow/serving:2.20.0 has this one

OTHER = "2.20"
EXPORT = """
import sys
import numpy as np
import tensorflow as tf
import tfrs_barlow as tfrsb

assert tf.__version__.startswith(sys.argv[3])
films = np.load(sys.argv[1])
table, kernel, bias = (tf.Variable(films[name]) for name in ("table", "kernel", "bias"))
tfrsb.serving.export(
    lambda ids: tf.reshape(tf.gather(table, ids), [-1, 24]) @ kernel + bias,
    sys.argv[2],
    vocabulary=tfrsb.data.Vocabulary(films["titles"].tolist()),
    candidates=films["candidates"],
    popularity=films["popularity"],
    max_length=6,
    default_k=5,
)
"""


@pytest.fixture(scope="module")
def other_python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pathlib.Path]:
    """Python with this package and the other TensorFlow, installed for these tests."""
    folder = tmp_path_factory.mktemp("other")
    shutil.copytree(ROOT / "tfrs_barlow", folder / "source" / "tfrs_barlow")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / name, folder / "source")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    releases = [f"{name}=={OTHER}.*" for name in ("tensorflow", "tf-keras")]
    pip = (python, "-m", "pip", "install", "--quiet", "--no-cache-dir")
    subprocess.run([*pip, folder / "source", *releases], check=True)
    yield python
    shutil.rmtree(folder)  # Two gigabytes.


@pytest.mark.slow
def test_what_another_tensorflow_exported_is_loaded(
    other_python: pathlib.Path,
    serve: pathlib.Path,
    films: Any,
    histories: list[list[str]],
    dense: np.ndarray,
    tmp_path: pathlib.Path,
) -> None:
    weights = zip(("table", "kernel", "bias"), films.tower.get_weights(), strict=True)
    np.savez(
        tmp_path / "films.npz",
        titles=films.titles,
        candidates=films.candidates,
        popularity=films.popularity,
        **dict(weights),
    )
    subprocess.run(
        [
            *(other_python, "-c", EXPORT),
            *(tmp_path / "films.npz", tmp_path / "models", OTHER),
        ],
        env={**WITHOUT_THE_PACKAGE, "TF_USE_LEGACY_KERAS": "1"},
        cwd=tmp_path,
        check=True,
    )
    version = tmp_path / "models" / "1"
    assert tf.saved_model.load(version).tensorflow_version.startswith(OTHER)
    tfrsb.serving.load(version)
    assert_python_answers(sys.executable, films, version, histories, dense)
    assert_c_answers(serve, films, version, histories, dense)


@pytest.mark.slow
def test_another_tensorflow_loads_what_is_exported_here(
    other_python: pathlib.Path,
    films: Any,
    histories: list[list[str]],
    dense: np.ndarray,
) -> None:
    assert_python_answers(other_python, films, films.version, histories, dense)
