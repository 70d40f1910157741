"""One log from every kind of source: a table, datasets, and files of each format."""

import csv
import gzip
import io
import itertools
import json
import pathlib
import random
import warnings
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
import tensorflow as tf

from tfrs_barlow.data import InteractionLog, MalformedFileError, read_interactions

COLUMNS = {
    "user_column": "who",
    "item_column": "what",
    "time_column": "when",
    "rating_column": "stars",
    "title_column": "label",
    "category_column": "kind",
}
ROWS: dict[str, list[Any]] = {
    "who": ["ann", "bób", "ann"],
    "what": [7, 9, 9],
    "when": [30, 20, 10],
    "stars": [3.5, 4.0, 5.0],
    "label": ["Help!", "Ω", ""],
    "kind": ["Rock|Live", "", "Blues"],
}
TABLE = pd.DataFrame(ROWS)


def read(source: Any, **arguments: Any) -> InteractionLog:
    return read_interactions(source, **(COLUMNS | arguments))


def dataset() -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(ROWS)


def file(name: str) -> Callable[[pathlib.Path], pathlib.Path]:
    def write(folder: pathlib.Path) -> pathlib.Path:
        path = folder / name
        plain = name.lower().removesuffix(".gz")
        if plain.endswith("parquet"):
            TABLE.to_parquet(path)
            return path
        if plain.endswith(("jsonl", "ndjson")):
            text = TABLE.to_json(orient="records", lines=True)
        else:
            text = TABLE.to_csv(sep="\t" if plain.endswith("tsv") else ",", index=False)
        content = text.encode()
        path.write_bytes(gzip.compress(content) if plain != name.lower() else content)
        return path

    return write


SOURCES: dict[str, Callable[[pathlib.Path], Any]] = {
    "dataset": lambda _: dataset(),
    "batched dataset": lambda _: dataset().batch(2),
    **{
        name: file(name)
        for name in (
            "log.csv",
            "LOG.CSV.GZ",
            "log.tsv",
            "log.tsv.gz",
            "log.parquet",
            "log.jsonl",
            "log.ndjson",
            "log.jsonl.gz",
        )
    },
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_every_source_gives_one_log(
    source: Callable[[pathlib.Path], Any], tmp_path: pathlib.Path
) -> None:
    expected, log = read(TABLE), read(source(tmp_path))
    pd.testing.assert_frame_equal(log.interactions, expected.interactions)
    pd.testing.assert_frame_equal(log.items, expected.items)


@pytest.mark.parametrize("batch_size", [None, 2])
def test_lists_in_a_dataset_are_categories(batch_size: int | None) -> None:
    kinds = tf.ragged.constant([["Rock", "Live"], [], ["Blues"]])
    rows = tf.data.Dataset.from_tensor_slices(ROWS | {"kind": kinds})
    log = read(rows if batch_size is None else rows.ragged_batch(batch_size))
    assert log.items["categories"].tolist() == [("Rock", "Live"), ("Blues",)]


def test_a_malformed_row_of_a_dataset_is_named_or_left_out() -> None:
    rows = tf.data.Dataset.from_tensor_slices(ROWS | {"who": ["ann", "", "bob"]})
    with pytest.raises(ValueError, match=r"'who' must not have missing .* row 1 has"):
        read(rows)
    with pytest.warns(UserWarning, match=r"1 of source \(the first is row 1\)"):
        assert len(read(rows, on_malformed="skip").interactions) == 2


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (tf.data.Dataset.range(3), TypeError, "a dataset of dicts"),
        (dataset().take(0), ValueError, "at least one row"),
        (
            tf.data.Dataset.from_tensor_slices(ROWS | {"who": [b"a", b"\xff", b"c"]}),
            ValueError,
            "'who' of source must hold UTF-8",
        ),
        (ROWS, TypeError, "source must be a DataFrame, a tf.data.Dataset or the path"),
        (3, TypeError, "source must be"),
    ],
    ids=["numbers", "empty", "no text", "dict", "number"],
)
def test_refuses_other_sources(source: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        read(source)


def test_refuses_a_dataset_without_a_column() -> None:
    with pytest.raises(ValueError, match="title_column must name a column of source"):
        read(dataset(), title_column="name")


# JSON lines


def write_lines(folder: pathlib.Path, *lines: str) -> pathlib.Path:
    path = folder / "log.jsonl"
    path.write_bytes("\n".join(lines).encode(errors="surrogateescape"))
    return path


GOOD = '{"who": "ann", "what": 7, "when": "2019-01-02"}'
THREE = {"user_column": "who", "item_column": "what", "time_column": "when"}


@pytest.mark.parametrize(
    "bad",
    [
        "ann",
        "[1]",
        "{",
        "\udce9",
        '{"who": "\\ud800", "what": 7, "when": "2019-01-02"}',
        '{"what": 7, "when": "2019-01-02"}',
        '{"who": null, "what": 7, "when": "2019-01-02"}',
        '{"who": "ann", "what": 7, "when": "soon"}',
    ],
)
def test_a_malformed_line_is_named_or_left_out(
    bad: str, tmp_path: pathlib.Path
) -> None:
    path = write_lines(tmp_path, GOOD, "", bad, GOOD, "{}")
    with pytest.raises(MalformedFileError, match=r"log\.jsonl, line 3: "):
        read_interactions(path, **THREE)
    with pytest.warns(UserWarning, match=r"2 of .*log\.jsonl \(the first is line 3"):
        log = read_interactions(path, on_malformed="skip", **THREE)
    assert len(log.interactions) == 2


def test_numbers_as_text_stay_text_in_json(tmp_path: pathlib.Path) -> None:
    path = write_lines(tmp_path, json.dumps({"who": "1", "what": 7, "when": 5}))
    assert read_interactions(path, **THREE).interactions["user_id"].tolist() == ["1"]


def test_refuses_json_without_a_column(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match=r"time_column must name a column of .*jsonl"):
        read_interactions(write_lines(tmp_path, '{"who": 1, "what": 2}'), **THREE)
    with pytest.raises(ValueError, match="at least one row"):
        read_interactions(write_lines(tmp_path, ""), **THREE)


# Parquet


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
def test_times_of_parquet_after_the_year_9999(
    zone: str | None, tmp_path: pathlib.Path
) -> None:
    times = pd.Series([253402300799, -1]).astype("datetime64[s]").dt.tz_localize("UTC")
    when = times.dt.tz_localize(None) if zone is None else times.dt.tz_convert(zone)
    pd.DataFrame({"who": [1, 2], "what": 1, "when": when}).to_parquet(
        tmp_path / "log.parquet"
    )
    log = read_interactions(tmp_path / "log.parquet", **THREE)
    assert log.interactions["timestamp"].tolist() == [253402300799, -1]


@pytest.mark.parametrize("role", ["who", "what", "when"])
def test_refuses_columns_of_parquet_of_another_type(
    role: str, tmp_path: pathlib.Path
) -> None:
    table = pd.DataFrame({"who": [1], "what": [1], "when": [1]}).assign(**{role: [1.5]})
    table.to_parquet(tmp_path / "log.parquet")
    with pytest.raises(TypeError, match=f"column '{role}' must hold .* DOUBLE"):
        read_interactions(tmp_path / "log.parquet", **THREE)


# Fields that only some readers take


@pytest.mark.parametrize(
    ("content", "users"),
    [
        (b"who,what,when\r\nann,7,5\nbob,7,5\r\n", ["ann", "bob"]),
        (b'who,what,when\r\n"a\nb",7,5\r\nbob,7,5\r\n', ["a\nb", "bob"]),
        (b'"who","what","when"\n1,7,5\n2,7,5', [1, 2]),
        (b'\xef\xbb\xbf"wh,o",who,what,when\n"x,y",1,7,5\n', [1]),
        (b'who,what,when\n "ann" ,7,5\n   bob ,7,5\n', ["ann", "   bob "]),
        (b'who,what,when\na"b,7,5\n', ['a"b']),
        (b'who,what,when\n"a""b",7,5\n', ['a"b']),
        (b"who,what,when,x\n1,7,5," + b"z" * 3_000_000 + b"\n2,7,5,\n", [1, 2]),
        (b'who,what,when,x\n1,7,5,"' + b"z\n" * 100_000 + b'"\n2,7,5,\n', [1, 2]),
        (b"who,what,when\na\0,7,5\n", ["a\0"]),
    ],
    ids=range(10),
)
@pytest.mark.parametrize("way", ["raise", "skip"])
def test_odd_fields(
    content: bytes, users: list, way: Any, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(content)
    log = read_interactions(path, on_malformed=way, **THREE)
    assert log.interactions["user_id"].tolist() == users


@pytest.mark.parametrize(
    "rows",
    [
        b"2,7,5\n1,7,5,\n",
        b"2,7,5\n1,7,5,",
        b"2,7,5\r\n1,7,5,,\r\n",
        b"2,7,5\r1,7,5,\r",
        b'2,"7\n",5\n1,7,5,\n',
        b"2,7,5\n1,7,5,\n4,7\n",
    ],
    ids=repr,
)
def test_a_surplus_field_is_malformed_even_if_it_is_empty(
    rows: bytes, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(b"who,what,when\n" + rows)
    with pytest.raises(
        MalformedFileError, match=r"log.csv, line [34]: expected 3 fiel"
    ):
        read_interactions(path, **THREE)
    with pytest.warns(UserWarning, match="log.csv"):
        log = read_interactions(path, on_malformed="skip", **THREE)
    assert log.interactions["user_id"].tolist() == [2]


FIELDS = ["a", "7", "", "b c", '"q"', '"a,b"', '"l\nm"', '"l\r\nm"', '"l\rm"', '"d""e"']
FIELDS += ['""', 'x"y', "é", "'", "#", "\\", " ", "-3", "007", '"7"', "NULL", "nan"]


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r", ""], ids=repr)
def test_csv_is_what_the_csv_module_reads(
    line_break: str, tmp_path: pathlib.Path
) -> None:
    draw = random.Random(line_break)
    path = tmp_path / "log.csv"
    for size in [*range(1, 20), 2_000]:
        rows = [
            [draw.choice(FIELDS), draw.choice(FIELDS), str(k), draw.choice(FIELDS)]
            for k in range(size)
        ]
        for row in rows[:: draw.randint(2, 9)]:
            row[draw.randrange(3) :] = ["x"] * draw.randrange(4)
        # Lines of one file may end in different ways.
        ends = [line_break or draw.choice(["\n", "\r\n", "\r"]) for _ in rows]
        lines = zip(
            ["who,what,when,x\n", *map(",".join, rows)], ["", *ends], strict=True
        )
        text = "".join(line + end for line, end in lines)
        path.write_bytes(text.encode())
        fields = csv.reader(io.StringIO(text, newline=""), strict=True)
        expected = [
            (row[0], row[1], int(row[2]))
            for row in itertools.islice(fields, 1, None)
            if len(row) == 4 and all(row[:2]) and row[2].isdecimal()
        ]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                log = read_interactions(path, on_malformed="skip", **THREE)
        except ValueError:
            assert not expected
            continue
        found = log.interactions.astype({"user_id": str, "item_id": str})
        assert list(found.itertuples(index=False, name=None)) == expected
