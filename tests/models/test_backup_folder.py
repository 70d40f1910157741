"""Backups: no damage to a file costs more than the newest, and none is lost."""

from __future__ import annotations

import pathlib
import random
import shutil
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from tfrs_barlow.models.backup_folder import BackupFolder, FoundBackup

STEPS = (5, 10)
FLIPS = 300

Values = tuple[tf.Variable, tf.Variable]


@pytest.fixture
def values() -> Values:
    return tf.Variable(tf.zeros([20, 8])), tf.Variable(0, dtype=tf.int64)


@pytest.fixture
def folder(tmp_path: pathlib.Path, values: Values) -> pathlib.Path:
    """A folder with the backups of steps 5 and 10."""
    backups = open_folder(tmp_path / "chief", values)
    for step in STEPS:
        set_to(values, step)
        backups.write(step, {"step": step})
    set_to(values, 0)
    return tmp_path / "chief"


def open_folder(folder: pathlib.Path, values: Values) -> BackupFolder:
    return BackupFolder(folder, weight=values[0], step=values[1])


def restore(folder: pathlib.Path, values: Values) -> FoundBackup:
    backups = open_folder(folder, values)
    found = backups.find()
    assert found is not None
    backups.load(found)
    return found


def set_to(values: Values, step: int) -> None:
    for value in values:
        value.assign(tf.cast(tf.fill(value.shape, step), value.dtype))


def assert_restores(folder: pathlib.Path, values: Values, step: int) -> None:
    restored = restore(folder, values)
    assert restored.path == folder / f"ckpt-{step}"
    assert restored.notes == {"step": step}
    np.testing.assert_array_equal(values[0], np.full([20, 8], step))
    assert int(values[1]) == step


def names(folder: pathlib.Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def zeroed(file: pathlib.Path) -> None:
    file.write_bytes(bytes(file.stat().st_size))


def emptied(file: pathlib.Path) -> None:
    file.write_bytes(b"")


def cut(file: pathlib.Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def deleted(file: pathlib.Path) -> None:
    file.unlink()


def made_a_folder(file: pathlib.Path) -> None:
    file.unlink()
    file.mkdir()


DAMAGES = [zeroed, emptied, cut, deleted, made_a_folder]


def test_restores_the_newest(folder: pathlib.Path, values: Values) -> None:
    assert_restores(folder, values, 10)


def test_an_empty_folder_has_nothing_to_restore(
    tmp_path: pathlib.Path, values: Values
) -> None:
    assert open_folder(tmp_path, values).find() is None
    assert open_folder(tmp_path / "not there", values).find() is None


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("ending", ["index", "data-00000-of-00001"])
def test_a_damaged_newest_backup_costs_itself_alone(
    damage: Callable[[pathlib.Path], None],
    ending: str,
    folder: pathlib.Path,
    values: Values,
    caplog: pytest.LogCaptureFixture,
) -> None:
    damage(folder / f"ckpt-10.{ending}")
    before = names(folder)
    assert_restores(folder, values, 5)
    assert f"{folder / 'ckpt-10'} cannot be read" in caplog.text
    assert names(folder) == before


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b'model_checkpoint_path: "ckpt-1',
        b'model_checkpoint_path: "/nowhere/ckpt-7"\n'
        b'all_model_checkpoint_paths: "/nowhere/ckpt-7"\n',
        b"\x00" * 100,
    ],
)
def test_the_state_file_is_not_needed(
    content: bytes | None, folder: pathlib.Path, values: Values
) -> None:
    if content is None:
        (folder / "checkpoint").unlink()
    else:
        (folder / "checkpoint").write_bytes(content)
    assert_restores(folder, values, 10)
    assert {"ckpt-5.index", "ckpt-10.index"} <= names(folder)


def test_no_flipped_bit_costs_more_than_the_newest_backup(
    folder: pathlib.Path, values: Values, tmp_path: pathlib.Path
) -> None:
    draw = random.Random(0)
    for _ in range(FLIPS):
        copy = shutil.copytree(folder, tmp_path / "copy", dirs_exist_ok=True)
        file = copy / draw.choice(sorted(names(copy)))
        content = bytearray(file.read_bytes())
        bit = draw.randrange(8 * len(content))
        content[bit // 8] ^= 1 << bit % 8
        file.write_bytes(content)
        set_to(values, 0)
        step = restore(copy, values).notes["step"]
        # A flipped bit where nothing is stored does no harm.
        assert step == 10 or (step == 5 and file.name.startswith("ckpt-10."))
        np.testing.assert_array_equal(values[0], np.full([20, 8], step))


def test_a_copy_of_the_checkpoints_alone_restores(
    folder: pathlib.Path, values: Values, tmp_path: pathlib.Path
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in folder.glob("ckpt-*"):
        shutil.copy(file, copy)
    assert_restores(copy, values, 10)


def test_if_no_backup_reads_all_are_named_and_kept(
    folder: pathlib.Path, values: Values
) -> None:
    for file in folder.glob("*.index"):
        emptied(file)
    before = names(folder)
    with pytest.raises(OSError, match=r"None of the backups in .*") as error:
        open_folder(folder, values).find()
    for step in STEPS:
        assert f"ckpt-{step} cannot be read" in str(error.value)
    assert names(folder) == before


def test_two_good_backups_are_kept_whatever_lies_between(
    folder: pathlib.Path, values: Values
) -> None:
    emptied(folder / "ckpt-10.index")
    backups = open_folder(folder, values)
    assert backups.find() is not None
    backups.write(7, {"step": 7})
    kept = {file.name for file in folder.glob("*.index")}
    assert kept == {"ckpt-5.index", "ckpt-7.index", "ckpt-10.index"}
    backups.write(12, {"step": 12})
    kept = {file.name for file in folder.glob("*.index")}
    assert kept == {"ckpt-7.index", "ckpt-10.index", "ckpt-12.index"}
    backups.write(13, {"step": 13})
    assert {file.name for file in folder.glob("*.index")} == {
        "ckpt-12.index",
        "ckpt-13.index",
    }


@pytest.mark.parametrize("moved", [0, 1])
def test_a_kill_between_writing_and_moving_loses_nothing(
    moved: int, folder: pathlib.Path, values: Values
) -> None:
    drafts = folder / "drafts"
    drafts.mkdir()
    for file in sorted(folder.glob("ckpt-10.*"))[moved:]:
        # Sorted, data come first: as they are moved.
        file.replace(drafts / file.name)
    assert_restores(folder, values, 10)


def test_a_kill_while_writing_costs_that_backup_alone(
    folder: pathlib.Path, values: Values
) -> None:
    drafts = folder / "drafts"
    (drafts / "ckpt-12_temp").mkdir(parents=True)
    (drafts / "ckpt-12.data-00000-of-00001.tempstate1").write_bytes(b"half")
    assert_restores(folder, values, 10)


def test_tools_of_tensorflow_find_the_newest(
    folder: pathlib.Path, values: Values
) -> None:
    assert tf.train.latest_checkpoint(folder) == str(folder / "ckpt-10")


def test_what_a_checkpoint_manager_wrote_restores(
    tmp_path: pathlib.Path, values: Values
) -> None:
    set_to(values, 3)
    checkpoint = tf.train.Checkpoint(weight=values[0], step=values[1])
    tf.train.CheckpointManager(checkpoint, str(tmp_path), max_to_keep=2).save(3)
    set_to(values, 0)
    restored = restore(tmp_path, values)
    assert restored.notes == {}
    assert int(values[1]) == 3


def test_another_model_is_refused(folder: pathlib.Path) -> None:
    other = BackupFolder(folder, weight=tf.Variable(tf.zeros([3])))
    found = other.find()
    assert found is not None
    with pytest.raises(ValueError, match="ckpt-10 must be a backup of this model"):
        other.load(found)
