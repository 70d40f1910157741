"""The page in the browser, and the answers to its script."""

from __future__ import annotations

import pathlib
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from tfrs_barlow.serving.local.guide import Guide
from tfrs_barlow.serving.local.rest_api import parsed, to_json
from tfrs_barlow.serving.local.versions import Versions

_HTML = pathlib.Path(__file__).with_name("page.html")


def routes(versions: Versions) -> list[Route]:
    """Returns the paths of the page and what answers them."""

    def guide() -> Guide:
        current = versions.current
        assert isinstance(current, Guide)
        return current

    async def page(_: Request) -> Response:
        return HTMLResponse(_HTML.read_text())

    async def items(request: Request) -> Response:
        text = request.query_params.get("text", "")
        return to_json(await run_in_threadpool(guide().search, text))

    async def recommendations(request: Request) -> Response:
        chosen = parsed(await request.body()).get("items")
        if not isinstance(chosen, list) or not all(isinstance(i, str) for i in chosen):
            raise ValueError("items must be a list of ids, as strings.")
        return to_json(await run_in_threadpool(answer, chosen))

    def answer(chosen: list[str]) -> dict[str, Any]:
        now = guide()
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
