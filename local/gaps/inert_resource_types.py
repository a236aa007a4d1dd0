"""CloudFormation types that are accepted and recorded, and do nothing on this machine.

AWS: CloudFormation creates a resource for each of these types ("AWS resource and property types
reference", CloudFormation template reference). None of them takes part in what the stack does
with an order on this machine: saved queries, and deployment and fault-injection services.
ministack: refuses the whole template with `Unrecognized resource types`.
`python -m local up` names the ones that a template uses.
"""

from __future__ import annotations

import uuid
from typing import Any

from local.gaps.emulator import Emulator

INERT_TYPES: dict[str, tuple[str, ...]] = {
    "AWS::CodeDeploy::Application": (),
    "AWS::CodeDeploy::DeploymentConfig": (),
    "AWS::CodeDeploy::DeploymentGroup": (),
    "AWS::FIS::ExperimentTemplate": ("Id",),
    "AWS::FIS::TargetAccountConfiguration": (),
    "AWS::Logs::QueryDefinition": ("QueryDefinitionId",),
}
"""Attributes for `Fn::GetAtt`, by type; each of them is the physical id."""


def install(emulator: Emulator) -> None:
    """Register every type of `INERT_TYPES` with handlers that only make up an id."""
    from ministack.services.cloudformation import provisioners

    for name, attributes in INERT_TYPES.items():
        emulator.register(provisioners._RESOURCE_HANDLERS, name, inert_handlers(attributes))


def inert_handlers(attributes: tuple[str, ...]) -> dict[str, Any]:
    """Create, update and delete of a type that stands for nothing."""

    def create(logical_id: str, _properties: Any, stack: str) -> tuple[str, dict[str, str]]:
        physical_id = f"{stack}-{logical_id}-{uuid.uuid4().hex[:12]}"
        return physical_id, dict.fromkeys(attributes, physical_id)

    def update(physical_id: str, _old: Any, _new: Any, _stack: str) -> tuple[str, dict[str, str]]:
        return physical_id, dict.fromkeys(attributes, physical_id)

    def delete(_physical_id: str, _properties: Any) -> None:
        return None

    return {"create": create, "update": update, "delete": delete}
