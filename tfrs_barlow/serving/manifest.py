"""What an export is and what its files hold, so that damage is seen before use."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
from typing import Any

from tfrs_barlow.serving import versions

_FORMAT = 1
_NAME = "assets.extra/manifest.json"
"""Where SavedModels keep what is not TensorFlow's: every loader leaves it alone."""


class CorruptExportError(ValueError):
    """An export does not hold what was written: it is incomplete or was changed."""


@dataclasses.dataclass(frozen=True)
class Description:
    """What a program wants to know of an export without loading it.

    Attributes:
        dim: The width of an embedding.
        max_length: How many items of a history count.
        default_k: How many items are recommended where a request does not say.
        exclude_history: Whether those of the history are left out then.
        item_type: `"string"` or `"int64"`.
        candidates: How many items can be recommended; None without candidates.
        popularity: Whether it is known which of them are popular.
        index: `"exact"` or `"scann"`.
        recall: The share of the ten best items that an approximate index finds, for
            histories of one item; None where the index is exact.
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
    """What `verify` has found.

    Attributes:
        description: What the export is.
        digest: Identifies the export by the contents of all its files. Who changes a
            file and the checksums with it changes the digest.
    """

    description: Description
    digest: str


def write(version: pathlib.Path, description: Description) -> None:
    """Writes the manifest of the finished `version` into it."""
    content = {
        "format": _FORMAT,
        "description": dataclasses.asdict(description),
        "files": {name: _checksum(version / name) for name in _names(version)},
    }
    path = version / _NAME
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")


def verify(path: str | os.PathLike[str], *, digest: str | None = None) -> Manifest:
    """Checks that an export holds what was written, all of it and nothing else.

    Checksums find a truncated copy, a bad disk and a careless edit. They do not stop
    somebody who changes the checksums too: for that, keep the digest in another place.

    Args:
        path: The folder of a version, or of several, of which the newest counts.
        digest: What `verify` gave for this export before; None accepts any.

    Returns:
        What the export is, and its digest.

    Raises:
        FileNotFoundError: If `path` holds no export.
        CorruptExportError: If a file is missing, was changed or is not the export's,
            or the digest is another one.

    Example:
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
        exported: saved_model.pb has changed. Copy or export it anew.
    """
    version = versions.newest(path)
    raw, content = _read(version)
    faults = list(_faults(version, content["files"]))
    if faults:
        raise CorruptExportError(
            f"{version} is not as it was exported: {', '.join(faults)}. Copy or export "
            "it anew."
        )
    found = hashlib.sha256(raw).hexdigest()
    if digest not in (None, found):
        raise CorruptExportError(
            f"digest must be that of {version}, {found}, but it is {digest!r}: this is "
            "another export, or it was changed together with its checksums."
        )
    return Manifest(Description(**content["description"]), found)


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
        if written == _FORMAT:  # Another one may describe more.
            Description(**content["description"])
        content["files"].items()
    except (ValueError, TypeError, KeyError, AttributeError) as error:
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


def _faults(version: pathlib.Path, expected: dict[str, Any]) -> Any:
    """Yields what is wrong with the files, which are never sought outside."""
    present = set(_names(version))
    for name in sorted(present | set(expected)):
        if name not in present:
            yield f"{name} is missing"
        elif name not in expected:
            yield f"{name} does not belong to it"
        elif _checksum(version / name) != expected[name]:
            yield f"{name} has changed"


def _names(version: pathlib.Path) -> list[str]:
    # A link to nothing is as good as missing.
    files = [path for path in version.rglob("*") if path.is_file()]
    names = [path.relative_to(version).as_posix() for path in files]
    return sorted(name for name in names if name != _NAME)


def _checksum(path: pathlib.Path) -> str:
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            sha256.update(chunk)
    return f"sha256:{sha256.hexdigest()}"
