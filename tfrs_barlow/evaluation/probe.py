"""How much of a label a linear model predicts from a frozen embedding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from tfrs_barlow import _checks

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

PENALTIES = (0.001, 0.01, 0.1, 1.0)

_UNSEEN = 10.0
"""How far the logit of a class without a training user lies below the others."""


class LabeledEmbeddings(NamedTuple):
    """Embeddings of some users, and what to predict from them.

    Attributes:
        embeddings: `[users, dim]`, floating.
        labels: `[users]`, integer classes; users with a negative one are left out.

    Examples:
        >>> part = tfrsb.evaluation.LabeledEmbeddings(
        ...     np.random.normal(size=(3, 4)), np.array([0, 1, -1])
        ... )
        >>> part.embeddings.shape
        (3, 4)
    """

    embeddings: npt.NDArray
    labels: npt.NDArray


class ProbeMetrics(NamedTuple):
    """What a probe reached on the test users.

    Attributes:
        accuracy: The share of users whose class is predicted.
        macro_f1: The mean over classes of the F1 score.
        penalty: The inverse strength C of the L2 penalty that was chosen.

    Examples:
        >>> metrics = tfrsb.evaluation.ProbeMetrics(0.9, macro_f1=0.8, penalty=0.1)
        >>> metrics.accuracy
        0.9
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

    The embeddings are standardized by the training users' statistics. The accuracy on
    the validation users chooses the strength of the L2 penalty. The test users are used
    once.

    Args:
        train: The users to fit to.
        validation: The users to choose the penalty by.
        test: The users to report.
        penalties: The inverse strengths C to choose from, each above 0.

    Returns:
        The metrics of the test users.

    Raises:
        TypeError, ValueError: If `penalties` are not such numbers, embeddings are not
            finite, or a part has no user with a label.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> labels = rng.integers(0, 2, size=300)
        >>> embeddings = rng.normal(size=(300, 4)) + 3 * labels[:, np.newaxis]
        >>> parts = [
        ...     tfrsb.evaluation.LabeledEmbeddings(embeddings[i::3], labels[i::3])
        ...     for i in range(3)
        ... ]
        >>> tfrsb.evaluation.linear_probe(*parts).accuracy > 0.95
        True
    """
    test = _labeled("test", test)
    probe = fit_probe(train, validation, penalties=penalties)
    predicted = probe.predict(test.embeddings)
    return ProbeMetrics(**class_metrics(test.labels, predicted), penalty=probe.penalty)


def class_metrics(labels: npt.NDArray, predicted: npt.NDArray) -> dict[str, float]:
    """Returns `accuracy` and `macro_f1` of predicted classes."""
    from sklearn import metrics

    return {
        "accuracy": float(np.mean(labels == predicted)),
        "macro_f1": float(
            metrics.f1_score(labels, predicted, average="macro", zero_division=0.0)
        ),
    }


class Probe(NamedTuple):
    """A linear map to logits: `(embeddings - mean) / scale @ kernel + bias`.

    `mean` and `scale` are `[dim]`, `kernel` is `[dim, num_classes]`, and `bias` is
    `[num_classes]`, low for classes without a training user.
    """

    mean: npt.NDArray
    scale: npt.NDArray
    kernel: npt.NDArray
    bias: npt.NDArray
    penalty: float

    def predict(self, embeddings: npt.NDArray) -> npt.NDArray[np.int64]:
        """Returns the class of the highest logit of every row."""
        logits = (embeddings - self.mean) / self.scale @ self.kernel + self.bias
        return logits.argmax(axis=1)


def fit_probe(
    train: LabeledEmbeddings,
    validation: LabeledEmbeddings,
    *,
    num_classes: int | None = None,
    penalties: Sequence[float] = PENALTIES,
) -> Probe:
    """Returns the logistic regression that is the best on the validation users."""
    from sklearn import preprocessing

    penalties = checked_penalties(penalties)
    train, validation = _labeled("train", train), _labeled("validation", validation)
    known = np.unique(train.labels)
    num_classes = num_classes or int(known[-1]) + 1
    if num_classes <= known[-1]:
        raise ValueError(
            f"num_classes must be above all labels, but it is {num_classes} and there "
            f"is the label {known[-1]}."
        )
    scaler = preprocessing.StandardScaler().fit(train.embeddings)
    kernel = np.zeros([train.embeddings.shape[1], num_classes])
    bias = np.full(num_classes, -_UNSEEN)
    bias[known] = 0
    if len(known) == 1:
        # Nothing to fit: the only known class is the prediction.
        return Probe(scaler.mean_, scaler.scale_, kernel, bias, float("nan"))

    def scaled(part: LabeledEmbeddings) -> LabeledEmbeddings:
        return part._replace(embeddings=scaler.transform(part.embeddings))

    best = _best_regression(scaled(train), scaled(validation), penalties)
    # For two classes there is one row: how much more likely the second one is.
    fitted = known[1:] if len(known) == 2 else known
    kernel[:, fitted] = best.coef_.T
    bias[fitted] = best.intercept_
    return Probe(scaler.mean_, scaler.scale_, kernel, bias, best.C)


def checked_penalties(penalties: Sequence[float]) -> list[float]:
    """Returns penalties, at least one, each above 0."""
    if isinstance(penalties, str) or not isinstance(penalties, Iterable):
        raise TypeError(f"penalties must be a list of numbers, not {penalties!r}.")
    checked = [
        _checks.number(f"penalties[{place}]", penalty, above=0)
        for place, penalty in enumerate(penalties)
    ]
    if not checked:
        raise ValueError("penalties must hold at least one number.")
    return checked


def _best_regression(
    train: LabeledEmbeddings, validation: LabeledEmbeddings, penalties: list[float]
) -> LogisticRegression:
    from sklearn.linear_model import LogisticRegression

    fits = [
        LogisticRegression(C=penalty, max_iter=300, tol=1e-3).fit(*train)
        for penalty in penalties
    ]
    return max(fits, key=lambda fit: fit.score(*validation))


def _labeled(name: str, part: LabeledEmbeddings) -> LabeledEmbeddings:
    """Returns the users that have a label."""
    _checks.instance(name, part, LabeledEmbeddings)
    if not np.isfinite(part.embeddings).all():
        raise ValueError(f"The {name} embeddings must be finite, but some are not.")
    labeled = part.labels >= 0
    if not labeled.any():
        raise ValueError(f"The {name} users must have labels, but none has one.")
    return LabeledEmbeddings(part.embeddings[labeled], part.labels[labeled])
