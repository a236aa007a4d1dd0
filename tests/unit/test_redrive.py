"""hub.redrive and hub.replay: what may be asked for, and how a redrive keeps its rate. Pure rules."""

from __future__ import annotations

from bisect import bisect_left
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.dead_letters import Redriven, read_homes, read_letter
from hub.redrive import STEP_SECONDS, InvalidPlan, Plan, failed_again, read_plan
from hub.replay import InvalidReplay, read_rules, read_window, replay_name
from tests.unit.letters import HUB, a_letter
from tests.unit.orders import RECEIVED_AT

HOMES = read_homes("delivery=https://q/dead>https://q/delivery,stream=https://q/stream!export-replay")
RATES = st.floats(min_value=0.1, max_value=20.0)


def test_a_plan_is_read_and_written() -> None:
    given_ = {"queue": "delivery", "rate": 2, "only_reason": " HTTP 503 ", "maximum": 10}
    plan = read_plan(given_, HOMES)
    assert plan == Plan("delivery", 2.0, "HTTP 503", 10)
    assert read_plan(plan.document(), HOMES) == plan
    assert read_plan({"queue": "delivery"}, HOMES) == Plan("delivery", 5.0)


@pytest.mark.parametrize(
    ("given_", "says"),
    [
        ("delivery", "must be an object"),
        ({}, "queue must be one of delivery"),
        ({"queue": ["delivery"]}, "queue must be one of delivery"),
        ({"queue": "sales"}, "queue must be one of delivery"),
        ({"queue": "stream"}, "queue stream has no queue to go back to; what puts it right: make export-replay"),
        ({"queue": "delivery", "speed": 3}, "speed is no field"),
        ({"queue": "delivery", "rate": 0}, "rate must be a number from 0.1 to 20"),
        ({"queue": "delivery", "rate": 21}, "rate must be a number from 0.1 to 20"),
        ({"queue": "delivery", "rate": "5"}, "rate must be a number"),
        ({"queue": "delivery", "rate": float("nan")}, "rate must be a number"),
        ({"queue": "delivery", "rate": True}, "rate must be a number"),
        ({"queue": "delivery", "only_reason": 422}, "only_reason must be a text"),
        ({"queue": "delivery", "only_reason": "x" * 201}, "only_reason must be a text of up to 200"),
        ({"queue": "delivery", "maximum": 0}, "maximum must be a whole number"),
        ({"queue": "delivery", "maximum": 1.5}, "maximum must be a whole number"),
    ],
)
def test_what_cannot_be_done_is_named(given_: Any, says: str) -> None:
    with pytest.raises(InvalidPlan, match=says):
        read_plan(given_, HOMES)


@given(rate=RATES, steps=st.integers(1, 40))
def test_letters_come_at_the_rate_and_never_faster(rate: float, steps: int) -> None:
    """Letters of a window of any number of seconds: at most the rate, and the one that the window begins with."""
    plan = Plan("delivery", rate)
    times = [
        step * STEP_SECONDS + plan.delay(position)
        for step in range(steps)
        for position in range(plan.due(step, moved=0))
    ]
    assert times == sorted(times)
    assert len(times) == pytest.approx(rate * STEP_SECONDS * steps, abs=1)
    for seconds in (1, STEP_SECONDS, 7 * STEP_SECONDS):
        for begin in set(times):
            in_window = bisect_left(times, begin + seconds) - bisect_left(times, begin)
            assert in_window <= rate * seconds + 1 + rate, "delays are whole seconds"


@given(rate=RATES, step=st.integers(0, 2000))
def test_delays_end_with_their_step(rate: float, step: int) -> None:
    plan = Plan("delivery", rate)
    assert all(plan.delay(position) < STEP_SECONDS for position in range(plan.due(step, moved=0)))


def test_no_more_than_the_maximum_is_due() -> None:
    plan = Plan("delivery", 5.0, maximum=30)
    assert [plan.due(step, moved) for step, moved in ((0, 0), (1, 25), (2, 30))] == [25, 5, 0]


@pytest.mark.parametrize(
    ("only", "wanted"), [("", True), ("http 422", True), ("PERMANENT", True), ("permanent: HTTP", True), ("503", False)]
)
def test_a_reason_is_found_in_any_case(only: str, wanted: bool) -> None:
    assert Plan("delivery", only_reason=only).wants(read_letter(a_letter(attributes=HUB))) is wanted


def test_failures_that_return_are_seen() -> None:
    mine = Redriven(1, "2026-11-21T10:00:00+00:00", "me").encode()
    since = RECEIVED_AT + timedelta(hours=1)

    def verdict(attributes: dict[str, str], sent_at: datetime) -> str | None:
        letter = read_letter(
            a_letter(attributes=HUB | attributes, SentTimestamp=str(round(sent_at.timestamp() * 1000)))
        )
        return failed_again(letter, me="me", since=since)

    assert verdict({}, RECEIVED_AT) is None
    assert verdict({"redriven": mine.replace('"me"', '"another"')}, RECEIVED_AT) is None
    assert "sent again is back: permanent: HTTP 422" in str(verdict({"redriven": mine}, RECEIVED_AT))
    assert "a new dead letter arrived" in str(verdict({}, since + timedelta(seconds=1)))


# ----------------------------------------------------------------------------------------------------- replay

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
RULES = read_rules("sales=arn:aws:events:eu-west-1:1:rule/hub/sales, delivery=arn:aws:events:eu-west-1:1:rule/hub/d,")


def test_a_window_is_read_in_any_time_zone() -> None:
    given_ = {"rule": "sales", "from": "2026-11-21T10:00:00+02:00", "to": "2026-11-21T09:00:00Z"}
    window = read_window(given_, RULES, retention_days=14, now=NOW)
    assert (window.begin.hour, window.end.hour, window.consumer) == (8, 9, "sales")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"rule": "marketing"}, "rule must be one of sales, delivery"),
        ({"rule": None}, "rule must be one of"),
        ({"from": "yesterday"}, "from must be a time such as"),
        ({"from": 5}, "from must be a time such as"),
        ({"to": "2026-11-21T09:00:00"}, "to must be a time such as .* with its time zone"),
        ({"from": "2026-11-21T09:00:00Z"}, "from must be before to"),
        ({"to": "2026-11-21T12:00:01Z"}, "to must not lie in the future"),
        ({"from": "2026-11-07T11:59:59Z"}, "from must not be older than 14 days"),
        ({"from": "0001-01-01T00:00:00+14:00"}, "from must be a time such as"),
        ({"from": "2026-11-21T09:00:00.1Z", "to": "2026-11-21T09:00:00.9Z"}, "from must be before to"),
        ({"queue": "sales"}, "queue is no field"),
    ],
)
def test_a_window_that_cannot_be_replayed_is_refused(changes: dict[str, Any], says: str) -> None:
    given_ = {"rule": "sales", "from": "2026-11-21T08:00:00Z", "to": "2026-11-21T09:00:00Z"} | changes
    with pytest.raises(InvalidReplay, match=says):
        read_window(given_, RULES, retention_days=14, now=NOW)
    with pytest.raises(InvalidReplay, match="must be an object"):
        read_window([given_], RULES, retention_days=14, now=NOW)


@given(execution=st.text(min_size=1, max_size=80))
def test_a_replay_has_a_name_that_event_bridge_takes(execution: str) -> None:
    """ "StartReplay", EventBridge API reference: ReplayName."""
    name = replay_name("delivery", execution)
    assert name == replay_name("delivery", execution)
    assert 1 <= len(name) <= 64
    assert all(character.isascii() and (character.isalnum() or character in "._-") for character in name)
