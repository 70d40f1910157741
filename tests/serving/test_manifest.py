"""A damaged export is refused, with what is wrong with it."""

import gc
import json
import os
import pathlib
import shutil
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfrs_barlow as tfrsb

MANIFEST = "assets.extra/manifest.json"


@pytest.fixture
def copy(films: Any, tmp_path: pathlib.Path) -> pathlib.Path:
    """An export that a test may damage."""
    return pathlib.Path(shutil.copytree(films.version, tmp_path / "1"))


def test_what_is_known_without_loading(copy: pathlib.Path) -> None:
    about = tfrsb.serving.verify(copy).description
    assert (about.dim, about.max_length, about.default_k) == (8, 6, 5)
    assert (about.item_type, about.candidates) == ("string", 40)
    assert about.exclude_history and about.popularity


def test_load_gives_the_model_of_the_version_or_the_newest(
    films: Any, copy: pathlib.Path
) -> None:
    shutil.copytree(copy, copy.with_name("10"))
    (copy / "saved_model.pb").unlink()  # Version 1, which nobody asks for.
    for path in (copy.with_name("10"), copy.parent, str(copy.parent)):
        model = tfrsb.serving.load(path)
        embedding = model.embed([["Film 01"]])["embedding"]
        np.testing.assert_allclose(
            embedding, films.embeddings([["Film 01"]]), atol=1e-6
        )


def test_a_function_keeps_its_model(films: Any) -> None:
    recommend = tfrsb.serving.load(films.version).recommend
    gc.collect()
    titles, _ = films.recommended([["Film 03"]], 2, excluded=[["Film 03"]])
    answer = recommend([["Film 03"]], k=2)["ids"].numpy()
    np.testing.assert_array_equal(answer.astype(str), titles)

    embed = tfrsb.serving.load(films.version).signatures["embed"]
    gc.collect()
    embedding = embed(history=tf.constant([["Film 01"]]))["embedding"]
    np.testing.assert_allclose(embedding, films.embeddings([["Film 01"]]), atol=1e-6)


def test_a_model_that_nobody_uses_is_freed(films: Any) -> None:
    model = weakref.ref(tfrsb.serving.load(films.version))
    gc.collect()
    assert model() is None


def change_a_byte(path: pathlib.Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut_off(path: pathlib.Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def add_a_file(path: pathlib.Path) -> None:
    (path.parent / "more").write_text("more")


@pytest.mark.parametrize(
    "file",
    [
        "saved_model.pb",
        "variables/variables.data-00000-of-00001",
        "variables/variables.index",
        "assets.extra/tf_serving_warmup_requests",
    ],
)
@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (change_a_byte, "{file} has changed"),
        (cut_off, "{file} has changed"),
        (pathlib.Path.unlink, "{file} is missing"),
        (add_a_file, "more does not belong to it"),
    ],
)
@pytest.mark.parametrize("call", [tfrsb.serving.verify, tfrsb.serving.load])
def test_damage_is_named(
    copy: pathlib.Path,
    file: str,
    damage: Callable[[pathlib.Path], None],
    fault: str,
    call: Callable[[pathlib.Path], Any],
) -> None:
    damage(copy / file)
    expected = rf"1 is not as it was exported: .*{fault.format(file=file)}"
    with pytest.raises(tfrsb.serving.CorruptExportError, match=expected):
        call(copy)


def test_a_digest_finds_checksums_that_were_changed_too(copy: pathlib.Path) -> None:
    digest = tfrsb.serving.verify(copy).digest
    tfrsb.serving.load(copy, digest=digest)

    manifest = json.loads((copy / MANIFEST).read_text())
    add_a_file(copy / "saved_model.pb")
    more = "sha256:187897ce0afcf20b50ba2b37dca84a951b7046f29ed5ab94f010619f69d6e189"
    manifest["files"]["more"] = more
    (copy / MANIFEST).write_text(json.dumps(manifest))
    assert tfrsb.serving.verify(copy).digest != digest
    with pytest.raises(tfrsb.serving.CorruptExportError, match="digest must be"):
        tfrsb.serving.load(copy, digest=digest)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "has no assets.extra/manifest.json"),
        ("{", "cannot be read"),
        ("[" * 10**5, "cannot be read"),
        ("[]", "cannot be read"),
        ('{"format": 1, "files": {}}', "cannot be read"),
        ('{"format": 1, "description": {"dim": 1}, "files": {}}', "cannot be read"),
    ],
)
def test_an_unreadable_manifest_is_an_error(
    copy: pathlib.Path, content: str | None, message: str
) -> None:
    (copy / MANIFEST).unlink()
    if content is not None:
        (copy / MANIFEST).write_text(content)
    with pytest.raises(tfrsb.serving.CorruptExportError, match=message):
        tfrsb.serving.verify(copy)


def test_the_manifest_of_a_later_package_is_an_error(copy: pathlib.Path) -> None:
    manifest = json.loads((copy / MANIFEST).read_text())
    described = {**manifest["description"], "shards": 2}
    later = {**manifest, "format": 2, "description": described}
    (copy / MANIFEST).write_text(json.dumps(later))
    with pytest.raises(
        tfrsb.serving.CorruptExportError, match="must have the format 1, but it has 2"
    ):
        tfrsb.serving.verify(copy)


@pytest.mark.parametrize("content", ["flip", "gone"])
def test_a_changed_description_is_refused(copy: pathlib.Path, content: str) -> None:
    raw = (copy / MANIFEST).read_text()
    changed = {
        "flip": raw.replace('"max_length": 6', '"max_length": 7'),
        "gone": raw.replace("description_checksum", "description_checksun"),
    }
    assert changed[content] != raw
    (copy / MANIFEST).write_text(changed[content])
    with pytest.raises(
        tfrsb.serving.CorruptExportError, match=r"description in|description_checksum"
    ):
        tfrsb.serving.verify(copy)


def link_to_nothing(copy: pathlib.Path) -> str:
    (copy / "saved_model.pb").unlink()
    (copy / "saved_model.pb").symlink_to(copy / "gone")
    return "saved_model.pb"


def link_to_the_same_file(copy: pathlib.Path) -> str:
    (copy / "saved_model.pb").rename(copy.parent / "elsewhere")
    (copy / "saved_model.pb").symlink_to(copy.parent / "elsewhere")
    return "saved_model.pb"


def link_to_a_folder(copy: pathlib.Path) -> str:
    (copy.parent / "private").mkdir()
    (copy.parent / "private" / "key").write_text("secret")
    (copy / "assets.extra" / "notes").symlink_to(copy.parent / "private")
    return "assets.extra/notes"


def link_to_the_manifest(copy: pathlib.Path) -> str:
    (copy / MANIFEST).rename(copy.parent / "elsewhere")
    (copy / MANIFEST).symlink_to(copy.parent / "elsewhere")
    return MANIFEST


def loop(copy: pathlib.Path) -> str:
    (copy / "assets" / "loop").symlink_to(copy)
    return "assets/loop"


def fifo(copy: pathlib.Path) -> str:
    os.mkfifo(copy / "variables" / "pipe")
    return "variables/pipe"


@pytest.mark.parametrize(
    "make",
    [
        *(link_to_nothing, link_to_the_same_file, link_to_a_folder),
        *(link_to_the_manifest, loop, fifo),
    ],
)
def test_links_and_special_files_are_refused(
    copy: pathlib.Path, make: Callable[[pathlib.Path], str]
) -> None:
    """A copy of the export, as `replace_candidates` makes it, would follow them."""
    with pytest.raises(
        tfrsb.serving.CorruptExportError,
        match=f"exported: {make(copy)} is a link or a special file. Copy",
    ):
        tfrsb.serving.verify(copy)


def test_the_folder_of_a_version_may_be_a_link(copy: pathlib.Path) -> None:
    (copy.parent / "2").symlink_to(copy)
    assert tfrsb.serving.verify(copy.parent / "2") == tfrsb.serving.verify(copy)


def test_no_file_outside_the_export_is_read(copy: pathlib.Path) -> None:
    manifest = json.loads((copy / MANIFEST).read_text())
    manifest["files"]["../secret"] = "sha256:0"
    (copy / MANIFEST).write_text(json.dumps(manifest))
    (copy.parent / "secret").write_text("")
    with pytest.raises(
        tfrsb.serving.CorruptExportError, match=r"exported: \.\./secret is missing"
    ):
        tfrsb.serving.verify(copy)


def test_a_folder_without_an_export_is_an_error(tmp_path: pathlib.Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(FileNotFoundError, match="path must be an export"):
            tfrsb.serving.load(path)


def test_the_graph_holds_no_python(films: Any) -> None:
    model = tf.saved_model.load(films.version)
    graph = model.signatures["recommend"].graph.as_graph_def()
    operations = {node.op for node in graph.node}
    for function in graph.library.function:
        operations |= {node.op for node in function.node_def}
    assert "MatMul" in operations
    assert not {op for op in operations if "Py" in op}
    names = {path.name for path in films.version.rglob("*")}
    assert "keras_metadata.pb" not in names
    assert not {name for name in names if name.endswith((".pkl", ".pickle", ".py"))}
