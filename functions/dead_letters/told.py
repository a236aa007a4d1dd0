"""Remembers of which dead letters people have been told."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBServiceResource
    from mypy_boto3_dynamodb.type_defs import KeysAndAttributesTypeDef

# A day longer than a letter can lie in its queue (14 days).
REMEMBERED_SECONDS = 15 * 24 * 3600
_KEYS_OF_A_REQUEST = 100  # "BatchGetItem", DynamoDB API reference
_ATTEMPTS = 5


class Told:
    """The letters that people know, by queue and message id.

    Args:
        resource: A boto3 resource of DynamoDB.
        table: The table of letters.
    """

    def __init__(self, resource: DynamoDBServiceResource, table: str) -> None:
        self._resource = resource
        self._table = table

    def among(self, queue: str, message_ids: Sequence[str]) -> set[str]:
        """Return those of a queue's letters that people know.

        Raises:
            botocore.exceptions.ClientError: The table cannot be read.
            RuntimeError: It answered only in part, again and again.
        """
        found: set[str] = set()
        for start in range(0, len(message_ids), _KEYS_OF_A_REQUEST):
            keys = [{"pk": _key(queue, one)} for one in message_ids[start : start + _KEYS_OF_A_REQUEST]]
            found |= self._read({self._table: {"Keys": keys, "ConsistentRead": True, "ProjectionExpression": "pk"}})
        return {one for one in message_ids if _key(queue, one) in found}

    def remember(self, queue: str, message_ids: Iterable[str]) -> None:
        """Note that people know these letters.

        Raises:
            botocore.exceptions.ClientError: The table cannot be written.
        """
        expires_at = int(time.time()) + REMEMBERED_SECONDS
        with self._resource.Table(self._table).batch_writer() as batch:
            for one in message_ids:
                batch.put_item(Item={"pk": _key(queue, one), "expires_at": expires_at})

    def _read(self, wanted: dict[str, KeysAndAttributesTypeDef]) -> set[str]:
        found: set[str] = set()
        for _ in range(_ATTEMPTS):
            answer = self._resource.batch_get_item(RequestItems=wanted)
            found |= {str(item["pk"]) for item in answer["Responses"].get(self._table, [])}
            wanted = answer.get("UnprocessedKeys") or {}  # type: ignore[assignment]
            if not wanted:
                return found
        raise RuntimeError("the table of letters answers only in part")


def _key(queue: str, message_id: str) -> str:
    return f"told#{queue}#{message_id}"
