"""The rules of a redrive: which letters go back, how many at a time, and when it ends. Pure decisions.

A redrive takes a step every few seconds. In each it sends as many letters as the rate allows, each with a delay of its
own, so that they come to their queue one after another and nothing waits on billed time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from hub.dead_letters import Home, Letter

STEP_SECONDS = 5
LEAST_RATE, DEFAULT_RATE, MOST_RATE = 0.1, 5.0, 20.0
_MOST_REASON_CHARACTERS = 200


class InvalidPlan(Exception):
    """A redrive cannot be made like this; the message names the field and the rule."""


@dataclass(frozen=True)
class Plan:
    """What a redrive is asked to do."""

    queue: str
    rate: float = DEFAULT_RATE
    """Letters a second."""
    only_reason: str = ""
    """Text that a letter's outcome and reason must contain, in any case; empty for every letter."""
    maximum: int | None = None
    """Letters to move at most; None for all."""

    def due(self, step: int, moved: int) -> int:
        """Return how many letters may move in a step.

        Args:
            step: Which step it is, from 0.
            moved: How many have moved so far.
        """
        each = self.rate * STEP_SECONDS
        due = math.ceil(each * (step + 1)) - math.ceil(each * step)
        return due if self.maximum is None else max(0, min(due, self.maximum - moved))

    def delay(self, position: int) -> int:
        """Return the seconds for which the letter at a position in its step, from 0, is held back in its queue."""
        return int(position / self.rate)

    def wants(self, letter: Letter) -> bool:
        """Whether a letter's outcome and reason are asked for."""
        return self.only_reason.casefold() in letter.cause.casefold()

    def document(self) -> dict[str, Any]:
        """Return the plan as JSON; ``read_plan`` reads it."""
        return {name: value for name, value in asdict(self).items() if value not in ("", None)}


def read_plan(given: Any, homes: Mapping[str, Home]) -> Plan:
    """Read what a person asks for.

    Args:
        given: ``queue``, and if wanted ``rate``, ``only_reason`` and ``maximum``.
        homes: The dead-letter queues, by name.

    Raises:
        InvalidPlan: Naming the first field that breaks a rule, and the rule.
    """
    if not isinstance(given, Mapping):
        raise InvalidPlan('the input must be an object such as {"queue": "delivery", "rate": 5}')
    if unknown := sorted(given.keys() - {"queue", "rate", "only_reason", "maximum"}):
        raise InvalidPlan(f"{unknown[0]} is no field; there are queue, rate, only_reason and maximum")
    queue, rate, maximum = given.get("queue"), given.get("rate", DEFAULT_RATE), given.get("maximum")
    only_reason = given.get("only_reason") or ""
    ways_back = [home.name for home in homes.values() if home.source]
    if not isinstance(queue, str) or queue not in homes:
        raise InvalidPlan(f"queue must be one of {', '.join(ways_back)}")
    if queue not in ways_back:
        raise InvalidPlan(f"queue {queue} has no queue to go back to; what puts it right: {homes[queue].way('…')}")
    if not _is_number(rate) or not LEAST_RATE <= rate <= MOST_RATE:
        raise InvalidPlan(f"rate must be a number from {LEAST_RATE:g} to {MOST_RATE:g}, in letters a second")
    if not isinstance(only_reason, str) or len(only_reason) > _MOST_REASON_CHARACTERS:
        raise InvalidPlan(f"only_reason must be a text of up to {_MOST_REASON_CHARACTERS} characters")
    if maximum is not None and not (_is_number(maximum) and maximum >= 1 and maximum == int(maximum)):
        raise InvalidPlan("maximum must be a whole number of letters, 1 or more")
    return Plan(queue, float(rate), only_reason.strip(), None if maximum is None else int(maximum))


def failed_again(letter: Letter, *, me: str, since: datetime) -> str | None:
    """Say why a letter shows that failures have returned; None if it is an old one.

    Args:
        letter: A letter of the queue that is being redriven.
        me: The execution that redrives it.
        since: When that began.
    """
    if letter.redriven and letter.redriven.by == me:
        return f"an order that was sent again is back: {letter.cause}"
    if letter.sent_at > since:
        return f"a new dead letter arrived: {letter.cause}"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
