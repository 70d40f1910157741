"""The table every reader produces: who interacted with which item, and when."""

from __future__ import annotations

import dataclasses

import pandas as pd


@dataclasses.dataclass(frozen=True, eq=False)
class InteractionLog:
    """Interactions between users and items, and what is known about the items.

    A user's interactions are ordered by timestamp; those with the same timestamp are
    ordered as the rows are. The rows themselves may come in any order.

    Attributes:
        interactions: One row per interaction, with the columns `user_id`, `item_id`
            (integers or strings), `timestamp` (integer, for example seconds since
            1970) and, where the source has it, `rating`.
        items: One row per item, with the columns `item_id`, `title` (string) and
            `categories` (tuple of strings, empty for an item without any). An item of
            `interactions` may be absent here: nothing is known about it then.

    Raises:
        ValueError: If a column is missing, a value is missing, there is no
            interaction, or an item is described twice.
        TypeError: If a timestamp is not an integer, or categories are not a tuple.

    Examples:
        >>> import pandas as pd
        >>> log = tfrsb.data.InteractionLog(
        ...     interactions=pd.DataFrame(
        ...         {"user_id": [1, 1], "item_id": [7, 8], "timestamp": [100, 101]}
        ...     ),
        ...     items=pd.DataFrame(
        ...         {"item_id": [7], "title": ["Alien"], "categories": [("Horror",)]}
        ...     ),
        ... )
        >>> log
        InteractionLog(2 interactions, 1 users, 2 items)
    """

    interactions: pd.DataFrame
    items: pd.DataFrame

    def __post_init__(self) -> None:
        _require_columns("interactions", self.interactions, _INTERACTION_COLUMNS)
        _require_columns("items", self.items, _ITEM_COLUMNS)
        if self.interactions.empty:
            raise ValueError(
                "interactions must hold at least one row, but it is empty."
            )
        timestamps = self.interactions["timestamp"]
        if not pd.api.types.is_integer_dtype(timestamps):
            raise TypeError(
                "timestamp in interactions must be integers (seconds since 1970, for "
                f"example), but it is of type {timestamps.dtype}."
            )
        item_ids = self.items["item_id"]
        if not item_ids.is_unique:
            twice = item_ids[item_ids.duplicated()].iloc[0]
            raise ValueError(f"items describes item_id {twice} more than once.")
        # A string would pass for a tuple of one-letter categories.
        for categories in self.items["categories"]:
            if not isinstance(categories, tuple):
                raise TypeError(
                    f"categories in items must be tuples, but one is {categories!r}."
                )

    def __repr__(self) -> str:
        return (
            f"InteractionLog({len(self.interactions)} interactions, "
            f"{self.interactions['user_id'].nunique()} users, "
            f"{self.interactions['item_id'].nunique()} items)"
        )


_INTERACTION_COLUMNS = ("user_id", "item_id", "timestamp")
_ITEM_COLUMNS = ("item_id", "title", "categories")


def _require_columns(name: str, table: pd.DataFrame, columns: tuple[str, ...]) -> None:
    """Checks that `table` has all `columns`, with no missing value in what we read."""
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise ValueError(
            f"{name} must have the columns {', '.join(columns)}, but it lacks "
            f"{', '.join(missing)}; it has {', '.join(map(str, table.columns))}."
        )
    for column in (*columns, "rating"):
        if column not in table.columns:
            continue
        absent = table[column].isna().to_numpy()
        if absent.any():
            raise ValueError(
                f"{column} in {name} must not have missing values, but row "
                f"{absent.argmax()} has one."
            )
