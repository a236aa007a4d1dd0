"""Loads for the twin: the published one, the short one, or the phases of an artillery script of one's own."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import yaml

from loadtest import profiles
from loadtest.profiles import Phase, Profile, Scale

_FIELDS = {"name", "duration", "arrivalRate", "rampTo", "arrivalCount"}


class ProfileError(ValueError):
    """A profile cannot be read; the message names the field and the rule."""


def load(name: str) -> Profile:
    """Return ``published``, ``short`` (the same in 72 s), or the phases of a YAML file as artillery takes them.

    Raises:
        ProfileError: There is no such file, or it breaks a rule.
    """
    if name == "published":
        return profiles.load()
    if name == "short":
        return profiles.load().scaled(Scale(time=profiles.SHORT_TIME), name="short")
    path = Path(name)
    if not path.is_file():
        raise ProfileError(f"a profile is published, short, or a YAML file with phases; there is no file {name}")
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ProfileError(f"{name} is no YAML: {error}") from None
    return Profile(path.stem, tuple(_phase(phase, index) for index, phase in enumerate(_phases(document, name))))


def _phases(document: Any, name: str) -> list[Any]:
    """Find the phases of an artillery script (config.phases), or of a file that has nothing else."""
    if isinstance(document, dict):
        config = document.get("config", document)
        document = config.get("phases") if isinstance(config, dict) else None
    if not isinstance(document, list) or not document:
        raise ProfileError(f"{name} needs a list of phases, at the top or under config, with one phase at least")
    return document


def _phase(phase: Any, index: int) -> Phase:
    where = f"phases[{index}]"
    if not isinstance(phase, dict):
        raise ProfileError(f"{where} must have the fields duration and arrivalRate, not {phase!r}")
    if unknown := sorted(str(field) for field in set(phase) - _FIELDS):
        raise ProfileError(f"{where} has the field {unknown[0]}, which the twin does not know; it knows {_known()}")
    duration = _number(phase, "duration", where)
    if duration <= 0:
        raise ProfileError(f"{where}.duration must be more than 0 seconds, not {duration:g}")
    if ("arrivalRate" in phase) == ("arrivalCount" in phase):
        raise ProfileError(f"{where} needs either arrivalRate, orders a second, or arrivalCount, orders in all")
    if "arrivalCount" in phase:
        if "rampTo" in phase:
            raise ProfileError(f"{where}.rampTo needs arrivalRate, not arrivalCount")
        begin = end = _number(phase, "arrivalCount", where) / duration
    else:
        begin = _number(phase, "arrivalRate", where)
        end = _number(phase, "rampTo", where) if "rampTo" in phase else begin
    return Phase(str(phase.get("name", f"phase {index + 1}")), duration, begin, end)


def _number(phase: dict[str, Any], field: str, where: str) -> float:
    value = phase.get(field)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value < 0:  # type: ignore[arg-type, operator]
        raise ProfileError(f"{where}.{field} must be a number, 0 or more, not {value!r}")
    return float(value)  # type: ignore[arg-type]


def _known() -> str:
    return ", ".join(sorted(_FIELDS))
