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
    """A trained encoder, its candidate tower if it has one, and what it took."""

    encoder: SequenceEncoder
    candidate_tower: tf.keras.layers.Layer | None = None
    steps: int = 0
    seconds: float = 0.0


class Trainer:
    """Trains encoders by one method of a study, on one split of one data set."""

    def __init__(
        self,
        method: Method,
        config: StudyConfig,
        vocabulary_size: int,
        *,
        seed: int,
        batch_size: int,
        verbose: Any = 0,
    ) -> None:
        self.method = method
        self.config = config
        self.vocabulary_size = vocabulary_size
        self.seed = seed
        self.batch_size = batch_size
        self.verbose = verbose
        # What draws the two histories of a view, if they are not the same one.
        self._draw_pairs = PAIRS[config.pairs] if method == "barlow_twins" else None
        shares = {"barlow_twins": 1.0, "joint": config.barlow_share}
        self._rows_in_views = shares.get(method, 0.0) * batch_size

    def train(self, users: UserSequences, backup_dir: pathlib.Path) -> Towers:
        """Returns the towers that the method makes of these users' sequences.

        `backup_dir` is for this training alone: an interrupted one continues from it,
        and a finished one is only read.
        """
        encoder = self.new_encoder()
        if self.method == "random":
            return Towers(encoder)
        dual_encoder = self.new_dual_encoder(encoder, users)
        model = self._model(dual_encoder)
        model.compile(tf.keras.optimizers.Adam(self.config.learning_rate))
        steps = self._steps(len(users))
        with timed(backup_dir):
            fit_resumable(
                model,
                self.batches(users),
                steps=steps,
                backup_dir=backup_dir,
                steps_per_epoch=250,
                verbose=self.verbose,
            )
        if self.method == "barlow_twins":
            return Towers(encoder, None, steps, seconds(backup_dir))
        return Towers(encoder, dual_encoder.candidate_tower, steps, seconds(backup_dir))

    def copy(self, encoder: SequenceEncoder) -> SequenceEncoder:
        """Returns an encoder with the same weights, to be trained further."""
        copy = self.new_encoder()
        copy.set_weights(encoder.get_weights())
        return copy

    def new_encoder(self) -> SequenceEncoder:
        """Makes the random encoder that the method starts from.

        It has the same weights each time, and for all methods but the Transformer.
        """
        tf.keras.utils.set_random_seed(self.seed)
        make: Callable[..., SequenceEncoder] = ENCODERS[self.config.encoder]
        if self.method in REFERENCES:
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
        """Makes a dual encoder whose candidate tower starts from the item embeddings.

        The items of `users` are counted for the log-Q correction.
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

    def new_pretraining(self, encoder: SequenceEncoder) -> BarlowTwinsPretraining:
        """Makes a Barlow Twins pretraining of an encoder."""
        config = self.config
        weight = config.off_diagonal_weight * self._rows_in_views / WEIGHT_BATCH_SIZE
        return BarlowTwinsPretraining(
            encoder,
            views=TwoViews(_augmentations(config)),
            projector=Projector(config.projector),
            task=BarlowTwinsTask(off_diagonal_weight=weight, name="barlow_twins"),
            partner_column="partner" if self._draw_pairs else None,
        )

    def batches(self, users: UserSequences) -> Callable[..., tf.data.Dataset]:
        """Returns the function that `fit_resumable` gets batches from."""
        draw_pairs = self._draw_pairs
        if draw_pairs is None:
            make = functools.partial(training_batches, users)
        else:
            make = functools.partial(
                pair_batches, lambda seed: draw_pairs(users, seed=seed)
            )
        return functools.partial(
            make, batch_size=self.batch_size, length=self.config.length, seed=self.seed
        )

    def _model(self, dual_encoder: DualEncoder) -> tf.keras.Model:
        """Returns what is trained; its query tower is that of `dual_encoder`."""
        if self.method in ("dual_encoder", "dual_encoder_few"):
            return dual_encoder
        if self.method in REFERENCES:
            return NextItemModel(
                dual_encoder.query_tower,
                dual_encoder.candidate_tower,
                vocabulary_size=self.vocabulary_size,
            )
        pretraining = self.new_pretraining(dual_encoder.query_tower)
        if self.method == "barlow_twins":
            return pretraining
        return JointModel(
            dual_encoder,
            pretraining,
            barlow_weight=self.config.barlow_weight,
            barlow_share=self.config.barlow_share,
        )

    def _steps(self, users: int) -> int:
        """Returns how many steps embed each user as often as the budget says."""
        passes = 2 * self._rows_in_views
        if self.method != "barlow_twins":
            passes += self.batch_size
        return max(1, round(self.config.encoder_passes * users / passes))


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
