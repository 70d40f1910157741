"""Barlow Twins pretraining of user-sequence encoders for TensorFlow Recommenders.

Pretrain the query tower of a `tfrs.Model` from sequences alone, without labels and
without negatives, then probe it, fine-tune it, or train it jointly with
`tfrs.tasks.Retrieval`. Import it as `import tfrs_barlow as tfrsb`.
"""

__version__ = "0.1.0"

# The check comes before every other import: under Keras 3 those fail one by one, with
# messages that do not say what to do.
from tfrs_barlow._keras import require_keras_2

require_keras_2()

from tfrs_barlow import (  # noqa: E402
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
