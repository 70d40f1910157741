"""The comparison as a whole, on synthetic data."""

import dataclasses

import numpy as np
import pytest

import tfrs_barlow as tfrsb
from tfrs_barlow.evaluation import ComparisonConfig, LeaveOneOut, compare

CONFIG = ComparisonConfig(
    encoder="mean_pooling",
    embedding_dim=32,
    output_dim=32,
    length=30,
    projector=(64, 64),
    batch_size=64,
    pretraining_steps=150,
    probe_steps=20,
    fine_tuning_steps=20,
    steps_per_epoch=10,
    learning_rate=5e-3,
)


def make_log(users=600):
    return tfrsb.data.generate_synthetic_log(num_users=users, num_items=300, seed=1)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return folder, compare(make_log(), CONFIG, folder, verbose=0)


def test_pretraining_beats_a_random_encoder(finished):
    _, result = finished
    favourite = result.frozen["favourite, all labels"]
    assert favourite["Barlow Twins"] > favourite["random"] + 0.05
    assert favourite["Barlow Twins"] > favourite["majority, popularity"] + 0.2


def test_tables_hold_shares_and_seconds(finished):
    _, result = finished
    assert list(result.frozen.index) == [
        "majority, popularity",
        "random",
        "dual encoder",
        "Barlow Twins",
    ]
    for table in (result.frozen, result.few_labels):
        figures = table.drop(columns="seconds")
        assert ((figures >= 0) & (figures <= 1)).all(axis=None)
    trained = ["dual encoder", "Barlow Twins"]
    assert (result.frozen.loc[trained, "seconds"] > 0).all()
    assert result.test_users == 60


def test_a_second_start_only_reads(finished):
    folder, result = finished
    again = compare(make_log(), CONFIG, folder, verbose=0)
    assert again.frozen.equals(result.frozen)
    assert again.few_labels.equals(result.few_labels)
    history = np.array([[3, 4, 5] + 27 * [0]], np.int32)
    np.testing.assert_allclose(again.model(history), result.model(history), atol=1e-6)


def test_other_data_are_refused(finished):
    folder, _ = finished
    with pytest.raises(ValueError, match="other settings: data was"):
        compare(make_log(users=100), CONFIG, folder, verbose=0)


@pytest.mark.parametrize(
    ("setting", "value"), [("encoder", "rnn"), ("label_fraction", 0.0)]
)
def test_bad_settings_are_named(setting, value):
    with pytest.raises(ValueError, match=setting):
        dataclasses.replace(CONFIG, **{setting: value})


def test_leave_one_out_takes_the_last_item():
    sequences = tfrsb.data.UserSequences(
        user_ids=np.array(["ann", "bob"]),
        item_ids=np.array([5, 3, 4, 9], np.int32),
        timestamps=np.array([10, 20, 30, 15]),
        row_splits=np.array([0, 3, 4]),
    )
    users = LeaveOneOut.of(sequences)
    assert users.labels.tolist() == [4]
    assert users.histories.to_dense(3).tolist() == [[5, 3, 0]]
