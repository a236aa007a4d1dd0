"""One effect at the courier for each order, however often the queue delivers it.

Powertools Idempotency keeps an item for each order's event id: in progress while a call is made, completed with the
courier's answer when the courier took the order, gone when it did not. What that guarantees, and what only the
courier's help can (the ``Idempotency-Key`` header), is in docs/delivery.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.utilities.idempotency import (
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    idempotent_function,
)
from aws_lambda_powertools.utilities.idempotency.exceptions import (
    IdempotencyAlreadyInProgressError,
    IdempotencyPersistenceLayerError,
    IdempotencyValidationError,
)

from hub.courier import Answer, Courier
from hub.events import Event
from hub.instrument import LambdaContext
from hub.outcomes import Outcome

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class _NotTaken(Exception):
    """The courier did not take the order, so there is nothing to remember."""


class OnceCourier:
    """A courier that takes each order once.

    Args:
        courier: Who takes it.
        table: The table with the orders' items.
        client: A boto3 client of DynamoDB.
        remembered_seconds: How long an order is remembered: longer than its event can come again.
    """

    def __init__(self, courier: Courier, table: str, client: DynamoDBClient, *, remembered_seconds: int) -> None:
        self._config = IdempotencyConfig(
            event_key_jmespath="event_id",
            payload_validation_jmespath="content",
            expires_after_seconds=remembered_seconds,
        )
        store = DynamoDBPersistenceLayer(table, key_attr="pk", expiry_attr="expires_at", boto3_client=client)

        @idempotent_function(  # type: ignore[untyped-decorator]
            data_keyword_argument="key", persistence_store=store, config=self._config, key_prefix="order"
        )
        def deliver(*, key: dict[str, str], order: Event, calls: list[Answer]) -> dict[str, Any]:
            answer = courier.deliver(order)
            calls.append(answer)
            if answer.outcome is not Outcome.DELIVERED:
                raise _NotTaken
            return {"reason": answer.reason, "correlation_id": order.correlation_id}

        self._deliver = deliver
        self.timeout = courier.timeout

    def begin(self, context: LambdaContext) -> None:
        """Let items in progress expire with the invocation, so that one that dies does not hold up its orders."""
        self._config.register_lambda_context(context)

    def deliver(self, order: Event) -> tuple[Answer, bool]:
        """Ask the courier to deliver an order, unless it has taken it already.

        Returns:
            The answer, and whether the courier was called for it now.

        Raises:
            IdempotencyPersistenceLayerError: The item could not be read or written before the call.
        """
        calls: list[Answer] = []
        try:
            taken = self._deliver(key={"event_id": order.event_id, "content": order.content}, order=order, calls=calls)
        except _NotTaken:
            return calls[0], True
        except IdempotencyAlreadyInProgressError:
            return Answer(Outcome.TRANSIENT, "another execution is delivering it"), False
        except IdempotencyPersistenceLayerError:
            if not calls:
                raise
            # What the courier said is known, though it could not be recorded; nothing is gained by asking again.
            return calls[0], True
        except IdempotencyValidationError:
            return Answer(Outcome.PERMANENT, "its order_id was used before, for an order with other content"), False
        return (calls[0], True) if calls else (Answer(Outcome.DELIVERED, _taken_before(taken)), False)


def _taken_before(taken: dict[str, Any]) -> str:
    return f"taken before: {taken['reason']} (correlation id {taken['correlation_id']})"
