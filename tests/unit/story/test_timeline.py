"""The story that recorded log lines tell, at its end and on the way there."""

from __future__ import annotations

import itertools
import json
import random
import re

import pytest

from local.story.search import Line, read_line
from local.story.timeline import Mark, Story, tell
from local.story.verdict import State
from tests.unit.orders import PRIVATE
from tests.unit.story.recorded_lines import Recording, recording

LATER = 3600.0


def story_of(name: str, *, at: float | None = None, circuit: str = "closed", flow_control: bool = True) -> Story:
    """Tell a recorded story, as it was some seconds after its first line, or long after its end."""
    lines = recording(name) if at is None else recording(name).until(at)
    now = lines.order[0].at + (LATER if at is None else at)
    return told(lines, now=now, circuit=circuit, flow=flow_control)


def told(lines: Recording, *, now: float, circuit: str = "closed", flow: bool = True) -> Story:
    return tell(
        lines.correlation_id,
        lines.order,
        now=now,
        circuit_lines=lines.circuit,
        circuit=circuit,
        flow_control=flow,
    )


def without_moment(line: Line) -> dict[str, object]:
    """Return a line's fields, to be written at another time."""
    return {key: value for key, value in line.fields.items() if key != "timestamp"}


def texts(story: Story, service: str) -> list[str]:
    return [step.text for step in story.steps if step.service == service]


# -------------------------------------------------------------------------------------------- tried again, delivered


def test_an_order_that_was_tried_again_three_times_tells_each_try() -> None:
    story = story_of("retried")
    assert texts(story, "delivery") == [
        "try 1 (receive 1): unhealthy, HTTP 500 after 2.1 s; next try in about 1 s",
        "try 2 (receive 2): unhealthy, HTTP 500 after 0.8 s; next try in about 1 s",
        "try 3 (receive 3): unhealthy, HTTP 500 after 0.2 s; next try in about 5 s",
        "try 4 (receive 4): delivered, HTTP 201 after 1.2 s",
    ]
    assert texts(story, "courier") == [
        *(f"answers call {number} with HTTP 500" for number in (1, 2, 3)),
        "answers call 4 with HTTP 201",
    ]
    assert (story.order_id, story.tries, story.verdict.state) == ("ord-2", 4, State.DELIVERED)
    assert story.verdict.text == "delivered after 14.1 s with 4 tries"


def test_a_story_begins_with_its_receipt_and_goes_forward() -> None:
    story = story_of("retried")
    assert [step.service for step in story.steps][:3] == ["api", "notification", "sales"]
    assert story.steps[0].at == story.received_at
    assert story.steps == sorted(story.steps, key=lambda step: step.at)


def test_each_try_waits_for_what_the_one_before_said() -> None:
    story = story_of("retried")
    tries = [step for step in story.steps if step.service == "delivery"]
    for before, after in itertools.pairwise(tries):
        took, wait = re.findall(r"([\d.]+) s", before.text)
        assert after.at - before.at >= float(took) + float(wait) - 0.6, "visibility is set in whole seconds"


def test_the_order_in_which_lines_are_found_does_not_matter() -> None:
    lines = recording("probed")
    shuffled = random.Random(1).sample(lines.order, len(lines.order))
    now = lines.order[0].at + LATER
    assert told(Recording(shuffled, lines.circuit), now=now).steps == told(lines, now=now).steps


def test_probes_of_the_circuit_breaker_stand_between_its_changes() -> None:
    story = story_of("probed")
    assert [re.sub(r":.*", "", text) for text in texts(story, "circuit")] == ["open", "half-open", "open", "half-open"]
    probes = [text for text in texts(story, "delivery") if "probe" in text]
    assert [text.rpartition(" ")[2] for text in probes] == ["sick", "sick", "sick", "healthy"]
    assert story.verdict.text == "delivered after 49.9 s with 8 tries"


def test_what_the_circuit_did_after_the_end_is_another_story() -> None:
    states = [line.get("state") for line in recording("probed").circuit]
    assert "ramping" in states, "it was recorded"
    assert "ramping" not in texts(story_of("probed"), "circuit")


def test_a_replay_to_sales_does_not_make_the_circuit_part_of_the_story() -> None:
    lines = recording("probed")
    replayed = [
        read_line(line.group, line.at + 600, json.dumps(without_moment(line) | {"function_request_id": "replayed"}))
        for line in lines.order
        if line.group == "SalesLogGroup" and line.fields
    ]
    assert replayed
    story = told(Recording([*lines.order, *replayed], lines.circuit), now=lines.order[0].at + LATER)
    assert len(texts(story, "sales")) == 2
    assert "ramping" not in texts(story, "circuit")


# --------------------------------------------------------------------------------------------------------- on the way


@pytest.mark.parametrize(
    ("at", "verdict"),
    [
        (0.0, "waiting: stored 0 s ago, and not told to the company yet"),
        (0.3, "waiting: told to the company 0 s ago, and not tried yet"),
        (1.5, "waiting: a delivery began 1 s ago"),
        (3.4, "waiting: next try in about 1 s"),
        (9.5, "waiting: next try in about 3 s"),
    ],
)
def test_an_order_that_waits_says_for_what(at: float, verdict: str) -> None:
    story = story_of("retried", at=at)
    assert (story.verdict.state, story.verdict.text) == (State.WAITING, verdict)


def test_a_try_that_is_due_says_for_how_long() -> None:
    lines = recording("retried").until(9.5)
    assert told(lines, now=lines.order[0].at + 60).verdict.text == "waiting: next try is due for 47 s"


def test_an_order_behind_an_open_circuit_waits_for_the_circuit() -> None:
    story = story_of("probed", at=21.0, circuit="open")
    assert story.verdict.text == "waiting: the circuit is open, so only probes are delivered"
    untried = story_of("probed", at=0.1, circuit="half-open")
    assert untried.verdict.text == "waiting: the circuit is half-open, so only probes are delivered"


# ----------------------------------------------------------------------------------------------------------- bad ends


def test_an_order_that_the_courier_refuses_ends_as_a_dead_letter_with_the_reason() -> None:
    story = story_of("refused_by_courier")
    assert story.verdict.state is State.DEAD_LETTER
    assert story.verdict.text == "dead letter because HTTP 422 (permanent), after 1 try"
    assert [step.text for step in story.steps if step.mark is Mark.BAD][-1] == "dead letter: HTTP 422 (permanent)"


def test_a_dead_letter_that_is_sent_again_and_delivered_is_delivered() -> None:
    """The way back from the dead-letter queue is another record of the same order."""
    redriven = [
        read_line(line.group, line.at + 600, json.dumps(without_moment(line) | {"function_request_id": "redriven"}))
        for line in recording("retried").order
        if line.group == "DeliveryLogGroup" and line.get("attempt") == 4
    ]
    lines = [*recording("refused_by_courier").order, *redriven]
    story = tell("c", lines, now=lines[0].at + LATER)
    assert story.verdict.state is State.DELIVERED
    assert story.tries == 2


def test_without_flow_control_three_failed_invocations_lose_the_order() -> None:
    story = story_of("lost", flow_control=False)
    assert story.verdict.state is State.LOST
    assert story.tries == 3, "an invocation that Lambda tries again keeps its request id"
    assert texts(story, "delivery").count("the invocation failed: NotDelivered") == 3
    assert story_of("lost", at=70.0, flow_control=False).verdict.text == (
        "waiting: 2 of 3 invocations failed; Lambda tries again"
    )


@pytest.mark.parametrize(
    ("status", "advice"), [("400", "the sender's to mend"), ("429", "send it again"), ("503", "send it again")]
)
def test_an_order_that_the_api_refused_says_whose_turn_it_is(status: str, advice: str) -> None:
    api = recording("retried").order[0]
    assert api.group == "OrdersApiLogGroup"
    refused = read_line(api.group, api.at, api.text.replace('"status":"202"', f'"status":"{status}"'))
    story = tell("c", [refused], now=api.at + 1)
    assert story.verdict.state is State.REFUSED
    assert advice in story.verdict.text
    assert story.steps[0].mark is Mark.BAD


def test_an_invocation_that_died_is_told() -> None:
    """Lambda's own line has no correlation id; it is found by the request id."""
    lines = recording("retried").until(1.5)
    [start] = [line for line in lines.order if line.group == "DeliveryLogGroup"]
    request_id = start.get("function_request_id")
    died = Line(start.at + 30, start.group, f"2026-11-21T11:19:48.000Z {request_id} Task timed out after 30.00 seconds")
    story = told(Recording([*lines.order, died], []), now=start.at + 40)
    assert texts(story, "delivery") == [
        "order.notified: began, and did not end",
        "the invocation died; what it held comes back by itself",
    ]
    assert story.verdict.state is State.WAITING


def test_what_went_wrong_beside_the_delivery_is_not_left_out() -> None:
    lines = recording("retried")
    failure = json.dumps({"status": "FAILED", "reason": "no table"})[1:-1]
    failed = [
        read_line(line.group, line.at, line.text.replace('"status":"COMPLETED"', failure))
        if line.group == "SalesLogGroup"
        else line
        for line in lines.order
    ]
    story = tell(lines.correlation_id, failed, now=lines.order[0].at + LATER)
    assert story.verdict.text == "delivered after 14.1 s with 4 tries; but sales: failed, no table"


# ------------------------------------------------------------------------------------------------------------ privacy


@pytest.mark.parametrize("name", ["retried", "probed", "refused_by_courier", "lost"])
def test_a_story_shows_nothing_of_people(name: str) -> None:
    """Only chosen fields are shown, so that a line that slipped through redaction does no harm either."""
    lines = [
        read_line(line.group, line.at, json.dumps({**line.fields, "customer": PRIVATE, "body": json.dumps(PRIVATE)}))
        for line in recording(name).order
    ]
    shown = str(tell("c", lines, now=lines[0].at + LATER))
    assert not [value for value in PRIVATE.values() if value in shown]
