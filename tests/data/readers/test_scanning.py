"""Sequences straight from a file: those of `read_interactions`, bit for bit."""

import gzip
import pathlib
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfrs_barlow.data import (
    InteractionLog,
    MalformedFileError,
    Vocabulary,
    build_sequences,
    generate_synthetic_log,
    read_interactions,
    scan_sequences,
)

COLUMNS = {"user_column": "u", "item_column": "i", "time_column": "t"}


def outcome(read: Callable, *arguments: Any, **options: Any) -> Any:
    """What a call returns or raises, in a form to compare."""
    try:
        sequences, vocabulary = read(*arguments, **options)
    except (OSError, TypeError, ValueError) as error:
        return type(error), str(error)
    arrays = [
        sequences.user_ids,
        sequences.item_ids,
        sequences.timestamps,
        sequences.row_splits,
        vocabulary.tokens,
    ]
    return [(array.dtype, array.tolist()) for array in arrays]


def by_a_log(path: pathlib.Path, **options: Any) -> Any:
    return build_sequences(read_interactions(path, **COLUMNS), **options)


@pytest.mark.parametrize(
    "content",
    [
        "x,t,i,u\na,5,3,2\nb,6,4,1\n,7,4,1\n",
        "u,i,t\nann,b,5\nÉva,a,1\nann,é,4\nB,b,5\n10,b,5\n9,b,5\n",
        "u,i,t\n-5,0,-3\n3,-0,+4\n-5,7,-9\n",
        "u,i,t\n9999999999999999999,1,2\n1,999999999999999999,2\n",
        "u,i,t\n1,1,-9223372036854775807\n1,2,9223372036854775807\n0,3,0\n",
        "u,i,t\n1,2,2019-01-02\n4,5,2019-01-01T00:00:00\n",
        "u,i,t\n1,2,3.0\n",
        "u,i,t\n1,,3\n",
        "u,i,t\n1,2,3\n4,5\n",
        "u,i,t\n1,2,3\n1,2,3,4\n",
        'u,i,t\n"1,2,3\n4,5,6\n',
        "u,i,t\n",
        "",
        "u,i\n1,2\n",
        "u,i,t,t\n1,2,3,4\n",
    ],
    ids=repr,
)
def test_of_any_file_what_a_log_makes_of_it(
    content: str, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(content.encode())
    assert outcome(scan_sequences, path, **COLUMNS) == outcome(by_a_log, path)


def test_malformed_lines_are_left_out_on_request(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("u,i,t\n1,2,3\n1,2,soon\n1,2,3,4\n2,3,4\n")
    with pytest.raises(MalformedFileError, match=r"log\.csv, line 3: column 't'"):
        scan_sequences(path, **COLUMNS)
    with pytest.warns(UserWarning, match="2 of .* line 3") as caught:
        found = outcome(scan_sequences, path, **COLUMNS, on_malformed="skip")
    assert caught[0].filename == __file__
    path.write_text("u,i,t\n1,2,3\n2,3,4\n")
    assert found == outcome(scan_sequences, path, **COLUMNS, on_malformed="skip")


FIELD = st.text('0123 -+a",\n\r\té', max_size=3)


@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    rows=st.lists(st.tuples(FIELD, FIELD, st.integers(-5, 5)), min_size=1, max_size=5),
    quoted=st.booleans(),
)
def test_of_any_fields_what_a_log_makes_of_them(
    rows: list, quoted: bool, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "log.csv"
    if quoted:
        pd.DataFrame(rows, columns=["u", "i", "t"]).to_csv(path, index=False)
    else:
        lines = [f"{u},{i},{t}" for u, i, t in rows]
        path.write_text("\n".join(["u,i,t", *lines]))
    assert outcome(scan_sequences, path, **COLUMNS) == outcome(by_a_log, path)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    log = generate_synthetic_log(num_users=300, num_items=400, mean_length=20, seed=3)
    table = log.interactions.sample(frac=1, random_state=0)
    # Few times: ties must keep the order of the rows.
    times = table["timestamp"] // 10**6
    return pd.DataFrame({"u": table["user_id"], "i": table["item_id"], "t": times})


KINDS: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "integers": lambda table: table,
    "strings": lambda table: table.assign(
        u=[f"user {u}" for u in table["u"]], i=[f"é{i}" for i in table["i"]]
    ),
    "sparse": lambda table: table.assign(u=table["u"] ** 6, i=-(table["i"] ** 5)),
    "nanoseconds": lambda table: table.assign(t=table["t"] * 10**15),
    "dates": lambda table: table.assign(t=pd.to_datetime(table["t"], unit="s")),
}


@pytest.mark.parametrize("suffix", [".csv", ".tsv.gz", ".parquet", ".jsonl"])
@pytest.mark.parametrize("kind", KINDS)
def test_whole_logs(
    suffix: str, kind: str, table: pd.DataFrame, tmp_path: pathlib.Path
) -> None:
    table = KINDS[kind](table)
    path = tmp_path / f"log{suffix}"
    if suffix == ".parquet":
        table.to_parquet(path, index=False)
    elif suffix == ".jsonl":
        table.to_json(path, orient="records", lines=True, date_format="iso")
    else:
        separator = "\t" if ".tsv" in suffix else ","
        table.to_csv(path, sep=separator, index=False)
    expected = outcome(
        lambda: build_sequences(read_interactions(table, **COLUMNS), min_length=15)
    )
    assert isinstance(expected, list)
    assert outcome(scan_sequences, path, **COLUMNS, min_length=15) == expected


def test_a_vocabulary_of_yours(table: pd.DataFrame, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "log.csv"
    table.to_csv(path, index=False)
    vocabulary = Vocabulary([5, 3, 10**9])
    sequences, returned = scan_sequences(path, **COLUMNS, vocabulary=vocabulary)
    assert returned is vocabulary
    assert set(sequences.item_ids) == {2, 3, 4}
    assert outcome(scan_sequences, path, **COLUMNS, vocabulary=vocabulary) == outcome(
        by_a_log, path, vocabulary=vocabulary
    )


def test_a_file_name_is_not_a_pattern(
    table: pd.DataFrame, tmp_path: pathlib.Path
) -> None:
    table.to_csv(tmp_path / "log1.csv", index=False)
    with pytest.raises(FileNotFoundError):
        scan_sequences(tmp_path / "log[12].csv", **COLUMNS)
    table.iloc[:5].to_csv(tmp_path / "log[12].csv", index=False)
    assert len(scan_sequences(tmp_path / "log[12].csv", **COLUMNS)[0].item_ids) == 5


@pytest.mark.parametrize("quote", ["", '"'])
def test_sequences_are_the_same_within_little_memory(
    quote: str, tmp_path: pathlib.Path
) -> None:
    rng = np.random.default_rng(0)
    users = rng.integers(0, 20_000, 400_000)
    lines = [f"{quote}u{user}{quote},{i % 97},{i % 50}" for i, user in enumerate(users)]
    path = tmp_path / "log.csv"
    path.write_text("\n".join(["u,i,t", *lines]))
    free = outcome(scan_sequences, path, **COLUMNS)
    assert isinstance(free, list)
    assert outcome(scan_sequences, path, **COLUMNS, memory_limit="200MB") == free


@pytest.mark.parametrize(
    ("limit", "error"),
    [
        ("much", ValueError),
        ("1", ValueError),
        (1000, ValueError),
        ("10KB", ValueError),
        (2.5e9, TypeError),
        (True, TypeError),
    ],
)
def test_limits_of_memory_are_checked(
    limit: Any, error: type[Exception], tmp_path: pathlib.Path
) -> None:
    with pytest.raises(error, match="memory_limit must be"):
        scan_sequences(tmp_path / "log.csv", **COLUMNS, memory_limit=limit)


def test_min_length_is_checked(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="min_length must be an integer of at least 1"):
        scan_sequences(tmp_path / "log.csv", **COLUMNS, min_length=0)


def test_blanks_before_ids_are_kept_in_all_rows(tmp_path: pathlib.Path) -> None:
    draw = random.Random(0)
    users = [f"{draw.randint(1, 999):>6}" for _ in range(100_000)]
    path = tmp_path / "log.csv"
    path.write_text(
        "u,i,t\n" + "".join(f"{user},7,{k}\n" for k, user in enumerate(users))
    )
    sequences, _ = scan_sequences(path, **COLUMNS)
    assert sequences.user_ids.tolist() == sorted(set(users))


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r"], ids=repr)
def test_quoted_line_breaks_wherever_the_file_is_cut_into_parts(
    line_break: str, tmp_path: pathlib.Path
) -> None:
    draw = random.Random(1)
    users = [f"a{line_break * draw.randint(0, 3)}b{k % 100}" for k in range(150_000)]
    rows = (f'"{user}",7,{k},"{"x" * 60}\n"' for k, user in enumerate(users))
    path = tmp_path / "log.csv"
    path.write_bytes(line_break.join(["u,i,t,text", *rows]).encode())
    sequences, _ = scan_sequences(path, **COLUMNS)
    assert sequences.user_ids.tolist() == sorted(set(users))
    assert len(sequences.item_ids) == len(users)


def test_joined_gzip_files_are_one(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "log.CSV.GZ"
    path.write_bytes(gzip.compress(b"u,i,t\n1,2,3\n") + gzip.compress(b"1,4,5\n"))
    sequences, _ = scan_sequences(path, **COLUMNS)
    assert sequences.timestamps.tolist() == [3, 5]


def test_packed_keys_sort_as_two_sorts_do() -> None:
    rng = np.random.default_rng(0)
    users = rng.integers(0, 5, 1000)
    items = pd.DataFrame({"item_id": [], "title": [], "categories": []})
    for low, high in ((0, 1), (-3, 4), (-(2**62), 2**62), (-(2**63), 2**63 - 1)):
        times = rng.integers(low, high, 1000, endpoint=high < 2**62)
        table = pd.DataFrame({"user_id": users, "item_id": 0, "timestamp": times})
        ours = build_sequences(InteractionLog(table, items))[0].timestamps
        np.testing.assert_array_equal(ours, times[np.lexsort((times, users))])
