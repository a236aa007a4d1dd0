"""Queries of a metric that has no dimensions.

AWS ("Metrics concepts", CloudWatch user guide): a metric is found with exactly the dimensions it was
published with; a query without dimensions finds the metric without dimensions.
ministack: answers such a query with the values of all dimensions together.
"""

from __future__ import annotations

from typing import Any

from local.gaps.emulator import Emulator


class Dimensions(dict[str, str]):
    """Dimensions that a query asks for, which count even when there are none."""

    def __bool__(self) -> bool:
        return True


def install(emulator: Emulator) -> None:
    """Let the emulator compare an empty set of dimensions as it compares others."""
    from ministack.services import cloudwatch

    def exact(original: Any) -> Any:
        def read(dimensions: list[dict[str, str]]) -> Dimensions:
            return Dimensions(original(dimensions))

        return read

    emulator.wrap(cloudwatch, "_dims_from_list", exact, parameters=("dimensions",))
