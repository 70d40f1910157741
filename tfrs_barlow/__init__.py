"""Barlow Twins pretraining of user-sequence encoders for TensorFlow Recommenders.

Pretrain the query tower of a `tfrs.Model` from sequences alone, without labels and
without negatives, then probe it, fine-tune it, or train it jointly with
`tfrs.tasks.Retrieval`. Import it as `import tfrs_barlow as tfrsb`.
"""

__version__ = "0.1.0"

from tfrs_barlow._command import quiet_start

with quiet_start():
    # TFRS comes first: it refuses Keras 3. It does not say that the variable has no
    # effect once TensorFlow is imported.
    try:
        import tensorflow_recommenders  # noqa: F401
    except ImportError as error:
        if "TF_USE_LEGACY_KERAS" not in str(error):
            raise
        raise ImportError(
            "tfrs_barlow and TensorFlow Recommenders need Keras 2, but tf.keras is "
            "Keras 3. Set the environment variable TF_USE_LEGACY_KERAS=1 before "
            "Python first imports TensorFlow: `export TF_USE_LEGACY_KERAS=1` in the "
            'shell, or `os.environ["TF_USE_LEGACY_KERAS"] = "1"` in the first cell '
            "of a notebook, and restart."
        ) from error

from tfrs_barlow import (
    callbacks,
    data,
    evaluation,
    layers,
    losses,
    metrics,
    models,
    optimizers,
    serving,
    study,
    tasks,
)

__all__ = [
    "__version__",
    "callbacks",
    "data",
    "evaluation",
    "layers",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "serving",
    "study",
    "tasks",
]
