"""How a story ends, so far: the last line that people read first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from local.story.records import Record
from local.story.search import Line

DIRECT_INVOCATIONS = 3
"""An asynchronous invocation that fails is tried twice more ("Asynchronous error handling", Lambda developer guide)."""


class State(StrEnum):
    """How a story ends, so far."""

    DELIVERED = "delivered"
    REPEATED = "repeated"
    DEAD_LETTER = "dead letter"
    WAITING = "waiting"
    LOST = "lost"
    REFUSED = "refused"


@dataclass(frozen=True)
class Verdict:
    """How a story ends, so far, in one word and in one sentence."""

    state: State
    text: str


def judge(
    lines: Sequence[Line],
    records: Sequence[Record],
    received_at: float,
    tries: int,
    *,
    now: float,
    circuit: str = "closed",
    flow_control: bool = True,
) -> Verdict:
    """Say how the story ends, so far."""
    refused = next((line for line in lines if line.get("service") == "api" and line.get("status") != "202"), None)
    if refused is not None and not records:
        status = int(refused.get("status") or 0)
        advice = "send it again" if status == 429 or status >= 500 else "it is the sender's to mend"
        return Verdict(State.REFUSED, f"refused by the API with HTTP {status}, not stored: {advice}")
    deliveries = [record for record in records if record.service == "delivery"]
    completed = next((end for record in deliveries if (end := record.last("COMPLETED"))), None)
    aside = _aside(records)
    tried = f"{tries} {'try' if tries == 1 else 'tries'}"
    if completed is not None:
        if not tries:
            return Verdict(State.REPEATED, "a repeat: the courier had taken this order before, and was not asked again")
        return Verdict(State.DELIVERED, f"delivered after {completed.at - received_at:.1f} s with {tried}{aside}")
    path = [record for record in records if record.service in ("notification", "delivery")]
    last = max(path, key=lambda record: record.lines[-1].at, default=None)
    if last is None:
        return Verdict(State.WAITING, f"waiting: stored {now - received_at:.0f} s ago, and not told to the company yet")
    if letter := last.last("DEAD_LETTER"):
        because = f"{letter.get('reason')} ({letter.get('outcome')})"
        return Verdict(State.DEAD_LETTER, f"dead letter because {because}, after {tried}{aside}")
    if deliveries and not flow_control:
        return _judge_direct(deliveries, now)
    return Verdict(State.WAITING, f"waiting: {_waits_for(last, now, circuit)}{aside}")


def _waits_for(last: Record, now: float, circuit: str) -> str:
    """Say what an order waits for whose last record is this one."""
    if last.service == "notification" and not last.last("COMPLETED"):
        return f"the company could not be told of it {now - last.lines[-1].at:.0f} s ago; tried again by itself"
    if circuit in ("open", "half-open"):
        return f"the circuit is {circuit}, so only probes are delivered"
    if last.service == "notification":
        return f"told to the company {now - last.lines[-1].at:.0f} s ago, and not tried yet"
    if gone_back := last.last("RETRY"):
        left = gone_back.at + float(gone_back.get("retry_in_seconds")) - now
        return f"next try in about {left:.0f} s" if left > 0 else f"next try is due for {-left:.0f} s"
    return f"a delivery began {now - last.start.at:.0f} s ago"


def _judge_direct(deliveries: Sequence[Record], now: float) -> Verdict:
    if deliveries[-1].last("FAILED") is None:
        return Verdict(State.WAITING, f"waiting: a delivery began {now - deliveries[-1].start.at:.0f} s ago")
    if len(deliveries) >= DIRECT_INVOCATIONS:
        return Verdict(
            State.LOST, f"lost: Lambda has tried {DIRECT_INVOCATIONS} times, and without flow control nobody else will"
        )
    return Verdict(
        State.WAITING, f"waiting: {len(deliveries)} of {DIRECT_INVOCATIONS} invocations failed; Lambda tries again"
    )


def _aside(records: Sequence[Record]) -> str:
    """What went wrong beside the way to the courier."""
    ends = {record.service: record for record in records if record.service not in ("notification", "delivery")}
    texts = [
        f"; but {service}: {'dead letter' if bad.get('status') == 'DEAD_LETTER' else 'failed'}, {bad.get('reason')}"
        for service, record in ends.items()
        if (bad := record.last("DEAD_LETTER") or record.last("FAILED"))
    ]
    return "".join(texts)
