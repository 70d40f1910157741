"""The command of the study: which data it finds, and how it refuses flags."""

from __future__ import annotations

import pathlib
import re

import pytest

from tfrs_barlow.study import __main__ as command

COLUMNS = ["--user_column=u", "--item_column=i", "--time_column=t"]
YELP = {
    "yelp_academic_dataset_review.json": '{"user_id": "ann", "business_id": "cafe", '
    '"date": "2019-01-02 03:04:05", "stars": 4.0}\n',
    "yelp_academic_dataset_business.json": '{"business_id": "cafe", "name": "Cafe", '
    '"categories": "Coffee"}\n',
}


def write(folder: pathlib.Path, files: dict[str, str]) -> pathlib.Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def load(*flags: str) -> tuple[str, int]:
    """Returns the name and the number of interactions that the command reads."""
    name, log = command.load(command._parser().parse_args(flags))
    return name, len(log.interactions)


def test_a_folder_or_file_of_movielens_is_recognized(tmp_path: pathlib.Path) -> None:
    folder = write(
        tmp_path / "ml-1m",
        {"ratings.dat": "1::10::5::100\n", "movies.dat": "10::Heat (1995)::Action\n"},
    )
    assert load(f"--data={folder}") == ("ml-1m", 1)
    folder = write(
        tmp_path / "ml-32m",
        {
            "ratings.csv": "userId,movieId,rating,timestamp\n1,10,5.0,100\n",
            "movies.csv": "movieId,title,genres\n10,Heat (1995),Action\n",
        },
    )
    assert load(f"--data={folder}") == ("ml-32m", 1)
    assert load(f"--data={folder / 'ratings.csv'}") == ("ml-32m", 1)


def test_a_folder_of_yelp_is_recognized(tmp_path: pathlib.Path) -> None:
    folder = write(tmp_path / "reviews", YELP)
    assert load(f"--data={folder}") == ("reviews", 1)
    assert load("--data=yelp", f"--data_dir={folder}") == ("yelp", 1)


def test_any_table_is_read_by_its_columns(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "ratings.csv"
    file.write_text("u,i,t\nann,tea,3\nbob,tea,4\n")
    assert load(f"--data={file}", *COLUMNS) == ("ratings", 2)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--data=nowhere"],
            "--data must be synthetic, yelp, .* there is no 'nowhere'",
        ),
        (["--data=empty"], "empty must hold ratings.dat or ratings.csv .* or yelp"),
        (["--data=events.csv"], "it needs --user_column, --item_column and --time_col"),
        (["--data=events.csv", *COLUMNS[:1]], "needs --item_column, --time_column"),
        (["--data=events.csv", *COLUMNS], "log must have 10 users with 5 events"),
        (["--data=yelp"], "--data=yelp needs --data_dir"),
        (["--seeds", "0", "0"], "seeds must not hold a value twice"),
        (["--batch_sizes", "1"], r"batch_sizes\[0\] must be an integer of at least 2"),
        (["--methods", "magic"], r"methods\[0\] must be one of .* it is 'magic'"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(
    flags: list[str],
    message: str,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "empty", {})
    (tmp_path / "events.csv").write_text("u,i,t\nann,tea,3\nbob,tea,4\n")
    with pytest.raises(SystemExit) as error:
        command.main(flags)
    assert error.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert re.search(message, line)
