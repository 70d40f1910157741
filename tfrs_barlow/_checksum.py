"""The checksum of a file."""

from __future__ import annotations

import hashlib
import os
import pathlib

_CHUNK = 1 << 20


def checksum(path: str | os.PathLike[str]) -> str:
    """Returns the SHA-256 of a file in hexadecimal; the file is read chunk by chunk."""
    # `hashlib.file_digest` needs Python 3.11.
    sha256 = hashlib.sha256()
    with pathlib.Path(path).open("rb") as file:
        while chunk := file.read(_CHUNK):
            sha256.update(chunk)
    return sha256.hexdigest()
