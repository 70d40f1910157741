"""What happens to a data file, or a line of it, that its format does not allow."""

from __future__ import annotations

import os
import warnings
from typing import Literal

from tfrs_barlow import _checks

OnMalformed = Literal["raise", "skip"]


class MalformedFileError(ValueError):
    r"""A data file, or a line of it, does not have the form its format requires.

    Examples:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "log.csv"
        >>> _ = file.write_text("who,song,when\nann,7,yesterday\n")
        >>> try:
        ...     tfrsb.data.read_interactions(
        ...         file, user_column="who", item_column="song", time_column="when"
        ...     )
        ... except tfrsb.data.MalformedFileError as error:
        ...     "line 2: column 'when'" in str(error)
        True
    """


def malformed_line(
    source: str | os.PathLike[str], number: int, line: bytes, form: str
) -> MalformedFileError:
    """Builds the error for a line, numbered from 1; empty where the file ends."""
    text = line[:200].rstrip(b"\r\n").decode(errors="backslashreplace")
    found = repr(text[:200]) if line else "the end of the file"
    return MalformedFileError(
        f"{source}, line {number}: expected {form}, but found {found}."
    )


class MalformedLines:
    """Raises an error at the first malformed line, or counts such lines to warn of."""

    def __init__(self, on_malformed: OnMalformed) -> None:
        _checks.one_of("on_malformed", on_malformed, ("raise", "skip"))
        self.are_skipped = on_malformed == "skip"
        self._counts: dict[str, int] = {}
        self._first_places: dict[str, str] = {}

    def add(
        self,
        source: str | os.PathLike[str],
        number: int,
        line: bytes,
        form: str,
        cause: Exception | None = None,
    ) -> None:
        """Counts a malformed line, or raises an error that names it."""
        if not self.are_skipped:
            raise malformed_line(source, number, line, form) from cause
        self.count(str(source), f"line {number}")

    def count(self, source: str, place: str, number: int = 1) -> None:
        """Counts lines that are left out; the first is at a place such as "line 3"."""
        self._counts[source] = self._counts.get(source, 0) + number
        self._first_places.setdefault(source, place)

    def warn(self) -> None:
        """Warns the caller's caller if lines were skipped, once for all files."""
        if self._counts:
            counts = ", ".join(
                f"{count} of {source} (the first is {self._first_places[source]})"
                for source, count in self._counts.items()
            )
            warnings.warn(f"Left out malformed lines: {counts}.", stacklevel=3)
