"""Tells of the circuit: an event and a metric for every transition, and a message when people need to know."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from evidence import Evidence
from hub.circuit import State
from hub.event_bus import EventBus
from hub.events import circuit_changed
from hub.instrument import logger
from hub.measures import CIRCUIT, CIRCUIT_LEVEL, CIRCUIT_LEVELS, CIRCUIT_REPAIRED

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient

_MAXIMUM_SUBJECT_CHARACTERS = 100  # "Publish", SNS API reference

_HEADLINES = {
    State.OPEN: "Circuit opened: deliveries wait, nothing is lost",
    State.CLOSED: "Circuit closed: deliveries flow at full rate",
    State.BROKEN: "Circuit breaker in trouble: the watchdog takes over",
}
_ADVICE = {
    State.OPEN: (
        "The hub tries single orders by itself, and recovers by itself. Nothing needs to be done, unless you know "
        "better: docs/circuit-breaker.md, 'By hand'."
    ),
    State.CLOSED: "Nothing needs to be done.",
    State.BROKEN: (
        "The watchdog starts the circuit breaker again within two minutes. If this message comes again: "
        "docs/runbook.md, CircuitBreakerAlarm."
    ),
}


class People:
    """Whom to tell.

    Args:
        bus: Where every transition becomes an event.
        sns: A boto3 client of SNS.
        topic_arn: The topic that people have subscribed to.
        evidence: What to tell with it.
    """

    def __init__(self, bus: EventBus, sns: SNSClient, *, topic_arn: str, evidence: Evidence) -> None:
        self._bus = bus
        self._sns = sns
        self._topic_arn = topic_arn
        self._evidence = evidence

    def tell_transition(self, transition: dict[str, Any]) -> None:
        """Announce a transition. Each of the three ways is tried, whatever becomes of the others.

        Args:
            transition: ``state``, ``owner``, ``version``, ``reason``, ``cause``, ``since`` and ``failures`` of the
                circuit; ``told``, whether people know already that it is open; ``trouble``, if it is broken.

        Raises:
            RuntimeError: The event or the message was refused. To be told again, under the same event id.
        """
        state = State(transition["state"])
        CIRCUIT[state].add()
        CIRCUIT_LEVEL.add(CIRCUIT_LEVELS[state])
        facts = {key: transition[key] for key in ("reason", "cause", "since", "failures")}
        logger.info("CIRCUIT", state=state, owner=transition["owner"], version=transition["version"], **facts)
        event = circuit_changed(
            state, owner=transition["owner"], version=int(transition["version"]), changed_at=datetime.now(UTC), **facts
        )
        refused = self._bus.publish([event])
        if state in _HEADLINES and not (state is State.OPEN and transition["told"]):
            lines = [
                f"Reason: {facts['reason']}",
                f"Caused by: {facts['cause']}",
                f"Not closed since: {facts['since']}",
            ]
            lines += [f"Trouble: {transition['trouble']}"] if transition.get("trouble") else []
            self.message(_HEADLINES[state], [*lines, *self._evidence.gather(), "", _ADVICE[state]])
        if refused:
            raise RuntimeError(f"{event.detail_type} is not on the bus: {refused[0]}")

    def tell_repair(self, repair: str, wrong: str) -> None:
        """Say that the watchdog has mended a contradiction."""
        CIRCUIT_REPAIRED.add()
        logger.warning("CIRCUIT REPAIRED", repair=repair, wrong=wrong)
        lines = [f"What was wrong: {wrong}", f"What was done: {repair}", *self._evidence.gather()]
        self.message("Circuit repaired by the watchdog", lines)

    def message(self, headline: str, lines: list[str]) -> None:
        """Send people a message."""
        self._sns.publish(
            TopicArn=self._topic_arn, Subject=headline[:_MAXIMUM_SUBJECT_CHARACTERS], Message="\n".join(lines)
        )
