"""read_interactions: any table of user, item and time becomes a log."""

import datetime
import gzip
import importlib.util
import pathlib
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfrs_barlow.data.categories import ItemCategories
from tfrs_barlow.data.malformed import MalformedFileError
from tfrs_barlow.data.sequences import build_sequences
from tfrs_barlow.data.tables import read_interactions

_NAMES = {"user_column": "who", "item_column": "what", "time_column": "when"}
_CSV = (
    "when,who,price,what,kind,label\n"
    '1546300800,ann,3.5,7,"Rock|Live","Help!"\n'
    "1546300700,bob,4,9,,\n"
    "1546300900,ann,5,9,NA,\n"
)

needs_pyarrow = pytest.mark.skipif(
    importlib.util.find_spec("pyarrow") is None,
    reason="pyarrow is not installed: pip install 'tfrs-barlow[parquet]'",
)


def _table(**columns: object) -> pd.DataFrame:
    defaults = {"who": ["ann", "bob"], "what": [7, 9], "when": [100, 50]}
    return pd.DataFrame(defaults | columns)


def _read(source: object, **arguments: object):
    return read_interactions(source, **(_NAMES | arguments))


def _read_text(folder: pathlib.Path, text: str, **arguments: object):
    path = folder / "log.csv"
    path.write_text(text)
    return _read(path, **arguments)


def test_reads_a_data_frame_in_the_order_of_its_rows() -> None:
    table = _table(other=["x", "y"])
    before = table.copy()
    log = _read(table)
    expected = pd.DataFrame(
        {"user_id": ["ann", "bob"], "item_id": [7, 9], "timestamp": [100, 50]}
    )
    pd.testing.assert_frame_equal(log.interactions, expected)
    assert log.items.to_dict("list") == {
        "item_id": [7, 9],
        "title": ["7", "9"],
        "categories": [(), ()],
    }
    pd.testing.assert_frame_equal(table, before)


def test_makes_sequences_and_labels() -> None:
    log = _read(_table(kind=["A", "B|A"]), category_column="kind")
    sequences, vocabulary = build_sequences(log)
    categories = ItemCategories.from_log(log, vocabulary)
    assert categories.names == ("A", "B")
    assert sequences.timestamps.tolist() == [100, 50]


@pytest.mark.parametrize(
    ("users", "expected"),
    [
        ([3, 1], [3, 1]),
        (np.array([3, 1], np.uint8), [3, 1]),
        (pd.array([3, 1], dtype="Int64"), [3, 1]),
        (pd.Series([3, 1], dtype=object), [3, 1]),
        (pd.Categorical([3, 1]), [3, 1]),
        (["b", "1"], ["b", "1"]),
        (["2", "1"], ["2", "1"]),
        (pd.array(["b", "a"], dtype="string"), ["b", "a"]),
        (pd.Series(["b", "a"], dtype=object), ["b", "a"]),
        (pd.Categorical(["b", "a"]), ["b", "a"]),
    ],
)
@pytest.mark.parametrize("column", ["who", "what"])
def test_ids_are_integers_or_strings(
    column: str, users: object, expected: list
) -> None:
    log = _read(_table(**{column: users}))
    name = {"who": "user_id", "what": "item_id"}[column]
    ids = log.interactions[name]
    assert ids.tolist() == expected
    # What pandas makes of strings is for its release to say.
    plain = np.int64 if isinstance(expected[0], int) else pd.Series(["a"]).dtype
    assert ids.dtype == plain
    assert list(build_sequences(log)[0].user_ids) == sorted(log.interactions["user_id"])


@pytest.mark.parametrize(
    "bad", [[1.0, 2.0], [True, False], [1, "a"], [b"a", b"b"], [("a",), ("b",)]]
)
@pytest.mark.parametrize("column", ["who", "what"])
def test_refuses_other_ids(column: str, bad: list) -> None:
    table = _table(**{column: pd.Series(bad, dtype=object)})
    with pytest.raises(
        TypeError,
        match=f"column '{column}' must hold integers or strings, .*{bad[0]!r}",
    ):
        _read(table)


@pytest.mark.parametrize("bad", [[2**63, 1], [2**70, 1], [-(2**63) - 1, 1]])
@pytest.mark.parametrize("column", ["who", "when"])
def test_refuses_integers_that_do_not_fit(column: str, bad: list[int]) -> None:
    with pytest.raises(ValueError, match=f"column '{column}' must hold .* 64 bits"):
        _read(_table(**{column: bad}))


# Times

_EAST = datetime.timezone(datetime.timedelta(hours=1))


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([-5, 10**12], [-5, 10**12]),
        (np.array([7, 8], np.int8), [7, 8]),
        (pd.array([7, 8], dtype="Int32"), [7, 8]),
        (["7", "-8"], [7, -8]),
        (
            pd.to_datetime(["2019-01-02 19:11:49", "1970-01-01 00:00:00"]),
            [1546456309, 0],
        ),
        (
            pd.to_datetime(["2019-01-02 19:11:49", "1970-01-01 00:00:00"]).as_unit(
                "ns"
            ),
            [1546456309, 0],
        ),
        (
            pd.to_datetime(["2019-01-02 19:11:49", "1970-01-02 00:00:00"]).tz_localize(
                "CET"
            ),
            [1546452709, 82800],
        ),
        (np.array([3, 4], "datetime64[s]"), [3, 4]),
        (pd.to_datetime([-1, 1_999_999_999]), [-1, 1]),
        ([datetime.date(1970, 1, 2), datetime.date(1969, 12, 31)], [86400, -86400]),
        (
            pd.Series(
                [
                    datetime.datetime(1970, 1, 1, 1),
                    datetime.datetime(1970, 1, 1, 1, tzinfo=_EAST),
                ],
                dtype=object,
            ),
            [3600, 0],
        ),
        (["2019-01-02", "2019-01-02 19:11:49"], [1546387200, 1546456309]),
        (["2019-01-02T19:11:49Z", "2019-01-02T20:11:49+01:00"], [1546456309] * 2),
        (["1970-01-01 00:00:01.999", "1969-12-31 23:59:59.5"], [1, -1]),
        (pd.Categorical(["1970-01-02", "1970-01-01"]), [86400, 0]),
        (pd.array(["1970-01-02", "1970-01-01"], dtype="string"), [86400, 0]),
    ],
)
def test_times_become_integers(times: object, expected: list[int]) -> None:
    timestamps = _read(_table(when=times)).interactions["timestamp"]
    assert timestamps.tolist() == expected
    assert timestamps.dtype == np.int64


@pytest.mark.parametrize(
    "bad",
    ["yesterday", "2019", "2019-13-01", "2019-02-29", "02/01/2019", "2019-01-02 25:00"],
)
def test_names_the_row_of_a_bad_date(bad: str) -> None:
    times = ["2019-01-02", bad, "worse"]
    table = pd.DataFrame(
        {"who": [1, 2, 3], "what": [1, 2, 3], "when": times}, [5, 5, 5]
    )
    with pytest.raises(ValueError, match=f"'when', row 1: .* ISO .* found '{bad}'"):
        _read(table)


def test_names_the_row_that_is_no_integer() -> None:
    with pytest.raises(
        ValueError, match=r"'when', row 1: .* an integer.* found '1\.5'"
    ):
        _read(_table(when=["1", "1.5"]))
    with pytest.raises(ValueError, match=r"'when', row 1: .* found '0x1'"):
        _read(_table(when=["0", "0x1"]))


@pytest.mark.parametrize("bad", [[1.5, 2.0], [1.0, 2.0], [True, False], [1, "2019"]])
def test_refuses_other_times(bad: list) -> None:
    with pytest.raises(TypeError, match="'when' must hold integers, datetimes or ISO"):
        _read(_table(when=bad))


# Categories and titles


@pytest.mark.parametrize(
    ("kinds", "separator", "expected"),
    [
        (["Rock|Live", "Blues"], "|", [("Rock", "Live"), ("Blues",)]),
        ([" Rock | Live|Rock||", ""], "|", [("Rock", "Live"), ()]),
        (["Rock, Live", "A|B"], ",", [("Rock", "Live"), ("A|B",)]),
        (["Rock::Live", "Blues"], "::", [("Rock", "Live"), ("Blues",)]),
        (["R&B | Soul", "A"], None, [("R&B | Soul",), ("A",)]),
        ([["Rock", "Live"], []], "|", [("Rock", "Live"), ()]),
        ([("A|B", "A|B"), ["C"]], "|", [("A|B",), ("C",)]),
        ([np.array(["A", "B"], object), None], "|", [("A", "B"), ()]),
        ([None, float("nan")], "|", [(), ()]),
        (pd.Categorical(["A|B", None]), "|", [("A", "B"), ()]),
        (pd.array(["A", None], dtype="string"), "|", [("A",), ()]),
    ],
)
def test_categories_are_strings_or_lists(
    kinds: object, separator: str | None, expected: list
) -> None:
    log = _read(
        _table(kind=kinds), category_column="kind", category_separator=separator
    )
    assert log.items["categories"].tolist() == expected


def test_an_item_has_the_categories_of_all_its_rows() -> None:
    table = pd.DataFrame(
        {
            "who": [1, 2, 3, 4, 5],
            "what": ["b", "a", "b", "b", "b"],
            "when": 0,
            "kind": ["Y|X", None, ["Z", "Y"], None, "W"],
        }
    )
    items = _read(table, category_column="kind").items
    assert items["item_id"].tolist() == ["b", "a"]
    assert items["categories"].tolist() == [("Y", "X", "Z", "W"), ()]


@pytest.mark.parametrize("bad", [3, {"A": 1}, {"A"}, ["A", 3], [["A"]], b"A", [None]])
def test_names_the_row_of_bad_categories(bad: object) -> None:
    table = _table(kind=pd.Series(["A", bad], dtype=object))
    with pytest.raises(TypeError, match=r"column 'kind' must hold .* row 1 is"):
        _read(table, category_column="kind")


def test_the_first_title_counts_and_the_id_stands_in() -> None:
    table = pd.DataFrame(
        {
            "who": [1, 2, 3, 4],
            "what": [7, 8, 7, 7],
            "when": 0,
            "label": [None, float("nan"), "Seven", "7th"],
        }
    )
    assert _read(table, title_column="label").items["title"].tolist() == ["Seven", "8"]


def test_refuses_titles_that_are_no_strings() -> None:
    with pytest.raises(TypeError, match="'label' must hold strings, but row 1 is 2001"):
        _read(_table(label=["Alien", 2001]), title_column="label")


def test_one_column_can_play_two_parts() -> None:
    items = _read(_table(kind=["A", "B"]), category_column="kind", title_column="kind")
    assert items.items["title"].tolist() == ["A", "B"]


# Ratings


@pytest.mark.parametrize(
    "ratings", [[4, 5], [4.0, 5.0], ["4", "5.0"], pd.array([4, 5], dtype="Int8")]
)
def test_ratings_are_numbers(ratings: object) -> None:
    log = _read(_table(stars=ratings), rating_column="stars")
    assert log.interactions["rating"].tolist() == [4.0, 5.0]
    assert log.interactions["rating"].dtype == np.float64


@pytest.mark.parametrize("bad", ["good", float("inf")])
def test_names_the_row_of_a_bad_rating(bad: object) -> None:
    good = "4" if isinstance(bad, str) else 4.0
    with pytest.raises(ValueError, match=f"'stars', row 1: .* found {bad!r}"):
        _read(_table(stars=[good, bad]), rating_column="stars")


def test_refuses_other_ratings() -> None:
    with pytest.raises(TypeError, match=r"'stars' must hold numbers, .* 'boolean'"):
        _read(_table(stars=[True, False]), rating_column="stars")


# What is missing


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, pd.NaT, ""])
@pytest.mark.parametrize("column", ["who", "what", "when", "stars"])
def test_names_the_column_and_row_of_a_missing_value(
    column: str, missing: object
) -> None:
    table = pd.DataFrame(
        {"who": "a", "what": "b", "when": 1, "stars": 1}, range(9, 4, -1)
    )
    table[column] = table[column].astype(object)
    table.iloc[[2, 4], table.columns.get_loc(column)] = missing
    with pytest.raises(
        ValueError, match=f"column '{column}' must not have missing values, but row 2 "
    ):
        _read(table, rating_column="stars")


@pytest.mark.parametrize(
    "role", ["user", "item", "time", "category", "title", "rating"]
)
def test_names_the_column_that_is_not_there(tmp_path: pathlib.Path, role: str) -> None:
    name = {f"{role}_column": "nothing"}
    message = (
        f"{role}_column must name a column of .*'nothing' names no such column; it"
    )
    with pytest.raises(ValueError, match=f"{message} has who, what, when"):
        _read(_table(), **name)
    with pytest.raises(ValueError, match=f"{message} has when, who, price"):
        _read_text(tmp_path, _CSV, **name)


def test_refuses_two_columns_of_one_name() -> None:
    table = pd.DataFrame([[1, 2, 3, 4]], columns=["who", "what", "when", "who"])
    with pytest.raises(ValueError, match="'who' names more than one such column"):
        _read(table)


def test_refuses_a_table_without_rows(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="at least one row"):
        _read(_table().iloc[:0])
    with pytest.raises(ValueError, match="at least one row"):
        _read_text(tmp_path, "who,what,when\n")


def test_refuses_an_empty_separator() -> None:
    with pytest.raises(ValueError, match="category_separator must not be empty"):
        _read(_table(), category_separator="")


# Files


@pytest.mark.parametrize("name", ["a.csv", "a.b.csv", "A.CSV", "a.tsv", "a.csv.gz"])
def test_reads_files(tmp_path: pathlib.Path, name: str) -> None:
    text = _CSV.replace(",", "\t") if name.endswith("tsv") else _CSV
    content = gzip.compress(text.encode()) if name.endswith("gz") else text.encode()
    (tmp_path / name).write_bytes(content)
    for path in (tmp_path / name, str(tmp_path / name)):
        log = _read(
            path, category_column="kind", title_column="label", rating_column="price"
        )
        expected = pd.DataFrame(
            {
                "user_id": ["ann", "bob", "ann"],
                "item_id": [7, 9, 9],
                "rating": [3.5, 4.0, 5.0],
                "timestamp": [1546300800, 1546300700, 1546300900],
            }
        )
        pd.testing.assert_frame_equal(log.interactions, expected)
        assert log.items["title"].tolist() == ["Help!", "9"]
        # NA is a name (North America), not a missing value.
        assert log.items["categories"].tolist() == [("Rock", "Live"), ("NA",)]


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["1", "-2"], [1, -2]),
        (["001", "1"], ["001", "1"]),
        (["1", "x"], ["1", "x"]),
        (["NA", "null"], ["NA", "null"]),
        (["1e3", "1000"], ["1e3", "1000"]),
        (["1.0", "2.0"], ["1.0", "2.0"]),
        (["True", "False"], ["True", "False"]),
        (["9" * 30, "1"], ["9" * 30, "1"]),
        (['"a,b"', '"a""b"'], ["a,b", 'a"b']),
    ],
)
def test_ids_of_a_file_stay_as_they_are_written(
    tmp_path: pathlib.Path, ids: list[str], expected: list
) -> None:
    text = "who,what,when\n" + "".join(f"{name},{name},5\n" for name in ids)
    log = _read_text(tmp_path, text)
    assert log.interactions["user_id"].tolist() == expected
    assert log.interactions["item_id"].tolist() == expected


def test_reads_dates_out_of_a_file(tmp_path: pathlib.Path) -> None:
    text = "who,what,when\n1,1,2019-01-02\n1,2,2019-01-02 19:11:49\n"
    log = _read_text(tmp_path, text)
    assert log.interactions["timestamp"].tolist() == [1546387200, 1546456309]


@pytest.mark.parametrize("row", ["ann,7,5,6", '"ann,7,5', 'ann,7,5,6,7\n"'], ids=repr)
@pytest.mark.parametrize("position", [1, 2], ids=["first", "later"])
def test_refuses_a_row_with_fields_too_many_or_an_open_quote(
    tmp_path: pathlib.Path, row: str, position: int
) -> None:
    lines = ["who,what,when", "bob,1,2", "cat,1,2"]
    lines.insert(position, row)
    with pytest.raises(MalformedFileError, match=r"log\.csv cannot be read"):
        _read_text(tmp_path, "\n".join(lines) + "\n")


def test_refuses_a_row_with_fields_too_few(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match=r"'when' must not have missing .* row 1 "):
        _read_text(tmp_path, "who,what,when\nann,7,5\nbob,9\n")
    with pytest.raises(ValueError, match=r"'who' must not have missing .* row 1 "):
        _read_text(tmp_path, "when,what,who\n1,7,5\n2,9\n3,8,5\n")


def test_refuses_files_that_cannot_be_parsed(tmp_path: pathlib.Path) -> None:
    packed = gzip.compress(_CSV.encode() * 100)
    for name, content in (
        ("empty.csv", b""),
        ("latin.csv", b"who,what,when\nJos\xe9,1,2\n"),
        ("short.csv.gz", packed[:-20]),
        ("trailer.csv.gz", packed[:-3]),
        ("no gzip.csv.gz", _CSV.encode()),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(MalformedFileError, match=f"{name} cannot be read"):
            _read(tmp_path / name)


def test_says_that_there_is_no_such_file(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"log\.csv does not exist"):
        _read(tmp_path / "log.csv")


@pytest.mark.parametrize("name", ["log.txt", "log", "log.json.gz", "log.gz", "csv"])
def test_says_which_files_it_reads(tmp_path: pathlib.Path, name: str) -> None:
    (tmp_path / name).write_text(_CSV)
    with pytest.raises(
        ValueError, match=rf"ends in \.csv, .*, \.parquet, but .*{name}"
    ):
        _read(tmp_path / name)


@needs_pyarrow
def test_reads_parquet(tmp_path: pathlib.Path) -> None:
    times = pd.to_datetime(["2019-01-02 19:11:49", "1970-01-01 00:00:00"])
    table = _table(when=times, kind=[["A", "B"], None], other=["x", "y"])
    table.to_parquet(tmp_path / "log.parquet")
    log = _read(tmp_path / "log.parquet", category_column="kind")
    assert log.interactions.to_dict("list") == {
        "user_id": ["ann", "bob"],
        "item_id": [7, 9],
        "timestamp": [1546456309, 0],
    }
    assert log.items["categories"].tolist() == [("A", "B"), ()]
    table.set_index("who").to_parquet(tmp_path / "index.parquet")
    log = _read(tmp_path / "index.parquet")
    assert log.interactions["user_id"].tolist() == ["ann", "bob"]
    with pytest.raises(ValueError, match=r"'x' names no such column; it has who, what"):
        _read(tmp_path / "log.parquet", title_column="x")


@needs_pyarrow
def test_refuses_truncated_parquet(tmp_path: pathlib.Path) -> None:
    _table().to_parquet(tmp_path / "log.parquet")
    content = (tmp_path / "log.parquet").read_bytes()
    for cut in (0, 10, len(content) // 2, len(content) - 1):
        (tmp_path / "log.parquet").write_bytes(content[:cut])
        with pytest.raises(MalformedFileError, match=r"log\.parquet cannot be read"):
            _read(tmp_path / "log.parquet")


def test_says_what_parquet_needs(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "log.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ImportError, match=r"pyarrow .* 'tfrs-barlow\[parquet\]'"):
        _read(tmp_path / "log.parquet")


@settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    rows=st.lists(
        st.tuples(
            st.text("aé0 ,|;#'\"\\\t\n", min_size=1),
            st.integers(-(10**18) + 1, 10**18 - 1),
            st.integers(-(2**63), 2**63 - 1),
        ),
        min_size=1,
    )
)
def test_reads_the_same_from_a_file_as_from_memory(
    tmp_path: pathlib.Path, rows: list
) -> None:
    # A letter in front: all users being digits, the file would mean integers.
    rows = [(f"u{user}", item, time) for user, item, time in rows]
    table = pd.DataFrame(rows, columns=["who", "what", "when"])
    table.to_csv(tmp_path / "log.csv", index=False, lineterminator="\n")
    for source in (table, tmp_path / "log.csv"):
        log = _read(source)
        assert list(log.interactions.itertuples(index=False, name=None)) == rows


def test_reads_the_real_movielens_as_any_csv(
    ml_latest_small_dir: pathlib.Path,
) -> None:
    log = read_interactions(
        ml_latest_small_dir / "ratings.csv",
        user_column="userId",
        item_column="movieId",
        time_column="timestamp",
        rating_column="rating",
    )
    assert log.interactions["user_id"].nunique() >= 610
    assert log.interactions.iloc[0].tolist() == [1, 1, 4.0, 964982703]
