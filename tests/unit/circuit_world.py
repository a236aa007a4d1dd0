"""What the circuit breaker's machine meets, simulated in virtual time: item, mapping, queue, courier, alarms, watchdog.

The machine itself is its real definition, run by ``states_language``; waits, ramp and the watchdog's judgement are the
real rules of ``hub.circuit``.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import asdict, dataclass, field
from itertools import count
from random import Random
from typing import Any

from hub.circuit import Observation, Repair, State, diagnose, probe_wait, ramp_step
from tests.state_machines import circuit_breaker
from tests.unit.states_language import Data, Execution, ServiceError

FULL = 8
PROBES = 2
ORDERS_PER_EXECUTION = 12
ROUNDS_PER_EXECUTION = 4
WAIT_MIN, WAIT_MAX = 10.0, 300.0
MAPPING_CHANGE_S = 2.0
VISIBILITY_S = 300.0
MINUTE = 60.0
NO_OWNER = ""

DEFINITION = circuit_breaker(
    Partition="aws",
    Region="eu-west-1",
    CircuitFunction="circuit",
    DeliveryFunction="delivery",
    DeliveryMapping="mapping",
    DeliveryQueue="queue",
    DeliveryQueueArn="queue-arn",
    DeliveryTable="table",
    FailureRateAlarm="rate",
    CallVolumeAlarm="volume",
    Probes=PROBES,
    ProbeFailures=2,
    ProbeWaitMax=WAIT_MAX,
    RampSeconds=5,
    RoundsPerExecution=ROUNDS_PER_EXECUTION,
    OrdersPerExecution=ORDERS_PER_EXECUTION,
)


@dataclass
class Message:
    """A message of the delivery queue."""

    handle: str
    order: str
    receives: int = 0
    visible_at: float = 0.0


@dataclass
class Fault:
    """Some calls of one action that fail."""

    error: str
    times: int
    after: bool
    """Whether the action takes effect, and only its answer is lost."""


@dataclass
class World:
    """Everything beside the machines, and the machines that run."""

    random: Random = field(default_factory=lambda: Random(1))
    now: float = 0.0
    item: dict[str, dict[str, str]] = field(default_factory=dict)
    changed_at: float = 0.0
    enabled: bool = True
    concurrency: int = FULL
    change: tuple[float, bool, int] | None = None
    """A change of the mapping under way: when it is in effect, and the new values."""
    healthy: bool = True
    alarm: bool = False
    health_check: str = "nothing"
    queue: list[Message] = field(default_factory=list)
    waiting: set[str] = field(default_factory=set)
    """Orders that were accepted, and neither delivered nor dead-lettered."""
    faults: dict[str, Fault] = field(default_factory=dict)
    running: dict[str, Execution] = field(default_factory=dict)
    ended: list[Execution] = field(default_factory=list)
    survivors: set[str] = field(default_factory=set)
    """Machines that could not be stopped by their successors: StopExecution failed."""
    told: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    """States that people were called for."""
    calls: Counter[str] = field(default_factory=Counter)
    names: Any = field(default_factory=lambda: count(1))

    # ------------------------------------------------------------------------------------------------- to act

    def start(self, action: str, cause: object, version: object = None) -> str:
        """Start a machine."""
        given = {"action": action, "cause": cause, "reason": "test"} | ({} if version is None else {"version": version})
        arn = f"execution-{next(self.names)}"
        self._keep(Execution(DEFINITION, arn, given, self.call, self.now))
        return arn

    def step(self, arn: str) -> None:
        """Let a machine do its next task, when its wait is over."""
        execution = self.running[arn]
        self.now = max(self.now, execution.ready_at)
        execution.step(self.now)
        self._keep(execution)

    def crash(self, arn: str) -> None:
        """Stop a machine wherever it is."""
        self.ended.append(self.running.pop(arn))

    def run(self, seconds: float, *, watched: bool = False) -> None:
        """Let time pass: each machine does its tasks one after the other, a tenth of a second each."""
        end = self.now + seconds
        next_look = self.now + MINUTE
        while True:
            arn = min(self.running, key=lambda name: self.running[name].ready_at, default=None)
            due = self.running[arn].ready_at if arn else end
            if watched and next_look <= min(due, end):
                self.now = max(self.now, next_look)
                next_look += MINUTE
                self.watch()
            elif arn is None or due >= end:
                break
            else:
                self.step(arn)
                if arn in self.running:
                    self.running[arn].ready_at += 0.1
        self.now = max(self.now, end)

    def place(self, order: str) -> None:
        """Put an order into the delivery queue."""
        self.waiting.add(order)
        self._send(order)

    def watch(self) -> Repair | None:
        """Let the watchdog look."""
        self._settle_mapping()
        found = diagnose(
            Observation(
                state=self.state,
                age=self.now - self.changed_at,
                owned=self.owner in self.running,
                mapping=self.mapping,
                concurrency=self.concurrency,
                full_concurrency=FULL,
                alarm=self.alarm,
            )
        )
        if found is None:
            return None
        if found[0] is Repair.SET_CONCURRENCY:
            self.concurrency = FULL
        else:
            self.start(found[0], "watchdog", self.version)
        return found[0]

    # -------------------------------------------------------------------------------------------------- to see

    @property
    def state(self) -> State:
        """The circuit's state, as the item has it."""
        return State(self.item.get("state", {}).get("S", State.CLOSED))

    @property
    def owner(self) -> str:
        """The machine that the item names."""
        return self.item.get("owner", {}).get("S", NO_OWNER)

    @property
    def version(self) -> Any:
        """The item's version."""
        return json.loads(self.item.get("version", {}).get("N", "0"))

    @property
    def mapping(self) -> str:
        """The mapping's state."""
        if self.change:
            return "Updating" if self.change[1] == self.enabled else "Enabling" if self.change[1] else "Disabling"
        return "Enabled" if self.enabled else "Disabled"

    @property
    def leaders(self) -> set[str]:
        """Machines that have claimed the circuit and run."""
        return {arn for arn, execution in self.running.items() if "Begin" in execution.visited}

    def lost(self) -> set[str]:
        """Orders that wait for delivery and are in no queue."""
        return self.waiting - {message.order for message in self.queue}

    # ------------------------------------------------------------------------------------- what machines call

    def call(self, execution: Execution, resource: str, arguments: Data) -> Data:
        """Do what a task asks for, or fail as it was told to."""
        action = resource.rpartition(":")[2]
        if action == "invoke":
            action = str(arguments["FunctionName"])
        self.calls[action] += 1
        self._settle_mapping()
        fault = self.faults.get(action)
        if fault:
            fault.times -= 1
            if not fault.times:
                del self.faults[action]
            if fault.after:
                getattr(self, f"_{action}")(execution, arguments)
            elif action == "stopExecution":
                self.survivors.add(arguments["ExecutionArn"])
            raise ServiceError(fault.error, "it was told to")
        return getattr(self, f"_{action}")(execution, arguments)

    def _getItem(self, _execution: Execution, _arguments: Data) -> Data:  # noqa: N802
        return {"Item": dict(self.item)} if self.item else {}

    def _updateItem(self, _execution: Execution, arguments: Data) -> Data:  # noqa: N802
        if arguments["Key"]["pk"]["S"] != "circuit#courier":
            return {}  # the pace, which no decision depends on
        names, values = arguments["ExpressionAttributeNames"], arguments["ExpressionAttributeValues"]
        terms = arguments["ConditionExpression"].split(" OR ")
        if not any(self._term(term, names, values) for term in terms):
            raise ServiceError("DynamoDb.ConditionalCheckFailedException")
        for name, value in re.findall(r"(#\w+) = (:\w+)", arguments["UpdateExpression"]):
            self.item[names[name]] = values[value]
        self.changed_at = self.now
        return {}

    def _term(self, term: str, names: dict[str, str], values: dict[str, Any]) -> bool:
        if found := re.fullmatch(r"attribute_not_exists\((#\w+)\)", term):
            return names[found[1]] not in self.item
        if found := re.fullmatch(r"NOT attribute_type\((#\w+), (:\w+)\)", term):
            return values[found[2]]["S"] not in self.item[names[found[1]]]
        name, value = term.split(" = ")
        return bool(self.item.get(names[name]) == values[value])

    def _getEventSourceMapping(self, _execution: Execution, _arguments: Data) -> Data:  # noqa: N802
        return {"State": self.mapping}

    def _updateEventSourceMapping(self, execution: Execution, arguments: Data) -> Data:  # noqa: N802
        assert execution.arn == self.owner or execution.arn in self.survivors, "who has lost the circuit changes it"
        if self.change:
            raise ServiceError("Lambda.ResourceInUseException")
        concurrency = arguments.get("ScalingConfig", {}).get("MaximumConcurrency", self.concurrency)
        self.change = (self.now + MAPPING_CHANGE_S, arguments["Enabled"], concurrency)
        return {}

    def _settle_mapping(self) -> None:
        if self.change and self.now >= self.change[0]:
            _, self.enabled, self.concurrency = self.change
            self.change = None

    def _receiveMessage(self, _execution: Execution, _arguments: Data) -> Data:  # noqa: N802
        visible = [message for message in self.queue if message.visible_at <= self.now]
        if not visible:
            return {}
        message = self.random.choice(visible)
        message.receives += 1
        message.visible_at = self.now + VISIBILITY_S
        return {
            "Messages": [
                {
                    "MessageId": message.handle,
                    "ReceiptHandle": message.handle,
                    "Body": message.order,
                    "Md5OfBody": "md5",
                    "Attributes": {"ApproximateReceiveCount": str(message.receives)},
                }
            ]
        }

    def _sendMessage(self, _execution: Execution, arguments: Data) -> Data:  # noqa: N802
        self._send(arguments["MessageBody"])
        return {}

    def _send(self, order: str) -> None:
        self.queue.append(Message(f"message-{next(self.names)}", order))

    def _deleteMessage(self, _execution: Execution, arguments: Data) -> Data:  # noqa: N802
        self.queue = [message for message in self.queue if message.handle != arguments["ReceiptHandle"]]
        return {}

    def _delivery(self, _execution: Execution, arguments: Data) -> Data:
        [record] = arguments["Payload"]["Records"]
        assert arguments["Payload"]["probe"] is True
        if record["body"].startswith("poison"):
            self.waiting.discard(record["body"])
            verdict = "nothing"
        elif self.healthy:
            verdict = "healthy" if record["body"] in self.waiting else "nothing"
            self.waiting.discard(record["body"])
        else:
            verdict = "sick"
        failures = [{"itemIdentifier": record["messageId"]}] if verdict == "sick" else []
        return {"Payload": {"verdict": verdict, "batchItemFailures": failures}}

    def _circuit(self, _execution: Execution, arguments: Data) -> Data:
        payload = arguments["Payload"]
        match payload["action"]:
            case "announce":
                self.told.append(payload["state"])
                if payload["state"] in ("closed", "broken") or (payload["state"] == "open" and not payload["told"]):
                    self.messages.append(payload["state"])
                return {"Payload": {}}
            case "wait":
                wait = probe_wait(payload["failures"], shortest=WAIT_MIN, longest=WAIT_MAX, random=self.random)
                return {"Payload": {"seconds": max(1, round(wait))}}
            case "ramp-step":
                return {"Payload": asdict(ramp_step(payload["number"], concurrency=FULL, rate=10.0))}
            case "health-check":
                return {"Payload": {"verdict": self.health_check}}
        raise ServiceError("KeyError")

    def _describeAlarms(self, _execution: Execution, _arguments: Data) -> Data:  # noqa: N802
        state = "ALARM" if self.alarm else "OK"
        return {"MetricAlarms": [{"StateValue": state}, {"StateValue": state}]}

    def _stopExecution(self, _execution: Execution, arguments: Data) -> Data:  # noqa: N802
        if arguments["ExecutionArn"] not in self.running:
            raise ServiceError("Sfn.ValidationException", "Execution is not running")
        self.crash(arguments["ExecutionArn"])
        return {}

    def _startExecution(self, _execution: Execution, arguments: Data) -> Data:  # noqa: N802
        given = json.loads(arguments["Input"])
        self.start(given["action"], given["cause"], given["version"])
        return {}

    def _keep(self, execution: Execution) -> None:
        if execution.result is None:
            self.running[execution.arn] = execution
        else:
            self.running.pop(execution.arn, None)
            self.ended.append(execution)
