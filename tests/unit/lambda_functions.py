"""Functions as Lambda sees them: loaded once for each environment, then called with an event and a context."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

ROOT = Path(__file__).parents[2]
FUNCTIONS = ROOT / "functions"


@dataclass
class Context:
    """An invocation's context whose time runs."""

    seconds: float = 60.0
    """Seconds until the function's timeout, from now."""
    aws_request_id: str = "invocation-1"
    function_name: str = "function-under-test"
    memory_limit_in_mb: int = 256
    invoked_function_arn: str = "arn:aws:lambda:eu-west-1:123456789012:function:function-under-test"
    _started: float = field(default_factory=time.monotonic)

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the timeout."""
        return max(0, round((self.seconds - (time.monotonic() - self._started)) * 1000))


def load_function(name: str, environment: Mapping[str, str]) -> ModuleType:
    """Import functions/<name>/app.py afresh, as a new execution environment does.

    Every function calls its module ``app`` and reads its settings at import, so nothing of another function, or of
    this one with other settings, may be left over.
    """
    folder = FUNCTIONS / name
    for path in FUNCTIONS.glob("*/*.py"):
        sys.modules.pop(path.stem, None)
    with mock.patch.dict("os.environ", environment), mock.patch.object(sys, "path", [str(folder), *sys.path]):
        importlib.invalidate_caches()
        return importlib.import_module("app")


def call(function: ModuleType, event: Any, context: Context | None = None) -> Any:
    """Invoke a function's handler."""
    return function.handler(event, context or Context())


def returned(response: Any) -> list[str]:
    """The message ids that a batch response gives back to the queue."""
    return [failure["itemIdentifier"] for failure in response["batchItemFailures"]]
