"""Downloads MovieLens from its official home, GroupLens."""

from __future__ import annotations

import os
import pathlib
import tempfile
import zipfile
from typing import Literal, get_args

from tfrs_barlow import _checks

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

_PATIENCE_S = 60

# The README holds the license, so it stays with the data.
_MEMBERS_OF_1M = ("ratings.dat", "movies.dat", "README")
_MEMBERS_OF_CSV = ("ratings.csv", "movies.csv", "README.txt")


def require_known(dataset: MovieLensDataset) -> None:
    """Checks the name of a dataset."""
    _checks.one_of("dataset", dataset, get_args(MovieLensDataset))


def download_movielens(
    dataset: MovieLensDataset, cache_dir: str | os.PathLike[str] | None = None
) -> pathlib.Path:
    """Downloads a MovieLens dataset, unless it is in the cache already.

    The archive is checked against its SHA-256. No file appears in the folder before it
    is complete.

    Args:
        dataset: The name of the dataset, for example `"ml-1m"`.
        cache_dir: The folder that holds a folder per dataset; `~/.cache/tfrs_barlow`
            if None.

    Returns:
        The folder with the ratings, the movies and the README of the dataset.

    Raises:
        OSError: If the download fails or its content is not the expected one.
    """
    require_known(dataset)
    default = pathlib.Path.home() / ".cache" / "tfrs_barlow"
    cache = default if cache_dir is None else pathlib.Path(cache_dir)
    folder = cache.expanduser().absolute() / dataset
    members = _MEMBERS_OF_1M if dataset == "ml-1m" else _MEMBERS_OF_CSV
    if not all((folder / member).is_file() for member in members):
        _print_license_notice(dataset)
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Complete files are moved, each in one step: neither a kill nor a second
        # process can make a partial file appear.
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as scratch:
            unpacked = _fetch(dataset, members, pathlib.Path(scratch))
            folder.mkdir(exist_ok=True)
            for member in members:
                (unpacked / member).replace(folder / member)
    return folder


def _print_license_notice(dataset: str) -> None:
    suffix = "txt" if dataset == "ml-1m" else "html"
    print(
        f"{dataset} is made by GroupLens Research (University of Minnesota), free for "
        "research. Commercial use needs GroupLens's permission, redistribution is "
        "restricted, and publications must acknowledge it. The terms and the citation: "
        f"{_HOME}/{dataset}-README.{suffix}"
    )


def _fetch(
    dataset: str, members: tuple[str, ...], scratch: pathlib.Path
) -> pathlib.Path:
    """Downloads the archive of `dataset`, and returns the folder with its `members`."""
    import pooch

    url = f"{_HOME}/{dataset}.zip"
    unpacked = scratch / "unpacked" / dataset
    try:
        pooch.retrieve(
            url,
            known_hash=f"sha256:{_SHA256[dataset]}",
            fname=f"{dataset}.zip",
            path=scratch,
            downloader=pooch.HTTPDownloader(progressbar=True, timeout=_PATIENCE_S),
            processor=pooch.Unzip(
                members=[f"{dataset}/{member}" for member in members],
                extract_dir="unpacked",
            ),
        )
        for member in members:
            if not (unpacked / member).is_file():
                raise OSError(f"the archive lacks {dataset}/{member}")
    # pooch raises a ValueError for another hash.
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        message = (
            f"Could not download {url}: {error}\n"
            f"Get {dataset} by hand, unpack it, and pass its folder as data_dir."
        )
        if "latest" in dataset:
            message += (
                f"\nGroupLens replaces {dataset} without notice: another hash can mean "
                "a newer release, which data_dir accepts as well."
            )
        raise OSError(message) from error
    return unpacked
