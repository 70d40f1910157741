"""A lock on a folder, so that one process at a time writes there."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import platform
from collections.abc import Iterator


@contextlib.contextmanager
def locked(folder: pathlib.Path, *, wait: bool = False) -> Iterator[None]:
    """Owns a folder in its body, by the file `lock` in it.

    The system releases the lock of a process that is killed. The file stays: to delete
    it would let two others lock two files of that name.

    Args:
        folder: The folder, made if need be.
        wait: Whether to wait for another owner, instead of raising.

    Raises:
        BlockingIOError: If another process or call owns the folder; names it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip() or "another process"
            raise BlockingIOError(
                f"{folder} is in use by {owner}. Wait for it to end, or choose another "
                "folder."
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}\n")
        file.flush()
        yield
