"""Tells people of every dead letter, once: with its event, its reason, its story and the way to send it again.

The queues' alarms and a schedule invoke it; it looks at all queues each time. A letter stays where it is, so that a
redrive finds it. It counts as told only when the message about it is out: who is told twice has lost nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import boto3

from hub import settings
from hub.dead_letters import Home, Letter, Look, count, read_homes, read_letter
from hub.instrument import LambdaContext, instrument, logger
from hub.measures import DEAD_LETTERS_TOLD
from message import Reader, compose
from told import Told


@dataclass(frozen=True)
class Settings:
    """Environment of the function; template.yaml says what each one is."""

    dead_letter_queues: str
    letter_table_name: str
    alarm_topic_arn: str
    redrive_command: str
    stack_name: str
    story_query: str
    log_group_names: str


SETTINGS = settings.load(Settings)
HOMES = read_homes(SETTINGS.dead_letter_queues)
READER = Reader(
    region=os.environ["AWS_REGION"],
    stack=SETTINGS.stack_name,
    redrive_command=SETTINGS.redrive_command,
    story_query=SETTINGS.story_query,
    log_groups=SETTINGS.log_group_names.split(","),
)
SQS = boto3.client("sqs")
SNS = boto3.client("sns")
TOLD = Told(boto3.resource("dynamodb"), SETTINGS.letter_table_name)

# At once, of one queue. The rest of a flood is counted, and looked at the next time.
MOST_LETTERS = 1000
# Left after the last look, to tell and to remember.
SETTLING_SECONDS = 15.0


class NotTold(Exception):
    """People could not be told of the letters of some queues. Lambda tries again, and an alarm says so."""


@instrument
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    """Look at every queue, whatever the event, and return how many letters of each people were told of.

    Raises:
        NotTold: At least one queue could not be looked at, or told of; all others were.
    """
    told: dict[str, int] = {}
    failed: list[str] = []
    for position, home in enumerate(HOMES.values()):
        left = context.get_remaining_time_in_millis() / 1000 - SETTLING_SECONDS
        try:
            told[home.name] = tell(home, seconds=left / (len(HOMES) - position))
        except Exception as error:  # the letters of the other queues are as important
            logger.exception("queue not told of", queue=home.name)
            failed.append(f"{home.name} ({type(error).__name__})")
    if failed:
        raise NotTold(f"people were not told of {', '.join(failed)}")
    return told


def tell(home: Home, *, seconds: float) -> int:
    """Tell people of what is new in a queue, and return how many letters that is.

    Args:
        home: The queue.
        seconds: How long to look at most.
    """
    with Look(SQS, home.url, most=MOST_LETTERS, seconds=seconds) as look:
        letters = {message["MessageId"]: read_letter(message) for message in look}
    known = TOLD.among(home.name, list(letters))
    news = [letter for letter in letters.values() if letter.message_id not in known]
    if not news:
        return 0
    subject, text = compose(
        home,
        sorted(news, key=lambda letter: letter.sent_at),
        total=count(SQS, home.url),
        complete=look.exhausted,
        reader=READER,
        now=datetime.now(UTC),
    )
    SNS.publish(TopicArn=SETTINGS.alarm_topic_arn, Subject=subject, Message=text)
    TOLD.remember(home.name, [letter.message_id for letter in news])
    DEAD_LETTERS_TOLD.add(len(news))
    _log(home, news)
    return len(news)


def _log(home: Home, news: list[Letter]) -> None:
    for letter in news:
        logger.warning(
            "DEAD LETTER TOLD",
            queue=home.name,
            outcome=letter.outcome,
            reason=letter.reason,
            correlation_id=letter.correlation_id or "unknown",
            message_id=letter.message_id,
        )
