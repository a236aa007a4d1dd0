"""Publishing on the event bus: nothing is lost between our hands and EventBridge's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from random import Random, SystemRandom
from typing import TYPE_CHECKING

from hub.backoff import full_jitter
from hub.events import SOURCE, Event, encode

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_events.type_defs import PutEventsRequestEntryTypeDef

# "PutEvents" in the EventBridge API reference: entries of a request, and bytes of all of them together.
MAXIMUM_ENTRIES = 10
MAXIMUM_BYTES = 256 * 1024

ATTEMPTS = 3


class EventBus:
    """One event bus.

    Args:
        name: The bus.
        client: A boto3 client of EventBridge.
        sleep: Waits between attempts, in seconds.
        random: Source of the jitter.
    """

    def __init__(
        self,
        name: str,
        client: EventBridgeClient,
        *,
        sleep: Callable[[float], None] = time.sleep,
        random: Random | None = None,
    ) -> None:
        self._name = name
        self._client = client
        self._sleep = sleep
        self._random = random or SystemRandom()  # a seed would be shared by all environments of a snapshot

    def publish(self, events: Sequence[Event]) -> dict[int, str]:
        """Publish events, in as few requests as their number and size allow.

        PutEvents answers 200 with the entries that failed among the others: only those are sent again, up to three
        times in all, with short waits between.

        Returns:
            Why, for the index of each event that is not on the bus. Empty when all are.
        """
        pending = {index: self._entry(event) for index, event in enumerate(events)}
        failures: dict[int, str] = {}
        for attempt in range(1, ATTEMPTS + 1):
            failures = {}
            for chunk in _chunks(pending):
                failures |= self._put(chunk)
            pending = {index: pending[index] for index in failures}
            if not pending:
                break
            if attempt < ATTEMPTS:
                self._sleep(full_jitter(attempt, base=0.1, cap=1.0, random=self._random))
        return failures

    def _entry(self, event: Event) -> PutEventsRequestEntryTypeDef:
        return {
            "EventBusName": self._name,
            "Source": SOURCE,
            "DetailType": event.detail_type,
            "Detail": encode(event.detail).decode(),
        }

    def _put(self, chunk: dict[int, PutEventsRequestEntryTypeDef]) -> dict[int, str]:
        try:
            answers = self._client.put_events(Entries=list(chunk.values()))["Entries"]
        except Exception as error:  # a refused request must not take the other chunks with it
            return dict.fromkeys(chunk, f"{type(error).__name__}: {error}")
        return {
            index: f"{answer['ErrorCode']}: {answer.get('ErrorMessage', '')}"
            for index, answer in zip(chunk, answers, strict=True)
            if "ErrorCode" in answer
        }


def entry_bytes(entry: PutEventsRequestEntryTypeDef) -> int:
    """Return the size of an entry as EventBridge counts it ("Calculating event entry size", user guide)."""
    return sum(len(entry[field].encode()) for field in ("Source", "DetailType", "Detail"))


def _chunks(
    entries: dict[int, PutEventsRequestEntryTypeDef],
) -> Iterator[dict[int, PutEventsRequestEntryTypeDef]]:
    chunk: dict[int, PutEventsRequestEntryTypeDef] = {}
    size = 0
    for index, entry in entries.items():
        more = entry_bytes(entry)
        if chunk and (len(chunk) == MAXIMUM_ENTRIES or size + more > MAXIMUM_BYTES):
            yield chunk
            chunk, size = {}, 0
        chunk[index] = entry
        size += more
    if chunk:
        yield chunk
