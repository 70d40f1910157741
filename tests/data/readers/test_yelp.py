"""The Yelp reader: one log from every form of the files, and no half-read one."""

import gzip
import io
import json
import pathlib
import random
import tarfile
import tracemalloc
import warnings
import zipfile

import numpy as np
import pandas as pd
import pytest

from tfrs_barlow.data.readers.malformed import MalformedFileError
from tfrs_barlow.data.readers.yelp import read_yelp
from tfrs_barlow.data.sequences import build_sequences

_REVIEW = "yelp_academic_dataset_review.json"
_BUSINESS = "yelp_academic_dataset_business.json"

_REVIEWS = (
    b'{"review_id": "r1", "user_id": "ann", "business_id": "pub", "stars": 4.0, '
    b'"useful": 1, "text": "Good \\"beer\\"\\nand more", '
    b'"date": "2019-01-02 19:11:49"}\n'
    b'{"review_id": "r2", "user_id": "bob", "business_id": "caf\\u00e9", "stars": 2.0, '
    b'"text": "", "date": "2018-12-31 23:59:59"}\n'
    b'{"review_id": "r3", "user_id": "ann", "business_id": "gone", "stars": 5.0, '
    b'"text": "", "date": "2019-01-01 00:00:00"}\n'
)
_BUSINESSES = (
    b'{"business_id": "pub", "name": "The Crown", "stars": 4.5, '
    b'"categories": "Pubs,  Beer, Wine & Spirits , Pubs", "hours": null}\n'
    b'{"business_id": "caf\\u00e9", "name": "Am\xc3\xa9lie", "categories": null}\n'
    b'{"business_id": "new", "name": "", "attributes": {"WiFi": "u\'no\'"}}\n'
)
_GOOD_REVIEW = '{"user_id": "u", "business_id": "b", "date": "2019-01-02", "stars": 1}'


def _write(
    folder: pathlib.Path, reviews: bytes = _REVIEWS, businesses: bytes = _BUSINESSES
) -> pathlib.Path:
    (folder / _REVIEW).write_bytes(reviews)
    (folder / _BUSINESS).write_bytes(businesses)
    return folder


def _review(**fields: object) -> bytes:
    """A line of the review file with some fields changed, or, if `...`, left out."""
    changed = json.loads(_GOOD_REVIEW) | fields
    kept = {name: value for name, value in changed.items() if value is not ...}
    return json.dumps(kept).encode() + b"\n"


def _business(**fields: object) -> bytes:
    changed = {"business_id": "x", "name": "X", "categories": "A"} | fields
    kept = {name: value for name, value in changed.items() if value is not ...}
    return json.dumps(kept).encode() + b"\n"


def _tar(members: list[tuple[str, bytes]], mode: str = "w") -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=mode) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return content.getvalue()


def _zip(members: list[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return content.getvalue()


_OTHER = ("yelp/yelp_academic_dataset_tip.json", b'{"text": "Go early"}\n' * 99)
_MEMBERS = [
    ("yelp/Dataset_User_Agreement.pdf", b"%PDF"),
    (f"yelp/{_BUSINESS}", _BUSINESSES),
    (f"yelp/{_REVIEW}", _REVIEWS),
    _OTHER,
]
_TAR_IN_ZIP = [("Yelp JSON/readme.pdf", b"%PDF"), ("Yelp JSON/y.tar", _tar(_MEMBERS))]
_TGZ_IN_ZIP = [("Yelp JSON/y.tar", _tar(_MEMBERS, "w:gz"))]

_ARCHIVES = {
    "yelp.zip": _zip(_MEMBERS),
    "stored.zip": _zip(_MEMBERS, zipfile.ZIP_STORED),
    "UPPER.ZIP": _zip(_MEMBERS),
    "tar in it.zip": _zip(_TAR_IN_ZIP),
    "gzipped tar in it.zip": _zip(_TGZ_IN_ZIP),
    "yelp.tar": _tar(_MEMBERS),
    "pax.tar": _tar([(f"{'long/' * 60}{name}", data) for name, data in _MEMBERS]),
    "yelp.tar.gz": _tar(_MEMBERS, "w:gz"),
    "yelp.tgz": _tar(_MEMBERS, "w:gz"),
    "gzip with the name of a tar.tar": _tar(_MEMBERS, "w:gz"),
    "other order.tgz": _tar(_MEMBERS[::-1], "w:gz"),
    "other order.zip": _zip(_MEMBERS[::-1]),
    "backslashes.zip": _zip([(f"a\\{name[5:]}", data) for name, data in _MEMBERS]),
}

_INTERACTIONS = pd.DataFrame(
    {
        "user_id": ["ann", "bob", "ann"],
        "item_id": ["pub", "café", "gone"],
        "rating": pd.Series([4, 2, 5], dtype="float32"),
        "timestamp": [1546456309, 1546300799, 1546300800],
    }
)
_ITEMS = pd.DataFrame(
    {
        "item_id": ["pub", "café", "new"],
        "title": ["The Crown", "Amélie", ""],
        "categories": [("Pubs", "Beer", "Wine & Spirits"), (), ()],
    }
)


def _check(log) -> None:
    pd.testing.assert_frame_equal(log.interactions, _INTERACTIONS)
    pd.testing.assert_frame_equal(log.items, _ITEMS)


def test_reads_a_folder_in_the_order_of_the_files(tmp_path: pathlib.Path) -> None:
    _check(read_yelp(_write(tmp_path)))
    _check(read_yelp(str(tmp_path)))


@pytest.mark.parametrize("packed", [[_REVIEW], [_BUSINESS], [_REVIEW, _BUSINESS]])
def test_reads_gzipped_files(tmp_path: pathlib.Path, packed: list[str]) -> None:
    _write(tmp_path)
    for name in packed:
        content = (tmp_path / name).read_bytes()
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
        (tmp_path / name).unlink()
    _check(read_yelp(tmp_path))


def test_prefers_the_plain_file(tmp_path: pathlib.Path) -> None:
    _write(tmp_path)
    (tmp_path / f"{_REVIEW}.gz").write_bytes(b"not read")
    _check(read_yelp(tmp_path))


@pytest.mark.parametrize("name", _ARCHIVES)
def test_reads_archives(tmp_path: pathlib.Path, name: str) -> None:
    (tmp_path / name).write_bytes(_ARCHIVES[name])
    _check(read_yelp(tmp_path / name))
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("pack", [_tar, _zip])
@pytest.mark.parametrize("evil", ["../../evil/", "/tmp/evil/", "..\\..\\evil\\"])
def test_a_path_out_of_the_archive_leads_nowhere(
    tmp_path: pathlib.Path, pack, evil: str
) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    name = "yelp.zip" if pack is _zip else "yelp.tar"
    (folder / name).write_bytes(
        pack([(evil + _REVIEW, _REVIEWS), (evil + _BUSINESS, _BUSINESSES)])
    )
    _check(read_yelp(folder / name))
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == [name]
    assert not pathlib.Path("/tmp/evil").exists()


def test_follows_no_link_of_an_archive(tmp_path: pathlib.Path) -> None:
    _write(tmp_path)
    with tarfile.open(tmp_path / "yelp.tar", "w") as archive:
        for name in (_REVIEW, _BUSINESS):
            link = tarfile.TarInfo(f"x/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / name)
            archive.addfile(link)
    with pytest.raises(FileNotFoundError, match=f"lacks {_REVIEW} and {_BUSINESS}"):
        read_yelp(tmp_path / "yelp.tar")


def test_passes_over_the_shadow_files_of_macos(tmp_path: pathlib.Path) -> None:
    shadow = ("__MACOSX/._" + _REVIEW, b"\0\5\x16\7")
    (tmp_path / "yelp.zip").write_bytes(_zip([shadow, *_MEMBERS]))
    _check(read_yelp(tmp_path / "yelp.zip"))


@pytest.mark.parametrize(("name", "pack"), [("yelp.zip", _zip), ("yelp.tar", _tar)])
def test_refuses_a_file_that_is_there_twice(
    tmp_path: pathlib.Path, name: str, pack
) -> None:
    (tmp_path / name).write_bytes(pack([*_MEMBERS, (f"old/{_REVIEW}", _REVIEWS)]))
    with pytest.raises(ValueError, match=rf"hold {_REVIEW} once, .*'old/{_REVIEW}'"):
        read_yelp(tmp_path / name)


# Forms of the fields


@pytest.mark.parametrize(
    ("date", "timestamp"),
    [
        ("1970-01-01", 0),
        ("1969-12-31 23:59:59", -1),
        ("2014-01-02", 1388620800),
        ("2016-02-29 00:00:00", 1456704000),
        ("2019-01-02 19:11:49", 1546456309),
    ],
)
def test_dates_become_seconds(
    tmp_path: pathlib.Path, date: str, timestamp: int
) -> None:
    log = read_yelp(_write(tmp_path, _review(date=date)))
    assert log.interactions["timestamp"].tolist() == [timestamp]
    assert log.interactions["timestamp"].dtype == np.int64


@pytest.mark.parametrize(
    ("categories", "expected"),
    [
        (None, ()),
        ("", ()),
        (" ", ()),
        ("Food", ("Food",)),
        ("B, A,B , ,A", ("B", "A")),
        # The releases before 2018.
        (["B", " A ", "B"], ("B", "A")),
        ([], ()),
        (..., ()),
    ],
)
def test_categories_are_stripped_and_unique_in_order(
    tmp_path: pathlib.Path, categories: object, expected: tuple[str, ...]
) -> None:
    log = read_yelp(_write(tmp_path, businesses=_business(categories=categories)))
    assert log.items["categories"].tolist() == [expected]


@pytest.mark.parametrize("missing", [..., None])
def test_ratings_are_left_out_unless_all_reviews_have_them(
    tmp_path: pathlib.Path, missing: object
) -> None:
    some = _REVIEWS + _review(stars=missing)
    assert "rating" not in read_yelp(_write(tmp_path, some)).interactions
    # Of the reviews that are kept, all have stars.
    kept = read_yelp(tmp_path, until="2019-01-02").interactions
    assert kept["rating"].tolist() == [2.0, 5.0]


def test_accepts_blank_lines_windows_line_ends_and_no_last_line_end(
    tmp_path: pathlib.Path,
) -> None:
    _check(read_yelp(_write(tmp_path, _REVIEWS + b"\n \n\n", _BUSINESSES + b"\n")))
    _check(read_yelp(_write(tmp_path, _REVIEWS[:-1], _BUSINESSES[:-1])))
    windows = [data.replace(b"\n", b"\r\n") for data in (_REVIEWS, _BUSINESSES)]
    _check(read_yelp(_write(tmp_path, *windows)))


def test_makes_sequences(tmp_path: pathlib.Path) -> None:
    sequences, vocabulary = build_sequences(read_yelp(_write(tmp_path)))
    assert sequences.user_ids.tolist() == ["ann", "bob"]
    assert vocabulary.encode(["gone", "pub", "café"]).tolist() == (
        sequences.item_ids.tolist()
    )


# Which reviews are kept


@pytest.mark.parametrize(
    ("bounds", "items"),
    [
        ({}, ["pub", "café", "gone"]),
        ({"min_rating": 4}, ["pub", "gone"]),
        ({"min_rating": 4.5}, ["gone"]),
        ({"min_rating": 0}, ["pub", "café", "gone"]),
        ({"since": "2019-01-01"}, ["pub", "gone"]),
        ({"since": "2019-01-01 00:00:01"}, ["pub"]),
        ({"until": "2019-01-01"}, ["café"]),
        ({"since": "2018-12-31 23:59:59", "until": "2019-01-02"}, ["café", "gone"]),
        ({"since": "2019-01-01", "min_rating": 5}, ["gone"]),
    ],
)
def test_keeps_the_reviews_within_the_bounds(
    tmp_path: pathlib.Path, bounds: dict, items: list[str]
) -> None:
    log = read_yelp(_write(tmp_path), **bounds)
    assert log.interactions["item_id"].tolist() == items
    # What is known about the others stays known.
    assert len(log.items) == 3


@pytest.mark.parametrize("bounds", [{"since": "2020-01-01"}, {"until": "2000-01-01"}])
def test_says_that_no_review_is_within_the_bounds(
    tmp_path: pathlib.Path, bounds: dict
) -> None:
    with pytest.raises(ValueError, match=r"none for min_rating=None, since=.*20.0-01"):
        read_yelp(_write(tmp_path), **bounds)


def test_min_rating_needs_stars(tmp_path: pathlib.Path) -> None:
    _write(tmp_path, _review(stars=...) * 2)
    assert len(read_yelp(tmp_path).interactions) == 2
    with pytest.raises(MalformedFileError, match=r"line 1: .* stars, which min_rating"):
        read_yelp(tmp_path, min_rating=3)
    with pytest.raises(MalformedFileError, match=r"line 3: .* stars, which min_rating"):
        read_yelp(tmp_path, min_rating=3, on_malformed="skip")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_rating": -1}, "min_rating must be a number of at least 0 .* it is -1"),
        ({"min_rating": float("nan")}, "min_rating must be .* it is nan"),
        ({"since": "2019"}, "since must be a date .* it is '2019'"),
        ({"since": "2019-02-30"}, "since must be a date"),
        ({"until": "2019-01-01T00:00:00"}, "until must be a date"),
        ({"since": "2019-01-02", "until": "2019-01-02"}, "since must be before until"),
        ({"on_malformed": "ignore"}, "on_malformed must be .* it is 'ignore'"),
    ],
)
def test_names_the_argument_that_is_wrong(
    tmp_path: pathlib.Path, arguments: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        read_yelp(_write(tmp_path), **arguments)


@pytest.mark.parametrize("name", ["min_rating", "since", "until"])
def test_names_the_argument_of_a_wrong_type(tmp_path: pathlib.Path, name: str) -> None:
    with pytest.raises(TypeError, match=f"{name} must be"):
        read_yelp(_write(tmp_path), **{name: [2019]})


# Malformed lines

_MALFORMED_REVIEWS = {
    "no JSON": b"user_id: ann\n",
    "cut off": _REVIEWS[:60] + b"\n",
    "two objects": _review()[:-1] + _review(),
    "a list": b'["ann", "pub", "2019-01-02"]\n',
    "a number": b"5\n",
    "null": b"null\n",
    "no user": _review(user_id=...),
    "no business": _review(business_id=...),
    "no date": _review(date=...),
    "user null": _review(user_id=None),
    "user number": _review(user_id=7),
    "user empty": _review(user_id=""),
    "user with half a character": _review(user_id="\ud800"),
    "business list": _review(business_id=["b"]),
    "date number": _review(date=1546456309),
    "date empty": _review(date=""),
    "no such day": _review(date="2019-02-29"),
    "no such hour": _review(date="2019-02-28 24:00:00"),
    "no such second": _review(date="2019-02-28 23:59:60"),
    "other order": _review(date="01/02/2019"),
    "other ISO": _review(date="20190102"),
    "with T": _review(date="2019-01-02T19:11:49"),
    "date cut off": _review(date="2019-01-02 19:11"),
    "arabic digits": _review(date="\u0662019-01-02"),
    "date and more": _review(date="2019-01-02 19:11:49 "),
    "stars text": _review(stars="5"),
    "stars true": _review(stars=True),
    "stars list": _review(stars=[5]),
    "too many stars": _review(stars=5.5),
    "fewer than no stars": _review(stars=-1),
    "stars NaN": _review(stars=float("nan")),
    "stars infinite": _review(stars=float("inf")),
    "not UTF-8": b'{"user_id": "\xff", "business_id": "b", "date": "2019-01-02"}\n',
    "byte order mark": b"\xef\xbb\xbf" + _review(),
    "zero byte": b"\0" + _review(),
    "nested without end": b"[" * 100_000 + b"\n",
    "huge number": b"9" * 10_000 + b"\n",
}
_MALFORMED_BUSINESSES = {
    "no JSON": b"nothing\n",
    "no id": _business(business_id=...),
    "id number": _business(business_id=3),
    "id empty": _business(business_id=""),
    "no name": _business(name=...),
    "name null": _business(name=None),
    "name with half a character": _business(name="\udfff"),
    "categories number": _business(categories=3),
    "categories object": _business(categories={"A": 1}),
    "categories list of numbers": _business(categories=[1]),
    "category with half a character": _business(categories="A, \ud800"),
    "id that is there already": _business(business_id="pub"),
}


@pytest.mark.parametrize("line", _MALFORMED_REVIEWS.values(), ids=_MALFORMED_REVIEWS)
@pytest.mark.parametrize("position", [0, 1, 3], ids=["first", "middle", "last"])
def test_a_malformed_review_is_named_or_skipped(
    tmp_path: pathlib.Path, line: bytes, position: int
) -> None:
    lines = _REVIEWS.splitlines(keepends=True)
    lines.insert(position, line)
    _write(tmp_path, b"".join(lines) + b"worse\n")
    number = position + 1
    with pytest.raises(MalformedFileError) as error:
        read_yelp(tmp_path)
    assert str(error.value).startswith(
        f'{tmp_path / _REVIEW}, line {number}: expected {{"user_id": "...", '
        '"business_id": "...", "date": "YYYY-MM-DD HH:MM:SS", "stars": 0 to 5} (stars '
        "may be absent), but found "
    )
    assert len(str(error.value)) < 1_500
    total = 1 + len(line.splitlines())
    with pytest.warns(UserWarning) as caught:
        _check(read_yelp(tmp_path, on_malformed="skip"))
    assert [str(warning.message) for warning in caught] == [
        f"Left out malformed lines: {total} of {tmp_path / _REVIEW} (the first is "
        f"line {number})."
    ]
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    "line", _MALFORMED_BUSINESSES.values(), ids=_MALFORMED_BUSINESSES
)
def test_a_malformed_business_is_named_or_skipped(
    tmp_path: pathlib.Path, line: bytes
) -> None:
    _write(tmp_path, businesses=_BUSINESSES + line)
    with pytest.raises(MalformedFileError) as error:
        read_yelp(tmp_path)
    assert str(error.value).startswith(
        f'{tmp_path / _BUSINESS}, line 4: expected {{"business_id": "...", "name": '
    )
    with pytest.warns(UserWarning, match=rf"1 of .*{_BUSINESS} \(the first is line 4"):
        _check(read_yelp(tmp_path, on_malformed="skip"))


def test_one_warning_counts_all_lines_left_out(tmp_path: pathlib.Path) -> None:
    members = [
        (_REVIEW, b"bad\n" + _REVIEWS + b"bad\n\nbad"),
        (_BUSINESS, _BUSINESSES + b"bad\n"),
    ]
    (tmp_path / "yelp.tgz").write_bytes(_tar(members, "w:gz"))
    with pytest.warns(UserWarning) as caught:
        _check(read_yelp(tmp_path / "yelp.tgz", on_malformed="skip"))
    where = f"in {tmp_path / 'yelp.tgz'} (the first is line"
    assert [str(warning.message) for warning in caught] == [
        f"Left out malformed lines: 3 of '{_REVIEW}' {where} 1), 1 of '{_BUSINESS}' "
        f"{where} 4)."
    ]


def test_nothing_left_out_is_no_warning(tmp_path: pathlib.Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _check(read_yelp(_write(tmp_path), on_malformed="skip"))


def test_names_the_member_of_an_archive(tmp_path: pathlib.Path) -> None:
    members = [(f"a/{_REVIEW}", b"bad\n"), (f"a/{_BUSINESS}", _BUSINESSES)]
    path = tmp_path / "yelp.zip"
    path.write_bytes(_zip(members))
    with pytest.raises(MalformedFileError, match=f"^'a/{_REVIEW}' in {path}, line 1: "):
        read_yelp(path)


def test_blank_lines_count_in_line_numbers(tmp_path: pathlib.Path) -> None:
    with pytest.raises(MalformedFileError, match=r"line 3: .* found 'bad'"):
        read_yelp(_write(tmp_path, b"\n \nbad\n"))


@pytest.mark.parametrize("on_malformed", ["raise", "skip"])
@pytest.mark.parametrize("name", [_REVIEW, _BUSINESS])
@pytest.mark.parametrize(("content", "line"), [(b"", 1), (b"\n\n", 3)])
def test_refuses_a_file_without_rows(
    tmp_path: pathlib.Path, name: str, content: bytes, line: int, on_malformed
) -> None:
    (_write(tmp_path) / name).write_bytes(content)
    with pytest.raises(
        MalformedFileError, match=rf"{name}, line {line}: .* the end of"
    ):
        read_yelp(tmp_path, on_malformed=on_malformed)


def test_refuses_a_file_of_malformed_lines_only(tmp_path: pathlib.Path) -> None:
    with pytest.raises(MalformedFileError, match=r"line 3: .* found the end of"):
        read_yelp(_write(tmp_path, b"bad\nbad\n"), on_malformed="skip")


def test_a_line_without_end_neither_fills_memory_nor_stops_the_reader(
    tmp_path: pathlib.Path,
) -> None:
    _write(tmp_path)
    monster = b" " * 1_000_000
    with gzip.open(tmp_path / f"{_REVIEW}.gz", "wb", compresslevel=1) as file:
        file.write(_REVIEWS)
        file.writelines(b"x" + monster for _ in range(60))
        file.write(b"\n" + _review(user_id="last"))
    (tmp_path / _REVIEW).unlink()
    with pytest.raises(MalformedFileError, match=r"line 4: .* found 'x "):
        read_yelp(tmp_path)
    tracemalloc.start()
    with pytest.warns(UserWarning, match="1 of "):
        log = read_yelp(tmp_path, on_malformed="skip")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert log.interactions["user_id"].tolist() == ["ann", "bob", "ann", "last"]
    # The line is of 60 MB; 4 MiB of it are looked at.
    assert peak < 20 * 2**20


# Truncated and damaged files


def _long_members() -> list[tuple[str, bytes]]:
    """Members of which the noise, as it does not compress, spreads over the archive."""
    noise = random.Random(0)
    reviews = [_review(text=noise.randbytes(300).hex()) for _ in range(60)]
    businesses = [
        _business(business_id=f"b{i}", x=noise.randbytes(300).hex()) for i in range(60)
    ]
    return [(_BUSINESS, b"".join(businesses)), (_REVIEW, b"".join(reviews))]


@pytest.mark.parametrize("on_malformed", ["raise", "skip"])
@pytest.mark.parametrize("name", ["y.zip", "y.tar", "y.tgz", "tar.zip", "tgz.zip"])
def test_refuses_a_truncated_archive_wherever_it_ends(
    tmp_path: pathlib.Path, name: str, on_malformed
) -> None:
    members = _long_members()
    content = {
        "y.zip": lambda: _zip(members),
        "y.tar": lambda: _tar(members),
        "y.tgz": lambda: _tar(members, "w:gz"),
        "tar.zip": lambda: _zip([("y.tar", _tar(members))]),
        "tgz.zip": lambda: _zip([("y.tgz", _tar(members, "w:gz"))]),
    }[name]()
    path = tmp_path / name
    path.write_bytes(content)
    assert len(read_yelp(path).interactions) == 60
    # A tar ends in zeros, up to a multiple of 10 KiB, which hold nothing.
    end = len(content.rstrip(b"\0")) if name == "y.tar" else len(content)
    cuts = {0, 1, 2, 100, 511, 512, 513, 1024, 1536, end // 2, end - 600, end - 1}
    cuts |= set(range(0, end, end // 40))
    # Between the two members of the tar, and within the header of the second.
    second = 512 + -(-len(members[0][1]) // 512) * 512
    cuts |= {second - 1, second, second + 1, second + 300, second + 512}
    for cut in sorted(cut for cut in cuts if cut < end):
        path.write_bytes(content[:cut])
        with pytest.raises(MalformedFileError, match=str(path)):
            read_yelp(path, on_malformed=on_malformed)


def test_refuses_a_truncated_tar_inside_a_whole_zip(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "y.zip"
    for mode in ("w", "w:gz"):
        content = _tar(_long_members(), mode)
        for cut in (0, 100, len(content) // 3, len(content) // 2):
            path.write_bytes(_zip([("in/y.tar", content[:cut])]))
            with pytest.raises(MalformedFileError, match=r"'in/y\.tar' in"):
                read_yelp(path)


@pytest.mark.parametrize("on_malformed", ["raise", "skip"])
def test_refuses_a_truncated_gzip_file(tmp_path: pathlib.Path, on_malformed) -> None:
    (_, businesses), (_, reviews) = _long_members()
    _write(tmp_path, businesses=businesses)
    (tmp_path / _REVIEW).unlink()
    path = tmp_path / f"{_REVIEW}.gz"
    content = gzip.compress(reviews)
    for cut in [2, 5, 10, 11, len(content) // 2, *range(-9, 0)]:
        path.write_bytes(content[:cut])
        with pytest.raises(MalformedFileError, match=rf"{path} cannot be read, trunc"):
            read_yelp(tmp_path, on_malformed=on_malformed)


@pytest.mark.parametrize("name", ["y.zip", "y.tgz"])
def test_refuses_an_archive_with_a_wrong_byte(
    tmp_path: pathlib.Path, name: str
) -> None:
    members = _long_members()
    content = _zip(members) if name == "y.zip" else _tar(members, "w:gz")
    for place in range(200, len(content) - 400, len(content) // 10):
        damaged = bytearray(content)
        damaged[place] ^= 0x55
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(MalformedFileError):
            read_yelp(tmp_path / name)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_refuses_a_damaged_member_however_it_is_compressed(
    tmp_path: pathlib.Path, method: int
) -> None:
    content = _zip(_long_members(), method)
    for place in range(300, len(content) - 400, len(content) // 20):
        damaged = bytearray(content)
        damaged[place] ^= 0xFF
        (tmp_path / "y.zip").write_bytes(damaged)
        with pytest.raises(MalformedFileError, match=r"y\.zip"):
            read_yelp(tmp_path / "y.zip")


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_a_long_header_of_a_tar_archive_does_not_fill_memory(
    tmp_path: pathlib.Path, kind: bytes
) -> None:
    header = tarfile.TarInfo("long")
    header.type, header.size = kind, 3 << 30
    path = tmp_path / "y.tar.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(header.tobuf(tarfile.GNU_FORMAT))
        for _ in range(40):
            file.write(bytes(1 << 20))
    tracemalloc.start()
    with pytest.raises(MalformedFileError, match="a header of 3221225472 bytes"):
        read_yelp(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 << 20


def test_refuses_what_is_no_archive(tmp_path: pathlib.Path) -> None:
    for name in ("y.zip", "y.tar", "y.tgz"):
        (tmp_path / name).write_bytes(_REVIEWS * 9)
        with pytest.raises(MalformedFileError, match=f"{name} cannot be read"):
            read_yelp(tmp_path / name)


def test_refuses_an_encrypted_archive(tmp_path: pathlib.Path) -> None:
    content = bytearray(_zip(_MEMBERS, zipfile.ZIP_STORED))
    # Bit 0 of the flags, in each header and in the directory.
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        start = content.find(signature)
        while start >= 0:
            content[start + offset] |= 1
            start = content.find(signature, start + 1)
    (tmp_path / "y.zip").write_bytes(content)
    with pytest.raises(MalformedFileError, match="password required"):
        read_yelp(tmp_path / "y.zip")


# Missing files


@pytest.mark.parametrize("name", [_REVIEW, _BUSINESS])
def test_says_which_file_is_missing(tmp_path: pathlib.Path, name: str) -> None:
    (_write(tmp_path) / name).unlink()
    looked_for = f"lacks {name}; looked for {_REVIEW} and {_BUSINESS}"
    with pytest.raises(FileNotFoundError, match=rf"{looked_for}, plain or with \.gz"):
        read_yelp(tmp_path)
    members = [member for member in _MEMBERS if not member[0].endswith(name)]
    for archive, content in (
        ("y.zip", _zip(members)),
        ("tar.zip", _zip([("y.tar", _tar(members))])),
        ("y.tar", _tar(members)),
        ("y.tgz", _tar(members, "w:gz")),
    ):
        (tmp_path / archive).write_bytes(content)
        with pytest.raises(FileNotFoundError, match=looked_for):
            read_yelp(tmp_path / archive)


def test_says_that_there_is_nothing(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"not exist; .* with {_REVIEW} and"):
        read_yelp(tmp_path / "nowhere")


def test_says_that_one_file_is_not_the_data_set(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match=r"must be a folder or an archive \(\.zip"):
        read_yelp(_write(tmp_path) / _REVIEW)


# Size


@pytest.mark.parametrize("form", ["folder", "y.zip", "y.tgz"])
def test_memory_does_not_grow_with_the_text(tmp_path: pathlib.Path, form: str) -> None:
    line = _review(text="x" * 100_000)
    content = line * 400
    members = [(_REVIEW, content), (_BUSINESS, _BUSINESSES)]
    path = tmp_path if form == "folder" else tmp_path / form
    if form == "folder":
        _write(tmp_path, content)
    else:
        path.write_bytes(_zip(members) if form == "y.zip" else _tar(members, "w:gz"))
    size = len(content)
    del content, members
    tracemalloc.start()
    log = read_yelp(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(log.interactions) == 400
    assert peak < size / 5


def test_an_id_is_kept_once(tmp_path: pathlib.Path) -> None:
    _write(tmp_path, _review(user_id="u" * 10_000) * 1_000)
    tracemalloc.start()
    log = read_yelp(tmp_path)
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(log.interactions) == 1_000
    assert kept < 3_000_000


def test_reads_the_real_yelp(yelp_dir: pathlib.Path) -> None:
    log = read_yelp(yelp_dir)
    assert len(log.interactions) == 316_324
    assert log.interactions["user_id"].nunique() == 30_425
    assert log.interactions["item_id"].nunique() == 20_027
    assert len(log.items) == 20_027
    assert "rating" not in log.interactions
    assert log.interactions.iloc[0].tolist() == ["u00001", "b00001", 1546456309]
    times = pd.to_datetime(log.interactions["timestamp"], unit="s")
    assert str(times.min()) == "2019-01-01 00:00:09"
    assert str(times.max()) == "2019-12-13 15:48:37"
    categories = log.items.set_index("item_id")["categories"]
    assert categories["b00003"] == ("category 346", "category 24")
    assert (categories.map(len) == 0).sum() == 1
