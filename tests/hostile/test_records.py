"""Records with damaged files: they read as they were written, or not at all."""

from __future__ import annotations

import pathlib
import shutil

import numpy as np
import pytest

import tfrs_barlow as tfrsb
from tests.hostile.conftest import Draws
from tests.hostile.test_readers import damaged

pytestmark = pytest.mark.hostile

LOG = tfrsb.data.generate_synthetic_log(num_users=30, num_items=40, mean_length=8)
SEQUENCES, VOCABULARY = tfrsb.data.build_sequences(LOG)


def test_damaged_records_are_refused_or_read_as_written(
    draws: Draws, tmp_path: pathlib.Path
) -> None:
    source = tmp_path / "source"
    tfrsb.data.write_sequences(SEQUENCES, source, vocabulary=VOCABULARY, shards=3)
    names = sorted(file.name for file in source.iterdir() if file.stat().st_size)
    copy = tmp_path / "copy"
    for draw in draws():
        shutil.copytree(source, copy, dirs_exist_ok=True)
        file = copy / draw.choice(names)
        file.write_bytes(damaged(file.read_bytes(), draw))
        try:
            tfrsb.data.verify_sequences(copy)
            sequences, vocabulary = tfrsb.data.load_sequences(copy)
        except (tfrsb.data.MalformedFileError, FileNotFoundError) as error:
            assert str(copy) in str(error)
        else:
            assert sequences.user_ids.tolist() == SEQUENCES.user_ids.tolist()
            np.testing.assert_array_equal(sequences.item_ids, SEQUENCES.item_ids)
            np.testing.assert_array_equal(sequences.timestamps, SEQUENCES.timestamps)
            assert list(vocabulary.tokens) == list(VOCABULARY.tokens)
