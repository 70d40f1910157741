"""One door: every public argument refuses a wrong type and a wrong value by name.

The walk takes each name of each package's `__all__`, and for each parameter that is a
number, a boolean, a text or one of several names, calls it with values that cannot be
right. A `TypeError` or `ValueError` must name the parameter, and at once: in the
constructor or the call, not at the first batch.
"""

from __future__ import annotations

import functools
import inspect
import pathlib
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import tfrs_barlow as tfrsb
from tests.test_package import PACKAGES

WRONG = {
    int: [2.5, "3", float("nan"), [3], True],
    float: ["0.5", float("nan"), [0.5], True],
    bool: ["yes", 2, None],
    str: [3, b"text", ["text"]],
}
"""Values of a wrong type for a parameter, or that no parameter of the type can have."""

UNBOUNDED = {"seed", "time", "min_rating"}
"""Parameters that may be any number of their type, negative ones included."""

UNCHECKED = {"name", "dtype", "verbose"}
"""What Keras checks itself, or not at all."""


@functools.cache
def log() -> tfrsb.data.InteractionLog:
    return tfrsb.data.generate_synthetic_log(num_users=12, num_items=16, mean_length=8)


@functools.cache
def sequences() -> tfrsb.data.UserSequences:
    return tfrsb.data.build_sequences(log())[0]


@functools.cache
def vocabulary() -> tfrsb.data.Vocabulary:
    return tfrsb.data.build_sequences(log())[1]


@functools.cache
def task() -> tfrsb.evaluation.DownstreamTask:
    return tfrsb.evaluation.downstream_task("next_item", sequences(), None)


def views() -> tuple[tf.Tensor, tf.Tensor]:
    return tf.random.normal([4, 3]), tf.random.normal([4, 3])


def encoder() -> tf.keras.layers.Layer:
    return tfrsb.layers.ItemPoolingEncoder(20, output_dim=4)


def dual_encoder() -> tfrsb.models.DualEncoder:
    return tfrsb.models.DualEncoder(encoder(), tf.keras.layers.Embedding(20, 4))


def embeddings() -> tfrsb.evaluation.LabeledEmbeddings:
    labels = np.arange(8) % 2
    return tfrsb.evaluation.LabeledEmbeddings(np.random.rand(8, 3), labels)


def two_embeddings() -> dict[str, Any]:
    first, second = views()
    return {"first_embeddings": first, "second_embeddings": second}


def towers() -> dict[str, Any]:
    return {
        "query_tower": encoder(),
        "candidate_tower": tf.keras.layers.Embedding(20, 4),
    }


def tables() -> dict[str, Any]:
    table = pd.DataFrame({"u": [1, 2], "i": [1, 2], "t": [1, 2]})
    return {"source": table, "user_column": "u", "item_column": "i", "time_column": "t"}


def tuning() -> dict[str, Any]:
    return {"settings": tfrsb.evaluation.FineTuningSettings(steps=1, length=4)}


NEIGHBORS = {"rate": 0.5, "neighbors": np.full([20, 2], 3)}
RATE = {"rate": 0.5}

CALLS: dict[str, Callable[[], dict[str, Any]]] = {
    "losses.barlow_twins_floor": lambda: {
        "batch_size": 4,
        "dimension": 8,
        "off_diagonal_weight": 0.1,
    },
    "losses.barlow_twins_loss": two_embeddings,
    "losses.cross_correlation_matrix": two_embeddings,
    "losses.cross_correlation_terms": two_embeddings,
    "losses.optimal_invariance": lambda: {
        "batch_size": 4,
        "dimension": 8,
        "off_diagonal_weight": 0.1,
    },
    "losses.vicreg_loss": two_embeddings,
    "losses.weight_for_invariance": lambda: {
        "target_invariance": 0.9,
        "batch_size": 4,
        "dimension": 8,
    },
    "layers.ByLength": lambda: {
        "threshold": 3,
        "short": tfrsb.layers.RandomMask(0.5),
        "long": tfrsb.layers.RandomDrop(0.5),
    },
    "layers.ConvolutionEncoder": lambda: {"vocabulary_size": 20},
    "layers.GRUEncoder": lambda: {"vocabulary_size": 20},
    "layers.HashedEmbedding": lambda: {
        "input_dim": 20,
        "output_dim": 4,
        "num_buckets": 5,
    },
    "layers.ItemPoolingEncoder": lambda: {"vocabulary_size": 20},
    "layers.Projector": lambda: {},
    "layers.RandomChoice": lambda: {"augmentations": [tfrsb.layers.RandomMask(0.5)]},
    "layers.RandomCrop": lambda: RATE,
    "layers.RandomDrop": lambda: RATE,
    "layers.RandomInsert": lambda: NEIGHBORS,
    "layers.RandomMask": lambda: RATE,
    "layers.RandomReorder": lambda: RATE,
    "layers.RandomSubstitute": lambda: NEIGHBORS,
    "layers.SegmentMask": lambda: RATE,
    "layers.SequenceAugmentation": lambda: {},
    "layers.Sequential": lambda: {"augmentations": [tfrsb.layers.RandomMask(0.5)]},
    "layers.SwapNoise": lambda: RATE,
    "layers.TimeIntervalCrop": lambda: RATE,
    "layers.TimeIntervalInsert": lambda: NEIGHBORS,
    "layers.TimeIntervalMask": lambda: RATE,
    "layers.TimeIntervalReorder": lambda: RATE,
    "layers.TimeIntervalSubstitute": lambda: NEIGHBORS,
    "layers.TransformerEncoder": lambda: {"vocabulary_size": 20},
    "layers.TwoViews": lambda: {"augmentations": [tfrsb.layers.RandomMask(0.5)]},
    "layers.preset_views": lambda: {"preset": "cl4srec"},
    "metrics.Coverage": lambda: {"k": 2, "vocabulary_size": 20},
    "metrics.FactorizedRanking": lambda: {
        "candidates": tf.zeros([5, 4]),
        "metrics": [tfrsb.metrics.HitRate(2)],
    },
    "metrics.HitRate": lambda: {"k": 2},
    "metrics.MRR": lambda: {},
    "metrics.NDCG": lambda: {"k": 2},
    "metrics.PopularityBias": lambda: {"k": 2, "item_counts": np.ones(20)},
    "metrics.collapse_diagnostics": two_embeddings,
    "optimizers.LARS": lambda: {},
    "optimizers.discriminative": lambda: {
        "optimizer": tf.keras.optimizers.Adam(),
        "multipliers": {encoder(): 0.1},
    },
    "tasks.BarlowTwinsTask": lambda: {},
    "data.SequencePairs": lambda: {
        "sequences": sequences(),
        "first": np.array([0, 1]),
        "second": np.array([1, 0]),
    },
    "data.build_sequences": lambda: {"log": log()},
    "data.cooccurrence_neighbors": lambda: {
        "sequences": sequences(),
        "vocabulary_size": vocabulary().size,
    },
    "data.different_period_pairs": lambda: {"sequences": sequences()},
    "data.embedding_neighbors": lambda: {"embeddings": np.random.rand(20, 4)},
    "data.filter_k_core": lambda: {"log": log(), "min_per_user": 1, "min_per_item": 1},
    "data.filter_ratings": lambda: {"log": log(), "min_rating": 1.0},
    "data.generate_synthetic_log": lambda: {"num_users": 5, "num_items": 20},
    "data.load_movielens": lambda: {"dataset": "ml-1m", "data_dir": "nowhere"},
    "data.pair_batches": lambda: {
        "draw_pairs": lambda seed: tfrsb.data.same_target_pairs(sequences(), seed=seed),
        "batch_size": 2,
        "length": 4,
    },
    "data.read_interactions": tables,
    "data.read_sequences": lambda: {"path": "nowhere", "batch_size": 2},
    "data.read_yelp": lambda: {"data_dir_or_archive": "nowhere"},
    "data.same_target_pairs": lambda: {"sequences": sequences()},
    "data.scan_sequences": lambda: {
        "path": "nowhere.csv",
        "user_column": "u",
        "item_column": "i",
        "time_column": "t",
    },
    "data.split_by_time": lambda: {"log": log()},
    "data.split_last": lambda: {"log": log()},
    "data.split_users": lambda: {"num_users": 10},
    "data.training_batches": lambda: {
        "sequences": sequences(),
        "batch_size": 2,
        "length": 4,
    },
    "data.write_sequences": lambda: {
        "sequences": sequences(),
        "path": "nowhere/at/all",
        "vocabulary": vocabulary(),
    },
    "data.write_sequences_with_beam": lambda: {
        "file_pattern": "nowhere*.csv",
        "path": "nowhere/at/all",
        "user_column": "u",
        "item_column": "i",
        "time_column": "t",
    },
    "models.BarlowTwinsPretraining": lambda: {"query_tower": encoder()},
    "models.DualEncoder": towers,
    "models.JointModel": lambda: {
        "dual_encoder": dual_encoder(),
        "barlow_twins": tfrsb.models.BarlowTwinsPretraining(encoder()),
    },
    "models.NextItemModel": lambda: {**towers(), "vocabulary_size": 20},
    "models.fit_resumable": lambda: {
        "model": tfrsb.models.BarlowTwinsPretraining(encoder()),
        "make_batches": functools.partial(
            tfrsb.data.training_batches, sequences(), batch_size=2, length=4
        ),
        "steps": 1,
        "backup_dir": "nowhere/at/all",
    },
    "models.warm_start": lambda: {"encoder": encoder(), "source": "nowhere"},
    "evaluation.FineTuningSettings": lambda: {},
    "evaluation.downstream_task": lambda: {
        "name": "next_item",
        "sequences": sequences(),
        "categories": None,
    },
    "evaluation.embed_users": lambda: {
        "encoder": encoder(),
        "sequences": sequences(),
        "length": 4,
    },
    "evaluation.evaluate_dual_encoder": lambda: {
        "model": dual_encoder(),
        "task": task(),
        "vocabulary_size": 20,
        "length": 4,
    },
    "evaluation.fine_tune_classifier": lambda: {
        "encoder": encoder(),
        "train": task(),
        "validation": task(),
        "num_classes": 20,
        **tuning(),
    },
    "evaluation.fine_tune_retrieval": lambda: {
        "model": dual_encoder(),
        "train": sequences(),
        "validation": task(),
        "vocabulary_size": 20,
        **tuning(),
    },
    "evaluation.linear_probe": lambda: {
        "train": embeddings(),
        "validation": embeddings(),
        "test": embeddings(),
    },
    "evaluation.users_with_labels": lambda: {
        "split": tfrsb.data.split_users(10),
        "fraction": 0.5,
    },
    "callbacks.CrossCorrelationImage": lambda: {
        "log_dir": "nowhere",
        "batch": {"history": tf.constant([[3, 4], [5, 6]])},
    },
    "callbacks.EmbeddingProjector": lambda: {
        "log_dir": "nowhere",
        "users": sequences(),
        "length": 4,
    },
    "callbacks.OnlineKNN": lambda: {
        "train": task(),
        "validation": task(),
        "length": 4,
    },
    "callbacks.OnlineProbe": lambda: {
        "train": task(),
        "validation": task(),
        "length": 4,
    },
    "serving.export": lambda: {
        "query_tower": encoder(),
        "path": "nowhere/at/all",
        "vocabulary": vocabulary(),
    },
    "serving.load": lambda: {"path": "nowhere"},
    "serving.verify": lambda: {"path": "nowhere"},
    "study.StudyConfig": lambda: {},
    "study.best_by_validation": lambda: {"rows": pd.DataFrame(), "setting": "length"},
    "study.gains": lambda: {
        "rows": pd.DataFrame(),
        "method": "barlow_twins",
        "baseline": "dual_encoder",
    },
    "study.require_same_settings": lambda: {"folder": "nowhere", "settings": {}},
    "study.run_study": lambda: {
        "log": log(),
        "config": tfrsb.study.StudyConfig(),
        "output_dir": "nowhere/at/all",
        "dataset": "none",
    },
}
"""The least that each public name must be called with, in the right types."""


def public_callables() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Whatever a user calls: functions and constructors, not results and errors."""
    for package in PACKAGES:
        module = getattr(tfrsb, package)
        for name in module.__all__:
            value = getattr(module, name)
            is_class = inspect.isclass(value)
            if not callable(value) or typing.get_origin(value) is not None:
                continue
            if is_class and (inspect.isabstract(value) or issubclass(value, Exception)):
                continue
            if hasattr(value, "_fields") and f"{package}.{name}" not in CALLS:
                continue  # A named tuple that a function returns.
            yield f"{package}.{name}", value


def kinds(annotation: Any, module: Any) -> set[type] | tuple[Any, ...]:
    """Which of int, float, bool and str a parameter takes, or which of several names.

    Empty where it also takes what this walk does not know: a tensor, a path, a layer.
    """
    if isinstance(annotation, typing.ForwardRef):
        annotation = annotation.__forward_arg__
    if isinstance(annotation, str):
        annotation = eval(annotation, vars(module))
    if typing.get_origin(annotation) is typing.Literal:
        return typing.get_args(annotation)
    is_union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    parts = typing.get_args(annotation) if is_union else (annotation,)
    literals = [part for part in parts if typing.get_origin(part) is typing.Literal]
    if literals:
        return tuple(name for part in literals for name in typing.get_args(part))
    taken = [part for part in parts if part is not type(None)]
    known = [kind for kind in WRONG if kind in taken]
    others = [part for part in taken if part not in (*WRONG, tf.Tensor)]
    return set() if others else set(known)


def wrong_values(name: str, value: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    """Pairs of a parameter and a value that it must refuse."""
    module = inspect.getmodule(value)
    for parameter in inspect.signature(value).parameters.values():
        variadic = parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        if variadic or parameter.name in UNCHECKED:
            continue
        kind = kinds(parameter.annotation, module)
        if isinstance(kind, tuple):
            wrong = ["no such name", [3]]
        elif float in kind:
            wrong = WRONG[float]
        elif len(kind) == 1:
            wrong = WRONG[next(iter(kind))]
        else:
            continue
        if not isinstance(kind, tuple) and kind & {int, float}:
            wrong = [*wrong, *([] if parameter.name in UNBOUNDED else [-1, -(10**9)])]
        if parameter.default is None:
            wrong = [one for one in wrong if one is not None]
        for one in wrong:
            yield parameter.name, one


CASES = [
    pytest.param(name, value, parameter, wrong, id=f"{name}-{parameter}-{wrong!r}")
    for name, value in public_callables()
    for parameter, wrong in wrong_values(name, value)
]


@pytest.mark.parametrize(("name", "value", "parameter", "wrong"), CASES)
def test_a_wrong_argument_is_refused_by_name(
    name: str,
    value: Callable[..., Any],
    parameter: str,
    wrong: Any,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = {**CALLS[name](), parameter: wrong}
    with pytest.raises((TypeError, ValueError), match=rf"\b{parameter}\b"):
        value(**arguments)
    assert list(tmp_path.iterdir()) == [], "what was refused has left files"


@pytest.mark.parametrize("name", CALLS)
def test_the_calls_of_this_walk_name_what_is_public(name: str) -> None:
    package, _, attribute = name.partition(".")
    assert attribute in getattr(tfrsb, package).__all__
