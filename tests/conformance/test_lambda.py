"""How Lambda runs a Python function, and what it logs about it."""

from __future__ import annotations

import re
import time

import pytest
from botocore.exceptions import ClientError

from local.stack import EmulatorSettings, RunningEmulator
from tests.conformance.conftest import Account

HANDLER = """
    import os, sys, time

    def refuse(order):
        raise ValueError(f"no such order: {order}")

    def handler(event, context):
        event = event or {}
        print("before", flush=True)
        time.sleep(event.get("sleep", 0))
        if "order" in event:
            refuse(event["order"])
        if "exit" in event:
            sys.exit(event["exit"])
        if "import" in event:
            __import__(event["import"])
        print("after")
        return {
            "pid": os.getpid(),
            "stream": context.log_stream_name,
            "memory": context.memory_limit_in_mb,
            "arn": context.invoked_function_arn,
            "request_id": context.aws_request_id,
        }
"""


def test_an_exception_arrives_with_its_type_message_and_stack_trace(account: Account) -> None:
    """Lambda developer guide, "AWS Lambda function errors in Python"."""
    error, kind = account.invoke(account.function(HANDLER), {"order": 7})
    assert kind == "Unhandled"
    assert (error["errorType"], error["errorMessage"]) == ("ValueError", "no such order: 7")
    assert 'in refuse\n    raise ValueError(f"no such order: {order}")' in error["stackTrace"][-1]


def test_an_environment_survives_an_exception(account: Account) -> None:
    """Lambda developer guide, "Understanding the Lambda execution environment lifecycle"."""
    function = account.function(HANDLER)
    before, _ = account.invoke(function)
    account.invoke(function, {"order": 7})
    after, _ = account.invoke(function)
    assert before["pid"] == after["pid"]


def test_an_exit_ends_the_environment(account: Account) -> None:
    """Lambda developer guide, "Understanding the Lambda execution environment lifecycle"."""
    function = account.function(HANDLER)
    before, _ = account.invoke(function)
    error, kind = account.invoke(function, {"exit": 3})
    assert (kind, error["errorType"]) == ("Unhandled", "Runtime.ExitError")
    assert error["errorMessage"].endswith("Error: Runtime exited with error: exit status 3")
    after, _ = account.invoke(function)
    assert before["pid"] != after["pid"]


def test_a_failed_import_is_told_as_such(account: Account) -> None:
    """Lambda developer guide, "Troubleshoot deployment issues": Runtime.ImportModuleError."""
    error, kind = account.invoke(account.function("import no_such_module"))
    assert (kind, error["errorType"]) == ("Unhandled", "Runtime.ImportModuleError")
    assert error["errorMessage"] == "Unable to import module 'app': No module named 'no_such_module'"


def test_a_handler_finds_boto3_and_nothing_of_the_emulator(account: Account) -> None:
    """Lambda developer guide, "Runtime dependencies in Python": the SDK is there, other libraries are packaged."""
    function = account.function(HANDLER)
    assert account.invoke(function, {"import": "boto3"})[1] is None
    assert account.invoke(function, {"import": "hypercorn"})[0]["errorType"] == "ModuleNotFoundError"


def test_log_lines_carry_the_time_they_were_written_at(account: Account) -> None:
    """Lambda developer guide, "Log and monitor Python Lambda functions": START, END and REPORT of an invocation."""
    function = account.function(HANDLER)
    account.invoke(function, {"sleep": 0.5})
    times = {event["message"].split()[0]: event["timestamp"] for event in account.log(function)}
    assert times["before"] - times["START"] < 250
    assert 450 < times["after"] - times["before"] < 900
    assert times["END"] - times["after"] < 250


def test_a_report_tells_duration_billed_duration_and_initialisation(account: Account) -> None:
    """Lambda developer guide, "Log and monitor Python Lambda functions"; the initialisation is billed since 2025."""
    function = account.function(HANDLER)
    account.invoke(function, {"sleep": 0.2})
    account.invoke(function)
    first, second = [event["message"] for event in account.log(function) if event["message"].startswith("REPORT")]
    pattern = re.compile(
        r"Duration: (?P<duration>\d+\.\d\d) ms\tBilled Duration: (?P<billed>\d+) ms\tMemory Size: 128 MB\t"
        r"Max Memory Used: \d+ MB(\tInit Duration: (?P<init>\d+\.\d\d) ms)?"
    )
    cold, warm = pattern.search(first), pattern.search(second)
    assert cold is not None
    assert warm is not None
    assert 200 <= float(cold["duration"]) < 450
    assert int(cold["billed"]) >= float(cold["duration"]) + float(cold["init"])
    assert warm["init"] is None
    assert 0 <= int(warm["billed"]) - float(warm["duration"]) < 1


def test_an_environment_writes_one_log_stream(account: Account) -> None:
    """Lambda developer guide, "Log and monitor Python Lambda functions": one stream for each environment."""
    function = account.function(HANDLER)
    streams = {account.invoke(function)[0]["stream"], account.invoke(function)[0]["stream"]}
    assert {event["logStreamName"] for event in account.log(function)} == streams


def test_a_timeout_ends_the_invocation_and_keeps_what_was_logged(account: Account) -> None:
    """Lambda developer guide, "Configure Lambda function timeout"."""
    function = account.function(HANDLER, Timeout=1)
    before, _ = account.invoke(function)
    started = time.monotonic()
    error, kind = account.invoke(function, {"sleep": 3})
    assert time.monotonic() - started < 1.5
    assert (kind, error["errorType"]) == ("Unhandled", "Sandbox.Timedout")
    lines = [event["message"].rstrip() for event in account.log(function)][-5:]
    assert lines[1] == "before"
    assert lines[2].endswith("Task timed out after 1.00 seconds")
    assert "Duration: 1000.00 ms\tBilled Duration: 1000 ms" in lines[4]
    after, _ = account.invoke(function)
    assert before["pid"] != after["pid"]


def test_logs_go_to_the_functions_own_group(relied_upon: Account) -> None:
    """Lambda developer guide, "Configuring CloudWatch log groups": LoggingConfig.LogGroup."""
    function = relied_upon.function(HANDLER, LoggingConfig={"LogGroup": "/orders/own"})
    relied_upon.invoke(function)
    words = [event["message"].split()[0] for event in relied_upon.log(function, "/orders/own")]
    assert words == ["START", "before", "after", "END", "REPORT"]


def test_a_batching_window_collects_messages(account: Account) -> None:
    """Lambda developer guide, "Batching behavior": until the window is over or the batch is full."""
    function = account.function("def handler(event, context): print('records', len(event['Records']))")
    url, arn = account.queue()
    client = account.client("lambda")
    mapping = client.create_event_source_mapping(
        FunctionName=function, EventSourceArn=arn, BatchSize=5, MaximumBatchingWindowInSeconds=1
    )
    account.cleanups.append(lambda: client.delete_event_source_mapping(UUID=mapping["UUID"]))
    sqs = account.client("sqs")

    def sizes() -> list[int]:
        messages = [event["message"] for event in account.log(function)]
        return [int(message.split()[1]) for message in messages if message.startswith("records")]

    for number in range(3):
        sqs.send_message(QueueUrl=url, MessageBody=str(number))
        time.sleep(0.1)
    account.eventually(lambda: sum(sizes()) == 3)
    assert sizes() == [3]

    for number in range(5):
        sqs.send_message(QueueUrl=url, MessageBody=str(number))
    full = time.monotonic()
    account.eventually(lambda: sum(sizes()) == 8)
    assert sizes()[1:] == [5]
    assert time.monotonic() - full < 0.9


def test_a_throttled_event_waits_and_is_not_lost(account: Account) -> None:
    """Lambda developer guide, "How Lambda handles errors and retries with asynchronous invocation"."""
    function = account.function(HANDLER)
    client = account.client("lambda")
    client.put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=1)
    for _ in range(3):
        client.invoke(FunctionName=function, InvocationType="Event", Payload=b'{"sleep": 0.6}')
    account.eventually(lambda: account.starts(function) == 3)


def test_reserved_concurrency_throttles(relied_upon: Account) -> None:
    """Lambda developer guide, "Configuring reserved concurrency for a function": 429 TooManyRequestsException."""
    function = relied_upon.function(HANDLER)
    client = relied_upon.client("lambda")
    client.put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=1)
    client.invoke(FunctionName=function, InvocationType="Event", Payload=b'{"sleep": 4}')
    relied_upon.eventually(lambda: relied_upon.starts(function) == 1)
    with pytest.raises(ClientError, match="TooManyRequestsException"):
        client.invoke(FunctionName=function)


def test_the_account_has_a_limit_too() -> None:
    """Lambda developer guide, "Understanding Lambda function scaling": all functions share the account's limit."""
    with RunningEmulator.start(EmulatorSettings(account_concurrency=1)) as emulator:
        account = Account(emulator, patience=15)
        busy, refused = account.function(HANDLER), account.function(HANDLER)
        client = account.client("lambda")
        client.invoke(FunctionName=busy, InvocationType="Event", Payload=b'{"sleep": 4}')
        account.eventually(lambda: account.starts(busy) == 1)
        with pytest.raises(ClientError, match="TooManyRequestsException"):
            client.invoke(FunctionName=refused)


def test_the_context_has_what_a_handler_asks_for(relied_upon: Account) -> None:
    """Lambda developer guide, "Using the Lambda context object to retrieve Python function information"."""
    function = relied_upon.function(HANDLER, MemorySize=256)
    answer, _ = relied_upon.invoke(function)
    assert answer["memory"] == "256"
    assert answer["arn"] == relied_upon.function_arn(function)
    assert answer["request_id"] in relied_upon.log(function)[0]["message"]


def test_a_message_that_keeps_failing_goes_to_the_dead_letter_queue(relied_upon: Account) -> None:
    """SQS developer guide, "Using dead-letter queues in Amazon SQS": after maxReceiveCount receives."""
    function = relied_upon.function("def handler(event, context): raise ValueError('poison')")
    dead_letters, dead_letter_arn = relied_upon.queue()
    policy = f'{{"deadLetterTargetArn": "{dead_letter_arn}", "maxReceiveCount": 2}}'
    url, arn = relied_upon.queue(VisibilityTimeout="1", RedrivePolicy=policy)
    client = relied_upon.client("lambda")
    mapping = client.create_event_source_mapping(FunctionName=function, EventSourceArn=arn)
    relied_upon.cleanups.append(lambda: client.delete_event_source_mapping(UUID=mapping["UUID"]))
    relied_upon.client("sqs").send_message(QueueUrl=url, MessageBody="poison")
    assert relied_upon.receive(dead_letters)["Body"] == "poison"
    assert relied_upon.starts(function) == 2
