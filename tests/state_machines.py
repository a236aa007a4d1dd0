"""The definitions of statemachines/, as CloudFormation hands them to Step Functions."""

from __future__ import annotations

import re
from typing import Any

import yaml

from local.stack import ROOT

DEFINITIONS = sorted((ROOT / "statemachines").glob("*.asl.yaml"))
CIRCUIT_BREAKER = ROOT / "statemachines" / "circuit_breaker.asl.yaml"

State = dict[str, Any]


def circuit_breaker(**substitutions: object) -> dict[str, Any]:
    """Return the circuit breaker's definition with its substitutions filled in.

    Raises:
        KeyError: One is missing.
    """
    text = re.sub(r"\$\{(\w+)\}", lambda found: str(substitutions[found[1]]), CIRCUIT_BREAKER.read_text())
    definition: dict[str, Any] = yaml.safe_load(text)
    return definition
