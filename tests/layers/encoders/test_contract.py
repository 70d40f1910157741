"""What holds for every encoder."""

from __future__ import annotations

import inspect
import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_recommenders as tfrs
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_barlow.ids import OUT_OF_VOCABULARY_ID
from tfrs_barlow.layers import (
    ConvolutionEncoder,
    GRUEncoder,
    ItemPoolingEncoder,
    SequenceEncoder,
    TransformerEncoder,
)

VOCABULARY_SIZE = 13
DIM = 8
OUTPUT_DIM = 6

ENCODERS = {
    "mean": (ItemPoolingEncoder, {"pooling": "mean"}),
    "attention": (ItemPoolingEncoder, {}),
    "convolution": (ConvolutionEncoder, {"filters": DIM}),
    "gru": (GRUEncoder, {"units": 5}),
    "transformer": (TransformerEncoder, {"feed_forward_dim": 16}),
}
VARIANTS = {
    **ENCODERS,
    "attending transformer": (
        TransformerEncoder,
        {"num_layers": 1, "pooling": "attention"},
    ),
    "most recent item": (ItemPoolingEncoder, {"pooling": "last"}),
    "even kernel": (ConvolutionEncoder, {"kernel_size": 4, "filters": 5}),
    "deep convolution": (
        ConvolutionEncoder,
        {"filters": DIM, "num_layers": 4, "pooling": "last"},
    ),
    "deep gru": (GRUEncoder, {"units": 5, "num_layers": 2, "pooling": "mean"}),
    "causal": (TransformerEncoder, {"num_layers": 1, "causal": True}),
    "hashed": (ItemPoolingEncoder, {"hash_buckets": 7, "pooling": "mean"}),
    "few positions": (TransformerEncoder, {"num_layers": 1, "max_length": 3}),
}

IDS = tf.constant([[0, 0, 7, 9, 4], [5, 8, 6, 1, 2], [3, 0, 0, 3, 0], [0] * 5])


@pytest.fixture(params=ENCODERS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def make(variant: str, **kwargs: Any) -> SequenceEncoder:
    """Returns an encoder with random weights, biases included.

    Fresh biases are zero, and zero hides what padding does.
    """
    encoder_class, arguments = VARIANTS[variant]
    encoder = encoder_class(
        **{
            "vocabulary_size": VOCABULARY_SIZE,
            "embedding_dim": DIM,
            "output_dim": OUTPUT_DIM,
            **arguments,
            **kwargs,
        }
    )
    encoder.build([None, None])
    generator = np.random.default_rng(0)
    for weight in encoder.weights:
        weight.assign(generator.normal(scale=0.4, size=weight.shape))
    return encoder


def assert_equal(actual: Any, expected: Any, atol: float = 2e-6) -> None:
    np.testing.assert_allclose(actual, expected, rtol=0, atol=atol)


@st.composite
def padded_batches(draw: st.DrawFn) -> tuple[list[list[int]], np.ndarray]:
    """Draws rows of ids and the same rows with padding in between."""
    items = st.lists(st.integers(1, VOCABULARY_SIZE - 1), max_size=6)
    rows = draw(st.lists(items, min_size=1, max_size=4))
    width = max(map(len, rows)) + draw(st.integers(0, 5))
    padded = np.zeros([len(rows), width], np.int64)
    for padded_row, row in zip(padded, rows, strict=True):
        positions = draw(st.permutations(range(width)))[: len(row)]
        padded_row[sorted(positions)] = row
    return rows, padded


class TestPadding:
    @pytest.mark.parametrize("variant", VARIANTS)
    def test_changes_nothing_wherever_it_stands(self, variant: str) -> None:
        encoder = make(variant)
        dense = tf.function(
            lambda ids: encoder(ids),
            input_signature=[tf.TensorSpec([None, None], tf.int64)],
        )
        ragged = tf.function(
            lambda ids: encoder(ids),
            input_signature=[tf.RaggedTensorSpec([None, None], tf.int64)],
        )

        @settings(max_examples=20, deadline=None)
        @given(padded_batches())
        def check(batch):
            rows, padded = batch
            expected = ragged(tf.ragged.constant(rows, tf.int64, ragged_rank=1))
            assert_equal(dense(padded), expected)
            for row, alone in zip(rows, expected, strict=True):
                assert_equal(dense(np.array([row], np.int64))[0], alone)

        check()

    def test_changes_nothing_in_long_rows(self, name: str) -> None:
        encoder = make(name)
        ids = tf.random.uniform([3, 50], 1, VOCABULARY_SIZE, tf.int32)
        expected = encoder(ids)
        for left, right in [(0, 1), (1, 0), (150, 0), (0, 150), (60, 90)]:
            padded = tf.pad(ids, [[0, 0], [left, right]])
            assert_equal(encoder(padded), expected)

    def test_a_row_of_it_has_one_finite_embedding(self, name: str) -> None:
        encoder = make(name)
        expected = encoder(tf.zeros([1, 1], tf.int32))
        assert np.isfinite(expected).all()
        for width in (0, 2, 9):
            assert_equal(encoder(tf.zeros([1, width], tf.int32)), expected)
        assert_equal(encoder(tf.zeros([1, 3, DIM]), mask=[[False] * 3]), expected)
        assert_equal(encoder(tf.zeros([1, 0, DIM])), expected)
        assert_equal(encoder(tf.ragged.constant([[]], tf.int32)), expected)

    def test_has_no_gradient(self, name: str) -> None:
        encoder = make(name)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(encoder(IDS) ** 2)
        gradient = tape.gradient(loss, encoder.item_embedding.embeddings)
        assert not tf.convert_to_tensor(gradient)[0].numpy().any()

    def test_of_embeddings_may_be_nan(self, name: str) -> None:
        encoder = make(name)
        mask = IDS != 0
        clean = encoder.item_embedding(IDS)
        dirty = tf.where(mask[..., tf.newaxis], clean, np.nan)
        with tf.GradientTape() as tape:
            tape.watch(dirty)
            embeddings = encoder(dirty, mask=mask)
        assert_equal(embeddings, encoder(IDS))
        gradient = tape.gradient(embeddings, dirty)
        assert np.isfinite(gradient).all()
        assert not gradient.numpy()[~mask.numpy()].any()


class TestInputs:
    def test_embeddings_encode_as_their_ids_do(self, name: str) -> None:
        encoder = make(name)
        embeddings = encoder.item_embedding(IDS)
        assert_equal(encoder(embeddings, mask=IDS != 0), encoder(IDS))
        assert_equal(encoder(embeddings), encoder(embeddings, mask=tf.ones([4, 5]) > 0))

    def test_ragged_embeddings_encode_as_their_ids_do(self, name: str) -> None:
        encoder = make(name)
        ids = tf.ragged.constant([[7, 9], [], [5, 8, 6]])
        embeddings = ids.with_flat_values(encoder.item_embedding(ids.flat_values))
        assert_equal(encoder(embeddings), encoder(ids))

    def test_mask_may_come_from_keras(self, name: str) -> None:
        encoder = make(name)
        table = tf.keras.layers.Embedding(VOCABULARY_SIZE, DIM, mask_zero=True)
        expected = encoder(tf.convert_to_tensor(table(IDS)), mask=IDS != 0)
        assert_equal(encoder(table(IDS)), expected)
        assert_equal(encoder(table(tf.RaggedTensor.from_tensor(IDS))), expected)

    def test_mask_hides_ids_too(self, name: str) -> None:
        encoder = make(name)
        hidden = encoder(tf.constant([[5, 7, 9]]), mask=[[True, False, True]])
        assert_equal(hidden, encoder(tf.constant([[5, 9]])))

    @pytest.mark.parametrize("unknown", [-1, VOCABULARY_SIZE, 2**32 + 5, 2**62])
    def test_ids_without_a_row_are_out_of_vocabulary(self, unknown: int) -> None:
        encoder = make("convolution")
        actual = encoder(tf.constant([[5, unknown]], tf.int64))
        assert_equal(actual, encoder(tf.constant([[5, OUT_OF_VOCABULARY_ID]])))

    @pytest.mark.parametrize(
        "dtype", [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
    )
    def test_ids_may_be_of_any_integer_type(self, dtype: str) -> None:
        encoder = make("mean")
        assert_equal(encoder(tf.cast(IDS, dtype)), encoder(IDS))
        ragged = tf.RaggedTensor.from_tensor(tf.cast(IDS, dtype), padding=0)
        assert_equal(encoder(ragged), encoder(IDS))

    def test_huge_unsigned_id_is_out_of_vocabulary(self) -> None:
        encoder = make("mean")
        actual = encoder(tf.constant([[2**64 - 1]], tf.uint64))
        assert_equal(actual, encoder(tf.constant([[OUT_OF_VOCABULARY_ID]])))

    @pytest.mark.parametrize(
        ("inputs", "error", "message"),
        [
            (tf.constant([5, 7]), ValueError, r"\[batch, length\] if they are ids"),
            (tf.constant([[[5, 7]]]), ValueError, r"\[batch, length\] if they are ids"),
            (tf.constant([[5.0, 7.0]]), ValueError, "embedding_dim=8] if they are flo"),
            (tf.zeros([2, 3, DIM + 1]), ValueError, "embedding_dim=8] if they are flo"),
            (tf.constant([["Alien"]]), TypeError, "their dtype is string"),
            (tf.constant([[True]]), TypeError, "their dtype is bool"),
            (tf.sparse.from_dense([[5, 7]]), TypeError, "they are a SparseTensor"),
            ([[5, 7], [8]], TypeError, "they are a list"),
        ],
    )
    def test_others_are_rejected(
        self, inputs: Any, error: type[Exception], message: str
    ) -> None:
        with pytest.raises(error, match=f"inputs must .*{message}"):
            make("mean")(inputs)

    def test_are_rejected_when_traced(self) -> None:
        traced = tf.function(make("mean"))
        with pytest.raises(ValueError, match=r"inputs must have the shape"):
            traced.get_concrete_function(tf.TensorSpec([None], tf.int32))
        with pytest.raises(ValueError, match=r"inputs must have the shape"):
            traced.get_concrete_function(tf.TensorSpec(None, tf.int32))

    def test_ids_without_a_vocabulary_are_rejected(self, name: str) -> None:
        encoder = make(name, vocabulary_size=None)
        assert encoder.item_embedding is None
        assert encoder(tf.zeros([2, 3, DIM])).shape == [2, OUTPUT_DIM]
        with pytest.raises(
            ValueError, match="inputs must be embeddings, since the enc"
        ):
            encoder(IDS)

    @pytest.mark.parametrize(
        ("mask", "error", "message"),
        [
            (tf.ones([4, 5]), TypeError, "mask must be boolean.* float32"),
            (tf.ones([4], tf.bool), ValueError, "mask must have the shape"),
            (tf.ones([4, 6], tf.bool), ValueError, "mask must have the shape"),
            (tf.ragged.constant([[True]] * 4), ValueError, "mask must be dense or rag"),
        ],
    )
    def test_mask_must_fit(
        self, mask: Any, error: type[Exception], message: str
    ) -> None:
        with pytest.raises(error, match=message):
            make("mean")(IDS, mask=mask)

    @pytest.mark.parametrize("variant", VARIANTS)
    def test_a_batch_may_be_empty(self, variant: str) -> None:
        encoder = make(variant)
        for ids in (IDS[:0], IDS[:0, :0]):
            assert encoder(ids).shape == [0, OUTPUT_DIM]


class TestGraphs:
    @pytest.mark.parametrize("jit_compile", [False, True])
    def test_equal_eager_execution(self, name: str, jit_compile: bool) -> None:
        encoder = make(name)
        compiled = tf.function(
            encoder,
            jit_compile=jit_compile,
            input_signature=[tf.TensorSpec([None, None], tf.int32)],
        )
        for ids in (IDS, IDS[:, :0], tf.pad(IDS, [[0, 0], [2, 1]])):
            assert_equal(compiled(ids), encoder(ids))

    def test_know_the_output_shape(self, name: str) -> None:
        encoder = make(name)
        outputs = encoder(tf.keras.Input([None], dtype=tf.int64))
        assert outputs.shape.as_list() == [None, OUTPUT_DIM]
        assert encoder.compute_output_shape([3, None]).as_list() == [3, OUTPUT_DIM]

    @pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
    def test_compute_in_the_dtype_of_the_policy(self, name: str, policy: str) -> None:
        encoder = make(name, dtype=policy)
        with tf.GradientTape() as tape:
            embeddings = encoder(IDS)
            loss = tf.reduce_sum(tf.cast(embeddings, tf.float32))
        assert embeddings.dtype == encoder.compute_dtype
        for gradient in tape.gradient(loss, encoder.trainable_variables):
            assert np.isfinite(tf.convert_to_tensor(gradient)).all()
        exact = make(name)(IDS)
        scale = np.abs(exact).max()
        assert_equal(tf.cast(embeddings, tf.float32), exact, atol=0.05 * scale)

    def test_follow_the_global_policy(self) -> None:
        tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
        try:
            assert make("transformer")(IDS).dtype == tf.bfloat16
        finally:
            tf.keras.mixed_precision.set_global_policy("float32")


class TestSaving:
    def test_config_makes_an_equal_encoder(self, name: str) -> None:
        encoder = make(name, dropout=0.25, name="tower", dtype="mixed_bfloat16")
        serialized = tf.keras.saving.serialize_keras_object(encoder)
        twin = tf.keras.saving.deserialize_keras_object(serialized)
        assert twin.get_config() == encoder.get_config()
        assert (twin.name, twin.compute_dtype) == ("tower", "bfloat16")
        # It has all its weights before the first call, for a checkpoint to restore.
        twin.set_weights(encoder.get_weights())
        assert_equal(tf.cast(twin(IDS), tf.float32), tf.cast(encoder(IDS), tf.float32))

    @pytest.mark.parametrize("ragged", [False, True])
    def test_keras_file(self, name: str, ragged: bool, tmp_path: pathlib.Path) -> None:
        encoder = make(name)
        inputs = tf.keras.Input([None], dtype=tf.int64, ragged=ragged)
        model = tf.keras.Model(inputs, encoder(inputs))
        model.save(tmp_path / "model.keras")
        loaded = tf.keras.models.load_model(tmp_path / "model.keras")
        ids = tf.cast(IDS, tf.int64)
        ids = tf.RaggedTensor.from_tensor(ids) if ragged else ids
        assert_equal(loaded(ids), encoder(IDS))

    @pytest.mark.parametrize("file", ["weights.h5", "weights.weights.h5", "checkpoint"])
    def test_weights_file(self, name: str, file: str, tmp_path: pathlib.Path) -> None:
        encoder, fresh = make(name), make(name)
        fresh.set_weights([weight + 1 for weight in encoder.get_weights()])
        model, loaded = tf.keras.Sequential([encoder]), tf.keras.Sequential([fresh])
        expected = model(IDS)
        assert not np.allclose(loaded(IDS), expected)
        model.save_weights(tmp_path / file)
        loaded.load_weights(tmp_path / file)
        assert_equal(loaded(IDS), expected)

    def test_saved_model_of_a_module(self, name: str, tmp_path: pathlib.Path) -> None:
        module = tf.Module()
        module.encoder = make(name)
        module.serve = tf.function(
            lambda ids: module.encoder(ids),
            input_signature=[tf.TensorSpec([None, None], tf.int64)],
        )
        tf.saved_model.save(module, tmp_path)
        loaded = tf.saved_model.load(tmp_path)
        ids = tf.cast(IDS, tf.int64)
        assert_equal(loaded.serve(ids), module.encoder(ids))

    @pytest.mark.parametrize("name", ["convolution", "transformer"])
    def test_saved_model_of_a_keras_model(
        self, name: str, tmp_path: pathlib.Path
    ) -> None:
        model = tf.keras.Sequential([make(name)])
        expected = model(IDS)
        model.save(tmp_path, save_format="tf")
        assert_equal(tf.keras.models.load_model(tmp_path)(IDS), expected)


class TestTraining:
    def test_dropout_acts_in_training_only(self, name: str) -> None:
        encoder = make(name, dropout=0.5)
        assert_equal(encoder(IDS), make(name)(IDS))
        first, second = encoder(IDS, training=True), encoder(IDS, training=True)
        assert not np.allclose(first[:2], second[:2])
        # The last row has no items, hence nothing to drop.
        assert_equal(first[3], encoder(IDS)[3])

    def test_without_dropout_equals_inference(self, name: str) -> None:
        encoder = make(name)
        assert_equal(encoder(IDS, training=True), encoder(IDS))

    def test_reaches_every_weight(self, name: str) -> None:
        encoder = make(name)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(encoder(IDS) ** 2)
        for gradient in tape.gradient(loss, encoder.trainable_variables):
            gradient = tf.convert_to_tensor(gradient).numpy()
            assert np.isfinite(gradient).all() and gradient.any()

    def test_as_a_query_tower_beside_a_shared_item_table(self) -> None:
        class Model(tfrs.Model):
            def __init__(self):
                super().__init__()
                self.query_tower = make("convolution", output_dim=DIM)
                self.candidate_tower = self.query_tower.item_embedding
                self.task = tfrs.tasks.Retrieval()

            def compute_loss(self, features, training=False):
                queries = self.query_tower(features["history"], training=training)
                return self.task(queries, self.candidate_tower(features["label"]))

        features = {"history": IDS[:3], "label": tf.constant([3, 4, 5])}
        model = Model()
        model.compile(tf.keras.optimizers.Adam(0.01))
        dataset = tf.data.Dataset.from_tensors(features).repeat(5)
        losses = model.fit(dataset, epochs=4, verbose=0).history["loss"]
        assert losses[-1] < losses[0]


class TestSubclass:
    def test_must_define_how_it_encodes(self) -> None:
        with pytest.raises(TypeError, match="abstract"):
            SequenceEncoder()

    def test_gets_right_padded_rows(self) -> None:
        seen = {}

        class Spy(ItemPoolingEncoder):
            def encode(self, embeddings, mask, training):
                seen.update(embeddings=embeddings, mask=mask)
                return embeddings

        encoder = Spy(VOCABULARY_SIZE, embedding_dim=DIM)
        encoder(tf.constant([[0, 7, 0, 9], [0, 0, 0, 5]]))
        expected = [[True, True, False, False], [True, False, False, False]]
        np.testing.assert_array_equal(seen["mask"], expected)
        items = tf.boolean_mask(seen["embeddings"], seen["mask"])
        assert_equal(items, encoder.item_embedding(tf.constant([7, 9, 5])))

    def test_table_row_of_padding_is_never_read(self) -> None:
        encoder = make("mean")
        before = encoder(IDS)
        table = encoder.item_embedding.embeddings
        table.assign(tf.tensor_scatter_nd_add(table, [[0]], tf.fill([1, DIM], 9.0)))
        assert_equal(encoder(IDS), before)


@pytest.mark.parametrize(("encoder_class", "_"), ENCODERS.values(), ids=ENCODERS)
class TestArguments:
    def test_of_all_encoders_are_in_each_signature(
        self, encoder_class: type[SequenceEncoder], _: Any
    ) -> None:
        shown = inspect.signature(encoder_class).parameters
        for name in inspect.signature(SequenceEncoder).parameters:
            assert f" {name}: " in inspect.getdoc(encoder_class).replace("**", " ")
            assert name in shown
        positional = [
            p.name for p in shown.values() if p.kind == p.POSITIONAL_OR_KEYWORD
        ]
        assert positional == ["vocabulary_size"]

    @pytest.mark.parametrize(
        ("argument", "value", "expected"),
        [
            ("vocabulary_size", 3, "at least 4"),
            ("embedding_dim", 0, "at least 1"),
            ("output_dim", -1, "at least 1"),
            ("hash_buckets", 3, "at least 4"),
            ("dropout", 1, "below 1"),
            ("dropout", -0.1, "at least 0"),
            ("pooling", "max", "one of 'attention', 'last', 'mean'"),
        ],
    )
    def test_out_of_range_are_named(
        self,
        encoder_class: type[SequenceEncoder],
        _: Any,
        argument: str,
        value: Any,
        expected: str,
    ) -> None:
        with pytest.raises(
            ValueError, match=f"^{argument} must be .*{expected}.*{value}"
        ):
            encoder_class(**{argument: value})


def test_numpy_integers_are_integers() -> None:
    encoder = ItemPoolingEncoder(
        np.int64(13), embedding_dim=np.int32(8), output_dim=np.int64(6)
    )
    assert encoder(IDS).shape == [4, 6]
    assert type(encoder.get_config()["vocabulary_size"]) is int
