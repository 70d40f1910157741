"""Backups with a damaged file: training resumes from one that is whole."""

from __future__ import annotations

import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tests.hostile.conftest import Draws
from tests.hostile.test_readers import damaged
from tfrs_barlow.models.backup_folder import BackupFolder

pytestmark = pytest.mark.hostile

STEPS = (5, 10)


def test_damage_to_one_file_costs_no_more_than_the_newest_backup(
    draws: Draws, tmp_path: pathlib.Path
) -> None:
    weights = tf.Variable(tf.zeros([50, 8]))
    folder, copy = tmp_path / "chief", tmp_path / "copy"
    backups = BackupFolder(folder, weights=weights)
    for step in STEPS:
        weights.assign(tf.fill([50, 8], float(step)))
        backups.write(step, {"step": step})
    names = sorted(file.name for file in folder.iterdir())
    for draw in draws():
        shutil.copytree(folder, copy, dirs_exist_ok=True)
        file = copy / draw.choice(names)
        file.write_bytes(damaged(file.read_bytes(), draw))
        weights.assign(tf.zeros([50, 8]))
        folder_again = BackupFolder(copy, weights=weights)
        found = folder_again.find()
        assert found is not None
        folder_again.load(found)
        assert found.step == 10 or file.name.startswith("ckpt-10.")
        np.testing.assert_array_equal(weights, np.full([50, 8], found.step))
