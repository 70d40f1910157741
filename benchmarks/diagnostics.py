"""What the diagnostics of `BarlowTwinsTask` cost, as a share of the training step.

    python -m benchmarks.diagnostics

Prints, for encoders and projectors from light to heavy, the CPU time of a training
step with the diagnostics and without, and their ratio. Both models train in one
process in turns; the least of the repetitions counts. The goal is a ratio below
1.1.
"""

from __future__ import annotations

import os
import time

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf

import tfrs_barlow as tfrsb

BATCH_SIZE, LENGTH, VOCABULARY_SIZE = 256, 100, 3709
REPETITIONS = 12


class Pretraining(tfrsb.models.BarlowTwinsPretraining):
    """Pretraining whose diagnostics can be turned off."""

    diagnose = True

    def compute_loss(self, features: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns the loss, with or without updating the diagnostics."""
        views = self.views(features, training=training)
        embeddings = [self._project(view, training) for view in views]
        return self.task(*embeddings, compute_metrics=self.diagnose)


def make_step(
    encoder: type[tfrsb.layers.SequenceEncoder], width: int, *, diagnose: bool
) -> tf.types.experimental.PolymorphicFunction:
    """Returns a training step of a fresh model on one fixed batch."""
    tf.keras.utils.set_random_seed(0)
    model = Pretraining(
        encoder(VOCABULARY_SIZE), projector=tfrsb.layers.Projector([width] * 3)
    )
    model.diagnose = diagnose
    model.compile(tf.keras.optimizers.Adam())
    histories = tf.random.uniform(
        [BATCH_SIZE, LENGTH], tfrsb.data.FIRST_ITEM_ID, VOCABULARY_SIZE, tf.int32
    )
    return tf.function(lambda: model.train_step(histories))


def main() -> None:
    """Prints the table."""
    print("encoder              projector   with, ms   without, ms   ratio")
    for encoder in (tfrsb.layers.ItemPoolingEncoder, tfrsb.layers.ConvolutionEncoder):
        for width in (256, 512, 2048):
            steps = [
                make_step(encoder, width, diagnose=diagnose)
                for diagnose in (True, False)
            ]
            least = [float("inf")] * 2
            for repetition in range(REPETITIONS + 2):
                for number, step in enumerate(steps):
                    start = time.process_time()
                    step()
                    # The first two are for tracing and warming up.
                    if repetition >= 2:
                        elapsed = time.process_time() - start
                        least[number] = min(least[number], elapsed)
            with_ms, without_ms = (1e3 * seconds for seconds in least)
            print(
                f"{encoder.__name__:<20} {f'3 x {width}':<11} {with_ms:8.1f}   "
                f"{without_ms:11.1f}   {with_ms / without_ms:5.2f}"
            )


if __name__ == "__main__":
    main()
