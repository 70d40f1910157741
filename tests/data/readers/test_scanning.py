"""Sequences straight from a file: by polars what they are by pandas, bit for bit."""

import importlib
import pathlib
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfrs_barlow.data import (
    MalformedFileError,
    Vocabulary,
    build_sequences,
    generate_synthetic_log,
    read_interactions,
    scan_sequences,
)
from tfrs_barlow.data.readers import scanning

COLUMNS = {"user_column": "u", "item_column": "i", "time_column": "t"}


@pytest.fixture
def polars():
    return pytest.importorskip("polars")


def outcome(read, *arguments, **options):
    """What a call returns or raises, in a form to compare."""
    try:
        sequences, vocabulary = read(*arguments, **options)
    except (ImportError, OSError, TypeError, ValueError) as error:
        return type(error), str(error)
    arrays = [
        sequences.user_ids,
        sequences.item_ids,
        sequences.timestamps,
        sequences.row_splits,
        vocabulary.tokens,
    ]
    return [(array.dtype, array.tolist()) for array in arrays]


def by_pandas(path, **options):
    return build_sequences(read_interactions(path, **COLUMNS), **options)


def reads_by_polars(path):
    return scanning._read_by_polars(pathlib.Path(path), "u", "i", "t") is not None


@pytest.mark.parametrize(
    ("content", "by_polars"),
    [
        ("u,i,t,x\n2,3,5,a\n1,4,6,b\n2,2,5,c\n2,9,4,d", True),
        ("x,t,i,u\na,5,3,2\nb,6,4,1\n,7,4,1\n", True),
        ("u,i,t\r\n1,2,3\r\n4,5,6\r\n", True),
        ("\ufeffu,i,t\n1,2,3\n", True),
        ('u,i,t\n"1","2","3"\n"a""b",5,6\n"c\nd,",5,6\n', True),
        ("u,i,t\nann,b,5\nÉva,a,1\nann,é,4\nB,b,5\n10,b,5\n9,b,5\n", True),
        ("u,i,t\n01,2,3\n1, 2,4\n", True),
        ("u,i,t\n-5,0,-3\n3,-0,+4\n-5,7,-9\n", True),
        ("u,i,t\n9999999999999999999,1,2\n1,999999999999999999,2\n", True),
        ("u,i,t\n1,1,-9223372036854775807\n1,2,9223372036854775807\n0,3,0\n", True),
        ("u,i,t\nNA,null,1\n#x,None,2\n", True),
        # These are left to pandas, or are an error as it says.
        ("u,i,t\r1,2,3\r4,5,6\r", False),
        ("u,i,t\n1,2,3\n\n4,5,6\n", False),
        ("u,i,t\n1,2,2019-01-02\n4,5,2019-01-01T00:00:00\n", False),
        ("u,i,t\n1,2,3.0\n", False),
        ("u,i,t\n1,,3\n", False),
        ('u,i,t\n1,"",3\n', False),
        ("u,i,t\n1,2,3\n4,5\n", False),
        ("u,i,t,x\n1,2,3,a\n4,5,6,b,c\n", False),
        ("x,u,i,t\na,1,2,3\na,b,4,5,6\n", False),
        ("u,i,t\n1,2,3\n1,2,3,4\n", False),
        ("u,i,t\n1,2,3,\n4,5,6,\n", False),
        ('u,i,t\n1a"b,2,3\n4,5,6\n', None),
        ('u,i,t\n"1,2,3\n4,5,6\n', False),
        ("u,i,t\n", False),
        ("", False),
        ("u,i\n1,2\n", False),
        ("u,i,t,t\n1,2,3,4\n", False),
        ("u,i,t\n1,7\r,1\n2,7,3\n", False),
        ("u,i,t\r\n1,7,1\r\n2,7,3\r\n", True),
    ],
)
def test_of_any_file_what_pandas_makes_of_it(content, by_polars, tmp_path, polars):
    path = tmp_path / "log.csv"
    path.write_bytes(content.encode())
    assert outcome(scan_sequences, path, **COLUMNS) == outcome(by_pandas, path)
    if by_polars is not None:
        assert reads_by_polars(path) == by_polars


def test_bytes_that_are_no_text(tmp_path, polars):
    path = tmp_path / "log.csv"
    path.write_bytes(b"u,i,t\n\xe9,2,3\n")
    assert outcome(scan_sequences, path, **COLUMNS) == outcome(by_pandas, path)


def test_malformed_lines_are_left_out_on_request(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("u,i,t\n1,2,3\n1,2,soon\n1,2,3,4\n2,3,4\n")
    with pytest.raises(
        MalformedFileError, match=r"log\.csv, line 4: expected 3 fields"
    ):
        scan_sequences(path, **COLUMNS)
    with pytest.warns(UserWarning, match="2 of .* line 3") as caught:
        found = outcome(scan_sequences, path, **COLUMNS, on_malformed="skip")
    assert caught[0].filename == __file__
    path.write_text("u,i,t\n1,2,3\n2,3,4\n")
    assert found == outcome(scan_sequences, path, **COLUMNS, on_malformed="skip")
    with pytest.raises(ValueError, match=r"on_malformed must be .* it is 'ignore'"):
        scan_sequences(path, **COLUMNS, on_malformed="ignore")


FIELD = st.text('0123 -+a",\n\r\té', max_size=3)


@settings(
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    rows=st.lists(st.tuples(FIELD, FIELD, st.integers(-5, 5)), min_size=1, max_size=5),
    quoted=st.booleans(),
)
def test_of_any_fields_what_pandas_makes_of_them(rows, quoted, tmp_path, polars):
    path = tmp_path / "log.csv"
    table = pd.DataFrame(rows, columns=["u", "i", "t"])
    if quoted:
        table.to_csv(path, index=False)
    else:
        lines = [f"{u},{i},{t}" for u, i, t in rows]
        path.write_text("\n".join(["u,i,t", *lines]))
    assert outcome(scan_sequences, path, **COLUMNS) == outcome(by_pandas, path)


@pytest.fixture(scope="module")
def table():
    log = generate_synthetic_log(num_users=300, num_items=400, mean_length=20, seed=3)
    table = log.interactions.sample(frac=1, random_state=0)
    # Few times: ties must keep the order of the rows.
    times = table["timestamp"] // 10**6
    return pd.DataFrame({"u": table["user_id"], "i": table["item_id"], "t": times})


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".csv.gz"])
@pytest.mark.parametrize("kind", ["integers", "strings", "sparse", "nanoseconds"])
def test_whole_logs(suffix, kind, table, tmp_path, polars):
    if kind == "strings":
        table = table.assign(u=[f"user {u}" for u in table["u"]], i=table["i"].map(str))
    elif kind == "sparse":
        table = table.assign(u=table["u"] ** 6, i=-(table["i"] ** 5))
    elif kind == "nanoseconds":
        table = table.assign(t=table["t"] * 10**15)
    path = tmp_path / f"log{suffix}"
    if suffix == ".parquet":
        table.to_parquet(path, index=False)
    else:
        separator = "\t" if suffix == ".tsv" else ","
        table.to_csv(path, sep=separator, index=False)
    options = {"vocabulary": None, "min_length": 15}
    expected = outcome(by_pandas, path, **options)
    assert isinstance(expected, list)
    assert outcome(scan_sequences, path, **COLUMNS, **options) == expected
    assert reads_by_polars(path) == (suffix != ".csv.gz")


def test_a_vocabulary_of_yours(table, tmp_path, polars):
    path = tmp_path / "log.csv"
    table.to_csv(path, index=False)
    vocabulary = Vocabulary([5, 3, 10**9])
    sequences, returned = scan_sequences(path, **COLUMNS, vocabulary=vocabulary)
    assert returned is vocabulary
    assert set(sequences.item_ids) == {2, 3, 4}
    assert outcome(scan_sequences, path, **COLUMNS, vocabulary=vocabulary) == outcome(
        by_pandas, path, vocabulary=vocabulary
    )


def test_parquet_of_other_types(table, tmp_path, polars):
    path = tmp_path / "log.parquet"
    table.assign(t=pd.to_datetime(table["t"], unit="s")).to_parquet(path)
    assert outcome(scan_sequences, path, **COLUMNS) == outcome(by_pandas, path)
    table.assign(u=table["u"].astype("uint8")).to_parquet(path)
    assert outcome(scan_sequences, path, **COLUMNS) == outcome(by_pandas, path)


def test_without_polars(table, tmp_path, monkeypatch):
    path = tmp_path / "log.csv"
    table.to_csv(path, index=False)
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(ImportError):
        importlib.import_module("polars")
    assert outcome(scan_sequences, path, **COLUMNS) == outcome(by_pandas, path)


def test_a_file_name_is_no_pattern(table, tmp_path, polars):
    table.to_csv(tmp_path / "log1.csv", index=False)
    with pytest.raises(FileNotFoundError):
        scan_sequences(tmp_path / "log[12].csv", **COLUMNS)


def test_min_length_is_checked(tmp_path):
    with pytest.raises(ValueError, match="min_length must be an integer of at least 1"):
        scan_sequences(tmp_path / "log.csv", **COLUMNS, min_length=0)


def test_packed_keys_sort_as_two_sorts_do():
    rng = np.random.default_rng(0)
    users = rng.integers(0, 5, 1000)
    for low, high in ((0, 1), (-3, 4), (-(2**62), 2**62), (-(2**63), 2**63 - 1)):
        times = rng.integers(low, high, 1000, endpoint=high < 2**62)
        log = pd.DataFrame({"user_id": users, "item_id": 0, "timestamp": times})
        ours = build_sequences(_log(log))[0].timestamps
        np.testing.assert_array_equal(ours, times[np.lexsort((times, users))])


def _log(interactions):
    from tfrs_barlow.data import InteractionLog

    items = pd.DataFrame({"item_id": [], "title": [], "categories": []})
    return InteractionLog(interactions, items)
