"""Other candidates for an exported model, without the model in Python."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil
from collections.abc import Iterable, Mapping
from typing import Any

import numpy.typing as npt
import tensorflow as tf

from tfrs_barlow.data import Vocabulary
from tfrs_barlow.serving import manifest, versions
from tfrs_barlow.serving.candidates import CandidateTable
from tfrs_barlow.serving.items import checked_tokens
from tfrs_barlow.serving.manifest import Description
from tfrs_barlow.serving.scann import ScannIndex, recall

_INDEX = "recommender/index"
"""Where the index lies in the module that `export` saves."""


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
    recommended, found similar and excluded at once. In a history they count as unknown
    until a tower is trained that knows them. Items that are left out are no longer
    recommended, but still say something about the user in whose history they are.

    Args:
        path: The export, or the folder of its versions, of which the newest counts.
        items: All items that can be recommended from now on, of the same type as
            before, at least as many as the export's `default_k`.
        candidates: Their embeddings, of shape [items, dim].
        popularity: How popular each of them is, of shape [items]: wanted if the export
            was given one, and only then.

    Returns:
        The folder of the new version, beside the one it was made from.

    Raises:
        FileNotFoundError: If `path` holds no export.
        CorruptExportError: If the export is incomplete or was changed.
        ImportError: If the export searches by ScaNN, which is not there.
        TypeError: If `items` are neither all integers nor all strings.
        ValueError: If the export has no candidates; if `items` hold a duplicate or
            what stands for padding, are of another type than the export's, or too few;
            or if `candidates` or `popularity` are not finite, are of another shape, or
            are there when the export's are not.

    Example:
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
        >>> answer = model.recommend([["Brazil", "Dune"]], k=1)
        >>> answer["ids"].numpy()
        array([[b'Eraserhead']], dtype=object)
    """
    # Resolved: the folder beside a link, or that of ".", is another one.
    source = versions.newest(path).resolve()
    about = manifest.verify(source).description
    if about.candidates is None:
        raise ValueError(
            f"path must be an export with candidates, but {source} was exported "
            "without: tfrsb.serving.export(..., candidates=...)."
        )
    items = items if isinstance(items, Vocabulary) else Vocabulary(items)
    _check_fit(items, popularity, about)
    table = CandidateTable(items, candidates, popularity, about.dim)

    values = _variables(table)
    if about.index == "scann":
        about, states = _scann(source, table, about)
        values |= states

    def leave_out(folder: str, _: list[str]) -> set[str]:
        # The fingerprint is that of the old variables; every loader does without.
        at_the_top = pathlib.Path(folder) == source
        return {"variables", "fingerprint.pb"} if at_the_top else set()

    def write(draft: pathlib.Path) -> None:
        shutil.copytree(source, draft, ignore=leave_out)
        _copy_variables(source, draft, values)
        manifest.write(draft, dataclasses.replace(about, candidates=len(items)))

    return versions.publish(source.parent, write)


def _check_fit(
    items: Vocabulary, popularity: npt.ArrayLike | None, about: Description
) -> None:
    kind = "string" if checked_tokens(items).dtype == object else "int64"
    if kind != about.item_type:
        raise ValueError(
            f"items must be of type {about.item_type}, as those of the export are, but "
            f"they are of type {kind}."
        )
    if len(items) < about.default_k:
        raise ValueError(
            f"items must be at least {about.default_k}, which a request gets that "
            f"names no k, but they are {len(items)}."
        )
    if (popularity is not None) != about.popularity:
        raise ValueError(
            f"popularity must {'be given' if about.popularity else 'be None'}, as it "
            f"was at export, but it is {'None' if popularity is None else 'given'}."
        )


def _variables(table: CandidateTable) -> dict[str, tf.Tensor]:
    """Returns the variables of the index under their names in the checkpoint."""
    values: dict[str, Any] = {
        "items/tokens": checked_tokens(table.items),
        "blocks": table.blocks,
        "inverse_norms": table.inverse_norms,
    }
    if table.popularity is not None:
        values["popularity"] = table.popularity
    return {_key(name): tf.constant(value) for name, value in values.items()}


def _scann(
    source: pathlib.Path, table: CandidateTable, about: Description
) -> tuple[Description, dict[str, tf.Tensor]]:
    """Returns the variables of a new ScaNN index, and what is known of it."""
    index = ScannIndex(table)
    model = tf.saved_model.load(str(source))
    about = dataclasses.replace(about, recall=recall(index, model.embed))
    states = {
        _key(f"state/{name}"): value.read_value()
        for name, value in vars(index.state).items()
        if isinstance(value, tf.Variable)
    }
    return about, states


def _key(name: str) -> str:
    return f"{_INDEX}/{name}/.ATTRIBUTES/VARIABLE_VALUE"


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
