"""Numbers of an event source mapping that a template takes from a parameter.

AWS ("Parameters", CloudFormation user guide): the value of a Number parameter is used as the
property's schema says, so `MaximumConcurrency: !Ref Maximum` is an integer.
ministack: hands the parameter's text on; the poller then compares an integer with a string, and no
SQS mapping of the account takes a message any more.
"""

from __future__ import annotations

from typing import Any

from local.gaps.emulator import Emulator

NUMBERS = (
    *("BatchSize", "MaximumBatchingWindowInSeconds", "MaximumConcurrency"),
    *("MaximumRecordAgeInSeconds", "MaximumRetryAttempts", "ParallelizationFactor"),
)
BOOLEANS = ("BisectBatchOnFunctionError", "Enabled")


def install(emulator: Emulator) -> None:
    """Convert the properties before the emulator stores them."""
    from ministack.services.cloudformation import provisioners

    handlers = provisioners._RESOURCE_HANDLERS["AWS::Lambda::EventSourceMapping"]
    create, update = handlers["create"], handlers["update"]

    def create_converted(logical_id: str, properties: Any, stack: str) -> Any:
        return create(logical_id, converted(properties), stack)

    def update_converted(physical_id: str, old: Any, new: Any, stack: str, **more: Any) -> Any:
        return update(physical_id, converted(old), converted(new), stack, **more)

    handlers["create"] = create_converted
    handlers["update"] = update_converted


def converted(value: Any, name: str = "") -> Any:
    """The value with the texts of numeric and boolean properties converted."""
    if isinstance(value, dict):
        return {key: converted(item, key) for key, item in value.items()}
    if isinstance(value, str) and name in NUMBERS:
        return int(value)
    if isinstance(value, str) and name in BOOLEANS:
        return value.lower() == "true"
    return value
