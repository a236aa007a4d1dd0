"""Pages of log events.

AWS ("FilterLogEvents", CloudWatch Logs API reference): an answer that does not hold all events has a
nextToken, with which the next request continues.
ministack: cuts the events off at the limit (10,000 at most) without a word.
"""

from __future__ import annotations

import json
from typing import Any

from local.gaps.emulator import Emulator

MOST_EVENTS = 10_000


def install(emulator: Emulator) -> None:
    """Give a full page a token: the time of its last event, and how many of that time were given."""
    from ministack.core.responses import json_response
    from ministack.services import cloudwatch_logs

    def pages(original: Any) -> Any:
        def filter_events(data: dict[str, Any]) -> Any:
            limit = min(int(data.get("limit", MOST_EVENTS)), MOST_EVENTS)
            start, given = parsed(data["nextToken"]) if data.get("nextToken") else (data.get("startTime"), 0)
            wanted = min(limit + given, MOST_EVENTS)
            query = {key: value for key, value in data.items() if key != "startTime"}
            if start is not None:
                query["startTime"] = start
            status, headers, body = original(query | {"limit": wanted})
            if status >= 400:
                return status, headers, body
            found = json.loads(body)["events"]
            answer = {"events": found[given:], "searchedLogStreams": []}
            if len(found) == wanted:
                last = found[-1]["timestamp"]
                answer["nextToken"] = f"{last}/{sum(event['timestamp'] == last for event in found)}"
            return json_response(answer)

        return filter_events

    emulator.wrap(cloudwatch_logs, "_filter_log_events", pages, parameters=("data",))


def parsed(token: str) -> tuple[int, int]:
    """The time (milliseconds) and the number of events in a token."""
    time, given = token.split("/")
    return int(time), int(given)
