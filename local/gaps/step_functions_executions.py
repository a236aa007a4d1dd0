"""How executions start and end.

AWS ("StartExecution", "StopExecution", Step Functions API reference; "State machine structure", Step
Functions developer guide): a start with the name and input of a running execution answers as the
first did; an execution that is stopped does nothing more; one that runs for longer than the
TimeoutSeconds of its state machine is TIMED_OUT.
ministack: refuses the second start; lets a stopped execution wait, retry and call services until its
state ends, and then turns ABORTED into FAILED if that state fails; has no timeout of a state machine.
"""

from __future__ import annotations

import contextlib
import contextvars
import json
import threading
from collections.abc import Iterator
from typing import Any

from local.gaps.emulator import Emulator

Execution = dict[str, Any]


class Ended(SystemExit):
    """Leaves the thread of an execution that has ended; no handler of errors catches it."""


_end: contextvars.ContextVar[threading.Event | None] = contextvars.ContextVar("end", default=None)
"""Set once the execution that this thread works for has ended."""


def install(emulator: Emulator) -> None:
    """Tie every wait and every call of a service to the end of its execution."""
    from ministack.services import stepfunctions

    ends: dict[str, threading.Event] = {}

    def stop(original: Any) -> Any:
        def stop_execution(data: dict[str, Any]) -> Any:
            answer = original(data)
            if data.get("executionArn") in ends:
                ends[data["executionArn"]].set()
            return answer

        return stop_execution

    def run(original: Any) -> Any:
        def run_execution(exec_arn: str) -> None:
            execution = stepfunctions._executions.get(exec_arn)
            end = ends[exec_arn] = threading.Event()
            token = _end.set(end)
            with contextlib.suppress(Ended), time_limit(execution, end):
                original(exec_arn)
            _end.reset(token)
            del ends[exec_arn]

        return run_execution

    emulator.wrap(stepfunctions, "_start_execution", start_once, parameters=("data",))
    emulator.wrap(stepfunctions, "_stop_execution", stop, parameters=("data",))
    emulator.wrap(stepfunctions, "_run_execution", run, parameters=("exec_arn",))
    emulator.wrap(stepfunctions, "_scaled_sleep", sleep_until_end, parameters=("seconds",))
    emulator.wrap(stepfunctions, "_invoke_resource", unless_ended, parameters=("resource", "input_data"))
    emulator.wrap(stepfunctions, "_add_event", while_running, parameters=("execution", "event_type", "details"))
    emulator.wrap(stepfunctions, "_fail_execution", fail_if_running, parameters=("execution", "error", "cause"))


def start_once(original: Any) -> Any:
    """Answer a start with the name and input of a running execution as the first one."""
    from ministack.core.responses import json_response
    from ministack.services import stepfunctions

    def start(data: dict[str, Any]) -> Any:
        machine = stepfunctions._resolve_state_machine_arn(data.get("stateMachineArn", ""))
        if machine and data.get("name"):
            arn = f"{machine.replace(':stateMachine:', ':execution:')}:{data['name']}"
            running = stepfunctions._executions.get(arn)
            same_input = running and running["input"] == data.get("input", "{}")
            if running and same_input and running["status"] == "RUNNING":
                return json_response({"executionArn": arn, "startDate": running["startDate"]})
        return original(data)

    return start


@contextlib.contextmanager
def time_limit(execution: Execution | None, end: threading.Event) -> Iterator[None]:
    """End the execution after the TimeoutSeconds of its state machine."""
    from ministack.services import stepfunctions

    machine = stepfunctions._state_machines.get(execution["stateMachineArn"]) if execution else None
    seconds = None
    with contextlib.suppress(ValueError):
        seconds = json.loads(machine["definition"]).get("TimeoutSeconds") if machine else None
    if execution is None or seconds is None:
        yield
        return

    def expire() -> None:
        if execution["status"] == "RUNNING":
            execution.update(status="TIMED_OUT", stopDate=stepfunctions.now_iso())
            stepfunctions._add_event(execution, "ExecutionTimedOut", {"executionTimedOutEventDetails": {}})
            stepfunctions._emit_execution_status_event(execution)
            end.set()

    timer = threading.Timer(float(seconds), contextvars.copy_context().run, args=(expire,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def sleep_until_end(original: Any) -> Any:
    """Wait, but for no longer than the execution lives."""
    from ministack.services import stepfunctions

    def sleep(seconds: float) -> None:
        end = _end.get()
        if end is None:
            original(seconds)
        elif seconds > 0 and end.wait(seconds * stepfunctions._SFN_WAIT_SCALE):
            raise Ended

    return sleep


def unless_ended(original: Any) -> Any:
    """Call a service, unless the execution has ended."""

    def invoke(resource: str, input_data: Any) -> Any:
        end = _end.get()
        if end is not None and end.is_set():
            raise Ended
        return original(resource, input_data)

    return invoke


def while_running(original: Any) -> Any:
    """Add to the history of a running execution; what ends it is the last entry."""

    def add(execution: Execution, event_type: str, details: Any = None) -> Any:
        if execution["status"] != "RUNNING" and not event_type.startswith("Execution"):
            return {}
        return original(execution, event_type, details)

    return add


def fail_if_running(original: Any) -> Any:
    """Let an execution fail that has not ended otherwise."""

    def fail(execution: Execution, error: str, cause: str) -> None:
        if execution["status"] == "RUNNING":
            original(execution, error, cause)

    return fail
