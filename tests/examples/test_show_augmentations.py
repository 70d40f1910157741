"""The example that shows augmentations, and the page that shows what it prints."""

import contextlib
import io
import pathlib
import re
import shlex
import subprocess
import sys

import pytest
import tensorflow as tf

import tfrs_barlow as tfrsb
from examples import show_augmentations
from examples.show_augmentations import GENRES, HISTORY, SETTINGS, History, small_log

ROOT = pathlib.Path(__file__).parents[2]
COLUMNS = ["before", "change", "view", "genres", "time"]


def table(text):
    """The rows of a table, as dicts by column."""
    header, *lines = text.split("\n")
    starts = [header.index(column) for column in COLUMNS]
    return [
        {
            column: line[start:end].strip()
            for column, start, end in zip(
                COLUMNS, starts, [*starts[1:], None], strict=True
            )
        }
        for line in lines
    ]


def tables(printed):
    """By the name of an augmentation the rows of its table."""
    sections = re.findall(r"(\w+)\(.*\)\n.+\n\n((?:.+\n)+)", printed)
    return {name: table(text.strip("\n")) for name, text in sections}


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "examples.show_augmentations", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def main(capsys, *arguments):
    show_augmentations.main(arguments)
    return tables(capsys.readouterr().out)


def before(rows):
    return [row["before"] for row in rows if row["before"]]


def changed(rows, change):
    return [row for row in rows if row["change"] == change]


@pytest.fixture(scope="module")
def small():
    """What a user sees who starts it without arguments."""
    ended = run()
    assert ended.returncode == 0, ended.stderr
    return tables(ended.stdout)


def test_all_augmentations_are_shown_on_the_small_history(small):
    assert list(small) == list(SETTINGS)
    for rows in small.values():
        assert before(rows) == list(HISTORY)


def test_no_augmentation_is_forgotten():
    others = {"ByLength", "RandomChoice", "SequenceAugmentation", "Sequential"}
    public = {name: getattr(tfrsb.layers, name) for name in tfrsb.layers.__all__}
    augmentations = {
        name
        for name, layer in public.items()
        if isinstance(layer, type)
        and issubclass(layer, tfrsb.layers.SequenceAugmentation)
    }
    assert augmentations - others == set(SETTINGS)


def test_genres_and_times_stay_with_their_title(small):
    for name, rows in small.items():
        for row in rows:
            if row["change"] == "dropped":
                assert (row["view"], row["genres"], row["time"]) == ("", "", "")
            elif row["change"] == "hidden":
                assert row["view"] == "[hidden]"
                assert row["genres"] == ", ".join(GENRES[row["before"]])
            else:
                assert row["genres"] == ", ".join(GENRES[row["view"]])
            if row["change"] in ("", "moved"):
                assert row["time"] == f"{HISTORY[row['view']]}:00"
            elif row["change"] in ("hidden", "replaced"):
                assert row["time"] == f"{HISTORY[row['before']]}:00"
        if "Reorder" not in name:
            times = [row["time"] for row in rows if row["time"]]
            assert times == sorted(times)


@pytest.mark.parametrize(
    ("name", "change", "count"),
    [
        ("RandomCrop", "dropped", 4),
        ("RandomMask", "hidden", 3),
        ("SegmentMask", "hidden", 3),
        ("RandomDrop", "dropped", 3),
        ("RandomSubstitute", "replaced", 3),
        ("RandomInsert", "inserted", 3),
        ("TimeIntervalCrop", "dropped", 6),
        ("TimeIntervalMask", "hidden", 3),
        ("TimeIntervalSubstitute", "replaced", 3),
        ("TimeIntervalInsert", "inserted", 3),
    ],
)
def test_as_many_places_change_as_the_rate_says(small, name, change, count):
    rows = small[name]
    assert len(changed(rows, change)) == count
    assert len(changed(rows, "")) == len(rows) - count


@pytest.mark.parametrize("name", ["RandomReorder", "TimeIntervalReorder"])
def test_a_reordering_moves_items_within_four_places(small, name):
    rows = small[name]
    moved = changed(rows, "moved")
    assert 2 <= len(moved) <= 4
    assert len(moved) + len(changed(rows, "")) == len(rows)
    assert sorted(row["before"] for row in moved) == sorted(
        row["view"] for row in moved
    )


def test_what_comes_in_is_alike(small):
    alike = {
        title: titles[1:]
        for titles in show_augmentations.OTHERS
        for title in titles[:1]
    }
    for name in ("RandomSubstitute", "TimeIntervalSubstitute"):
        for row in changed(small[name], "replaced"):
            assert row["view"] in alike[row["before"]]
    for name, step in (("RandomInsert", 1), ("TimeIntervalInsert", -1)):
        rows = small[name]
        for number, row in enumerate(rows):
            if row["change"] == "inserted":
                assert row["before"] == ""
                assert row["view"] in alike[rows[number + step]["before"]]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """A small log in the files of MovieLens-1M, of users with 20, 9 and 12 items."""
    folder = tmp_path_factory.mktemp("ml-1m")
    lengths = {1: 20, 2: 9, 3: 12}
    (folder / "ratings.dat").write_text(
        "".join(
            f"{user}::{(7 * number + user) % 30 + 1}::5::{1000 * number + user}\n"
            for user, length in lengths.items()
            for number in range(length)
        )
    )
    (folder / "movies.dat").write_text(
        # Of item 9 nothing is known.
        "".join(
            f"{item}::{title_of(item)}::Genre {item}|Other\n"
            for item in range(1, 31)
            if item != 9
        ),
        encoding="latin-1",
    )
    return folder


def title_of(item):
    return f"Café {item}" if item % 2 else f"A title of very many characters: {item}"


def test_a_log_of_ones_own(data_dir):
    ended = run(f"--data_dir={data_dir}")
    assert ended.returncode == 0, ended.stderr
    shown = tables(ended.stdout)
    assert list(shown) == list(SETTINGS)
    # User 2, the first whose history fits; there are those of two others to draw from.
    items = [(7 * number + 2) % 30 + 1 for number in range(9)]
    titles = ["9" if item == 9 else title_of(item) for item in items]
    titles = [title if len(title) < 29 else f"{title[:25]}..." for title in titles]
    for rows in shown.values():
        assert before(rows) == titles
        for row in rows:
            item = re.fullmatch(r"Café (\d+)", row["view"])
            if item:
                assert row["genres"] == f"Genre {item[1]}, Other"
            if row["view"] == "9":
                assert row["genres"] == ""


@pytest.mark.parametrize(("user", "items"), [("1", range(10, 20)), ("3", range(12))])
def test_a_user_of_ones_choice(data_dir, user, items, capsys):
    arguments = [f"--data_dir={data_dir}", f"--user={user}", "--only", "RandomMask"]
    rows = main(capsys, *arguments)["RandomMask"]
    times = [f"1970-01-01 {1000 * n // 3600:02}:" for n in items]
    assert len(rows) == len(times)
    for row, time in zip(rows, times, strict=True):
        assert row["time"].startswith(time)


def test_the_files_of_later_data_sets(tmp_path, capsys):
    (tmp_path / "ratings.csv").write_text(
        "userId,movieId,rating,timestamp\n1,7,3.5,100\n1,8,4.0,200\n2,7,1.0,300\n"
    )
    (tmp_path / "movies.csv").write_text(
        'movieId,title,genres\n7,"Alien, again",Horror\n8,Brazil,(no genres listed)\n'
    )
    # Nobody has eight items: then it is the first user.
    shown = main(capsys, f"--data_dir={tmp_path}", "--only", "RandomReorder")
    assert [(row["before"], row["view"]) for row in shown["RandomReorder"]] in (
        [("Alien, again", "Alien, again"), ("Brazil", "Brazil")],
        [("Alien, again", "Brazil"), ("Brazil", "Alien, again")],
    )


def test_only_some_in_the_order_of_the_command(capsys):
    shown = main(capsys, "--only", "SwapNoise", "RandomCrop")
    assert list(shown) == ["SwapNoise", "RandomCrop"]


def test_a_seed_fixes_the_draws(capsys):
    first, again, other = (
        main(capsys, "--only", "RandomMask", f"--seed={seed}") for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "RandomCorp"], "--only: invalid choice: 'RandomCorp' .*RandomCrop"),
        (["--only"], "--only: expected at least one argument"),
        (["--data_dir=nowhere"], "nowhere must hold ratings.dat .*or ratings.csv"),
        (["--user=bob"], "--user must be one of the 11 users .*other 0.* it is bob"),
        (["--seed=one"], "--seed: invalid int value: 'one'"),
        (["--sed=1"], "unrecognized arguments: --sed=1"),
    ],
)
def test_bad_flags_are_named(arguments, message, capsys):
    with pytest.raises(SystemExit) as error:
        show_augmentations.main(arguments)
    assert error.value.code != 0
    assert re.search(message, capsys.readouterr().err)


def test_an_error_ends_the_process_without_a_traceback():
    ended = run("--data_dir=nowhere")
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.strip().splitlines()[-1].startswith("error: nowhere must hold")
    assert "Traceback" not in ended.stderr


@pytest.fixture(scope="module")
def history():
    return History.from_log(small_log())


def view_of(history, positions, replace=None):
    """A view by hand: the events at some positions, and other items at some places."""
    columns = {
        name: tf.gather(column[:1], [[p - 1 for p in positions]], batch_dims=1)
        for name, column in history.columns.items()
    }
    ids = columns["item_id"].numpy()
    for place, title in (replace or {}).items():
        ids[0, place] = history.titles.tolist().index(title)
    return {**columns, "item_id": tf.constant(ids)}


def changes(history, *view):
    rows = table(history.compare(view_of(history, *view)))
    return [(row["before"], row["change"], row["view"]) for row in rows]


def test_a_crop_that_is_reordered(history):
    assert changes(history, [4, 2, 3]) == [
        ("Casablanca", "dropped", ""),
        ("Vertigo", "moved", "Rear Window"),
        ("Psycho", "moved", "Vertigo"),
        ("Rear Window", "moved", "Psycho"),
        *[(title, "dropped", "") for title in list(HISTORY)[4:]],
    ]


@pytest.mark.parametrize(
    ("replace", "expected"),
    [
        (
            {1: "The Birds", 2: "[hidden]"},
            [("", "inserted", "The Birds"), ("Vertigo", "hidden", "[hidden]")],
        ),
        ({1: "[hidden]"}, [("", "inserted", "[hidden]"), ("Vertigo", "", "Vertigo")]),
        (
            {1: "[hidden]", 2: "[hidden]"},
            [("", "inserted", "[hidden]"), ("Vertigo", "hidden", "[hidden]")],
        ),
    ],
    ids=["old", "new", "both"],
)
def test_an_insertion_that_is_masked(history, replace, expected):
    # Something new is put before Vertigo; then the old one is hidden, or the new one.
    rows = changes(history, [1, 2, 2, *range(3, 11)], replace)
    assert rows[1:3] == expected
    assert {change for _, change, _ in [rows[0], *rows[3:]]} == {""}


def test_what_is_moved_and_changed_too(history):
    rows = changes(history, [2, 1, *range(3, 11)], {0: "[hidden]", 1: "The Birds"})
    assert rows[:3] == [
        ("Casablanca", "moved, hidden", "[hidden]"),
        ("Vertigo", "moved, replaced", "The Birds"),
        ("Psycho", "", "Psycho"),
    ]


def printed_by(call):
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        call()
    return output.getvalue().rstrip()


def test_the_page_shows_what_its_code_prints():
    """A text block holds what the code before it prints, or the command in it."""
    page = (ROOT / "docs" / "augmentations.md").read_text()
    names, printed = {}, ""
    for kind, block in re.findall(r"```(python|text)\n(.*?)\n```", page, re.DOTALL):
        if kind == "python":
            assert printed == "", "Nothing shows what the code before this prints."
            printed = printed_by(lambda block=block: exec(block, names))
            continue
        command, _, output = block.partition("\n")
        if command.startswith("$ python -m examples.show_augmentations "):
            arguments = shlex.split(command)[4:]
            assert output == printed_by(lambda a=arguments: show_augmentations.main(a))
        else:
            assert block == printed
            printed = ""
    assert printed == ""


def test_the_page_leads_with_every_augmentation() -> None:
    """Each row of its first table has code that makes the layer it names."""
    page = (ROOT / "docs" / "augmentations.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| .* \| `(.*)` \|$", page, re.MULTILINE)
    assert sorted(name for name, _ in rows) == sorted(SETTINGS)
    for name, code in rows:
        layer = eval(code, {"tfrsb": tfrsb, "neighbors": [[0], [0], [0], [4], [3]]})
        assert type(layer).__name__ == name
