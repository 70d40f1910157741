"""Tests of the checksum of a file."""

from __future__ import annotations

import hashlib
import pathlib

import pytest

from tfrs_barlow._checksum import _CHUNK, checksum


@pytest.mark.parametrize("size", [0, 3, _CHUNK, 2 * _CHUNK + 1])
def test_is_the_sha256_of_the_content(tmp_path: pathlib.Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a" * size)

    assert checksum(path) == hashlib.sha256(b"a" * size).hexdigest()


def test_takes_a_path_as_text(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")

    assert checksum(str(path)) == checksum(path)
