"""What a study measures, and with which settings."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

from tfrs_barlow import _checks
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
"""The methods with another encoder, judged on the next item alone."""

Protocol = Literal["frozen", "fine_tuned", "as_trained"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)

ENCODERS: dict[str, Callable[..., SequenceEncoder]] = {
    "attention_pooling": ItemPoolingEncoder,
    "mean_pooling": functools.partial(ItemPoolingEncoder, pooling="mean"),
    "convolution": ConvolutionEncoder,
    "gru": GRUEncoder,
    "transformer": TransformerEncoder,
}

PAIRS: dict[str, Callable[..., SequencePairs] | None] = {
    "same_history": None,
    "different_periods": different_period_pairs,
    "same_target": same_target_pairs,
}
"""What draws the pairs of histories that Barlow Twins makes views of, by name."""

WEIGHT_BATCH_SIZE = 256
"""The batch size that `StudyConfig.off_diagonal_weight` is for."""

_MAX_SEED = 2**32 - 1
_GRID = ("methods", "tasks", "protocols", "label_fractions", "batch_sizes", "seeds")

_share = functools.partial(_checks.number, above=0, at_most=1)
_rate = functools.partial(_checks.number, at_least=0, below=1)
_positive = functools.partial(_checks.number, above=0)
_count = functools.partial(_checks.integer, at_least=1)

_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "methods": functools.partial(_checks.one_of, known=METHODS),
    "tasks": functools.partial(_checks.one_of, known=TASKS),
    "protocols": functools.partial(_checks.one_of, known=PROTOCOLS),
    "label_fractions": _share,
    "batch_sizes": functools.partial(_checks.integer, at_least=2),
    "seeds": functools.partial(_checks.integer, at_least=0, at_most=_MAX_SEED),
    "encoder": functools.partial(_checks.one_of, known=tuple(ENCODERS)),
    "pairs": functools.partial(_checks.one_of, known=tuple(PAIRS)),
    **dict.fromkeys(("embedding_dim", "output_dim", "length", "projector"), _count),
    **dict.fromkeys(("encoder_passes", "learning_rate", "temperature"), _positive),
    **dict.fromkeys(("crop_rate", "barlow_share"), _share),
    **dict.fromkeys(("drop_rate", "mask_rate"), _rate),
    **dict.fromkeys(("off_diagonal_weight", "barlow_weight"), _positive),
    **dict.fromkeys(("fine_tuning_steps", "fine_tuning_batch_size"), _count),
    "fine_tuning_learning_rate": _positive,
    "categories": _count,
}
"""What each setting, or each element of it, must be."""


@dataclasses.dataclass(frozen=True)
class StudyConfig:
    """The grid of a study, and all other settings that decide its metrics.

    The grid is the product of the first six arguments. No value may stand twice.

    Args:
        methods: How encoders come about:

            - `"counting"`: no encoder; the majority class, or the most popular items;
            - `"category_counts"`: no encoder; the linear model reads how often each
              category is in the history. It is given what the others have to learn, so
              it shows how well categories can be predicted at all;
            - `"random"`: not trained. Fine-tuned, this is training from scratch: for
              the next item, the dual encoder on the known labels alone;
            - `"dual_encoder_few"`: a dual encoder on the next items of the users with
              known labels alone;
            - `"dual_encoder"`: a dual encoder on the next items of all training users;
            - `"barlow_twins"`: Barlow Twins on the histories of all training users;
            - `"joint"`: the last two at the same time;
            - `"transformer_few"` and `"transformer"`: as a reference for the next item,
              another encoder: a causal Transformer, trained by full cross-entropy on
              every next item (`NextItemModel`) of users with known labels, or of all.
        tasks: What they are judged by; see `downstream_task`.
        protocols: How they are judged: `"frozen"` by a linear model on their output,
            `"fine_tuned"` with all weights trained on the labels, `"as_trained"`, for
            the next item alone, by the candidate tower that they were trained with.
        label_fractions: The shares of training users whose labels are known.
        batch_sizes: The users of a batch in a method's training.
        seeds: Each fixes a split of the users, the weights, the batches and the views.
        encoder: `"attention_pooling"`, `"mean_pooling"`, `"convolution"`, `"gru"` or
            `"transformer"`.
        embedding_dim: The width of the item embeddings.
        output_dim: The width of the user embedding.
        length: How many of a user's most recent items an encoder reads.
        encoder_passes: How often an encoder embeds each training user in a method's
            training: twice a step in Barlow Twins, once in a dual encoder, and in joint
            training once plus twice the share of users that Barlow Twins sees.
        learning_rate: That of Adam in a method's training.
        temperature: Dual encoders divide their scores by it before the softmax.
        pairs: What Barlow Twins makes two views of: the `"same_history"` twice, two
            `"different_periods"` of a user (`different_period_pairs`), or two histories
            with the `"same_target"` (`same_target_pairs`). Joint training always takes
            the same history.
        crop_rate: The share of a history that a view keeps in one piece; 1 for all.
        drop_rate: The share of a view that is dropped.
        mask_rate: The share of a view that is masked.
        projector: The widths of the projector's layers.
        off_diagonal_weight: lambda of the Barlow Twins loss at a batch size of 256. For
            other batch sizes it is scaled in proportion. The squared chance correlation
            of unrelated features falls as 1 / batch size, so its contribution to the
            loss stays the same.
        barlow_weight: The weight of Barlow Twins in joint training.
        barlow_share: The share of a batch that Barlow Twins sees in joint training.
        fine_tuning_steps: The most steps on labels; the best validation counts.
        fine_tuning_batch_size: The rows of a step on labels.
        fine_tuning_learning_rate: That of Adam on labels.
        categories: How many categories the tasks distinguish; see
            `ItemCategories.most_specific`.

    Raises:
        TypeError, ValueError: If a setting is of a wrong type or out of its range, a
            value of the grid stands twice, or the views would always be equal.

    Examples:
        >>> config = tfrsb.study.StudyConfig(methods=("random", "barlow_twins"))
        >>> config.seeds
        (0, 1, 2)
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
        for field in dataclasses.fields(self):
            check, value = _CHECKS[field.name], getattr(self, field.name)
            if isinstance(field.default, tuple):
                value = _checked_values(field.name, value, check)
            else:
                value = check(field.name, value)
            # Plain numbers, so that settings can be written as JSON.
            object.__setattr__(self, field.name, value)
        if self.crop_rate == 1 and self.drop_rate == 0 and self.mask_rate == 0:
            raise ValueError(
                "crop_rate, drop_rate and mask_rate must not all leave a history "
                "unchanged: two equal views teach nothing."
            )

    def settings(self) -> dict[str, Any]:
        """Returns what decides a metric besides its place in the grid."""
        settings = dataclasses.asdict(self)
        return {name: value for name, value in settings.items() if name not in _GRID}


def _checked_values(
    name: str, values: Any, check: Callable[[str, Any], Any]
) -> tuple[Any, ...]:
    """Returns checked values, at least one; those of the grid must differ."""
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise TypeError(f"{name} must be a tuple, but it is {values!r}.")
    checked = tuple(check(f"{name}[{i}]", value) for i, value in enumerate(values))
    if not checked:
        raise ValueError(f"{name} must hold at least one value.")
    if name in _GRID and len(set(checked)) < len(checked):
        raise ValueError(f"{name} must not hold a value twice, but it is {checked}.")
    return checked
