"""The story that log lines tell: one step after the other, and how it ends. Pure: lines in, story out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from local.story.search import PLATFORM_FAILURES, Line, in_order

DIRECT_INVOCATIONS = 3
"""An asynchronous invocation that fails is tried twice more ("Asynchronous error handling", Lambda developer guide)."""

SERVICES = {"slow-api": "courier"}
"""How people call a service whose log has another name for it."""

ACHIEVEMENTS = {
    "notification": "told the company: order.notified is on the bus",
    "sales": "kept for marketing",
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
    end = now if verdict.state is State.WAITING else ordered[-1].at
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
    if last.service == "notification":
        told = last.last("COMPLETED")
        text = "told to the company" if told else "the last attempt to tell the company of it failed"
        return Verdict(State.WAITING, f"waiting: {text} {now - last.lines[-1].at:.0f} s ago{aside}")
    if not flow_control:
        return _judge_direct(deliveries, now)
    return _judge_waiting(last, now, circuit, aside)


def _judge_waiting(last: Record, now: float, circuit: str, aside: str) -> Verdict:
    gone_back = last.last("RETRY")
    if circuit != "closed":
        return Verdict(State.WAITING, f"waiting: the circuit is {circuit}, so nobody is delivered to but probes{aside}")
    if gone_back is None:
        return Verdict(State.WAITING, f"waiting: a delivery began {now - last.start.at:.0f} s ago{aside}")
    left = gone_back.at + float(gone_back.get("retry_in_seconds")) - now
    when = f"next try in about {left:.0f} s" if left > 0 else f"next try is due for {-left:.0f} s"
    return Verdict(State.WAITING, f"waiting: {when}{aside}")


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


# ----------------------------------------------------------------------------------------------------------- steps


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
