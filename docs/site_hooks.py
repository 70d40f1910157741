"""What the documentation site does beyond MkDocs: `mkdocs.yml` names this file.

- Pages link to files outside `docs`, so that links work where the repository is read.
  Such a file becomes part of the site, and the link leads there.
- Names of the package in backticks link to the reference.
- Formulas become MathML, so that browsers need no script for them.
"""

from __future__ import annotations

import ast
import html
import os
import pathlib
import re
from collections.abc import Iterator

import latex2mathml.converter
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

DOCS = pathlib.Path(__file__).parent
ROOT = DOCS.parent
_CODE_BLOCK = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(?<=\]\()[^)#\s:]+(?=[)#])")
_LINKS_AND_BLOCKS = re.compile(r"(<(a|pre|h\d)\b.*?</\2>)", re.DOTALL)
_CODE = re.compile(r"<code>([\w.]+)</code>")
_FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<latex>.*?)\\[)\]]</(?P=tag)>',
    re.DOTALL,
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the files outside `docs` that pages link to, and what those link to."""
    pages = [DOCS / page.src_uri for page in files.documentation_pages()]
    while pages:
        for target in _outside_targets(pages.pop()):
            uri = _site_uri(target)
            if files.get_file_from_path(uri):
                continue
            source = str(ROOT), config.site_dir, config.use_directory_urls
            files.append(File(uri, *source))
            if target.suffix == ".md":
                pages.append(target)
    return files


def on_page_markdown(
    markdown: str, page: Page, config: MkDocsConfig, files: Files
) -> str:
    """Turns links between files of the repository into links between pages."""
    source = pathlib.Path(page.file.abs_src_path or "")
    start = pathlib.PurePath(page.file.src_uri).parent

    def relink(match: re.Match[str]) -> str:
        target = _target(source, match[0])
        return os.path.relpath(_site_uri(target), start) if target else match[0]

    parts = _CODE_BLOCK.split(markdown)
    parts[::2] = [_LINK.sub(relink, part) for part in parts[::2]]
    return "".join(parts)


def on_page_content(
    content: str, page: Page, config: MkDocsConfig, files: Files
) -> str:
    """Links names of the package to the reference, and sets formulas."""
    parts = _LINKS_AND_BLOCKS.split(content)
    # Every third part from the first on is text, the others are a link and its tag.
    parts[1::3] = [_FORMULA.sub(_mathml, part) for part in parts[1::3]]
    parts[::3] = [
        _CODE.sub(_reference, _FORMULA.sub(_mathml, part)) for part in parts[::3]
    ]
    del parts[2::3]
    return "".join(parts)


def _outside_targets(page: pathlib.Path) -> Iterator[pathlib.Path]:
    prose = "".join(_CODE_BLOCK.split(page.read_text())[::2])
    for link in _LINK.findall(prose):
        target = _target(page, link)
        if target and DOCS not in target.parents:
            yield target


def _target(page: pathlib.Path, link: str) -> pathlib.Path | None:
    """Returns the file of the repository that a link leads to, if it does."""
    target = pathlib.Path(os.path.normpath(page.parent / link))
    return target if ROOT in target.parents and target.is_file() else None


def _site_uri(file: pathlib.Path) -> str:
    if file == ROOT / "README.md":
        return "index.md"  # The front door here.
    base = DOCS if DOCS in file.parents else ROOT
    return file.relative_to(base).as_posix()


def _public_names() -> dict[str, str]:
    """Returns where in the reference each name is, as prose may write the name."""
    names = {}
    for file in sorted(ROOT.glob("tfrs_barlow/*/__init__.py")):
        package = file.parent.name
        for name in _exported(file):
            identifier = f"tfrs_barlow.{package}.{name}"
            names[f"tfrsb.{package}.{name}"] = identifier
            # A plain word, such as `load`, may well be something else.
            if not re.fullmatch("[a-z]+|[A-Z][a-z]+", name):
                names[name] = identifier
    return names


def _exported(file: pathlib.Path) -> list[str]:
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    raise ValueError(f"{file} must define __all__, but it does not.")


_NAMES = _public_names()


def _reference(match: re.Match[str]) -> str:
    identifier = _NAMES.get(match[1])
    if identifier is None:
        return match[0]
    return f'<autoref identifier="{identifier}">{match[0]}</autoref>'


def _mathml(match: re.Match[str]) -> str:
    return latex2mathml.converter.convert(
        html.unescape(match["latex"]),
        display="block" if match["tag"] == "div" else "inline",
    )
