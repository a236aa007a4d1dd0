"""The event contract: what stands on the bus, how it is made and how it is read.

Every event carries ``metadata`` (the order's correlation id, an event id, the time of receipt, the schema's version)
and ``data``. One JSON Schema per detail type lies in ``schemas/``; producers and consumers are held to it.
"""

from __future__ import annotations

import json
import math
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import fastjsonschema

SOURCE = "widgets.orders"
ORDER_NOTIFIED = "order.notified"
DELIVERY_COMPLETED = "delivery.completed"
DELIVERY_FAILED = "delivery.failed"
CIRCUIT_CHANGED = {
    "open": "circuit.opened",
    "half-open": "circuit.half-open",
    "ramping": "circuit.ramping",
    "closed": "circuit.closed",
    "broken": "circuit.broken",
}
"""The detail types that tell of the circuit's states."""
SCHEMA_VERSION = "1"

# An entry may have 256 KB, the source and detail type included ("PutEvents", EventBridge API reference).
MAXIMUM_DETAIL_BYTES = 256 * 1024 - 256

# Any constant will do; a new one would give every order a new event id.
_EVENT_IDS = uuid.UUID("6f0d8a52-6b0c-4a0e-9a43-3c1f3a5e7d10")
MAXIMUM_DEPTH = 100
_TOO_DEEP = "the message is nested too deeply"
_NO_CHARACTERS = re.compile("[\ufffe\uffff]")
_VERSION = re.compile(r"[\w.-]{1,16}")
_SCHEMAS = Path(__file__).with_name("schemas")


class UnreadableEvent(Exception):
    """A message or event does not follow the contract; the message names the field and the rule, never a value."""


@dataclass(frozen=True)
class Event:
    """An event of the hub, as it stands in the ``detail`` of an EventBridge event."""

    detail_type: str
    correlation_id: str
    event_id: str
    received_at: str
    data: dict[str, Any]
    replay: str = ""
    """The replay of the archive that brought it; empty for an event that is delivered as it happens."""

    @property
    def order_id(self) -> str:
        """The shop's name for the order."""
        return str(self.data["order_id"])

    def age(self, now: datetime) -> float | None:
        """Return the seconds since the order was received, 0 or more; None if ``received_at`` is no moment in time.

        Args:
            now: The present, with a time zone.
        """
        try:
            return max(0.0, (now - datetime.fromisoformat(self.received_at)).total_seconds())
        except ValueError:  # the schema fixes the form, and lets the 31st of February pass
            return None

    @property
    def log_keys(self) -> dict[str, str]:
        """What names the order on each line of a log, and marks what comes from a replay."""
        keys = {"order_id": self.order_id, "event_id": self.event_id}
        return keys | {"replay": self.replay} if self.replay else keys

    @property
    def content(self) -> str:
        """A fingerprint of the order: two orders under one order id differ in it, one order sent twice does not."""
        canonical = json.dumps(self.data, sort_keys=True, separators=(",", ":"))
        return sha256(canonical.encode()).hexdigest()

    @property
    def detail(self) -> dict[str, Any]:
        """The detail to publish."""
        metadata = {
            "correlation_id": self.correlation_id,
            "event_id": self.event_id,
            "received_at": self.received_at,
            "schema_version": SCHEMA_VERSION,
        }
        return {"metadata": metadata, "data": self.data}


def order_notified(order: dict[str, Any], *, correlation_id: str, received_at: datetime) -> Event:
    """Make the event that tells the company about a stored order.

    The event id follows from the order id: an order that the shop sends twice, or that a queue delivers twice, is one
    event to every consumer.

    Raises:
        UnreadableEvent: The order does not follow ``schemas/order.json``, or is too large for the bus.
    """
    check("order", order)
    event = Event(
        detail_type=ORDER_NOTIFIED,
        correlation_id=correlation_id,
        event_id=str(uuid.uuid5(_EVENT_IDS, str(order["order_id"]))),
        received_at=received_at.astimezone(UTC).isoformat(timespec="milliseconds"),
        data=order,
    )
    if (size := len(encode(event.detail))) > MAXIMUM_DETAIL_BYTES:
        raise UnreadableEvent(f"the event would have {size} bytes; it may have {MAXIMUM_DETAIL_BYTES}")
    return event


def encode(document: Any) -> bytes:
    """Encode a document as compact JSON in UTF-8."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def delivery_completed(order: Event, *, delivered_at: datetime, attempts: int) -> Event:
    """Make the event that says that the courier took an order."""
    moment = delivered_at.astimezone(UTC).isoformat(timespec="milliseconds")
    return _follow_up(order, DELIVERY_COMPLETED, {"delivered_at": moment, "attempts": attempts})


def delivery_failed(order: Event, *, outcome: str, reason: str, attempts: int) -> Event:
    """Make the event that says that an order went to the dead-letter queue."""
    return _follow_up(order, DELIVERY_FAILED, {"outcome": outcome, "reason": reason, "attempts": attempts})


def circuit_changed(
    state: str, *, owner: str, version: int, reason: str, cause: str, since: str, failures: int, changed_at: datetime
) -> Event:
    """Make the event that says that the circuit has a new state.

    Its event id follows from owner and version, so a transition that is told twice is one event.

    Args:
        state: The new state.
        owner: The execution that made the transition; its last part is the correlation id of all its transitions.
        version: Which transition of the circuit it is.
        reason: Why the circuit opened, or what a person said.
        cause: What started the execution: alarm, person, watchdog or handover.
        since: When the circuit was last closed, in ISO 8601.
        failures: Rounds of probes that have failed.
        changed_at: When the transition was made.
    """
    return Event(
        detail_type=CIRCUIT_CHANGED[state],
        correlation_id=owner.rpartition(":")[2],
        event_id=str(uuid.uuid5(_EVENT_IDS, f"{owner}/{version}")),
        received_at=changed_at.astimezone(UTC).isoformat(timespec="milliseconds"),
        data={
            "state": state,
            "version": version,
            "reason": reason,
            "cause": cause,
            "since": since,
            "failures": failures,
            "owner": owner,
        },
    )


def _follow_up(order: Event, detail_type: str, data: dict[str, Any]) -> Event:
    return Event(
        detail_type=detail_type,
        correlation_id=order.correlation_id,
        event_id=str(uuid.uuid5(_EVENT_IDS, f"{order.event_id}/{detail_type}")),
        received_at=order.received_at,
        data={"order_id": order.order_id, **data},
    )


def read_event(envelope: Any, detail_type: str) -> Event:
    """Read an EventBridge event of a detail type.

    Args:
        envelope: The event as EventBridge delivers it.
        detail_type: The detail type that the consumer understands.

    Raises:
        UnreadableEvent: It is no such event, has a schema version that is not known here, or breaks its schema.
    """
    if not isinstance(envelope, Mapping) or not isinstance(envelope.get("detail"), Mapping):
        raise UnreadableEvent("this is no event from the bus: it has no detail")
    if envelope.get("detail-type") != detail_type:
        raise UnreadableEvent(f"detail-type must be {detail_type}")
    detail = envelope["detail"]
    metadata = detail.get("metadata")
    version = metadata.get("schema_version") if isinstance(metadata, Mapping) else None
    if version != SCHEMA_VERSION:
        shown = repr(version) if _VERSION.fullmatch(str(version)) else "no version"
        raise UnreadableEvent(f"detail.metadata.schema_version is {shown}; this consumer reads {SCHEMA_VERSION!r}")
    check(detail_type, detail)
    return Event(
        detail_type=detail_type,
        correlation_id=metadata["correlation_id"],
        event_id=metadata["event_id"],
        received_at=metadata["received_at"],
        data=detail["data"],
        replay=replay_of(envelope),
    )


def replay_of(envelope: Mapping[str, Any]) -> str:
    """Return the name of the replay that an event comes from; empty if it comes from none.

    EventBridge adds ``replay-name`` to what it replays ("Archiving and replaying events", EventBridge user guide).
    """
    name = envelope.get("replay-name")
    return name if isinstance(name, str) else ""


def read_json(text: str) -> Any:
    """Decode the JSON text of a message.

    Raises:
        UnreadableEvent: It is not JSON, or JSON that no consumer could pass on; the error tells where if it can, and
            shows nothing of the text.
    """
    try:
        document = json.loads(text, parse_constant=_refuse, parse_float=_number, parse_int=_integer)
        # Characters can be escaped in JSON that cannot be encoded again, or that SQS refuses.
        if "\\u" in text and _NO_CHARACTERS.search(encode(document).decode()):
            raise UnreadableEvent("the message holds U+FFFE or U+FFFF, which are no characters")
    except UnicodeEncodeError:
        raise UnreadableEvent("the message holds half of a surrogate pair, which is no character") from None
    except RecursionError:
        raise UnreadableEvent(_TOO_DEEP) from None
    except ValueError as error:
        place = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise UnreadableEvent(f"the message is not JSON{place}") from None
    if _deeper(document, MAXIMUM_DEPTH):
        raise UnreadableEvent(_TOO_DEEP)
    return document


def _refuse(_constant: str) -> None:
    raise ValueError("NaN and Infinity are no JSON")


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise UnreadableEvent("the message holds a number that is too large")
    return number


def _integer(text: str) -> int:
    # Longer ones are refused before int() looks at them; EventBridge takes 64 bits.
    if len(text) > 20 or not -(2**63) <= (number := int(text)) < 2**63:
        raise UnreadableEvent("the message holds a whole number of more than 64 bits")
    return number


def _deeper(document: Any, levels: int) -> bool:
    if not isinstance(document, dict | list):
        return False
    if levels == 0:
        return True
    return any(_deeper(item, levels - 1) for item in (document.values() if isinstance(document, dict) else document))


def check(name: str, document: Any) -> None:
    """Hold a document to ``schemas/<name>.json``.

    Raises:
        UnreadableEvent: Naming the first field that breaks a rule, and the rule.
    """
    try:
        _validator(name)(document)
    except fastjsonschema.JsonSchemaValueException as error:
        raise UnreadableEvent(_explain(name, error)) from None


def _explain(name: str, error: fastjsonschema.JsonSchemaValueException) -> str:
    # The library's message can show the value, which may be somebody's address.
    field = ".".join([name, *(str(step) for step in error.path[1:])])
    if error.rule == "required":
        missing = [key for key in error.rule_definition if key not in error.value]
        return f"{field} must contain {', '.join(missing)}"
    return f"{field} breaks the rule {error.rule}: {json.dumps(error.rule_definition)}"


@cache
def _validator(name: str) -> Callable[[Any], Any]:
    return fastjsonschema.compile(_read_schema(f"hub:{name}.json"), handlers={"hub": _read_schema})


def _read_schema(address: str) -> Any:
    return json.loads((_SCHEMAS / address.removeprefix("hub:")).read_text())
