"""The size of a message, its attributes included.

AWS (SQS developer guide, "Amazon SQS message metadata"): name, type and value of the message
attributes count towards `MaximumMessageSize`.

ministack: counts the body only, so that it takes messages which SQS refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ministack.services import sqs

from local.gaps.emulator import Emulator


def install(emulator: Emulator) -> None:
    """Refuse a message whose body and attributes together are too large."""
    emulator.wrap(sqs, "_act_send_message", check_size, parameters=("data", "qurl"))
    sqs._HANDLERS["SendMessage"] = sqs._act_send_message


def check_size(send: Callable[..., Any]) -> Callable[..., Any]:
    """Compare the size of the whole message with the queue's limit."""

    def checked(data: dict[str, Any], qurl: str) -> Any:
        queue = sqs._get_q(data.get("QueueUrl", qurl), "sqs:SendMessage")
        limit = int(queue["attributes"]["MaximumMessageSize"])
        size = len(str(data.get("MessageBody", "")).encode())
        size += attributes_size(data.get("MessageAttributes") or {})
        if size > limit:
            raise sqs._Err(
                "InvalidParameterValue",
                f"One or more parameters are invalid. Reason: Message must be shorter than {limit} bytes.",
            )
        return send(data, qurl)

    return checked


def attributes_size(attributes: Mapping[str, Mapping[str, Any]]) -> int:
    """Bytes of the names, types and values of message attributes."""
    return sum(
        len(str(part).encode()) for name, attribute in attributes.items() for part in (name, *attribute.values())
    )
