"""Durations as people write and read them: a number with s, m, h or d."""

from __future__ import annotations

import argparse
import re
from datetime import timedelta

_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd])", flags=re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def read_duration(text: str) -> timedelta:
    """Read an argument of the command line, such as 90m or 7d.

    Raises:
        argparse.ArgumentTypeError: It is no duration above 0, or one that no calendar holds.
    """
    try:
        if (found := _DURATION.fullmatch(text)) and (
            duration := timedelta(seconds=float(found[1]) * _SECONDS[found[2]])
        ):
            return duration
    except OverflowError:
        pass
    raise argparse.ArgumentTypeError("say how long as a number with s, m, h or d, such as 90m or 7d")


def show_duration(duration: timedelta) -> str:
    """Write a duration in the largest unit of which it has two or more."""
    seconds = max(0, int(duration.total_seconds()))
    unit = next((unit for unit in ("d", "h", "m") if seconds >= 2 * _SECONDS[unit]), "s")
    return f"{seconds // _SECONDS[unit]} {unit}"
