"""The settings of a study: what is refused, and what becomes plain numbers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tfrs_barlow.study import StudyConfig


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": ("sum",)}, r"methods\[0\] must be one of .* but it is 'sum'"),
        ({"tasks": ("age",)}, r"tasks\[0\] must be one of .* but it is 'age'"),
        ({"protocols": ("warm",)}, r"protocols\[0\] must be one of .* is 'warm'"),
        ({"encoder": "lstm"}, "encoder must be one of .* but it is 'lstm'"),
        ({"pairs": "friends"}, "pairs must be one of .* but it is 'friends'"),
        ({"label_fractions": (0.1, 0.0)}, r"label_fractions\[1\] must be .* above 0"),
        ({"label_fractions": (1.5,)}, r"label_fractions\[0\] must be .* at most 1"),
        ({"batch_sizes": (1,)}, r"batch_sizes\[0\] must be .* at least 2"),
        ({"seeds": (-1,)}, r"seeds\[0\] must be .* but it is -1"),
        ({"seeds": (2**40,)}, r"seeds\[0\] must be .* but it is 1099511627776"),
        ({"seeds": ()}, "seeds must hold at least one value"),
        ({"projector": (8, 0)}, r"projector\[1\] must be .* but it is 0"),
        ({"crop_rate": 0.0}, "crop_rate must be .* above 0"),
        ({"drop_rate": 1.5}, "drop_rate must be .* but it is 1.5"),
        ({"drop_rate": 0.0}, "must not all leave a history unchanged"),
        ({"temperature": 0.0}, "temperature must be .* but it is 0.0"),
        ({"encoder_passes": 0}, "encoder_passes must be .* but it is 0"),
        ({"length": 0}, "length must be .* but it is 0"),
    ],
    ids=str,
)
def test_a_setting_out_of_range_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StudyConfig(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_sizes": (16.0,)}, r"batch_sizes\[0\] must be an integer"),
        ({"batch_sizes": 16}, "batch_sizes must be a tuple"),
        ({"seeds": (True,)}, r"seeds\[0\] must be an integer"),
        ({"methods": "random"}, "methods must be a tuple"),
        ({"length": 2.5}, "length must be an integer"),
        ({"learning_rate": "0.1"}, "learning_rate must be a number"),
    ],
    ids=str,
)
def test_a_setting_of_a_wrong_type_is_named(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        StudyConfig(**change)


@pytest.mark.parametrize(
    "change",
    [
        {"seeds": (0, 0)},
        {"seeds": (np.int64(3), 3)},
        {"label_fractions": (0.1, 1, 1.0)},
        {"batch_sizes": (32, 64, 32)},
        {"methods": ("random", "random")},
        {"tasks": ("next_item", "next_item")},
        {"protocols": ("frozen", "frozen")},
    ],
    ids=str,
)
def test_a_value_of_the_grid_that_stands_twice_is_refused(
    change: dict[str, Any],
) -> None:
    (name,) = change
    with pytest.raises(ValueError, match=f"{name} must not hold a value twice"):
        StudyConfig(**change)


def test_numbers_of_numpy_become_plain_ones() -> None:
    config = StudyConfig(
        seeds=[np.int64(0)],  # type: ignore[arg-type]
        projector=(np.int32(8),),
        learning_rate=np.float32(0.5),
    )
    assert config.seeds == (0,)
    assert json.loads(json.dumps(config.settings()))["projector"] == [8]


def test_settings_leave_the_grid_out() -> None:
    one = StudyConfig(seeds=(0,), methods=("random",), batch_sizes=(32,))
    assert one.settings() == StudyConfig().settings()
    assert StudyConfig(mask_rate=0.5).settings() != StudyConfig().settings()
