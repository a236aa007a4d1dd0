"""Universal instrumentation: what stands in the log and the metrics, and that the platform sees no difference."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from threading import Barrier, Event
from typing import Any

import pytest
from aws_lambda_powertools.metrics.provider.cold_start import reset_cold_start_flag

from hub.instrument import MetricUnit, in_parallel, instrument, logger, metrics, record_status
from tests.unit.lambda_functions import Context
from tests.unit.orders import COURIER_KEY, PRIVATE, a_queue_event, an_envelope, an_order, compact
from tests.unit.output import Output

type Read = Callable[[], Output]

EVENT = a_queue_event(compact(an_envelope()))


class Unlucky(Exception):
    """What a handler of these tests raises."""


def invoke(function: Callable[[], Any], event: Any = EVENT, context: Context | None = None) -> Any:
    """Call a handler that does nothing but a function."""

    @instrument
    def handler(event: dict[str, Any], context: Any) -> Any:
        return function()

    lambda_context: Any = context or Context()
    return handler(event, lambda_context)


# --------------------------------------------------------------------------------------- what the platform sees


def test_the_answer_passes_through(output: Read) -> None:
    answer: dict[str, Any] = {"batchItemFailures": []}
    assert invoke(lambda: answer) is answer


def test_the_very_exception_is_raised_again(output: Read) -> None:
    original = Unlucky("no luck")

    def fail() -> None:
        raise original

    with pytest.raises(Unlucky) as raised:
        invoke(fail)
    assert raised.value is original, "Lambda decides about retries by what the handler raises"


def test_the_exception_is_raised_again_even_if_the_event_cannot_be_shown(output: Read) -> None:
    nested_without_end = a_queue_event('{"a":' * 40_000 + "1" + "}" * 40_000)

    def fail() -> None:
        raise Unlucky("no luck")

    with pytest.raises(Unlucky):
        invoke(fail, nested_without_end)


def test_the_handler_keeps_its_name() -> None:
    @instrument
    def handler(event: dict[str, Any], context: Any) -> None:
        """What it does."""

    assert (handler.__name__, handler.__doc__) == ("handler", "What it does.")


# --------------------------------------------------------------------------------------------------- exceptions


def failing(message: str, output: Read, event: Any = EVENT) -> dict[str, Any]:
    """Let a handler fail, and return the one line that tells of it."""

    def fail() -> None:
        raise Unlucky(message)

    with pytest.raises(Unlucky):
        invoke(fail, event)
    [line] = [line for line in output().logs if line.get("status") == "FAILED"]
    return line


def test_an_exception_leaves_diagnostics_with_the_event_first(output: Read) -> None:
    line = failing("no luck", output)
    assert line["level"] == "ERROR"
    assert line["exception_name"] == "Unlucky"
    diagnostics = line["diagnostics"]
    assert next(iter(diagnostics)) == "event", "the first question is which order was hurt"
    assert "ord-1" in json.dumps(diagnostics["event"])
    assert diagnostics["error"] == "Unlucky"
    assert diagnostics["function_request_id"] == "invocation-1"
    assert 0 < diagnostics["remaining_milliseconds"] <= 60_000


def test_diagnostics_show_no_private_value(output: Read) -> None:
    shown = json.dumps(failing("no luck", output))
    assert all(value not in shown for value in PRIVATE.values())


@pytest.mark.parametrize(
    "message",
    [f"cannot write to {PRIVATE['email']}", json.dumps(an_order())],
    ids=["an address", "an order"],
)
def test_an_exceptions_message_shows_no_private_value(message: str, output: Read) -> None:
    shown = json.dumps(failing(message, output), ensure_ascii=False)
    leaked = [name for name, value in PRIVATE.items() if value in shown]
    assert not leaked, "a library may put what it was given into its message, and the log holds it for weeks"


def test_a_failed_record_shows_no_private_value_of_its_reason(output: Read) -> None:
    def fail() -> None:
        with record_status("order", "c-1"):
            raise Unlucky(json.dumps(an_order()))

    with pytest.raises(Unlucky):
        fail()
    assert all(value not in output().text for value in PRIVATE.values())


def test_half_a_surrogate_pair_does_not_cost_the_line(output: Read) -> None:
    """JSON can escape one, the log's UTF-8 cannot carry it."""
    line = failing("no luck", output, a_queue_event('{"sku": "\\ud83d"}'))
    assert line["status"] == "FAILED"


# ------------------------------------------------------------------------------------------------ time running out


def test_a_warning_one_second_before_the_timeout_tells_what_was_worked_on(output: Read) -> None:
    started = time.monotonic()
    invoke(lambda: time.sleep(0.4), context=Context(seconds=1.2))
    [line] = [line for line in output().logs if line.get("status") == "TIMEOUT"]
    assert time.monotonic() - started < 1.0
    assert line["level"] == "WARNING"
    assert 500 < line["diagnostics"]["remaining_milliseconds"] <= 1050
    assert "ord-1" in json.dumps(line["diagnostics"]["event"])
    assert all(value not in json.dumps(line) for value in PRIVATE.values())


def test_no_warning_when_the_handler_is_done_in_time(output: Read) -> None:
    invoke(lambda: None, context=Context(seconds=1.1))
    time.sleep(0.25)
    assert "TIMEOUT" not in output().statuses(), "the next invocation would be warned of the last one's end"


def test_no_warning_after_an_exception_either(output: Read) -> None:
    def fail() -> None:
        raise Unlucky

    with pytest.raises(Unlucky):
        invoke(fail, context=Context(seconds=1.1))
    time.sleep(0.25)
    assert "TIMEOUT" not in output().statuses()


def test_invocations_leave_no_threads_behind(output: Read) -> None:
    before = threading.active_count()
    for _ in range(20):
        invoke(lambda: None)
    time.sleep(0.05)
    assert threading.active_count() <= before + 1, "an execution environment lives for hours"


# ------------------------------------------------------------------------------------------------------- records


def test_a_record_is_started_and_completed_with_its_correlation_id_on_every_line(output: Read) -> None:
    with record_status("order.notified", "c-1", order_id="ord-1", event_id="e-1"):
        logger.info("in between")
    lines = output().logs
    assert [line.get("status") for line in lines] == ["START", None, "COMPLETED"]
    for line in lines:
        assert (line["correlation_id"], line["order_id"], line["event_id"], line["record"]) == (
            "c-1",
            "ord-1",
            "e-1",
            "order.notified",
        )


def test_a_record_that_fails_says_why_and_raises_the_same_exception(output: Read) -> None:
    original = Unlucky("no such street")

    def fail() -> None:
        with record_status("order.notified", "c-1"):
            logger.info("in between")
            raise original

    with pytest.raises(Unlucky) as raised:
        fail()
    assert raised.value is original
    lines = output().logs
    assert [line.get("status") for line in lines] == ["START", None, "FAILED"]
    assert {line["correlation_id"] for line in lines} == {"c-1"}
    assert (lines[-1]["error"], lines[-1]["reason"]) == ("Unlucky", "no such street")


def test_a_record_whose_correlation_id_cannot_be_read_says_so(output: Read) -> None:
    with record_status("order", None):
        pass
    assert {line["correlation_id"] for line in output().logs} == {"unknown"}


@pytest.mark.parametrize("fails", [True, False])
def test_a_records_keys_end_with_it(fails: bool, output: Read) -> None:
    try:
        with record_status("order", "c-1", order_id="ord-1"):
            if fails:
                raise Unlucky
    except Unlucky:
        pass
    logger.info("between the records")
    last = output().logs[-1]
    assert {"correlation_id", "order_id", "record"}.isdisjoint(last), "the next record is another order's"


def test_keys_of_one_invocation_do_not_reach_the_next(output: Read) -> None:
    def leave_a_key() -> None:
        logger.thread_safe_append_keys(order_id="ord-1")

    invoke(leave_a_key)
    invoke(lambda: logger.info("another order"), context=Context(aws_request_id="invocation-2"))
    [line] = [line for line in output().logs if line["message"] == "another order"]
    assert "order_id" not in line
    assert line["function_request_id"] == "invocation-2"


def test_parallel_records_do_not_mix_their_lines(output: Read) -> None:
    count = 8
    together = Barrier(count)

    def work(number: int) -> int:
        with record_status("order.notified", f"c-{number}"):
            for step in range(5):
                together.wait(timeout=5)
                logger.info(f"{number}/{step}")

    assert in_parallel(work, range(count), timeout=10.0) == []
    lines = output().logs
    assert len(lines) == count * 7
    for line in lines:
        if "status" not in line:
            assert line["correlation_id"] == f"c-{line['message'].split('/')[0]}"
    for number in range(count):
        assert [line["status"] for line in lines if line["correlation_id"] == f"c-{number}" and "status" in line] == [
            "START",
            "COMPLETED",
        ]


def test_parallel_calls_run_all_at_once() -> None:
    together = Barrier(10)

    def meet(_: int) -> None:
        together.wait(timeout=5)

    assert in_parallel(meet, range(10), timeout=10.0) == []


def test_nothing_to_do_in_parallel_is_nothing() -> None:
    assert in_parallel(lambda _: None, [], timeout=0.0) == []


def test_a_parallel_call_that_fails_or_does_not_end_is_told_and_holds_up_nobody() -> None:
    end, done = Event(), []

    def work(item: str) -> None:
        if item == "fails":
            raise Unlucky
        if item == "hangs":
            end.wait(timeout=10)
        done.append(item)

    try:
        assert in_parallel(work, ["fails", "works", "hangs"], timeout=0.5) == ["fails", "hangs"]
        assert done == ["works"]
    finally:
        end.set()


# --------------------------------------------------------------------------------------------------- the log line


def test_a_line_is_json_with_a_moment_in_utc(output: Read) -> None:
    logger.info("a line")
    [line] = output().logs
    assert line["timestamp"].endswith("+00:00")
    assert line["message"] == "a line"


def test_whoever_logs_private_values_they_are_redacted(output: Read) -> None:
    logger.info("an order", order=an_order(), headers={"x-api-key": COURIER_KEY}, message_body=compact(an_envelope()))
    text = output().text
    assert "ord-1" in text
    assert all(value not in text for value in (*PRIVATE.values(), COURIER_KEY))


def test_what_json_does_not_know_is_written_as_text(output: Read) -> None:
    logger.info("a path", folder=Path("events"))
    assert output().logs[0]["folder"] == "events"


# ------------------------------------------------------------------------------------------------------- metrics


def assert_valid_embedded_metrics(line: dict[str, Any]) -> None:
    """As "Specification: Embedded metric format" of the CloudWatch user guide has it."""
    metadata = line["_aws"]
    assert abs(metadata["Timestamp"] / 1000 - time.time()) < 60, "milliseconds since the epoch"
    for directive in metadata["CloudWatchMetrics"]:
        assert directive["Namespace"] == os.environ["POWERTOOLS_METRICS_NAMESPACE"]
        for dimensions in directive["Dimensions"]:
            assert len(dimensions) <= 30
            for name in dimensions:
                assert isinstance(line[name], str), "each dimension has its value in the root"
                assert name not in ("correlation_id", "order_id"), "a dimension per order is a metric per order"
        assert 1 <= len(directive["Metrics"]) <= 100
        for metric in directive["Metrics"]:
            assert metric["Unit"] in {unit.value for unit in MetricUnit}
            values = line[metric["Name"]]
            for value in values if isinstance(values, list) else [values]:
                assert isinstance(value, int | float)


def test_metrics_are_written_in_embedded_metric_format(output: Read) -> None:
    def count() -> None:
        metrics.add_metric("Orders", MetricUnit.Count, 1)
        metrics.add_metric("Orders", MetricUnit.Count, 2)

    invoke(count)
    written = output()
    assert written.metric("Orders") == 3
    for line in written.metrics:
        assert_valid_embedded_metrics(line)


def test_metrics_counted_before_an_exception_are_written_too(output: Read) -> None:
    def count_and_fail() -> None:
        metrics.add_metric("Orders", MetricUnit.Count, 1)
        raise Unlucky

    with pytest.raises(Unlucky):
        invoke(count_and_fail)
    assert output().metric("Orders") == 1, "an alarm counts what happened, not what ended well"


def test_a_cold_start_is_counted_once_for_an_execution_environment(output: Read) -> None:
    reset_cold_start_flag()  # type: ignore[no-untyped-call]
    for _ in range(3):
        invoke(lambda: metrics.add_metric("Orders", MetricUnit.Count, 1))
    written = output()
    assert written.metric("ColdStart") == 1
    for line in written.metrics:
        assert_valid_embedded_metrics(line)
