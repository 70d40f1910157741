"""A linear probe after every few epochs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfrs_barlow.callbacks.online_evaluation import OnlineEvaluation
from tfrs_barlow.evaluation import DownstreamTask, LabeledEmbeddings, linear_probe


class OnlineProbe(OnlineEvaluation):
    """Logs how much of a label a linear model reads off the encoder, while it trains.

    The loss of Barlow Twins does not say when to stop; this does. It is the
    `tfrsb.evaluation.linear_probe` of the frozen encoder, fitted to the training users
    and reported on the validation users, who choose its penalty too: a figure to
    compare epochs and runs by, and not the one to report in the end.

    `probe_accuracy` and `probe_macro_f1` go into the logs of every epoch: of those with
    an evaluation, the figures; of the others, NaN, which is no improvement to
    `EarlyStopping` and the like, so that patience counts epochs. Put the callback
    before those that read the logs. Keras takes a figure for one to be raised if its
    name ends in `accuracy`, and else for one to be lowered: say `mode="max"` for
    `probe_macro_f1`.

    Training is not disturbed: weights, optimizer, random state and metrics are the same
    with the callback and without.

    Example:
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
        **kwargs: Any,
    ) -> None:
        """Initializes the callback.

        Args:
            train: Histories and classes to fit the probe to. Users with a negative
                class are left out.
            validation: Those to choose the penalty by and to report on.
            length: How many items of a history to read, at least 1.
            name: What the names of the figures begin with.
            penalties: The inverse strengths C of the L2 penalty to choose from, at
                least one; each of them costs a fit.
            **kwargs: `every`, after how many epochs to evaluate (default: 1), and in
                any case after the last; `encoder`, what to evaluate (default: the
                `encoder` or `query_tower` of the model); `batch_size`, how many
                histories to embed at a time (default: 512).

        Raises:
            ValueError: If a number is out of its range, labels are not one class per
                user, or nobody in a part has one.
        """
        super().__init__(train, validation, length=length, name=name, **kwargs)
        if not penalties or min(penalties) <= 0:
            raise ValueError(
                f"penalties must be positive, and at least one, but are {penalties}."
            )
        self.penalties = tuple(penalties)

    def figures(
        self, train: LabeledEmbeddings, validation: LabeledEmbeddings
    ) -> dict[str, float]:
        """Returns accuracy and macro-F1 of the best probe on the validation users."""
        best = linear_probe(train, validation, validation, penalties=self.penalties)
        return {"accuracy": best.accuracy, "macro_f1": best.macro_f1}
