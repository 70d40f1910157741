"""What an export is and what its files hold, so that damage is seen before use."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from tfrs_barlow._checks import text
from tfrs_barlow._checksum import checksum
from tfrs_barlow.serving import versions

_FORMAT = 1
_NAME = "assets.extra/manifest.json"
"""`assets.extra` is for files that are not TensorFlow's; every loader ignores it."""


class CorruptExportError(ValueError):
    """An export does not hold what was written: it is incomplete or was changed.

    Examples:
        >>> issubclass(tfrsb.serving.CorruptExportError, ValueError)
        True
    """


@dataclasses.dataclass(frozen=True)
class Description:
    """What a program needs to know about an export without loading it.

    Attributes:
        dim: The width of an embedding.
        max_length: How many items of a history count.
        default_k: How many items are recommended by default.
        exclude_history: Whether those of the history are left out by default.
        item_type: `"string"` or `"int64"`.
        candidates: How many items can be recommended; None without candidates.
        popularity: Whether the export knows how popular each of them is.
        index: `"exact"` or `"scann"`.
        recall: The share of the ten best items that an approximate index finds, for
            histories of one item; None if the index is exact.
    """

    dim: int
    max_length: int
    default_k: int
    exclude_history: bool
    item_type: str
    candidates: int | None
    popularity: bool
    index: str
    recall: float | None


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What `verify` returns: a `description` of the export, and its `digest`."""

    description: Description
    digest: str


def write(version: pathlib.Path, description: Description) -> None:
    """Writes the manifest of the finished `version` into it."""
    names, _ = _entries(version)
    about = dataclasses.asdict(description)
    content = {
        "format": _FORMAT,
        "description": about,
        "description_checksum": _checksum_of(about),
        "files": {name: _checksum(version, name) for name in names},
    }
    path = version / _NAME
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")


def verify(path: str | os.PathLike[str], *, digest: str | None = None) -> Manifest:
    """Checks that an export holds what was written, all of it and nothing else.

    Checksums find a truncated copy, a bad disk and a careless edit. They do not stop
    somebody who changes the checksums too: against that, keep the digest elsewhere.

    Args:
        path: The folder of a version, or of several, of which the newest is checked.
        digest: What this function returned for the export before; None accepts any.

    Returns:
        An object with the attributes `description` (`dim`, `max_length`, `default_k`,
        `exclude_history`, `item_type`, `candidates` (their number), `popularity`,
        `index`, `recall`) and `digest`, a string that identifies all contents.

    Raises:
        TypeError: If `path` is not a path or `digest` is not a string.
        FileNotFoundError: If `path` holds no export.
        CorruptExportError: If a file is missing, was changed, does not belong to the
            export or is a link, or if the digest is another one.

    Examples:
        >>> import tempfile
        >>> version = tfrsb.serving.export(
        ...     lambda ids: tf.cast(ids, tf.float32),
        ...     tempfile.mkdtemp(),
        ...     vocabulary=tfrsb.data.Vocabulary(["Alien", "Brazil"]),
        ... )
        >>> tfrsb.serving.verify(version).description.max_length
        100
        >>> with (version / "saved_model.pb").open("ab") as file:
        ...     _ = file.write(b"more")
        >>> tfrsb.serving.verify(version)
        Traceback (most recent call last):
        ...
        tfrs_barlow.serving.manifest.CorruptExportError: .../1 is not as it was
        exported: saved_model.pb has changed. Copy or export it again.
    """
    return verified(path, digest)[1]


def verified(
    path: str | os.PathLike[str], digest: str | None = None
) -> tuple[pathlib.Path, Manifest]:
    """Returns the version that `path` names, and what `verify` says of it."""
    if digest is not None:
        text("digest", digest)
    version = versions.newest(path)
    names, special = _entries(version)  # First, so that no link is followed.
    _refuse(version, [f"{name} is a link or a special file" for name in special])
    raw, content = _read(version)
    _refuse(version, [*_faults(version, names, content)])
    found = hashlib.sha256(raw).hexdigest()
    if digest not in (None, found):
        raise CorruptExportError(
            f"digest must be that of {version}, {found}, but it is {digest!r}: this is "
            "another export, or it was changed together with its checksums."
        )
    return version, Manifest(Description(**content["description"]), found)


def _refuse(version: pathlib.Path, faults: list[str]) -> None:
    if faults:
        raise CorruptExportError(
            f"{version} is not as it was exported: {', '.join(faults)}. Copy or export "
            "it again."
        )


def _read(version: pathlib.Path) -> tuple[bytes, dict[str, Any]]:
    path = version / _NAME
    if not path.is_file():
        raise CorruptExportError(
            f"{version} has no {_NAME}: tfrsb.serving.export did not write it, or it "
            "is incomplete."
        )
    raw = path.read_bytes()
    try:
        content = json.loads(raw)
        written = content["format"]
        if written == _FORMAT:  # Another format may describe more.
            Description(**content["description"])
            _ = content["description_checksum"], content["files"].items()
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CorruptExportError(
            f"{path} must hold the manifest of an export, but it cannot be read: "
            f"{error!r}."
        ) from error
    if written != _FORMAT:
        raise CorruptExportError(
            f"{path} must have the format {_FORMAT}, but it has {written!r}: another "
            "version of tfrs_barlow wrote it."
        )
    return raw, content


def _faults(
    version: pathlib.Path, names: list[str], content: dict[str, Any]
) -> Iterator[str]:
    """Yields what is wrong with the files; opens none outside the version."""
    if content["description_checksum"] != _checksum_of(content["description"]):
        yield f"the description in {_NAME} has changed"
    expected = content["files"]
    for name in sorted({*names, *expected}):
        if name not in names:
            yield f"{name} is missing"
        elif name not in expected:
            yield f"{name} does not belong to it"
        elif _checksum(version, name) != expected[name]:
            yield f"{name} has changed"


def _entries(version: pathlib.Path) -> tuple[list[str], list[str]]:
    """Returns the names of all files, and of what no export holds, such as links."""
    names, special = [], []
    for path in sorted(version.rglob("*")):  # Does not enter linked folders.
        name = path.relative_to(version).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            special.append(name)
        elif path.is_file() and name != _NAME:
            names.append(name)
    return names, special


def _checksum_of(description: dict[str, Any]) -> str:
    text = json.dumps(description, sort_keys=True)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _checksum(version: pathlib.Path, name: str) -> str:
    return f"sha256:{checksum(version / name)}"
