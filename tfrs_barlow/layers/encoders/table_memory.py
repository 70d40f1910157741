"""What training an item table takes, told before it is allocated."""

from __future__ import annotations

import dataclasses

_FLOAT = 4

# How many tables Keras keeps beside the one that is trained, and how many more it
# holds at times. Measured: `python -m benchmarks.memory --parts tables`.
OPTIMIZERS = {"sgd": (1, 3), "adagrad": (1, 1), "adam": (2, 5)}


@dataclasses.dataclass(frozen=True)
class TableMemory:
    """An estimate of the memory that training an item table takes, in bytes.

    It is that of float32 on a CPU, by the optimizers of Keras 2. Adam moves every row
    in every step, and holds several tables of intermediate results to do so; Adagrad
    moves no rows but those that a batch looks up.

    Attributes:
        rows: The rows of the table.
        width: The width of a row.
        optimizer: Which optimizer moves them.
        table: The rows themselves: all that serving takes.
        slots: What the optimizer keeps beside them.
        gradient: Those of the rows that one step looks up, and their sums.
        update: What is held while rows are made or moved.

    Example:
        >>> encoder = tfrsb.layers.ItemPoolingEncoder(
        ...     vocabulary_size=10_000_003,
        ...     hash_buckets=1_000_000,
        ...     pooling="mean",
        ... )
        >>> print(encoder.item_table_memory())
        1,000,000 x 32 with adam: 0.98 GiB (table 0.12, slots 0.24, gradient 0.02,
        update 0.60)
    """

    rows: int
    width: int
    optimizer: str
    table: int
    slots: int
    gradient: int
    update: int

    @classmethod
    def estimate(
        cls, rows: int, width: int, optimizer: str, items_per_step: int
    ) -> TableMemory:
        """Estimates the memory of a table.

        Args:
            rows: The rows of the table.
            width: The width of a row.
            optimizer: `"sgd"`, `"adagrad"` or `"adam"`.
            items_per_step: How many rows one step looks up.

        Raises:
            ValueError: If the optimizer is unknown.
        """
        if optimizer not in OPTIMIZERS:
            raise ValueError(
                f"optimizer must be one of {list(OPTIMIZERS)}, but it is {optimizer!r}."
            )
        table = _FLOAT * rows * width
        kept, held = OPTIMIZERS[optimizer]
        gradient = 2 * _FLOAT * items_per_step * width
        return cls(rows, width, optimizer, table, kept * table, gradient, held * table)

    @property
    def total(self) -> int:
        """All of it, as at the peak of a step."""
        return self.table + self.slots + self.gradient + self.update

    def __str__(self) -> str:
        parts = ", ".join(
            f"{name} {getattr(self, name) / 2**30:.2f}"
            for name in ("table", "slots", "gradient", "update")
        )
        return (
            f"{self.rows:,} x {self.width} with {self.optimizer}: "
            f"{self.total / 2**30:.2f} GiB ({parts})"
        )
