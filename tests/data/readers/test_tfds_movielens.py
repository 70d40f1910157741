"""MovieLens by TensorFlow Datasets: its own builders, on files of ours."""

import sys

import pandas as pd
import pytest

from tfrs_barlow.data import load_movielens, load_tfds_movielens

RATINGS = (
    "userId,movieId,rating,timestamp\n"
    "1,10,4.5,964982703\n2,20,3.0,5\n1,30,0.5,964982703\n1,20,1.0,7\n"
)
MOVIES = (
    "movieId,title,genres\n"
    '20,"Président, Le (1961)",Drama\n'
    "10,Toy Story (1995),Adventure|Comedy\n"
    "30,Untold,(no genres listed)\n"
)


@pytest.fixture
def tfds():
    return pytest.importorskip("tensorflow_datasets")


@pytest.fixture
def archive(tmp_path, tfds, monkeypatch):
    """What the builders get instead of a download."""
    folder = tmp_path / "extracted" / "ml-latest-small"
    folder.mkdir(parents=True)
    (folder / "ratings.csv").write_text(RATINGS)
    (folder / "movies.csv").write_text(MOVIES)
    monkeypatch.setattr(
        tfds.download.DownloadManager,
        "download_and_extract",
        lambda self, urls: str(folder.parent),
    )
    # Which asks the network otherwise.
    monkeypatch.setattr(
        tfds.core.DatasetInfo, "initialize_from_bucket", lambda self: None
    )
    return folder


def rows(table):
    return sorted(table.itertuples(index=False, name=None))


def test_it_is_the_log_of_the_files(archive, tmp_path):
    expected = load_movielens("ml-latest-small", archive)
    log = load_tfds_movielens("latest-small", tmp_path / "tfds")
    assert rows(log.interactions) == rows(expected.interactions)
    assert rows(log.items) == rows(expected.items)
    for table in ("interactions", "items"):
        dtypes = getattr(log, table).dtypes
        pd.testing.assert_series_equal(dtypes, getattr(expected, table).dtypes)


def test_what_is_prepared_is_not_prepared_again(archive, tmp_path):
    first = load_tfds_movielens("latest-small", tmp_path)
    (archive / "ratings.csv").unlink()
    again = load_tfds_movielens("latest-small", tmp_path)
    pd.testing.assert_frame_equal(again.interactions, first.interactions)


def test_an_unknown_release():
    with pytest.raises(ValueError, match=r"release must be one of .* it is 'ml-1m'"):
        load_tfds_movielens("ml-1m")


def test_without_tensorflow_datasets(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match=r"pip install 'tfrs-barlow\[tfds\]'"):
        load_tfds_movielens("1m")
