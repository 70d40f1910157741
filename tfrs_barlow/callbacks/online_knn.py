"""A vote of the nearest neighbors after every few epochs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfrs_barlow import _checks
from tfrs_barlow.callbacks.online_evaluation import OnlineEvaluation
from tfrs_barlow.evaluation import DownstreamTask, LabeledEmbeddings


class OnlineKNN(OnlineEvaluation):
    """Logs how well the nearest embeddings predict a label, while the encoder trains.

    The training users whose embeddings have the highest cosines with that of a
    validation user vote for their class, each with the weight exp(cosine /
    temperature). Nothing is fitted, so the vote shows the geometry of the embeddings,
    while an `OnlineProbe` shows what a linear model can learn from them.

    `knn_accuracy` and `knn_macro_f1` go into the logs, as those of an `OnlineProbe` do.

    Args:
        train: Histories and classes of the users who vote. Users with a negative class
            are left out.
        validation: Histories and classes of the users to report on.
        length: The number of items of a history to read.
        name: The prefix of the metrics.
        neighbors: The number of users who vote; all, if there are fewer.
        temperature: The lower, the more the nearest users count.
        every: Evaluate after every so many epochs, and after the last one.
        encoder: The encoder to evaluate: from item ids `[batch, length]` to embeddings
            `[batch, dim]`. Default: the `query_tower` of the model.
        batch_size: The number of histories to embed at a time.

    Raises:
        TypeError: If an argument has a wrong type.
        ValueError: If a number is out of its range, labels are not one class per user,
            or no user has one.

    Examples:
        >>> log = tfrsb.data.generate_synthetic_log(num_users=100, num_items=200)
        >>> sequences, vocabulary = tfrsb.data.build_sequences(log)
        >>> categories = tfrsb.data.ItemCategories.from_log(log, vocabulary)
        >>> favorite = tfrsb.evaluation.downstream_task(
        ...     "favorite_category", sequences, categories
        ... )
        >>> users = tfrsb.data.split_users(len(sequences))
        >>> knn = tfrsb.callbacks.OnlineKNN(
        ...     favorite.select(users.train),
        ...     favorite.select(users.validation),
        ...     length=20,
        ...     every=5,
        ... )

    References:
        Wu et al. (2018), "Unsupervised Feature Learning via Non-Parametric Instance
        Discrimination", https://arxiv.org/abs/1805.01978, section 3.4.
    """

    def __init__(
        self,
        train: DownstreamTask,
        validation: DownstreamTask,
        *,
        length: int,
        name: str = "knn",
        neighbors: int = 20,
        temperature: float = 0.07,
        every: int = 1,
        encoder: tf.keras.layers.Layer | None = None,
        batch_size: int = 512,
    ) -> None:
        super().__init__(
            train,
            validation,
            length=length,
            name=name,
            every=every,
            encoder=encoder,
            batch_size=batch_size,
        )
        self.neighbors = _checks.integer("neighbors", neighbors, at_least=1)
        self.temperature = _checks.number("temperature", temperature, above=0)

    def evaluate(
        self, train: LabeledEmbeddings, validation: LabeledEmbeddings
    ) -> dict[str, float]:
        """Returns `accuracy` and `macro_f1` of the vote on the validation users."""
        from sklearn import metrics, neighbors

        classifier = neighbors.KNeighborsClassifier(
            min(self.neighbors, len(train.labels)),
            metric="cosine",
            weights=self._weights,
        )
        predicted = classifier.fit(*train).predict(validation.embeddings)
        labels = validation.labels
        return {
            "accuracy": float(np.mean(labels == predicted)),
            "macro_f1": float(metrics.f1_score(labels, predicted, average="macro")),
        }

    def _weights(self, distances: npt.NDArray) -> npt.NDArray:
        # Relative to the nearest one, so that no weight overflows and not all are 0.
        nearest = distances.min(axis=1, keepdims=True)
        return np.exp((nearest - distances) / self.temperature)
