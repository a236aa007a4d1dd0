"""Replays of an archive to chosen rules only.

AWS ("ReplayDestination", "DescribeReplay", EventBridge API reference): `FilterArns` names the rules
to replay events to; without it events go to all rules of the bus. `EventLastReplayedTime` is the
time of the last event that was replayed.
ministack: replays to all rules whatever the filter says, and gives no such time.
"""

from __future__ import annotations

from typing import Any

from local.gaps.emulator import Emulator


def install(emulator: Emulator) -> None:
    """Keep replayed events from the targets of rules that the replay's filter does not name."""
    from ministack.services import eventbridge

    def with_filter(original: Any) -> Any:
        def invoke(target: dict[str, Any], event: dict[str, Any], rule: dict[str, Any], view: Any = None) -> None:
            if replay := eventbridge._replays.get(event.get("ReplayName")):
                replay["EventLastReplayedTime"] = event["Time"]
                wanted = replay["Destination"].get("FilterArns")
                if wanted and rule["Arn"] not in wanted:
                    return
            original(target, event, rule, view)

        return invoke

    emulator.wrap(eventbridge, "_invoke_target", with_filter, parameters=("target", "event", "rule", "view"))
