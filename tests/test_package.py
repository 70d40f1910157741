"""The package as a newcomer meets it: its import, its order, its public names."""

import ast
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

import tfrs_barlow

FOLDER = pathlib.Path(tfrs_barlow.__file__).parent
PACKAGES = [
    "losses",
    "layers",
    "metrics",
    "optimizers",
    "tasks",
    "data",
    "models",
    "evaluation",
    "callbacks",
    "serving",
    "study",
]


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**clean, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


SLOW_TO_IMPORT = ["sklearn", "scipy.stats", "matplotlib", "duckdb", "pooch"]


def test_the_import_loads_nothing_slow_beyond_tensorflow_and_tfrs() -> None:
    code = f"""
import sys, tensorflow, tensorflow_recommenders
before = set(sys.modules)
import tfrs_barlow
print(sorted(set({SLOW_TO_IMPORT}) & (set(sys.modules) - before)))
"""
    assert python(code, TF_USE_LEGACY_KERAS="1").stdout.strip() == "[]"


@pytest.mark.parametrize(
    "code",
    [
        "import tfrs_barlow",
        # Too late: TensorFlow has already chosen its Keras.
        "import tensorflow as tf; tf.keras.Model; import os;"
        "os.environ['TF_USE_LEGACY_KERAS'] = '1'; import tfrs_barlow",
    ],
)
def test_keras_3_is_refused_with_what_to_do(code: str) -> None:
    result = python(code)
    assert result.returncode == 1
    error = result.stderr.strip().splitlines()[-1]
    assert error.startswith("ImportError: tfrs_barlow")
    assert "TF_USE_LEGACY_KERAS=1" in error


def imported_packages(package: str) -> Iterator[str]:
    """Yields the packages that the modules of a package import."""
    for file in (FOLDER / package).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                parts = node.module.split(".")
                if parts[0] == "tfrs_barlow" and len(parts) > 1:
                    yield parts[1]


@pytest.mark.parametrize("package", PACKAGES)
def test_no_import_runs_back_up(package: str) -> None:
    later = set(PACKAGES[PACKAGES.index(package) + 1 :])
    assert not later & set(imported_packages(package))


def test_every_package_is_in_the_order() -> None:
    folders = {file.parent.name for file in FOLDER.glob("*/__init__.py")}
    assert folders == set(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_has_the_name_of_a_public_function(package: str) -> None:
    """Else `tfrsb.package.name` would be the one or the other, by what is imported."""
    modules = {file.stem for file in (FOLDER / package).rglob("*.py")}
    assert not modules & set(getattr(tfrs_barlow, package).__all__)


def test_public_names() -> None:
    """The whole public interface: a change of it is a change of this test."""
    public = {
        package: sorted(getattr(tfrs_barlow, package).__all__) for package in PACKAGES
    }
    assert public == {
        "data": [
            "FIRST_ITEM_ID",
            "InteractionLog",
            "ItemCategories",
            "MASK_ID",
            "MalformedFileError",
            "MovieLensDataset",
            "OUT_OF_VOCABULARY_ID",
            "PADDING_ID",
            "SequencePairs",
            "UserSequences",
            "UserSplit",
            "Vocabulary",
            "build_sequences",
            "cooccurrence_neighbors",
            "different_period_pairs",
            "embedding_neighbors",
            "filter_k_core",
            "filter_ratings",
            "generate_synthetic_log",
            "load_movielens",
            "load_sequences",
            "pair_batches",
            "read_interactions",
            "read_sequences",
            "read_yelp",
            "same_target_pairs",
            "scan_sequences",
            "split_by_time",
            "split_last",
            "split_users",
            "training_batches",
            "verify_sequences",
            "write_sequences",
            "write_sequences_with_beam",
        ],
        "layers": [
            "ByLength",
            "ConvolutionEncoder",
            "GRUEncoder",
            "HashedEmbedding",
            "ItemPoolingEncoder",
            "Projector",
            "RandomChoice",
            "RandomCrop",
            "RandomDrop",
            "RandomInsert",
            "RandomMask",
            "RandomReorder",
            "RandomSubstitute",
            "SegmentMask",
            "SequenceAugmentation",
            "SequenceEncoder",
            "Sequential",
            "SwapNoise",
            "TimeIntervalCrop",
            "TimeIntervalInsert",
            "TimeIntervalMask",
            "TimeIntervalReorder",
            "TimeIntervalSubstitute",
            "TransformerEncoder",
            "TwoViews",
            "preset_views",
        ],
        "losses": [
            "CorrelationTerms",
            "barlow_twins_floor",
            "barlow_twins_loss",
            "cross_correlation_matrix",
            "cross_correlation_terms",
            "optimal_invariance",
            "vicreg_loss",
            "weight_for_invariance",
        ],
        "optimizers": ["LARS", "discriminative"],
        "metrics": [
            "CollapseDiagnostics",
            "Coverage",
            "FactorizedRanking",
            "HitRate",
            "MRR",
            "NDCG",
            "PopularityBias",
            "collapse_diagnostics",
        ],
        "tasks": ["BarlowTwinsTask"],
        "models": [
            "BarlowTwinsPretraining",
            "DualEncoder",
            "JointModel",
            "NextItemModel",
            "fit_resumable",
            "warm_start",
        ],
        "evaluation": [
            "DownstreamTask",
            "FineTuningSettings",
            "LabeledEmbeddings",
            "ProbeMetrics",
            "RankingMetrics",
            "downstream_task",
            "embed_users",
            "evaluate_dual_encoder",
            "fine_tune_classifier",
            "fine_tune_retrieval",
            "linear_probe",
            "users_with_labels",
        ],
        "callbacks": [
            "CrossCorrelationImage",
            "EmbeddingProjector",
            "OnlineKNN",
            "OnlineProbe",
            "write_projector",
        ],
        "serving": [
            "CorruptExportError",
            "export",
            "load",
            "replace_candidates",
            "verify",
        ],
        "study": [
            "StudyConfig",
            "best_by_validation",
            "gains",
            "gains_markdown",
            "require_same_settings",
            "run_study",
            "summary",
            "summary_markdown",
            "write_plots",
        ],
    }
