"""hub.dead_letters: what letters of every kind tell, and looking at them without taking them away."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.dead_letters import Look, Redriven, count, read_homes, read_letter
from tests.unit.aws import AwsErrors, Queue
from tests.unit.letters import EVENT_BUS, HUB, INVOCATION, STREAM, a_letter, an_ingest_letter
from tests.unit.orders import CORRELATION_ID, PRIVATE, RECEIVED_AT, an_envelope, an_order, correlation_of

FIRST = "2026-11-21T09:14:02.481+00:00"


def test_a_letter_of_the_hub_tells_outcome_reason_answer_and_tries() -> None:
    letter = read_letter(a_letter(attributes=HUB, SentTimestamp="1795252500000"))
    assert (letter.outcome, letter.reason, letter.answer) == ("permanent", "HTTP 422", "not deliverable")
    assert (letter.correlation_id, letter.order_id, letter.tries) == (CORRELATION_ID, "ord-1", 3)
    assert letter.first_at == datetime.fromisoformat(FIRST)
    assert letter.died_at == datetime.fromtimestamp(1795252500, UTC)


def test_a_letter_of_the_event_bus_tells_target_error_and_attempts() -> None:
    letter = read_letter(a_letter(attributes=EVENT_BUS))
    assert letter.cause == "undelivered: NO_PERMISSIONS: SQS refused"
    assert (letter.target, letter.tries) == (EVENT_BUS["TARGET_ARN"], 186)
    assert letter.correlation_id == correlation_of(an_order())
    assert letter.first_at == datetime(2026, 11, 21, 9, 14, 2, tzinfo=UTC)


def test_a_record_of_a_failed_invocation_tells_what_the_function_said() -> None:
    letter = read_letter(a_letter(json.dumps(INVOCATION)))
    assert letter.cause == "failed: RetriesExhausted: ValueError: no way"
    assert (letter.tries, letter.order_id) == (3, "ord-1")
    assert letter.died_at == datetime(2026, 11, 21, 9, 30, tzinfo=UTC)


def test_a_record_of_a_stream_tells_when_its_first_record_came() -> None:
    letter = read_letter(a_letter(json.dumps(STREAM)))
    assert letter.cause == "failed: RetryAttemptsExhausted"
    assert letter.first_at == datetime(2026, 11, 21, 9, 20, tzinfo=UTC)
    assert STREAM["DDBStreamBatchInfo"]["shardId"] in letter.shown  # type: ignore[index]


def test_what_sqs_moved_has_no_reason_but_a_number_of_receives() -> None:
    body, attributes = an_ingest_letter()
    letter = read_letter(a_letter(body, attributes))
    assert letter.outcome == "unknown"
    assert "no reason was recorded" in letter.reason
    assert (letter.tries, letter.died_at, letter.first_at) == (7, None, RECEIVED_AT)
    assert (letter.correlation_id, letter.order_id) == (CORRELATION_ID, "ord-1")


def test_nothing_private_is_shown() -> None:
    told = HUB | {"reason": f"{PRIVATE['name']} is not at home", "redriven": "{}"}
    letter = read_letter(a_letter(attributes=told))
    assert letter.reason == "[redacted] is not at home"
    assert not [text for text in PRIVATE.values() if text in letter.shown]
    assert '"order_id":"ord-1"' in letter.shown


@pytest.mark.parametrize("body", ["", "{not JSON", '"Ada, 1 Main Street', "[" * 100_000, "Ada Lovelace, London"])
def test_of_an_unreadable_body_size_and_fingerprint_are_shown(body: str) -> None:
    letter = read_letter(a_letter(body))
    assert letter.shown.startswith(f"[{len(body)} bytes, sha256 ")
    assert letter.correlation_id is None


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3))
NAMES = st.sampled_from(["detail", "metadata", "requestContext", "condition", "responsePayload", "data", "timestamp"])


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", '"x"', "[]", "9" * 4000])
def test_a_number_that_is_none_counts_as_one_try(number: str) -> None:
    record = f'{{"requestContext": {{"condition": "RetriesExhausted", "approximateInvokeCount": {number}}}}}'
    assert read_letter(a_letter(record)).tries == (int(number) if number.isdecimal() else 1)


def test_times_are_in_utc_and_those_of_no_calendar_are_unknown() -> None:
    record = INVOCATION | {"timestamp": "2026-11-21T11:30:00+02:00"}
    assert read_letter(a_letter(json.dumps(record))).died_at == datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
    assert str(read_letter(a_letter(json.dumps(record))).died_at).endswith("+00:00")
    out_of_range = json.dumps(INVOCATION | {"timestamp": "0001-01-01T00:00:00+14:00"})
    letter = read_letter(a_letter(out_of_range, SentTimestamp="1795252500000"))
    assert letter.died_at == letter.sent_at


@given(text=st.text(st.characters(), min_size=1))
def test_whatever_is_shown_is_one_line_that_can_be_sent(text: str) -> None:
    body = json.dumps({"order_id": text, "sku": text, "detail": {"metadata": {"correlation_id": text}}})
    letter = read_letter(a_letter(body, HUB | {"reason": text, "answer": text, "correlation_id": ""}))
    for shown in (letter.cause, letter.answer, letter.correlation_id, letter.order_id, letter.shown):
        assert str(shown).isprintable()
        assert str(shown).encode()


@given(
    body=st.text() | st.recursive(JSON, lambda inner: st.dictionaries(NAMES, inner, max_size=4)).map(json.dumps),
    attributes=st.dictionaries(st.sampled_from([*HUB, *EVENT_BUS, "redriven"]), st.text(), max_size=16),
    system=st.dictionaries(st.sampled_from(["SentTimestamp"]), st.text(max_size=20)),
)
def test_any_letter_can_be_read(body: str, attributes: dict[str, str], system: dict[str, str]) -> None:
    letter = read_letter(a_letter(body, attributes, **system))
    assert isinstance(letter.shown, str)
    assert letter.tries is not None


@pytest.mark.parametrize(
    ("told", "for_good"),
    [
        ({}, True),
        ({"outcome": "poison"}, True),
        ({"reason": "given up after 100 receives; last: unhealthy, HTTP 500"}, False),
        ({"outcome": "undelivered"}, False),
    ],
)
def test_what_was_only_given_up_was_not_refused_for_good(told: dict[str, str], for_good: bool) -> None:
    assert read_letter(a_letter(attributes=HUB | told)).refused_for_good is for_good


def test_it_is_visible_how_often_a_letter_was_sent_again() -> None:
    again = Redriven(2, "2026-11-21T10:00:00+00:00", "execution-1")
    assert read_letter(a_letter(attributes={"redriven": again.encode()})).redriven == again
    for other in ("", "2 times", "[]", '{"times": "x"}', '{"times": 1}', '{"times": 1e999, "at": "", "by": ""}'):
        assert read_letter(a_letter(attributes={"redriven": other})).redriven is None


def test_homes_are_read_from_a_setting() -> None:
    homes = read_homes(
        "sales=https://q/dead>https://q/sales, event-bus=https://q/bus>*,stream=https://q/stream!mend,old=https://q/old,"
    )
    assert [(home.name, home.url, home.source, home.way("hub")) for home in homes.values()] == [
        ("sales", "https://q/dead", "https://q/sales", "make redrive QUEUE=sales STACK=hub"),
        ("event-bus", "https://q/bus", "*", "make redrive QUEUE=event-bus STACK=hub"),
        ("stream", "https://q/stream", "", "make mend STACK=hub"),
        ("old", "https://q/old", "", "docs/dead-letters.md, old"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "sales",
        "=https://q",
        "sales=>https://q/sales",
        "a=https://q,a=https://r",
        "a=!mend",
        "a=https://q!mend>https://r",
    ],
)
def test_a_malformed_setting_names_its_entry(text: str) -> None:
    with pytest.raises(ValueError, match="DEAD_LETTER_QUEUES has '"):
        read_homes(text)


# ---------------------------------------------------------------------------------------------------- looking


@pytest.fixture
def letters(aws: None) -> Queue:
    queue = Queue("letters")
    queue.send(*(f"letter {number}" for number in range(25)))
    return queue


def look(queue: Queue, most: int = 100, **more: Any) -> Look:
    return Look(boto3.client("sqs"), queue.url, most=most, **more)


def test_a_look_shows_every_letter_once_and_leaves_all_of_them(letters: Queue) -> None:
    with look(letters) as looking:
        assert {message["Body"] for message in looking} == {f"letter {number}" for number in range(25)}
        assert looking.exhausted
        assert letters.take() == [], "nobody else sees them meanwhile"
    assert len(letters.take()) == 25


def test_a_look_ends_after_as_many_as_were_asked_for(letters: Queue) -> None:
    with look(letters, most=12) as looking:
        assert len(list(looking)) == 12
        assert not looking.exhausted
    assert len(letters.take()) == 25


def test_a_look_ends_when_its_time_is_over(letters: Queue) -> None:
    now = iter([0.0, 1.0, 2.0, 99.0])
    with look(letters, seconds=20, clock=lambda: next(now)) as looking:
        assert len(list(looking)) == 20
        assert not looking.exhausted


def test_what_is_removed_is_gone_and_the_rest_is_not(letters: Queue) -> None:
    with look(letters) as looking:
        for position, message in enumerate(looking):
            if position % 2:
                looking.remove(message)
    assert len(letters.take()) == 13


def test_letters_are_let_go_when_the_looker_fails(letters: Queue) -> None:
    def fail() -> None:
        with look(letters) as looking:
            next(iter(looking))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert len(letters.take()) == 25


def test_what_cannot_be_let_go_is_hidden_for_two_minutes_and_no_error(letters: Queue, aws_errors: AwsErrors) -> None:
    aws_errors.refuse("ChangeMessageVisibilityBatch", times=1)
    with look(letters) as looking:
        list(looking)
    hidden = [seconds for seconds in letters.hidden_seconds().values() if seconds]
    assert len(hidden) == 10
    assert max(hidden) <= 120


def test_hidden_letters_count(letters: Queue) -> None:
    with look(letters, most=5) as looking:
        list(looking)
        assert count(boto3.client("sqs"), letters.url) == 25


def test_a_letter_that_comes_twice_is_shown_once(letters: Queue, aws_errors: AwsErrors) -> None:
    same = a_letter("twice", message_id="same")
    answers = iter([{"Messages": [same]}, {"Messages": [same]}, {}])
    aws_errors.on("ReceiveMessage", lambda _parameters, _proceed: next(answers))
    aws_errors.on("ChangeMessageVisibilityBatch", lambda _parameters, _proceed: {"Successful": [], "Failed": []})
    with look(letters) as looking:
        assert len(list(looking)) == 1


def test_an_envelope_is_what_the_letter_shows() -> None:
    assert json.loads(read_letter(a_letter()).shown)["detail"]["metadata"] == an_envelope()["detail"]["metadata"]
