"""The rules of a replay: which window of the archive may go to which consumer. Pure decisions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

# "There may be a delay between an event being received on an event bus and the event arriving in the archive. We
# recommend you delay replaying archived events for 10 minutes" ("Archiving and replaying events", EventBridge user
# guide).
ARCHIVED_AFTER = timedelta(minutes=10)
# "StartReplay", EventBridge API reference: ReplayName.
_MOST_NAME_CHARACTERS = 64
_NOT_IN_A_NAME = re.compile(r"[^\w.-]", flags=re.ASCII)


class InvalidReplay(Exception):
    """A replay cannot be made like this; the message names the field and the rule."""


@dataclass(frozen=True)
class Window:
    """What is to be replayed, and to whom."""

    consumer: str
    begin: datetime
    end: datetime


def read_rules(text: str) -> dict[str, str]:
    """Read the setting ``REPLAY_RULES``, ``consumer=ARN of its rule`` with commas between.

    >>> read_rules("sales=arn:aws:events:eu-west-1:123456789012:rule/hub/sales")["sales"][:19]
    'arn:aws:events:eu-w'
    """
    return dict(entry.strip().split("=", 1) for entry in text.split(",") if entry.strip())


def read_window(given: Any, rules: Mapping[str, str], *, retention_days: float, now: datetime) -> Window:
    """Read what a person asks for.

    Args:
        given: ``rule``, ``from`` and ``to``.
        rules: The rules by which events may be replayed, by the name of the consumer.
        retention_days: How long the archive keeps an event.
        now: The present.

    Raises:
        InvalidReplay: Naming the first field that breaks a rule, and the rule.
    """
    if not isinstance(given, Mapping):
        raise InvalidReplay('the input must be an object such as {"rule": "sales", "from": "…", "to": "…"}')
    if unknown := sorted(given.keys() - {"rule", "from", "to"}):
        raise InvalidReplay(f"{unknown[0]} is no field; there are rule, from and to")
    consumer = given.get("rule")
    if not isinstance(consumer, str) or consumer not in rules:
        raise InvalidReplay(f"rule must be one of {', '.join(rules)}: consumers that know which orders they had")
    begin, end = (_moment(given, field) for field in ("from", "to"))
    if begin >= end:
        raise InvalidReplay("from must be before to")
    if end > now:
        raise InvalidReplay(f"to must not lie in the future; it is {now:%Y-%m-%dT%H:%M:%SZ} now")
    if now - begin > timedelta(days=retention_days):
        raise InvalidReplay(f"from must not be older than {retention_days:g} days, for which the archive keeps events")
    return Window(consumer, begin, end)


def replay_name(consumer: str, execution: str) -> str:
    """Return a name for a replay that is the same whenever the same execution starts it."""
    return f"{consumer}-{_NOT_IN_A_NAME.sub('-', execution)}"[:_MOST_NAME_CHARACTERS]


def _moment(given: Mapping[str, Any], field: str) -> datetime:
    try:
        moment = datetime.fromisoformat(given.get(field, ""))
        # In seconds, as EventBridge is asked for it.
        if moment.tzinfo is not None:
            return moment.astimezone(UTC).replace(microsecond=0)
    except (ValueError, TypeError, OverflowError):
        pass
    raise InvalidReplay(f"{field} must be a time such as 2026-11-21T09:00:00Z, with its time zone")
