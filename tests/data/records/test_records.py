"""Written sequences: what is read is what was written, or an error names the damage."""

import functools
import itertools
import json
import os
import pathlib
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfrs_barlow._checksum import checksum
from tfrs_barlow.data import (
    MalformedFileError,
    UserSequences,
    Vocabulary,
    load_sequences,
    read_sequences,
    training_batches,
    verify_sequences,
    write_sequences,
)
from tfrs_barlow.data.records import reading, writing

VOCABULARY = Vocabulary(range(100))


def make_sequences(lengths: list[int], users: list | None = None) -> UserSequences:
    """Row u has the items 10 u + 3, 10 u + 4, ...: an item shows its user and place."""
    users = range(0, 7 * len(lengths), 7) if users is None else users
    histories, times = {}, {}
    for row, (user, length) in enumerate(zip(users, lengths, strict=True)):
        histories[user] = range(10 * row + 3, 10 * row + 3 + length)
        times[user] = range(-2, length - 2)
    return UserSequences.from_lists(histories, timestamps=times)


SEQUENCES = make_sequences([5, 1, 2, 8, 0, 3, 9, 1, 4])
TRAINABLE = [0, 2, 3, 5, 6, 8]


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    write_sequences(SEQUENCES, tmp_path / "it", vocabulary=VOCABULARY, shards=3)
    return tmp_path / "it"


@pytest.fixture
def in_small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes even a small folder one of many blocks and pools."""
    monkeypatch.setattr(reading, "_RECORDS_PER_BLOCK", 2)
    monkeypatch.setattr(reading, "_RECORDS_SHUFFLED", 4)
    monkeypatch.setattr(reading, "_SHARDS_AT_ONCE", 2)


def assert_equal_sequences(ours: Any, expected: Any) -> None:
    for name in ("user_ids", "item_ids", "timestamps", "row_splits"):
        column = getattr(ours, name)
        assert column.dtype == getattr(expected, name).dtype
        np.testing.assert_array_equal(column, getattr(expected, name))


def damage(path: Any, place: int = -20) -> None:
    """Changes one bit, and no length."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def names_in(folder: pathlib.Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def take(dataset: tf.data.Dataset, count: int) -> list:
    return list(itertools.islice(dataset, count))


def rows(history: Any) -> list:
    """The histories of a batch of any layout, as lists."""
    return [[i for i in row if i] for row in tf.RaggedTensor.to_list(ragged(history))]


def ragged(history: Any) -> tf.RaggedTensor:
    if isinstance(history, tf.RaggedTensor):
        return history
    return tf.RaggedTensor.from_tensor(history, ragged_rank=1)


class TestRoundTrip:
    @pytest.mark.parametrize("shards", [None, 1, 4, 9])
    def test_whole_folders(
        self, shards: int | None, tmp_path: pathlib.Path, in_small_pieces: None
    ) -> None:
        write_sequences(SEQUENCES, tmp_path, vocabulary=VOCABULARY, shards=shards)
        ours, vocabulary = load_sequences(tmp_path)
        assert_equal_sequences(ours, SEQUENCES)
        assert vocabulary == VOCABULARY
        assert len(list(tmp_path.glob("*.tfrecord"))) == (shards or 1)

    def test_strings(self, tmp_path: pathlib.Path) -> None:
        sequences = make_sequences([2, 0, 1, 3], ["zoë", "", "a\nb", "007"])
        names = Vocabulary([f"item\n{n}é" for n in range(40)])
        write_sequences(sequences, tmp_path, vocabulary=names)
        ours, vocabulary = load_sequences(tmp_path)
        assert_equal_sequences(ours, sequences)
        assert vocabulary == names

    def test_extremes(self, tmp_path: pathlib.Path) -> None:
        first, last = -(2**63), 2**63 - 1
        sequences = UserSequences.from_lists(
            {first: [2, 102], last: []}, timestamps={first: [first, last], last: []}
        )
        write_sequences(sequences, tmp_path, vocabulary=VOCABULARY)
        assert_equal_sequences(load_sequences(tmp_path)[0], sequences)

    def test_equal_sequences_make_equal_files(
        self, folder: pathlib.Path, tmp_path: pathlib.Path
    ) -> None:
        write_sequences(SEQUENCES, tmp_path / "b", vocabulary=VOCABULARY, shards=3)
        for file in folder.iterdir():
            assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()

    def test_the_schema_that_the_documentation_names(
        self, folder: pathlib.Path
    ) -> None:
        shard = folder / "sequences-00000-of-00003.tfrecord"
        examples = [
            tf.train.Example.FromString(record.numpy())
            for record in tf.data.TFRecordDataset(str(shard))
        ]
        # The user with one event is last of the three.
        features = [dict(example.features.feature) for example in examples]
        assert [f["row"].int64_list.value[0] for f in features] == [0, 2, 1]
        assert [f["user_id"].int64_list.value[0] for f in features] == [0, 14, 7]
        assert features[1]["item_id"].int64_list.value == [23, 24]
        assert features[1]["timestamp"].int64_list.value == [-2, -1]
        assert set(features[0]) == {"user_id", "row", "item_id", "timestamp"}
        manifest = json.loads((folder / "manifest.json").read_text())
        assert (manifest["users"], manifest["events"]) == (9, 33)
        assert json.loads((folder / "vocabulary.json").read_text()) == list(range(100))


class TestReadSequences:
    def test_every_user_once_with_all_columns(self, folder: pathlib.Path) -> None:
        batches = list(read_sequences(folder, batch_size=4))
        assert [len(batch["user_id"]) for batch in batches] == [4, 4, 1]
        found = {}
        for batch in batches:
            columns = [batch[name] for name in ("row", "user_id")]
            columns += [batch[name].to_list() for name in ("item_id", "timestamp")]
            for row, *rest in zip(*columns, strict=True):
                found[int(row)] = (int(rest[0]), *rest[1:])
        assert found == {
            row: (
                row * 7,
                (10 * row + 3 + np.arange(n)).tolist(),
                (np.arange(n) - 2).tolist(),
            )
            for row, n in enumerate(SEQUENCES.lengths)
        }

    def test_the_most_recent_events(self, folder: pathlib.Path) -> None:
        batch = next(iter(read_sequences(folder, batch_size=2, length=2)))
        assert batch["item_id"].to_list() == [[6, 7], [23, 24]]
        assert batch["timestamp"].to_list() == [[1, 2], [-2, -1]]
        assert batch["item_id"].dtype == tf.int32

    @pytest.mark.parametrize("argument", ["batch_size", "length"])
    def test_bad_arguments_are_named(self, argument: str, folder: pathlib.Path) -> None:
        with pytest.raises(
            ValueError, match=f"{argument} must be an integer of at least 1"
        ):
            read_sequences(folder, **{"batch_size": 2, argument: 0})


@pytest.mark.parametrize("layout", ["padded", "bucketed", "ragged"])
class TestTrainingBatches:
    def test_a_history_is_what_came_right_before_its_label(
        self, layout: str, folder: pathlib.Path
    ) -> None:
        batches = training_batches(folder, batch_size=7, length=3, layout=layout)
        for batch in take(batches, 20):
            for history, label in zip(
                rows(batch["history"]), batch["label"].numpy(), strict=True
            ):
                start = max((label - 3) // 10 * 10 + 3, label - 3)
                assert history == list(range(start, label))
                assert history

    def test_an_epoch_visits_every_trainable_user_once(
        self, layout: str, folder: pathlib.Path, in_small_pieces: None
    ) -> None:
        # Batches of four of six users; sixteen batches are sorted together.
        batches = training_batches(folder, batch_size=4, length=3, layout=layout)
        users = np.concatenate([(b["label"] - 3) // 10 for b in take(batches, 96)])
        if layout == "bucketed":
            _, counts = np.unique(users, return_counts=True)
            assert counts.tolist() == [64] * 6
        else:
            epochs = users.reshape(-1, 6)
            assert (np.sort(epochs, axis=1) == TRAINABLE).all()
            assert len(np.unique(epochs, axis=0)) > 20, "Each has its own order."
            # No user is bound to a place, though the files have an order.
            assert all(len(set(place)) == 6 for place in epochs.T)

    def test_resumes_at_the_step_that_a_variable_holds(
        self, layout: str, folder: pathlib.Path, in_small_pieces: None
    ) -> None:
        step = tf.Variable(0, dtype=tf.int64)
        batches = training_batches(
            folder, batch_size=4, length=3, layout=layout, seed=5, first_step=step
        )
        whole_run = take(batches, 24)
        for first in (2, 16, 21):
            step.assign(first)
            tf.random.set_seed(first)  # Which must not matter.
            for batch, expected in zip(
                take(batches, 3), whole_run[first : first + 3], strict=True
            ):
                assert rows(batch["history"]) == rows(expected["history"])
                np.testing.assert_array_equal(batch["label"], expected["label"])

    def test_seeds_differ(self, layout: str, folder: pathlib.Path) -> None:
        one, other = (
            training_batches(folder, batch_size=8, length=3, layout=layout, seed=seed)
            for seed in (1, 2)
        )
        labels = [
            [batch["label"].numpy() for batch in take(b, 5)] for b in (one, other)
        ]
        assert not np.array_equal(*labels)

    def test_a_damaged_file_is_named_while_it_is_read(
        self, layout: str, folder: pathlib.Path
    ) -> None:
        batches = training_batches(folder, batch_size=4, length=3, layout=layout)
        damage(folder / "sequences-00001-of-00003.tfrecord", place=30)
        with pytest.raises(
            tf.errors.InvalidArgumentError,
            match=r"sequences-00001-of-00003.tfrecord is damaged: only 0 of 2 records",
        ):
            take(batches, 10)


READERS: list[Callable[[pathlib.Path], Any]] = [
    verify_sequences,
    load_sequences,
    functools.partial(read_sequences, batch_size=2),
    functools.partial(training_batches, batch_size=2, length=3),
]


class TestDamage:
    def test_of_a_record(self, folder: pathlib.Path) -> None:
        name = "sequences-00002-of-00003.tfrecord"
        opened = read_sequences(folder, batch_size=2)
        damage(folder / name)
        for read in READERS:
            with pytest.raises(
                MalformedFileError, match=f"written: {name} has changed"
            ):
                read(folder)
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"{name} is damaged"):
            list(opened)

    def test_of_a_record_whose_checksum_was_adapted(self, folder: pathlib.Path) -> None:
        """The message names no operation of TensorFlow."""
        path = folder / "sequences-00002-of-00003.tfrecord"
        damage(path)
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["shards"][2]["sha256"] = checksum(path)
        del manifest["sha256"]  # As before manifests had one.
        (folder / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(MalformedFileError) as error:
            load_sequences(folder)
        message = str(error.value)
        assert re.match(f"{folder} cannot be read: .*{path.name} is damaged", message)
        assert "{{" not in message

    def test_of_a_length_that_would_end_the_process(self, folder: pathlib.Path) -> None:
        """A length of 2**40, with the right CRC."""
        path = folder / "sequences-00000-of-00003.tfrecord"
        forged = bytes.fromhex("0000000000010000 aa3d6be4")
        path.write_bytes(forged + path.read_bytes()[12:])
        for read in READERS:
            with pytest.raises(MalformedFileError, match=f"{path.name} has changed"):
                read(folder)

    @pytest.mark.parametrize("read", READERS)
    def test_of_lengths(
        self, read: Callable[[pathlib.Path], object], folder: pathlib.Path
    ) -> None:
        first, second, third = sorted(folder.glob("*.tfrecord"))
        # At the end of a record: TensorFlow alone would not notice.
        second.write_bytes(b"")
        third.write_bytes(third.read_bytes() + b"more")
        first.unlink()
        with pytest.raises(MalformedFileError) as error:
            read(folder)
        message = str(error.value)
        assert f"{first.name} is missing, {second.name} has 0 bytes instead" in message
        assert f"{third.name} has" in message

    def test_of_the_vocabulary(self, folder: pathlib.Path) -> None:
        path = folder / "vocabulary.json"
        path.write_text(path.read_text().replace("17", "71"))
        for read in (verify_sequences, load_sequences):
            with pytest.raises(
                MalformedFileError, match=r"vocabulary.json has changed"
            ):
                read(folder)

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ('"format": 1', '"format": 2', "format 1, but it has 2: another version"),
            ('"format"', '"form"', "cannot be read: KeyError"),
            ('"shards"', '"parts"', "cannot be read: KeyError"),
            ('"sha256"', '"md5"', "cannot be read: TypeError"),
            ('"name": "', '"name": "../', "cannot be read: .*no name of a shard"),
            ('"user_type": "int64"', '"user_type": "half"', "no type of users"),
            ("{", "", "cannot be read: JSONDecodeError"),
            # Counts that would make readers return other users, silently.
            ('"users": 3', '"users": 2', "users is 9, but shards have 6"),
            ('"events": 33', '"events": 32', "events is 32, but shards have 33"),
            ('"trainable_users": 2', '"trainable_users": 1', "trainable_users is 6,"),
            ('"trainable_users": 2', '"trainable_users": 4', "impossible counts of"),
            ("00001-of-00003", "00000-of-00003", "the shards are not those of 3"),
        ],
    )
    def test_of_the_manifest(
        self, old: str, new: str, message: str, folder: pathlib.Path
    ) -> None:
        path = folder / "manifest.json"
        path.write_text(path.read_text().replace(old, new))
        with pytest.raises(MalformedFileError, match=f"{path}.*{message}"):
            load_sequences(folder)

    def test_of_two_shards_of_different_folders(
        self, folder: pathlib.Path, tmp_path: pathlib.Path
    ) -> None:
        """Each file is well formed, but some rows are missing and some are twice."""
        first, _, third = sorted(folder.glob("*.tfrecord"))
        manifest = json.loads((folder / "manifest.json").read_text())
        third.write_bytes(first.read_bytes())
        shards = manifest["shards"]
        shards[2] = shards[0] | {"name": third.name}
        for name in ("users", "trainable_users", "events"):
            manifest[name] = sum(shard[name] for shard in shards)
        del manifest["sha256"]  # Folders of earlier previews lack it.
        (folder / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(MalformedFileError, match="each row of the sequences once"):
            load_sequences(folder)

    def test_of_the_manifest_where_all_counts_fit(self, folder: pathlib.Path) -> None:
        path = folder / "manifest.json"
        manifest = json.loads(path.read_text())
        manifest["shards"][0]["trainable_users"] -= 1
        manifest["trainable_users"] -= 1
        path.write_text(json.dumps(manifest))
        with pytest.raises(
            MalformedFileError, match="has changed since it was written"
        ):
            load_sequences(folder)


class TestUnfinishedWrites:
    def test_two_writers_at_once(
        self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The second is refused, and the first is not disturbed."""
        serialize = writing.serialize_user
        refused = []

        def write_again(*arguments: Any) -> bytes:
            if not refused:
                with pytest.raises(
                    FileExistsError, match="by another process"
                ) as error:
                    write_sequences(SEQUENCES, tmp_path, vocabulary=VOCABULARY)
                refused.append(error)
            return serialize(*arguments)

        monkeypatch.setattr(writing, "serialize_user", write_again)
        write_sequences(SEQUENCES, tmp_path, vocabulary=VOCABULARY, shards=2)
        assert refused
        verify_sequences(tmp_path)
        assert_equal_sequences(load_sequences(tmp_path)[0], SEQUENCES)

    @pytest.mark.parametrize("name", ["vocabulary.json", "vocabulary.json.partial"])
    def test_a_lone_vocabulary_is_somebody_elses(
        self, name: str, tmp_path: pathlib.Path
    ) -> None:
        """An interrupted write leaves shards, since the vocabulary comes after them."""
        (tmp_path / name).write_text("[]")
        with pytest.raises(FileExistsError, match=f"empty folder, .* holds {name}"):
            write_sequences(SEQUENCES, tmp_path, vocabulary=VOCABULARY)
        assert (tmp_path / name).read_text() == "[]"

    def test_a_full_disk(self, tmp_path: pathlib.Path) -> None:
        sequences = make_sequences([9] * 40)
        bounds = resource.getrlimit(resource.RLIMIT_FSIZE)
        # Each shard takes less, the vocabulary takes more.
        names = Vocabulary([f"{n:0100}" for n in range(1000)])
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, bounds[1]))
        try:
            with pytest.raises(OSError, match=r"vocabulary.json could not be written"):
                write_sequences(sequences, tmp_path, vocabulary=names, shards=2)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, bounds)
        shards = [f"sequences-0000{n}-of-00002.tfrecord" for n in range(2)]
        assert names_in(tmp_path) == shards
        with pytest.raises(MalformedFileError, match="but 2 complete shards"):
            load_sequences(tmp_path)

    def test_a_disk_that_is_full_within_a_shard(self, tmp_path: pathlib.Path) -> None:
        bounds = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200, bounds[1]))
        try:
            with pytest.raises(OSError, match=r"00000-of-00001.* could not be written"):
                write_sequences(SEQUENCES, tmp_path, vocabulary=VOCABULARY)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, bounds)
        assert names_in(tmp_path) == []

    @pytest.mark.slow
    def test_a_kill(self, tmp_path: pathlib.Path) -> None:
        script = (
            "import sys, numpy as np, tfrs_barlow as tfrsb\n"
            "log = tfrsb.data.generate_synthetic_log(num_users=500)\n"
            "sequences, vocabulary = tfrsb.data.build_sequences(log)\n"
            "sequences = sequences.select(np.tile(np.arange(500), 400))\n"
            "tfrsb.data.write_sequences(\n"
            "    sequences, sys.argv[1], vocabulary=vocabulary, shards=400)\n"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", script, tmp_path],
            env={**os.environ, "TF_USE_LEGACY_KERAS": "1"},
        )
        first = tmp_path / "sequences-00000-of-00400.tfrecord"
        while not first.exists():
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        with pytest.raises(MalformedFileError, match="writing was interrupted"):
            training_batches(tmp_path, batch_size=2, length=3)
        # What has its name is complete.
        for file in tmp_path.glob("*.tfrecord"):
            assert sum(1 for _ in tf.data.TFRecordDataset(str(file))) == 500
        write_sequences(SEQUENCES, tmp_path, vocabulary=VOCABULARY)
        assert len(names_in(tmp_path)) == 3
        assert_equal_sequences(load_sequences(tmp_path)[0], SEQUENCES)


class TestArguments:
    def test_a_folder_that_holds_something(
        self, folder: pathlib.Path, tmp_path: pathlib.Path
    ) -> None:
        with pytest.raises(FileExistsError, match="must not hold written sequences"):
            write_sequences(SEQUENCES, folder, vocabulary=VOCABULARY)
        (tmp_path / "notes.txt").write_text("mine")
        with pytest.raises(FileExistsError, match=r"empty folder, but .* holds it"):
            write_sequences(SEQUENCES, tmp_path, vocabulary=VOCABULARY)
        assert (tmp_path / "notes.txt").exists()

    @pytest.mark.parametrize(
        ("shards", "message"),
        [(0, "shards must be an integer of at least 1"), (10, "users, 9, .* is 10")],
    )
    def test_shards(
        self, shards: int | None, message: str, tmp_path: pathlib.Path
    ) -> None:
        with pytest.raises(ValueError, match=message):
            write_sequences(SEQUENCES, tmp_path, vocabulary=VOCABULARY, shards=shards)

    def test_another_vocabulary(self, tmp_path: pathlib.Path) -> None:
        with pytest.raises(ValueError, match="below 13, but one is 86"):
            write_sequences(SEQUENCES, tmp_path, vocabulary=Vocabulary(range(10)))

    def test_nobody(self, tmp_path: pathlib.Path) -> None:
        with pytest.raises(ValueError, match="at least one user"):
            write_sequences(SEQUENCES.select([]), tmp_path, vocabulary=VOCABULARY)

    def test_users_of_another_type(self, tmp_path: pathlib.Path) -> None:
        sequences = make_sequences([2, 2], [0.5, 1.5])
        with pytest.raises(TypeError, match=r"integers or all strings.* are floating"):
            write_sequences(sequences, tmp_path, vocabulary=VOCABULARY)

    @pytest.mark.parametrize(
        ("path", "error", "message"),
        [
            ("gs://mine", ValueError, "local folder, but it is the URL 'gs://mine'"),
            ("", ValueError, "path must be a string that is not empty"),
            (None, TypeError, "path must be a string, but it is None"),
        ],
    )
    def test_a_path_that_names_no_local_folder(
        self, path: Any, error: type[Exception], message: str
    ) -> None:
        with pytest.raises(error, match=message):
            write_sequences(SEQUENCES, path, vocabulary=VOCABULARY)
        with pytest.raises(error, match=message):
            load_sequences(path)

    def test_no_folder(self, tmp_path: pathlib.Path) -> None:
        with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
            load_sequences(tmp_path / "nowhere")

    def test_nobody_to_train_on(self, tmp_path: pathlib.Path) -> None:
        write_sequences(make_sequences([1, 0]), tmp_path, vocabulary=VOCABULARY)
        with pytest.raises(ValueError, match="a user with at least two events"):
            training_batches(tmp_path, batch_size=2, length=3)
