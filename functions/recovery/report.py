"""What people are told when a redrive or a replay has ended."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from hub.replay import ARCHIVED_AFTER

_GO_ON = "What was sent again is in its queue; the rest is where it was. When the cause is mended, start it again."


def redrive_report(end: Mapping[str, Any], *, left: int | None, back: int) -> tuple[str, str]:
    """Return subject and text of the report of a redrive.

    Args:
        end: How it ended: ``queue``, ``result``, ``why``, ``moved``, ``for_good`` and ``skipped``.
        left: About how many letters its queue holds; None if nobody looked.
        back: How many of those that went have come back already.
    """
    lines = [f"Why: {end['why']}", f"Sent again: {end['moved']:,}"]
    if end["skipped"]:
        lines += [f"Left alone: {end['skipped']:,}, not asked for, or without a queue that takes them"]
    if left is not None:
        lines += [f"Left in the queue: about {left:,}"]
    if back:
        lines += [f"Came back already: {back:,}"]
    lines += [""]
    if end["for_good"]:
        lines += [f"{end['for_good']:,} of them had been refused for good: they come back unless that was corrected."]
    if end["result"] == "done":
        lines += ["What is left needs a decision." if left else "Nothing needs to be done."]
    else:
        lines += ["Nothing was moved." if end["result"] == "refused" else _GO_ON]
    return f"Redrive of {end['queue']} {end['result']}: {end['moved']:,} letters", "\n".join(lines)


def replay_report(end: Mapping[str, Any], *, now: datetime) -> tuple[str, str]:
    """Return subject and text of the report of a replay.

    Args:
        end: How it ended: ``rule``, ``from``, ``to``, ``mark`` (the replay's name), ``result`` and ``why``.
        now: The present.
    """
    lines = [f"Why: {end['why']}", f"Window: {end['from']} to {end['to']}", f"Replay: {end['mark'] or 'none'}", ""]
    if end["result"] == "done":
        lines += [
            "Every event of the window was handed to the consumer's queue once more. Those that it knew had no effect; "
            "its log lines of them have the key replay."
        ]
        if now - datetime.fromisoformat(end["to"]) < ARCHIVED_AFTER:
            lines += [
                "The window ends less than ten minutes ago, and the archive may not have had its last events: replay "
                "it again later, if any is missing."
            ]
    else:
        lines += ["What was handed over has its effect once at most: replay the window again when the cause is mended."]
    return f"Replay to {end['rule']} {end['result']}", "\n".join(lines)
