"""Reads the MovieLens datasets as GroupLens distributes them."""

from __future__ import annotations

import contextlib
import csv
import io
import mmap
import os
import pathlib
import re
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import IO

import pandas as pd

from tfrs_barlow.data.interactions import InteractionLog
from tfrs_barlow.data.readers.download import (
    MovieLensDataset,
    download_movielens,
    require_known,
)
from tfrs_barlow.data.readers.malformed import (
    MalformedLines,
    OnMalformed,
    malformed_line,
)

_Movie = tuple[int, str, tuple[str, ...]]

# pandas would take "1.0", "", '"1"', "1\0" or a line with a field too many without a
# word, so these patterns, not pandas, decide what a file may hold. 18 digits fit int64.
_ID = rb"\d{1,18}"
_RATING = rb"-?\d{1,18}(?:\.\d{1,18})?"
_DAT_RATING = b"::".join([_ID, _ID, _RATING, _ID])
_CSV_RATING = b",".join([_ID, _ID, _RATING, _ID])
_DAT_MOVIE = re.compile(r"(\d{1,18})::([^\0]+)::([^:\0]+)", re.ASCII)

_CSV_ID = re.compile(r"\d{1,18}", re.ASCII)

_DAT_RATING_FORM = "UserID::MovieID::Rating::Timestamp"
_DAT_MOVIE_FORM = "MovieID::Title::Genre|Genre|..."
_CSV_RATING_FORM = "userId,movieId,rating,timestamp"
_NUMBERS = " (numbers, all whole but the rating)"
_CSV_MOVIE_FORM = "movieId,title,genres"
NO_GENRES = "(no genres listed)"

_COLUMN_TYPES: dict[str, str] = {
    "user_id": "int64",
    "item_id": "int64",
    "rating": "float32",
    "timestamp": "int64",
}


def load_movielens(
    dataset: MovieLensDataset,
    data_dir: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    *,
    on_malformed: OnMalformed = "raise",
) -> InteractionLog:
    r"""Loads a MovieLens dataset, downloading it if need be.

    Args:
        dataset: The name of the dataset, for example `"ml-1m"`.
        data_dir: The folder with the unpacked dataset. If None, the dataset is
            downloaded from GroupLens unless it is in the cache.
        cache_dir: The folder that holds a folder for each downloaded dataset;
            `~/.cache/tfrs_barlow` if None.
        on_malformed: What to do with a line that is not in the format: `"raise"` an
            error or `"skip"` it. A warning then says how many lines were left out.

    Returns:
        The log, in the order of the file. Movies listed without genres have no
        categories. A last line without a line break counts if it has all its fields;
        whether the file was cut off within the very last field cannot be detected.

    Raises:
        ValueError: If `dataset` or `on_malformed` is unknown.
        MalformedFileError: If a header is another one; if a line is not in the format,
            for the first such line; if a file has no line that is.
        FileNotFoundError: If `data_dir` lacks a file of the dataset.
        OSError: If the download fails, or what comes is not the dataset.

    Examples:
        >>> import pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "ratings.csv").write_text(
        ...     "userId,movieId,rating,timestamp\n1,10,4.5,964982703\n"
        ... )
        >>> _ = (folder / "movies.csv").write_text(
        ...     "movieId,title,genres\n10,Alien (1979),Horror|Sci-Fi\n"
        ... )
        >>> tfrsb.data.load_movielens("ml-20m", folder)
        InteractionLog(1 interactions, 1 users, 1 items)
    """
    require_known(dataset)
    if data_dir is None:
        data_dir = download_movielens(dataset, cache_dir)
    malformed = MalformedLines(on_malformed)
    read = _read_dat if dataset == "ml-1m" else _read_csv
    log = read(pathlib.Path(data_dir), malformed)
    malformed.warn()
    return log


def _read_dat(data_dir: pathlib.Path, malformed: MalformedLines) -> InteractionLog:
    ratings = _find(data_dir, "ratings.dat", _DAT_RATING_FORM)
    movies = _find(data_dir, "movies.dat", _DAT_MOVIE_FORM)
    items = _read_movies(
        movies, _parse_dat_movie, _DAT_MOVIE_FORM, "latin-1", malformed
    )
    # The C engine knows no separator of two characters: every other column is empty.
    columns = dict(zip((0, 2, 4, 6), _COLUMN_TYPES, strict=True))
    with _open_ratings(ratings, _DAT_RATING, _DAT_RATING_FORM, malformed) as file:
        return InteractionLog(_read_ratings(file, ":", columns), items)


def _read_csv(data_dir: pathlib.Path, malformed: MalformedLines) -> InteractionLog:
    ratings = _find(data_dir, "ratings.csv", _CSV_RATING_FORM)
    movies = _find(data_dir, "movies.csv", _CSV_MOVIE_FORM)
    items = _read_movies(
        movies, _parse_csv_movie, _CSV_MOVIE_FORM, "utf-8", malformed, has_header=True
    )
    columns = dict(enumerate(_COLUMN_TYPES))
    with _open_ratings(
        ratings, _CSV_RATING, _CSV_RATING_FORM, malformed, has_header=True
    ) as file:
        return InteractionLog(_read_ratings(file, ",", columns), items)


def _find(data_dir: pathlib.Path, name: str, form: str) -> pathlib.Path:
    """Returns the path of the file `name`, whose lines have the form `form`."""
    path = data_dir / name
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist; expected there the file {name} of MovieLens, with "
            f"lines of the form {form}."
        )
    return path


@contextlib.contextmanager
def _open_ratings(
    path: pathlib.Path,
    line: bytes,
    form: str,
    malformed: MalformedLines,
    *,
    has_header: bool = False,
) -> Iterator[IO[bytes]]:
    """Opens a file behind its header, if any, without the malformed lines."""
    expected = form + _NUMBERS
    number = 1
    with path.open("rb") as file:
        if has_header:
            if (header := file.readline()).rstrip(b"\r\n") != form.encode():
                raise malformed_line(path, number, header, form)
            number += 1
        start = file.tell()
        if not file.read(1):
            raise malformed_line(path, number, b"", expected)
        file.seek(start)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            kept = []
            last = start
            for first, end in _malformed_spans(content, start, line):
                number += content[last:first].count(b"\n")
                malformed.add(path, number, content[first:end], expected)
                number += 1
                kept.append(content[last:first])
                last = end
            if not kept:
                yield file
                return
            rest = b"".join([*kept, content[last:]])
    if not rest:
        raise malformed_line(path, number, b"", expected)
    yield io.BytesIO(rest)


def _malformed_spans(
    content: mmap.mmap, start: int, line: bytes
) -> Iterator[tuple[int, int]]:
    """Finds where lines that do not match `line` begin and end, from `start` on."""

    def span(first: int) -> tuple[int, int]:
        return first, content.find(b"\n", first) + 1 or len(content)

    line_and_break = line + rb"\r?(?:\n|\Z)"
    if not re.compile(line_and_break).match(content, start):
        yield span(start)
    # One search over the whole file is three times as fast as a loop over its lines.
    bad_line_break = re.compile(rb"\n(?!" + line_and_break + rb")(?!\Z)")
    for bad in bad_line_break.finditer(content, start):
        yield span(bad.end())


def _read_ratings(
    file: IO[bytes], separator: str, columns: Mapping[int, str]
) -> pd.DataFrame:
    """Reads what `_open_ratings` has opened; columns are named by their positions."""
    types: dict[Hashable, str] = {
        position: _COLUMN_TYPES[name] for position, name in columns.items()
    }
    table = pd.read_csv(
        file,
        sep=separator,
        header=None,
        usecols=list(columns),
        dtype=types,
        quoting=csv.QUOTE_NONE,
        engine="c",
    )
    return table.rename(columns=columns)


def _read_movies(
    path: pathlib.Path,
    parse: Callable[[str], _Movie],
    form: str,
    encoding: str,
    malformed: MalformedLines,
    *,
    has_header: bool = False,
) -> pd.DataFrame:
    """Reads the movies line by line: they are few, and their titles hold anything."""
    movies: dict[int, _Movie] = {}
    first = 2 if has_header else 1
    number = first - 1
    with path.open("rb") as file:
        if has_header and (header := file.readline()).rstrip(b"\r\n") != form.encode():
            raise malformed_line(path, 1, header, form)
        for number, line in enumerate(file, first):
            try:
                movie = parse(line.decode(encoding).rstrip("\r\n"))
            except ValueError as error:
                malformed.add(path, number, line, form, error)
                continue
            if movie[0] in movies:
                malformed.add(path, number, line, f"a new id in {form}")
                continue
            movies[movie[0]] = movie
    if not movies:
        raise malformed_line(path, number + 1, b"", form)
    return pd.DataFrame(
        list(movies.values()), columns=["item_id", "title", "categories"]
    )


def _parse_dat_movie(line: str) -> _Movie:
    """Parses a line of `movies.dat`; the title may hold `:`, even `::`."""
    match = _DAT_MOVIE.fullmatch(line)
    if match is None:
        raise ValueError(line)
    return int(match[1]), match[2], _parse_genres(match[3])


def _parse_csv_movie(line: str) -> _Movie:
    """Parses a line of `movies.csv`; a title with a comma is quoted."""
    try:
        # A reader per line: a stray quote cannot swallow the lines that follow.
        item_id, title, genres = next(csv.reader([line], strict=True))
    except (csv.Error, StopIteration) as error:
        raise ValueError(line) from error
    if not _CSV_ID.fullmatch(item_id) or not title or "\0" in line:
        raise ValueError(line)
    return int(item_id), title, _parse_genres(genres)


def _parse_genres(text: str) -> tuple[str, ...]:
    """Splits genres at `|`."""
    genres = () if text == NO_GENRES else tuple(text.split("|"))
    if not all(genres):
        raise ValueError(text)
    return genres
