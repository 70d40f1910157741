"""The file of a study: one line of JSON for every finished measurement."""

from __future__ import annotations

import fcntl
import json
import os
import pathlib
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

Row = dict[str, Any]

_FORMAT = 1
_ADVICE = "Delete the line to have it measured again."


class RowFile:
    """Rows of a study, on disk; the file need not exist yet.

    Rows are only ever added, so a run that is killed loses the line it was writing and
    nothing else. Several processes may add to one file.
    """

    def __init__(self, file: str | os.PathLike[str]) -> None:
        self.file = pathlib.Path(file)

    def __iter__(self) -> Iterator[Row]:
        """Yields the rows in the order they were written.

        A last line without an end, which a killed run leaves, is passed over. Any other
        line that is not a row, or not as it was written, is a `ValueError`. Rows of
        earlier versions have no format and no checksum.
        """
        if not self.file.exists():
            return
        for number, line in enumerate(self.file.read_bytes().split(b"\n")[:-1], 1):
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict):
                raise ValueError(
                    f"{self.file}, line {number}: expected a JSON object, but found "
                    f"{line[:200]!r}. {_ADVICE}"
                )
            written = row.pop("format", None), row.pop("checksum", None)
            if written not in ((None, None), (_FORMAT, _checksum(row))):
                raise ValueError(
                    f"{self.file}, line {number}: the row has changed since it was "
                    f"written. {_ADVICE}"
                )
            yield row

    def select(self, values: Mapping[str, Any]) -> Iterator[Row]:
        """Yields the rows that have all these values."""
        # Compares them as they come back from the file: tuples as lists, for example.
        wanted = json.loads(json.dumps(dict(values)))
        return (row for row in self if wanted.items() <= row.items())

    def append(self, row: Mapping[str, Any]) -> None:
        """Adds a row, and returns when it is on the disk."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a+b") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            stream.seek(0)
            content = stream.read()
            stream.truncate(content.rfind(b"\n") + 1)
            added = {"format": _FORMAT, "checksum": _checksum(row)}
            line = json.dumps({**row, **added})
            stream.write(line.encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())


def _checksum(row: Mapping[str, Any]) -> int:
    """Returns the CRC of a row, which is the same for a row that was read."""
    return zlib.crc32(json.dumps(dict(row)).encode())
