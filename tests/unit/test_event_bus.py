"""Publishing: few requests, failed entries again and only those, and a reason for each that stays behind."""

from __future__ import annotations

import copy
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.event_bus import ATTEMPTS, MAXIMUM_BYTES, MAXIMUM_ENTRIES, EventBus, entry_bytes
from hub.events import ORDER_NOTIFIED, Event
from tests.unit.aws import BUS, Bus
from tests.unit.orders import CORRELATION_ID, an_envelope, an_order


class FakeEventBridge:
    """Takes entries, as EventBridge does: at most ten and 256 KiB a request; refuses what it is told to."""

    def __init__(self, refuses: Callable[[str, int], bool] = lambda detail, attempt: False) -> None:
        self.requests: list[list[Any]] = []
        self.taken: list[str] = []
        self._refuses = refuses
        self._attempts: dict[str, int] = {}

    def put_events(self, Entries: list[Any]) -> dict[str, Any]:  # noqa: N803
        self.requests.append(copy.deepcopy(Entries))
        answers: list[dict[str, str]] = []
        for entry in Entries:
            detail = entry["Detail"]
            self._attempts[detail] = self._attempts.get(detail, 0) + 1
            if self._refuses(detail, self._attempts[detail]):
                answers.append({"ErrorCode": "ThrottlingException", "ErrorMessage": "Rate exceeded"})
            else:
                self.taken.append(detail)
                answers.append({"EventId": f"id-{len(self.taken)}"})
        return {"FailedEntryCount": sum("ErrorCode" in answer for answer in answers), "Entries": answers}


class BrokenEventBridge(FakeEventBridge):
    """Refuses whole requests that hold a certain entry, as when the request does not arrive."""

    def put_events(self, Entries: list[Any]) -> dict[str, Any]:  # noqa: N803
        if any("unlucky" in entry["Detail"] for entry in Entries):
            self.requests.append(Entries)
            raise ConnectionError("the request did not arrive")
        return super().put_events(Entries)


def event(name: str, size: int = 0) -> Event:
    return Event(ORDER_NOTIFIED, CORRELATION_ID, "event-id", "received", {"order_id": name, "padding": "x" * size})


def bus_on(client: Any, waits: list[float] | None = None) -> EventBus:
    return EventBus(BUS, client, sleep=(waits if waits is not None else []).append, random=Random(1))


@settings(max_examples=60)
@given(
    st.lists(
        st.integers(0, 400) | st.integers(20_000, 150_000) | st.sampled_from([26_000, 131_000, 255_000]), max_size=35
    )
)
def test_requests_stay_within_the_limits_and_carry_everything_once_in_order(sizes: list[int]) -> None:
    client = FakeEventBridge()
    events = [event(f"order-{index}", size) for index, size in enumerate(sizes)]
    assert bus_on(client).publish(events) == {}
    for request in client.requests:
        assert 1 <= len(request) <= MAXIMUM_ENTRIES == 10
        size: int = sum(entry_bytes(entry) for entry in request)
        assert size <= MAXIMUM_BYTES == 256 * 1024
    assert len(client.taken) == len(events)
    assert all(f'"order-{index}"' in detail for index, detail in enumerate(client.taken))


@given(st.integers(0, 200))
def test_small_events_fill_their_requests(count: int) -> None:
    client = FakeEventBridge()
    bus_on(client).publish([event(f"order-{index}") for index in range(count)])
    assert len(client.requests) == -(-count // MAXIMUM_ENTRIES), "each request costs time that somebody pays for"


def test_an_entrys_size_counts_bytes_and_not_characters() -> None:
    entry: Any = {"Source": "ab", "DetailType": "c", "Detail": "🎁é"}
    assert entry_bytes(entry) == 2 + 1 + 4 + 2


def test_an_event_too_large_for_any_request_goes_alone_and_fails_alone() -> None:
    client = BrokenEventBridge()
    events = [event("small-1"), event("unlucky", MAXIMUM_BYTES), event("small-2")]
    failures = bus_on(client).publish(events)
    assert failures.keys() == {1}, "its neighbours must not share its fate"
    assert "did not arrive" in failures[1]


def test_only_the_failed_entries_are_sent_again() -> None:
    client = FakeEventBridge(lambda detail, attempt: '"order-3"' in detail and attempt == 1)
    assert bus_on(client).publish([event(f"order-{index}") for index in range(7)]) == {}
    first, second = client.requests
    assert len(first) == 7
    assert [entry["Detail"] for entry in second] == [first[3]["Detail"]]


def test_an_entry_is_sent_three_times_at_most_and_then_given_back_with_the_reason() -> None:
    client = FakeEventBridge(lambda detail, attempt: '"order-1"' in detail)
    failures = bus_on(client).publish([event("order-0"), event("order-1"), event("order-2")])
    assert failures == {1: "ThrottlingException: Rate exceeded"}
    assert len(client.requests) == ATTEMPTS == 3


@settings(max_examples=60)
@given(st.lists(st.integers(0, 5), max_size=25))
def test_each_event_is_on_the_bus_or_named_with_a_reason_never_both_never_neither(refusals: list[int]) -> None:
    """The n-th event is refused as many times as the n-th number says."""

    def refuses(detail: str, attempt: int) -> bool:
        return any(f'"order-{index}"' in detail and attempt <= times for index, times in enumerate(refusals))

    client = FakeEventBridge(refuses)
    failures = bus_on(client).publish([event(f"order-{index}") for index in range(len(refusals))])
    taken = {index for index in range(len(refusals)) for detail in client.taken if f'"order-{index}"' in detail}
    assert failures.keys() == {index for index, times in enumerate(refusals) if times >= ATTEMPTS}
    assert taken == set(range(len(refusals))) - failures.keys()
    assert len(client.taken) == len(taken), "an event that was taken is not sent again"


def test_a_request_that_fails_does_not_take_the_others_with_it() -> None:
    client = BrokenEventBridge()
    events = [event("unlucky" if index == 4 else f"order-{index}") for index in range(25)]
    failures = bus_on(client).publish(events)
    assert failures.keys() == set(range(10)), "the ten of the first request, whose fate is not known"
    assert set(failures.values()) == {"ConnectionError: the request did not arrive"}
    assert len(client.taken) == 15


def test_waits_between_attempts_are_short_and_there_is_none_after_the_last() -> None:
    waits: list[float] = []
    bus_on(FakeEventBridge(lambda detail, attempt: True), waits).publish([event("order-1")])
    assert len(waits) == ATTEMPTS - 1
    assert all(0 <= wait <= 1 for wait in waits), "the function is paid for while it waits"


def test_nothing_to_publish_is_no_request_and_no_wait() -> None:
    waits: list[float] = []
    client = FakeEventBridge()
    assert bus_on(client, waits).publish([]) == {}
    assert client.requests == []
    assert waits == []


def test_success_at_once_waits_for_nothing() -> None:
    waits: list[float] = []
    bus_on(FakeEventBridge(), waits).publish([event("order-1")])
    assert waits == []


def test_on_aws_the_event_arrives_on_its_bus_with_source_type_and_detail(bus: Bus) -> None:
    import boto3

    detail = an_envelope(an_order())["detail"]
    metadata = detail["metadata"]
    sent = Event(ORDER_NOTIFIED, metadata["correlation_id"], metadata["event_id"], metadata["received_at"], an_order())
    assert EventBus(BUS, boto3.client("events")).publish([sent]) == {}
    [arrived] = bus.published()
    assert (arrived["source"], arrived["detail-type"]) == ("widgets.orders", ORDER_NOTIFIED)
    assert arrived["detail"] == detail


def test_an_error_of_the_sdk_is_a_reason_and_not_an_exception(aws_errors: Any, bus: Bus) -> None:
    import boto3

    aws_errors.refuse("PutEvents", "InternalException")
    failures = bus_on(boto3.client("events")).publish([event("order-1")])
    assert failures.keys() == {0}
    assert "InternalException" in failures[0]
    assert aws_errors.count("PutEvents") == ATTEMPTS


@pytest.mark.parametrize("message", ["", None])
def test_a_reason_without_a_message_is_still_a_reason(message: str | None) -> None:
    class Terse(FakeEventBridge):
        def put_events(self, Entries: list[Any]) -> dict[str, Any]:  # noqa: N803
            answer = {"ErrorCode": "InternalFailure"} | ({} if message is None else {"ErrorMessage": message})
            return {"FailedEntryCount": len(Entries), "Entries": [answer for _ in Entries]}

    assert "InternalFailure" in bus_on(Terse()).publish([event("order-1")])[0]
