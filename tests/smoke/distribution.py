"""Checks what is in a wheel and an sdist: `python tests/smoke/distribution.py dist`.

`make package` runs it; pytest does not.
"""

import pathlib
import subprocess
import sys
import tarfile
import zipfile

CHECKOUT = pathlib.Path(__file__).parents[2]


def main(folder: pathlib.Path) -> None:
    (wheel,) = folder.glob("*.whl")
    (sdist,) = folder.glob("*.tar.gz")
    in_wheel = set(zipfile.ZipFile(wheel).namelist())
    with tarfile.open(sdist) as archive:
        in_sdist = {name.partition("/")[2] for name in archive.getnames()}
    package = versioned("tfrs_barlow")
    check_equal(
        "the wheel",
        {name for name in in_wheel if ".dist-info/" not in name},
        package,
    )
    check_holds("the wheel", {"tfrs_barlow/py.typed"}, in_wheel)
    if not any(name.endswith(".dist-info/licenses/LICENSE") for name in in_wheel):
        sys.exit(f"error: {wheel.name} must hold the license, but it does not.")
    kept = versioned("tests", "docs", "examples", "benchmarks", ":(glob)*.*", "LICENSE")
    check_holds("the sdist", {name for name in kept if name[0] != "."}, in_sdist)
    print(f"{wheel.name}: {len(in_wheel)} files; {sdist.name}: {len(in_sdist)} files.")


def versioned(*paths: str) -> set[str]:
    """Returns the files under version control, including new ones."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *paths],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(listed.stdout.splitlines())


def check_equal(what: str, files: set[str], expected: set[str]) -> None:
    check_holds(what, expected, files)
    if extra := sorted(files - expected):
        sys.exit(f"error: {what} must not hold {extra}, but it does.")


def check_holds(what: str, expected: set[str], files: set[str]) -> None:
    if missing := sorted(expected - files):
        sys.exit(f"error: {what} must hold {missing}, but it does not.")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
