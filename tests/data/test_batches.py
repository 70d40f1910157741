"""Training batches: what is in them, and that they depend on seed and step alone."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tfrs_barlow.data import UserSequences, training_batches


def make_sequences(lengths: list[int], apart: int = 10) -> UserSequences:
    """User u has the items 10 u + 3, 10 u + 4, ...: an item shows user and place."""
    return UserSequences.from_lists(
        {
            user: range(apart * user + 3, apart * user + 3 + length)
            for user, length in enumerate(lengths)
        }
    )


SEQUENCES = make_sequences([5, 1, 2, 8, 0, 3])


def take(dataset: tf.data.Dataset, count: int) -> list:
    return list(itertools.islice(dataset.as_numpy_iterator(), count))


def test_a_history_is_what_came_right_before_its_label() -> None:
    for batch in take(training_batches(SEQUENCES, batch_size=7, length=3), 20):
        assert batch["history"].shape == (7, 3)
        assert batch["label"].shape == (7,)
        for history, label in zip(batch["history"], batch["label"], strict=True):
            first_item = (label - 3) // 10 * 10 + 3
            start = max(first_item, label - 3)
            expected = [*range(start, label), 0, 0, 0][:3]
            assert history.tolist() == expected
            assert history[0] != 0


def test_an_epoch_visits_every_user_of_two_events_once() -> None:
    # Four users and batches of three: a batch continues into the next epoch.
    batches = take(training_batches(SEQUENCES, batch_size=3, length=3), 40)
    users = np.concatenate([(batch["label"] - 3) // 10 for batch in batches]).reshape(
        -1, 4
    )
    assert (np.sort(users, axis=1) == [0, 2, 3, 5]).all()
    assert len(np.unique(users, axis=0)) > 10, "Every epoch has its own order."


def test_every_event_but_the_first_becomes_a_label() -> None:
    batches = take(training_batches(SEQUENCES, batch_size=64, length=3), 30)
    labels, counts = np.unique(
        np.concatenate([batch["label"] for batch in batches]), return_counts=True
    )
    assert labels.tolist() == [4, 5, 6, 7, 24, *range(34, 41), 54, 55]
    long = counts[(labels >= 34) & (labels <= 40)]
    assert long.min() > 0.6 * long.mean()


def test_depends_on_the_seed_alone() -> None:
    arguments = {"batch_size": 4, "length": 3}
    first, again, other = (
        take(training_batches(SEQUENCES, seed=seed, **arguments), 5)
        for seed in (1, 1, 2)
    )
    for batch, same in zip(first, again, strict=True):
        np.testing.assert_equal(batch, same)
    assert any(
        not np.array_equal(batch["label"], another["label"])
        for batch, another in zip(first, other, strict=True)
    )


def test_resumes_at_the_step_that_a_variable_holds() -> None:
    step = tf.Variable(0, dtype=tf.int64)
    batches = training_batches(SEQUENCES, batch_size=4, length=3, first_step=step)
    whole_run = take(batches, 6)
    step.assign(4)
    for batch, expected in zip(take(batches, 2), whole_run[4:], strict=True):
        np.testing.assert_equal(batch, expected)


def test_ragged_histories_are_the_padded_ones_without_padding() -> None:
    arguments = {"batch_size": 5, "length": 3, "seed": 2}
    padded, ragged = (
        list(training_batches(SEQUENCES, layout=layout, **arguments).take(8))
        for layout in ("padded", "ragged")
    )
    for expected, batch in zip(padded, ragged, strict=True):
        np.testing.assert_array_equal(
            batch["history"].to_tensor(0, [5, 3]), expected["history"]
        )
        np.testing.assert_array_equal(batch["label"], expected["label"])


LONG = make_sequences([2 + 7 * n % 60 for n in range(40)], apart=100)


def test_bucketed_batches_visit_every_user_as_often() -> None:
    # Sixteen batches of five visits are two epochs of forty users.
    batches = training_batches(LONG, batch_size=5, length=40, layout="bucketed")
    users = np.concatenate([batch["label"] // 100 for batch in take(batches, 48)])
    for window in np.split(users, 3):
        assert np.bincount(window).tolist() == [2] * 40


def test_bucketed_batches_are_of_like_length() -> None:
    batches = take(
        training_batches(LONG, batch_size=8, length=40, layout="bucketed"), 64
    )
    widths = [batch["history"].shape[1] for batch in batches]
    assert {width % 5 for width in widths} == {0}
    assert len(set(widths)) > 3
    assert max(widths) <= 40
    for batch in batches:
        lengths = (batch["history"] != 0).sum(axis=1)
        assert batch["history"].shape[1] - lengths.max() < 5
    padded = take(training_batches(LONG, batch_size=8, length=40), 64)
    shares = [
        np.mean([(batch["history"] == 0).mean() for batch in stream])
        for stream in (batches, padded)
    ]
    assert shares[0] < 0.5 * shares[1]
    # Not from short to long: in random order.
    assert sum(a < b for a, b in itertools.pairwise(widths[:16])) < 12


@pytest.mark.parametrize("layout", ["bucketed", "ragged"])
def test_any_layout_resumes_at_any_step(layout: str) -> None:
    arguments = {"batch_size": 4, "length": 3, "layout": layout, "seed": 1}
    whole_run = list(training_batches(SEQUENCES, **arguments).take(40))
    for first in (5, 16, 31):
        rest = training_batches(SEQUENCES, first_step=first, **arguments).take(3)
        for batch, expected in zip(rest, whole_run[first:], strict=False):
            for name in ("history", "label"):
                ours, theirs = (
                    getattr(value, "flat_values", value)
                    for value in (batch[name], expected[name])
                )
                np.testing.assert_array_equal(ours, theirs)


def test_an_unknown_layout_is_refused() -> None:
    with pytest.raises(ValueError, match=r"layout must be one of .* it is 'dense'"):
        training_batches(SEQUENCES, batch_size=2, length=3, layout="dense")


@pytest.mark.parametrize("argument", ["batch_size", "length", "first_step"])
def test_bad_arguments_are_named(argument: str) -> None:
    arguments = {"batch_size": 4, "length": 3, argument: -1}
    with pytest.raises(ValueError, match=f"{argument} must be an integer of at least"):
        training_batches(SEQUENCES, **arguments)


def test_what_holds_no_sequences_is_refused() -> None:
    with pytest.raises(TypeError, match="sequences must be UserSequences or a folder"):
        training_batches((SEQUENCES, None), batch_size=2, length=3)


def test_sequences_of_one_event_cannot_be_trained_on() -> None:
    with pytest.raises(ValueError, match="at least two events"):
        training_batches(make_sequences([1, 0, 1]), batch_size=2, length=3)
