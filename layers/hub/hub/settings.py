"""Settings of a function, read from its environment once, when the execution environment starts.

A function declares what it needs as a frozen dataclass; the names of the fields in capitals are the environment
variables. A missing or malformed variable stops the start with an error that names it, so that a misconfigured
function fails at its first invocation after the deployment and not at its first odd order.

>>> @dataclass(frozen=True)
... class Settings:
...     courier_url: str
...     courier_timeout: float
>>> load(Settings, {"COURIER_URL": "https://courier.example", "COURIER_TIMEOUT": "5"})
Settings(courier_url='https://courier.example', courier_timeout=5.0)
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from typing import Any, get_type_hints


class SettingsError(Exception):
    """An environment variable is missing or malformed; the message names each one."""


def load[Settings](kind: type[Settings], environment: Mapping[str, str] = os.environ) -> Settings:
    """Build a settings dataclass from environment variables.

    Args:
        kind: A dataclass whose fields are of type str, int, float or bool. A field without a default is required, and
            an empty value counts as missing.
        environment: Where to read from.

    Raises:
        SettingsError: With every missing or malformed variable, not only the first.
    """
    types = get_type_hints(kind)
    values: dict[str, Any] = {}
    problems: list[str] = []
    for field in fields(kind):  # type: ignore[arg-type]
        name = field.name.upper()
        text = environment.get(name, "").strip()
        if text:
            try:
                values[field.name] = _PARSERS[types[field.name]](text)
            except ValueError as error:
                problems.append(f"{name}={text!r} {error}")
        elif field.default is MISSING:
            problems.append(f"{name} is not set")
    if problems:
        raise SettingsError(f"Environment of {kind.__module__}: {'; '.join(problems)}. Set it in template.yaml.")
    return kind(**values)


def _boolean(text: str) -> bool:
    try:
        return {"true": True, "false": False}[text.lower()]
    except KeyError:
        raise ValueError("must be true or false") from None


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("must be a whole number") from None


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ValueError("must be a number") from None
    if not math.isfinite(number):
        raise ValueError("must be a finite number")
    return number


_PARSERS: dict[type, Callable[[str], Any]] = {str: str, int: _integer, float: _number, bool: _boolean}
