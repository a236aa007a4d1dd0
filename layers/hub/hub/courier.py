"""The client of the courier's API. To deliver through somebody else, change this file."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import urllib3

from hub.events import Event, encode
from hub.instrument import logger
from hub.outcomes import Outcome, classify, parse_retry_after
from hub.redaction import REDACTED

_BODY_BYTES = 16 * 1024


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
        answer = self._post(order, api_key, deadline=started + self._timeout)
        logger.info(
            "courier call",
            outcome=answer.outcome,
            reason=answer.reason,
            http_status=answer.status,
            duration_seconds=round(time.monotonic() - started, 3),
            retry_after=answer.retry_after,
        )
        return answer

    def _post(self, order: Event, api_key: str, deadline: float) -> Answer:
        try:
            response = self._pool.request(
                "POST",
                self._url,
                body=encode(order.data),
                headers={
                    "Content-Type": "application/json",
                    "Idempotency-Key": order.event_id,
                    "X-Correlation-Id": order.correlation_id,
                    "x-api-key": api_key,
                },
                timeout=urllib3.Timeout(total=self._timeout),
                preload_content=False,
            )
        except urllib3.exceptions.NewConnectionError as error:  # which calls itself a time-out as well
            return Answer(classify(None), f"connection failed: {type(error).__name__}")
        except urllib3.exceptions.TimeoutError:
            return Answer(classify(None), f"no answer within {self._timeout:g} s")
        except urllib3.exceptions.HTTPError as error:
            return Answer(classify(None), f"connection failed: {type(error).__name__}")
        retry_after = parse_retry_after(response.headers.get("Retry-After"), time.time())
        outcome = classify(response.status, retry_after)
        body = _read(response, deadline).replace(api_key, REDACTED)
        return Answer(outcome, f"HTTP {response.status}", response.status, retry_after, body)


def _read(response: urllib3.BaseHTTPResponse, deadline: float) -> str:
    """Read the start of an answer's body. The status has decided already, so a body that dawdles is not waited for."""
    body = b""
    complete = False
    if response.status < 200:  # an interim answer: the next one on this connection would be taken for another order's
        response.close()
        return ""
    try:
        while len(body) < _BODY_BYTES and (left := deadline - time.monotonic()) > 0:
            if (sock := getattr(response.connection, "sock", None)) is not None:
                sock.settimeout(left)
            piece = response.read1(_BODY_BYTES)
            complete = not piece
            if complete:
                break
            body += piece
    except (urllib3.exceptions.HTTPError, OSError):
        pass
    if complete:
        response.release_conn()
    else:
        response.close()
    return body[:_BODY_BYTES].decode(errors="replace")
