"""Sequences by Apache Beam: the very files that one machine writes."""

import gzip
import pathlib
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest

from examples import prepare_with_beam
from tfrs_barlow.data import (
    MalformedFileError,
    Vocabulary,
    build_sequences,
    generate_synthetic_log,
    read_interactions,
    verify_sequences,
    write_sequences,
    write_sequences_with_beam,
)

COLUMNS = {"user_column": "u", "item_column": "i", "time_column": "t"}


@pytest.fixture
def beam() -> Any:
    return pytest.importorskip(
        "apache_beam", reason="Apache Beam is not installed: `make test-beam`."
    )


@pytest.fixture
def in_small_pieces(beam: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes even a small log one of many parts, batches and ranges."""
    from tfrs_barlow.data.records import beam_pipeline, beam_reading

    monkeypatch.setattr(beam_reading, "_RANGE_SIZE", 300)
    monkeypatch.setattr(beam_reading, "_BATCH_SIZE", 100)
    monkeypatch.setattr(beam_pipeline, "_RANGES", 5)


@pytest.fixture
def table() -> pd.DataFrame:
    """A log with many events of one user at one time."""
    log = generate_synthetic_log(
        num_users=40, num_items=30, mean_length=12
    ).interactions
    table = log[["user_id", "item_id", "timestamp"]].sample(frac=1, random_state=0)
    return pd.DataFrame(
        {"u": table.user_id, "i": table.item_id, "t": table.timestamp // 10**6 % 7}
    )


def by_one_machine(
    source: Any,
    path: Any,
    *,
    length: int | None = None,
    shards: int | None = None,
    **options: Any,
) -> None:
    log = read_interactions(source, **COLUMNS)
    sequences, vocabulary = build_sequences(log, **options)
    if length is not None:
        sequences = sequences.most_recent(length)
    write_sequences(sequences, path, vocabulary=vocabulary, shards=shards)


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def assert_equal_folders(ours: Any, expected: Any) -> None:
    ours, expected = contents(ours), contents(expected)
    assert ours.keys() == expected.keys()
    for name, content in expected.items():
        assert ours[name] == content, name


class TestEqualFiles:
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"shards": 4, "min_length": 9},
            {"length": 5, "hot_key_fanout": 3, "min_length": 6},
            {"vocabulary": Vocabulary([1, 5, 9, 99]), "shards": 40},
        ],
    )
    def test_whatever_the_options(
        self,
        options: dict[str, Any],
        table: pd.DataFrame,
        tmp_path: pathlib.Path,
        in_small_pieces: None,
    ) -> None:
        table.to_csv(tmp_path / "log.csv", index=False)
        hot_key_fanout = options.get("hot_key_fanout")
        local = {k: v for k, v in options.items() if k != "hot_key_fanout"}
        by_one_machine(table, tmp_path / "a", **local)
        write_sequences_with_beam(
            str(tmp_path / "log.csv"),
            tmp_path / "b",
            **COLUMNS,
            **local,
            hot_key_fanout=hot_key_fanout,
        )
        assert_equal_folders(tmp_path / "b", tmp_path / "a")
        verify_sequences(tmp_path / "b")

    def test_files_count_as_one_in_the_order_of_their_paths(
        self, table: pd.DataFrame, tmp_path: pathlib.Path, in_small_pieces: None
    ) -> None:
        # Among strings, integers are strings; in which part they are does not matter.
        table = table.astype({"i": str}).reset_index(drop=True)
        table.loc[len(table) - 1, "i"] = "011"
        for number in range(4):
            part = table.iloc[100 * number : 100 * (number + 1) if number < 3 else None]
            part.to_csv(tmp_path / f"{number}.tsv", sep="\t", index=False)
        by_one_machine(table, tmp_path / "a", shards=3)
        write_sequences_with_beam(
            str(tmp_path / "*.tsv"), tmp_path / "b", **COLUMNS, shards=3
        )
        assert_equal_folders(tmp_path / "b", tmp_path / "a")

    @pytest.mark.parametrize("suffix", [".parquet", ".csv.gz"])
    def test_other_files(
        self,
        suffix: str,
        table: pd.DataFrame,
        tmp_path: pathlib.Path,
        in_small_pieces: None,
    ) -> None:
        table["u"] = "é" + table["u"].astype(str)
        table["t"] = pd.to_datetime(table["t"], unit="D", utc=True)
        path = tmp_path / f"log{suffix}"
        if suffix == ".parquet":
            table.to_parquet(path, row_group_size=50, index=False)
        else:
            table.to_csv(path, index=False)
        by_one_machine(path, tmp_path / "a")
        write_sequences_with_beam(str(path), tmp_path / "b", **COLUMNS)
        assert_equal_folders(tmp_path / "b", tmp_path / "a")

    def test_movielens(
        self, ml_latest_small_dir: pathlib.Path, tmp_path: pathlib.Path, beam: Any
    ) -> None:
        log = str(ml_latest_small_dir / "ratings.csv")
        columns = dict(zip(COLUMNS, ["userId", "movieId", "timestamp"], strict=True))
        sequences, vocabulary = build_sequences(read_interactions(log, **columns))
        write_sequences(sequences, tmp_path / "a", vocabulary=vocabulary, shards=5)
        flags = [f"--{name}={value}" for name, value in columns.items()]
        prepare_with_beam.main(
            [
                *[f"--log={log}", f"--output={tmp_path / 'b'}", "--shards=5", *flags],
                *["--runner=DirectRunner", "--direct_num_workers=1"],
            ]
        )
        assert_equal_folders(tmp_path / "b", tmp_path / "a")

    @pytest.mark.parametrize(
        "events", [3_000, pytest.param(1_000_000, marks=pytest.mark.slow)]
    )
    def test_one_user_with_most_events(
        self, events: int, tmp_path: pathlib.Path, beam: Any
    ) -> None:
        rng = np.random.default_rng(0)
        users = np.append(np.full(events, 7), rng.integers(0, 100, events // 20))
        table = pd.DataFrame(
            {
                "u": rng.permutation(users),
                "i": rng.integers(0, 5_000, len(users)),
                "t": rng.integers(0, 1_000, len(users)),
            }
        )
        table.to_csv(tmp_path / "log.csv", index=False)
        for name, length in (("all", None), ("some", 200)):
            local, by_beam = tmp_path / f"{name} a", tmp_path / f"{name} b"
            by_one_machine(table, local, length=length, shards=2)
            write_sequences_with_beam(
                str(tmp_path / "log.csv"), by_beam, **COLUMNS, length=length, shards=2
            )
            assert_equal_folders(by_beam, local)


class TestMostRecent:
    @pytest.mark.parametrize("length", [None, 50])
    def test_a_user_takes_few_arrays_of_bounded_length(
        self, length: int | None, beam: Any
    ) -> None:
        from tfrs_barlow.data.records.beam_pipeline import _MostRecent

        combine = _MostRecent(length)
        rng = np.random.default_rng(0)
        events = rng.integers(0, 10**6, [3, 20_000])
        accumulators = [combine.create_accumulator() for _ in range(3)]
        most = 0
        for place in range(20_000):
            accumulator = accumulators[place % 3]
            one = events[:, place : place + 1]
            accumulators[place % 3] = combine.add_input(accumulator, one)
            most = max(most, len(accumulator[1]))
        assert most <= 15
        if length is not None:
            held = [sum(part.shape[1] for part in parts) for _, parts in accumulators]
            assert max(held) <= 2 * length
        merged = combine.merge_accumulators(map(combine.compact, accumulators))
        found = combine.extract_output(merged)
        expected = events[:, np.lexsort(events)][:, -(length or 0) :]
        assert found.total == 20_000
        np.testing.assert_array_equal(found.item_ids, expected[0])
        np.testing.assert_array_equal(found.timestamps, expected[2])


class TestErrors:
    @pytest.mark.parametrize(
        ("content", "error", "message"),
        [
            ("u,i,t\n1,2,3\n1,2\n", MalformedFileError, r"log\.csv, line 3"),
            ("u,i,t\n1,2,3,4\n", MalformedFileError, r"log\.csv, line 2"),
            ("u,i,t\n1,2,x\n", MalformedFileError, r"log\.csv, line 2"),
            ("u,i,when\n1,2,3\n", ValueError, r"time_column must name a column of .*"),
            ("u,i,t\n", ValueError, "the log must hold at least one row"),
            (
                "u,i,t\n" + "1,2,3\n" * 100 + "1,2,2026-01-01\n" * 100,
                ValueError,
                "all integers or all dates|expected an integer, as in other rows",
            ),
            (
                "u,i,t\n" + "1,2,3\n" * 200 + "1,2,3,4\n",
                MalformedFileError,
                r"log\.csv, first line and from byte \d+, line \d+",
            ),
        ],
    )
    def test_of_the_log(
        self,
        content: str,
        error: type[Exception],
        message: str,
        tmp_path: pathlib.Path,
        in_small_pieces: None,
    ) -> None:
        (tmp_path / "log.csv").write_text(content)
        with pytest.raises(error, match=message):
            write_sequences_with_beam(
                str(tmp_path / "log.csv"), tmp_path / "it", **COLUMNS
            )
        assert not (tmp_path / "it" / "manifest.json").exists()

    def test_a_truncated_archive(
        self, table: pd.DataFrame, tmp_path: pathlib.Path, beam: Any
    ) -> None:
        packed = gzip.compress(table.to_csv(index=False).encode())
        (tmp_path / "log.csv.gz").write_bytes(packed[:-20])
        with pytest.raises(MalformedFileError, match=r"log\.csv\.gz cannot be read"):
            write_sequences_with_beam(
                str(tmp_path / "log.csv.gz"), tmp_path / "it", **COLUMNS
            )

    def test_no_file(self, tmp_path: pathlib.Path, beam: Any) -> None:
        with pytest.raises(FileNotFoundError, match=r"but '.*nothing.csv' names no"):
            write_sequences_with_beam(
                str(tmp_path / "nothing.csv"), tmp_path / "it", **COLUMNS
            )

    def test_a_file_of_another_kind(self, tmp_path: pathlib.Path, beam: Any) -> None:
        (tmp_path / "log.json").write_text("{}")
        with pytest.raises(ValueError, match=r"end in .*, but one is .*log.json"):
            write_sequences_with_beam(
                str(tmp_path / "log.json"), tmp_path / "it", **COLUMNS
            )

    def test_no_user_is_left(self, tmp_path: pathlib.Path, beam: Any) -> None:
        (tmp_path / "log.csv").write_text("u,i,t\n1,2,3\n")
        with pytest.raises(ValueError, match="at least one user with min_length"):
            write_sequences_with_beam(
                str(tmp_path / "log.csv"), tmp_path / "it", **COLUMNS, min_length=2
            )

    def test_more_shards_than_users(self, tmp_path: pathlib.Path, beam: Any) -> None:
        (tmp_path / "log.csv").write_text("u,i,t\n1,2,3\n")
        with pytest.raises(ValueError, match=r"shards must be at most .* 1, .* is 2"):
            write_sequences_with_beam(
                str(tmp_path / "log.csv"), tmp_path / "it", **COLUMNS, shards=2
            )

    @pytest.mark.parametrize(
        "argument", ["min_length", "length", "shards", "hot_key_fanout"]
    )
    def test_bad_arguments_are_named(
        self, argument: str, tmp_path: pathlib.Path
    ) -> None:
        with pytest.raises(
            ValueError, match=f"{argument} must be an integer of at least 1"
        ):
            write_sequences_with_beam(
                "x.csv", tmp_path / "it", **COLUMNS, **{argument: 0}
            )

    def test_without_beam(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in list(sys.modules):
            if name.startswith(("apache_beam", "tfrs_barlow.data.records.beam_")):
                monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "apache_beam", None)
        with pytest.raises(ImportError, match=r"Beam .*install 'tfrs-barlow\[beam\]'"):
            write_sequences_with_beam("x.csv", "it", **COLUMNS)


class TestFolders:
    def test_what_an_interrupted_pipeline_left_is_deleted(
        self, tmp_path: pathlib.Path, beam: Any
    ) -> None:
        (tmp_path / "log.csv").write_text("u,i,t\n1,2,3\n")
        folder = tmp_path / "it"
        folder.mkdir()
        shard = "sequences-00000-of-00009.tfrecord"
        for name in (shard, f"{shard}.{'0a' * 16}.partial", "vocabulary.json.partial"):
            (folder / name).touch()
        write_sequences_with_beam(str(tmp_path / "log.csv"), folder, **COLUMNS)
        by_one_machine(tmp_path / "log.csv", tmp_path / "a")
        assert_equal_folders(folder, tmp_path / "a")

    def test_one_machine_can_write_where_a_pipeline_was_interrupted(
        self, tmp_path: pathlib.Path
    ) -> None:
        name = f"sequences-00000-of-00009.tfrecord.{'0a' * 16}.partial"
        (tmp_path / name).touch()
        table = pd.DataFrame({"u": [1], "i": [2], "t": [3]})
        by_one_machine(table, tmp_path)
        assert len(contents(tmp_path)) == 3

    @pytest.mark.parametrize("name", ["manifest.json", "photo.jpg"])
    def test_other_files_are_left_alone(
        self, name: str, tmp_path: pathlib.Path, beam: Any
    ) -> None:
        (tmp_path / name).touch()
        with pytest.raises(FileExistsError, match=str(tmp_path)):
            write_sequences_with_beam("x.csv", tmp_path, **COLUMNS)
        assert [file.name for file in tmp_path.iterdir()] == [name]

    def test_a_shard_is_published_once(self, tmp_path: pathlib.Path, beam: Any) -> None:
        """A worker may fail right after it has renamed the file, and be repeated."""
        from tfrs_barlow.data.records.beam_pipeline import _publish
        from tfrs_barlow.data.records.folder import Shard

        one, other = (
            Shard(f"sequences-0000{number}-of-00002.tfrecord", 1, 1, 2, 3, "")
            for number in range(2)
        )
        (tmp_path / "mine.partial").write_bytes(b"abc")
        for _ in range(2):
            assert _publish(("mine.partial", one), str(tmp_path)) == one
        assert contents(tmp_path) == {one.name: b"abc"}
        with pytest.raises(beam.io.filesystem.BeamIOError, match=r"lost\.partial"):
            _publish(("lost.partial", other), str(tmp_path))
