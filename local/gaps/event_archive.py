"""CloudFormation type AWS::Events::Archive.

AWS ("AWS::Events::Archive", CloudFormation template reference): creates an archive of an event bus;
Ref gives its name, Fn::GetAtt Arn its ARN; a change of ArchiveName or SourceArn replaces it.
ministack: has archives and replays, and refuses a template that declares one.
"""

from __future__ import annotations

import json
from typing import Any

from local.gaps.emulator import Emulator

Properties = dict[str, Any]


def install(emulator: Emulator) -> None:
    """Register the type on top of the emulator's own archive operations."""
    from ministack.services import eventbridge
    from ministack.services.cloudformation import provisioners

    def create(logical_id: str, properties: Properties, stack: str) -> tuple[str, Properties]:
        name = properties.get("ArchiveName") or provisioners._physical_name(stack, logical_id, max_len=48)
        status, _, body = eventbridge._create_archive(request(name, properties))
        if status >= 400:
            raise ValueError(json.loads(body)["message"])
        return name, {"Arn": json.loads(body)["ArchiveArn"], "ArchiveName": name}

    def update(
        name: str, old: Properties, new: Properties, stack: str, logical_id: str | None = None
    ) -> tuple[str, Properties]:
        if any(old.get(key) != new.get(key) for key in ("ArchiveName", "SourceArn")):
            eventbridge._delete_archive({"ArchiveName": name})
            return create(logical_id or name, new, stack)
        status, _, body = eventbridge._update_archive(request(name, new))
        if status >= 400:
            raise ValueError(json.loads(body)["message"])
        return name, {"Arn": json.loads(body)["ArchiveArn"], "ArchiveName": name}

    def delete(name: str, _properties: Properties) -> None:
        eventbridge._delete_archive({"ArchiveName": name})

    handlers = {
        "create": create,
        "update": update,
        "update_with_logical_id": True,
        "delete": delete,
    }
    emulator.register(provisioners._RESOURCE_HANDLERS, "AWS::Events::Archive", handlers)


def request(name: str, properties: Properties) -> Properties:
    """The parameters of CreateArchive and UpdateArchive for a resource's properties."""
    pattern = properties.get("EventPattern") or ""
    return {
        "ArchiveName": name,
        "EventSourceArn": properties.get("SourceArn", ""),
        "Description": properties.get("Description", ""),
        "RetentionDays": int(properties.get("RetentionDays") or 0),
        "EventPattern": pattern if isinstance(pattern, str) else json.dumps(pattern),
    }
