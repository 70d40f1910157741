"""The terms of the cross-correlation matrix, against the textbook in float64."""

from __future__ import annotations

from typing import Any

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from tfrs_barlow.losses import cross_correlation_terms

# Where either algorithm is cheaper, and on the border, where 4 N = 3 D.
SHAPES = [(2, 3), (16, 8), (8, 16), (48, 64), (64, 48), (64, 256), (256, 16)]
ALGORITHMS = ["direct", "gram"]


def textbook_matrix(first, second, weights=None, epsilon=1e-5):
    """C as the paper writes it, with the weights as shares of the batch."""
    weights = tf.ones(len(first), first.dtype) if weights is None else weights
    shares = (weights / tf.reduce_sum(weights))[:, tf.newaxis]

    def standardize(view):
        view = view - tf.reduce_sum(shares * view, axis=0)
        variance = tf.reduce_sum(shares * view**2, axis=0)
        return view / tf.sqrt(variance + epsilon)

    return tf.matmul(shares * standardize(first), standardize(second), transpose_a=True)


def textbook_terms(first, second, weights=None, epsilon=1e-5):
    matrix = textbook_matrix(first, second, weights, epsilon)
    diagonal = tf.linalg.diag_part(matrix)
    off = tf.linalg.set_diag(matrix, tf.zeros_like(diagonal))
    return diagonal, tf.reduce_sum(off**2)


def two_views(kind, batch, dim):
    """Embeddings such as training meets them, in float64."""
    rng = np.random.default_rng(7)
    first = rng.normal(size=(batch, dim))
    noise = rng.normal(size=(batch, dim))
    second = {
        "independent": noise,
        "views": first + 0.5 * noise,
        "near the optimum": first + 1e-3 * noise,
        "collapsed": first[:, :1] + 1e-2 * noise,
        "offset": first + 0.5 * noise + 1e3,
    }[kind]
    if kind == "collapsed":
        first = first[:, :1] + 1e-2 * rng.normal(size=(batch, dim))
    if kind == "offset":
        first = first + 1e3
    return first, second


def loss_and_gradients(terms, first, second):
    """A loss that uses both terms, so that both gradients are tested."""
    with tf.GradientTape() as tape:
        tape.watch([first, second])
        diagonal, off_diagonal = terms(first, second)
        loss = tf.reduce_sum((1 - diagonal) ** 2) + 5e-3 * off_diagonal
    return loss, tape.gradient(loss, [first, second])


def relative_error(actual, expected):
    actual, expected = tf.cast(actual, tf.float64), tf.cast(expected, tf.float64)
    return float(tf.norm(actual - expected) / tf.norm(expected))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(("batch", "dim"), SHAPES)
@pytest.mark.parametrize(
    "kind", ["independent", "views", "near the optimum", "collapsed", "offset"]
)
def test_equals_the_textbook(kind: str, batch: int, dim: int, algorithm: str) -> None:
    views = two_views(kind, batch, dim)

    def ours(first, second):
        return cross_correlation_terms(first, second, algorithm=algorithm)[:2]

    exact = [tf.constant(view) for view in views]
    expected_loss, expected = loss_and_gradients(textbook_terms, *exact)
    loss, gradients = loss_and_gradients(ours, *exact)
    assert relative_error(loss, expected_loss) < 1e-12
    # Two rows leave no gradient but what epsilon makes: a difference of near equals.
    tolerance = 1e-9 if batch == 2 or kind == "near the optimum" else 1e-12
    for actual, wanted in zip(gradients, expected, strict=True):
        assert relative_error(actual, wanted) < tolerance

    # The same values in float32, so that only our own rounding counts.
    single = [tf.constant(view, tf.float32) for view in views]
    exact = [tf.cast(view, tf.float64) for view in single]
    expected_loss, expected = loss_and_gradients(textbook_terms, *exact)
    loss, gradients = loss_and_gradients(ours, *single)
    # The order of sums depends on the processor, and 1 - C_ii magnifies what it leaves.
    assert relative_error(loss, expected_loss) < 1e-5
    if batch > 2:
        # Collapsed views leave small differences of large gradients: the textbook in
        # float32 is no better.
        tolerance = 1e-4 if kind == "collapsed" else 1e-5
        for actual, wanted in zip(gradients, expected, strict=True):
            assert relative_error(actual, wanted) < tolerance


def test_auto_keeps_the_digits_of_a_loss_near_zero() -> None:
    """With more rows than columns, ||C||^2 - sum C_ii^2 would lose them all."""
    first, second = two_views("near the optimum", 512, 64)
    first = np.linalg.qr(first - first.mean(axis=0))[0]
    second = first + 1e-6 * second
    _, expected = textbook_terms(tf.constant(first), tf.constant(second), epsilon=0.0)
    terms = cross_correlation_terms(
        tf.constant(first, tf.float32), tf.constant(second, tf.float32), epsilon=0.0
    )
    assert float(terms.off_diagonal) == pytest.approx(float(expected), rel=0.05)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("offset", [1e3, 1e4, 1e6])
def test_an_offset_costs_no_accuracy(offset: float, algorithm: str) -> None:
    """Prescaling by anything but a power of two would round the offset's digits."""
    single = [
        tf.constant(view + offset, tf.float32) for view in two_views("views", 64, 256)
    ]
    exact = [tf.cast(view, tf.float64) for view in single]
    expected_loss, expected = loss_and_gradients(textbook_terms, *exact)
    loss, gradients = loss_and_gradients(
        lambda a, b: cross_correlation_terms(a, b, algorithm=algorithm)[:2], *single
    )
    assert relative_error(loss, expected_loss) < 2e-6
    for actual, wanted in zip(gradients, expected, strict=True):
        assert relative_error(actual, wanted) < 1e-5


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_gradient_by_finite_differences(algorithm: str) -> None:
    first, second = map(tf.constant, two_views("views", 5, 4))

    def loss(first, second):
        terms = cross_correlation_terms(first, second, algorithm=algorithm)
        return tf.reduce_sum(terms.diagonal**3) + terms.off_diagonal

    theoretical, numerical = tf.test.compute_gradient(loss, [first, second])
    for actual, expected in zip(theoretical, numerical, strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-5)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_second_derivatives(algorithm: str) -> None:
    first, second = map(tf.constant, two_views("views", 6, 4))

    def squared_gradient(terms):
        with tf.GradientTape() as outer:
            outer.watch(first)
            _, (gradient, _) = loss_and_gradients(terms, first, second)
            norm = tf.reduce_sum(gradient**2)
        return outer.gradient(norm, first)

    ours = squared_gradient(
        lambda a, b: cross_correlation_terms(a, b, algorithm=algorithm)[:2]
    )
    np.testing.assert_allclose(ours, squared_gradient(textbook_terms), atol=1e-12)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@hypothesis.given(
    counts=st.lists(st.integers(0, 3), min_size=6, max_size=6).filter(
        lambda counts: sum(count > 0 for count in counts) >= 2
    )
)
@hypothesis.settings(max_examples=20, deadline=None)
def test_integer_weights_equal_repetition(algorithm: str, counts: list[int]) -> None:
    views = [tf.constant(view) for view in two_views("views", 6, 4)]
    repeated = [tf.repeat(view, counts, axis=0) for view in views]
    weighted = cross_correlation_terms(
        *views, sample_weight=counts, algorithm=algorithm
    )
    expected = cross_correlation_terms(*repeated, algorithm=algorithm)
    np.testing.assert_allclose(weighted.diagonal, expected.diagonal, atol=1e-12)
    np.testing.assert_allclose(weighted.off_diagonal, expected.off_diagonal, atol=1e-11)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_weighted_gradient_equals_the_textbook(algorithm: str) -> None:
    views = [tf.constant(view) for view in two_views("views", 6, 12)]
    weights = tf.constant([1.0, 2.0, 0.0, 0.5, 3.0, 1.0], tf.float64)
    _, expected = loss_and_gradients(lambda a, b: textbook_terms(a, b, weights), *views)
    _, actual = loss_and_gradients(
        lambda a, b: cross_correlation_terms(
            a, b, sample_weight=weights, algorithm=algorithm
        )[:2],
        *views,
    )
    for ours, wanted in zip(actual, expected, strict=True):
        np.testing.assert_allclose(ours, wanted, atol=1e-13)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["first_embeddings", "second_embeddings"])
def test_check_finite_names_the_column(name: str, value: Any) -> None:
    views = dict(
        zip(
            ["first_embeddings", "second_embeddings"],
            two_views("views", 8, 4),
            strict=True,
        )
    )
    assert cross_correlation_terms(**views, check_finite=True)
    views[name][3, 2] = value
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=rf"(?s){name} must be finite.*columns.*2"
    ):
        cross_correlation_terms(**views, check_finite=True)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("shape", [[None, 16], [None, None], [8, 16]])
def test_graph_with_unknown_shapes(shape: list[int | None], jit_compile: bool) -> None:
    views = [tf.constant(view, tf.float32) for view in two_views("views", 8, 16)]
    function = tf.function(
        lambda a, b: cross_correlation_terms(a, b)[:2],
        input_signature=[tf.TensorSpec(shape)] * 2,
        jit_compile=jit_compile,
    )
    loss, gradients = loss_and_gradients(function, *views)
    expected_loss, expected = loss_and_gradients(textbook_terms, *views)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
    np.testing.assert_allclose(gradients, expected, atol=1e-5)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_constant_column_is_not_invariant(algorithm: str) -> None:
    """Peers score it as perfectly invariant, or blow its gradient up to 1e7."""
    first = tf.constant(two_views("views", 32, 8)[0], tf.float32)
    dead = tf.concat([tf.fill([32, 1], 0.1), first[:, 1:]], axis=1)
    with tf.GradientTape() as tape:
        tape.watch(dead)
        terms = cross_correlation_terms(dead, first, algorithm=algorithm)
        loss = tf.reduce_sum((1 - terms.diagonal) ** 2) + terms.off_diagonal
    gradient = tape.gradient(loss, dead)
    assert float(terms.dead_columns) == 1
    assert float(terms.diagonal[0]) == 0
    np.testing.assert_array_equal(gradient[:, 0], np.zeros(32))
    assert float(tf.reduce_max(tf.abs(gradient))) < 1


@pytest.mark.parametrize("constant", [0.0, 0.1, -3.7, 1e6, 1e-12])
def test_total_collapse_is_seen_at_any_value(constant: float) -> None:
    view = tf.fill([100, 8], constant)
    terms = cross_correlation_terms(view, view)
    assert float(terms.dead_columns) == 8
    np.testing.assert_array_equal(terms.diagonal, np.zeros(8))
    assert float(terms.off_diagonal) == 0


@pytest.mark.parametrize("factor", [1e20, 1e-4, 300.0, -1.0])
def test_scale_does_not_matter(factor: float) -> None:
    first, second = (
        tf.constant(view, tf.float32) for view in two_views("views", 32, 8)
    )
    expected = cross_correlation_terms(first, second, epsilon=0.0)
    scaled = cross_correlation_terms(factor * first, factor * second, epsilon=0.0)
    np.testing.assert_allclose(scaled.diagonal, expected.diagonal, rtol=1e-5)
    np.testing.assert_allclose(scaled.off_diagonal, expected.off_diagonal, rtol=1e-4)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_half_precision_is_computed_in_single(dtype: Any, algorithm: str) -> None:
    views = [tf.cast(300 * view, dtype) for view in two_views("views", 32, 64)]
    terms = cross_correlation_terms(*views, algorithm=algorithm)
    expected = cross_correlation_terms(*[tf.cast(view, tf.float64) for view in views])
    assert terms.diagonal.dtype == tf.float32
    np.testing.assert_allclose(terms.diagonal, expected.diagonal, atol=1e-5)
    np.testing.assert_allclose(terms.off_diagonal, expected.off_diagonal, rtol=1e-5)


def test_one_nan_is_never_hidden() -> None:
    first, second = (view.copy() for view in two_views("views", 8, 4))
    first[3, 2] = np.nan
    assert np.isnan(cross_correlation_terms(first, second).off_diagonal)


def test_one_dimension_has_no_off_diagonal() -> None:
    first, second = two_views("views", 8, 1)
    assert float(cross_correlation_terms(first, second).off_diagonal) == 0


@pytest.mark.parametrize(
    ("first", "second", "arguments", "error", "message"),
    [
        (np.ones([4, 3]), np.ones([4, 2]), {}, ValueError, "same shape"),
        (np.ones([4, 3]), np.ones([1, 3]), {}, ValueError, "at least 2 rows"),
        (np.ones([1, 3]), np.ones([1, 3]), {}, ValueError, "at least 2 rows"),
        (np.ones([0, 3]), np.ones([0, 3]), {}, ValueError, "at least 2 rows"),
        (np.ones([4, 0]), np.ones([4, 0]), {}, ValueError, "at least one column"),
        (np.ones(4), np.ones(4), {}, ValueError, r"first_embeddings .*\[batch, dim\]"),
        (np.ones([4, 3]), np.ones([4, 1, 3]), {}, ValueError, "second_embeddings"),
        (np.ones([4, 3], int), np.ones([4, 3]), {}, TypeError, "floating.*int64"),
        (np.ones([4, 3]), np.ones([4, 3]), {"epsilon": -1.0}, ValueError, "epsilon"),
        (
            np.ones([4, 3]),
            np.ones([4, 3]),
            {"algorithm": "fast"},
            ValueError,
            "algorithm",
        ),
        (
            np.ones([4, 3]),
            np.ones([4, 3]),
            {"sample_weight": np.ones(3)},
            ValueError,
            "sample_weight",
        ),
        (
            np.ones([4, 3]),
            np.ones([4, 3]),
            {"sample_weight": ["a"] * 4},
            TypeError,
            "sample_weight must hold numbers",
        ),
        (None, np.ones([4, 3]), {}, TypeError, "first_embeddings must be a tensor"),
        (
            np.ones([4, 3]),
            np.ones([4, 3]),
            {"algorithm": "direct", "reduce": 3},
            TypeError,
            "reduce must be a function",
        ),
        (
            np.ones([4, 3]),
            np.ones([4, 3]),
            {"reduce": tf.identity},
            ValueError,
            'algorithm must be "direct" with reduce',
        ),
        (
            np.ones([4, 3]),
            np.ones([4, 3]),
            {"sample_weight": [1.0, -1.0, 1.0, 1.0]},
            tf.errors.InvalidArgumentError,
            "sample_weight must not be negative",
        ),
        (
            np.ones([4, 3]),
            np.ones([4, 3]),
            {"sample_weight": np.zeros(4)},
            tf.errors.InvalidArgumentError,
            "sample_weight must not be zero",
        ),
    ],
)
def test_bad_input_is_named(
    first: Any,
    second: Any,
    arguments: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        cross_correlation_terms(first, second, **arguments)


def test_a_batch_of_one_is_an_error_at_run_time_too() -> None:
    function = tf.function(
        lambda view: cross_correlation_terms(view, view),
        input_signature=[tf.TensorSpec([None, 3])],
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match="at least 2 rows"):
        function(tf.ones([1, 3]))
