"""What the machines that put things right need code for: redrive.asl.yaml and replay.asl.yaml.

A machine owns its loop and its waits; this function checks what people ask for, moves the letters of a step, and tells
people of the end. The rules are in ``hub.redrive`` and ``hub.replay``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import boto3

from hub import settings
from hub.dead_letters import read_homes
from hub.instrument import LambdaContext, instrument, logger
from hub.measures import LETTERS_REDRIVEN
from hub.redrive import STEP_SECONDS, InvalidPlan, read_plan
from hub.replay import InvalidReplay, read_rules, read_window, replay_name
from redriving import Execution, Redriving, Refused
from report import redrive_report, replay_report


@dataclass(frozen=True)
class Settings:
    """Environment of the function; template.yaml says what each one is."""

    dead_letter_queues: str
    letter_table_name: str
    alarm_topic_arn: str
    replay_rules: str
    archive_retention_days: int
    delivery_table_name: str = ""


SETTINGS = settings.load(Settings)
HOMES = read_homes(SETTINGS.dead_letter_queues)
RULES = read_rules(SETTINGS.replay_rules)
SNS = boto3.client("sns")
REDRIVING = Redriving(
    boto3.client("sqs"),
    boto3.client("dynamodb"),
    boto3.client("stepfunctions"),
    homes=HOMES,
    letter_table=SETTINGS.letter_table_name,
    delivery_table=SETTINGS.delivery_table_name,
)


@instrument
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Do what the event's ``action`` names.

    Raises:
        KeyError: There is no such action.
    """
    return ACTIONS[event["action"]](event)


def begin_redrive(event: dict[str, Any]) -> dict[str, Any]:
    """Check what is asked for (``input``) and claim its queue; ``refused`` says why not, and is empty otherwise."""
    try:
        plan = read_plan(event["input"], HOMES)
        letters = REDRIVING.begin(plan, Execution.read(event["execution"]))
    except (InvalidPlan, Refused) as error:
        return {"refused": str(error), "plan": {"queue": _named(event["input"], "queue")}, "step_seconds": 0}
    logger.info("REDRIVE BEGINS", letters=letters, plan=plan.document())
    return {"refused": "", "plan": plan.document(), "step_seconds": STEP_SECONDS}


def step_redrive(event: dict[str, Any]) -> dict[str, Any]:
    """Move the letters of step ``number``; ``ended`` says why it was the last one, and is empty if it was not."""
    step = REDRIVING.step(
        read_plan(event["plan"], HOMES),
        Execution.read(event["execution"]),
        number=int(event["number"]),
        moved=int(event["moved"]),
        idle=int(event["idle"]),
    )
    return {
        "moved": step.moved,
        "for_good": step.for_good,
        "skipped": step.skipped,
        "idle": step.idle,
        "ended": step.ended,
        "result": step.result,
    }


def end_redrive(event: dict[str, Any]) -> dict[str, Any]:
    """Release the queue, and tell people how the redrive ended."""
    end = {key: event[key] for key in ("result", "why", "moved", "for_good", "skipped")}
    end = {**end, "queue": event["plan"]["queue"], "moved": int(end["moved"])}
    left, back = None, 0
    if end["result"] != "refused":
        left, back = REDRIVING.end(read_plan(event["plan"], HOMES), Execution.read(event["execution"]))
    LETTERS_REDRIVEN.add(end["moved"])
    _tell("REDRIVE", end | {"left": left, "back": back}, redrive_report(end, left=left, back=back))
    return end | {"left": left, "back": back}


def begin_replay(event: dict[str, Any]) -> dict[str, Any]:
    """Check what is asked for (``input``); ``refused`` says why not, and is empty if the replay may begin."""
    given = event["input"]
    shown = {field: _named(given, field) for field in ("rule", "from", "to")}
    try:
        window = read_window(given, RULES, retention_days=SETTINGS.archive_retention_days, now=datetime.now(UTC))
    except InvalidReplay as error:
        return {"refused": str(error), "mark": "", "rule_arn": "", **shown}
    return {
        "refused": "",
        "mark": replay_name(window.consumer, event["execution"]["name"]),
        "rule_arn": RULES[window.consumer],
        "rule": window.consumer,
        "from": _iso(window.begin),
        "to": _iso(window.end),
    }


def end_replay(event: dict[str, Any]) -> dict[str, Any]:
    """Tell people how the replay ended."""
    end = {key: event[key] for key in ("result", "why", "rule", "from", "to", "mark")}
    _tell("REPLAY", end, replay_report(end, now=datetime.now(UTC)))
    return end


def _tell(what: str, end: dict[str, Any], message: tuple[str, str]) -> None:
    logger.info(what, **{f"{what.lower()}_{key}": value for key, value in end.items()})
    subject, text = message
    SNS.publish(TopicArn=SETTINGS.alarm_topic_arn, Subject=subject, Message=text)


def _iso(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _named(given: Any, field: str) -> str:
    """Return what a person gave in a field, fit for a subject; it may be anything."""
    text = given.get(field) if isinstance(given, dict) else None
    return text if isinstance(text, str) and text.isascii() and text.isprintable() and 0 < len(text) <= 40 else "?"


ACTIONS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "begin-redrive": begin_redrive,
    "step-redrive": step_redrive,
    "end-redrive": end_redrive,
    "begin-replay": begin_replay,
    "end-replay": end_replay,
}
