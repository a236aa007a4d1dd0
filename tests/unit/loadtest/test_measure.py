from __future__ import annotations

from dataclasses import fields

import pytest

from loadtest import demo
from loadtest.executions import CourierCall, Invocation, RecordStatus
from loadtest.ledger import SentOrder
from loadtest.measure import Evidence, Figures, Measurement, summarise
from loadtest.target import CourierEntry

CONTRACT = [
    "sent",
    "accepted",
    "delivered",
    "lost",
    "duplicates",
    "dead_letters",
    "in_flight",
    "p50_delay_s",
    "p95_delay_s",
    "courier_calls",
    "throttled_share",
    "peak_concurrency",
    "worst_window_success",
    "invocations",
    "billed_seconds_per_order",
]


def order(name: str, sent_at: float, status: int | None = 202) -> SentOrder:
    return SentOrder(name, sent_at, status, f"c-{name}" if status == 202 else None)


def without_flow_control() -> Evidence:
    """Order a is delivered at the second call, b fails three times, c twice, d is refused by the API."""
    calls = [CourierCall(1000, "c-a", "a1", "unhealthy"), CourierCall(1001, "c-a", "a1", "delivered")]
    calls += [CourierCall(1002, f"c-{name}", f"{name}{n}", "throttled") for name, n in ("b1", "b2", "b3", "c1", "c2")]
    invocations = [Invocation("a1", 1000, 1002, 2.0)]
    invocations += [
        Invocation(f"{name}{n}", 1000 + int(n), 1003 + int(n), 3.0, failed=True)
        for name, n in ("b1", "b2", "b3", "c1", "c2")
    ]
    statuses = [RecordStatus(f"c-{i.request_id[0]}", i.request_id, "START") for i in invocations]
    return Evidence(
        sent=[order("a", 1000), order("b", 1001), order("c", 1002), order("d", 1003, 429)],
        courier={"a": CourierEntry(1, 1001.5), "of an earlier run": CourierEntry(3, 5.0)},
        dead_letters={},
        side_dead_letters=0,
        waiting=0,
        invocations={"Delivery": invocations, "Sales": [Invocation("s", 1001, 1002, 1.0)]},
        calls=calls,
        statuses=[*statuses, RecordStatus("c-a", "a1", "COMPLETED")],
        spent_after=3,
    )


def with_flow_control(waiting: int) -> Evidence:
    """Order a is delivered, b is a dead letter, c waits."""
    return Evidence(
        sent=[order("a", 1000), order("b", 1001), order("c", 1002)],
        courier={"a": CourierEntry(2, 1004.0)},
        dead_letters={"m1": "b", "m2": None},
        side_dead_letters=1,
        waiting=waiting,
        invocations={"Delivery": [Invocation("x", 1000, 1004, 4.0)], "Sales": []},
        calls=[CourierCall(1003, "c-a", "x", "delivered")],
        statuses=[RecordStatus("c-a", "x", "COMPLETED")],
        spent_after=None,
    )


def measured(evidence: Evidence, *, drained: bool) -> Measurement:
    return summarise(evidence, drain_s=12.34, drained=drained)


def test_the_keys_are_those_of_the_contract() -> None:
    assert [field.name for field in fields(Figures)] == CONTRACT
    assert [key for key, _, _ in demo.ROWS] == CONTRACT


def test_figures_without_flow_control() -> None:
    figures = measured(without_flow_control(), drained=True).figures
    assert figures == Figures(
        sent=4,
        accepted=3,
        delivered=1,
        lost=2,
        duplicates=0,
        dead_letters=0,
        in_flight=0,
        p50_delay_s=1.5,
        p95_delay_s=1.5,
        courier_calls=7,
        throttled_share=pytest.approx(5 / 7, abs=1e-4),  # type: ignore[arg-type]
        peak_concurrency=5,
        worst_window_success=pytest.approx(1 / 6, abs=1e-4),  # type: ignore[arg-type]
        invocations=6,
        billed_seconds_per_order=pytest.approx(17 / 3, abs=1e-4),  # type: ignore[arg-type]
    )


def test_an_order_that_lambda_may_try_again_is_in_flight_until_the_run_has_drained() -> None:
    figures = measured(without_flow_control(), drained=False).figures
    assert (figures.in_flight, figures.lost) == (1, 1)


def test_figures_with_flow_control() -> None:
    figures = measured(with_flow_control(waiting=1), drained=False).figures
    assert (figures.delivered, figures.in_flight, figures.lost) == (1, 1, 0)
    assert figures.duplicates == 1
    assert figures.dead_letters == 3


def test_an_order_that_no_queue_holds_is_lost_with_flow_control_too() -> None:
    assert measured(with_flow_control(waiting=0), drained=True).figures.lost == 1


def test_details_and_series_count_from_the_first_order() -> None:
    measurement = measured(without_flow_control(), drained=True)
    assert measurement.details.failed_invocations == 5
    assert measurement.details.calls_by_outcome == {"delivered": 1, "throttled": 5, "unhealthy": 1}
    assert measurement.details.drain_s == 12.3
    assert measurement.concurrency[0] == (0, 1)
    assert measurement.delivered == [1.5]
    assert measurement.accepted == [0, 1, 2]
    assert measurement.meta()["series"]["concurrency"][0] == [0, 1]


def test_nothing_sent_gives_no_shares_instead_of_an_error() -> None:
    nothing = Evidence([], {}, {}, 0, 0, {"Delivery": [], "Sales": []}, [], [], None)
    figures = measured(nothing, drained=True).figures
    assert figures.throttled_share is None
    assert figures.billed_seconds_per_order is None
    assert figures.worst_window_success is None
