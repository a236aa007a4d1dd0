"""Dead letters: where they lie, what each of the four kinds tells, and how to look at them without taking them away.

| who wrote it | what says why |
|---|---|
| a function of the hub (``hub.queues.DeadLetterQueue``) | attributes ``outcome``, ``reason``, ``answer`` |
| EventBridge, of a rule's target | attributes ``RULE_ARN``, ``TARGET_ARN``, ``ERROR_CODE``, ``ERROR_MESSAGE`` |
| Lambda, of an asynchronous or a stream's invocation | ``requestContext`` and ``responsePayload`` in the body |
| SQS, after a queue's maxReceiveCount | nothing: only how often it was received |
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from hub.instrument import logger
from hub.queues import GIVEN_UP, REDRIVEN
from hub.redaction import private_texts, redact, redact_text

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

NO_REASON = "unknown: no reason was recorded; SQS moved it after the queue's last receive"
BY_TARGET = "*"


# ---------------------------------------------------------------------------------------------- where they lie


@dataclass(frozen=True)
class Home:
    """A dead-letter queue of the stack."""

    name: str
    """What people call it."""
    url: str
    source: str = ""
    """The URL of the queue to which its letters go back: ``*`` for the one that each letter names, empty for none."""
    target: str = ""
    """The make target that puts right what has no queue to go back to; empty for none."""

    def way(self, stack: str) -> str:
        """Return what people do to put its letters right, best a command for them to copy.

        Args:
            stack: The stack's name.
        """
        if self.source:
            return f"make redrive QUEUE={self.name} STACK={stack}"
        if self.target:
            return f"make {self.target} STACK={stack}"
        return f"docs/dead-letters.md, {self.name}"


def read_homes(text: str) -> dict[str, Home]:
    """Read the setting ``DEAD_LETTER_QUEUES``: the stack's dead-letter queues, by name.

    >>> homes = read_homes("sales=https://q/sales-dead>https://q/sales,stream=https://q/stream-dead!export-replay")
    >>> homes["sales"].source, homes["stream"].way("hub")
    ('https://q/sales', 'make export-replay STACK=hub')

    Args:
        text: ``name=url>source`` for each queue, with commas between. A source ``*`` is the target that EventBridge
            names in each letter. ``name=url!target`` where the letters go back to no queue, and a make target puts them
            right.

    Raises:
        ValueError: Naming the entry that is not of this form, or that has a name for the second time.
    """
    homes: dict[str, Home] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        name, equals, urls = entry.partition("=")
        rest, _, source = urls.partition(">")
        url, _, target = rest.partition("!")
        if not (name and equals and url) or (source and target) or name in homes:
            raise ValueError(
                f"DEAD_LETTER_QUEUES has {entry!r}; each must be name=url, name=url>source or name=url!target, "
                "and one only"
            )
        homes[name] = Home(name, url, source, target)
    return homes


# ---------------------------------------------------------------------------------------------- what they tell


@dataclass(frozen=True)
class Redriven:
    """That a message was dead before, and sent again."""

    times: int
    at: str
    by: str
    """The execution that sent it again."""

    def encode(self) -> str:
        """Return the attribute's text."""
        return json.dumps({"times": self.times, "at": self.at, "by": self.by}, separators=(",", ":"))

    @classmethod
    def decode(cls, text: str) -> Redriven | None:
        """Read the attribute; None if it is missing or is not ours."""
        try:
            found = json.loads(text)
            return cls(int(found["times"]), readable(str(found["at"])), readable(str(found["by"])))
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            return None


@dataclass(frozen=True)
class Letter:
    """A dead letter as people need to know it. Nothing in it is private, or could not be shown, but ``body``."""

    message_id: str
    outcome: str
    reason: str
    answer: str
    """What the courier said; empty if it was not asked, or said nothing."""
    correlation_id: str | None
    order_id: str | None
    tries: int
    """How often it was tried, or received where nobody counted tries."""
    first_at: datetime | None
    """When it was first received; None if that is not known."""
    died_at: datetime | None
    """When it was dead-lettered; None where SQS moved it, which records no time."""
    sent_at: datetime
    """SQS's time of it: that of ``died_at``, or for what SQS moved the time at which it was first sent."""
    target: str | None
    """The ARN of the target that EventBridge could not reach."""
    redriven: Redriven | None
    body: str

    @property
    def cause(self) -> str:
        """Outcome and reason: what letters are counted by, and what ``only_reason`` is looked for in."""
        return f"{self.outcome}: {self.reason}"

    @property
    def refused_for_good(self) -> bool:
        """Whether it dies again unless what was wrong has been corrected."""
        return self.outcome in ("permanent", "poison") and not self.reason.startswith(GIVEN_UP)

    @property
    def shown(self) -> str:
        """The failed event without personal data; of a body that nobody can read, size and fingerprint."""
        return readable(str(redact({"body": self.body}, frozenset(private_texts(self.body)))["body"]))


def read_letter(message: MessageTypeDef) -> Letter:
    """Read a message of a dead-letter queue, whoever wrote it, and however broken it is.

    Args:
        message: As ReceiveMessage gives it, with all its attributes.
    """
    attributes = {
        name: value.get("StringValue", "") for name, value in (message.get("MessageAttributes") or {}).items()
    }
    system = {str(name): value for name, value in (message.get("Attributes") or {}).items()}
    body = message.get("Body", "")
    document = _document(body)
    told = _told_by_hub(attributes) or _told_by_event_bus(attributes, document) or _told_by_lambda(document)
    sent_at = _milliseconds(system.get("SentTimestamp")) or datetime.now(UTC)
    receives = int(system.get("ApproximateReceiveCount", "1"))
    outcome, _, reason = NO_REASON.partition(": ")
    facts: dict[str, Any] = {
        "outcome": outcome,
        "reason": reason,
        "tries": receives,
        "first_at": sent_at,
        "died_at": None,
    } | told
    event = _of(document, "requestPayload") or document
    return Letter(
        message_id=message.get("MessageId", ""),
        outcome=readable(facts["outcome"]),
        reason=readable(redact_text(facts["reason"], frozenset(private_texts(body)))),
        answer=readable(attributes.get("answer", "")),
        correlation_id=readable(attributes["correlation_id"])
        if attributes.get("correlation_id")
        else _text(event, "detail", "metadata", "correlation_id"),
        order_id=_text(event, "detail", "data", "order_id") or _text(event, "order_id"),
        tries=facts["tries"],
        first_at=facts["first_at"],
        died_at=facts["died_at"] or (sent_at if told else None),
        sent_at=sent_at,
        target=readable(attributes["TARGET_ARN"]) if "TARGET_ARN" in attributes else None,
        redriven=Redriven.decode(attributes.get(REDRIVEN, "")),
        body=body,
    )


def readable(text: str) -> str:
    """Return a text in one line of what can be seen, whoever wrote it.

    Half a surrogate cannot be sent to anybody, and one such letter would keep a whole queue from being told of; a line
    break or a control character could make a letter's text look like the message's own, with a command to copy.
    """
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)


def _told_by_hub(attributes: Mapping[str, str]) -> dict[str, Any]:
    if "outcome" not in attributes or "reason" not in attributes:
        return {}
    return {
        "outcome": attributes["outcome"],
        "reason": attributes["reason"],
        "tries": _number(attributes.get("receive_count")),
        "first_at": _milliseconds(attributes.get("first_received_at")),
    }


def _told_by_event_bus(attributes: Mapping[str, str], document: Any) -> dict[str, Any]:
    if "RULE_ARN" not in attributes:
        return {}
    message = attributes.get("ERROR_MESSAGE", "no message")
    return {
        "outcome": "undelivered",
        "reason": f"{attributes.get('ERROR_CODE', 'no error code')}: {message}",
        "tries": _number(attributes.get("RETRY_ATTEMPTS")) + 1,
        "first_at": _time(_text(document, "time")),
    }


def _told_by_lambda(document: Any) -> dict[str, Any]:
    """Read what an on-failure destination gets ("Capturing records of invocations", Lambda developer guide)."""
    condition = _text(document, "requestContext", "condition")
    if condition is None:
        return {}
    kind, message = (_text(document, "responsePayload", key) for key in ("errorType", "errorMessage"))
    stream = _of(document, "DDBStreamBatchInfo")
    return {
        "outcome": "failed",
        "reason": ": ".join(filter(None, [condition, kind, message])),
        "tries": _number(_of(document, "requestContext", "approximateInvokeCount")),
        "first_at": _time(_text(stream, "approximateArrivalOfFirstRecord")),
        "died_at": _time(_text(document, "timestamp")),
    }


def _document(body: str) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _of(document: Any, *path: str) -> Any:
    for step in path:
        document = document.get(step) if isinstance(document, Mapping) else None
    return document


def _text(document: Any, *path: str) -> str | None:
    found = _of(document, *path)
    return readable(found) if isinstance(found, str) and found else None


def _number(value: Any) -> int:
    try:
        return int(value)
    except (ValueError, TypeError, OverflowError):
        return 1


def _milliseconds(text: str | None) -> datetime | None:
    try:
        return datetime.fromtimestamp(int(text or "") / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _time(text: str | None) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text or "")
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


# ---------------------------------------------------------------------------------------------- looking at them


class Look:
    """Looks at the letters of a queue one after another, each once, and leaves them there.

    While it looks, the letters that it has seen are hidden; afterwards all are visible again but those that were
    removed. A look that dies leaves them hidden for as long as it was told to hide them.

    >>> with Look(sqs, url, most=100) as look:  # doctest: +SKIP
    ...     for message in look:
    ...         print(read_letter(message).cause)

    Args:
        client: A boto3 client of SQS.
        url: The dead-letter queue.
        most: Letters to look at, 1 or more.
        seconds: How long to look, less than hidden_seconds.
        hidden_seconds: How long nobody else sees the letters, 43,200 at most.
        clock: Gives the time in seconds, from any start, and never goes back.
    """

    # Long polling asks all of SQS's servers, so that nothing received means that nothing is there (SQS developer guide,
    # "Amazon SQS short and long polling").
    WAIT_SECONDS = 1

    def __init__(
        self,
        client: SQSClient,
        url: str,
        *,
        most: int,
        seconds: float = 20.0,
        hidden_seconds: int = 120,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._url = url
        self._most = most
        self._clock = clock
        self._until = clock() + seconds
        self._hidden_seconds = hidden_seconds
        self._receipts: dict[str, str] = {}
        self._seen: set[str] = set()
        self.exhausted = False
        """Whether it has seen all letters that nobody else was looking at."""

    def __iter__(self) -> Iterator[MessageTypeDef]:
        """Give the letters.

        Raises:
            botocore.exceptions.ClientError: The queue cannot be read.
        """
        while len(self._seen) < self._most and self._clock() < self._until:
            messages = self._client.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=min(10, self._most - len(self._seen)),
                WaitTimeSeconds=self.WAIT_SECONDS,
                VisibilityTimeout=self._hidden_seconds,
                MessageAttributeNames=["All"],
                MessageSystemAttributeNames=["All"],
            ).get("Messages", [])
            if not messages:
                self.exhausted = True
                return
            fresh = [message for message in messages if message["MessageId"] not in self._seen]
            self._receipts |= {message["MessageId"]: message["ReceiptHandle"] for message in messages}
            self._seen |= self._receipts.keys()
            yield from fresh

    def remove(self, message: MessageTypeDef) -> None:
        """Delete a letter that lies elsewhere already.

        Raises:
            botocore.exceptions.ClientError: It is still there.
        """
        self._client.delete_message(QueueUrl=self._url, ReceiptHandle=self._receipts[message["MessageId"]])
        del self._receipts[message["MessageId"]]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        receipts = list(self._receipts.values())
        for start in range(0, len(receipts), 10):
            entries = [
                {"Id": str(index), "ReceiptHandle": receipt, "VisibilityTimeout": 0}
                for index, receipt in enumerate(receipts[start : start + 10])
            ]
            try:
                failed = self._client.change_message_visibility_batch(
                    QueueUrl=self._url,
                    Entries=entries,  # type: ignore[arg-type]
                ).get("Failed", [])
            except Exception:  # they become visible by themselves
                logger.warning("letters stay hidden", queue=self._url, letters=len(entries), exc_info=True)
                continue
            if failed:
                logger.warning("letters stay hidden", queue=self._url, letters=len(failed))


def count(client: SQSClient, url: str) -> int:
    """Return about how many letters a queue holds, those included that somebody looks at."""
    counts = client.get_queue_attributes(
        QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    )["Attributes"]
    return sum(map(int, counts.values()))
