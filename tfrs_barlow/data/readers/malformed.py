"""What happens to a data file, or a line of it, that its format does not allow."""

from __future__ import annotations

import os
import warnings
from typing import Literal

OnMalformed = Literal["raise", "skip"]


class MalformedFileError(ValueError):
    """A data file, or a line of it, does not have the form its format requires."""


def malformed_line(
    source: str | os.PathLike[str], number: int, line: bytes, form: str
) -> MalformedFileError:
    """Builds the error for a line.

    Args:
        source: The file.
        number: The number of the line, from 1.
        line: What is there; empty if the file ends there.
        form: What should be there.
    """
    text = line[:200].rstrip(b"\r\n").decode(errors="backslashreplace")
    found = repr(text[:200]) if line else "the end of the file"
    return MalformedFileError(
        f"{source}, line {number}: expected {form}, but found {found}."
    )


class MalformedLines:
    """Raises an error at the first malformed line, or counts such lines to warn of."""

    def __init__(self, on_malformed: OnMalformed) -> None:
        """Initializes it.

        Args:
            on_malformed: Whether to `"raise"` an error or to `"skip"` the line.

        Raises:
            ValueError: If `on_malformed` is something else.
        """
        if on_malformed not in ("raise", "skip"):
            raise ValueError(
                f"on_malformed must be 'raise' or 'skip', but it is {on_malformed!r}."
            )
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
        """Takes note of a malformed line, or raises an error that names it.

        Args:
            source: The file.
            number: The number of the line, from 1.
            line: What is there.
            form: What should be there.
            cause: Why the line was refused.
        """
        if not self.are_skipped:
            raise malformed_line(source, number, line, form) from cause
        self.count(str(source), f"line {number}")

    def count(self, source: str, place: str) -> None:
        """Takes note that what is at a place, such as "line 3", is left out."""
        self._counts[source] = self._counts.get(source, 0) + 1
        self._first_places.setdefault(source, place)

    def warn(self) -> None:
        """Warns the caller's caller if lines were skipped, once for all files."""
        if self._counts:
            counts = ", ".join(
                f"{count} of {source} (the first is {self._first_places[source]})"
                for source, count in self._counts.items()
            )
            warnings.warn(f"Left out malformed lines: {counts}.", stacklevel=3)
