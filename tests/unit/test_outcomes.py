"""What a courier's answer means: the table of the design, status by status."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hub.outcomes import Outcome, classify, parse_retry_after

NOW = 1_795_252_442.0  # 2026-11-21T09:14:02Z


def expected(status: int, retry_after: float | None) -> Outcome:
    """The table in words: the first row that fits."""
    rows = [
        (200 <= status <= 299, Outcome.DELIVERED),
        (status == 429, Outcome.THROTTLED),
        (status == 503 and retry_after is not None, Outcome.THROTTLED),
        (status in (408, 425), Outcome.TRANSIENT),
        (400 <= status <= 499, Outcome.PERMANENT),
        (500 <= status <= 599, Outcome.UNHEALTHY),
        (True, Outcome.UNHEALTHY),  # informational answers and redirects: no courier that is well sends them
    ]
    return next(outcome for fits, outcome in rows if fits)


@pytest.mark.parametrize("retry_after", [None, 0.0, 7.0])
def test_every_status_has_its_class(retry_after: float | None) -> None:
    wrong = {
        status: classify(status, retry_after)
        for status in range(100, 600)
        if classify(status, retry_after) is not expected(status, retry_after)
    }
    assert not wrong, "the class decides between a retry, a dead letter and the circuit breaker"


def test_no_answer_at_all_is_the_couriers_illness() -> None:
    assert classify(None) is Outcome.UNHEALTHY


def test_503_without_retry_after_is_an_outage_and_with_it_a_request_to_slow_down() -> None:
    assert classify(503) is Outcome.UNHEALTHY
    assert classify(503, 0.0) is Outcome.THROTTLED, "Retry-After: 0 is a Retry-After"


def test_what_goes_back_to_the_queue() -> None:
    back = {outcome for outcome in Outcome if outcome.goes_back}
    assert back == {Outcome.THROTTLED, Outcome.UNHEALTHY, Outcome.TRANSIENT, Outcome.UNTRIED}


@given(st.integers(0, 10**9))
def test_retry_after_in_seconds(seconds: int) -> None:
    assert parse_retry_after(str(seconds), NOW) == seconds
    assert parse_retry_after(f" {seconds} ", NOW) == seconds, "spaces around a field value are no part of it"


@given(st.integers(0, 10**7))
def test_retry_after_as_an_http_date(seconds: int) -> None:
    assert parse_retry_after(formatdate(NOW + seconds, usegmt=True), NOW) == seconds


def test_retry_after_as_a_date_without_a_zone_is_utc() -> None:
    assert parse_retry_after("Sat, 21 Nov 2026 09:14:12", NOW) == 10.0


def test_a_date_that_has_passed_means_now() -> None:
    assert parse_retry_after(formatdate(NOW - 3600, usegmt=True), NOW) == 0.0


@pytest.mark.parametrize("value", [None, "", "soon", "-5", "1.5", "٣", "Sat, 99 Nov 2026 09:14:12 GMT", "1e3", "+3"])
def test_what_nobody_can_read_is_no_retry_after(value: str | None) -> None:
    assert parse_retry_after(value, NOW) is None


@example("Mon, 01 Jan 2024 00:00:00 +99999999999999999999")
@given(
    st.text(max_size=60)
    | st.from_regex(
        r"(Mon, )?\d{1,3} (Jan|Feb|Foo) \d{1,6} \d{1,3}:\d{1,3}:\d{1,3} ([+-]\d{1,30}|GMT|XYZ)", fullmatch=True
    )
)
def test_no_header_can_break_the_reader(value: str) -> None:
    seconds = parse_retry_after(value, NOW)
    assert seconds is None or seconds >= 0
