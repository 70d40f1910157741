"""The house's English: words that a newcomer would stumble over stay out."""

from __future__ import annotations

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
FOLDERS = ["tfrs_barlow", "tests", "examples", "benchmarks", "docs", "notebooks/src"]
# Not the changelog, which quotes former names.
PAGES = ["README.md", "CONTRIBUTING.md"]

INSTEAD = {
    r"\bbeside\b": "compared with, next to, in addition to",
    r"\b[Aa]s of `": "see, passed on to",
    r"\b(is|are|has|have|was|had) none\b": "is not one, has no ...",
    r"\bgo(es|ing)? on behind\b": "continues after",
    r"\btold (by|from|apart by)\b": "known by, recognized by",
    r"\b(tells|telling) (the|a|how|what|which|whether)\b": "predicts, shows, says",
    r"\bof (its|their) own\b": "own, separate",
    r"\brooms?\b": "package, space, width",
    r"\bwho ha(s|ve) no(ne)?\b": "without ...",
    r"(?i)\b\w*(favourit|neighbour|colour|behaviour|labell|modell|catalogue|licence)": (
        "American spelling"
    ),
    r"(?i)\b(standard|normal|regular|serial|optim|minim|summar|organ)is(e|ed|es|ing|"
    r"ation|er)\b": "American spelling: -ize",
    r"(?i)\b(centred|learnt|whilst|artefact)\b": "American spelling",
}


def texts() -> list[pathlib.Path]:
    """Every module and page that we write."""
    found = [ROOT / page for page in PAGES]
    for folder in FOLDERS:
        for pattern in ("*.py", "*.md"):
            found += sorted((ROOT / folder).rglob(pattern))
    ours = pathlib.Path(__file__).resolve()
    # Results quote the code and the machine of their day.
    results = ROOT / "benchmarks" / "results"
    return [file for file in found if file != ours and results not in file.parents]


@pytest.mark.parametrize("words", INSTEAD)
def test_plain_words(words: str) -> None:
    pattern = re.compile(words)
    found = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()}"
        for file in texts()
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found, f"write {INSTEAD[words]}:\n" + "\n".join(found)
