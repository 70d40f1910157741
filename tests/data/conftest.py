"""Where the real data sets are: outside the repository, which must not hold them."""

import os
import pathlib

import pytest

_CHECKOUT = pathlib.Path(__file__).parents[2]
_DATA_DIR = pathlib.Path(
    os.environ.get("TFRS_BARLOW_DATA", _CHECKOUT.parent / "shared" / "data")
)


def _require_dataset(name: str) -> pathlib.Path:
    folder = _DATA_DIR / name
    if not folder.is_dir():
        pytest.skip(
            f"{name} is not at {folder}: its license forbids shipping it. Set "
            f"TFRS_BARLOW_DATA to a folder that holds {name}/."
        )
    return folder


@pytest.fixture(scope="session")
def ml_1m_dir() -> pathlib.Path:
    return _require_dataset("ml-1m")


@pytest.fixture(scope="session")
def ml_latest_small_dir() -> pathlib.Path:
    return _require_dataset("ml-latest-small")


@pytest.fixture(scope="session")
def yelp_dir() -> pathlib.Path:
    return _require_dataset("yelp")
