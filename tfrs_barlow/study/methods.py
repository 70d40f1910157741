"""The methods a study compares: how each comes to its encoder."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrs_barlow.data import (
    SequencePairs,
    UserSequences,
    pair_batches,
    training_batches,
)
from tfrs_barlow.layers import (
    Projector,
    RandomCrop,
    RandomDrop,
    RandomMask,
    SequenceAugmentation,
    SequenceEncoder,
    TransformerEncoder,
    TwoViews,
)
from tfrs_barlow.models import (
    BarlowTwinsPretraining,
    DualEncoder,
    JointModel,
    NextItemModel,
    fit_resumable,
)
from tfrs_barlow.study.config import (
    ENCODERS,
    PAIRS,
    REFERENCES,
    WEIGHT_BATCH_SIZE,
    Method,
    StudyConfig,
)
from tfrs_barlow.study.folders import seconds, timed
from tfrs_barlow.tasks import BarlowTwinsTask


class Towers(NamedTuple):
    """A trained encoder, and what goes with it.

    Attributes:
        encoder: The query tower.
        candidate_tower: The candidate tower it was trained with, if it was.
        steps: How many steps the training took.
        seconds: How long, over all interruptions.
    """

    encoder: SequenceEncoder
    candidate_tower: tf.keras.layers.Layer | None = None
    steps: int = 0
    seconds: float = 0.0


class Trainer:
    """Trains encoders by the methods of a study, on one split of one data set."""

    def __init__(
        self,
        config: StudyConfig,
        vocabulary_size: int,
        *,
        seed: int,
        batch_size: int,
        verbose: Any = 0,
    ) -> None:
        """Initializes the trainer.

        Args:
            config: The settings.
            vocabulary_size: The number of ids, reserved ones included.
            seed: Fixes weights, batches and views.
            batch_size: The users of a batch.
            verbose: As of `tf.keras.Model.fit`.
        """
        self.config = config
        self.vocabulary_size = vocabulary_size
        self.seed = seed
        self.batch_size = batch_size
        self.verbose = verbose

    def train(
        self, method: Method, users: UserSequences, backup_dir: pathlib.Path
    ) -> Towers:
        """Returns the towers that a method makes of these users' sequences.

        Args:
            method: Any but `"counting"`.
            users: The users to train on.
            backup_dir: A folder for this training alone: if it was interrupted it goes
                on, and if it was finished it is only read.
        """
        encoder = self.new_encoder(method)
        if method == "random":
            return Towers(encoder)
        dual_encoder = self.new_dual_encoder(encoder, users)
        model = self._model(method, dual_encoder)
        model.compile(tf.keras.optimizers.Adam(self.config.learning_rate))
        steps = self._steps(method, len(users))
        with timed(backup_dir):
            fit_resumable(
                model,
                self._batches(method, users),
                steps=steps,
                backup_dir=backup_dir,
                steps_per_epoch=250,
                verbose=self.verbose,
            )
        candidates = None if method == "barlow_twins" else dual_encoder.candidate_tower
        return Towers(encoder, candidates, steps, seconds(backup_dir))

    def copy(self, method: Method, towers: Towers) -> Towers:
        """Returns towers of a method with the same weights, to be trained on."""
        encoder = self.new_encoder(method)
        encoder.set_weights(towers.encoder.get_weights())
        return towers._replace(encoder=encoder)

    def new_encoder(self, method: Method) -> SequenceEncoder:
        """Makes the random encoder that a method starts from, the same one each time.

        It is the same for all methods but the Transformer of reference.
        """
        tf.keras.utils.set_random_seed(self.seed)
        make: Callable[..., SequenceEncoder] = ENCODERS[self.config.encoder]
        if method in REFERENCES:
            make = functools.partial(TransformerEncoder, causal=True, dropout=0.2)
        encoder = make(
            vocabulary_size=self.vocabulary_size,
            embedding_dim=self.config.embedding_dim,
            output_dim=self.config.output_dim,
        )
        encoder.build([None, self.config.length])
        return encoder

    def new_dual_encoder(
        self, encoder: SequenceEncoder, users: UserSequences
    ) -> DualEncoder:
        """Makes a dual encoder with a given query tower.

        Its candidate tower starts from the item embeddings of the query tower.

        Args:
            encoder: The query tower.
            users: Whose items are counted for the log-Q correction.
        """
        table = tf.keras.layers.Embedding(
            self.vocabulary_size, self.config.embedding_dim
        )
        table.build([None])
        table.set_weights(encoder.item_embedding.get_weights())
        candidate_tower = tf.keras.Sequential(
            [table, tf.keras.layers.Dense(self.config.output_dim)]
        )
        candidate_tower.build([None])
        return DualEncoder(
            encoder,
            candidate_tower,
            sampling_probability=item_shares(users, self.vocabulary_size),
            task=tfrs.tasks.Retrieval(
                temperature=self.config.temperature, remove_accidental_hits=True
            ),
        )

    def new_pretraining(
        self,
        encoder: SequenceEncoder,
        batch_size: float,
        partner_column: str | None = None,
    ) -> BarlowTwinsPretraining:
        """Makes a Barlow Twins pretraining of an encoder, for batches of a size.

        Args:
            encoder: The query tower.
            batch_size: The users that Barlow Twins sees in a step.
            partner_column: As of `BarlowTwinsPretraining`.
        """
        config = self.config
        weight = config.off_diagonal_weight * batch_size / WEIGHT_BATCH_SIZE
        return BarlowTwinsPretraining(
            encoder,
            views=TwoViews(_augmentations(config)),
            projector=Projector(config.projector),
            task=BarlowTwinsTask(weight, name="barlow_twins"),
            partner_column=partner_column,
        )

    def _batches(
        self, method: Method, users: UserSequences
    ) -> Callable[..., tf.data.Dataset]:
        """Returns the function that `fit_resumable` gets batches from."""
        draw_pairs = self._draw_pairs(method)
        if draw_pairs is None:
            batches = functools.partial(training_batches, users)
        else:
            batches = functools.partial(
                pair_batches, lambda seed: draw_pairs(users, seed=seed)
            )
        return functools.partial(
            batches,
            batch_size=self.batch_size,
            length=self.config.length,
            seed=self.seed,
        )

    def _model(self, method: Method, dual_encoder: DualEncoder) -> tf.keras.Model:
        """Returns what a method trains; the query tower is that of `dual_encoder`."""
        if method in ("dual_encoder", "dual_encoder_few"):
            return dual_encoder
        if method in REFERENCES:
            return NextItemModel(
                dual_encoder.query_tower,
                dual_encoder.candidate_tower,
                vocabulary_size=self.vocabulary_size,
            )
        pretraining = self.new_pretraining(
            dual_encoder.query_tower,
            self._rows_in_views(method),
            "partner" if self._draw_pairs(method) else None,
        )
        if method == "barlow_twins":
            return pretraining
        return JointModel(
            dual_encoder,
            pretraining,
            barlow_weight=self.config.barlow_weight,
            barlow_share=self.config.barlow_share,
        )

    def _draw_pairs(self, method: Method) -> Callable[..., SequencePairs] | None:
        """Returns what draws the two histories for a method's views, if not one."""
        return PAIRS[self.config.pairs] if method == "barlow_twins" else None

    def _steps(self, method: Method, users: int) -> int:
        """Returns how many steps embed each user as often as the budget says."""
        supervised = method != "barlow_twins"
        passes = 2 * self._rows_in_views(method) + supervised * self.batch_size
        return max(1, round(self.config.encoder_passes * users / passes))

    def _rows_in_views(self, method: Method) -> float:
        """Returns of how many users of a batch a method makes views."""
        shares = {"barlow_twins": 1.0, "joint": self.config.barlow_share}
        return shares.get(method, 0.0) * self.batch_size


def _augmentations(config: StudyConfig) -> list[SequenceAugmentation]:
    augmentations: list[SequenceAugmentation] = []
    if config.crop_rate < 1:
        augmentations.append(RandomCrop(config.crop_rate))
    if config.drop_rate > 0:
        augmentations.append(RandomDrop(config.drop_rate))
    if config.mask_rate > 0:
        augmentations.append(RandomMask(config.mask_rate))
    return augmentations


def item_shares(users: UserSequences, vocabulary_size: int) -> npt.NDArray[np.float64]:
    """Returns the share of every id among the events; an unseen item counts once."""
    counts = np.bincount(users.item_ids, minlength=vocabulary_size)
    return np.maximum(counts, 1) / counts.sum()
