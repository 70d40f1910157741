"""A vote of the nearest neighbors after every few epochs."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn import neighbors

from tfrs_barlow.callbacks.online_evaluation import OnlineEvaluation, figures_of
from tfrs_barlow.evaluation import DownstreamTask, LabeledEmbeddings


class OnlineKNN(OnlineEvaluation):
    """Logs how well the nearest embeddings tell a label, while the encoder trains.

    The training users whose embeddings have the highest cosines with that of a
    validation user vote for their class, each with the weight exp(cosine /
    temperature). There is nothing to fit, so it tells what the geometry of the
    embedding says by itself; an `OnlineProbe` tells what could be read off it.

    `knn_accuracy` and `knn_macro_f1` go into the logs as those of an `OnlineProbe` do.

    Example:
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
        Wu et al. 2018, Unsupervised Feature Learning via Non-Parametric Instance
        Discrimination, arXiv 1805.01978, section 3.4.
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
        **kwargs: Any,
    ) -> None:
        """Initializes the callback.

        Args:
            train: Histories and classes of those who vote. Users with a negative class
                are left out.
            validation: Those to report on.
            length: How many items of a history to read, at least 1.
            name: What the names of the figures begin with.
            neighbors: How many vote, at least 1; all, where there are fewer.
            temperature: The lower, the more the nearest ones count; more than 0.
            **kwargs: `every`, `encoder` and `batch_size` as of `OnlineProbe`.

        Raises:
            ValueError: If a number is out of its range, labels are not one class per
                user, or nobody in a part has one.
        """
        super().__init__(train, validation, length=length, name=name, **kwargs)
        if neighbors < 1:
            raise ValueError(f"neighbors must be at least 1, but it is {neighbors}.")
        if not temperature > 0:
            raise ValueError(
                f"temperature must be more than 0, but it is {temperature}."
            )
        self.neighbors = neighbors
        self.temperature = temperature

    def figures(
        self, train: LabeledEmbeddings, validation: LabeledEmbeddings
    ) -> dict[str, float]:
        """Returns accuracy and macro-F1 of the vote on the validation users."""
        classifier = neighbors.KNeighborsClassifier(
            min(self.neighbors, len(train.labels)),
            metric="cosine",
            weights=self._weights,
        )
        predicted = classifier.fit(*train).predict(validation.embeddings)
        return figures_of(validation.labels, predicted)

    def _weights(self, distances: npt.NDArray) -> npt.NDArray:
        # Beside the nearest one, so that no weight overflows or all are 0.
        nearest = distances.min(axis=1, keepdims=True)
        return np.exp((nearest - distances) / self.temperature)
