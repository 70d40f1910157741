"""A linear probe after every few epochs."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from tfrs_barlow import _checks
from tfrs_barlow.callbacks.online_evaluation import OnlineEvaluation
from tfrs_barlow.evaluation import DownstreamTask, LabeledEmbeddings, linear_probe


class OnlineProbe(OnlineEvaluation):
    """Logs how well a linear model predicts a label, while the encoder trains.

    The loss of Barlow Twins does not say when to stop; this does. The callback fits
    `tfrsb.evaluation.linear_probe` to the frozen encoder and the training users. The
    validation users choose the penalty, and the metrics are theirs: compare epochs and
    runs by them, but report the metrics of other users in the end.

    `probe_accuracy` and `probe_macro_f1` go into the logs of every epoch. Put the
    callback before those that read them, such as `EarlyStopping`. In epochs without an
    evaluation both are NaN, which is no improvement, so patience counts epochs. Keras
    maximizes a metric whose name ends in `accuracy` and minimizes others: for
    `probe_macro_f1` set `mode="max"`.

    The callback does not change the training: weights, optimizer, random state and
    metrics stay the same.

    Args:
        train: Histories and classes to fit the probe to. Users with a negative class
            are left out.
        validation: Those to choose the penalty by and to report on.
        length: The number of items of a history to read.
        name: The prefix of the metrics.
        penalties: The inverse strengths C of the L2 penalty to choose from. Each costs
            a fit.
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
        >>> probe = tfrsb.callbacks.OnlineProbe(
        ...     favorite.select(users.train),
        ...     favorite.select(users.validation),
        ...     length=20,
        ... )
        >>> stop = tf.keras.callbacks.EarlyStopping(
        ...     monitor="probe_accuracy", patience=5, restore_best_weights=True
        ... )
        >>> callbacks = [probe, stop]  # In this order, for `model.fit`.
    """

    def __init__(
        self,
        train: DownstreamTask,
        validation: DownstreamTask,
        *,
        length: int,
        name: str = "probe",
        penalties: Sequence[float] = (0.001, 0.01, 0.1, 1.0),
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
        if not isinstance(penalties, Sequence):
            raise TypeError(f"penalties must be a list, but it is {penalties!r}.")
        if not penalties:
            raise ValueError("penalties must have at least one number, but is empty.")
        self.penalties = tuple(
            _checks.number("penalties", penalty, above=0) for penalty in penalties
        )

    def evaluate(
        self, train: LabeledEmbeddings, validation: LabeledEmbeddings
    ) -> dict[str, float]:
        """Returns `accuracy` and `macro_f1` of the best probe."""
        best = linear_probe(train, validation, validation, penalties=self.penalties)
        return {"accuracy": best.accuracy, "macro_f1": best.macro_f1}
