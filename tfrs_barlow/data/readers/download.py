"""Downloads MovieLens from its official home, GroupLens."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import os
import pathlib
import shutil
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from typing import Literal

import tensorflow as tf

from tfrs_barlow._checksum import checksum

MovieLensDataset = Literal["ml-1m", "ml-latest-small", "ml-20m", "ml-25m", "ml-32m"]
"""The names of the MovieLens releases that can be downloaded and read."""

_HOME = "https://files.grouplens.org/datasets/movielens"

_SHA256: dict[str, str] = {
    "ml-1m": "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
    "ml-latest-small": (
        "696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436"
    ),
    "ml-20m": "96f243c338a8665f6bcc89c53edf6ee39162a846940de6b7c8c48aeada765ff3",
    "ml-25m": "8b21cfb7eb1706b4ec0aac894368d90acf26ebdfb6aced3ebd4ad5bd1eb9c6aa",
    "ml-32m": "e4a68655d7386b8f95f2f2424b2ff975dfdd15ffd59e0d864a14dca43e99d6ee",
}

_CHUNK = 1 << 18
_PATIENCE_S = 60

# The README holds the license, so it stays with the data.
_MEMBERS_OF_1M = ("ratings.dat", "movies.dat", "README")
_MEMBERS_OF_CSV = ("ratings.csv", "movies.csv", "README.txt")


class DownloadError(OSError):
    """A dataset could not be downloaded, or what came is not the dataset."""


def download_movielens(
    dataset: MovieLensDataset, cache_dir: str | os.PathLike[str] | None = None
) -> pathlib.Path:
    """Downloads a MovieLens dataset, unless it is in the cache already.

    The archive is checked against its SHA-256. A download that breaks off, or is
    killed, goes on where it stopped when this is called again; no file appears in the
    folder before it is complete.

    Args:
        dataset: The name of the dataset, for example `"ml-1m"`.
        cache_dir: The folder that holds a folder per dataset; `~/.cache/tfrs_barlow`
            if None.

    Returns:
        The folder with the ratings, the movies and the README of the dataset.

    Raises:
        ValueError: If `dataset` is unknown.
        DownloadError: If the download fails or its content is not the expected one.
    """
    require_known(dataset)
    cache = default_cache_dir() if cache_dir is None else pathlib.Path(cache_dir)
    folder = cache.expanduser().absolute() / dataset
    members = _MEMBERS_OF_1M if dataset == "ml-1m" else _MEMBERS_OF_CSV
    if all((folder / member).is_file() for member in members):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _one_at_a_time(folder.parent):
        # Another process may have completed it while this one waited.
        if not all((folder / member).is_file() for member in members):
            _print_license_notice(dataset)
            archive = _fetch_archive(dataset, folder.parent)
            _extract(archive, dataset, members, folder)
            archive.unlink()
    return folder


def require_known(dataset: str) -> None:
    """Raises ValueError if `dataset` is not a `MovieLensDataset`."""
    if dataset not in _SHA256:
        raise ValueError(f"dataset must be one of {list(_SHA256)}, but is {dataset!r}.")


def default_cache_dir() -> pathlib.Path:
    """Returns the folder that datasets are downloaded to by default."""
    return pathlib.Path.home() / ".cache" / "tfrs_barlow"


def _print_license_notice(dataset: str) -> None:
    """Tells under which terms the dataset may be used."""
    suffix = "txt" if dataset == "ml-1m" else "html"
    print(
        f"{dataset} is made by GroupLens Research (University of Minnesota), free for "
        "research. Commercial use needs GroupLens's permission, redistribution is "
        "restricted, and publications must acknowledge it. The terms and the citation: "
        f"{_HOME}/{dataset}-README.{suffix}"
    )


@contextlib.contextmanager
def _one_at_a_time(folder: pathlib.Path) -> Iterator[None]:
    """Waits until no other process downloads into `folder`."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        # Some network file systems lock no folders. Two downloads into one file would
        # only fail at its checksum.
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _fetch_archive(dataset: str, folder: pathlib.Path) -> pathlib.Path:
    """Downloads the archive of `dataset` into `folder` and verifies its checksum."""
    url = f"{_HOME}/{dataset}.zip"
    path = folder / f".{dataset}.zip.partial"
    try:
        _download(url, path)
    except (OSError, http.client.HTTPException) as error:
        raise DownloadError(_failure(dataset, f"downloading {url}: {error}")) from error
    if checksum(path) != _SHA256[dataset]:
        path.unlink()
        raise DownloadError(
            _failure(dataset, f"downloading {url}: the file hash does not match")
        )
    return path


def _download(url: str, path: pathlib.Path) -> None:
    """Downloads a file, or the rest of it where `path` holds its beginning.

    Raises:
        OSError: If it breaks off; what has come stays.
    """
    present = path.stat().st_size if path.exists() else 0
    headers = {"Range": f"bytes={present}-"} if present else {}
    request = urllib.request.Request(url, headers=headers)
    try:
        response = urllib.request.urlopen(request, timeout=_PATIENCE_S)
    except urllib.error.HTTPError as error:
        if present and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # There is no more of it.
        raise
    with response:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            present = 0
        length = response.headers.get("Content-Length")
        total = None if length is None else present + int(length)
        progress = tf.keras.utils.Progbar(total, unit_name="byte")
        with path.open("ab" if present else "wb") as file:
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                present += len(chunk)
                progress.update(present, finalize=False)
        progress.update(present, finalize=True)
    if total is not None and present < total:
        raise OSError(
            f"it broke off after {present:,} of {total:,} bytes. They are kept: call "
            "again to go on there"
        )


def _extract(
    archive: pathlib.Path, dataset: str, members: tuple[str, ...], folder: pathlib.Path
) -> None:
    """Writes each of `members` of `archive` to a file of that name in `folder`.

    No path in the archive decides where anything is written.
    """
    # Files are completed in a folder of this process alone and then moved, each in one
    # step: neither a kill nor a second process can make a partial file appear.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{dataset}-") as name:
        scratch = pathlib.Path(name)
        try:
            with zipfile.ZipFile(archive) as source:
                for member in members:
                    with (
                        source.open(f"{dataset}/{member}") as content,
                        (scratch / member).open("wb") as target,
                    ):
                        shutil.copyfileobj(content, target)
        except (KeyError, zipfile.BadZipFile) as error:
            archive.unlink()
            raise DownloadError(
                _failure(dataset, f"unpacking {dataset}.zip: {error}")
            ) from error
        folder.mkdir(exist_ok=True)
        for member in members:
            (scratch / member).replace(folder / member)


def _failure(dataset: str, attempt: str) -> str:
    """Says what failed, and what to do instead."""
    message = (
        f"Could not get {dataset}, failed at {attempt}\n"
        "If you have a copy already, unpack it and pass its folder as data_dir."
    )
    if "latest" in dataset:
        message += (
            f"\nGroupLens replaces {dataset} without notice: a file hash that does not "
            "match can mean a newer release, which data_dir accepts as well."
        )
    return message
