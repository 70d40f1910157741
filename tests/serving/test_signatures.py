"""Every form of a request gets the same answer, and a bad one an error."""

import itertools
import re
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

Response = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def model(films: Any) -> Any:
    return tf.saved_model.load(films.version)


class Session:
    """The model in a session, which is how TensorFlow Serving runs it."""

    def __init__(self, version: Any) -> None:
        with tf.Graph().as_default():
            self.session = tf.compat.v1.Session()
            graph = tf.compat.v1.saved_model.load(self.session, ["serve"], str(version))
        self.signatures = graph.signature_def

    def __call__(self, signature: str, **inputs: Any) -> Response:
        definition = self.signatures[signature]
        return self.session.run(
            {name: info.name for name, info in definition.outputs.items()},
            {definition.inputs[name].name: value for name, value in inputs.items()},
        )


@pytest.fixture(scope="module")
def session(films: Any) -> Session:
    return Session(films.version)


def example(**features: Any) -> bytes:
    """A serialized tf.Example of strings and integers."""
    message = tf.train.Example()
    for name, values in features.items():
        feature = message.features.feature[name]
        if values and isinstance(values[0], str):
            feature.bytes_list.value.extend(value.encode() for value in values)
        else:
            feature.int64_list.value.extend(values)
    return message.SerializeToString()


def assert_recommends(
    answer: Response, expected: tuple[np.ndarray, np.ndarray]
) -> None:
    titles, scores = expected
    np.testing.assert_array_equal(np.asarray(answer["ids"]).astype(str), titles)
    np.testing.assert_allclose(answer["scores"], scores, atol=1e-6)


# --- The answer


COLD = [True, True, False, False, False, True, False]


@pytest.mark.parametrize("name", ["embed", "recommend", "serving_default"])
def test_a_history_without_a_known_item_is_flagged(
    model: Any, dense: np.ndarray, name: str
) -> None:
    answer = getattr(model, name)(tf.constant(dense))
    np.testing.assert_array_equal(answer["cold_start"], COLD)
    assert not any(
        np.isnan(value).any() for key, value in answer.items() if key != "ids"
    )


@pytest.mark.parametrize("shape", [(0, 3), (0, 0), (2, 0)])
@pytest.mark.parametrize("name", ["embed", "recommend", "serving_default"])
def test_nothing_gets_an_answer_too(
    model: Any, name: str, shape: tuple[int, int]
) -> None:
    answer = getattr(model, name)(tf.fill(shape, ""))
    assert {len(value) for value in answer.values()} == {shape[0]}
    np.testing.assert_array_equal(answer["cold_start"], [True] * shape[0])


def test_a_known_item_that_is_too_long_ago_does_not_count(model: Any) -> None:
    history = tf.constant(
        [["Film 01", *["unknown"] * 6], ["Film 01", *["unknown"] * 5, ""]]
    )
    np.testing.assert_array_equal(model.embed(history)["cold_start"], [True, False])


def test_recommend_gives_popular_items_to_a_cold_start(
    films: Any, model: Any, histories: list[list[str]], dense: np.ndarray
) -> None:
    answer = model.recommend(tf.constant(dense), k=40)
    assert_recommends(answer, films.recommended(histories, 40, excluded=histories))


@pytest.mark.parametrize("hide", [False, True])
def test_seen_and_excluded_items_are_left_out_on_request(
    films: Any, model: Any, histories: list[list[str]], dense: np.ndarray, hide: bool
) -> None:
    more = [["Film 05", "unknown", ""]] * len(histories)
    answer = model.recommend(
        tf.constant(dense), k=40, excluded=tf.constant(more[:1]), exclude_history=hide
    )
    out = [a + b for a, b in zip(histories, more, strict=True)] if hide else more
    assert_recommends(answer, films.recommended(histories, 40, excluded=out))


def test_each_row_may_have_its_own_options(films: Any, model: Any) -> None:
    histories = [["Film 03"], ["Film 04"], ["Film 05"]]
    k, hide = [2, 9, 4], [True, False, True]
    excluded = [["Film 08", ""], ["", ""], ["Film 09", "Film 10"]]
    answer = model.recommend(
        tf.constant(histories),
        tf.constant(k),
        tf.constant(excluded),
        tf.constant(hide),
    )
    for row in range(3):
        out = excluded[row] + (histories[row] if hide[row] else [])
        titles, scores = films.recommended(histories[row : row + 1], k[row], [out])
        own = {
            name: answer[name][row : row + 1, : k[row]] for name in ("ids", "scores")
        }
        assert_recommends(own, (titles, scores))
        np.testing.assert_array_equal(
            answer["ids"][row, k[row] :], [b""] * (9 - k[row])
        )
        assert np.isneginf(answer["scores"][row, k[row] :]).all()


def test_similar_items(films: Any, model: Any) -> None:
    answer = model.similar_items(tf.constant(["Film 07", "unknown"]), k=3)
    unit = films.candidates / np.linalg.norm(films.candidates, axis=1, keepdims=True)
    cosines = unit[7] @ unit.T
    order = np.argsort(-cosines)[1:4]
    np.testing.assert_array_equal(
        answer["ids"][0].numpy().astype(str), films.titles[order]
    )
    np.testing.assert_allclose(answer["scores"][0], cosines[order], atol=1e-6)
    popular = np.argsort(-films.popularity)[:3]
    np.testing.assert_array_equal(
        answer["ids"][1].numpy().astype(str), films.titles[popular]
    )
    np.testing.assert_array_equal(answer["cold_start"], [False, True])


# --- The forms


@pytest.mark.parametrize("name", ["embed", "recommend"])
def test_ragged_histories_get_the_answers_of_dense_ones(
    model: Any, histories: list[list[str]], dense: np.ndarray, name: str
) -> None:
    ragged = getattr(model, f"{name}_ragged")(
        tf.constant(list(itertools.chain(*histories))),
        tf.constant([len(row) for row in histories], tf.int64),
    )
    assert_equal(ragged, getattr(model, name)(tf.constant(dense)))


@pytest.mark.parametrize("name", ["embed", "recommend"])
def test_examples_get_the_answers_of_dense_histories(
    model: Any, histories: list[list[str]], dense: np.ndarray, name: str
) -> None:
    examples = [example(history=history) for history in histories[1:]]
    answer = getattr(model, f"{name}_examples")(tf.constant([b"", *examples]))
    assert_equal(answer, getattr(model, name)(tf.constant(dense)))


def test_an_example_may_hold_options(model: Any) -> None:
    answer = model.recommend_examples(
        tf.constant(
            [
                example(history=["Film 03"], k=[2], excluded=["Film 08", "Film 09"]),
                example(history=["Film 04"], exclude_history=[0]),
            ]
        )
    )
    expected = model.recommend(
        tf.constant([["Film 03"], ["Film 04"]]),
        tf.constant([2, 5]),
        tf.constant([["Film 08", "Film 09"], ["", ""]]),
        tf.constant([True, False]),
    )
    assert_equal(answer, expected)


def test_serving_default_is_recommend_by_its_defaults(
    model: Any, dense: np.ndarray
) -> None:
    assert_equal(
        model.serving_default(tf.constant(dense)), model.recommend(tf.constant(dense))
    )
    assert model.serving_default(tf.constant(dense))["ids"].shape[1] == 5


def test_a_session_may_leave_out_what_has_a_default(
    session: Session, model: Any, dense: np.ndarray
) -> None:
    expected = model.recommend(tf.constant(dense), k=3)
    assert_equal(session("recommend", history=dense, k=3), expected)
    assert_equal(session("recommend", history=dense, k=[3] * len(dense)), expected)
    assert set(session.signatures["recommend"].defaults) == {
        "k",
        "excluded",
        "exclude_history",
    }


def test_two_batches_joined_are_answered_as_apart(session: Session) -> None:
    """What TensorFlow Serving does with requests when it batches."""
    one = {
        "history": [["Film 01", "Film 02"]],
        "k": [2],
        "excluded": [["Film 09"]],
        "exclude_history": [True],
    }
    two = {
        "history": [["Film 03", ""], ["unknown", ""]],
        "k": [4, 3],
        "excluded": [[""], ["Film 10"]],
        "exclude_history": [False, True],
    }
    joined = session("recommend", **{name: one[name] + two[name] for name in one})
    for rows, request in ((slice(0, 1), one), (slice(1, 3), two)):
        apart = session("recommend", **request)
        width = apart["ids"].shape[1]
        for name in ("ids", "scores"):
            np.testing.assert_array_equal(joined[name][rows, :width], apart[name])


def assert_equal(answer: Any, expected: Any) -> None:
    assert set(answer) == set(expected)
    for name in answer:
        np.testing.assert_array_equal(answer[name], expected[name])


# --- What is refused, by a session that checks no shape before


HISTORY = [["Film 01", "Film 02"]]


@pytest.mark.parametrize(
    ("signature", "inputs", "message"),
    [
        ("recommend", {"history": HISTORY, "k": 0}, "k must lie in"),
        ("recommend", {"history": HISTORY, "k": 41}, "k must lie in"),
        ("recommend", {"history": HISTORY, "k": [1, 2]}, "k must be one number"),
        (
            "recommend",
            {"history": HISTORY, "excluded": [["a"], ["b"]]},
            "excluded must hold one row",
        ),
        (
            "recommend",
            {"history": HISTORY, "exclude_history": [True, False, True]},
            "exclude_history must hold one row",
        ),
        ("similar_items", {"items": ["Film 01"], "k": -1}, "k must lie in"),
        (
            "embed_ragged",
            {"values": ["a", "b"], "row_lengths": [1, 2]},
            "row_lengths must be 0 or more and add up",
        ),
        (
            "embed_ragged",
            {"values": ["a", "b"], "row_lengths": [3, -1]},
            "row_lengths must be 0 or more and add up",
        ),
        ("embed_examples", {"examples": [b"no example"]}, "Could not parse example"),
        (
            "recommend_examples",
            {"examples": [example(history=[1, 2])]},
            "Data types don't match",
        ),
        (
            "recommend_examples",
            {"examples": [example(history=["Film 01"], k=[2**32 + 1])]},
            "k must lie in",
        ),
    ],
)
def test_a_bad_request_is_an_invalid_argument(
    session: Session, signature: str, inputs: Any, message: str
) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=re.escape(message)):
        session(signature, **inputs)
    # And the next one is answered.
    assert session("recommend", history=HISTORY)["ids"].shape == (1, 5)


def test_a_long_string_is_an_unknown_item(session: Session) -> None:
    answer = session("recommend", history=[["x" * 2**20]])
    np.testing.assert_array_equal(answer["cold_start"], [True])
