"""The identifier of a log event.

AWS ("FilteredLogEvent", CloudWatch Logs API reference): FilterLogEvents gives each event an eventId,
by which tools tell which events they have seen.
ministack: gives one to events of PutLogEvents only, not to what a function logs.
"""

from __future__ import annotations

import itertools
from typing import Any

from local.gaps.emulator import Emulator

DIGITS = 56


def install(emulator: Emulator) -> None:
    """Number the events when they are stored."""
    from ministack.services import cloudwatch_logs

    numbers = itertools.count(1)

    def number(original: Any) -> Any:
        def append(stream: dict[str, Any], events: list[dict[str, Any]]) -> None:
            for event in events:
                event.setdefault("eventId", str(next(numbers)).zfill(DIGITS))
            original(stream, events)

        return append

    emulator.wrap(cloudwatch_logs, "_append_log_events", number, parameters=("stream", "events"))
