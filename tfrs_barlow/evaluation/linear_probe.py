"""How much of a label can be read off a frozen embedding by a linear model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn import linear_model, metrics, pipeline, preprocessing

PENALTIES = (0.001, 0.01, 0.1, 1.0)
"""The inverse strengths of a penalty that probes choose from."""

_UNSEEN = 10.0
"""So much less than the others is the logit of a class without a training user."""


class LabeledEmbeddings(NamedTuple):
    """Embeddings of some users, and what is to be predicted of them.

    Attributes:
        embeddings: `[users, dim]`, floating.
        labels: `[users]`, integer classes; users with a negative one are left out.
    """

    embeddings: npt.NDArray
    labels: npt.NDArray


class ProbeMetrics(NamedTuple):
    """What a probe reached on the test users.

    Attributes:
        accuracy: The share of users it is right about.
        macro_f1: The mean over classes of the F1 score.
        penalty: The inverse strength C of the L2 penalty that was chosen.
    """

    accuracy: float
    macro_f1: float
    penalty: float


def linear_probe(
    train: LabeledEmbeddings,
    validation: LabeledEmbeddings,
    test: LabeledEmbeddings,
    *,
    penalties: Sequence[float] = PENALTIES,
) -> ProbeMetrics:
    """Fits logistic regressions to frozen embeddings and reports the best one.

    The embeddings are standardized by the training users' statistics. The strength of
    the L2 penalty is chosen by the accuracy on the validation users; the test users are
    looked at once.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> labels = rng.integers(0, 2, size=300)
        >>> embeddings = rng.normal(size=(300, 4)) + 3 * labels[:, np.newaxis]
        >>> parts = [
        ...     tfrsb.evaluation.LabeledEmbeddings(embeddings[part], labels[part])
        ...     for part in (slice(100), slice(100, 200), slice(200, 300))
        ... ]
        >>> tfrsb.evaluation.linear_probe(*parts).accuracy > 0.95
        True

    Args:
        train: The users to fit to.
        validation: The users to choose the penalty by.
        test: The users to report.
        penalties: The inverse strengths C to choose from.

    Returns:
        The figures on the test users.

    Raises:
        ValueError: If embeddings are not finite, or a part has no labeled user.
    """
    predictions = probe_predictions(train, validation, test, penalties=penalties)
    labels = test.labels[test.labels >= 0]
    return ProbeMetrics(
        accuracy=float(np.mean(labels == predictions.test)),
        macro_f1=float(metrics.f1_score(labels, predictions.test, average="macro")),
        penalty=predictions.penalty,
    )


class ProbePredictions(NamedTuple):
    """The classes that the chosen probe predicts, of users with a label.

    Attributes:
        validation: Of the validation users.
        test: Of the test users.
        penalty: The inverse strength C of the L2 penalty that was chosen.
    """

    validation: npt.NDArray
    test: npt.NDArray
    penalty: float


def probe_predictions(
    train: LabeledEmbeddings,
    validation: LabeledEmbeddings,
    test: LabeledEmbeddings,
    *,
    penalties: Sequence[float] = PENALTIES,
) -> ProbePredictions:
    """Fits probes as `linear_probe` does and returns what the best one predicts."""
    parts = {"train": train, "validation": validation, "test": test}
    train, validation, test = (_labeled(name, part) for name, part in parts.items())
    if len(np.unique(train.labels)) == 1:
        # Nothing to fit: the only class that is known is the prediction.
        only = train.labels[0]
        return ProbePredictions(
            np.full_like(validation.labels, only),
            np.full_like(test.labels, only),
            penalty=float("nan"),
        )
    best, penalty = _best_probe(train, validation, penalties)
    return ProbePredictions(
        best.predict(validation.embeddings), best.predict(test.embeddings), penalty
    )


class ProbeWeights(NamedTuple):
    """A probe as a linear map: `(embeddings - mean) / scale @ kernel + bias`.

    Attributes:
        mean: `[dim]`
        scale: `[dim]`
        kernel: `[dim, num_classes]`
        bias: `[num_classes]`, low for classes that no training user is of.
    """

    mean: npt.NDArray
    scale: npt.NDArray
    kernel: npt.NDArray
    bias: npt.NDArray


def probe_weights(
    train: LabeledEmbeddings,
    validation: LabeledEmbeddings,
    *,
    num_classes: int,
    penalties: Sequence[float] = PENALTIES,
) -> ProbeWeights:
    """Fits probes as `linear_probe` does and returns the weights of the best one."""
    train = _labeled("train", train)
    validation = _labeled("validation", validation)
    known = np.unique(train.labels)
    kernel = np.zeros([train.embeddings.shape[1], num_classes])
    bias = np.full(num_classes, -_UNSEEN)
    bias[known] = 0
    if len(known) == 1:
        scaler = preprocessing.StandardScaler().fit(train.embeddings)
        return ProbeWeights(scaler.mean_, scaler.scale_, kernel, bias)
    best, _ = _best_probe(train, validation, penalties)
    scaler, regression = best
    # Of two classes there is one row: how much more likely the second one is.
    fitted = known[1:] if len(known) == 2 else known
    kernel[:, fitted] = regression.coef_.T
    bias[fitted] = regression.intercept_
    return ProbeWeights(scaler.mean_, scaler.scale_, kernel, bias)


def _best_probe(
    train: LabeledEmbeddings,
    validation: LabeledEmbeddings,
    penalties: Sequence[float],
) -> tuple[pipeline.Pipeline, float]:
    """Returns the probe that is the best on the validation users, and its penalty."""
    probes = {penalty: _fit(train, penalty) for penalty in penalties}
    penalty = max(
        penalties,
        key=lambda penalty: probes[penalty].score(*validation),
    )
    return probes[penalty], penalty


def _labeled(name: str, part: LabeledEmbeddings) -> LabeledEmbeddings:
    """Returns the users that have a label."""
    if not np.isfinite(part.embeddings).all():
        raise ValueError(f"The {name} embeddings must be finite, but some are not.")
    labeled = part.labels >= 0
    if not labeled.any():
        raise ValueError(f"The {name} users must have labels, but none has one.")
    return LabeledEmbeddings(part.embeddings[labeled], part.labels[labeled])


def _fit(train: LabeledEmbeddings, penalty: float) -> pipeline.Pipeline:
    probe = pipeline.make_pipeline(
        preprocessing.StandardScaler(),
        linear_model.LogisticRegression(C=penalty, max_iter=300, tol=1e-3),
    )
    return probe.fit(*train)
