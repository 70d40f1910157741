"""The file of a study survives whatever stops the run that writes it."""

from __future__ import annotations

import json
import multiprocessing
import pathlib

import pytest

from tfrs_barlow.study.rows import RowFile


def test_rows_come_back_in_order(tmp_path: pathlib.Path) -> None:
    rows = RowFile(tmp_path / "new" / "rows.jsonl")
    assert list(rows) == []
    rows.append({"seed": 0, "units": (8, 8)})
    rows.append({"seed": 1})
    assert list(RowFile(rows.file)) == [{"seed": 0, "units": [8, 8]}, {"seed": 1}]


def test_rows_are_selected_by_some_of_their_values(tmp_path: pathlib.Path) -> None:
    rows = RowFile(tmp_path / "rows.jsonl")
    rows.append({"seed": 0, "units": (8, 8), "accuracy": 0.5})
    rows.append({"seed": 1, "units": (8, 8), "accuracy": 0.6})
    assert [row["seed"] for row in rows.select({"units": (8, 8)})] == [0, 1]
    assert [row["seed"] for row in rows.select({"seed": 1, "units": (8, 8)})] == [1]
    assert list(rows.select({"units": (8, 9)})) == []
    assert list(rows.select({"seed": 0, "task": "next_item"})) == []


@pytest.mark.parametrize("kept", range(1, 18))
def test_a_torn_last_line_is_passed_over_and_written_again(
    tmp_path: pathlib.Path, kept: int
) -> None:
    rows = RowFile(tmp_path / "rows.jsonl")
    rows.append({"seed": 0})
    torn = json.dumps({"seed": 1, "x": "é"}).encode()[:kept]
    rows.file.write_bytes(rows.file.read_bytes() + torn)
    assert list(rows) == [{"seed": 0}]
    rows.append({"seed": 1})
    assert list(rows) == [{"seed": 0}, {"seed": 1}]


@pytest.mark.parametrize("line", [b"{", b"3", b"", b"\xff"])
def test_another_broken_line_is_named(tmp_path: pathlib.Path, line: bytes) -> None:
    rows = RowFile(tmp_path / "rows.jsonl")
    rows.file.write_bytes(b'{"seed": 0}\n' + line + b"\n")
    with pytest.raises(ValueError, match=r"rows\.jsonl, line 2: expected a JSON"):
        list(rows)


@pytest.mark.parametrize("bit", range(0, 8 * 70, 7))
def test_a_row_that_has_changed_is_named(tmp_path: pathlib.Path, bit: int) -> None:
    """Most changes within a number or a name leave JSON that is well formed."""
    rows = RowFile(tmp_path / "rows.jsonl")
    rows.append({"seed": 0})
    size = rows.file.stat().st_size
    rows.append({"seed": 1, "test_accuracy": 0.5312})
    content = bytearray(rows.file.read_bytes())
    content[size + bit // 8] ^= 1 << bit % 8
    rows.file.write_bytes(content)
    with pytest.raises(ValueError, match=r"rows\.jsonl, line 2: .*Delete the line"):
        list(rows)


def test_rows_of_earlier_versions_have_no_checksum(tmp_path: pathlib.Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b'{"seed": 0}\n')
    assert list(RowFile(tmp_path / "rows.jsonl")) == [{"seed": 0}]


def append_fifty(file: pathlib.Path, writer: str) -> None:
    for number in range(50):
        RowFile(file).append({"writer": writer, "number": number})


def test_two_processes_may_add(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "rows.jsonl"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=append_fifty, args=(file, w)) for w in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    rows = list(RowFile(file))
    for writer in "ab":
        numbers = [row["number"] for row in rows if row["writer"] == writer]
        assert numbers == list(range(50))
