"""The story that log lines tell: one step after the other, and how it ends. Pure: lines in, story out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from local.story.records import Record, read_records
from local.story.search import PLATFORM_FAILURES, Line, in_order
from local.story.verdict import State, Verdict, judge

SERVICES = {"slow-api": "courier"}
"""How people call a service whose log has another name for it."""

ACHIEVEMENTS = {
    "notification": "told the company: order.notified is on the bus",
    "sales": "kept for marketing",
    "sales-export": "exported for marketing",
    "delivery": "settled",
}
"""What a service has done when it has completed an order."""


class Mark(StrEnum):
    """What a step means for the order."""

    GOOD = "good"
    BAD = "bad"
    WAIT = "wait"
    PLAIN = "plain"


@dataclass(frozen=True)
class Step:
    """One thing that happened, and when (epoch seconds)."""

    at: float
    service: str
    text: str
    mark: Mark = Mark.PLAIN


@dataclass(frozen=True)
class Story:
    """What became of one sending of an order.

    Attributes:
        correlation_id: The hub's name for it.
        order_id: The shop's name for the order; None if nothing that could read the order has logged it.
        received_at: When the API received it, or the first thing that is known of it; epoch seconds.
        steps: What happened, in order.
        tries: Calls to the courier.
        verdict: How it ends.
    """

    correlation_id: str
    order_id: str | None
    received_at: float
    steps: list[Step]
    tries: int
    verdict: Verdict


def tell(
    correlation_id: str,
    lines: Iterable[Line],
    *,
    now: float,
    circuit_lines: Sequence[Line] = (),
    circuit: str = "closed",
    flow_control: bool = True,
) -> Story:
    """Make the story of one sending of an order.

    Args:
        correlation_id: Which sending.
        lines: Its lines; at least one.
        now: Epoch seconds.
        circuit_lines: Changes of the circuit's state.
        circuit: The circuit's present state.
        flow_control: Whether the stack has flow control; without it Lambda itself repeats what failed.
    """
    ordered = in_order(lines)
    records = read_records(ordered)
    steps = [*_api(ordered), *_courier(ordered), *_deaths(ordered)]
    tries = 0
    for record in records:
        steps += _steps(record, tries)
        tries += len(record.calls)
    received_at = min([line.at for line in ordered] + [step.at for step in steps])
    verdict = judge(ordered, records, received_at, tries, now=now, circuit=circuit, flow_control=flow_control)
    # What comes later, such as a replay to sales, is not what the order waited for.
    way = [record.lines[-1].at for record in records if record.service in ("notification", "delivery")]
    end = now if verdict.state is State.WAITING else max(way, default=ordered[-1].at)
    steps += [_circuit(line) for line in circuit_lines if received_at <= line.at <= end]
    order_ids = [str(line.get("order_id")) for line in ordered if line.get("order_id")]
    return Story(
        correlation_id,
        order_ids[0] if order_ids else None,
        received_at,
        sorted(steps, key=lambda step: step.at),
        tries,
        verdict,
    )


def _api(lines: Iterable[Line]) -> Iterator[Step]:
    for line in lines:
        if line.get("service") == "api":
            accepted = line.get("status") == "202"
            reason = "" if accepted or line.get("error") in (None, "-") else f" ({line.get('error')})"
            text = f"{'accepted' if accepted else 'refused'}: HTTP {line.get('status')}{reason}"
            latency = f" within {line.get('response_latency')} ms"
            at = float(line.get("received_at")) / 1000
            yield Step(at, "api", text + latency, Mark.GOOD if accepted else Mark.BAD)


def _courier(lines: Iterable[Line]) -> Iterator[Step]:
    for line in lines:
        if line.get("service") == "slow-api" and line.get("message") == "delivery":
            again = ", and recognises the order: no second effect" if line.get("repeated") else ""
            text = f"answers call {line.get('call')} with HTTP {line.get('http_status')}{again}"
            yield Step(line.at, SERVICES["slow-api"], text)


def _deaths(lines: Iterable[Line]) -> Iterator[Step]:
    for line in lines:
        service = line.group.removesuffix("LogGroup").lower()
        if not line.fields and any(words in line.text for words in PLATFORM_FAILURES):
            yield Step(line.at, service, "the invocation died; what it held comes back by itself", Mark.BAD)
        elif line.get("status") == "TIMEOUT":
            yield Step(line.at, service, "the invocation is about to time out", Mark.BAD)


def _circuit(line: Line) -> Step:
    state = str(line.get("state"))
    text = f"{state}: {line.get('reason')}" if state == "open" else state
    return Step(line.at, "circuit", text, Mark.PLAIN if state == "closed" else Mark.WAIT)


def _steps(record: Record, tries_before: int) -> list[Step]:
    """Tell a record: each call to the courier, or the record as a whole, and then what came of it."""
    steps = [_call(line, number) for number, line in enumerate(record.calls, start=tries_before + 1)]
    if not steps:
        steps = [_whole(record)]
    if replay := record.start.get("replay"):
        steps[0] = replace(steps[0], text=f"{steps[0].text}; from the replay {replay}")
    if probe := record.last("PROBE"):
        steps[-1] = replace(steps[-1], text=f"{steps[-1].text}; a probe of the circuit breaker: {probe.get('verdict')}")
    if retry := record.last("RETRY"):
        steps[-1] = replace(steps[-1], text=f"{steps[-1].text}; next try in about {retry.get('retry_in_seconds')} s")
    for line in record.lines:
        if line.get("status") == "DEAD_LETTER":
            steps.append(_step(line, f"dead letter: {line.get('reason')} ({line.get('outcome')})", Mark.BAD))
        elif line.get("diagnostics") and line.get("status") == "FAILED":
            steps.append(_step(line, f"the invocation failed: {line.get('exception_name')}", Mark.BAD))
        elif line.get("level") in ("WARNING", "ERROR") and not line.get("status"):
            reason = f": {line.get('reason')}" if line.get("reason") else ""
            steps.append(_step(line, f"{line.get('message')}{reason}", Mark.BAD))
    return steps


def _call(line: Line, number: int) -> Step:
    seconds = float(line.get("duration_seconds") or 0.0)
    mark = {"delivered": Mark.GOOD, "permanent": Mark.BAD}.get(str(line.get("outcome")), Mark.WAIT)
    receive = f" (receive {line.get('attempt')})" if line.get("attempt") else ""
    answer = line.get("reason") or f"HTTP {line.get('http_status')}"
    asked = f", Retry-After {line.get('retry_after'):g} s" if line.get("retry_after") is not None else ""
    text = f"try {number}{receive}: {line.get('outcome')}, {answer} after {seconds:.1f} s{asked}"
    return Step(line.at - seconds, "delivery", text, mark)


def _whole(record: Record) -> Step:
    what = str(record.start.get("record"))
    notes = [
        f"{line.get('message')}{': ' + str(line.get('reason')) if line.get('reason') else ''}"
        for line in record.lines
        if not line.get("status") and line.get("level") == "INFO"
    ]
    if failed := record.last("FAILED"):
        return _step(record.start, f"{what}: {failed.get('reason') or 'failed'}", Mark.WAIT)
    if completed := record.last("COMPLETED"):
        if record.last("DEAD_LETTER"):
            return _step(record.start, f"{what}: cannot be handled", Mark.BAD)
        done = ACHIEVEMENTS.get(record.service, f"{what}: completed")
        return _step(completed, ", ".join([done, *notes]), Mark.GOOD)
    return _step(record.start, f"{what}: began, and did not end", Mark.WAIT)


def _step(line: Line, text: str, mark: Mark) -> Step:
    service = str(line.get("service"))
    return Step(line.at, SERVICES.get(service, service), text, mark)
