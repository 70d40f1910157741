"""Layers, losses and metrics on odd batches, against plain NumPy and Python."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

import tfrs_barlow as tfrsb
from tests.hostile.conftest import Draws
from tests.layers.augmentation.every_layer import LAYERS
from tests.layers.augmentation.histories import NEIGHBORS, VOCABULARY_SIZE
from tests.layers.encoders import test_contract as encoders
from tfrs_barlow.ids import MASK_ID, PADDING_ID

pytestmark = pytest.mark.hostile

DTYPES = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]

Rows = list[list[int]]


def item_rows(draw: random.Random, most: int, largest: int) -> Rows:
    """Rows of real item ids; the batch may be empty, and so may each row."""
    count = draw.choice([0, 1, 2, 5])
    lengths = [draw.choice([0, 1, draw.randint(0, most)]) for _ in range(count)]
    usual = functools.partial(draw.randint, 2, min(largest, 45))
    odd = functools.partial(draw.randint, 2, largest)
    is_odd = draw.random() < 0.3
    return [[(odd if is_odd else usual)() for _ in range(n)] for n in lengths]


def scattered(rows: Rows, draw: random.Random, width: int) -> npt.NDArray[np.int64]:
    """Rows of one width, padded on the left, the right, both sides, or anywhere."""
    side = draw.choice(["left", "right", "both", "inside"])
    dense = np.full([len(rows), width], PADDING_ID, np.int64)
    for number, row in enumerate(rows):
        free = width - len(row)
        start = {"left": free, "right": 0}.get(side, draw.randint(0, free))
        places = range(start, start + len(row))
        if side == "inside":
            places = sorted(draw.sample(range(width), len(row)))
        dense[number, list(places)] = row
    return dense


def cuts(dense: npt.NDArray[Any], draw: random.Random) -> npt.NDArray[np.int64]:
    """Lengths of the rows, cut at random behind the last item of each."""
    used = [int(np.flatnonzero([1, *row])[-1]) for row in dense]
    return np.array([draw.randint(least, dense.shape[1]) for least in used], np.int64)


def as_ragged(
    dense: npt.NDArray[Any], lengths: npt.NDArray[np.int64]
) -> tf.RaggedTensor:
    kept = np.arange(dense.shape[1]) < lengths[:, np.newaxis]
    return tf.RaggedTensor.from_row_lengths(tf.constant(dense[kept]), lengths)


@functools.cache
def traced(name: str, jit_compile: bool) -> Callable[..., Any]:
    """An augmentation in a graph; it knows the shapes of the inputs only under XLA."""
    layer = LAYERS[name]()
    types = {"item_id": tf.int32, "original": tf.int64, "timestamp": tf.int64}
    width = 8 if jit_compile else None
    rows = 3 if jit_compile else None
    spec = {key: tf.TensorSpec([rows, width], dtype) for key, dtype in types.items()}
    spec["genre"] = tf.TensorSpec([rows, width], tf.int32)

    @tf.function(
        input_signature=[spec, tf.TensorSpec([2], tf.int64)], jit_compile=jit_compile
    )
    def augment(columns: dict[str, tf.Tensor], seed: tf.Tensor) -> Any:
        return layer(columns, training=True, seed=seed)

    return augment


def padded_to(view: tf.Tensor | tf.RaggedTensor) -> npt.NDArray[Any]:
    return (
        view.to_tensor() if isinstance(view, tf.RaggedTensor) else tf.constant(view)
    ).numpy()


def test_augmentations_keep_their_contract(draws: Draws) -> None:
    for draw in draws():
        name = draw.choice(list(LAYERS))
        way = draw.choices(["eager", "graph", "xla"], [0.9, 0.095, 0.005])[0]
        is_ragged = way == "eager" and draw.random() < 0.4
        dtype = draw.choice(DTYPES) if way == "eager" else "int32"
        largest = min(np.iinfo(dtype).max, 2**29)
        rows = item_rows(draw, most=8, largest=largest)
        width = max([len(row) for row in rows] + [0]) + draw.choice([0, 0, 1, 4])
        if way == "xla":
            rows, width = [*rows, [], [3], [4, 5]][:3], 8
        ids = scattered(rows, draw, width)
        time = np.sort(
            np.random.default_rng(draw.getrandbits(32)).integers(
                1, draw.choice([2, 9, 10**9, 2**53]), ids.shape
            )
        )
        arrays = {
            "item_id": ids,
            "original": ids,
            "timestamp": np.where(ids > 0, time, 0),
            "genre": 2 * ids,
        }
        dtypes = {"item_id": dtype, "genre": "int64" if way == "eager" else "int32"}
        lengths = cuts(ids, draw)
        inputs = {
            key: as_ragged(cast, lengths) if is_ragged else tf.constant(cast)
            for key, array in arrays.items()
            for cast in [array.astype(dtypes.get(key, "int64"))]
        }
        seed = tf.constant([draw.getrandbits(40), draw.getrandbits(40)], tf.int64)
        if way == "eager":
            view = LAYERS[name]()(inputs, training=True, seed=seed)
        else:
            view = traced(name, way == "xla")(inputs, seed)
        assert set(view) == set(inputs)
        for key in inputs:
            assert view[key].dtype == inputs[key].dtype
            assert isinstance(view[key], tf.RaggedTensor) == is_ragged
            assert view[key].shape[0] == len(ids)
            if not is_ragged:
                assert view[key].shape == inputs[key].shape
        keep_contract(name, {key: padded_to(one) for key, one in view.items()}, arrays)


def keep_contract(
    name: str, view: dict[str, npt.NDArray[Any]], inputs: dict[str, npt.NDArray[Any]]
) -> None:
    """Each item is one of its row, like one of it, or hidden, with its columns."""
    everything = set(inputs["item_id"].flat) - {PADDING_ID}
    for number, row in enumerate(inputs["item_id"]):
        mine = row[row > 0].tolist()
        items = view["item_id"][number].astype(np.int64)
        is_item = items != PADDING_ID
        assert is_item.any() == bool(mine)
        # All padding is on one side.
        assert np.count_nonzero(np.diff(is_item.astype(int))) <= 1
        for column in view.values():
            assert not column[number][~is_item].any()
        allowed = everything if name == "swap_noise" else set(mine)
        inserts = name.endswith("insert")
        if not inserts:
            assert is_item.sum() <= len(mine)
        times = set(inputs["timestamp"][number].tolist())
        for item, original, genre, time in zip(
            items[is_item],
            view["original"][number][is_item].tolist(),
            view["genre"][number][is_item].tolist(),
            view["timestamp"][number][is_item].tolist(),
            strict=True,
        ):
            assert original in allowed
            similar = NEIGHBORS[original] if original < VOCABULARY_SIZE else []
            brings = name.endswith(("substitute", "insert"))
            is_new = brings and item in similar
            assert is_new or item in (original, MASK_ID)
            assert genre == 2 * (item if is_new else original)
            if name not in ("swap_noise", "time_interval_insert"):
                assert time in times


@functools.cache
def encoder(variant: str, policy: str) -> tuple[Any, Callable[..., tf.Tensor]]:
    made = encoders.make(variant, dtype=policy)
    signature = [tf.TensorSpec([None, None], tf.int32)]
    return made, tf.function(made, input_signature=signature)


def test_padding_and_form_change_no_embedding(draws: Draws) -> None:
    for draw in draws():
        policy = draw.choice(["float32", "mixed_float16"])
        layer, graph = encoder(draw.choice(list(encoders.VARIANTS)), policy)
        is_graph = draw.random() < 0.1
        dtype = "int32" if is_graph else draw.choice(DTYPES)
        largest = min(np.iinfo(dtype).max, 2**40)
        rows = item_rows(draw, most=12, largest=largest)
        # An id beyond the table counts as the one for unknown items.
        width = max([len(row) for row in rows] + [0])
        right = np.array([row + [0] * (width - len(row)) for row in rows])
        right = right.reshape(len(rows), width).astype(dtype)
        expected = layer(tf.constant(right)).numpy()
        assert expected.shape == (len(rows), encoders.OUTPUT_DIM)
        assert np.isfinite(expected).all()
        other = scattered(rows, draw, width + draw.choice([0, 1, 5])).astype(dtype)
        embed = graph if is_graph else layer
        forms = [embed(tf.constant(other)), layer(as_ragged(other, cuts(other, draw)))]
        tolerance = 2e-5 if policy == "float32" else 2e-2
        for embeddings in forms:
            assert embeddings.dtype == layer.compute_dtype
            np.testing.assert_allclose(embeddings, expected, tolerance, tolerance)
        empty = [number for number, row in enumerate(rows) if not row]
        for number in empty[1:]:
            np.testing.assert_array_equal(expected[number], expected[empty[0]])


def views(draw: random.Random, kinds: Sequence[str]) -> list[npt.NDArray[np.float32]]:
    """Two correlated views, with columns of odd kinds."""
    generator = np.random.default_rng(draw.getrandbits(32))
    batch, dim = draw.choice([2, 3, 8, 40]), draw.choice([1, 2, 5, 24])
    first = generator.normal(size=[batch, dim])
    second = first + draw.choice([0.1, 1, 5]) * generator.normal(size=[batch, dim])
    made = []
    for view in (first, second):
        for column in range(dim):
            kind = draw.choice(["normal"] * 6 + list(kinds))
            if kind == "constant":
                view[:, column] = draw.choice([0, 1, -3.7, 1e6])
            elif kind == "offset":
                view[:, column] += 100
            elif kind != "normal":
                view[:, column] *= float(kind)
        made.append(view.astype(draw.choice([np.float32, np.float32, np.float64])))
    return made


def weighted(
    draw: random.Random, batch: int
) -> tuple[tf.Tensor | None, npt.NDArray[np.float64]]:
    """Weights of rows, for the loss and for NumPy."""
    if draw.random() < 0.6:
        return None, np.ones(batch)
    counts = [draw.choice([0, 1, 2, 0.5]) for _ in range(batch)]
    counts[0] = counts[1] = 1.0
    return tf.constant(counts, tf.float32), np.array(counts, float)


def test_barlow_twins_loss_is_that_of_float64(draws: Draws) -> None:
    for draw in draws():
        first, second = views(draw, ["constant", "offset", "1e15", "1e-15", "1e-3"])
        epsilon = draw.choice([0.0, 1e-5, 1e-3])
        weights, counts = weighted(draw, len(first))
        shares = counts[:, np.newaxis] / counts.sum()
        standardized, relative = [], []
        for view in (first, second):
            view = view.astype(np.float64)
            size = np.abs(view[counts > 0]).max(axis=0)
            # A constant column is not correlated with any.
            constant = np.ptp(view[counts > 0], axis=0) == 0
            view = view - (shares * view).sum(axis=0)
            variance = (shares * view**2).sum(axis=0)
            relative += (np.sqrt(variance)[~constant] / size[~constant]).tolist()
            variance = np.where(constant, np.inf, variance + epsilon)
            standardized.append(view / np.sqrt(variance))
        if min(relative, default=1) < 1e-4:
            continue  # Of such a column float32 keeps hardly more than rounding errors.
        cross = (shares * standardized[0]).T @ standardized[1]
        diagonal = np.diag(cross)
        invariance = ((1 - diagonal) ** 2).sum()
        redundancy = (cross**2).sum() - (diagonal**2).sum()
        weight = draw.choice([0.0, 5e-3, 1.0])
        loss = tfrsb.losses.barlow_twins_loss(
            tf.constant(first),
            tf.constant(second),
            off_diagonal_weight=weight,
            sample_weight=weights,
            epsilon=epsilon,
            algorithm=draw.choice(["auto", "direct", "gram"]),
            check_finite=draw.random() < 0.5,
        )
        expected = invariance + weight * redundancy
        size = len(diagonal) + weight * (diagonal**2).sum()
        np.testing.assert_allclose(float(loss), expected, rtol=1e-3, atol=1e-3 * size)


def test_vicreg_loss_is_that_of_float64(draws: Draws) -> None:
    for draw in draws():
        first, second = views(draw, ["constant", "offset", "1e4", "1e-15", "1e-3"])
        weights, counts = weighted(draw, len(first))
        rows, total = counts[:, np.newaxis], counts.sum()
        a, b = first.astype(np.float64), second.astype(np.float64)
        dim = a.shape[1]
        expected = 25 * (rows * (a - b) ** 2).sum() / (total * dim)
        for view in (a, b):
            centered = view - (rows * view).sum(axis=0) / total
            covariance = (rows * centered).T @ centered / (total - 1)
            deviation = np.sqrt(np.diag(covariance) + 1e-4)
            expected += 25 * np.maximum(0, 1 - deviation).mean() / 2
            off = covariance - np.diag(np.diag(covariance))
            expected += (off**2).sum() / dim
        loss = tfrsb.losses.vicreg_loss(
            tf.constant(first),
            tf.constant(second),
            sample_weight=weights,
            algorithm=draw.choice(["auto", "direct", "gram"]),
            check_finite=draw.random() < 0.5,
        )
        np.testing.assert_allclose(float(loss), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "loss", [tfrsb.losses.barlow_twins_loss, tfrsb.losses.vicreg_loss]
)
def test_what_is_not_finite_is_named_or_makes_the_loss_nan(
    loss: Callable[..., tf.Tensor], draws: Draws
) -> None:
    for draw in draws():
        pair = views(draw, ["constant"])
        view = draw.choice([0, 1])
        row, column = (draw.randrange(size) for size in pair[view].shape)
        pair[view][row, column] = draw.choice([np.nan, np.inf, -np.inf])
        algorithm = draw.choice(["auto", "direct", "gram"])
        value = loss(*map(tf.constant, pair), algorithm=algorithm)
        assert not np.isfinite(value)
        name = ("first_embeddings", "second_embeddings")[view]
        with pytest.raises(
            tf.errors.InvalidArgumentError,
            match=rf"{name} must be finite[\s\S]*\b{column}\b",
        ):
            loss(*map(tf.constant, pair), algorithm=algorithm, check_finite=True)


def test_ranking_metrics_are_those_of_a_loop(draws: Draws) -> None:
    for draw in draws():
        users, items = draw.choice([1, 2, 7]), draw.choice([1, 4, 12])
        values = draw.choice([[0.0], [0.0, 1.0], list(np.linspace(-2, 2, 9))])
        values = [*values, -np.inf] if draw.random() < 0.5 else values
        scores = [[draw.choice(values) for _ in range(items)] for _ in range(users)]
        labels = [draw.randint(-1, items) for _ in range(users)]
        k, first = draw.choice([1, 3, 20]), draw.choice([0, 1, 3])
        ranks = [
            rank_of(label, row, first)
            for label, row in zip(labels, scores, strict=True)
        ]
        within = np.array([rank if rank <= k else np.inf for rank in ranks])
        metrics = tfrsb.metrics
        expected = {
            metrics.HitRate(k, first_item_id=first): np.isfinite(within).mean(),
            metrics.NDCG(k, first_item_id=first): (1 / np.log2(1 + within)).mean(),
            metrics.MRR(k, first_item_id=first): (1 / within).mean(),
            metrics.MRR(first_item_id=first): (1 / np.array(ranks)).mean(),
        }
        kind = draw.choice([tf.float16, tf.float32, tf.float64])
        true = tf.constant(labels, draw.choice([tf.int32, tf.int64]))
        for metric, value in expected.items():
            metric.update_state(true, tf.constant(scores, kind))
            assert float(metric.result()) == pytest.approx(value, abs=1e-6)


def rank_of(label: int, scores: Sequence[float], first_item_id: int) -> float:
    """The rank of a label: all items that score as much come before it."""
    if not first_item_id <= label < len(scores) or scores[label] == -np.inf:
        return np.inf
    rivals = [i for i in range(first_item_id, len(scores)) if i != label]
    return 1 + sum(scores[rival] >= scores[label] for rival in rivals)
