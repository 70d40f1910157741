"""What the tasks ask, worked out by hand."""

import numpy as np
import pytest

from tfrs_barlow.data import ItemCategories, UserSequences, split_users
from tfrs_barlow.evaluation import downstream_task
from tfrs_barlow.evaluation.downstream_tasks import TASKS, users_with_labels

# The items 3 and 4 are of A, 5 of B, 6 of A and B (B is the rarer one), 7 of none.
CATEGORIES = ItemCategories(
    ("A", "B"),
    np.array(
        [[0, 0]] * 3 + [[1, 0], [1, 0], [0, 1], [1, 1], [0, 0]],
        bool,
    ),
)
HISTORIES = [[3, 4, 3, 5, 6], [5, 5, 5, 3, 3, 7], [3, 7]]


@pytest.fixture
def sequences() -> UserSequences:
    return UserSequences.from_lists(dict(enumerate(HISTORIES)))


@pytest.mark.parametrize(
    ("name", "read", "labels"),
    [
        ("next_item", [4, 5, 1], [6, 7, 7]),
        # B is the rarer category of item 6; item 7 has no category.
        ("next_category", [4, 5, 1], [1, -1, -1]),
        # 4 x A and 2 x B; 2 x A and 3 x B; 1 x A.
        ("favorite_category", [5, 6, 2], [0, 1, 0]),
        # A fifth, rounded up: 1, 2 and 1 events. Item 6 is of both: the first name.
        ("future_category", [4, 4, 1], [0, 0, -1]),
    ],
)
def test_tasks(sequences, name, read, labels) -> None:
    task = downstream_task(name, sequences, CATEGORIES)
    np.testing.assert_array_equal(task.labels, labels)
    np.testing.assert_array_equal(task.histories.lengths, read)
    for row, history in enumerate(task.histories.to_dense(6)):
        np.testing.assert_array_equal(history[: read[row]], HISTORIES[row][: read[row]])


def test_users_without_a_label_are_left_out(sequences) -> None:
    task = downstream_task("next_category", sequences, CATEGORIES)
    chosen = task.select(np.array([1, 0]))
    np.testing.assert_array_equal(chosen.labels, [1])
    np.testing.assert_array_equal(chosen.histories.user_ids, [0])


@pytest.mark.parametrize("name", TASKS)
def test_a_single_event_is_refused(sequences, name) -> None:
    with pytest.raises(ValueError, match="at least two events"):
        downstream_task(name, sequences.most_recent(1), CATEGORIES)


def test_an_unknown_task_is_refused(sequences) -> None:
    with pytest.raises(ValueError, match="name must be one of"):
        downstream_task("age", sequences, CATEGORIES)


def test_few_labels_are_among_many() -> None:
    split = split_users(100)
    assert len(users_with_labels(split, 0.0001)) == 1
    assert len(users_with_labels(split, 0.1)) == 8
    few, many = users_with_labels(split, 0.1), users_with_labels(split, 0.5)
    np.testing.assert_array_equal(few, many[:8])
    assert set(many) <= set(split.train)
