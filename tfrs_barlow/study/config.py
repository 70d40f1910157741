"""What a study measures, and with which settings."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal, get_args

from tfrs_barlow.data import (
    SequencePairs,
    different_period_pairs,
    same_target_pairs,
)
from tfrs_barlow.evaluation.downstream_tasks import TASKS, TaskName
from tfrs_barlow.layers import (
    ConvolutionEncoder,
    GRUEncoder,
    ItemPoolingEncoder,
    SequenceEncoder,
    TransformerEncoder,
)

Method = Literal[
    "counting",
    "category_counts",
    "random",
    "dual_encoder_few",
    "dual_encoder",
    "barlow_twins",
    "joint",
    "transformer_few",
    "transformer",
]
METHODS: tuple[Method, ...] = get_args(Method)

REFERENCES: tuple[Method, ...] = ("transformer_few", "transformer")
"""The methods with an encoder of their own, judged on the next item alone."""

Protocol = Literal["frozen", "fine_tuned", "as_trained"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)

ENCODERS: dict[str, Callable[..., SequenceEncoder]] = {
    "attention_pooling": ItemPoolingEncoder,
    "mean_pooling": functools.partial(ItemPoolingEncoder, pooling="mean"),
    "convolution": ConvolutionEncoder,
    "gru": GRUEncoder,
    "transformer": TransformerEncoder,
}
"""The encoders that a study can train, by their names in `StudyConfig`."""

PAIRS: dict[str, Callable[..., SequencePairs] | None] = {
    "same_history": None,
    "different_periods": different_period_pairs,
    "same_target": same_target_pairs,
}
"""What draws the pairs of histories that Barlow Twins makes views of, by name."""

WEIGHT_BATCH_SIZE = 256
"""The batch size that `StudyConfig.off_diagonal_weight` is for."""


_POSITIVE = (
    "embedding_dim",
    "output_dim",
    "length",
    "encoder_passes",
    "learning_rate",
    "temperature",
    "off_diagonal_weight",
    "barlow_weight",
    "barlow_share",
    "fine_tuning_steps",
    "fine_tuning_batch_size",
    "fine_tuning_learning_rate",
    "categories",
)
_SHARES = ("crop_rate", "drop_rate", "mask_rate", "barlow_share")


@dataclasses.dataclass(frozen=True)
class StudyConfig:
    """The grid of a study, and all else that decides its figures.

    Attributes:
        methods: How encoders come about:

            - `"counting"`: none; the majority class, or the most popular items;
            - `"category_counts"`: none; the linear model reads how often each category
              is in the history. It is told what the others have to learn, and so shows
              how far categories can be told at all;
            - `"random"`: not trained. Fine-tuned, this is training from scratch: for
              the next item, the dual encoder on the known labels alone;
            - `"dual_encoder_few"`: a dual encoder on the next items of the users with
              known labels alone;
            - `"dual_encoder"`: a dual encoder on the next items of all training users;
            - `"barlow_twins"`: Barlow Twins on the histories of all training users;
            - `"joint"`: the last two at the same time;
            - `"transformer_few"` and `"transformer"`: other than the encoder of the
              rest, a causal Transformer, trained by full cross-entropy on every next
              item (`NextItemModel`) of users with known labels, or of all: how well the
              next item can be found, as a reference.
        tasks: What they are judged by; see `downstream_task`.
        protocols: How: `"frozen"` by a linear model on their output, `"fine_tuned"`
            with all their weights trained on, `"as_trained"`, for the next item alone,
            by the candidate tower that they were trained with.
        label_fractions: The shares of training users whose labels are known.
        batch_sizes: Of the methods' training.
        seeds: Each fixes a split of the users, the weights, the batches and the views.
        encoder: The architecture, a key of `ENCODERS`.
        embedding_dim: The width of the item embeddings.
        output_dim: The width of the user embedding.
        length: How many of a user's most recent items an encoder reads.
        encoder_passes: How often an encoder embeds each training user in a method's
            training: twice a step in Barlow Twins, once in a dual encoder, and in joint
            training once plus twice the share of users that Barlow Twins sees.
        learning_rate: Of Adam, in a method's training.
        temperature: Of the dual encoders: their softmax is of scores divided by it.
        pairs: What Barlow Twins makes two views of: the `"same_history"` twice, two
            `"different_periods"` of a user (`different_period_pairs`), or two histories
            with the `"same_target"` (`same_target_pairs`). Joint training always takes
            the same history.
        crop_rate: The share of a history that a view keeps in one piece; 1 for all.
        drop_rate: The share of a view that is dropped; 0 for none.
        mask_rate: The share of a view that is masked; 0 for none.
        projector: The widths of the projector's layers.
        off_diagonal_weight: lambda of the Barlow Twins loss at a batch size of
            `WEIGHT_BATCH_SIZE`. At others it is in proportion: what features that have
            nothing to do with each other correlate by chance, squared, goes with one
            over the rows, and so weighs the same at every batch size.
        barlow_weight: The weight of Barlow Twins in joint training.
        barlow_share: The share of a batch that Barlow Twins sees in joint training.
        fine_tuning_steps: The most steps on labels; those up to the best validation
            count.
        fine_tuning_batch_size: The rows of a step on labels.
        fine_tuning_learning_rate: Of Adam on labels.
        categories: How many categories the category tasks tell apart; see
            `ItemCategories.most_specific`.
    """

    methods: tuple[Method, ...] = METHODS
    tasks: tuple[TaskName, ...] = TASKS
    protocols: tuple[Protocol, ...] = PROTOCOLS
    label_fractions: tuple[float, ...] = (0.01, 0.1, 1.0)
    batch_sizes: tuple[int, ...] = (256,)
    seeds: tuple[int, ...] = (0, 1, 2)
    encoder: str = "attention_pooling"
    embedding_dim: int = 64
    output_dim: int = 128
    length: int = 50
    encoder_passes: float = 160.0
    learning_rate: float = 3e-3
    temperature: float = 1.0
    pairs: str = "same_history"
    crop_rate: float = 1.0
    drop_rate: float = 0.5
    mask_rate: float = 0.0
    projector: tuple[int, ...] = (512, 512, 512)
    off_diagonal_weight: float = 0.05
    barlow_weight: float = 0.01
    barlow_share: float = 0.25
    fine_tuning_steps: int = 2000
    fine_tuning_batch_size: int = 256
    fine_tuning_learning_rate: float = 1e-3
    categories: int = 20

    def __post_init__(self) -> None:
        for name, known in (
            ("methods", METHODS),
            ("tasks", TASKS),
            ("protocols", PROTOCOLS),
        ):
            unknown = [value for value in getattr(self, name) if value not in known]
            if unknown:
                raise ValueError(f"{name} must be of {known}, but hold {unknown[0]!r}.")
        for name in _POSITIVE:
            if not getattr(self, name) > 0:
                raise ValueError(
                    f"{name} must be above 0, but it is {getattr(self, name)}."
                )
        for name in _SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(
                    f"{name} must lie in [0, 1], but it is {getattr(self, name)}."
                )
        if not (self.projector and min(self.projector) > 0):
            raise ValueError(
                f"projector must hold widths above 0, but it is {self.projector}."
            )
        if self.crop_rate == 1 and self.drop_rate == 0 and self.mask_rate == 0:
            raise ValueError(
                "crop_rate, drop_rate and mask_rate must not all leave a history as it "
                "is: two equal views teach nothing."
            )
        for name, kinds in (("encoder", tuple(ENCODERS)), ("pairs", tuple(PAIRS))):
            value = getattr(self, name)
            if value not in kinds:
                raise ValueError(f"{name} must be one of {kinds}, but it is {value!r}.")
        for fraction in self.label_fractions:
            if not 0 < fraction <= 1:
                raise ValueError(
                    f"label_fractions must lie in (0, 1], but one is {fraction}."
                )
        for batch_size in self.batch_sizes:
            if batch_size < 2:
                raise ValueError(
                    f"batch_sizes must be at least 2, but one is {batch_size}."
                )

    def settings(self) -> dict[str, Any]:
        """Returns what decides a figure beside its place in the grid."""
        grid = {
            "methods",
            "tasks",
            "protocols",
            "label_fractions",
            "batch_sizes",
            "seeds",
        }
        return {
            name: value
            for name, value in dataclasses.asdict(self).items()
            if name not in grid
        }
