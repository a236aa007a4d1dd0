from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest import executions
from loadtest.executions import Attempt, Invocation, RecordStatus

SECONDS = st.integers(0, 1000)
INVOCATIONS = st.lists(
    st.builds(
        lambda begin, length: Invocation("id", begin / 4, (begin + length) / 4, length / 4),
        SECONDS,
        st.integers(1, 200),
    ),
    max_size=30,
)


def invocation(request_id: str, end: float, *, failed: bool = False) -> Invocation:
    return Invocation(request_id, end - 1, end, 1, failed)


def test_executions_that_touch_do_not_overlap() -> None:
    steps = executions.concurrency([Invocation("a", 0, 2, 2), Invocation("b", 1, 3, 2), Invocation("c", 2, 4, 2)])
    assert steps == [(0, 1), (1, 2), (2, 2), (3, 1), (4, 0)]
    assert executions.peak(steps) == 2


def test_peak_of_nothing_is_zero() -> None:
    assert executions.peak(executions.concurrency([])) == 0


@given(INVOCATIONS)
def test_concurrency_equals_a_count_at_every_moment(invocations: list[Invocation]) -> None:
    steps = executions.concurrency(invocations)
    for moment, running in steps:
        assert running == sum(i.begin <= moment < i.end for i in invocations)
    assert not steps or steps[-1][1] == 0


def test_an_order_is_an_attempt_in_each_invocation() -> None:
    statuses = [
        RecordStatus("order-1", "first", "START"),
        RecordStatus("order-2", "first", "START"),
        RecordStatus("order-1", "first", "COMPLETED"),
        RecordStatus("order-2", "first", "FAILED"),
        RecordStatus("order-2", "second", "START"),
        RecordStatus("order-2", "second", "COMPLETED"),
        RecordStatus("order-3", "still running", "START"),
    ]
    made = executions.attempts(statuses, [invocation("second", 20), invocation("first", 10)])
    assert made == [Attempt("order-1", 10, True), Attempt("order-2", 10, False), Attempt("order-2", 20, True)]
    assert executions.failures_by_order(made) == {"order-2": 1}


def test_an_order_that_a_timeout_cut_off_is_a_failed_attempt() -> None:
    made = executions.attempts([RecordStatus("order", "cut", "START")], [invocation("cut", 60, failed=True)])
    assert made == [Attempt("order", 60, False)]


def test_worst_success_finds_the_bad_ten_seconds() -> None:
    good = [(float(second), True) for second in range(100)]
    bad = [(float(second), second % 5 == 0) for second in range(100, 110)]
    after = [(float(second), True) for second in range(110, 200)]
    assert executions.worst_success(good + bad + after) == pytest.approx(0.2)


def test_windows_with_few_results_say_nothing() -> None:
    sparse = [(0.0, True), (50.0, False), (100.0, True), (150.0, True)]
    assert executions.success_over_time(sparse) == []
    assert executions.worst_success(sparse) == 0.75
    assert executions.worst_success([]) is None


@given(st.lists(st.tuples(st.integers(0, 400), st.booleans()), max_size=80))
def test_success_over_time_equals_a_count_in_every_window(raw: list[tuple[int, bool]]) -> None:
    results = sorted((second / 4, success) for second, success in raw)
    shares = executions.success_over_time(results, window_s=10, least=1)
    assert len(shares) == len(results)
    for end, share in shares[-1:]:
        window = [success for second, success in results if end - 10 < second <= end]
        assert share == pytest.approx(sum(window) / len(window))
    assert all(0 <= share <= 1 for _, share in shares)


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1))
def test_percentile_is_the_smallest_value_that_covers_the_share(values: list[float], share: float) -> None:
    found = executions.percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    below = [value for value in values if value < found]
    assert len(below) < share * len(values) + 1e-9


def test_percentile_of_nothing_is_none() -> None:
    assert executions.percentile([], 0.5) is None
