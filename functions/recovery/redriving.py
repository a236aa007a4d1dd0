"""Moves letters from a dead-letter queue back to where they came from, a step at a time.

A letter is sent first and deleted afterwards: a crash in between leaves two copies and never none, and consumers take
an order twice without a second effect. One redrive at a time moves a queue; its claim, an item in the table of letters,
holds its progress as well.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from hub import circuit
from hub.dead_letters import BY_TARGET, Home, Letter, Look, Redriven, count, read_letter
from hub.instrument import logger
from hub.queues import REDRIVEN
from hub.redrive import Plan, failed_again

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageAttributeValueOutputTypeDef, MessageTypeDef
    from mypy_boto3_stepfunctions import SFNClient

# What the failure added to a message; a copy that starts afresh must not carry it, or it would tell an old reason.
ADDED_BY_FAILURE = (
    {"outcome", "reason", "answer", "first_received_at", "receive_count", "message_id"}
    | {"RULE_ARN", "TARGET_ARN", "ERROR_CODE", "ERROR_MESSAGE", "EXHAUSTED_RETRY_CONDITION", "RETRY_ATTEMPTS"}
    | {REDRIVEN}
)
# The one consumer that has nothing to do with the courier.
AWAY_FROM_THE_COURIER = {"sales"}

# How many letters of a queue a step looks at, and for how long. Of a longer queue it sees a part.
MOST_LOOKED_AT = 2000
LOOK_SECONDS = 25.0
# How many steps wait for letters that somebody else is looking at.
PATIENT_STEPS = 12
_CLAIM_SECONDS = 24 * 3600


class Refused(Exception):
    """A redrive must not begin; the message says why."""


@dataclass(frozen=True)
class Execution:
    """The execution that redrives."""

    arn: str
    name: str
    since: datetime

    @classmethod
    def read(cls, document: dict[str, str]) -> Execution:
        """Read it as the state machine gives it."""
        return cls(document["arn"], document["name"], datetime.fromisoformat(document["since"]))


@dataclass
class Step:
    """What one step did."""

    moved: int = 0
    for_good: int = 0
    """Of them, letters that were refused for good."""
    skipped: int = 0
    """Letters seen that were not asked for, or that no queue of the hub takes."""
    exhausted: bool = False
    idle: int = 0
    """Steps in a row that waited for letters that somebody else was looking at, this one included."""
    ended: str = ""
    """Why the redrive ends; empty if it goes on."""
    result: str = "done"

    def stop(self, why: str) -> None:
        """End the redrive before its time."""
        self.result, self.ended = "stopped", why


class Redriving:
    """Moves letters.

    Args:
        sqs: A boto3 client of SQS.
        dynamodb: A boto3 client of DynamoDB.
        machines: A boto3 client of Step Functions.
        homes: The dead-letter queues, by name.
        letter_table: The table of letters, with the claims.
        delivery_table: The table with the circuit's item; empty where there is no circuit.
    """

    def __init__(
        self,
        sqs: SQSClient,
        dynamodb: DynamoDBClient,
        machines: SFNClient,
        *,
        homes: dict[str, Home],
        letter_table: str,
        delivery_table: str,
    ) -> None:
        self._sqs = sqs
        self._dynamodb = dynamodb
        self._machines = machines
        self._homes = homes
        self._letter_table = letter_table
        self._delivery_table = delivery_table

    def begin(self, plan: Plan, execution: Execution) -> int:
        """Claim the queue, and return about how many letters it holds.

        Raises:
            Refused: The circuit is not closed, or another redrive moves this queue.
        """
        if why := self._circuit_forbids(plan):
            raise Refused(why)
        owner = self._claim(plan.queue, execution, former=None)
        if owner and self._runs(owner):
            raise Refused(f"another redrive of {plan.queue} runs: {owner}")
        if owner and (owner := self._claim(plan.queue, execution, former=owner)):
            raise Refused(f"another redrive of {plan.queue} has just begun: {owner}")
        return count(self._sqs, self._homes[plan.queue].url)

    def step(self, plan: Plan, execution: Execution, *, number: int, moved: int, idle: int) -> Step:
        """Move the letters of one step.

        Args:
            plan: What is asked for.
            execution: Who asks.
            number: Which step it is, from 0.
            moved: Letters that moved in earlier steps.
            idle: Steps in a row that waited for letters that somebody else was looking at.
        """
        step = Step()
        if why := self._circuit_forbids(plan):
            step.stop(why)
        elif due := plan.due(number, moved):
            try:
                self._move(plan, execution, due, step)
            except Exception as error:  # what has moved so far is to be noted, and nothing more is to move
                logger.exception("redrive stopped", queue=plan.queue)
                step.stop(f"a letter could not be moved: {type(error).__name__}: {error}")
        if not step.ended and plan.maximum is not None and moved + step.moved >= plan.maximum:
            step.ended = f"the {plan.maximum:,} letters that were asked for have moved"
        if not step.ended and step.exhausted:
            self._end_of_queue(plan, idle, step)
        self._note_progress(plan.queue, execution, step)
        return step

    def end(self, plan: Plan, execution: Execution) -> tuple[int, int]:
        """Release the queue; return about how many letters it holds, and how many of those that went came back."""
        url = self._homes[plan.queue].url
        with Look(self._sqs, url, most=MOST_LOOKED_AT, seconds=LOOK_SECONDS) as look:
            letters = [read_letter(message) for message in look]
        back = sum(1 for letter in letters if letter.redriven and letter.redriven.by == execution.name)
        self._release(plan.queue, execution)
        return count(self._sqs, url), back

    # -------------------------------------------------------------------------------------------------- letters

    def _move(self, plan: Plan, execution: Execution, due: int, step: Step) -> None:
        """Look at all letters, for one that says that failures have returned, and only then move those that are due.

        What comes back lies behind what has waited longer, so whoever looks only at what moves next sees it last.
        """
        home = self._homes[plan.queue]
        chosen: list[tuple[MessageTypeDef, Letter, str]] = []
        later = 0
        with Look(self._sqs, home.url, most=MOST_LOOKED_AT, seconds=LOOK_SECONDS) as look:
            for message in look:
                letter = read_letter(message)
                if why := failed_again(letter, me=execution.name, since=execution.since):
                    step.stop(why)
                    return
                destination = self._destination(home, letter) if plan.wants(letter) else None
                if destination is None:
                    step.skipped += 1
                elif len(chosen) < due:
                    chosen.append((message, letter, destination))
                else:
                    later += 1
            for message, letter, destination in chosen:
                self._send_again(look, message, letter, destination, execution, plan.delay(step.moved))
                step.moved += 1
                step.for_good += letter.refused_for_good
        step.exhausted = look.exhausted and later == 0

    def _destination(self, home: Home, letter: Letter) -> str | None:
        """Return the URL of the queue that a letter goes back to; None if no queue of the hub takes it."""
        if home.source != BY_TARGET:
            return home.source
        name = (letter.target or "").rpartition(":")[2]
        sources = [other.source for other in self._homes.values() if other.source not in ("", BY_TARGET)]
        return next((source for source in sources if source.rpartition("/")[2] == name), None)

    def _send_again(
        self, look: Look, message: MessageTypeDef, letter: Letter, destination: str, execution: Execution, delay: int
    ) -> None:
        times = letter.redriven.times if letter.redriven else 0
        again = Redriven(times + 1, datetime.now(UTC).isoformat(timespec="seconds"), execution.name)
        kept: dict[str, MessageAttributeValueOutputTypeDef] = {
            name: value
            for name, value in (message.get("MessageAttributes") or {}).items()
            if name not in ADDED_BY_FAILURE
        }
        self._sqs.send_message(
            QueueUrl=destination,
            MessageBody=message["Body"],
            MessageAttributes={**kept, REDRIVEN: {"DataType": "String", "StringValue": again.encode()}},
            DelaySeconds=delay,
        )
        look.remove(message)
        logger.info(
            "REDRIVEN",
            status="REDRIVEN",
            correlation_id=letter.correlation_id or "unknown",
            message_id=letter.message_id,
            cause=letter.cause,
            times=again.times,
        )

    def _end_of_queue(self, plan: Plan, idle: int, step: Step) -> None:
        """End, unless letters are hidden because somebody else is looking at them, such as the notifier.

        SQS's counts lag behind for up to a minute ("GetQueueAttributes", SQS API reference), so patience has an end.
        """
        hidden = count(self._sqs, self._homes[plan.queue].url) - step.skipped
        if hidden > 0 and idle < PATIENT_STEPS:
            step.idle = idle + 1
        else:
            step.ended = "no letter is left that was asked for" if plan.only_reason else "no letter is left to move"

    # ------------------------------------------------------------------------------------------- circuit and claim

    def _circuit_forbids(self, plan: Plan) -> str | None:
        if not self._delivery_table or plan.queue in AWAY_FROM_THE_COURIER:
            return None
        item = self._dynamodb.get_item(
            TableName=self._delivery_table, Key={"pk": {"S": circuit.ITEM_KEY}}, ConsistentRead=True
        ).get("Item", {})
        state = item.get("state", {}).get("S", circuit.State.CLOSED)
        if state == circuit.State.CLOSED:
            return None
        return (
            f"the circuit is {state}: the courier could not take the orders. Wait until it is closed, and start again"
        )

    def _claim(self, queue: str, execution: Execution, *, former: str | None) -> str | None:
        """Write the claim if nobody, this execution or a former owner has it; return who has it otherwise."""
        try:
            self._dynamodb.put_item(
                TableName=self._letter_table,
                Item={
                    **_key(queue),
                    "owner": {"S": execution.arn},
                    "moved": {"N": "0"},
                    "skipped": {"N": "0"},
                    "expires_at": {"N": str(int(time.time()) + _CLAIM_SECONDS)},
                },
                ConditionExpression="attribute_not_exists(pk) OR #owner IN (:me, :former)",
                ExpressionAttributeNames={"#owner": "owner"},
                ExpressionAttributeValues={":me": {"S": execution.arn}, ":former": {"S": former or execution.arn}},
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise
            item: Any = error.response.get("Item", {})
            return str(item["owner"]["S"])
        return None

    def _runs(self, execution: str) -> bool:
        try:
            return self._machines.describe_execution(executionArn=execution)["status"] == "RUNNING"
        except self._machines.exceptions.ExecutionDoesNotExist:
            return False

    def _note_progress(self, queue: str, execution: Execution, step: Step) -> None:
        """Add a step to the claim, and turn its numbers into the totals; whoever has lost the claim ends."""
        try:
            totals = self._dynamodb.update_item(
                TableName=self._letter_table,
                Key=_key(queue),
                UpdateExpression="SET skipped = :skipped ADD moved :moved, for_good :for_good",
                ConditionExpression="#owner = :me",
                ExpressionAttributeNames={"#owner": "owner"},
                ExpressionAttributeValues={
                    ":me": {"S": execution.arn},
                    ":moved": {"N": str(step.moved)},
                    ":for_good": {"N": str(step.for_good)},
                    ":skipped": {"N": str(step.skipped)},
                },
                ReturnValues="ALL_NEW",
            )["Attributes"]
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise
            step.stop(f"another redrive of {queue} has taken over")
        else:
            step.moved, step.for_good = (int(totals[name]["N"]) for name in ("moved", "for_good"))

    def _release(self, queue: str, execution: Execution) -> None:
        try:
            self._dynamodb.delete_item(
                TableName=self._letter_table,
                Key=_key(queue),
                ConditionExpression="attribute_not_exists(pk) OR #owner = :me",
                ExpressionAttributeNames={"#owner": "owner"},
                ExpressionAttributeValues={":me": {"S": execution.arn}},
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise
            logger.warning("the claim is somebody else's", queue=queue)


def _key(queue: str) -> dict[str, Any]:
    return {"pk": {"S": f"redrive#{queue}"}}
