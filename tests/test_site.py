"""The documentation site builds without a warning and holds every public name."""

import importlib.util
import os
import pathlib
import re
import subprocess
import sys
import zlib

import pytest

import tfrs_barlow

ROOT = pathlib.Path(__file__).parents[1]
PACKAGES = [name for name in tfrs_barlow.__all__ if not name.startswith("_")]
FETCHED = re.compile(r'<(?:img|script|iframe|link)\b[^>]*(?:src|href)="(?:https?:)?//')


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    for package in ("mkdocs", "material", "mkdocstrings", "latex2mathml"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: it is in the extra 'docs'.")
    folder = tmp_path_factory.mktemp("site")
    build = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert build.returncode == 0, build.stderr
    return folder


def documented_names(site: pathlib.Path) -> set[str]:
    """Returns the names in the inventory that other sites use to link to this one."""
    inventory = (site / "objects.inv").read_bytes()
    # Four lines of header, then compressed lines that begin with a name.
    entries = zlib.decompress(inventory.split(b"\n", 4)[4]).decode()
    return {line.split()[0] for line in entries.splitlines()}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_has_a_page(package: str) -> None:
    page = (ROOT / "docs" / "reference" / f"{package}.md").read_text()
    assert f"\n::: tfrs_barlow.{package}\n" in page


def test_every_public_name_is_in_the_reference(site: pathlib.Path) -> None:
    public = {
        f"tfrs_barlow.{package}.{name}"
        for package in PACKAGES
        for name in getattr(tfrs_barlow, package).__all__
    }
    assert public <= documented_names(site)


def test_no_page_loads_anything_from_another_host(site: pathlib.Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        assert not FETCHED.search(page.read_text()), page


def test_names_and_files_outside_the_docs_are_linked(site: pathlib.Path) -> None:
    page = (site / "loss" / "index.html").read_text()
    assert 'href="../reference/losses/#tfrs_barlow.losses.barlow_twins_loss"' in page
    assert 'href="../benchmarks/results/loss/"' in page
    assert (site / "benchmarks" / "results" / "loss.png").is_file()
    assert "<math" in page and r"\lambda" not in page
