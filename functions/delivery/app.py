"""Hands each notified order to the courier.

The same function in both variants: with flow control it takes batches from DeliveryQueue (``queued``), without it the
event bus invokes it once for each order (``direct``).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import Any

import boto3
from aws_lambda_powertools.utilities import parameters
from botocore.config import Config

from hub import settings
from hub.courier import Courier
from hub.event_bus import EventBus
from hub.instrument import LambdaContext, instrument


@dataclass(frozen=True)
class Settings:
    """Environment of the function; template.yaml says what each one is."""

    flow_control: str
    hub_bus_name: str
    courier_url: str
    courier_secret_arn: str
    courier_timeout: float
    remembered_seconds: int
    courier_rate: float = 0.0
    courier_burst: float = 0.0
    maximum_concurrency: int = 0
    maximum_receives: int = 0
    direct_retry_wait_min: float = 3.0
    direct_retry_wait_max: float = 8.0
    delivery_queue_url: str = ""
    delivery_table_name: str = ""
    dead_letter_queue_url: str = ""


SETTINGS = settings.load(Settings)
# Times out before it costs a batch its time.
QUICK = Config(connect_timeout=1, read_timeout=1, retries={"total_max_attempts": 2})
BUS = EventBus(SETTINGS.hub_bus_name, boto3.client("events"))
_KEY_LOCK = Lock()
_KEY_SECONDS = 3600


@cache
def _secrets() -> parameters.SecretsProvider:
    return parameters.SecretsProvider(boto_config=QUICK)


def api_key(refused: bool) -> str:
    """Return the courier's API key: read once an hour, or at once when the courier refused the last one."""
    with _KEY_LOCK:
        secret: Any = _secrets().get(
            SETTINGS.courier_secret_arn, transform="json", max_age=_KEY_SECONDS, force_fetch=refused
        )
    key = str(secret["api_key"]).strip()
    if not key.isascii() or not key.isprintable() or not key:
        raise ValueError("the courier's secret must hold an api_key of printable ASCII characters")
    return key


COURIER = Courier(SETTINGS.courier_url, timeout=SETTINGS.courier_timeout, api_key=api_key)

# Each variant imports what it needs: tenacity has no part in the queued one, nor have tables and queues in the other.
if SETTINGS.flow_control == "enabled":
    from hub.pacer import Pacer
    from hub.pacing import Limits
    from hub.queues import DeadLetterQueue
    from once import OnceCourier
    from queued import QueuedDelivery

    DYNAMODB = boto3.client("dynamodb", config=QUICK)
    SQS = boto3.client("sqs")
    deliver: Any = QueuedDelivery(
        OnceCourier(COURIER, SETTINGS.delivery_table_name, DYNAMODB, remembered_seconds=SETTINGS.remembered_seconds),
        Pacer(
            SETTINGS.delivery_table_name,
            DYNAMODB,
            Limits(SETTINGS.courier_rate, SETTINGS.courier_burst),
            executions=SETTINGS.maximum_concurrency,
        ),
        BUS,
        SQS,
        queue_url=SETTINGS.delivery_queue_url,
        dead_letters=DeadLetterQueue(SETTINGS.dead_letter_queue_url, SQS),
        maximum_receives=SETTINGS.maximum_receives,
    )
else:
    from direct import DirectDelivery

    deliver = DirectDelivery(COURIER, BUS, SETTINGS.direct_retry_wait_min, SETTINGS.direct_retry_wait_max)


@instrument
def handler(event: dict[str, Any], context: LambdaContext) -> Any:
    """Deliver the orders of a batch from the queue, or the one order of an event from the bus."""
    return deliver(event, context)
