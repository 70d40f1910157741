"""Puts TensorFlow into Keras 2 mode before any test or doctest imports it."""

import importlib.util
import os

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pytest
import tensorflow as tf

import tfrs_barlow as tfrsb

# Modules that import Beam have doctests that need it.
if importlib.util.find_spec("apache_beam") is None:
    collect_ignore = [
        "tfrs_barlow/data/records/beam_pipeline.py",
        "tfrs_barlow/data/records/beam_reading.py",
    ]


@pytest.fixture(autouse=True)
def _seed_everything() -> None:
    """Makes every test start from the same random state."""
    tf.keras.utils.set_random_seed(0)


@pytest.fixture(autouse=True)
def _doctest_names(doctest_namespace: dict[str, object]) -> None:
    """Lets docstring examples use the names every reader knows."""
    doctest_namespace.update(np=np, tf=tf, tfrsb=tfrsb)
