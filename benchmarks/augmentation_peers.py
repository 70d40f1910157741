"""What `benchmarks.augmentation` measures: our views, and how others make theirs.

RecBole's transforms are run as they are installed. ICLRec is not a package: what its
data set does to a sequence is written down here anew, in plain Python as there.
"""

from __future__ import annotations

import copy
import functools
import importlib
import importlib.util
import itertools
import pathlib
import random
import sys
import types
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

RATES = {"crop": 0.6, "mask": 0.3, "reorder": 0.6, "substitute": 0.1, "insert": 0.4}
CHOICE_RATES = {"crop": 0.2, "mask": 0.7, "reorder": 0.2}

BATCH_SIZES = (256, 1024)

OURS, OURS_COMPILED = "ours", "ours compiled"
OURS_IN_TF_DATA = "ours in tf.data"
RECBOLE, ICLREC, COPY = "RecBole", "ICLRec", "copy"

Views = tuple[Any, Any]


class Work(NamedTuple):
    """What there is to do.

    Attributes:
        setting: A key of `RATES`, or "choice": for each sequence one of `CHOICE_RATES`.
        rows: `[users, length]`, int32: items from 1 on, padded on the right with 0.
        neighbors: `[ids, k]`: items alike, as our layers take them.
        batch_size: How many sequences get their views at once.
        cores: How many cores there are to use.
    """

    setting: str
    rows: np.ndarray
    neighbors: np.ndarray
    batch_size: int
    cores: int

    def batches(self) -> list[np.ndarray]:
        """Returns the rows in batches, the last of which may be smaller."""
        starts = range(0, len(self.rows), self.batch_size)
        return [self.rows[start : start + self.batch_size] for start in starts]


class Prepared(NamedTuple):
    """An implementation with its input in the form in which it takes it.

    Attributes:
        epoch: Returns an iterable over two views of each batch.
        inputs: `[users, length]`: the sequences in the ids and padding of the views.
        items: The ids that stand for an item, and not for padding or a mask.
    """

    epoch: Callable[[], Iterable[Views]]
    inputs: np.ndarray
    items: range


class Method(NamedTuple):
    """A way to make two views.

    Attributes:
        name: How tables and flags call it.
        packages: What must be importable.
        source: Where it comes from.
        settings: What it can do.
        prepare: Binds it to the work.
        batch_sizes: At which batch sizes to measure it.
    """

    name: str
    packages: tuple[str, ...]
    source: str
    settings: tuple[str, ...]
    prepare: Callable[[Work], Prepared]
    batch_sizes: tuple[int, ...] = BATCH_SIZES[:1]

    def missing_packages(self) -> list[str]:
        """Returns the packages that are not installed."""
        return [one for one in self.packages if importlib.util.find_spec(one) is None]


def _ours(work: Work, jit_compile: bool = False) -> Prepared:
    """Calls the layer in a `tf.function`, as a training step does."""
    import tensorflow as tf

    layer, rows = _our_layer(work, jit_compile)
    signature = [tf.TensorSpec([None, rows.shape[1]], tf.int32)]
    views = tf.function(
        functools.partial(layer, training=True), input_signature=signature
    )
    batches = [tf.constant(batch) for batch in work._replace(rows=rows).batches()]
    return Prepared(lambda: map(views, batches), rows, _our_items(work))


def _ours_in_tf_data(work: Work) -> Prepared:
    """Calls the layer in `tf.data`, with a seed for each batch."""
    import tensorflow as tf

    layer, rows = _our_layer(work)
    layer(rows[:1], training=True)  # Creates its variable, which `map` may not do.
    constant, size = tf.constant(rows), work.batch_size

    def views(start: Any) -> Views:
        seed = tf.stack([start, 1])
        return layer(constant[start : start + size], training=True, seed=seed)

    starts = tf.data.Dataset.range(0, len(rows), size)
    # One stream over all epochs: to start one costs more than a short epoch does.
    stream = iter(
        starts.repeat().map(views, num_parallel_calls=work.cores, deterministic=True)
    )
    return Prepared(
        lambda: itertools.islice(stream, len(starts)), rows, _our_items(work)
    )


def _our_layer(work: Work, jit_compile: bool = False) -> tuple[Any, np.ndarray]:
    """Returns the layer, and the rows in ids of our vocabulary."""
    import tfrs_barlow as tfrsb

    layers = tfrsb.layers
    rated: dict[str, Callable[..., Any]] = {
        "crop": layers.RandomCrop,
        "mask": layers.RandomMask,
        "reorder": layers.RandomReorder,
        "substitute": functools.partial(
            layers.RandomSubstitute, neighbors=work.neighbors
        ),
        "insert": functools.partial(layers.RandomInsert, neighbors=work.neighbors),
    }
    if work.setting == "choice":
        choices = [rated[name](rate) for name, rate in CHOICE_RATES.items()]
        augmentation = layers.RandomChoice(choices)
    else:
        augmentation = rated[work.setting](RATES[work.setting])
    shift = tfrsb.data.FIRST_ITEM_ID - 1
    rows = np.where(work.rows > 0, work.rows + shift, tfrsb.data.PADDING_ID)
    views = layers.TwoViews(augmentation, seed=0, jit_compile=jit_compile)
    return views, rows.astype(np.int32)


def _our_items(work: Work) -> range:
    import tfrs_barlow as tfrsb

    return range(tfrsb.data.FIRST_ITEM_ID, len(work.neighbors))


def _copies(work: Work) -> Prepared:
    """Copies each batch twice: no views of it can cost less."""
    views = np.empty_like(work.rows), np.empty_like(work.rows)

    def copies(batch: np.ndarray) -> Views:
        first, second = (view[: len(batch)] for view in views)
        np.copyto(first, batch)
        np.copyto(second, batch)
        return first, second

    batches = work.batches()
    return Prepared(lambda: map(copies, batches), work.rows, _items(work))


def _items(work: Work) -> range:
    return range(1, int(work.rows.max()) + 1)


def _recbole(work: Work) -> Prepared:
    """Applies a transform of RecBole's twice to each `Interaction`."""
    import torch

    transforms, items = _recbole_transforms(), _items(work)
    kind, rate, view = {
        "crop": (transforms.CropItemSequence, "eta", "Crop_item_id_list"),
        "mask": (transforms.MaskItemSequence, "mask_ratio", "Mask_item_id_list"),
        "reorder": (transforms.ReorderItemSequence, "beta", "Reorder_item_id_list"),
    }[work.setting]
    transform = kind(
        {
            "ITEM_ID_FIELD": "item_id",
            "LIST_SUFFIX": "_list",
            "ITEM_LIST_LENGTH_FIELD": "item_length",
            "MAX_ITEM_LIST_LENGTH": work.rows.shape[1],
            rate: RATES[work.setting],
        }
    )
    # Of the data set the transforms want the number of ids, which is the mask's id too.
    dataset = types.SimpleNamespace(num=lambda field: items.stop)

    def interaction(batch: np.ndarray) -> Any:
        return transforms.Interaction(
            {
                "item_id_list": torch.tensor(batch, dtype=torch.long),
                "item_length": torch.tensor((batch > 0).sum(axis=1)),
            }
        )

    def views(batch: Any) -> Views:
        return transform(dataset, batch)[view], transform(dataset, batch)[view]

    batches = [interaction(batch) for batch in work.batches()]
    return Prepared(_torch_epoch(views, batches, work.cores), work.rows, items)


def _recbole_transforms() -> types.ModuleType:
    """Imports the transforms alone: all of `recbole.data` needs thirty packages."""
    import recbole

    data = types.ModuleType("recbole.data")
    data.__path__ = [str(pathlib.Path(recbole.__file__).parent / "data")]
    sys.modules[data.__name__] = data
    return importlib.import_module("recbole.data.transform")


def _iclrec(work: Work) -> Prepared:
    """Does what ICLRec's data set and the collation of its data loader do."""
    import torch

    length = work.rows.shape[1]

    def views_of_one(sequence: list[int]) -> list[Any]:
        views = []
        for _ in range(2):
            view = _iclrec_augmented(sequence)
            view = [0] * (length - len(view)) + view
            views.append(torch.tensor(view[-length:], dtype=torch.long))
        return views

    def views(batch: list[list[int]]) -> Views:
        first, second = zip(*map(views_of_one, batch), strict=True)
        return torch.stack(first), torch.stack(second)

    batches = [
        [[item for item in row if item] for row in batch.tolist()]
        for batch in work.batches()
    ]
    epoch = _torch_epoch(views, batches, work.cores)
    return Prepared(epoch, _left_padded(work.rows), _items(work))


def _iclrec_augmented(sequence: list[int]) -> list[int]:
    kinds = [_iclrec_crop, _iclrec_mask, _iclrec_reorder]
    return kinds[random.randint(0, len(kinds) - 1)](sequence)


def _iclrec_crop(sequence: list[int]) -> list[int]:
    copied = copy.deepcopy(sequence)
    count = int(CHOICE_RATES["crop"] * len(copied))
    # Here as in `_iclrec_reorder` the last item never takes part, as in the original.
    start = random.randint(0, len(copied) - count - 1)
    return copied[start : start + max(count, 1)]


def _iclrec_mask(sequence: list[int]) -> list[int]:
    copied = copy.deepcopy(sequence)
    count = int(CHOICE_RATES["mask"] * len(copied))
    for position in random.sample(list(range(len(copied))), k=count):
        copied[position] = 0
    return copied


def _iclrec_reorder(sequence: list[int]) -> list[int]:
    copied = copy.deepcopy(sequence)
    count = int(CHOICE_RATES["reorder"] * len(copied))
    start = random.randint(0, len(copied) - count - 1)
    window = copied[start : start + count]
    random.shuffle(window)
    return copied[:start] + window + copied[start + count :]


def _left_padded(rows: np.ndarray) -> np.ndarray:
    order = np.argsort(rows > 0, axis=1, kind="stable")
    return np.take_along_axis(rows, order, axis=1)


def _torch_epoch(
    views: Callable[[Any], Views], batches: Sequence[Any], cores: int
) -> Callable[[], Iterable[Views]]:
    """Returns the epoch: here if on one core, else a worker process on each."""
    import torch

    torch.set_num_threads(1)
    if cores == 1:
        return lambda: map(views, batches)
    loader = torch.utils.data.DataLoader(
        batches,
        batch_size=None,
        collate_fn=views,
        num_workers=cores,
        persistent_workers=True,
    )
    return lambda: loader


METHODS = [
    Method(
        OURS,
        ("tensorflow",),
        "`tfrsb.layers.TwoViews` in a `tf.function`",
        (*RATES, "choice"),
        _ours,
        BATCH_SIZES,
    ),
    Method(
        OURS_COMPILED,
        ("tensorflow",),
        "the same with `TwoViews(jit_compile=True)`, which XLA compiles",
        (*RATES, "choice"),
        functools.partial(_ours, jit_compile=True),
        BATCH_SIZES,
    ),
    Method(
        OURS_IN_TF_DATA,
        ("tensorflow",),
        "`tfrsb.layers.TwoViews` in `tf.data.Dataset.map`, in the order of the batches",
        (*RATES, "choice"),
        _ours_in_tf_data,
    ),
    Method(
        RECBOLE,
        ("recbole", "torch"),
        "the classes of `recbole.data.transform`, as installed, twice for two views",
        ("crop", "mask", "reorder"),
        _recbole,
    ),
    Method(
        ICLREC,
        ("torch",),
        "the random augmentation of https://github.com/salesforce/ICLRec, written anew",
        ("choice",),
        _iclrec,
    ),
    Method(COPY, (), "`numpy.copyto` of each batch, twice", (COPY,), _copies),
]
