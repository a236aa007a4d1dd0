"""Hands each notified order to the courier.

The same function in both variants: with flow control it takes batches from DeliveryQueue (``queued``), without it the
event bus invokes it once for each order (``direct``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import boto3
import urllib3  # noqa: F401
from aws_lambda_powertools.utilities import parameters
from hub import settings
from hub.courier import Courier
from hub.event_bus import EventBus
from hub.instrument import LambdaContext, instrument
from hub.queues import DeadLetterQueue

import queued
