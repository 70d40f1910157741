"""The MovieLens readers: exact on good files, and precise about bad ones."""

import functools
import pathlib
import warnings

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfrs_barlow.data.readers import movielens
from tfrs_barlow.data.readers.malformed import MalformedFileError
from tfrs_barlow.data.readers.movielens import load_movielens

_DAT_RATINGS = b"1::10::5::978300760\n2::20::3::978302109\n1::20::4::978300000\n"
_DAT_MOVIES = (
    b"10::Toy Story (1995)::Animation|Children's|Comedy\n"
    b"20::Star Wars: Episode IV (1977)::Action\n"
    b"30::Am\xe9lie::2 (2001)::Romance\n"
)
_CSV_RATINGS = b"userId,movieId,rating,timestamp\n1,10,4.5,964982703\n2,20,3.0,5\n"
_CSV_MOVIES = (
    b"movieId,title,genres\n"
    b"10,Toy Story (1995),Adventure|Comedy\n"
    b'20,"American President, The (1995)",Romance\n'
    b'30,"""Great Performances"" Cats (1998)",Musical\n'
    b"40,Am\xc3\xa9lie: 2,(no genres listed)\n"
)


_read_dat = functools.partial(load_movielens, "ml-1m")
_read_csv = functools.partial(load_movielens, "ml-25m")


def _write_dat(
    folder: pathlib.Path, ratings: bytes = _DAT_RATINGS, movies: bytes = _DAT_MOVIES
) -> pathlib.Path:
    (folder / "ratings.dat").write_bytes(ratings)
    (folder / "movies.dat").write_bytes(movies)
    return folder


def _write_csv(
    folder: pathlib.Path, ratings: bytes = _CSV_RATINGS, movies: bytes = _CSV_MOVIES
) -> pathlib.Path:
    (folder / "ratings.csv").write_bytes(ratings)
    (folder / "movies.csv").write_bytes(movies)
    return folder


def test_reads_ratings_dat_in_the_order_of_the_file(tmp_path: pathlib.Path) -> None:
    log = _read_dat(_write_dat(tmp_path))
    expected = pd.DataFrame(
        {
            "user_id": [1, 2, 1],
            "item_id": [10, 20, 20],
            "rating": pd.Series([5, 3, 4], dtype="float32"),
            "timestamp": [978300760, 978302109, 978300000],
        }
    )
    pd.testing.assert_frame_equal(log.interactions, expected)


def test_reads_movies_dat_with_colons_in_titles(tmp_path: pathlib.Path) -> None:
    items = _read_dat(_write_dat(tmp_path)).items
    assert items["item_id"].tolist() == [10, 20, 30]
    assert items["title"].tolist() == [
        "Toy Story (1995)",
        "Star Wars: Episode IV (1977)",
        "Amélie::2 (2001)",
    ]
    assert items["categories"].tolist() == [
        ("Animation", "Children's", "Comedy"),
        ("Action",),
        ("Romance",),
    ]


def test_reads_csv(tmp_path: pathlib.Path) -> None:
    log = _read_csv(_write_csv(tmp_path))
    assert log.interactions.to_dict("list") == {
        "user_id": [1, 2],
        "item_id": [10, 20],
        "rating": [4.5, 3.0],
        "timestamp": [964982703, 5],
    }
    assert log.items["title"].tolist() == [
        "Toy Story (1995)",
        "American President, The (1995)",
        '"Great Performances" Cats (1998)',
        "Amélie: 2",
    ]
    assert log.items["categories"].tolist() == [
        ("Adventure", "Comedy"),
        ("Romance",),
        ("Musical",),
        (),
    ]


def test_accepts_windows_line_ends(tmp_path: pathlib.Path) -> None:
    def windows(content: bytes) -> bytes:
        return content.replace(b"\n", b"\r\n")

    dat = _read_dat(_write_dat(tmp_path, windows(_DAT_RATINGS), windows(_DAT_MOVIES)))
    comma = _read_csv(_write_csv(tmp_path, windows(_CSV_RATINGS), windows(_CSV_MOVIES)))
    assert dat.interactions["timestamp"].tolist() == [978300760, 978302109, 978300000]
    assert dat.items["categories"].iloc[1] == ("Action",)
    assert comma.interactions["timestamp"].tolist() == [964982703, 5]
    assert comma.items["categories"].iloc[1] == ("Romance",)


def test_accepts_a_complete_last_line_without_line_break(
    tmp_path: pathlib.Path,
) -> None:
    dat = _read_dat(_write_dat(tmp_path, _DAT_RATINGS[:-1], _DAT_MOVIES[:-1]))
    comma = _read_csv(_write_csv(tmp_path, _CSV_RATINGS[:-1], _CSV_MOVIES[:-1]))
    assert (len(dat.interactions), len(comma.interactions)) == (3, 2)


@pytest.mark.parametrize(
    "line",
    [
        "6040::1097::4",
        "6040::1097::4::",
        "6040::1097::4:",
        "6040::10",
        "1::2::3::4::5",
        "1:2::3::4",
        "1:::2::3:4",
        "1::2::3::4 ",
        " 1::2::3::4",
        "1::2.0::3::4",
        "1.0::2::3::4",
        "1::2::3::4.0",
        "-1::2::3::4",
        "one::2::3::4",
        "1::::3::4",
        "::2::3::4",
        "1::2::::4",
        "1::2::nan::4",
        "1::2::inf::4",
        "1::2::1e999::4",
        "1::2::.::4",
        "1::99999999999999999999::3::4",
        '"1"::2::3::4',
        '1::"2::3::4',
        "1::2\0::3::4",
        "1::2::3::4\0",
        "1::2::3::4\r1::2::3::4",
        "1,2,3,4",
        "\u0661::2::3::4",
        "",
    ],
)
@pytest.mark.parametrize("position", [0, 1, 3], ids=["first", "middle", "last"])
def test_names_the_first_malformed_line_of_ratings_dat(
    tmp_path: pathlib.Path, line: str, position: int
) -> None:
    lines = _DAT_RATINGS.splitlines(keepends=True)
    lines.insert(position, line.encode() + b"\n")
    folder = _write_dat(tmp_path, b"".join(lines) + b"worse::still\n")
    with pytest.raises(MalformedFileError) as error:
        _read_dat(folder)
    assert str(error.value) == (
        f"{folder / 'ratings.dat'}, line {position + 1}: expected "
        "UserID::MovieID::Rating::Timestamp (numbers, all whole but the rating), but "
        f"found {line!r}."
    )


@pytest.mark.parametrize("cut", ["6040::1097::4", "6040::1097::", "6040::1", "6"])
def test_refuses_a_truncated_last_line(tmp_path: pathlib.Path, cut: str) -> None:
    folder = _write_dat(tmp_path, _DAT_RATINGS + cut.encode())
    with pytest.raises(MalformedFileError, match=f"line 4: .* found '{cut}'"):
        _read_dat(folder)


@pytest.mark.parametrize(
    "line",
    ["1,2,3", "1,2,3,4,5", "1,2,3,", "1,,3,4", '1,"2",3,4', "1.0,2,3,4", "1,2,nan,4"],
)
@pytest.mark.parametrize("position", [1, 2, 3], ids=["first", "middle", "last"])
def test_names_the_first_malformed_line_of_ratings_csv(
    tmp_path: pathlib.Path, line: str, position: int
) -> None:
    lines = _CSV_RATINGS.splitlines(keepends=True)
    lines.insert(position, line.encode() + b"\n")
    folder = _write_csv(tmp_path, b"".join(lines))
    with pytest.raises(MalformedFileError) as error:
        _read_csv(folder)
    assert str(error.value) == (
        f"{folder / 'ratings.csv'}, line {position + 1}: expected "
        "userId,movieId,rating,timestamp (numbers, all whole but the rating), but "
        f"found {line!r}."
    )


@pytest.mark.parametrize(
    "header",
    [
        b"1,2,3.0,4",
        b"user,item,rating,timestamp",
        b"userId;movieId;rating;timestamp",
        b"\xef\xbb\xbfuserId,movieId,rating,timestamp",
    ],
    ids=["none", "other names", "other separator", "byte order mark"],
)
def test_refuses_another_header(tmp_path: pathlib.Path, header: bytes) -> None:
    folder = _write_csv(tmp_path, header + b"\n1,2,3.0,4\n")
    with pytest.raises(MalformedFileError, match=r"ratings\.csv, line 1: expected"):
        _read_csv(folder)


def test_refuses_a_byte_order_mark_in_ratings_dat(tmp_path: pathlib.Path) -> None:
    folder = _write_dat(tmp_path, b"\xef\xbb\xbf" + _DAT_RATINGS)
    with pytest.raises(MalformedFileError, match="line 1:"):
        _read_dat(folder)


@pytest.mark.parametrize("name", ["ratings.dat", "movies.dat"])
def test_refuses_an_empty_dat_file(tmp_path: pathlib.Path, name: str) -> None:
    (_write_dat(tmp_path) / name).write_bytes(b"")
    with pytest.raises(MalformedFileError, match=f"{name}, line 1: .* the end of the"):
        _read_dat(tmp_path)


@pytest.mark.parametrize("name", ["ratings.csv", "movies.csv"])
@pytest.mark.parametrize(("keep", "line"), [(0, 1), (1, 2)], ids=["empty", "header"])
def test_refuses_a_csv_file_without_rows(
    tmp_path: pathlib.Path, name: str, keep: int, line: int
) -> None:
    path = _write_csv(tmp_path) / name
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:keep]))
    with pytest.raises(
        MalformedFileError, match=f"{name}, line {line}: .* the end of the file"
    ):
        _read_csv(tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        b"40::Contender, The (2000)",
        b"40::Contender, The (2000)::",
        b"40::::Drama",
        b"::Contender, The (2000)::Drama",
        b"4o::Contender, The (2000)::Drama",
        b"40::Contender, The (2000)::Drama||Thriller",
        b"40::Contender\0, The (2000)::Drama",
        b"40,Contender (2000),Drama",
        b"20::An id that is there already::Drama",
        b"",
    ],
)
def test_names_the_malformed_line_of_movies_dat(
    tmp_path: pathlib.Path, line: bytes
) -> None:
    folder = _write_dat(tmp_path, movies=_DAT_MOVIES + line + b"\n50::A::Drama\n")
    with pytest.raises(MalformedFileError) as error:
        _read_dat(folder)
    assert f"{folder / 'movies.dat'}, line 4: expected" in str(error.value)
    assert "MovieID::Title::Genre|Genre|..." in str(error.value)
    assert str(error.value).endswith(f"but found {line.decode()!r}.")


@pytest.mark.parametrize(
    "line",
    [
        b"50,Contender (2000)",
        b"50,Contender, The (2000),Drama",
        b'50,"Contender, The (2000),Drama',
        b'50,"Contender" The (2000),Drama',
        b"50,,Drama",
        b"50,Contender (2000),",
        b"fifty,Contender (2000),Drama",
        b"50,Contender\0 (2000),Drama",
        b"50,Cont\xe9nder (2000),Drama",
        b"20,An id that is there already,Drama",
        b"",
    ],
)
def test_names_the_malformed_line_of_movies_csv(
    tmp_path: pathlib.Path, line: bytes
) -> None:
    folder = _write_csv(tmp_path, movies=_CSV_MOVIES + line + b"\n60,A,Drama\n")
    with pytest.raises(MalformedFileError) as error:
        _read_csv(folder)
    assert f"{folder / 'movies.csv'}, line 6: expected" in str(error.value)
    assert "movieId,title,genres" in str(error.value)


def test_shortens_a_monstrous_line(tmp_path: pathlib.Path) -> None:
    folder = _write_dat(tmp_path, b"\xff" * 100_000)
    with pytest.raises(MalformedFileError) as error:
        _read_dat(folder)
    assert len(str(error.value)) < 1_000


@pytest.mark.parametrize("name", ["ratings.dat", "movies.dat"])
def test_says_which_dat_file_is_missing(tmp_path: pathlib.Path, name: str) -> None:
    (_write_dat(tmp_path) / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{name} does not exist.*::"):
        _read_dat(tmp_path)


@pytest.mark.parametrize("name", ["ratings.csv", "movies.csv"])
def test_says_which_csv_file_is_missing(tmp_path: pathlib.Path, name: str) -> None:
    (_write_csv(tmp_path) / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{name} does not exist.*movieId,"):
        _read_csv(tmp_path)


_READERS = {
    "dat": (_write_dat, _read_dat, (_DAT_RATINGS, _DAT_MOVIES), 1),
    "csv": (_write_csv, _read_csv, (_CSV_RATINGS, _CSV_MOVIES), 2),
}


def _insert(content: bytes, position: int, *lines: bytes) -> bytes:
    parts = content.splitlines(keepends=True)
    parts[position:position] = [line + b"\n" for line in lines]
    return b"".join(parts)


@pytest.mark.parametrize(
    "bad", [b"1", b"", b"\r1", b"1\r2\r3", b"a::b::c::d", b"\xff\0", b'"1,2'], ids=repr
)
@pytest.mark.parametrize("position", [0, 1, 2], ids=["first", "middle", "last"])
@pytest.mark.parametrize("kind", ["dat", "csv"])
def test_malformed_lines_are_left_out_on_request(
    tmp_path: pathlib.Path, kind: str, bad: bytes, position: int
) -> None:
    write, read, (ratings, movies), first = _READERS[kind]
    expected = read(write(tmp_path, ratings, movies))
    position = min(position + first - 1, len(ratings.splitlines()))
    write(
        tmp_path,
        _insert(ratings, position, bad, bad) + bad,
        _insert(movies, position, bad),
    )
    with pytest.warns(UserWarning) as caught:
        log = read(tmp_path, on_malformed="skip")
    # Without a line break at its end nothing is no line.
    counts = {"movies": 1, "ratings": 2 + bool(bad)}
    parts = [
        f"{count} of {tmp_path / name}.{kind} (the first is line {position + 1})"
        for name, count in counts.items()
    ]
    assert [str(warning.message) for warning in caught] == [
        f"Left out malformed lines: {', '.join(parts)}."
    ]
    assert caught[0].filename == __file__
    pd.testing.assert_frame_equal(log.interactions, expected.interactions)
    pd.testing.assert_frame_equal(log.items, expected.items)


def test_load_movielens_leaves_malformed_lines_out(tmp_path: pathlib.Path) -> None:
    _write_csv(tmp_path, _CSV_RATINGS + b"cut,off")
    _write_dat(tmp_path, b"::\n" + _DAT_RATINGS)
    for dataset, rows in (("ml-20m", 2), ("ml-1m", 3)):
        with pytest.warns(UserWarning, match="1 of .*ratings") as caught:
            log = load_movielens(dataset, tmp_path, on_malformed="skip")
        assert len(log.interactions) == rows
        assert caught[0].filename == __file__


@pytest.mark.parametrize("kind", ["dat", "csv"])
def test_nothing_left_out_is_no_warning(tmp_path: pathlib.Path, kind: str) -> None:
    write, read, (ratings, movies), _ = _READERS[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(write(tmp_path, ratings, movies), on_malformed="skip")


@pytest.mark.parametrize("name", ["ratings", "movies"])
@pytest.mark.parametrize("kind", ["dat", "csv"])
def test_refuses_a_file_of_malformed_lines_only(
    tmp_path: pathlib.Path, kind: str, name: str
) -> None:
    write, read, (ratings, movies), first = _READERS[kind]
    path = write(tmp_path, ratings, movies) / f"{name}.{kind}"
    header = path.read_bytes().splitlines(keepends=True)[: first - 1]
    path.write_bytes(b"".join([*header, b"bad\n", b"bad\n"]))
    with pytest.raises(
        MalformedFileError, match=f"{name}.{kind}, line {first + 2}: .* the end of"
    ):
        read(tmp_path, on_malformed="skip")


def test_another_header_is_refused_whatever_is_asked(tmp_path: pathlib.Path) -> None:
    folder = _write_csv(tmp_path, b"a,b,c,d\n1,2,3.0,4\n")
    with pytest.raises(MalformedFileError, match=r"ratings\.csv, line 1: expected"):
        _read_csv(folder, on_malformed="skip")


def test_refuses_another_way_with_malformed_lines(tmp_path: pathlib.Path) -> None:
    for read in (_read_dat, _read_csv):
        with pytest.raises(ValueError, match=r"on_malformed must be .* it is 'ignore'"):
            read(tmp_path, on_malformed="ignore")  # type: ignore[arg-type]


@settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 10**18 - 1),
            st.integers(0, 10**18 - 1),
            st.sampled_from([0.5, 1.0, 3.5, 5.0]),
            st.integers(0, 10**18 - 1),
        ),
        min_size=1,
    )
)
def test_reads_back_what_was_written(tmp_path: pathlib.Path, rows: list) -> None:
    dat = "\n".join("::".join(map(str, row)) for row in rows)
    comma = "\n".join(",".join(map(str, row)) for row in rows)
    header = "userId,movieId,rating,timestamp\n"
    for log in (
        _read_dat(_write_dat(tmp_path, dat.encode())),
        _read_csv(_write_csv(tmp_path, (header + comma).encode())),
    ):
        assert list(log.interactions.itertuples(index=False, name=None)) == rows


def test_load_movielens_chooses_the_reader(tmp_path: pathlib.Path) -> None:
    _write_csv(_write_dat(tmp_path))
    assert len(load_movielens("ml-1m", tmp_path).interactions) == 3
    for dataset in ("ml-latest-small", "ml-20m", "ml-25m", "ml-32m"):
        assert len(load_movielens(dataset, tmp_path).interactions) == 2


def test_load_movielens_downloads_without_data_dir(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = []

    def download(dataset: str, cache_dir: object) -> pathlib.Path:
        requests.append((dataset, cache_dir))
        return _write_csv(tmp_path)

    monkeypatch.setattr(movielens, "download_movielens", download)
    log = load_movielens("ml-20m", cache_dir="somewhere")
    assert requests == [("ml-20m", "somewhere")]
    assert len(log.interactions) == 2


def test_load_movielens_refuses_an_unknown_dataset(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match=r"dataset must be one of .* 'ml-2m'"):
        load_movielens("ml-2m", tmp_path)  # type: ignore[arg-type]


def test_reads_the_real_movielens_1m(ml_1m_dir: pathlib.Path) -> None:
    log = _read_dat(ml_1m_dir)
    assert len(log.interactions) == 1_000_209
    assert log.interactions["user_id"].nunique() == 6_040
    assert log.interactions["item_id"].nunique() == 3_706
    assert len(log.items) == 3_883
    titles = log.items.set_index("item_id")["title"]
    assert titles[73] == "Misérables, Les (1995)"
    assert titles[260] == "Star Wars: Episode IV - A New Hope (1977)"


def test_reads_the_real_movielens_latest_small(
    ml_latest_small_dir: pathlib.Path,
) -> None:
    log = _read_csv(ml_latest_small_dir)
    assert len(log.items) == 9_742
    # The copy at hand ends in a line that GroupLens's release does not have, of a movie
    # that is not in the catalog.
    genuine = log.interactions[log.interactions["item_id"].isin(log.items["item_id"])]
    assert len(genuine) == 100_836
    assert genuine["user_id"].nunique() == 610
    titles = log.items.set_index("item_id")["title"]
    assert titles[11] == "American President, The (1995)"
    categories = log.items.set_index("item_id")["categories"]
    assert categories[1] == ("Adventure", "Animation", "Children", "Comedy", "Fantasy")
    assert (categories.map(len) == 0).sum() == 34
