"""The losses that `benchmarks.loss` measures: ours, and what people use elsewhere.

lightly's classes run as they are installed. The other peers are not packages, or do not
install with today's TensorFlow: their formulas are written down here anew, operation by
operation where that decides the cost, without what a single process does not need. All
use the same off-diagonal weight and no further scale.
"""

from __future__ import annotations

import importlib
import importlib.util
import pathlib
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.measure import Step

OFF_DIAGONAL_WEIGHT = 5e-3
BATCH_NORM_EPSILON = 1e-5

Loss = Callable[[Any, Any], Any]
"""Takes two `[batch, dim]` tensors of a framework, and returns a scalar one."""


class Candidate(NamedTuple):
    """A loss to measure.

    Attributes:
        name: How tables and flags call it.
        packages: What must be importable: its framework first.
        source: Where it comes from.
        load: Imports what it needs and returns it.
    """

    name: str
    packages: tuple[str, ...]
    source: str
    load: Callable[[], Loss]

    def missing_packages(self) -> list[str]:
        """Returns the packages that are not installed."""
        return [one for one in self.packages if importlib.util.find_spec(one) is None]

    def step(self, loss: Loss, first: np.ndarray, second: np.ndarray) -> Step:
        """Binds the loss to inputs of `[batch, dim]`."""
        make = {"tensorflow": _tensorflow_step, "torch": _torch_step}[self.packages[0]]
        return make(loss, first, second)


def _tensorflow_step(loss: Loss, first: np.ndarray, second: np.ndarray) -> Step:
    """Returns a step inside a `tf.function`, as in training."""
    import tensorflow as tf

    @tf.function
    def loss_and_gradients(first: Any, second: Any) -> tuple[Any, ...]:
        with tf.GradientTape() as tape:
            tape.watch([first, second])
            value = loss(first, second)
        return value, *tape.gradient(value, [first, second])

    inputs = tf.constant(first), tf.constant(second)
    return lambda: loss_and_gradients(*inputs)


def _torch_step(loss: Loss, first: np.ndarray, second: np.ndarray) -> Step:
    """Returns an eager step."""
    import torch

    torch.set_num_threads(1)
    inputs = [torch.from_numpy(view).requires_grad_() for view in (first, second)]

    def loss_and_gradients() -> tuple[Any, ...]:
        value = loss(*inputs)
        gradients = torch.autograd.grad(value, inputs)
        return value.detach(), *gradients

    return loss_and_gradients


def _ours() -> Loss:
    import tfrs_barlow as tfrsb

    return tfrsb.losses.barlow_twins_loss


def _ours_vicreg() -> Loss:
    import tfrs_barlow as tfrsb

    return tfrsb.losses.vicreg_loss


def _lightly() -> Loss:
    loss = _lightly_module("barlow_twins_loss").BarlowTwinsLoss
    return loss(lambda_param=OFF_DIAGONAL_WEIGHT)


def _lightly_vicreg() -> Loss:
    return _lightly_module("vicreg_loss").VICRegLoss()


def _lightly_module(name: str) -> types.ModuleType:
    """Imports a loss of lightly.

    `import lightly.loss` imports all of its losses, and some need torchvision. Where
    that does not fit the torch at hand, the installed file of the one loss is imported
    by its path. Either way it is lightly's code that runs.
    """
    try:
        return importlib.import_module(f"lightly.loss.{name}")
    except ImportError:
        package = importlib.util.find_spec("lightly")
        assert package is not None and package.origin is not None
        path = pathlib.Path(package.origin).parent / "loss" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module


def _facebook() -> Loss:
    """Batch normalization keeps running statistics; the off-diagonal is copied out."""
    import torch

    norms: dict[int, Any] = {}

    def loss(first: Any, second: Any) -> Any:
        batch, dim = first.shape
        # A module of the model there, so not built anew in every step.
        norm = norms.setdefault(
            dim, torch.nn.BatchNorm1d(dim, eps=BATCH_NORM_EPSILON, affine=False)
        )
        correlation = norm(first).T @ norm(second)
        correlation.div_(batch)
        on_diagonal = torch.diagonal(correlation).add_(-1).pow_(2).sum()
        off_diagonal = _torch_off_diagonal(correlation).pow_(2).sum()
        return on_diagonal + OFF_DIAGONAL_WEIGHT * off_diagonal

    return loss


def _solo_learn() -> Loss:
    """The off-diagonal is weighted in place, through a boolean mask."""
    import torch

    def loss(first: Any, second: Any) -> Any:
        batch, dim = first.shape
        norm = torch.nn.BatchNorm1d(dim, eps=BATCH_NORM_EPSILON, affine=False)
        correlation = torch.einsum("ni,nj->ij", norm(first), norm(second)) / batch
        identity = torch.eye(dim)
        difference = (correlation - identity).pow(2)
        difference[~identity.bool()] *= OFF_DIAGONAL_WEIGHT
        return difference.sum()

    return loss


def _tensorflow_similarity() -> Loss:
    """A column that is constant becomes 0; the off-diagonal is copied out."""
    import tensorflow as tf

    def standardize(view: Any) -> Any:
        return tf.math.divide_no_nan(
            view - tf.reduce_mean(view, axis=0), tf.math.reduce_std(view, axis=0)
        )

    def loss(first: Any, second: Any) -> Any:
        batch = tf.cast(tf.shape(first)[0], first.dtype)
        correlation = tf.matmul(
            standardize(first), standardize(second), transpose_a=True
        )
        correlation /= batch
        on_diagonal = tf.pow(1.0 - tf.linalg.diag_part(correlation), 2)
        dim = tf.shape(correlation)[0]
        shifted = tf.reshape(
            tf.reshape(correlation, [-1])[:-1], tf.stack([dim - 1, dim + 1])
        )
        off_diagonal = tf.pow(tf.reshape(shifted[:, 1:], [-1]), 2)
        return OFF_DIAGONAL_WEIGHT * tf.reduce_sum(off_diagonal) + tf.reduce_sum(
            on_diagonal
        )

    return loss


def _keras_io() -> Loss:
    """A column that is constant becomes NaN; the diagonal is overwritten by zeros."""
    import tensorflow as tf

    def standardize(view: Any) -> Any:
        centered = view - tf.reduce_mean(view, axis=0)
        return centered / tf.math.reduce_std(view, axis=0)

    def loss(first: Any, second: Any) -> Any:
        correlation = tf.transpose(standardize(first)) @ standardize(second)
        correlation /= first.shape[0]
        on_diagonal = tf.pow(tf.linalg.diag_part(correlation) - 1, 2)
        without = tf.linalg.set_diag(correlation, tf.zeros(correlation.shape[-1]))
        off_diagonal = tf.pow(without, 2) * OFF_DIAGONAL_WEIGHT
        return tf.reduce_sum(on_diagonal) + tf.reduce_sum(off_diagonal)

    return loss


def _torch_off_diagonal(matrix: Any) -> Any:
    """Copies it out: rows shorter by one shift the diagonal into the first column."""
    dim = len(matrix)
    return matrix.flatten()[:-1].view(dim - 1, dim + 1)[:, 1:].flatten()


_TF, _TORCH = ("tensorflow",), ("torch",)
_GITHUB = "https://github.com"

CANDIDATES = {
    "barlow_twins": (
        Candidate("ours", _TF, "`tfrsb.losses.barlow_twins_loss`", _ours),
        Candidate(
            "lightly",
            (*_TORCH, "lightly"),
            "the class `lightly.loss.BarlowTwinsLoss`, as installed",
            _lightly,
        ),
        Candidate(
            "facebook",
            _TORCH,
            f"the formula of {_GITHUB}/facebookresearch/barlowtwins, `main.py`",
            _facebook,
        ),
        Candidate(
            "solo-learn",
            _TORCH,
            f"the formula of {_GITHUB}/vturrisi/solo-learn, `solo/losses/barlow.py`",
            _solo_learn,
        ),
        Candidate(
            "tf-similarity",
            _TF,
            f"the formula of {_GITHUB}/tensorflow/similarity, "
            "`tensorflow_similarity/losses/barlow.py`",
            _tensorflow_similarity,
        ),
        Candidate(
            "keras-io",
            _TF,
            f"the formula of {_GITHUB}/keras-team/keras-io, "
            "`examples/vision/barlow_twins.py`",
            _keras_io,
        ),
    ),
    "vicreg": (
        Candidate("ours", _TF, "`tfrsb.losses.vicreg_loss`", _ours_vicreg),
        Candidate(
            "lightly",
            (*_TORCH, "lightly"),
            "the class `lightly.loss.VICRegLoss`, as installed",
            _lightly_vicreg,
        ),
    ),
}
"""What to measure, by objective: all of one compute the same value. Ours is first."""
