"""A small model of made-up films, to try the server without a model."""

from __future__ import annotations

import pathlib

import numpy as np
import tensorflow as tf

import tfrs_barlow as tfrsb

_LENGTH = 50
_STEPS = 500


def make(folder: pathlib.Path) -> None:
    """Trains and exports a model into `folder/films`; titles and users next to it."""
    log = tfrsb.data.generate_synthetic_log(num_users=2_000, num_items=300)
    sequences, vocabulary = tfrsb.data.build_sequences(log)
    tf.keras.utils.set_random_seed(0)
    encoder = tfrsb.layers.ItemPoolingEncoder(vocabulary.size, output_dim=32)
    candidates = tf.keras.layers.Embedding(vocabulary.size, 32)
    counts = np.bincount(sequences.item_ids, minlength=vocabulary.size)
    model = tfrsb.models.JointModel(
        tfrsb.models.DualEncoder(
            encoder, candidates, sampling_probability=counts / counts.sum()
        ),
        tfrsb.models.BarlowTwinsPretraining(
            encoder, projector=tfrsb.layers.Projector([64, 64])
        ),
    )
    model.compile(tf.keras.optimizers.Adam(3e-3))
    batches = tfrsb.data.training_batches(sequences, batch_size=128, length=_LENGTH)
    model.fit(batches, steps_per_epoch=_STEPS, verbose=0)

    folder.mkdir(parents=True, exist_ok=True)
    log.items.rename(columns={"item_id": "item"})[["item", "title"]].to_csv(
        folder / "titles.csv", index=False
    )
    log.interactions.to_csv(folder / "users.csv", index=False)
    tfrsb.serving.export(
        encoder,
        folder / "films",
        vocabulary=vocabulary,
        candidates=candidates,
        popularity=counts[tfrsb.data.FIRST_ITEM_ID :],
        max_length=_LENGTH,
    )
