"""Embeddings of users and items for the projector of TensorBoard."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import tensorflow as tf

from tfrs_barlow import _checks
from tfrs_barlow.callbacks.frozen_encoder import (
    FrozenEncoder,
    checked_encoder,
    encoder_of,
)
from tfrs_barlow.data import UserSequences, Vocabulary
from tfrs_barlow.ids import FIRST_ITEM_ID


class Points(NamedTuple):
    """Finite embeddings `[points, dim]`, and a table with a row for each."""

    embeddings: npt.NDArray
    metadata: pd.DataFrame


class EmbeddingProjector(tf.keras.callbacks.Callback):
    """Writes embeddings for TensorBoard's projector when training ends.

    The projector draws them in two or three dimensions (PCA, UMAP, t-SNE), colored by
    any column of the metadata, and lists the nearest neighbors of a point.

    Args:
        log_dir: The folder for the files: a separate one, or that of other logs.
        users: The users to show. The browser does the computing: of many users, show a
            sample.
        length: The number of items of a history to read.
        user_metadata: What to show about each user, one row each, in the order of
            `users`. The column `user_id` is added.
        vocabulary: That of the encoder, to show the embeddings of items too.
        items: What to show about items, by a column `item_id`, such as
            `InteractionLog.items`.
        encoder: The encoder to show: from item ids `[batch, length]` to embeddings
            `[batch, dim]`. Default: the `query_tower` of the model.

    Raises:
        TypeError: If an argument has a wrong type.
        ValueError: If `length` is below 1, `user_metadata` does not have a row for each
            user, or `items` has no column `item_id` or comes without a vocabulary.
        ImportError: If TensorBoard is not installed.

    Examples:
        >>> import tempfile
        >>> log = tfrsb.data.generate_synthetic_log(num_users=50, num_items=200)
        >>> sequences, vocabulary = tfrsb.data.build_sequences(log)
        >>> projector = tfrsb.callbacks.EmbeddingProjector(
        ...     tempfile.mkdtemp(),
        ...     sequences,
        ...     length=20,
        ...     vocabulary=vocabulary,
        ...     items=log.items,
        ... )
        >>> callbacks = [projector]  # For `model.fit`.
    """

    def __init__(
        self,
        log_dir: str | pathlib.Path,
        users: UserSequences,
        *,
        length: int,
        user_metadata: pd.DataFrame | None = None,
        vocabulary: Vocabulary | None = None,
        items: pd.DataFrame | None = None,
        encoder: tf.keras.layers.Layer | None = None,
    ) -> None:
        super().__init__()
        _projector()
        self.log_dir = _checks.path("log_dir", log_dir)
        self.users = _checks.instance("users", users, UserSequences)
        self.length = _checks.integer("length", length, at_least=1)
        for name, value, kind in (
            ("user_metadata", user_metadata, pd.DataFrame),
            ("vocabulary", vocabulary, Vocabulary),
            ("items", items, pd.DataFrame),
        ):
            if value is not None:
                _checks.instance(name, value, kind)
        if user_metadata is not None and len(user_metadata) != len(users):
            raise ValueError(
                f"user_metadata must have a row for each of the {len(users)} users, "
                f"but it has {len(user_metadata)}."
            )
        if items is not None and (vocabulary is None or "item_id" not in items):
            raise ValueError(
                "items must have a column item_id and come with a vocabulary, but "
                f"vocabulary is {vocabulary} and the columns are {list(items)}."
            )
        self.user_metadata = user_metadata
        self.vocabulary = vocabulary
        self.items = items
        self.encoder = checked_encoder(encoder)

    def set_model(self, model: tf.keras.Model) -> None:
        """Checks before training that the model has what is to be shown."""
        super().set_model(model)
        encoder = self.encoder or encoder_of(model)
        if self.vocabulary is not None:
            table = getattr(encoder, "item_embedding", None)
            rows = 0 if table is None else table.input_dim
            if rows != self.vocabulary.size:
                raise ValueError(
                    f"vocabulary must be that of the encoder, but its size is "
                    f"{self.vocabulary.size}, and {encoder.name!r} embeds {rows} ids."
                )

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Writes the files."""
        encoder = self.encoder or encoder_of(self.model)
        frozen = FrozenEncoder(encoder, length=self.length)
        clouds = {"users": Points(frozen.embed(self.users), self._about_users())}
        if self.vocabulary is not None:
            ids = tf.range(self.vocabulary.size)
            table = encoder.item_embedding(ids).numpy()
            about_items = self._about_items(self.vocabulary)
            clouds["items"] = Points(table[FIRST_ITEM_ID:], about_items)
        write_projector(self.log_dir, clouds)

    def _about_users(self) -> pd.DataFrame:
        names = pd.DataFrame({"user_id": self.users.user_ids})
        if self.user_metadata is None:
            return names
        metadata = self.user_metadata.reset_index(drop=True)
        return names.join(metadata.drop(columns="user_id", errors="ignore"))

    def _about_items(self, vocabulary: Vocabulary) -> pd.DataFrame:
        names = pd.DataFrame({"item_id": vocabulary.tokens})
        if self.items is None:
            return names
        return self.items.set_index("item_id").reindex(vocabulary.tokens).reset_index()


def write_projector(
    log_dir: str | pathlib.Path,
    clouds: Mapping[str, tuple[npt.ArrayLike, pd.DataFrame]],
) -> None:
    """Writes any embeddings for TensorBoard's projector.

    It replaces what the projector has shown of `log_dir` before.

    Args:
        log_dir: The folder for the files.
        clouds: For each name, which becomes the name of a file: finite embeddings
            `[points, dim]`, and a table with a row for each point. A cell with a
            collection, such as a tuple of categories, shows all members. An empty cell
            shows "-".

    Raises:
        TypeError: If an argument has a wrong type.
        ValueError: If a name is not a plain file name, embeddings are not a finite
            matrix, or a table has no column or another number of rows.
        ImportError: If TensorBoard is not installed.

    Examples:
        >>> import tempfile
        >>> import pandas as pd
        >>> titles = pd.DataFrame({"title": ["Alien", "Brazil"], "year": [1979, 1985]})
        >>> folder = tempfile.mkdtemp()
        >>> tfrsb.callbacks.write_projector(folder, {"films": (np.eye(2), titles)})
    """
    projector = _projector()
    folder = _checks.path("log_dir", log_dir)
    if not isinstance(clouds, Mapping):
        raise TypeError(f"clouds must be a dict, but it is {clouds!r}.")
    checked = {name: _checked(name, *cloud) for name, cloud in clouds.items()}
    folder.mkdir(parents=True, exist_ok=True)
    config = projector.ProjectorConfig()
    for name, (embeddings, metadata) in checked.items():
        tensor, table = f"{name}.tsv", f"{name}_metadata.tsv"
        # Nine digits distinguish all numbers of float32.
        np.savetxt(folder / tensor, embeddings, fmt="%.9g", delimiter="\t")
        (folder / table).write_text(_tsv(metadata), encoding="utf-8", newline="\n")
        config.embeddings.add(
            tensor_name=name,
            tensor_shape=embeddings.shape,
            tensor_path=tensor,
            metadata_path=table,
        )
    projector.visualize_embeddings(str(folder), config)


def _projector() -> Any:
    """Returns TensorBoard's module for the format."""
    try:
        from tensorboard.plugins import projector
    except ImportError as error:
        raise ImportError(
            "The embedding projector needs TensorBoard: pip install "
            "'tfrs-barlow[tensorboard]'"
        ) from error
    return projector


def _checked(name: str, embeddings: npt.ArrayLike, metadata: pd.DataFrame) -> Points:
    if not name or name != pathlib.PurePath(name).name:
        raise ValueError(f"Names of clouds must be file names, but one is {name!r}.")
    matrix = np.asarray(embeddings, dtype=np.float32)
    if matrix.ndim != 2 or 0 in matrix.shape or not np.isfinite(matrix).all():
        raise ValueError(
            f"The embeddings of {name!r} must be finite, of the shape [points, dim], "
            f"but that is {list(matrix.shape)}, or there is a NaN or an infinity."
        )
    if len(metadata) != len(matrix) or metadata.columns.empty:
        raise ValueError(
            f"The metadata of {name!r} must have columns and a row for each of the "
            f"{len(matrix)} points, but it has the shape {list(metadata.shape)}."
        )
    return Points(matrix, metadata)


def _tsv(metadata: pd.DataFrame) -> str:
    """Returns a table as the projector reads it."""
    columns = [[_cell(cell) for cell in metadata[name]] for name in metadata]
    rows = ["\t".join(row) for row in zip(*columns, strict=True)]
    # The projector takes the first line of a single column for a point.
    header = [] if len(columns) == 1 else ["\t".join(map(_cell, metadata))]
    return "\n".join([*header, *rows, ""])


def _cell(value: Any) -> str:
    """Returns a value on one line without tabs: the format has no quotes."""
    if isinstance(value, (tuple, list, set, frozenset, np.ndarray)):
        value = ", ".join(map(str, value))
    elif pd.isna(value):
        value = ""
    return " ".join(str(value).split()) or "-"
