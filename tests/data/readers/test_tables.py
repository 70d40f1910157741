"""read_interactions: any table of user, item and time becomes a log."""

import datetime
import gzip
import itertools
import pathlib
import re
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfrs_barlow.data.categories import ItemCategories
from tfrs_barlow.data.readers.malformed import MalformedFileError
from tfrs_barlow.data.readers.tables import read_interactions
from tfrs_barlow.data.sequences import build_sequences

_NAMES = {"user_column": "who", "item_column": "what", "time_column": "when"}
_CSV = (
    "when,who,price,what,kind,label\n"
    '1546300800,ann,3.5,7,"Rock|Live","Help!"\n'
    "1546300700,bob,4,9,,\n"
    "1546300900,ann,5,9,NA,\n"
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
    with pytest.raises(
        ValueError, match="category_separator must be a string that is not"
    ):
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


@pytest.mark.parametrize(
    "row",
    [b"ann,7,5,6", b'"ann,7,5', b"ann,7", b"Jos\xe9,7,5", b"\xed\xa0\x80,7,5"],
    ids=repr,
)
@pytest.mark.parametrize("position", [1, 2], ids=["first", "later"])
@pytest.mark.parametrize("line_break", [b"\n", b"\r\n", b"\r"], ids=repr)
def test_names_the_line_that_cannot_be_parsed(
    tmp_path: pathlib.Path, row: bytes, position: int, line_break: bytes
) -> None:
    lines = [b"who,what,when", b"bob,1,2", b"cat,1,2"]
    lines.insert(position, row)
    (tmp_path / "log.csv").write_bytes(line_break.join(lines) + line_break)
    with pytest.raises(MalformedFileError, match=rf"log\.csv, line {position + 1}: "):
        _read(tmp_path / "log.csv")


@pytest.mark.parametrize("header", [b'who,what,"when', b"who,what,when,\xe9"], ids=repr)
@pytest.mark.parametrize("way", ["raise", "skip"])
def test_refuses_names_of_columns_that_cannot_be_parsed(
    tmp_path: pathlib.Path, header: bytes, way: str
) -> None:
    (tmp_path / "log.csv").write_bytes(header + b"\nann,7,5,6\n")
    with pytest.raises(MalformedFileError, match=r"log\.csv, line 1: "):
        _read(tmp_path / "log.csv", on_malformed=way)


def test_says_how_many_fields_there_should_be(tmp_path: pathlib.Path) -> None:
    with pytest.raises(
        MalformedFileError, match=r"log\.csv, line 3: expected 3 fields .*'ann,7,5,6'"
    ):
        _read_text(tmp_path, "who,what,when\nbob,1,2\nann,7,5,6\n")


def test_refuses_a_row_with_fields_too_few(tmp_path: pathlib.Path) -> None:
    for text in (
        "who,what,when\nann,7,5\nbob,9\n",
        "who,what,when,x\n1,7,5,\n2,9,5\n",
    ):
        with pytest.raises(
            MalformedFileError, match=r"line 3: expected . fields in UTF-8, but found"
        ):
            _read_text(tmp_path, text)


@pytest.mark.parametrize("bad", ["5.5", "5.0", "1e3", "True", "x", ""])
@pytest.mark.parametrize("others", ["7", "+7", "-0", " 007 ", "2019-01-02"])
def test_names_the_line_of_a_time_that_is_none(
    tmp_path: pathlib.Path, bad: str, others: str
) -> None:
    text = f"who,what,when\nann,7,{others}\nbob,9,{bad}\ncat,9,{others}\n"
    with pytest.raises(MalformedFileError, match=r"log\.csv, line 3: column 'when'"):
        _read_text(tmp_path, text)


def test_names_the_line_of_a_rating_that_is_none(tmp_path: pathlib.Path) -> None:
    for bad, line in (("4\nTrue", 3), ("4.5\nNA", 3), ("True\nFalse", 2)):
        rows = "".join(f"ann,7,5,{rating}\n" for rating in bad.split("\n"))
        with pytest.raises(MalformedFileError, match=rf"line {line}: column 'stars'"):
            _read_text(tmp_path, "who,what,when,stars\n" + rows, rating_column="stars")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('who,what,when\n\n"ann\nor bob",1,5\n  \nbob,2,yesterday\n', 6),
        ('who,what,when\r\n\r\n"a\r\nb",1,5\r\n\t\r\nbob,2,yesterday\r\n', 6),
        ("who,what,when\r\rann,1,5\rbob,2,yesterday\r", 4),
        ("\ufeffwho,what,when\nann,1,5\nbob,2,yesterday", 3),
        ("\n\nwho,what,when\nann,1,5\nbob,2,yesterday", 5),
        # These are rows, though there is little to see.
        ("who,what,when\nann,1,5\n\xa0\nbob,2,6", 3),
        ('who,what,when\nann,1,5\n" "\nbob,2,6', 3),
        ('who,what,when\n""\n', 2),
        ('who,what,when\n,"",5\n', 2),
    ],
    ids=repr,
)
def test_line_numbers_count_blank_lines_and_those_in_quotes(
    tmp_path: pathlib.Path, text: str, line: int
) -> None:
    (tmp_path / "log.csv").write_bytes(text.encode())
    with pytest.raises(MalformedFileError, match=rf"log\.csv, line {line}: "):
        _read(tmp_path / "log.csv")


def test_names_the_row_of_a_parquet_file(tmp_path: pathlib.Path) -> None:
    _table(when=["2019-01-01", "soon"]).to_parquet(tmp_path / "log.parquet")
    with pytest.raises(MalformedFileError, match=r"log\.parquet, row 1: column 'when'"):
        _read(tmp_path / "log.parquet")


# Malformed rows left out


_BAD_ROWS = {
    "too many fields": "x,1,2,3,4,5,6,7",
    "too few fields": "100,ann",
    "no user": "100,,4,7,,",
    "no item": "100,ann,4,,,",
    "no time": ",ann,4,7,,",
    "time of words": "yesterday,ann,4,7,,",
    "time too large": "99999999999999999999,ann,4,7,,",
    "rating of words": "100,ann,good,7,,",
    "infinite rating": "100,ann,inf,7,,",
    "no text": "100,\udce9,4,7,,",
}


@pytest.mark.parametrize("row", _BAD_ROWS.values(), ids=_BAD_ROWS)
@pytest.mark.parametrize("position", [1, 2, 4], ids=["first", "middle", "last"])
@pytest.mark.parametrize("name", ["log.csv", "log.csv.gz"])
def test_a_malformed_row_of_a_file_is_left_out_on_request(
    tmp_path: pathlib.Path, row: str, position: int, name: str
) -> None:
    arguments = {"category_column": "kind", "rating_column": "price"}
    lines = _CSV.splitlines()
    lines[position:position] = [row]
    content = "\n".join([*lines, "", "rubbish"]).encode(errors="surrogateescape")
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    with pytest.raises(MalformedFileError, match=re.escape(str(path))):
        _read(path, **arguments)
    with pytest.warns(UserWarning) as caught:
        log = _read(path, on_malformed="skip", **arguments)
    assert [str(warning.message) for warning in caught] == [
        f"Left out malformed lines: 2 of {path} (the first is line {position + 1})."
    ]
    assert caught[0].filename == __file__
    expected = _read_text(tmp_path, _CSV, **arguments)
    pd.testing.assert_frame_equal(log.interactions, expected.interactions)
    pd.testing.assert_frame_equal(log.items, expected.items)


def test_ids_are_integers_if_all_rows_that_are_kept_have_such(
    tmp_path: pathlib.Path,
) -> None:
    text = "who,what,when\n3,7,10\ntotal,all,end\n1,9,20\n"
    with pytest.warns(UserWarning, match="1 of .* line 3"):
        log = _read_text(tmp_path, text, on_malformed="skip")
    assert log.interactions["user_id"].tolist() == [3, 1]
    assert log.interactions["item_id"].tolist() == [7, 9]


@pytest.mark.parametrize(
    ("times", "kept"),
    [
        (["soon", "5", "2019-01-01", "7"], [5, 7]),
        (["soon", "2019-01-02", "5", "2019-01-03"], [1546387200, 1546473600]),
    ],
)
def test_the_first_time_says_what_times_are(
    tmp_path: pathlib.Path, times: list[str], kept: list[int]
) -> None:
    text = "who,what,when\n" + "".join(f"ann,x,{time}\n" for time in times)
    with pytest.warns(UserWarning, match="2 of .* line 2"):
        log = _read_text(tmp_path, text, on_malformed="skip")
    assert log.interactions["timestamp"].tolist() == kept


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, ""])
@pytest.mark.parametrize("column", ["who", "what", "when", "stars"])
def test_a_malformed_row_of_a_data_frame_is_left_out_on_request(
    column: str, missing: object
) -> None:
    table = pd.DataFrame(
        {"who": [3, 1, 2], "what": [7, 9, 8], "when": [1, 2, 3], "stars": [1.5, 2, 3]},
        index=[5, 5, 5],
    )
    expected = _read(table.iloc[[0, 2]], rating_column="stars").interactions
    table[column] = table[column].astype(object)
    table.iloc[1, table.columns.get_loc(column)] = missing
    before = table.copy()
    for one in (table, table.infer_objects()):
        with pytest.warns(UserWarning, match=r"1 of source \(the first is row 1\)"):
            log = _read(one, rating_column="stars", on_malformed="skip")
        pd.testing.assert_frame_equal(log.interactions, expected)
    pd.testing.assert_frame_equal(table, before)


def test_where_all_rows_are_malformed_the_first_says_why(
    tmp_path: pathlib.Path,
) -> None:
    message = "column 'when', row 0: expected an ISO date and time, .* found 'soon'"
    with pytest.raises(MalformedFileError, match=f"line 2: {message}"):
        _read_text(
            tmp_path, "who,what,when\nann,7,soon\nbob,9,later\n", on_malformed="skip"
        )
    with pytest.raises(ValueError, match=message):
        _read(_table(when=["soon", "later"]), on_malformed="skip")
    with pytest.raises(ValueError, match="at least one row that is well-formed"):
        _read_text(tmp_path, "who,what,when\nann,7,5,6\n", on_malformed="skip")


def test_a_damaged_file_is_refused_whatever_is_asked(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "log.csv.gz"
    path.write_bytes(gzip.compress(_CSV.encode() * 100)[:-20])
    with pytest.raises(MalformedFileError, match="cannot be read"):
        _read(path, on_malformed="skip")
    with pytest.raises(MalformedFileError, match="line 3: a quote opens here that is"):
        _read_text(
            tmp_path, 'who,what,when\na,1,2\nb,"1,2\nc,1,2\n', on_malformed="skip"
        )


def test_refuses_another_way_with_malformed_rows() -> None:
    with pytest.raises(ValueError, match=r"on_malformed must be .* it is 'ignore'"):
        _read(_table(), on_malformed="ignore")


def test_refuses_files_that_cannot_be_parsed(tmp_path: pathlib.Path) -> None:
    packed = gzip.compress(_CSV.encode() * 100)
    for name, content in (
        ("empty.csv", b""),
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
        ValueError, match=rf"ends in \.csv, .*, \.parquet, .*, but .*{name}"
    ):
        _read(tmp_path / name)


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


def test_large_integers_of_parquet_stay_what_they_are(tmp_path: pathlib.Path) -> None:
    large = 1_500_000_000_000_000_000
    pd.DataFrame(
        {
            "who": pd.array([large + 1, large + 2, None], "Int64"),
            "what": [7, 8, 9],
            "when": pd.array([large + 200, large + 100, large], "Int64"),
        }
    ).to_parquet(tmp_path / "log.parquet")
    with pytest.warns(UserWarning, match="Left out malformed lines: 1"):
        log = _read(tmp_path / "log.parquet", on_malformed="skip")
    assert log.interactions["user_id"].tolist() == [large + 1, large + 2]
    assert log.interactions["timestamp"].tolist() == [large + 200, large + 100]


def test_refuses_truncated_parquet(tmp_path: pathlib.Path) -> None:
    _table().to_parquet(tmp_path / "log.parquet")
    content = (tmp_path / "log.parquet").read_bytes()
    for cut in (0, 10, len(content) // 2, len(content) - 1):
        (tmp_path / "log.parquet").write_bytes(content[:cut])
        with pytest.raises(MalformedFileError, match=r"log\.parquet cannot be read"):
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
    for source, way in itertools.product(
        (table, tmp_path / "log.csv"), ("raise", "skip")
    ):
        log = _read(source, on_malformed=way)
        assert list(log.interactions.itertuples(index=False, name=None)) == rows


@settings(
    deadline=None,
    max_examples=20,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    lines=st.lists(
        st.sampled_from(["ann,7,5", "bob,9,-6", "3, +07,4"])
        | st.lists(
            st.sampled_from(
                ["ann", "7", "", "5.5", " ", "+007", "-0", "\xa0", "\udce9"]
            ),
            max_size=4,
        ).map(",".join),
        max_size=6,
    ),
    line_break=st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_leaves_out_what_an_editor_would_have_to_delete(
    tmp_path: pathlib.Path, lines: list[str], line_break: str
) -> None:
    path = tmp_path / "log.csv"
    lines = ["who,what,when", "ann,7,5", *lines]

    def read(**arguments: object):
        path.write_bytes(line_break.join(lines).encode(errors="surrogateescape"))
        return _read(path, **arguments)

    with warnings.catch_warnings(record=True) as caught:
        kept = read(on_malformed="skip")
    deleted = 0
    while True:
        try:
            expected = read()
            break
        except MalformedFileError as error:
            deleted += 1
            assert deleted < 10
            # An empty line instead of the one named keeps the numbers of the others.
            lines[int(re.search(r", line (\d+): ", str(error))[1]) - 1] = ""
    counts = [int(re.search(r"(\d+) of", str(one.message))[1]) for one in caught]
    assert counts == [deleted] * bool(deleted)
    pd.testing.assert_frame_equal(kept.interactions, expected.interactions)
    pd.testing.assert_frame_equal(kept.items, expected.items)


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
