"""Shows what every augmentation makes of one history, item by item.

    python -m examples.show_augmentations
    python -m examples.show_augmentations --only RandomCrop RandomMask --seed=3
    python -m examples.show_augmentations --data_dir=path/to/ml-1m --user=17

The first shows a small history of films that is written in this file, the last that of
a user in your copy of MovieLens. Each line has an item of the history on the left, and
on the right what the view has in its place; genres and times are columns of the same
batch, so they show whether they have stayed with their item.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import numpy.typing as npt
import pandas as pd
import tensorflow as tf

import tfrs_barlow as tfrsb
from tfrs_barlow.data import MASK_ID, InteractionLog, UserSequences, Vocabulary

SETTINGS: dict[str, dict[str, Any]] = {
    "RandomCrop": {"rate": 0.6},
    "RandomMask": {"rate": 0.3},
    "SegmentMask": {"rate": 0.3},
    "RandomReorder": {"rate": 0.4},
    "RandomDrop": {"rate": 0.3},
    "RandomSubstitute": {"rate": 0.3},
    "RandomInsert": {"rate": 0.3},
    "SwapNoise": {"rate": 0.3, "fixed_columns": ["timestamp", "position"]},
    "TimeIntervalCrop": {"rate": 0.4},
    "TimeIntervalReorder": {"rate": 0.4},
    "TimeIntervalMask": {"rate": 0.3, "prefer": "maximum"},
    "TimeIntervalSubstitute": {"rate": 0.3},
    "TimeIntervalInsert": {"rate": 0.3},
}
"""The augmentations and how they are set; tables of items are added where needed."""

HISTORY = {
    "Casablanca": "2024-01-05 20:30",
    "Vertigo": "2024-01-12 20:30",
    "Psycho": "2024-01-19 20:45",
    "Rear Window": "2024-01-26 20:30",
    "Star Wars": "2024-02-10 14:00",
    "The Empire Strikes Back": "2024-02-10 16:15",
    "Return of the Jedi": "2024-02-10 19:00",
    "Toy Story": "2024-04-14 15:00",
    "Finding Nemo": "2024-04-28 15:30",
    "Alien": "2024-06-07 21:00",
}
"""What the user "you" has watched, and when: oldest first."""

OTHERS = (
    ("Casablanca", "Citizen Kane", "Roman Holiday"),
    ("Vertigo", "North by Northwest", "The Birds"),
    ("Psycho", "The Birds", "The Shining"),
    ("Rear Window", "North by Northwest", "The Birds"),
    ("Star Wars", "Raiders of the Lost Ark", "Back to the Future"),
    ("The Empire Strikes Back", "Raiders of the Lost Ark", "Back to the Future"),
    ("Return of the Jedi", "Raiders of the Lost Ark", "Back to the Future"),
    ("Toy Story", "Monsters, Inc.", "The Lion King"),
    ("Finding Nemo", "Monsters, Inc.", "The Lion King"),
    ("Alien", "The Thing", "Blade Runner"),
)
"""What other users have watched, from which follows what is alike."""

GENRES = {
    "Alien": ("Horror", "Sci-Fi"),
    "Back to the Future": ("Comedy", "Sci-Fi"),
    "Blade Runner": ("Sci-Fi",),
    "Casablanca": ("Drama", "Romance"),
    "Citizen Kane": ("Drama",),
    "Finding Nemo": ("Animation",),
    "Monsters, Inc.": ("Animation",),
    "North by Northwest": ("Thriller",),
    "Psycho": ("Horror", "Thriller"),
    "Raiders of the Lost Ark": ("Adventure",),
    "Rear Window": ("Thriller",),
    "Return of the Jedi": ("Adventure", "Sci-Fi"),
    "Roman Holiday": ("Comedy", "Romance"),
    "Star Wars": ("Adventure", "Sci-Fi"),
    "The Birds": ("Horror", "Thriller"),
    "The Empire Strikes Back": ("Adventure", "Sci-Fi"),
    "The Lion King": ("Animation",),
    "The Shining": ("Horror",),
    "The Thing": ("Horror", "Sci-Fi"),
    "Toy Story": ("Animation",),
    "Vertigo": ("Thriller",),
}

DATASETS: dict[str, tfrsb.data.MovieLensDataset] = {
    "ratings.dat": "ml-1m",
    "ratings.csv": "ml-20m",
}
"""Which format of MovieLens has a file of that name."""

FEWEST, MOST = 8, 12
"""How many items a history that fills a screen has."""

LAST = 10
"""How many items are shown of a longer one."""

USERS = 32
"""How many are in the batch, from whom `SwapNoise` takes items."""

WIDTH = 28
"""How many characters of a title or of genres are shown."""

RESERVED = ["", "[hidden]", "[unknown]"]
"""What stands for the ids that are no items."""

WITH_TABLES = (tfrsb.layers.RandomSubstitute, tfrsb.layers.RandomInsert)
"""The augmentations that need to know what is alike; others extend them."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Shows what the command line asks for."""
    parser = _parser()
    flags = parser.parse_args(arguments)
    try:
        history = History.from_log(_load(flags.data_dir), flags.user)
    except (OSError, ValueError) as error:
        parser.exit(1, f"error: {error}\n")
    print("\n\n".join(history.show(name, flags.seed) for name in flags.only))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m examples.show_augmentations",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--data_dir",
        type=pathlib.Path,
        help="a folder with the files of MovieLens (default: the small history)",
    )
    parser.add_argument(
        "--user",
        help=f"whose history (default: the first of {FEWEST} to {MOST} items, else the "
        f"first of all); of more than {MOST} items the last {LAST} are shown",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=SETTINGS,
        default=list(SETTINGS),
        metavar="NAME",
        help=f"which augmentations to show (default: all): {', '.join(SETTINGS)}",
    )
    parser.add_argument("--seed", type=int, default=0, help="of all draws (default: 0)")
    return parser


def _load(data_dir: pathlib.Path | None) -> InteractionLog:
    if data_dir is None:
        return small_log()
    for name, dataset in DATASETS.items():
        if (data_dir / name).exists():
            return tfrsb.data.load_movielens(dataset, data_dir)
    raise FileNotFoundError(
        f"{data_dir} must hold ratings.dat (MovieLens-1M) or ratings.csv (the later "
        "ones), but it holds neither."
    )


def small_log() -> InteractionLog:
    """Returns the histories that are written in this file."""
    times = [int(pd.Timestamp(time).timestamp()) for time in HISTORY.values()]
    users = {"you": tuple(HISTORY)}
    users |= {f"other {number}": titles for number, titles in enumerate(OTHERS)}
    return InteractionLog(
        interactions=pd.DataFrame(
            [
                {"user_id": user, "item_id": title, "timestamp": time}
                for user, titles in users.items()
                for title, time in zip(titles, times, strict=False)
            ]
        ),
        items=pd.DataFrame(
            {
                "item_id": list(GENRES),
                "title": list(GENRES),
                "categories": list(GENRES.values()),
            }
        ),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class History:
    """A user's history, in a batch with those of others, and tables of the items.

    Attributes:
        columns: Each `[users, (events)]`; the first row is the history. Beside the item
            ids there are genres and times; and positions, from 1 on, by which a view
            shows where its items come from.
        titles: `[vocabulary size]`, by item id.
        genres: `[vocabulary size]`, by item id.
        neighbors: `[vocabulary size, 2]`, by item id those that most often occur with
            the same users.
    """

    columns: Mapping[str, tf.RaggedTensor]
    titles: npt.NDArray[np.str_]
    genres: npt.NDArray[np.str_]
    neighbors: npt.NDArray[np.int32]

    @classmethod
    def from_log(cls, log: InteractionLog, user: str | None = None) -> History:
        """Takes a user's history out of a log, with some others.

        Args:
            log: The log.
            user: The user's id; `None` for the first whose history fills a screen.

        Raises:
            ValueError: If the user is not in the log.
        """
        sequences, vocabulary = tfrsb.data.build_sequences(log)
        titles, genres = _by_item(log, vocabulary)
        row = _row_of(user, sequences)
        others = [other for other in range(len(sequences))[:USERS] if other != row]
        length = MOST if sequences.lengths[row] <= MOST else LAST
        batch = sequences.select([row, *others]).most_recent(length)
        return cls(
            columns={
                "item_id": batch.to_ragged(),
                "genres": batch.to_ragged().with_values(genres[batch.item_ids]),
                "timestamp": batch.to_ragged().with_values(batch.timestamps),
                "position": tf.ragged.range(1, batch.lengths + 1),
            },
            titles=titles,
            genres=genres,
            neighbors=tfrsb.data.cooccurrence_neighbors(
                sequences, vocabulary.size, k=2
            ),
        )

    def show(self, name: str, seed: int) -> str:
        """Returns the name of an augmentation, what it does, and what it makes of this.

        Args:
            name: One of `SETTINGS`.
            seed: Fixes its draws.
        """
        layer = getattr(tfrsb.layers, name)
        tables = self._tables() if issubclass(layer, WITH_TABLES) else {}
        view = layer(**SETTINGS[name], **tables, seed=seed)(self.columns, training=True)
        settings = [f"{key}={value!r}" for key, value in SETTINGS[name].items()]
        settings += [f"{key}=..." for key in tables]
        does = (inspect.getdoc(layer) or "").splitlines()[0]
        return f"{name}({', '.join(settings)})\n{does}\n\n{self.compare(view)}"

    def _tables(self) -> dict[str, Any]:
        return {"neighbors": self.neighbors, "item_tables": {"genres": self.genres}}

    def compare(self, view: Mapping[str, tf.RaggedTensor]) -> str:
        """Returns a table of the history next to its view.

        Args:
            view: What an augmentation has made of `columns`.
        """
        before, after = _events(self.columns), _events(view)
        lines = [["before", "change", "view", "genres", "time"]]
        for old, new in _aligned(before, after):
            change = _change(old, new, before)
            lines.append([self._title(old), change, self._title(new), *_details(new)])
        return _table(lines)

    def _title(self, event: Event | None) -> str:
        return "" if event is None else _cut(self.titles[event.item_id])


class Event(NamedTuple):
    """One position of a history or a view: what the columns have there."""

    item_id: int
    genres: bytes
    timestamp: int
    position: int


def _row_of(user: str | None, sequences: UserSequences) -> int:
    """Returns the row of a user."""
    if user is None:
        lengths = sequences.lengths
        # The first of all if none fits: `argmax` returns the first of equal ones.
        return int(((lengths >= FEWEST) & (lengths <= MOST)).argmax())
    users = [str(user_id) for user_id in sequences.user_ids]
    if user not in users:
        raise ValueError(
            f"--user must be one of the {len(users)} users of the log, such as "
            f"{', '.join(users[:3])}, but it is {user}."
        )
    return users.index(user)


def _by_item(
    log: InteractionLog, vocabulary: Vocabulary
) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.str_]]:
    """Returns the titles and the genres of the items, by their ids."""
    titles = dict(zip(log.items["item_id"], log.items["title"], strict=True))
    genres = dict(zip(log.items["item_id"], log.items["categories"], strict=True))
    items = vocabulary.tokens
    return (
        np.array([*RESERVED, *(str(titles.get(item, item)) for item in items)]),
        np.array(
            [""] * len(RESERVED) + [", ".join(genres.get(item, ())) for item in items]
        ),
    )


def _events(columns: Mapping[str, tf.RaggedTensor]) -> list[Event]:
    """Returns the first row of a batch."""
    values = {name: columns[name][0].numpy().tolist() for name in Event._fields}
    return [Event(*event) for event in zip(*values.values(), strict=True)]


def _aligned(
    before: Sequence[Event], after: Sequence[Event]
) -> Iterator[tuple[Event | None, Event | None]]:
    """Pairs the events of a history with those of a view that are in their places.

    The places are those of the events that the view has kept, in order. A place whose
    event it has not kept is empty in the view; a new event has no place in the history.
    """
    new = _new(before, after)
    kept = [event for number, event in enumerate(after) if number not in new]
    places = sorted(event.position for event in kept)
    rest = list(before)
    for number, event in enumerate(after):
        if number in new:
            yield None, event
            continue
        place = places.pop(0)
        while rest[0].position < place:
            yield rest.pop(0), None
        yield rest.pop(0), event
    for event in rest:
        yield event, None


def _new(before: Sequence[Event], after: Sequence[Event]) -> set[int]:
    """Returns the numbers of the events that an augmentation has inserted.

    They have the position of the event next to them, which tends to keep its item.
    """

    def likeness(number: int) -> tuple[bool, bool]:
        item_id = after[number].item_id
        return item_id == before[after[number].position - 1].item_id, item_id == MASK_ID

    numbers = range(len(after))
    # Of the events of one position the likest comes last, and so is the one that stays.
    old = {after[n].position: n for n in sorted(numbers, key=likeness)}
    return set(numbers) - set(old.values())


def _change(old: Event | None, new: Event | None, before: Sequence[Event]) -> str:
    """Returns what has become of a place."""
    if new is None:
        return "dropped"
    if old is None:
        return "inserted"
    changes = ["moved"] if new.position != old.position else []
    if new.item_id == MASK_ID:
        changes.append("hidden")
    elif new.item_id != before[new.position - 1].item_id:
        changes.append("replaced")
    return ", ".join(changes)


def _details(event: Event | None) -> list[str]:
    """Returns the genres and the time of an event, to print."""
    if event is None:
        return ["", ""]
    time = pd.Timestamp(event.timestamp, unit="s")
    return [_cut(event.genres.decode()), f"{time:%Y-%m-%d %H:%M:%S}"]


def _cut(text: str) -> str:
    return text if len(text) <= WIDTH else text[: WIDTH - 3] + "..."


def _table(lines: Sequence[Sequence[str]]) -> str:
    """Returns lines of cells, with the columns aligned."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


if __name__ == "__main__":
    main()
