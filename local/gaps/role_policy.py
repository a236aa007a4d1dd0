"""CloudFormation type AWS::IAM::RolePolicy.

AWS ("AWS::IAM::RolePolicy", CloudFormation template reference): embeds an inline policy in a role,
apart from the role's own definition.
ministack: knows the older AWS::IAM::Policy only, and refuses a template with the newer type.
"""

from __future__ import annotations

from typing import Any

from local.gaps.emulator import Emulator


def install(emulator: Emulator) -> None:
    """Register the type on top of the older one's handlers, with one role."""
    from ministack.services.cloudformation import provisioners

    policy = provisioners._RESOURCE_HANDLERS["AWS::IAM::Policy"]

    def create(logical_id: str, properties: Any, stack: str) -> Any:
        physical_id, _ = policy["create"](logical_id, as_policy(properties), stack)
        return physical_id, {}

    def update(physical_id: str, old: Any, new: Any, stack: str) -> Any:
        policy["update"](physical_id, as_policy(old), as_policy(new), stack)
        return physical_id, {}

    def delete(physical_id: str, properties: Any) -> None:
        policy["delete"](physical_id, as_policy(properties))

    emulator.register(
        provisioners._RESOURCE_HANDLERS,
        "AWS::IAM::RolePolicy",
        {"create": create, "update": update, "delete": delete},
    )


def as_policy(properties: dict[str, Any]) -> dict[str, Any]:
    """The properties of an AWS::IAM::Policy that does the same."""
    return {
        "PolicyName": properties["PolicyName"],
        "PolicyDocument": properties.get("PolicyDocument") or {},
        "Roles": [properties["RoleName"]],
    }
