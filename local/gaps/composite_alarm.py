"""CloudFormation type AWS::CloudWatch::CompositeAlarm.

AWS ("AWS::CloudWatch::CompositeAlarm", CloudFormation template reference): creates a composite
alarm; Ref gives its name, Fn::GetAtt Arn its ARN.
ministack: has composite alarms, and refuses a template that declares one.
"""

from __future__ import annotations

from typing import Any

from local.gaps.emulator import Emulator

Properties = dict[str, Any]


def install(emulator: Emulator) -> None:
    """Register the type on top of the emulator's own PutCompositeAlarm."""
    from ministack.services import cloudwatch
    from ministack.services.cloudformation import provisioners

    def put(name: str, properties: Properties) -> tuple[str, Properties]:
        status, _, body = cloudwatch._put_composite_alarm({}, properties | {"AlarmName": name}, False, True)
        if status >= 400:
            raise ValueError(body.decode() if isinstance(body, bytes) else str(body))
        return name, {"Arn": cloudwatch._composite_alarms[name]["AlarmArn"]}

    def create(logical_id: str, properties: Properties, stack: str) -> tuple[str, Properties]:
        own = properties.get("AlarmName")
        return put(own or provisioners._physical_name(stack, logical_id, max_len=255), properties)

    def update(name: str, _old: Properties, new: Properties, _stack: str) -> tuple[str, Properties]:
        return put(new.get("AlarmName") or name, new)

    def delete(name: str, _properties: Properties) -> None:
        cloudwatch._delete_alarms({}, {"AlarmNames": [name]}, False, True)

    emulator.register(
        provisioners._RESOURCE_HANDLERS,
        "AWS::CloudWatch::CompositeAlarm",
        {"create": create, "update": update, "delete": delete},
    )
