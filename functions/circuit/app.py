"""What the circuit breaker's machine, and the watchdog beside it, need code for.

The machine (``statemachines/circuit_breaker.asl.yaml``) asks how long to wait, what the next step of its ramp allows,
and whether the courier's health check answers, and has its transitions announced. A schedule asks to watch. The rules
are in ``hub.circuit``; what an announcement tells is gathered in ``evidence``, contradictions are mended in
``watchdog``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from random import SystemRandom
from typing import Any

import boto3
import urllib3
from botocore.config import Config

from evidence import Evidence
from hub import settings
from hub.circuit import Verdict, probe_wait, ramp_step
from hub.event_bus import EventBus
from hub.instrument import LambdaContext, instrument, logger
from people import People
from watchdog import Watchdog


@dataclass(frozen=True)
class Settings:
    """Environment of the function; template.yaml says what each one is."""

    hub_bus_name: str
    alarm_topic_arn: str
    delivery_table_name: str
    delivery_queue_url: str
    delivery_mapping_id: str
    delivery_log_group_name: str
    failure_rate_alarm: str
    call_volume_alarm: str
    maximum_concurrency: int
    courier_rate: float
    probe_wait_min: float
    probe_wait_max: float
    health_check_url: str = ""


SETTINGS = settings.load(Settings)
HEALTH_CHECK_SECONDS = 10.0
# What people are told is worth a few seconds; the machine must not wait for it in vain.
BRIEF = Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 2})
EVIDENCE = Evidence(
    logs=boto3.client("logs", config=BRIEF),
    cloudwatch=boto3.client("cloudwatch", config=BRIEF),
    sqs=boto3.client("sqs", config=BRIEF),
    log_group=SETTINGS.delivery_log_group_name,
    queue_url=SETTINGS.delivery_queue_url,
)
PEOPLE = People(
    EventBus(SETTINGS.hub_bus_name, boto3.client("events")),
    boto3.client("sns"),
    topic_arn=SETTINGS.alarm_topic_arn,
    evidence=EVIDENCE,
)
WATCHDOG = Watchdog(
    boto3.client("dynamodb"),
    boto3.client("lambda"),
    boto3.client("stepfunctions"),
    boto3.client("cloudwatch"),
    PEOPLE,
    table=SETTINGS.delivery_table_name,
    mapping=SETTINGS.delivery_mapping_id,
    alarms=(SETTINGS.failure_rate_alarm, SETTINGS.call_volume_alarm),
    full_concurrency=SETTINGS.maximum_concurrency,
)
HTTP = urllib3.PoolManager(retries=False)
RANDOM = SystemRandom()


@instrument
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Do what the event's ``action`` names.

    Raises:
        KeyError: There is no such action.
    """
    return ACTIONS[event["action"]](event)


def wait(event: dict[str, Any]) -> dict[str, Any]:
    """Say for how many seconds to wait before the next round of probes, given ``failures``, the rounds that failed."""
    seconds = probe_wait(
        event["failures"], shortest=SETTINGS.probe_wait_min, longest=SETTINGS.probe_wait_max, random=RANDOM
    )
    return {"seconds": max(1, round(seconds))}


def next_step(event: dict[str, Any]) -> dict[str, Any]:
    """Say what step ``number`` of the ramp allows, from 0."""
    return asdict(ramp_step(event["number"], concurrency=SETTINGS.maximum_concurrency, rate=SETTINGS.courier_rate))


def announce(event: dict[str, Any]) -> dict[str, Any]:
    """Tell the bus, the metrics and, where they need to know, people of a transition."""
    PEOPLE.tell_transition(event)
    return {}


def check_health(_event: dict[str, Any]) -> dict[str, Any]:
    """Ask the courier's health check: healthy if it answers 2xx, else sick; nothing if there is none to ask."""
    if not SETTINGS.health_check_url:
        return {"verdict": Verdict.NOTHING}
    try:
        status = HTTP.request("GET", SETTINGS.health_check_url, timeout=HEALTH_CHECK_SECONDS, redirect=False).status
    except urllib3.exceptions.HTTPError as error:
        logger.warning("health check failed", reason=f"{type(error).__name__}: {error}")
        return {"verdict": Verdict.SICK}
    logger.info("health check", http_status=status)
    return {"verdict": Verdict.HEALTHY if 200 <= status < 300 else Verdict.SICK}


def watch(event: dict[str, Any]) -> dict[str, Any]:
    """Look for a contradiction between item, mapping and machine (``state_machine_arn``), and mend it."""
    return {"repair": WATCHDOG.look(event["state_machine_arn"])}


ACTIONS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "wait": wait,
    "ramp-step": next_step,
    "announce": announce,
    "health-check": check_health,
    "watch": watch,
}
