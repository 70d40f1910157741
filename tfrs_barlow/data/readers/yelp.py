"""Reads the Yelp academic data set as Yelp distributes it, without unpacking it."""

from __future__ import annotations

import array
import contextlib
import datetime
import gzip
import io
import json
import os
import pathlib
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from typing import IO, Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd

from tfrs_barlow.data.interactions import InteractionLog
from tfrs_barlow.data.readers.malformed import (
    MalformedFileError,
    MalformedLines,
    OnMalformed,
    malformed_line,
)

_REVIEWS = "yelp_academic_dataset_review.json"
_BUSINESSES = "yelp_academic_dataset_business.json"
_NAMES = (_REVIEWS, _BUSINESSES)
_TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")
_ARCHIVE_SUFFIXES = (".zip", *_TAR_SUFFIXES)

_REVIEW_FORM = (
    '{"user_id": "...", "business_id": "...", "date": "YYYY-MM-DD HH:MM:SS", '
    '"stars": 0 to 5}'
)
_BUSINESS_FORM = (
    '{"business_id": "...", "name": "...", "categories": "Name, Name" or null}'
)

# `datetime.fromisoformat` takes more forms than the files have, and other ones in every
# version of Python, so this pattern decides.
_DATE = re.compile(r"\d{4}-\d\d-\d\d(?: (?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d)?", re.ASCII)
_EPOCH = datetime.datetime(1970, 1, 1)
_SECOND = datetime.timedelta(seconds=1)

_BUFFER_SIZE = 1 << 18
# No review comes near this length: more is no file of Yelp's, and must not fill memory.
_LONGEST_LINE = 1 << 22
_TAR_BLOCK = 512
_GZIP_MAGIC = b"\x1f\x8b"
# `RuntimeError` is how `zipfile` refuses encryption and unknown compression.
_DAMAGE = (
    EOFError,
    RuntimeError,
    gzip.BadGzipFile,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)

_Row = TypeVar("_Row")


class _Review(NamedTuple):
    """What is kept of a review; `stars` is None where the file has none."""

    user_id: str
    item_id: str
    timestamp: int
    stars: float | None


class _Selection(NamedTuple):
    """Which reviews to keep; None stands for no bound."""

    min_rating: float | None
    since: int | None
    until: int | None

    def keeps(self, review: _Review) -> bool:
        """Whether `review`, which has stars if need be, is within the bounds."""
        return not (
            (self.since is not None and review.timestamp < self.since)
            or (self.until is not None and review.timestamp >= self.until)
            or (
                self.min_rating is not None
                and review.stars is not None
                and review.stars < self.min_rating
            )
        )


class _File(NamedTuple):
    """One of the two files, open, with its official name and where it was found."""

    name: str
    source: str
    stream: IO[bytes]


def read_yelp(
    data_dir_or_archive: str | os.PathLike[str],
    *,
    min_rating: float | None = None,
    since: str | None = None,
    until: str | None = None,
    on_malformed: OnMalformed = "raise",
) -> InteractionLog:
    """Reads the reviews and businesses of the Yelp academic data set.

    The two files, `yelp_academic_dataset_review.json` and
    `yelp_academic_dataset_business.json`, hold one JSON object a line. They may lie in
    a folder, plain or with `.gz` behind their names, or in an archive, in any folder
    of it: a `.zip`, a `.tar` (also `.tar.gz`, `.tgz`), or, as Yelp has it, a `.zip`
    with a `.tar` in it. Nothing is extracted to disk. A review takes a few dozen bytes
    of memory: its text is dropped as it is read. Blank lines are passed over.

    Args:
        data_dir_or_archive: The folder or the archive with the two files.
        min_rating: Keep the reviews with at least that many stars.
        since: Keep the reviews from this moment (UTC) on, as `"2019-01-01"` or
            `"2019-01-01 12:00:00"`.
        until: Keep the reviews before this moment, in the same form: two years that
            follow each other share no review.
        on_malformed: What to do with a line that does not have the form of its file
            (no JSON object, a field missing or of another type, no such date, a
            business described twice): `"raise"` an error or `"skip"` it. A warning
            then tells how many lines were left out.

    Returns:
        The log, in the order of the file. `interactions` has `user_id` and `item_id`
        (strings), `timestamp` (int64, seconds since 1970) and, where every review that
        was kept has stars, `rating` (float32). `items` has all businesses, reviewed or
        not, with the names between the commas as `categories`, in the order of the
        file (so `"Beer, Wine & Spirits"`, one name of Yelp's, makes two).

    Raises:
        FileNotFoundError: If one of the files is not there.
        MalformedFileError: If a line is malformed, for the first such line; if a file
            has no line; if a file or an archive is truncated or damaged.
        ValueError: If an argument is out of its range, no review is within the
            bounds, or an archive holds a file twice.

    Example:
        >>> import pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "yelp_academic_dataset_review.json").write_text(
        ...     '{"user_id": "ann", "business_id": "pub", "stars": 4.0, "text": "Good",'
        ...     ' "date": "2019-01-02 19:11:49"}'
        ... )
        >>> _ = (folder / "yelp_academic_dataset_business.json").write_text(
        ...     '{"business_id": "pub", "name": "Crown", "categories": "Pubs, Food"}'
        ... )
        >>> log = tfrsb.data.read_yelp(folder, min_rating=3, since="2019-01-01")
        >>> log.interactions.to_dict("records")
        [{'user_id': 'ann', 'item_id': 'pub', 'rating': 4.0, 'timestamp': 1546456309}]
        >>> log.items["categories"].tolist()
        [('Pubs', 'Food')]
    """
    selection = _check_selection(min_rating, since, until)
    malformed = MalformedLines(on_malformed)
    tables: dict[str, pd.DataFrame] = {}
    with contextlib.closing(_open_files(pathlib.Path(data_dir_or_archive))) as files:
        for file in files:
            if file.name in tables:
                raise ValueError(
                    f"{data_dir_or_archive} must hold {file.name} once, but it holds "
                    f"it twice; the second is {file.source}."
                )
            if file.name == _REVIEWS:
                tables[file.name] = _read_reviews(file, selection, malformed)
            else:
                tables[file.name] = _read_businesses(file, malformed)
    malformed.warn()
    if tables[_REVIEWS].empty:
        raise ValueError(
            f"{data_dir_or_archive} must hold a review within the bounds, but it holds "
            f"none for min_rating={min_rating!r}, since={since!r} and until={until!r}."
        )
    return InteractionLog(tables[_REVIEWS], tables[_BUSINESSES])


def _check_selection(
    min_rating: float | None, since: str | None, until: str | None
) -> _Selection:
    """Checks the bounds and turns the dates into seconds since 1970."""
    if min_rating is not None and not 0 <= min_rating <= 5:
        raise ValueError(
            f"min_rating must be from 0 to 5 (or None), but it is {min_rating!r}."
        )
    seconds = []
    for name, text in (("since", since), ("until", until)):
        try:
            seconds.append(None if text is None else _parse_date(text))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{name} must be a date of the form '2019-01-01' or "
                f"'2019-01-01 12:00:00' (or None), but it is {text!r}."
            ) from error
    first, end = seconds
    if first is not None and end is not None and first >= end:
        raise ValueError(
            f"since must be before until, but they are {since!r} and {until!r}."
        )
    return _Selection(min_rating, first, end)


def _open_files(path: pathlib.Path) -> Generator[_File, None, None]:
    """Opens the two files one after the other, each until the next is asked for."""
    if path.is_dir():
        yield from _open_folder(path)
    elif not path.exists():
        raise FileNotFoundError(
            f"{path} does not exist; expected a folder or an archive with "
            f"{' and '.join(_NAMES)}."
        )
    elif not path.name.lower().endswith(_ARCHIVE_SUFFIXES):
        raise ValueError(
            "data_dir_or_archive must be a folder or an archive "
            f"({', '.join(_ARCHIVE_SUFFIXES)}), but it is {path}."
        )
    else:
        with path.open("rb") as stream:
            if path.name.lower().endswith(".zip"):
                yield from _open_zip(stream, str(path))
            else:
                yield from _open_tar(stream, str(path))


def _open_folder(folder: pathlib.Path) -> Iterator[_File]:
    """Opens the files in a folder, both found before the first is read."""
    found: dict[str, pathlib.Path] = {}
    for name in _NAMES:
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                found.setdefault(name, path)
    _require_both(found, str(folder), suffix=", plain or with .gz")
    for name, path in found.items():
        with path.open("rb") as stream:
            yield _File(name, str(path), _decompressed(stream))


def _open_zip(stream: IO[bytes], source: str) -> Iterator[_File]:
    """Opens the files in a zip archive, or in the only tar archive in it."""
    with _refusing_damage(source), zipfile.ZipFile(stream) as archive:
        members = [info for info in archive.infolist() if not info.is_dir()]
        wanted = [info for info in members if _base_name(info.filename) in _NAMES]
        tars = [
            info for info in members if info.filename.lower().endswith(_TAR_SUFFIXES)
        ]
        if not wanted and len(tars) == 1:
            with archive.open(tars[0]) as inner:
                yield from _open_tar(inner, f"{tars[0].filename!r} in {source}")
            return
        _require_both({_base_name(info.filename) for info in wanted}, source)
        for info in wanted:
            with archive.open(info) as member:
                yield _File(
                    _base_name(info.filename),
                    f"{info.filename!r} in {source}",
                    _buffered(member),
                )


def _open_tar(stream: IO[bytes], source: str) -> Iterator[_File]:
    """Opens the files in a tar archive, which is read once from its start to its end.

    The end is read too, where nothing is wanted: only there is the checksum of a
    compressed archive.
    """
    found: set[str] = set()
    tail = _Tail(_decompressed(stream))
    with (
        _refusing_damage(source),
        # As a stream: tarfile would seek otherwise, which starts gzip over.
        tarfile.open(fileobj=tail, mode="r|", bufsize=_BUFFER_SIZE) as archive,
    ):
        for member in archive:
            name = _base_name(member.name)
            if name in _NAMES and member.isreg():
                content = archive.extractfile(member)
                assert content is not None  # It is so for links and folders only.
                found.add(name)
                yield _File(name, f"{member.name!r} in {source}", _buffered(content))
        while tail.read(_BUFFER_SIZE):
            pass
    # tarfile takes a cut between two members for the end of the archive.
    if len(found) < len(_NAMES) and any(tail.last_block):
        raise MalformedFileError(
            f"{source} is truncated: it ends without the block of zeros that ends a "
            "tar archive."
        )
    _require_both(found, source)


class _Tail(io.RawIOBase):
    """A stream that remembers the last block read of it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.last_block = b""

    def read(self, size: int = -1, /) -> bytes:
        """Reads up to `size` bytes."""
        content = self._stream.read(size)
        self.last_block = (self.last_block + content[-_TAR_BLOCK:])[-_TAR_BLOCK:]
        return content


def _base_name(member: str) -> str:
    """Returns the last part of a path in an archive, from whatever system it comes."""
    return re.split(r"[/\\]", member)[-1]


def _require_both(
    found: set[str] | dict[str, pathlib.Path], source: str, *, suffix: str = ""
) -> None:
    """Checks that both files were found."""
    missing = [name for name in _NAMES if name not in found]
    if missing:
        raise FileNotFoundError(
            f"{source} lacks {' and '.join(missing)}; looked for "
            f"{' and '.join(_NAMES)}{suffix}."
        )


def _decompressed(stream: IO[bytes]) -> IO[bytes]:
    """Unpacks a stream if its first bytes are those of gzip, whatever its name is."""
    plain = _buffered(stream)
    if plain.peek(2)[:2] != _GZIP_MAGIC:
        return plain
    return _buffered(gzip.GzipFile(fileobj=plain))


def _buffered(stream: Any) -> io.BufferedReader:
    """Reads in large pieces: a line from an archive costs a Python call otherwise."""
    return io.BufferedReader(stream, _BUFFER_SIZE)


@contextlib.contextmanager
def _refusing_damage(source: str) -> Iterator[None]:
    """Turns the errors of the decompressing libraries into one that names the file."""
    try:
        yield
    except _DAMAGE as error:
        raise MalformedFileError(
            f"{source} cannot be read, truncated or damaged perhaps: {error}."
        ) from error


def _read_reviews(
    file: _File, selection: _Selection, malformed: MalformedLines
) -> pd.DataFrame:
    """Reads the reviews that `selection` keeps.

    Args:
        file: The file.
        selection: Which reviews to keep.
        malformed: Takes the malformed lines.
    """
    if selection.min_rating is None:
        form = f"{_REVIEW_FORM} (stars may be absent)"
    else:
        form = f"{_REVIEW_FORM} (with stars, which min_rating needs)"
    users: list[str] = []
    items: list[str] = []
    timestamps = array.array("q")
    ratings = array.array("f")
    ids: dict[str, str] = {}

    def parse(line: str) -> _Review:
        review = _parse_review(line)
        if review.stars is None and selection.min_rating is not None:
            raise ValueError("no stars, which min_rating needs")
        return review

    for review in _parse_lines(file, parse, form, malformed):
        if selection.keeps(review):
            # A reference to the one string of each id, not a string per review.
            users.append(ids.setdefault(review.user_id, review.user_id))
            items.append(ids.setdefault(review.item_id, review.item_id))
            timestamps.append(review.timestamp)
            if review.stars is not None:
                ratings.append(review.stars)
    table = pd.DataFrame({"user_id": users, "item_id": items})
    if len(ratings) == len(users):
        table["rating"] = np.array(ratings, np.float32)
    table["timestamp"] = np.array(timestamps, np.int64)
    return table


def _read_businesses(file: _File, malformed: MalformedLines) -> pd.DataFrame:
    """Reads all businesses; see `_read_reviews`."""
    ids: set[str] = set()

    def parse(line: str) -> tuple[str, str, tuple[str, ...]]:
        business = _parse_business(line)
        if business[0] in ids:
            raise ValueError(line)
        ids.add(business[0])
        return business

    form = f"{_BUSINESS_FORM}, each business_id once"
    return pd.DataFrame(
        list(_parse_lines(file, parse, form, malformed)),
        columns=["item_id", "title", "categories"],
    )


def _parse_lines(
    file: _File,
    parse: Callable[[str], _Row],
    form: str,
    malformed: MalformedLines,
) -> Iterator[_Row]:
    """Parses a file line by line.

    Args:
        file: The file.
        parse: Turns a line into a row, and raises an error if it cannot.
        form: The form of a line.
        malformed: Takes the malformed lines.

    Raises:
        MalformedFileError: If a line is malformed, or if there is no row.
    """
    number, is_empty = 0, True
    for number, line in _numbered_lines(file):
        if line.isspace():
            continue
        try:
            row = parse(line.decode())
        # JSON that is nested too deep is a RecursionError.
        except (KeyError, RecursionError, ValueError) as error:
            malformed.add(file.source, number, line, form, error)
            continue
        is_empty = False
        yield row
    if is_empty:
        raise malformed_line(file.source, number + 1, b"", form)


def _numbered_lines(file: _File) -> Iterator[tuple[int, bytes]]:
    """Returns the lines with their numbers (from 1); monstrous lines are cut short."""
    number = 0
    with _refusing_damage(file.source):
        while line := file.stream.readline(_LONGEST_LINE):
            number += 1
            yield number, line
            while len(line) == _LONGEST_LINE and not line.endswith(b"\n"):
                line = file.stream.readline(_LONGEST_LINE)


def _parse_review(line: str) -> _Review:
    """Parses a line of the review file."""
    fields = _parse_object(line)
    return _Review(
        _parse_id(fields["user_id"]),
        _parse_id(fields["business_id"]),
        _parse_date(fields["date"]),
        _parse_stars(fields.get("stars")),
    )


def _parse_business(line: str) -> tuple[str, str, tuple[str, ...]]:
    """Parses a line of the business file: its id, name and categories."""
    fields = _parse_object(line)
    name = fields["name"]
    if not isinstance(name, str):
        raise ValueError(name)
    return (
        _parse_id(fields["business_id"]),
        _encodable(name),
        _parse_categories(fields.get("categories")),
    )


def _parse_object(line: str) -> dict[str, Any]:
    """Parses a line that must hold a JSON object."""
    fields = json.loads(line)
    if not isinstance(fields, dict):
        raise ValueError(line)
    return fields


def _parse_id(value: Any) -> str:
    """Checks an id."""
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ValueError(value)
    return value


def _parse_stars(value: Any) -> float | None:
    """Checks a rating; the releases have it as an integer or as a float."""
    # bool is an int to Python; the comparison is False for NaN.
    if value is None:
        return None
    if type(value) not in (int, float) or not 0 <= value <= 5:
        raise ValueError(value)
    return float(value)


def _parse_date(text: Any) -> int:
    """Turns a date, with a time or without, into seconds since 1970."""
    if not isinstance(text, str) or not _DATE.fullmatch(text):
        raise ValueError(text)
    return (datetime.datetime.fromisoformat(text) - _EPOCH) // _SECOND


def _parse_categories(value: Any) -> tuple[str, ...]:
    """Splits categories at the commas; releases before 2018 have them as a list."""
    if value is None:
        return ()
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list):
        raise ValueError(value)
    if not all(isinstance(name, str) for name in names):
        raise ValueError(value)
    stripped = (_encodable(name.strip()) for name in names)
    return tuple(dict.fromkeys(name for name in stripped if name))


def _encodable(text: str) -> str:
    """Checks that `text` has no half characters, which JSON can hold and UTF-8 not."""
    text.encode()
    return text
