"""Other candidates for an exported model, without the model in Python."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil
from collections.abc import Iterable, Mapping

import numpy.typing as npt
import tensorflow as tf

from tfrs_barlow.data import Vocabulary
from tfrs_barlow.serving import manifest, versions
from tfrs_barlow.serving.index import ExactIndex
from tfrs_barlow.serving.items import tokens_of
from tfrs_barlow.serving.manifest import Description
from tfrs_barlow.serving.scann import INDEXES, ScannIndex, recall


def replace_candidates(
    path: str | os.PathLike[str],
    *,
    items: Vocabulary | Iterable[int] | Iterable[str],
    candidates: npt.ArrayLike | tf.Tensor,
    popularity: npt.ArrayLike | None = None,
) -> pathlib.Path:
    """Writes the next version of an export, with other items to recommend.

    The tower and the graph stay what they are, byte for byte: nothing is trained or
    traced, and the program that built the tower is not needed. New items can be
    recommended, excluded, and found as similar items at once. In a history they count
    as unknown until a tower is trained on them. Removed items are no longer
    recommended, but in a history they still say something about the user.

    Args:
        path: The folder of a version, or of several, of which the newest is the source.
        items: All items that can be recommended from now on. They have the type that
            they had before, and there are at least as many as `default_k`.
        candidates: `[items, dim]`, their embeddings.
        popularity: `[items]`, how popular each of them is. Required if the export was
            given one, and refused otherwise.

    Returns:
        The folder of the new version, next to that of its source.

    Raises:
        TypeError: If `items` are neither all integers nor all strings, or if
            `candidates` or `popularity` are not numbers.
        ValueError: If the export has no candidates; if `items` hold a duplicate or a
            value that stands for padding, have another type than the export's, or are
            too few; or if `candidates` or `popularity` are not finite, have another
            shape, or do not go with the export.
        FileNotFoundError: If `path` holds no export.
        CorruptExportError: If the export is incomplete or was changed.
        OSError: If a file cannot be written, such as on a full disk.
        ImportError: If the export searches with ScaNN, which is not installed.

    Examples:
        >>> import tempfile
        >>> vocabulary = tfrsb.data.Vocabulary(["Alien", "Brazil"])
        >>> tower = tf.keras.layers.Embedding(vocabulary.size, 2)
        >>> first = tfrsb.serving.export(
        ...     lambda ids: tower(ids)[:, 0],
        ...     tempfile.mkdtemp(),
        ...     vocabulary=vocabulary,
        ...     candidates=tower,
        ... )
        >>> second = tfrsb.serving.replace_candidates(
        ...     first,
        ...     items=["Brazil", "Dune", "Eraserhead"],
        ...     candidates=tf.random.normal([3, 2]),
        ... )
        >>> second.name
        '2'
        >>> model = tfrsb.serving.load(second)
        >>> response = model.recommend([["Brazil", "Dune"]], k=1)
        >>> response["ids"].numpy()
        array([[b'Eraserhead']], dtype=object)
    """
    source, found = manifest.verified(path)
    source, about = source.resolve(), found.description  # A link lies elsewhere.
    if about.candidates is None:
        raise ValueError(
            f"path must be an export with candidates, but {source} was exported "
            "without: tfrsb.serving.export(..., candidates=...)."
        )
    if isinstance(items, str | bytes) or not isinstance(items, Vocabulary | Iterable):
        raise TypeError(f"items must be several items, but they are {items!r}.")
    items = items if isinstance(items, Vocabulary) else Vocabulary(items)
    _check_fit(items, popularity, about)

    index = INDEXES[about.index](items, candidates, popularity, about.dim)
    about = dataclasses.replace(about, candidates=len(items))
    if isinstance(index, ScannIndex):
        embed = tf.saved_model.load(str(source)).embed
        about = dataclasses.replace(about, recall=recall(index, embed))

    def leave_out(folder: str, _: list[str]) -> set[str]:
        # The fingerprint belongs to the old variables; no loader needs one.
        at_the_top = pathlib.Path(folder) == source
        return {"variables", "fingerprint.pb"} if at_the_top else set()

    def write(draft: pathlib.Path) -> None:
        # Never follows a link, not even one that was made after the check.
        shutil.copytree(source, draft, ignore=leave_out, symlinks=True)
        _copy_variables(source, draft, _variables(index))
        manifest.write(draft, about)

    return versions.publish(source.parent, write)


def _check_fit(
    items: Vocabulary, popularity: npt.ArrayLike | None, about: Description
) -> None:
    kind = "string" if tokens_of("items", items).dtype == object else "int64"
    if kind != about.item_type:
        raise ValueError(
            f"items must have the type {about.item_type}, as in the export, but they "
            f"have {kind}."
        )
    if len(items) < about.default_k:
        raise ValueError(
            f"items must be at least {about.default_k}, the export's default_k, but "
            f"there are {len(items)}."
        )
    if (popularity is not None) != about.popularity:
        raise ValueError(
            f"popularity must {'be given' if about.popularity else 'be None'}, as it "
            f"was at export, but it is {'None' if popularity is None else 'given'}."
        )


def _variables(index: ExactIndex) -> dict[str, tf.Tensor]:
    """Returns the variables of the index under their names in the checkpoint."""
    values = {**vars(index), "items/tokens": index.items.tokens}
    if isinstance(index, ScannIndex):
        values |= {f"state/{name}": value for name, value in vars(index.state).items()}
    return {
        # `export` saves a module in which the index is at this path.
        f"recommender/index/{name}/.ATTRIBUTES/VARIABLE_VALUE": value.read_value()
        for name, value in values.items()
        if isinstance(value, tf.Variable)
    }


def _copy_variables(
    source: pathlib.Path, target: pathlib.Path, replaced: Mapping[str, tf.Tensor]
) -> None:
    """Writes the checkpoint of `source` into `target`, with some values replaced."""
    (target / "variables").mkdir()
    prefix = "variables/variables"
    dtypes = tf.train.load_checkpoint(str(source / prefix)).get_variable_to_dtype_map()
    kept = sorted(dtypes.keys() - replaced.keys())
    values = tf.raw_ops.RestoreV2(
        prefix=str(source / prefix),
        tensor_names=kept,
        shape_and_slices=[""] * len(kept),
        dtypes=[dtypes[name] for name in kept],
    )
    names = [*kept, *replaced]
    tf.raw_ops.SaveV2(
        prefix=str(target / prefix),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[*values, *replaced.values()],
    )
