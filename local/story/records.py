"""What a function wrote about an order, put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from local.story.search import Line


@dataclass
class Record:
    """What one function wrote about the order from one START on."""

    start: Line
    lines: list[Line] = field(default_factory=list)

    @property
    def service(self) -> str:
        """The function's service."""
        return str(self.start.get("service"))

    @property
    def calls(self) -> list[Line]:
        """Calls to the courier."""
        return [line for line in self.lines if line.get("message") == "courier call"]

    def last(self, status: str) -> Line | None:
        """Return the record's last line of a status."""
        return next((line for line in reversed(self.lines) if line.get("status") == status), None)


def read_records(lines: Sequence[Line]) -> list[Record]:
    """Put together what a function wrote about the order, each time that it began to work on it.

    An asynchronous invocation that is tried again keeps its request id, so a record begins with its START.
    """
    records: list[Record] = []
    latest: dict[tuple[str, str], Record] = {}
    for line in lines:
        request_id = line.get("function_request_id")
        if not request_id:
            continue
        key = (line.group, str(request_id))
        if line.get("status") == "START":
            latest[key] = Record(line, [line])
            records.append(latest[key])
        elif key in latest:
            latest[key].lines.append(line)
    return records
