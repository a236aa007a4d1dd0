"""The execution environment behaves like Lambda's, shown with small functions of its own."""

import os
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from . import BuiltFunction, ExecutionEnvironment

Run = Callable[..., ExecutionEnvironment]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Writes an app.py and starts its execution environment."""
    with ExitStack() as stack:

        def start(source: str, timeout: float = 5, **settings: Any) -> ExecutionEnvironment:
            code = tmp_path / "code"
            code.mkdir()
            (code / "app.py").write_text(textwrap.dedent(source))
            function = BuiltFunction("SampleFunction", "app.handler", code, timeout=timeout, **settings)
            return stack.enter_context(ExecutionEnvironment(function))

        yield start


def test_event_and_response_pass_unchanged(run: Run) -> None:
    event = {"text": "ö & % + 😀\n", "number": 59.9, "nothing": None, "list": [1, "2"]}
    result = run("def handler(event, context): return event").invoke(event)
    assert result.function_error is None
    assert result.payload == event


def test_context_and_variables_are_those_of_lambda(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ON_THIS_MACHINE_ONLY", "1")
    result = run(
        """
        import os
        def handler(event, context):
            return {
                "environment": dict(os.environ),
                "remaining": context.get_remaining_time_in_millis(),
                "name": context.function_name,
                "memory": context.memory_limit_in_mb,
                "arn": context.invoked_function_arn,
                "request_id": context.aws_request_id,
            }
        """,
        timeout=7,
        memory=512,
        variables={"TABLE": "orders"},
    ).invoke({})
    payload = result.payload
    assert 6000 < payload["remaining"] <= 7000
    assert (payload["name"], payload["memory"]) == ("SampleFunction", "512")
    assert payload["arn"] == "arn:aws:lambda:eu-west-1:123456789012:function:SampleFunction"
    assert payload["request_id"] == result.request_id
    assert payload["environment"]["TABLE"] == "orders"
    assert payload["environment"]["_X_AMZN_TRACE_ID"].startswith("Root=1-")
    assert payload["environment"]["LAMBDA_TASK_ROOT"].endswith("/code")
    assert "ON_THIS_MACHINE_ONLY" not in payload["environment"]


def test_a_package_outside_the_artefact_cannot_be_imported(run: Run) -> None:
    result = run("import pytest\ndef handler(event, context): return 1").invoke({})
    assert result.function_error == "Unhandled"
    assert result.payload["errorType"] == "Runtime.ImportModuleError"
    assert result.payload["errorMessage"] == "Unable to import module 'app': No module named 'pytest'"
    assert "Runtime.ImportModuleError" in result.log


def test_boto3_comes_with_the_runtime(run: Run) -> None:
    source = """
        import boto3
        def handler(event, context):
            return boto3.client("sqs").meta.region_name
    """
    assert run(source).invoke({}).payload == "eu-west-1"


def test_the_code_wins_over_layers_and_the_last_layer_over_earlier_ones(run: Run, tmp_path: Path) -> None:
    layers = tmp_path / "first", tmp_path / "second"
    for layer in layers:
        (layer / "python").mkdir(parents=True)
        (layer / "python" / "shared.py").write_text(f"NAME = {layer.name!r}")
        (layer / "python" / "app.py").write_text("raise RuntimeError('shadowed by the code')")
    source = "import shared\ndef handler(event, context): return shared.NAME"
    assert run(source, layers=layers).invoke({}).payload == "second"


def test_an_exception_is_reported_with_type_message_and_stack(run: Run) -> None:
    source = """
        class CourierDown(Exception): pass
        def handler(event, context):
            print("calling")
            raise CourierDown("no answer")
    """
    result = run(source).invoke({})
    assert result.function_error == "Unhandled"
    assert result.payload["errorType"] == "CourierDown"
    assert result.payload["errorMessage"] == "no answer"
    assert result.payload["requestId"] == result.request_id
    assert "in handler" in result.payload["stackTrace"][0]
    assert result.log.splitlines()[:2] == ["calling", "[ERROR] CourierDown: no answer"]


def test_an_error_in_the_module_is_an_init_error(run: Run) -> None:
    result = run("raise KeyError('COURIER_URL')").invoke({})
    assert result.function_error == "Unhandled"
    assert result.payload["errorType"] == "KeyError"
    assert result.payload["errorMessage"] == "'COURIER_URL'"


def test_an_exit_is_reported_and_the_next_event_gets_a_fresh_process(run: Run) -> None:
    environment = run(
        """
        import os
        def handler(event, context):
            if event == "leave": os._exit(3)
            return os.getpid()
        """
    )
    before = environment.invoke("stay").payload
    result = environment.invoke("leave")
    assert result.payload == {
        "errorType": "Runtime.ExitError",
        "errorMessage": f"RequestId: {result.request_id} Error: Runtime exited with error: exit status 3",
    }
    assert environment.invoke("stay").payload not in (before, None)


def test_a_kill_is_reported_with_its_signal(run: Run) -> None:
    source = """
        import os, signal
        def handler(event, context): os.kill(os.getpid(), signal.SIGKILL)
    """
    message = run(source).invoke({}).payload["errorMessage"]
    assert message.endswith("Runtime exited with error: signal: killed")


def test_a_timeout_kills_the_process(run: Run) -> None:
    environment = run(
        """
        import os, time
        def handler(event, context):
            print(os.getpid())
            time.sleep(event)
        """,
        timeout=0.5,
    )
    started = time.monotonic()
    result = environment.invoke(30)
    assert time.monotonic() - started < 5
    assert result.payload == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": f"RequestId: {result.request_id} Error: Task timed out after 0.50 seconds",
    }
    assert not _alive(int(result.log))
    assert environment.invoke(0).function_error is None


def test_a_warm_environment_keeps_its_state(run: Run) -> None:
    environment = run(
        """
        calls = 0
        def handler(event, context):
            global calls
            calls += 1
            return calls
        """
    )
    first, second = environment.invoke({}), environment.invoke({})
    assert (first.payload, second.payload) == (1, 2)
    assert first.init_duration is not None
    assert second.init_duration is None


def test_warm_invocations_do_not_wait_for_delayed_acknowledgements(run: Run) -> None:
    environment = run("def handler(event, context): return None")
    environment.invoke({})
    started = time.monotonic()
    for _ in range(200):
        environment.invoke({})
    # About 0.2 s; with a delayed acknowledgement (40 ms) each, at least 8 s.
    assert time.monotonic() - started < 4


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
