"""What a newcomer does first with the installed package: train, export, run commands.

`make package` runs it in an empty environment with the wheel and its requirements, and
without the checkout. Pytest does not run it.
"""

import functools
import importlib.metadata
import os
import pathlib
import subprocess
import sys
import tempfile

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf

import tfrs_barlow as tfrsb

# Serving needs neither Keras nor TFRS nor this package.
SERVE = """
import sys, tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
answer = model.recommend([[int(sys.argv[2])]], k=3)
assert answer["ids"].shape == (1, 3), answer
assert not {"tf_keras", "tensorflow_recommenders", "tfrs_barlow"} & set(sys.modules)
"""


def main() -> None:
    check_installation()
    log = tfrsb.data.generate_synthetic_log(num_users=64, num_items=80, mean_length=20)
    sequences, vocabulary = tfrsb.data.build_sequences(log)
    encoder = tfrsb.layers.ItemPoolingEncoder(
        vocabulary.size, output_dim=16, pooling="mean"
    )
    model = tfrsb.models.BarlowTwinsPretraining(
        encoder, projector=tfrsb.layers.Projector([16, 16])
    )
    model.compile(tf.keras.optimizers.Adam(1e-2))
    batches = functools.partial(
        tfrsb.data.training_batches, sequences, batch_size=32, length=20
    )
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        history = tfrsb.models.fit_resumable(
            model,
            batches,
            steps=60,
            steps_per_epoch=20,
            backup_dir=folder / "backup",
            verbose=0,
        ).history
        losses = history["barlow_twins/loss"]
        assert losses[-1] < losses[0], losses
        version = tfrsb.serving.export(
            encoder,
            folder / "model",
            vocabulary=vocabulary,
            candidates=tf.random.stateless_normal([len(vocabulary.tokens), 16], [0, 0]),
        )
        item = str(vocabulary.tokens[0])
        run(folder, "-c", SERVE, str(version), item)
        run(folder, "-m", "tfrs_barlow.demo", "--steps=2", "--output_dir=demo")
        assert (folder / "demo" / "result.png").is_file()
        run(folder, "-m", "tfrs_barlow.study", "--help")
    print(f"tfrs_barlow {tfrsb.__version__} with TensorFlow {tf.__version__}: works.")


def run(folder: pathlib.Path, *arguments: str) -> None:
    """Runs Python as a user who has set no variable."""
    # With the variable, TensorFlow itself imports tf_keras.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TF_")}
    command = [sys.executable, *arguments]
    subprocess.run(command, cwd=folder, env=environment, check=True)


def check_installation() -> None:
    package = pathlib.Path(tfrsb.__file__).parent
    assert package.parent.name == "site-packages", f"{package} is not installed"
    assert (package / "py.typed").is_file()
    assert (package / "serving" / "local" / "page.html").is_file()
    assert importlib.metadata.version("tfrs-barlow") == tfrsb.__version__


if __name__ == "__main__":
    main()
