"""The page in the browser: titles, recommendations, similar users."""

from __future__ import annotations

import pathlib
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from tfrs_barlow.serving.local.rest_api import body_of, parsed, to_json
from tfrs_barlow.serving.local.servable import Servable
from tfrs_barlow.serving.local.versions import Versions

_HTML = pathlib.Path(__file__).with_name("page.html")

_USERS_AT_ONCE = 512
_SHOWN = 6
"""How many items of a similar user are shown."""


class Guide(Servable):
    """A servable that knows titles, and users to compare a history with.

    Ids are strings here, since JavaScript rounds large integers.

    Args:
        folder: The folder of the version.
        titles: By id; an item without one is shown by its id.
        histories: By user; the users to compare with.
        **limits: Passed on to `Servable`.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        titles: Mapping[str, str] | None = None,
        histories: Mapping[str, Sequence[str]] | None = None,
        **limits: int,
    ) -> None:
        super().__init__(folder, **limits)
        self._titles = dict(titles or {})
        self._is_string = self.description.item_type == "string"
        # All candidates, and the popular ones first if the export knows them.
        answer = self._recommend([], self.description.candidates or 1)
        self._popular = [item["id"] for item in answer["items"]]
        self._folded = [_folded(self.title(item)) for item in self._popular]
        self._users = [*(histories or {}).items()]
        self._embeddings = self._embed([items for _, items in self._users])

    def title(self, item: str) -> str:
        """Returns the title of an item, or its id if it has no title."""
        return self._titles.get(item, item)

    def search(self, text: str, limit: int = 12) -> list[dict[str, str]]:
        """Returns items with `text` in their title: first those that begin with it."""
        sought = _folded(text.strip())
        found = [
            # At the start of the title, at that of a word, anywhere.
            (not title.startswith(sought), f" {sought}" not in title, position)
            for position, title in enumerate(self._folded)
            if sought in title
        ]
        items = [self._popular[position] for *_, position in sorted(found)[:limit]]
        return [{"id": item, "title": self.title(item)} for item in items]

    def recommend(self, history: Sequence[str], k: int) -> dict[str, Any]:
        """Returns up to `k` items, and similar users if any are known."""
        if len(history) > self.max_elements:
            raise ValueError(f"items must be at most {self.max_elements}.")
        answer = self._recommend(history, min(k, self.description.candidates or k))
        users = [] if answer["cold_start"] else self._similar_users(history)
        return {**answer, "users": users}

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

    def _similar_users(
        self, history: Sequence[str], count: int = 5
    ) -> list[dict[str, Any]]:
        """Returns the users whose embeddings have the largest cosine, above 0."""
        cosines = self._embeddings @ self._embed([history])[0]
        nearest = np.argsort(-cosines, kind="stable")[:count]
        mine = set(history)
        users = []
        for row in nearest[cosines[nearest] > 0].tolist():
            user, items = self._users[row]
            # Shared items explain the similarity, so they come first; then the latest.
            latest = dict.fromkeys(items[::-1])
            order = sorted(latest, key=lambda item: item not in mine)
            users.append(
                {
                    "user": user,
                    "similarity": float(cosines[row]),
                    "watched": [
                        {"title": self.title(item), "shared": item in mine}
                        for item in order[:_SHOWN]
                    ],
                    "others": max(0, len(order) - _SHOWN),
                }
            )
        return users

    def _embed(self, histories: Sequence[Sequence[str]]) -> npt.NDArray[np.float32]:
        """Returns embeddings of length 1, or 0 for users without a known item."""
        batches = [np.zeros([0, self.description.dim], np.float32)]
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
        try:
            return item if self._is_string else int(item)
        except ValueError:
            raise ValueError(
                f"items must be integers, as in the export, but one is {item!r}."
            ) from None


def _text(item: Any) -> str:
    return item.decode() if isinstance(item, bytes) else str(item)


def _folded(text: str) -> str:
    """Returns a text without case and accents."""
    parts = unicodedata.normalize("NFKD", text.casefold())
    return "".join(part for part in parts if not unicodedata.combining(part))


def routes(versions: Versions[Guide]) -> list[Route]:
    """Returns the paths of the page and what answers them."""

    async def page(_: Request) -> Response:
        return HTMLResponse(_HTML.read_text())

    async def items(request: Request) -> Response:
        text = request.query_params.get("text", "")
        return to_json(await run_in_threadpool(versions.current.search, text))

    async def recommendations(request: Request) -> Response:
        chosen = parsed(await body_of(request, versions.max_body_bytes)).get("items")
        if not isinstance(chosen, list) or not all(isinstance(i, str) for i in chosen):
            raise ValueError("items must be a list of ids, as strings.")
        return to_json(await run_in_threadpool(answer, chosen))

    def answer(chosen: list[str]) -> dict[str, Any]:
        now = versions.current
        return {
            **now.recommend(chosen, k=10),
            "model": versions.name,
            "version": now.version,
            "chosen": [{"id": item, "title": now.title(item)} for item in chosen],
        }

    return [
        Route("/", page),
        Route("/page/items", items),
        Route("/page/recommendations", recommendations, methods=["POST"]),
    ]
