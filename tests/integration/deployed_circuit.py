"""The circuit of a deployed hub, as its watchers see it."""

from __future__ import annotations

import json
from typing import Any

from tests.integration.conftest import FAST
from tests.integration.deployed_hub import Hub, eventually

QUICK = FAST | {
    "CircuitProbeWaitMin": "2",
    "CircuitProbeWaitMax": "3",
    "CircuitRampSeconds": "1",
    "CircuitMinimumCalls": "10",
}


class Circuit:
    """The circuit of a deployed hub."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.outputs = hub.stack.outputs
        self.machines = hub.stack.client("stepfunctions")
        self.functions = hub.stack.client("lambda")

    @property
    def item(self) -> dict[str, str]:
        """The circuit's item as text."""
        answer = self.hub.dynamodb.get_item(
            TableName=self.outputs["DeliveryTableName"], Key={"pk": {"S": "circuit#courier"}}, ConsistentRead=True
        )
        item = {name: str(next(iter(value.values()))) for name, value in answer.get("Item", {}).items()}
        return {"state": "closed", "version": "0"} | item

    @property
    def mapping(self) -> tuple[str, int]:
        """State and MaximumConcurrency of the mapping."""
        mapping = self.functions.get_event_source_mapping(UUID=self.outputs["DeliveryMappingId"])
        return mapping["State"], mapping["ScalingConfig"]["MaximumConcurrency"]

    def start(self, action: str, **more: Any) -> str:
        """Start the machine as a person does."""
        given = {"action": action, "reason": f"test: {action}", "cause": "person"} | more
        return str(
            self.machines.start_execution(stateMachineArn=self.outputs["CircuitBreakerArn"], input=json.dumps(given))[
                "executionArn"
            ]
        )

    def ended(self, execution: str, within: float = 60) -> dict[str, Any]:
        """Wait for the end of an execution; returns its status and output."""

        def end() -> dict[str, Any] | None:
            described = self.machines.describe_execution(executionArn=execution)
            return None if described["status"] == "RUNNING" else dict(described)

        described = eventually(end, within=within, what=f"{execution} ends; {self.item}, {self.mapping}")
        assert described is not None
        return described

    def reaches(self, *states: str, within: float = 60) -> None:
        """Wait until the circuit is in one of some states."""
        eventually(lambda: self.item["state"] in states, within=within, what=f"{states}; {self.item} {self.mapping}")

    def closes(self, within: float = 90) -> None:
        """Wait until item, mapping and machine agree that the circuit is closed."""
        sound = ("closed", ("Enabled", 3), [])
        eventually(
            lambda: (self.item["state"], self.mapping, self.running) == sound,
            within=within,
            what=f"closed; {self.item}, {self.mapping}, {self.running}",
        )

    @property
    def running(self) -> list[str]:
        """The executions that run."""
        answer = self.machines.list_executions(
            stateMachineArn=self.outputs["CircuitBreakerArn"], statusFilter="RUNNING"
        )
        return [execution["executionArn"] for execution in answer["executions"]]

    def watch(self) -> str | None:
        """Let the watchdog look once."""
        answer = self.functions.invoke(
            FunctionName=self.outputs["CircuitFunctionName"],
            Payload=json.dumps({"action": "watch", "state_machine_arn": self.outputs["CircuitBreakerArn"]}),
        )
        payload = json.loads(answer["Payload"].read())
        assert "FunctionError" not in answer, payload
        repair: str | None = payload["repair"]
        return repair
