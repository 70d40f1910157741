"""Takes `docs/images/serving_page.png`, the picture of `docs/serving.md`.

Run `python docs/serving_page_plot.py` where `tfrs-barlow[serve]`, playwright and
Chromium are installed. It takes a minute, in which `tfrs_barlow.serving` trains its
small model of made-up films.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from playwright.sync_api import sync_playwright

ROOT = pathlib.Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "images" / "serving_page.png"
WATCHED = ("Drama 004", "Drama 006", "Drama 013")
SIZE = {"width": 980, "height": 800}


def main() -> None:
    """Chooses some films, waits for the answer, and writes the picture."""
    browsers = map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
    with served() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=next(filter(None, browsers))
        )
        page = browser.new_page(viewport=SIZE)
        page.goto(url)
        for title in WATCHED:
            page.get_by_role("combobox").fill(title)
            page.get_by_role("option", name=title).click()
            page.get_by_role("button", name=f"Remove {title}").wait_for()
        page.get_by_role("combobox").blur()
        page.screenshot(path=PICTURE, full_page=True)
        browser.close()


@contextlib.contextmanager
def served() -> Iterator[str]:
    """Serves a fresh model, and gives the address of the page."""
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen(
            [
                *(sys.executable, "-m", "tfrs_barlow.serving"),
                *("--port=0", "--grpc_port=0"),
            ],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert server.stdout is not None
        try:
            pages = (re.search(r"page +(\S+)", line) for line in server.stdout)
            yield next(filter(None, pages))[1]
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
