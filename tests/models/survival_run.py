"""Training runs in separate processes, to be killed: see `test_survival`.

    python -m tests.models.survival_run FOLDER

trains on a file system that fills up, and prints what came of it.
"""

import json
import os
import pathlib
import sys
import time

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import numpy as np
import tensorflow as tf

import tfrs_barlow as tfrsb

LOG = tfrsb.data.generate_synthetic_log(num_users=60, num_items=120, mean_length=12)
SEQUENCES, VOCABULARY = tfrsb.data.build_sequences(LOG)
STEPS, STEPS_PER_EPOCH, BACKUP_STEPS = 70, 10, 3


class Model(tfrsb.models.BarlowTwinsPretraining):
    @tf.autograph.experimental.do_not_convert  # Which would take long.
    def compute_loss(self, features, training=False):
        return super().compute_loss(features, training=training)


def make_model():
    tf.keras.utils.set_random_seed(3)
    model = Model(
        tfrsb.layers.ItemPoolingEncoder(VOCABULARY.size, output_dim=8, pooling="mean"),
        projector=tfrsb.layers.Projector([16, 16]),
    )
    # The default epsilon would make steps of rounding errors.
    model.compile(tf.keras.optimizers.Adam(0.01, epsilon=1e-3))
    return model


def make_batches(first_step):
    return tfrsb.data.training_batches(
        SEQUENCES, batch_size=16, length=10, first_step=first_step
    )


class Report(tf.keras.callbacks.Callback):
    """Sends the number of each step that is done, and takes its time."""

    def __init__(self, connection):
        super().__init__()
        self.connection = connection

    def on_train_batch_end(self, batch, logs=None):
        self.connection.send(int(self.model.optimizer.iterations.numpy()))
        time.sleep(0.01)


def set_up():
    """Makes equal steps give equal bits, however busy the machine is."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()


def fit(model, backup_dir, callbacks):
    tfrsb.models.fit_resumable(
        model,
        make_batches,
        steps=STEPS,
        steps_per_epoch=STEPS_PER_EPOCH,
        backup_steps=BACKUP_STEPS,
        backup_dir=backup_dir,
        callbacks=callbacks,
        verbose=0,
    )


def state(model):
    """Returns all that the model and the optimizer hold."""
    return [
        variable.numpy() for variable in (*model.weights, *model.optimizer.variables)
    ]


def train(connection, backup_dir, results, addresses=(), index=0):
    """Trains to the end, and writes the final state to the file `results`.

    It sends the numbers of the steps over `connection`. With several workers,
    `addresses` are those of all, and `index` is the number of this one.
    """
    with pathlib.Path(f"{results}.log").open("a") as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
    set_up()
    strategy = tf.distribute.get_strategy()
    if addresses:
        task = {"type": "worker", "index": index}
        os.environ["TF_CONFIG"] = json.dumps(
            {"cluster": {"worker": addresses}, "task": task}
        )
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    with strategy.scope():
        model = make_model()
    fit(model, backup_dir, [Report(connection)])
    np.savez(results, *state(model))


class FillDiskAt(tf.keras.callbacks.Callback):
    """Fills the disk up, from a step on."""

    def __init__(self, step, file):
        super().__init__()
        self.step = step
        self.file = file

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations) == self.step:
            with self.file.open("wb", buffering=0) as stream:
                for size in (2**16, 1):
                    try:
                        while True:
                            stream.write(bytes(size))
                    except OSError:
                        pass


def fill_disk(folder):
    """Trains in a small folder whose disk is full from step 8 on, then resumes."""
    set_up()
    model = make_model()
    filler = folder / "filler"
    try:
        fit(model, folder / "backup", [FillDiskAt(8, filler)])
    except OSError as error:
        message = str(error)
    left = sorted(file.name for file in (folder / "backup" / "chief").iterdir())
    filler.unlink()
    states = []
    for run in ("backup", "unbroken"):
        model = make_model()
        fit(model, folder / run, [])
        states.append(state(model))
    equal = [
        np.array_equal(ours, expected) for ours, expected in zip(*states, strict=True)
    ]
    return {"message": message, "left": left, "equal": all(equal)}


if __name__ == "__main__":
    print(json.dumps(fill_disk(pathlib.Path(sys.argv[1]))))
