"""The client of the courier's API. To deliver through somebody else, change this file."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass

import urllib3

from hub.events import Event
from hub.instrument import logger
from hub.outcomes import Outcome, classify, parse_retry_after

_ANSWER_CHARACTERS = 500


@dataclass(frozen=True)
class Answer:
    """What came of one call to the courier."""

    outcome: Outcome
    reason: str
    """In words, for logs and dead letters: the status, or what happened to the connection."""
    status: int | None = None
    retry_after: float | None = None
    """Seconds that the courier asks us to wait."""
    body: str = ""
    """The start of the answer's body."""


class Courier:
    """The courier's API, with one pool of connections that are kept alive.

    Args:
        url: Where a POST schedules a delivery.
        timeout: Seconds that a call may take, connection included.
        api_key: Gives the key; called with True when the courier refused the last one, to read it afresh.
        connections: Calls at a time.
    """

    def __init__(self, url: str, *, timeout: float, api_key: Callable[[bool], str], connections: int = 10) -> None:
        self._url = url
        self._timeout = timeout
        self._api_key = api_key
        self._pool = urllib3.PoolManager(maxsize=connections, block=False, retries=False)

    @property
    def timeout(self) -> float:
        """Seconds that a call may take."""
        return self._timeout

    def deliver(self, order: Event) -> Answer:
        """Ask the courier to deliver an order, once. Never raises for what the courier or the network does."""
        key = self._api_key(False)
        answer = self._call(order, key)
        if answer.status in (401, 403) and (rotated := self._api_key(True)) != key:
            return self._call(order, rotated)
        return answer

    def _call(self, order: Event, api_key: str) -> Answer:
        started = time.monotonic()
        try:
            response = self._pool.request(
                "POST",
                self._url,
                body=json.dumps(order.data, ensure_ascii=False, separators=(",", ":")).encode(),
                headers={
                    "Content-Type": "application/json",
                    "Idempotency-Key": order.event_id,
                    "X-Correlation-Id": order.correlation_id,
                    "x-api-key": api_key,
                },
                timeout=urllib3.Timeout(total=self._timeout),
            )
        except urllib3.exceptions.TimeoutError:
            answer = Answer(classify(None), f"no answer within {self._timeout:g} s")
        except urllib3.exceptions.HTTPError as error:
            answer = Answer(classify(None), f"connection failed: {type(error).__name__}")
        else:
            retry_after = parse_retry_after(response.headers.get("Retry-After"), time.time())
            outcome = classify(response.status, retry_after)
            body = response.data.decode(errors="replace")[:_ANSWER_CHARACTERS]
            answer = Answer(outcome, f"HTTP {response.status}", response.status, retry_after, body)
        logger.info(
            "courier call",
            outcome=answer.outcome,
            http_status=answer.status,
            duration_seconds=round(time.monotonic() - started, 3),
            retry_after=answer.retry_after,
        )
        return answer
