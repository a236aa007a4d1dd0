"""What SQS counts as the size of a message."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from local.stack import EmulatorSettings, RunningEmulator
from tests.conformance.conftest import WITH_AND_WITHOUT_GAPS

LIMIT = 1024
ATTRIBUTES = {"ab": {"DataType": "String", "StringValue": "cd"}}
ATTRIBUTES_BYTES = len("ab" + "String" + "cd")


@pytest.mark.parametrize("bare", WITH_AND_WITHOUT_GAPS)
def test_message_attributes_count_towards_the_maximum_message_size(bare: bool) -> None:
    """Name, type and value count (SQS developer guide, "Amazon SQS message metadata")."""
    emulator = RunningEmulator.start(EmulatorSettings(bare=bare))
    try:
        sqs = emulator.client("sqs")
        url = sqs.create_queue(QueueName="small", Attributes={"MaximumMessageSize": str(LIMIT)})["QueueUrl"]

        def send(size: int) -> Any:
            return sqs.send_message(QueueUrl=url, MessageBody="x" * size, MessageAttributes=ATTRIBUTES)

        send(LIMIT - ATTRIBUTES_BYTES)
        with pytest.raises(ClientError, match=f"Message must be shorter than {LIMIT} bytes"):
            send(LIMIT - ATTRIBUTES_BYTES + 1)
    finally:
        emulator.stop()
