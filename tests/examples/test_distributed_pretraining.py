"""The distributed example: the same training, however many devices share it."""

from __future__ import annotations

import json
import os
import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import tfrs_barlow as tfrsb
from examples import distributed_pretraining

TINY = [
    "--optimizer=sgd",
    "--learning_rate=1e-4",  # Larger, it would diverge, and rounding with it.
    "--batch_size=32",
    "--length=20",
    "--steps=6",
    "--steps_per_epoch=3",
]


def start(output_dir, *flags, **environment):
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "examples.distributed_pretraining"),
            *(*TINY, f"--output_dir={output_dir}", *flags),
        ],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def start_workers(output_dir, number=2):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    return [
        start(
            output_dir,
            "--strategy=workers",
            TF_CONFIG=json.dumps(
                {
                    "cluster": {"worker": addresses},
                    "task": {"type": "worker", "index": index},
                }
            ),
        )
        for index in range(number)
    ]


def finish(*processes):
    """Returns what the first has printed."""
    try:
        printed = [process.communicate(timeout=240)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, text in zip(processes, printed, strict=True):
        assert process.returncode == 0, text[-6000:]
    return printed[0]


def weights(output_dir):
    """The weights of the last backup, by name."""
    folder = output_dir / "backup" / "chief"
    assert (folder / "ckpt-6.index").exists()
    checkpoint = tf.train.load_checkpoint(str(folder / "ckpt-6"))
    return {
        name: checkpoint.get_tensor(name)
        for name in checkpoint.get_variable_to_shape_map()
        if name.startswith(("model/query_tower", "model/projector"))
        and ".OPTIMIZER_SLOT" not in name
    }


@pytest.mark.slow
def test_every_strategy_ends_at_the_same_weights(tmp_path: pathlib.Path) -> None:
    alone, several = start(tmp_path / "alone"), start_workers(tmp_path / "workers")
    printed = finish(alone), finish(*several)
    assert "Strategy: 1 replicas, each with 32 of the 32 rows" in printed[0]
    assert "Strategy: 2 replicas, each with 16 of the 32 rows" in printed[1]
    assert all("Saved model" in one for one in printed)
    # One device begins, and two go on.
    finish(start(tmp_path / "grown", "--steps=3"))
    printed = finish(start(tmp_path / "grown", "--strategy=mirrored"))
    assert "Epoch 2/2" in printed
    assert "Epoch 1/2" not in printed
    expected = weights(tmp_path / "alone")
    assert len(expected) > 10
    for run in ("workers", "grown"):
        ours = weights(tmp_path / run)
        assert ours.keys() == expected.keys()
        for name, value in ours.items():
            np.testing.assert_allclose(
                value, expected[name], rtol=0, atol=2e-6, err_msg=f"{run}: {name}"
            )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--strategy=magic"], "invalid choice: 'magic'"),
        (["--optimizer=lion"], "invalid choice: 'lion'"),
    ],
)
def test_bad_flags_are_named(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as error:
        distributed_pretraining.main(flags)
    assert error.value.code != 0
    assert message in capsys.readouterr().err


def test_a_folder_of_other_settings_is_refused(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tfrsb.study.require_same_settings(tmp_path, {"learning_rate": 0.1})
    with pytest.raises(SystemExit) as error:
        distributed_pretraining.main([f"--output_dir={tmp_path}"])
    assert error.value.code == 1
    printed = capsys.readouterr().err
    assert "holds a run with other settings" in printed
    assert "learning_rate was 0.1 and is now 0.001" in printed
