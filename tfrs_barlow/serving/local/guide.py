"""What the page shows of a model: titles, recommendations, near users."""

from __future__ import annotations

import pathlib
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfrs_barlow.serving.local.servable import Servable
from tfrs_barlow.serving.local.tables import Histories

_USERS_AT_ONCE = 512
_SHOWN = 6  # Of what a user has watched.


class Guide(Servable):
    """A servable that knows titles, and whose histories are near to one.

    Ids are strings here, as JavaScript rounds large integers.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        titles: Mapping[str, str] | None = None,
        histories: Histories | None = None,
    ) -> None:
        """Loads the version in `folder`, and embeds the users.

        Args:
            folder: The version.
            titles: By id; an item without one is shown by its id.
            histories: The users among whom near ones are sought.

        Raises:
            ValueError: If an item of the histories cannot be one of the export.
        """
        super().__init__(folder)
        self._titles = dict(titles or {})
        self._is_string = self.description.item_type == "string"
        # All candidates, and the popular ones first where it is known which are.
        answer = self._recommend([], self.description.candidates or 1)
        self._popular = [item["id"] for item in answer["items"]]
        self._folded = [_folded(self.title(item)) for item in self._popular]
        self._histories = histories
        if histories is not None:
            self._embeddings = self._embed(histories.items)

    def title(self, item: str) -> str:
        """Returns the title of an item, or its id if it has none."""
        return self._titles.get(item, item)

    def search(self, text: str, limit: int = 12) -> list[dict[str, str]]:
        """Returns items with `text` in their title: at its start, at that of a word."""
        sought = _folded(text.strip())
        found = [
            (not title.startswith(sought), f" {sought}" not in title, position)
            for position, title in enumerate(self._folded)
            if sought in title
        ]
        items = [self._popular[position] for *_, position in sorted(found)[:limit]]
        return [{"id": item, "title": self.title(item)} for item in items]

    def recommend(self, history: Sequence[str], k: int) -> dict[str, Any]:
        """Returns up to `k` items, and near users if any are known.

        Raises:
            ValueError: If an item of `history` cannot be one of the export.
        """
        answer = self._recommend(history, min(k, self.description.candidates or k))
        known = self._histories is not None and not answer["cold_start"]
        return {**answer, "users": self._near(history) if known else []}

    def _recommend(self, history: Sequence[str], k: int) -> dict[str, Any]:
        inputs = {"history": self._rows([history]), "k": tf.constant(k)}
        answer = self.predict("recommend", inputs)
        ids = [_text(item) for item in answer["ids"][0].numpy()]
        scores = answer["scores"][0].numpy().tolist()
        return {
            "items": [
                {"id": item, "title": self.title(item), "score": score}
                for item, score in zip(ids, scores, strict=True)
                if score != -np.inf
            ],
            "cold_start": bool(answer["cold_start"][0]),
        }

    def _near(self, history: Sequence[str], count: int = 5) -> list[dict[str, Any]]:
        """Returns the users whose embeddings have the largest cosine, above 0."""
        assert self._histories is not None
        similarity = self._embeddings @ self._embed([history])[0]
        nearest = np.argsort(-similarity, kind="stable")[:count]
        mine = set(history)
        users = []
        for row in nearest[similarity[nearest] > 0].tolist():
            watched = self._histories.items[row][::-1]
            # What both have met says why they are near; then what the user met last.
            order = sorted(dict.fromkeys(watched), key=lambda item: item not in mine)
            users.append(
                {
                    "user": self._histories.users[row],
                    "similarity": float(similarity[row]),
                    "watched": [
                        {"title": self.title(item), "shared": item in mine}
                        for item in order[:_SHOWN]
                    ],
                    "others": max(0, len(order) - _SHOWN),
                }
            )
        return users

    def _embed(self, histories: Sequence[Sequence[str]]) -> npt.NDArray[np.float32]:
        """Returns embeddings of length 1, or 0 for who has no known item."""
        batches = []
        for start in range(0, len(histories), _USERS_AT_ONCE):
            some = histories[start : start + _USERS_AT_ONCE]
            rows = self._rows([row[-self.description.max_length :] for row in some])
            answer = self.predict("embed", {"history": rows})
            known = ~answer["cold_start"].numpy()[:, np.newaxis]
            batches.append(answer["embedding"].numpy() * known)
        embeddings = np.concatenate(batches)
        norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
        return np.asarray(embeddings / np.maximum(norms, 1e-12), np.float32)

    def _rows(self, histories: Sequence[Sequence[str]]) -> tf.Tensor:
        """Returns all histories as one tensor, padded."""
        width = max(1, *map(len, histories), 1)
        blank = "" if self._is_string else -1
        rows = [
            [*map(self._item, row), *[blank] * (width - len(row))] for row in histories
        ]
        return tf.constant(rows, tf.string if self._is_string else tf.int64)

    def _item(self, item: str) -> str | int:
        if self._is_string:
            return item
        try:
            return int(item)
        except ValueError:
            raise ValueError(
                f"items must be integers, as those of the export are, but one is "
                f"{item!r}."
            ) from None


def _text(item: Any) -> str:
    return item.decode() if isinstance(item, bytes) else str(item)


def _folded(text: str) -> str:
    """Returns a text without case and accents."""
    parts = unicodedata.normalize("NFKD", text.casefold())
    return "".join(part for part in parts if not unicodedata.combining(part))
