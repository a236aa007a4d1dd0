"""Looks once a minute whether item, mapping and machine agree, and mends what does not (rules: ``hub.circuit``)."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from hub.circuit import ITEM_KEY, Observation, Repair, State, diagnose
from hub.instrument import logger
from hub.measures import CIRCUIT_LEVEL, CIRCUIT_LEVELS, CIRCUIT_NOT_CLOSED
from people import People

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_stepfunctions import SFNClient

# What of the item matters, with its type: an attribute of another type counts as missing here and for the machine.
_ATTRIBUTES = {"state": "S", "owner": "S", "reason": "S", "changed_at": "S", "version": "N"}


class Watchdog:
    """Keeps the circuit from being stuck.

    Args:
        dynamodb: A boto3 client of DynamoDB.
        lambdas: A boto3 client of Lambda.
        machines: A boto3 client of Step Functions.
        cloudwatch: A boto3 client of CloudWatch.
        people: Whom to tell of a repair.
        table: The table with the circuit's item.
        mapping: The event source mapping's id.
        alarms: The alarms that all fire when the courier is sick.
        full_concurrency: The mapping's MaximumConcurrency when the circuit is closed.
    """

    def __init__(
        self,
        dynamodb: DynamoDBClient,
        lambdas: LambdaClient,
        machines: SFNClient,
        cloudwatch: CloudWatchClient,
        people: People,
        *,
        table: str,
        mapping: str,
        alarms: tuple[str, ...],
        full_concurrency: int,
    ) -> None:
        self._dynamodb = dynamodb
        self._lambda = lambdas
        self._machines = machines
        self._cloudwatch = cloudwatch
        self._people = people
        self._table = table
        self._mapping = mapping
        self._alarms = alarms
        self._full_concurrency = full_concurrency

    def look(self, machine_arn: str) -> str | None:
        """Compare, and repair.

        Args:
            machine_arn: The circuit breaker's state machine.

        Returns:
            What was done, or None if nothing was wrong.
        """
        item = self._item()
        seen = self._observe(item, machine_arn)
        CIRCUIT_NOT_CLOSED.add(int(seen.state is not State.CLOSED))
        CIRCUIT_LEVEL.add(CIRCUIT_LEVELS[seen.state])
        found = diagnose(seen)
        if found is None:
            return None
        repair, wrong = found
        if repair is Repair.SET_CONCURRENCY:
            self._lambda.update_event_source_mapping(
                UUID=self._mapping, ScalingConfig={"MaximumConcurrency": self._full_concurrency}
            )
        else:
            self._start(machine_arn, repair, wrong, item)
        self._people.tell_repair(repair, wrong)
        return repair

    def _item(self) -> dict[str, str]:
        answer = self._dynamodb.get_item(TableName=self._table, Key={"pk": {"S": ITEM_KEY}}, ConsistentRead=True)
        stored: dict[str, Any] = answer.get("Item", {})
        return {name: stored[name][kind] for name, kind in _ATTRIBUTES.items() if kind in stored.get(name, {})}

    def _observe(self, item: dict[str, str], machine_arn: str) -> Observation:
        mapping = self._lambda.get_event_source_mapping(UUID=self._mapping)
        alarms = self._cloudwatch.describe_alarms(AlarmNames=list(self._alarms))["MetricAlarms"]
        return Observation(
            state=_state(item),
            age=_age(item),
            owned=self._is_running(item.get("owner", ""), machine_arn),
            mapping=mapping["State"],
            concurrency=mapping.get("ScalingConfig", {}).get("MaximumConcurrency"),
            full_concurrency=self._full_concurrency,
            alarm=len([alarm for alarm in alarms if alarm["StateValue"] == "ALARM"]) == len(self._alarms),
        )

    def _is_running(self, execution_arn: str, machine_arn: str) -> bool:
        # Any other machine's execution leads nothing, and asking for it is refused, which would blind the watchdog.
        if not execution_arn.startswith(machine_arn.replace(":stateMachine:", ":execution:") + ":"):
            return False
        try:
            return self._machines.describe_execution(executionArn=execution_arn)["status"] == "RUNNING"
        except ClientError as error:
            if error.response["Error"]["Code"] in ("ExecutionDoesNotExist", "InvalidArn"):
                return False
            raise

    def _start(self, machine_arn: str, repair: Repair, wrong: str, item: dict[str, str]) -> None:
        """Start a machine; if somebody else was faster, it finds another version than this one, and ends."""
        reason = item.get("reason", wrong) if repair is Repair.RESUME else wrong
        version = json.loads(item.get("version", "0"))
        given = {"action": repair, "reason": reason, "cause": "watchdog", "version": version}
        self._machines.start_execution(stateMachineArn=machine_arn, input=json.dumps(given))


def _state(item: dict[str, str]) -> State:
    try:
        return State(item.get("state", State.CLOSED))
    except ValueError:
        logger.error("the item of the circuit is broken", item=item)
        return State.BROKEN


def _age(item: dict[str, str]) -> float:
    try:
        return (datetime.now(UTC) - datetime.fromisoformat(item["changed_at"])).total_seconds()
    except (KeyError, ValueError, TypeError):
        return float("inf")
