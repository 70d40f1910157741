"""Readers on damaged and odd files, with `csv` and `datetime` as the oracle."""

from __future__ import annotations

import csv
import datetime
import gzip
import io
import json
import pathlib
import random
import re
import warnings

import pytest

import tfrs_barlow as tfrsb
from tests.hostile.conftest import Draws

pytestmark = pytest.mark.hostile

COLUMNS = {"user_column": "u", "item_column": "i", "time_column": "t"}
FIELDS = [
    *["a", "7", "", "b c", '"q"', '"a,b"', '"l\nm"', '"l\r\nm"', '"l\rm"', '"d""e"'],
    *['""', 'x"y', "é", "'", "#", "\\", " ", "-3", "007", '"7"', "NULL", "nan"],
]
BREAKS = ["\n", "\r\n", "\r"]

Event = tuple[str, str, int]


def delimited(draw: random.Random) -> str:
    """A file of four columns, in which some rows are malformed."""
    rows = ["u,i,t,x"]
    for _ in range(draw.choice([1, 3, 20])):
        count = 4 if draw.random() < 0.9 else draw.randint(1, 6)
        row = [draw.choice(FIELDS) for _ in range(count)]
        if count > 2 and draw.random() < 0.9:
            row[2] = draw.choice(["1", "-5", "99", '"3"'])
        rows.append(",".join(row))
    one = draw.choice(BREAKS)
    is_mixed = draw.random() < 0.25
    text = "".join(row + (draw.choice(BREAKS) if is_mixed else one) for row in rows)
    return text.rstrip("\r\n") if draw.random() < 0.3 else text


def well_formed(text: str) -> list[Event]:
    """What Python's `csv` reads, without the rows that cannot be events."""
    events = []
    for row in list(csv.reader(io.StringIO(text, newline=""), strict=True))[1:]:
        is_time = len(row) == 4 and re.fullmatch(r"\s*[+-]?\d+\s*", row[2])
        if is_time and row[0] and row[1]:
            events.append((row[0], row[1], int(row[2])))
    return events


def read(file: pathlib.Path, **arguments: str) -> list[Event]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        log = tfrsb.data.read_interactions(file, **COLUMNS, **arguments)
    table = log.interactions[["user_id", "item_id", "timestamp"]]
    return [(str(u), str(i), int(t)) for u, i, t in table.itertuples(index=False)]


def test_delimited_files_read_as_csv_reads_them(
    draws: Draws, tmp_path: pathlib.Path
) -> None:
    file = tmp_path / "log.csv"
    for draw in draws():
        text = delimited(draw)
        file.write_bytes(text.encode())
        expected = well_formed(text)
        if not expected:
            with pytest.raises(ValueError, match=re.escape(str(file))):
                read(file, on_malformed="skip")
            continue
        assert read(file, on_malformed="skip") == expected, text
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scanned, _ = tfrsb.data.scan_sequences(file, **COLUMNS, on_malformed="skip")
            log = tfrsb.data.read_interactions(file, **COLUMNS, on_malformed="skip")
        built, _ = tfrsb.data.build_sequences(log)
        assert scanned.user_ids.tolist() == built.user_ids.tolist(), text
        assert scanned.item_ids.tolist() == built.item_ids.tolist(), text


def test_raising_and_skipping_agree_on_what_is_well_formed(
    draws: Draws, tmp_path: pathlib.Path
) -> None:
    file = tmp_path / "log.csv"
    for draw in draws():
        text = delimited(draw)
        file.write_bytes(text.encode())
        try:
            events = read(file)
        except tfrsb.data.MalformedFileError as error:
            assert re.search(r", line \d+|cannot be read", str(error)), text
        except ValueError as error:
            assert "at least one row" in str(error), text
        else:
            assert read(file, on_malformed="skip") == events, text


def damaged(content: bytes, draw: random.Random) -> bytes:
    """Cuts, flips, doubles or fills a part of a file."""
    start, end = sorted(draw.randrange(len(content) + 1) for _ in range(2))
    kind = draw.randrange(4)
    if kind == 0:
        return content[:start]
    if kind == 1:
        return content[:start] + content[start:end] * 2 + content[end:]
    if kind == 2:
        return content[:start] + bytes(end - start) + content[end:]
    changed = bytearray(content)
    for _ in range(draw.randint(1, 3)):
        bit = draw.randrange(8 * len(changed))
        changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


ROWS = "".join(f'user {n % 7},"item, {n % 5}",{n},"t ""{n}"""\n' for n in range(40))
JSON_ROWS = "".join(
    json.dumps({"u": f"é{n % 7}", "i": n % 5, "t": n}) + "\n" for n in range(40)
)
PLAIN = {
    "log.csv": ("u,i,t,x\n" + ROWS).encode(),
    "log.csv.gz": gzip.compress(("u,i,t,x\n" + ROWS).encode()),
    "log.jsonl": JSON_ROWS.encode(),
    "log.jsonl.gz": gzip.compress(JSON_ROWS.encode()),
}


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("on_malformed", ["raise", "skip"])
def test_damaged_files_read_or_are_refused_by_name(
    name: str, on_malformed: str, draws: Draws, tmp_path: pathlib.Path
) -> None:
    file = tmp_path / name
    for draw in draws():
        file.write_bytes(damaged(PLAIN[name], draw))
        try:
            read(file, on_malformed=on_malformed)
        except ValueError as error:
            assert str(file) in str(error)


def test_damaged_parquet_reads_or_is_refused_by_name(
    draws: Draws, tmp_path: pathlib.Path
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    arrow = pytest.importorskip("pyarrow")
    file = tmp_path / "log.parquet"
    table = arrow.table({"u": ["a", "b"] * 20, "i": [1, 2] * 20, "t": [3, 4] * 20})
    parquet.write_table(table, file)
    content = file.read_bytes()
    for draw in draws():
        file.write_bytes(damaged(content, draw))
        try:
            read(file)
        except ValueError as error:
            assert str(file) in str(error)


def test_times_are_those_of_datetime(draws: Draws, tmp_path: pathlib.Path) -> None:
    file = tmp_path / "log.csv"
    for draw in draws():
        moments = [
            datetime.datetime(1, 1, 1)
            + datetime.timedelta(seconds=draw.randrange(9990 * 365 * 86400))
            for _ in range(20)
        ]
        zone = draw.choice(["", "Z", "+00:00", "+05:30", "-11:00"])
        separator = draw.choice(["T", " "])
        lines = [f"a,b,{moment.isoformat(separator)}{zone}" for moment in moments]
        file.write_text("u,i,t\n" + "\n".join(lines))
        offset = datetime.datetime.fromisoformat(
            f"2000-01-01T00:00:00{zone.replace('Z', '+00:00') or '+00:00'}"
        ).utcoffset()
        assert offset is not None
        epoch = datetime.datetime(1970, 1, 1)
        expected = [
            (moment - offset - epoch) // datetime.timedelta(seconds=1)
            for moment in moments
        ]
        assert [time for *_, time in read(file)] == expected, lines
