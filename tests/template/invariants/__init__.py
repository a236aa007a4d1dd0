"""The template's invariants, one module a subject. Importing the package registers them all."""

from tests.template.invariants import (
    alarms,
    api,
    dead_letters,
    encryption,
    form,
    functions,
    permissions,
    streams,
    timing,
)
from tests.template.invariants.invariant import INVARIANTS, Invariant

__all__ = [
    "INVARIANTS",
    "Invariant",
    "alarms",
    "api",
    "dead_letters",
    "encryption",
    "form",
    "functions",
    "permissions",
    "streams",
    "timing",
]
