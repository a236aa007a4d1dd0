"""What a courier's answer means for the order, as pure rules that the functions and the twin share."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum


class Outcome(StrEnum):
    """The class of an attempt to deliver an order."""

    DELIVERED = "delivered"
    THROTTLED = "throttled"
    """We were too fast. The courier is well: this never opens the circuit."""
    UNHEALTHY = "unhealthy"
    """The courier failed. Tried again later, and counted for the circuit."""
    TRANSIENT = "transient"
    """This one call failed. Tried again later, and not counted for the circuit."""
    PERMANENT = "permanent"
    """The courier will never take this order as it is. To the dead-letter queue, without further tries."""
    POISON = "poison"
    """The message cannot be read. To the dead-letter queue, without a call."""
    UNTRIED = "untried"
    """There was no time left to call. Back to the queue as it was."""

    @property
    def goes_back(self) -> bool:
        """Whether the order returns to the queue."""
        return self in (Outcome.THROTTLED, Outcome.UNHEALTHY, Outcome.TRANSIENT, Outcome.UNTRIED)


_LONGEST_RETRY_AFTER_SECONDS = 1e9
_TRANSIENT_STATUSES = frozenset({408, 425})  # Request Timeout (RFC 9110), Too Early (RFC 8470)


def classify(status: int | None, retry_after: float | None = None) -> Outcome:
    """Classify a courier's answer.

    Args:
        status: HTTP status, or None if there was no answer (timeout, refused or broken connection).
        retry_after: Seconds that the answer's Retry-After header asks for, if it has one.
    """
    if status is None:
        return Outcome.UNHEALTHY
    if 200 <= status < 300:
        return Outcome.DELIVERED
    if status == 429 or (status == 503 and retry_after is not None):
        return Outcome.THROTTLED
    if status in _TRANSIENT_STATUSES:
        return Outcome.TRANSIENT
    if 400 <= status < 500:
        return Outcome.PERMANENT
    return Outcome.UNHEALTHY


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Return the seconds that a Retry-After header asks to wait, 0 or more and finite; None if it cannot be read.

    Args:
        value: The header: seconds or an HTTP date (RFC 9110, section 10.2.3).
        now: The time at which the answer arrived, in seconds since the epoch.
    """
    if value is None:
        return None
    value = value.strip()
    if value.isdecimal() and value.isascii():
        return min(float(value), _LONGEST_RETRY_AFTER_SECONDS)
    try:
        moment = parsedate_to_datetime(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        wait = (moment - datetime.fromtimestamp(now, UTC)).total_seconds()
    except (ValueError, OverflowError):
        return None
    return min(max(0.0, wait), _LONGEST_RETRY_AFTER_SECONDS)
