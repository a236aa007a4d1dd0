"""The circuit breaker's machine alone, in the emulator's interpreter of its language.

Table, queue, mapping, alarms and executions are the emulator's. The two functions ask this process what to answer, so a
test decides it at the moment when it is asked; and a task can be made to fail in spite of its retries (with the format
of "Mocked service integrations", Step Functions Local). Waits are a hundred times shorter.
"""

from __future__ import annotations

import io
import itertools
import json
import threading
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from local.stack import REGION, RunningEmulator
from tests.integration.deployed_hub import eventually
from tests.state_machines import circuit_breaker

ROLE = "arn:aws:iam::000000000000:role/circuit"
WAIT_SCALE = 0.01
FULL = 3
ALARMS = ("rate", "volume")
KEY = {"pk": {"S": "circuit#courier"}}
FUNCTION = """
import json, time, urllib.request

def handler(event, context):
    event["function"] = context.function_name
    with urllib.request.urlopen(urllib.request.Request("{url}", json.dumps(event).encode())) as answer:
        reply = json.load(answer)
    if reply is None:
        raise RuntimeError("it was told to")
    time.sleep(reply.pop("sleep", 0))
    return reply
"""
_numbers = itertools.count(1)

Event = dict[str, Any]
Reply = dict[str, Any] | None
"""What a function returns; None if it raises; with ``sleep``, seconds later."""


def healthy(_event: Event) -> Reply:
    """The courier takes the order."""
    return {"verdict": "healthy", "batchItemFailures": []}


def sick(event: Event) -> Reply:
    """The courier fails."""
    failures = [{"itemIdentifier": record["messageId"]} for record in event["Records"]]
    return {"verdict": "sick", "batchItemFailures": failures}


class Functions:
    """An emulator with the two functions, and the server that they ask."""

    def __init__(self, emulator: RunningEmulator) -> None:
        self.emulator = emulator
        self.answer: Callable[[Event], Reply] = lambda _: {}
        functions = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                body = json.dumps(functions.answer(event)).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """The histories tell what was asked."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        for name in ("circuit", "delivery"):
            self._create(name)
        self.configure({"stepfunctions._SFN_WAIT_SCALE": WAIT_SCALE})

    def _create(self, name: str) -> None:
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as contents:
            contents.writestr("app.py", FUNCTION.replace("{url}", f"http://127.0.0.1:{self.server.server_port}"))
        self.emulator.client("lambda").create_function(
            FunctionName=name,
            Runtime="python3.13",
            Role=ROLE,
            Handler="app.handler",
            Code={"ZipFile": archive.getvalue()},
            Timeout=2,
        )

    def configure(self, settings: dict[str, Any]) -> None:
        """Change settings of the emulator while it runs."""
        request = urllib.request.Request(
            f"{self.emulator.endpoint}/_ministack/config", json.dumps(settings).encode(), method="POST"
        )
        with urllib.request.urlopen(request) as answer:
            assert json.load(answer)["applied"].keys() == settings.keys()

    def stop(self) -> None:
        """Stop the server."""
        self.server.shutdown()
        self.server.server_close()


@dataclass
class ScriptedCircuit:
    """A circuit of its own: table, queue, mapping, alarms and machine.

    Args:
        functions: What the machine invokes.
        substitutions: What the definition gets other than usual.
    """

    functions: Functions
    substitutions: dict[str, object] = field(default_factory=dict)
    deliver: Callable[[Event], Reply] = healthy
    health: str = "nothing"
    announce: Callable[[Event], Reply] = lambda _: {}
    wait: Callable[[Event], Reply] = lambda _: {"seconds": 10}
    probed: list[str] = field(default_factory=list)
    """The bodies of the orders that were tried."""
    told: list[Event] = field(default_factory=list)
    failures: list[int] = field(default_factory=list)
    """The failed rounds, each time the machine asked how long to wait."""

    def __post_init__(self) -> None:
        client = self.functions.emulator.client
        self.name = f"circuit-{next(_numbers)}"
        self.dynamodb, self.sqs, self.lambdas = client("dynamodb"), client("sqs"), client("lambda")
        self.cloudwatch, self.machines = client("cloudwatch"), client("stepfunctions")
        self.dynamodb.create_table(
            TableName=self.name,
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        self.queue = self.sqs.create_queue(QueueName=self.name)["QueueUrl"]
        queue_arn = f"arn:aws:sqs:{REGION}:000000000000:{self.name}"
        self.mapping_id = self.lambdas.create_event_source_mapping(
            FunctionName="delivery", EventSourceArn=queue_arn, ScalingConfig={"MaximumConcurrency": FULL}
        )["UUID"]
        for alarm in ALARMS:
            self.cloudwatch.put_metric_alarm(
                AlarmName=f"{self.name}-{alarm}",
                Namespace="test",
                MetricName=alarm,
                Statistic="Sum",
                Period=60,
                EvaluationPeriods=1,
                Threshold=1,
                ComparisonOperator="GreaterThanThreshold",
            )
        definition = circuit_breaker(
            **{
                "Partition": "aws",
                "Region": REGION,
                "CircuitFunction": "circuit",
                "DeliveryFunction": "delivery",
                "DeliveryMapping": self.mapping_id,
                "DeliveryQueue": self.queue,
                "DeliveryQueueArn": queue_arn,
                "DeliveryTable": self.name,
                "FailureRateAlarm": f"{self.name}-rate",
                "CallVolumeAlarm": f"{self.name}-volume",
                "Probes": 2,
                "ProbeFailures": 2,
                "ProbeWaitMax": 30,
                "RampSeconds": 1,
                "RoundsPerExecution": 100,
                "OrdersPerExecution": 300,
            }
            | self.substitutions
        )
        for state in definition["States"].values():
            if state.get("Arguments", {}) and "WaitTimeSeconds" in state["Arguments"]:
                state["Arguments"]["WaitTimeSeconds"] = 0  # no test waits for an empty queue
        self.machine = self.machines.create_state_machine(
            name=self.name, definition=json.dumps(definition), roleArn=ROLE
        )["stateMachineArn"]
        self.functions.answer = self._answer

    def _answer(self, event: Event) -> Reply:
        if event["function"] == "delivery":
            if not event.get("probe"):
                return {"batchItemFailures": []}
            self.probed.append(event["Records"][0]["body"])
            return self.deliver(event)
        match event["action"]:
            case "announce":
                self.told.append(event)
                return self.announce(event)
            case "wait":
                self.failures.append(event["failures"])
                return self.wait(event)
            case "ramp-step":
                return {"concurrency": min(FULL, 2 + event["number"]), "rate": 10.0, "full": event["number"] >= 2}
            case "health-check":
                return {"verdict": self.health}
        return None

    def close(self) -> None:
        """Stop whatever runs, and take the mapping away."""
        for execution in self.executions("RUNNING"):
            self.machines.stop_execution(executionArn=execution)
        self.lambdas.delete_event_source_mapping(UUID=self.mapping_id)

    def fails(self, *, case: str = "failing", **answers: dict[str, Any]) -> str:
        """Let tasks answer so at each attempt; returns the address under which to start the machine."""
        self.functions.configure(
            {
                "stepfunctions._sfn_mock_config": {
                    "StateMachines": {self.name: {"TestCases": {case: {state: state for state in answers}}}},
                    "MockedResponses": {state: {"0-1000": answer} for state, answer in answers.items()},
                }
            }
        )
        return f"{self.machine}#{case}"

    def start(self, action: str, *, machine: str = "", cause: str = "person", **more: Any) -> str:
        """Start the machine; returns the execution."""
        given = {"action": action, "reason": "test", "cause": cause} | more
        answer = self.machines.start_execution(stateMachineArn=machine or self.machine, input=json.dumps(given))
        return str(answer["executionArn"])

    def ended(self, execution: str) -> tuple[str, str]:
        """Wait for the end of an execution; returns its status, and its result or error."""

        def end() -> dict[str, Any] | None:
            described = self.machines.describe_execution(executionArn=execution)
            return None if described["status"] == "RUNNING" else dict(described)

        described = eventually(end, within=30, what=f"{execution} ends: {self.item}, {self.visited(execution)[-9:]}")
        assert described
        if described["status"] == "SUCCEEDED":
            return described["status"], str(json.loads(described["output"])["result"])
        return described["status"], str(described.get("error"))

    def run(self, action: str, **more: Any) -> tuple[str, str]:
        """Start the machine, and wait for its end."""
        return self.ended(self.start(action, **more))

    def executions(self, status: str | None = None) -> list[str]:
        """The machine's executions, the newest first."""
        answer = self.machines.list_executions(
            stateMachineArn=self.machine, **({"statusFilter": status} if status else {})
        )
        return [execution["executionArn"] for execution in answer["executions"]]

    def visited(self, execution: str) -> list[str]:
        """The states that an execution entered."""
        pages = self.machines.get_paginator("get_execution_history").paginate(executionArn=execution)
        return [
            event["stateEnteredEventDetails"]["name"]
            for page in pages
            for event in page["events"]
            if "stateEnteredEventDetails" in event
        ]

    @property
    def item(self) -> dict[str, str]:
        """The circuit's item, as text."""
        item = self.dynamodb.get_item(TableName=self.name, Key=KEY, ConsistentRead=True).get("Item", {})
        return {name: str(next(iter(value.values()))) for name, value in item.items()}

    def put(self, **values: dict[str, str]) -> None:
        """Write the circuit's item."""
        self.dynamodb.put_item(TableName=self.name, Item=KEY | values)

    @property
    def mapping(self) -> tuple[str, int]:
        """State and MaximumConcurrency of the mapping."""
        mapping = self.lambdas.get_event_source_mapping(UUID=self.mapping_id)
        return mapping["State"], mapping["ScalingConfig"]["MaximumConcurrency"]

    def alarm(self, state: str) -> None:
        """Set both alarms."""
        for alarm in ALARMS:
            self.cloudwatch.set_alarm_state(AlarmName=f"{self.name}-{alarm}", StateValue=state, StateReason="test")

    def place(self, *bodies: str) -> None:
        """Put orders into the queue."""
        for body in bodies:
            self.sqs.send_message(
                QueueUrl=self.queue,
                MessageBody=body,
                MessageAttributes={"trace": {"DataType": "String", "StringValue": body[:10]}},
            )

    def waiting(self) -> list[dict[str, Any]]:
        """Take the visible messages out of the queue, each as SQS describes it."""
        taken: list[dict[str, Any]] = []
        while messages := self.sqs.receive_message(
            QueueUrl=self.queue, MaxNumberOfMessages=10, AttributeNames=["All"], MessageAttributeNames=["All"]
        ).get("Messages"):
            taken += messages
        return taken
