from __future__ import annotations

import json

import pytest

from loadtest import logs
from loadtest.executions import CourierCall, Invocation, RecordStatus
from loadtest.logs import LogEvent

ID = "9d6b0a1e-5a51-4f0c-8a51-0f0c3b7c2d11"
REPORT = f"REPORT RequestId: {ID}\tDuration: 1500.50 ms\tBilled Duration: 1751 ms\tMemory Size: 512 MB\t"


def structured(**keys: object) -> LogEvent:
    return LogEvent(100.0, json.dumps({"level": "INFO", "function_request_id": ID, "correlation_id": "c-1"} | keys))


def test_an_invocation_begins_before_its_report_by_duration_and_start_up() -> None:
    [warm] = logs.parse_invocations([LogEvent(100.0, REPORT)], set())
    assert warm == Invocation(ID, begin=98.4995, end=100.0, billed_s=1.751, failed=False)
    [cold] = logs.parse_invocations([LogEvent(100.0, f"{REPORT}Init Duration: 250.00 ms\t")], set())
    assert cold.begin == pytest.approx(98.2495)


@pytest.mark.parametrize("status", ["timeout", "error\tError Type: Runtime.ExitError"])
def test_a_timeout_and_a_crash_are_told_by_the_report(status: str) -> None:
    [invocation] = logs.parse_invocations([LogEvent(100.0, f"{REPORT}Status: {status}")], set())
    assert invocation.failed


def test_an_exception_is_told_by_the_handler_wrapper() -> None:
    failed = logs.parse_failures(
        [
            structured(message="FAILED", status="FAILED", diagnostics={"event": {}}),
            structured(
                message="About to time out", status="TIMEOUT", diagnostics={"event": {}}, function_request_id="x"
            ),
            LogEvent(100.0, "diagnostics in a line that is not JSON"),
        ]
    )
    assert failed == {ID}
    [invocation] = logs.parse_invocations([LogEvent(100.0, REPORT)], failed)
    assert invocation.failed


def test_a_report_that_is_read_twice_counts_once_and_other_lines_do_not() -> None:
    lines = [LogEvent(100.0, REPORT), LogEvent(100.0, REPORT), LogEvent(100.0, '{"message": "REPORT RequestId: no"}')]
    assert len(logs.parse_invocations(lines, set())) == 1


def test_courier_calls_and_statuses_of_records() -> None:
    lines = [
        structured(message="START", status="START", record="order.notified"),
        structured(
            message="courier call", outcome="throttled", timestamp="2026-11-21T08:30:00.250Z", record="order.notified"
        ),
        structured(message="FAILED", status="FAILED", diagnostics={}),
        LogEvent(100.0, "START RequestId: not a line of the functions"),
        LogEvent(100.0, '"order.notified"'),
    ]
    assert logs.parse_calls(lines) == [CourierCall(1795249800.25, "c-1", ID, "throttled")]
    assert logs.parse_statuses(lines) == [RecordStatus("c-1", ID, "START")]


def test_a_call_without_a_time_of_its_own_has_the_time_of_its_line() -> None:
    [call] = logs.parse_calls([structured(message="courier call", outcome="delivered", timestamp="noon")])
    assert call.at == 100.0
