"""local.durations: what people write in SINCE and FROM, and what they read of a letter's age."""

from __future__ import annotations

import argparse
from datetime import timedelta

import pytest

from local.durations import read_duration, show_duration


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("1.5m", 90), ("2h", 7200), ("7d", 604_800)], ids=lambda value: str(value)
)
def test_a_number_with_its_unit(text: str, seconds: float) -> None:
    assert read_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "5", "h", "0h", "-1h", "1 h", "1w", "٣h", "9" * 400 + "d"])
def test_what_is_no_duration_is_told_the_rule(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="a number with s, m, h or d, such as 90m"):
        read_duration(text)


@pytest.mark.parametrize(
    ("seconds", "shown"), [(-1, "0 s"), (119, "119 s"), (120, "2 m"), (7199, "119 m"), (7200, "2 h"), (172_800, "2 d")]
)
def test_the_largest_unit_of_which_there_are_two(seconds: float, shown: str) -> None:
    assert show_duration(timedelta(seconds=seconds)) == shown
