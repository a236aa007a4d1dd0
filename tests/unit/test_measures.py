"""The list of metrics is complete, and each goes out as it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hub.circuit import State
from hub.measures import CALLS, CIRCUIT, CIRCUIT_LEVELS, MEASURES, Measure
from hub.outcomes import Outcome

ROOT = Path(__file__).parents[2]


def test_each_outcome_and_each_state_has_its_metric() -> None:
    assert set(CALLS) == set(Outcome)
    assert set(CIRCUIT) == set(CIRCUIT_LEVELS) == set(State)


def test_names_are_unique_and_speak() -> None:
    assert len({measure.meaning for measure in MEASURES.values()}) == len(MEASURES)
    assert all(re.fullmatch(r"([A-Z][a-z]+)+", name) for name in MEASURES)


def test_no_function_emits_a_metric_beside_the_list() -> None:
    """CloudWatch bills for each name, and a dashboard shows none that nobody knows of."""
    beside = [
        str(file.relative_to(ROOT))
        for folder in ("functions", "layers/hub")
        for file in (ROOT / folder).rglob("*.py")
        if "add_metric(" in file.read_text() and file.name != "measures.py"
    ]
    assert beside == [], "give the metric a line in hub.measures"


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_an_emitter_is_a_function(measure: Measure) -> None:
    services = {folder.name.replace("_", "-") for folder in (ROOT / "functions").iterdir()}
    assert set(measure.service.split(", ")) <= services


def test_readers_find_every_metric() -> None:
    """docs/observability.md has the list as a table, in its order."""
    text = (ROOT / "docs" / "observability.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert rows == [
        f"| `{measure.name}` | {measure.service} | {measure.unit.value} | {measure.meaning} |"
        for measure in MEASURES.values()
    ]
