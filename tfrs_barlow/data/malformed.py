"""The error for a data file that is not what its format requires."""

from __future__ import annotations

import os


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
