"""Real processes that train are killed, stopped and starved of disk, and go on.

They are forked from a process that has imported TensorFlow but not used it, to start
in less time: see `survival_run`.
"""

import json
import multiprocessing
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.models import survival_run

pytestmark = pytest.mark.slow

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([survival_run.__name__])
KILLS = 10
TIMEOUT = 180  # Seconds.


class Run:
    """A training run of one process or two workers, in a separate folder."""

    def __init__(self, folder, workers=1):
        folder.mkdir()
        self.folder = folder
        self.workers = workers

    def start(self):
        addresses = _free_addresses(self.workers) if self.workers > 1 else ()
        self.processes, self.connections, self.steps = [], [], {}
        for index in range(self.workers):
            ours, theirs = CONTEXT.Pipe(duplex=False)
            process = CONTEXT.Process(
                target=survival_run.train,
                args=(theirs, self.folder / "backup", self._results(index)),
                kwargs={"addresses": addresses, "index": index},
            )
            process.start()
            theirs.close()
            self.processes.append(process)
            self.connections.append(ours)

    def next_step(self, index=0):
        """Waits for a worker to complete a step; returns None if it has ended."""
        if not self.connections[index].poll(TIMEOUT):
            pytest.fail(f"No step within {TIMEOUT} seconds. {self.log(index)}")
        try:
            self.steps[index] = self.connections[index].recv()
        except EOFError:
            return None
        return self.steps[index]

    def last_step(self, index=0):
        """Waits for a worker to end; returns the last step that it has completed."""
        while self.next_step(index) is not None:
            pass
        return self.steps[index]

    def break_off(self, steps, delay, index=0):
        """Kills a worker after so many steps and seconds, then what depends on it."""
        for _ in range(steps):
            assert self.next_step(index) is not None, self.log(index)
        time.sleep(delay)
        self.processes[index].kill()
        self.processes[index].join()
        code = self.processes[index].exitcode
        assert code == -signal.SIGKILL, self.log(index)
        self.kill()

    def kill(self):
        for process in self.processes:
            process.kill()
            process.join()

    def exit_codes(self):
        for process in self.processes:
            process.join(TIMEOUT)
        return [process.exitcode for process in self.processes]

    def finish(self):
        """Returns the state at the end, of each worker."""
        codes = self.exit_codes()
        assert codes == [0] * self.workers, self.log(0)
        states = []
        for index in range(self.workers):
            with np.load(self._results(index)) as arrays:
                states.append([arrays[name] for name in arrays.files])
        return states

    def log(self, index):
        file = self.folder / f"results_{index}.npz.log"
        return file.read_text()[-6000:]

    def backups(self):
        return sorted((self.folder / "backup" / "chief").iterdir())

    def _results(self, index):
        return self.folder / f"results_{index}.npz"


def _free_addresses(number):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    return addresses


@pytest.fixture(params=[1, 2], ids=["one process", "two workers"], scope="module")
def unbroken(request, tmp_path_factory):
    run = Run(tmp_path_factory.mktemp("survival") / "unbroken", request.param)
    run.start()
    yield run
    run.kill()


@pytest.fixture
def broken(unbroken, tmp_path):
    run = Run(tmp_path / "broken", unbroken.workers)
    yield run
    run.kill()


def assert_same_end(broken, unbroken):
    """Equal in every bit; of workers to rounding, since they add in any order."""
    for ours, expected in zip(broken.finish(), unbroken.finish(), strict=True):
        for one, other in zip(ours, expected, strict=True):
            tolerance = 0 if unbroken.workers == 1 else 1e-6
            np.testing.assert_allclose(one, other, rtol=0, atol=tolerance)


def test_ten_kills_at_random(unbroken, broken):
    rng = random.Random(0)
    for _ in range(KILLS):
        broken.start()
        broken.break_off(
            steps=rng.randint(1, 4),
            delay=rng.uniform(0, 0.06),
            index=rng.randrange(broken.workers),
        )
    broken.start()
    assert_same_end(broken, unbroken)
    # What was half written at a kill is not there any more.
    assert {file.name.split(".")[0] for file in broken.backups()} == {
        "checkpoint",
        "ckpt-69",
        "ckpt-70",
    }


def test_sigterm_to_one_backs_up_that_very_step(unbroken, broken):
    broken.start()
    told = broken.workers - 1
    for _ in range(5):
        broken.next_step(told)
    os.kill(broken.processes[told].pid, signal.SIGTERM)
    (step,) = {broken.last_step(index) for index in range(broken.workers)}
    assert broken.exit_codes() == [143] * broken.workers
    assert (broken.folder / "backup" / "chief" / f"ckpt-{step}.index").exists()
    expected = f"SIGTERM: training stops after step {step}, which is backed up in"
    assert all(expected in broken.log(index) for index in range(broken.workers))
    broken.start()
    assert broken.next_step() == step + 1
    assert_same_end(broken, unbroken)


def on_small_disk(folder, size, *command):
    """Returns a command line that sees a small file system at a folder."""
    mount = 'mount -t tmpfs -o size="$0" none "$1" && shift && exec "$@"'
    return ["unshare", "-rm", "sh", "-c", mount, size, str(folder), *command]


def test_a_full_disk_loses_nothing(tmp_path):
    if not shutil.which("unshare") or subprocess.call(
        on_small_disk(tmp_path, "1m", "true"), stderr=subprocess.DEVNULL
    ):
        pytest.skip("Mounting a small file system takes unshare, and leave to use it.")
    done = subprocess.run(
        on_small_disk(
            tmp_path,
            "2m",
            *(sys.executable, "-m", survival_run.__name__, str(tmp_path)),
        ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    found = json.loads(done.stdout)
    assert found["message"].startswith("The backup of step 9 could not be written: ")
    assert "No space left on device" in found["message"]
    assert found["message"].endswith(
        f"the last good backup is {tmp_path / 'backup' / 'chief' / 'ckpt-6'}."
    )
    # The backups before are there, and nothing else.
    assert {name.split(".")[0] for name in found["left"]} == {
        "checkpoint",
        "ckpt-3",
        "ckpt-6",
    }
    assert found["equal"]
