"""The tutorials of TFRS: the same without Barlow Twins, and running with it."""

import difflib
import json
import os
import pathlib
import re
import subprocess
import sys
from typing import Any

import pytest

ROOT = pathlib.Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "tfrs_tutorials"
TUTORIALS = [
    "basic_retrieval",
    "sequential_retrieval",
    "multitask",
    "diststrat_retrieval",
    "basic_ranking",
]
MARK = "# + Barlow Twins"

# Each as a new module, on two devices, which `diststrat_retrieval` needs.
PROGRAM = """
import json, re, sys, types
import numpy as np
from examples.tfrs_tutorials import movielens as data, diststrat_retrieval
import tensorflow as tf

strategy = diststrat_retrieval.make_strategy()
fit = tf.keras.Model.fit

def keep_fit(model, *args, **kwargs):
    history = fit(model, *args, **kwargs)
    kept.append([history.history["loss"], [w.numpy() for w in model.trainable_weights]])
    return history

tf.keras.Model.fit = keep_fit
movielens, kept, results = data.load("synthetic", users=12), [], {}

def train(source, *variant):
    module = types.ModuleType("tutorial")
    exec(compile(source, "tutorial.py", "exec"), module.__dict__)
    module.BATCH_SIZE = 128
    module.make_strategy = lambda: strategy
    tf.keras.utils.set_random_seed(1)
    metrics = module.train_and_evaluate(movielens, data.Variant(*variant))
    return *kept.pop(), bool(all(np.isfinite(v) for v in metrics.values()))

def same(ours, theirs):
    pairs = list(zip(ours[1], theirs[1]))
    return ours[0] == theirs[0] and all(np.array_equal(*pair) for pair in pairs)

for name in sys.argv[1:]:
    source = open(f"examples/tfrs_tutorials/{name}.py").read()
    lines = source.splitlines(True)
    plain = "".join(line for line in lines if "# + Barlow Twins" not in line)
    call = r"self\\.barlow_twins\\.compute_loss\\(\\w+, True\\)"
    without_task, calls = re.subn(call, "0.0", source)
    switched_off, tutorial = train(source, 2), train(plain, 2)
    no_weight, no_task = train(source, 2, True, 0.0), train(without_task, 2, True, 0.0)
    weight = train(source, 1, True, 1e-3)
    runs = [switched_off, tutorial, no_task, no_weight, weight]
    results[name] = {
        "calls": calls,
        "switched off": same(switched_off, tutorial),
        "no weight": same(no_weight, no_task),
        "epochs": len(tutorial[0]),
        "counts": [len(weights) for _, weights, _ in runs],
        "finite": all(finite for _, _, finite in runs),
    }
print(json.dumps(results))
"""


def with_and_without(name: str) -> tuple[list[str], list[str]]:
    lines = (FOLDER / f"{name}.py").read_text().splitlines(keepends=True)
    return lines, [line for line in lines if MARK not in line]


def diff(name: str) -> str:
    """Returns what a user adds to a tutorial, as a unified diff."""
    lines, plain = with_and_without(name)
    lines = [line.replace(f"  {MARK}", "") for line in lines]
    hunks = difflib.unified_diff(plain, lines, f"a/{name}.py", f"b/{name}.py", n=1)
    return "".join(hunks)


@pytest.mark.parametrize("name", ["basic_retrieval", "sequential_retrieval"])
def test_the_page_shows_the_differences(name: str) -> None:
    page = (ROOT / "docs" / "existing_pipelines.md").read_text()
    blocks = re.findall(r"```diff\n(.*?)```", page, re.DOTALL)
    assert diff(name) in blocks


@pytest.mark.parametrize("name", TUTORIALS)
def test_without_the_marked_lines_nothing_of_ours_trains(name: str) -> None:
    code = "".join(with_and_without(name)[1]).split('"""', 2)[2]
    for word in ("history_model", "barlow_twins.", "Projector", "TwoViews"):
        assert word not in code


@pytest.fixture(scope="module")
def results() -> Any:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, *TUTORIALS],
        cwd=ROOT,
        env={**os.environ, "TF_USE_LEGACY_KERAS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    return json.loads(ended.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("name", TUTORIALS)
def test_switched_off_it_is_the_tutorial_bit_by_bit(name: str, results: Any) -> None:
    assert results[name]["epochs"] == 2
    assert results[name]["switched off"]


@pytest.mark.slow
@pytest.mark.parametrize("name", TUTORIALS)
def test_with_a_weight_of_0_all_towers_train_as_without_the_task(
    name: str, results: Any
) -> None:
    assert results[name]["calls"] == 1
    assert results[name]["no weight"]


@pytest.mark.slow
@pytest.mark.parametrize("name", TUTORIALS)
def test_with_weight_more_is_trained_and_all_metrics_are_numbers(
    name: str, results: Any
) -> None:
    switched_off, tutorial, no_task, no_weight, weight = results[name]["counts"]
    assert switched_off == tutorial <= no_task < no_weight == weight
    assert results[name]["finite"]
