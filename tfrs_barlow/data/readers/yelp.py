"""Reads the Yelp academic data set as Yelp distributes it, without unpacking it."""

from __future__ import annotations

import array
import contextlib
import datetime
import os
import pathlib
import re
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tfrs_barlow import _checks
from tfrs_barlow.data.interactions import InteractionLog
from tfrs_barlow.data.readers.archives import OpenFile, open_files
from tfrs_barlow.data.readers.json_lines import parse_lines
from tfrs_barlow.data.readers.malformed import MalformedLines, OnMalformed

_REVIEWS = "yelp_academic_dataset_review.json"
_BUSINESSES = "yelp_academic_dataset_business.json"
_NAMES = (_REVIEWS, _BUSINESSES)
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


class _Review(NamedTuple):
    """What is kept of a review; `stars` is None if the file has no stars."""

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
    of memory: its text is dropped as it is read. Blank lines are skipped.

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
            then says how many lines were left out.

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

    Examples:
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
    path = pathlib.Path(data_dir_or_archive)
    with contextlib.closing(open_files(path, _NAMES)) as files:
        for file in files:
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


def _check_selection(min_rating: Any, since: Any, until: Any) -> _Selection:
    """Checks the bounds and turns the dates into seconds since 1970."""
    if min_rating is not None:
        min_rating = _checks.number("min_rating", min_rating, at_least=0, at_most=5)
    first, end = _check_date("since", since), _check_date("until", until)
    if first is not None and end is not None and first >= end:
        raise ValueError(
            f"since must be before until, but they are {since!r} and {until!r}."
        )
    return _Selection(min_rating, first, end)


def _check_date(name: str, date: Any) -> int | None:
    if date is None:
        return None
    try:
        return _parse_date(_checks.text(name, date))
    except ValueError as error:
        raise ValueError(
            f"{name} must be a date of the form '2019-01-01' or '2019-01-01 12:00:00' "
            f"(or None), but it is {date!r}."
        ) from error


def _read_reviews(
    file: OpenFile, selection: _Selection, malformed: MalformedLines
) -> pd.DataFrame:
    """Reads the reviews that `selection` keeps."""
    needs_stars = selection.min_rating is not None
    why = "with stars, which min_rating needs" if needs_stars else "stars may be absent"
    users: list[str] = []
    items: list[str] = []
    timestamps = array.array("q")
    ratings = array.array("f")
    ids: dict[str, str] = {}

    def parse(fields: dict[str, Any]) -> _Review:
        review = _parse_review(fields)
        if review.stars is None and needs_stars:
            raise ValueError("no stars, which min_rating needs")
        return review

    form = f"{_REVIEW_FORM} ({why})"
    for review in parse_lines(file.stream, file.source, parse, form, malformed):
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


def _read_businesses(file: OpenFile, malformed: MalformedLines) -> pd.DataFrame:
    """Reads all businesses."""
    ids: set[str] = set()

    def parse(fields: dict[str, Any]) -> tuple[str, str, tuple[str, ...]]:
        business = _parse_business(fields)
        if business[0] in ids:
            raise ValueError(business[0])
        ids.add(business[0])
        return business

    form = f"{_BUSINESS_FORM}, each business_id once"
    return pd.DataFrame(
        list(parse_lines(file.stream, file.source, parse, form, malformed)),
        columns=["item_id", "title", "categories"],
    )


def _parse_review(fields: dict[str, Any]) -> _Review:
    return _Review(
        _parse_id(fields["user_id"]),
        _parse_id(fields["business_id"]),
        _parse_date(fields["date"]),
        _parse_stars(fields.get("stars")),
    )


def _parse_business(fields: dict[str, Any]) -> tuple[str, str, tuple[str, ...]]:
    """Returns the id, the name and the categories."""
    name = fields["name"]
    if not isinstance(name, str):
        raise ValueError(name)
    business_id = _parse_id(fields["business_id"])
    return business_id, name, _parse_categories(fields.get("categories"))


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
    stripped = (name.strip() for name in names)
    return tuple(dict.fromkeys(name for name in stripped if name))
