"""Schedules that run at a rate, of EventBridge rules and of EventBridge Scheduler.

AWS ("Creating a rule that runs on a schedule in Amazon EventBridge", EventBridge user guide):
`rate(1 minute)` invokes the target every minute.
ministack: looks every 10 s only, so a minute lasts up to 70 s, and never less than it says.

`LOCAL_SCHEDULE_MINUTE_SECONDS` shortens the minute of a rate; schedules by cron or at keep theirs.
"""

from __future__ import annotations

from typing import Any

from local.gaps.emulator import Emulator

MINUTE = 60.0


def install(emulator: Emulator) -> None:
    """Shorten the rates, and look often enough for them."""
    from ministack.services import eventbridge, scheduler

    minute = float(emulator.settings.get("schedule_minute_seconds", MINUTE))
    look = min(1.0, minute / 10)

    def shorten(original: Any) -> Any:
        def parse(expr: str) -> float | None:
            seconds = original(expr)
            return None if seconds is None else seconds * minute / MINUTE

        return parse

    emulator.wrap(eventbridge, "_parse_rate_seconds", shorten, parameters=("expr",))
    emulator.wrap(eventbridge, "_SCHEDULER_TICK_INTERVAL", lambda _original: look)
    emulator.wrap(scheduler, "_SCHEDULE_TICK_INTERVAL", lambda _original: look)
