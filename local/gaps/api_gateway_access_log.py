"""Access logs of REST API stages.

AWS ("Set up CloudWatch logging for REST APIs in API Gateway", "Variables for access logging"): a
stage with `AccessLogSetting` writes one line a request to the log group, in the given format, with
any `$context` variable; a variable without a value is written as `-`.

ministack: drops the setting when CloudFormation makes or changes a stage, and writes no access log.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from ministack.services import apigateway_v1, cloudwatch_logs
from ministack.services.cloudformation import provisioners

from local.gaps.api_gateway_exchange import Exchange, finished
from local.gaps.api_gateway_responses import VARIABLE, variable
from local.gaps.emulator import Emulator


def install(emulator: Emulator) -> None:
    """Keep the setting of a stage and write the lines."""
    handlers = provisioners._RESOURCE_HANDLERS["AWS::ApiGateway::Stage"]
    for action in ("create", "update"):
        name = f"_apigw_stage_{action}"
        emulator.wrap(provisioners, name, keep_setting)
        handlers[action] = getattr(provisioners, name)
    finished.append(write)


def keep_setting(provision: Callable[..., Any]) -> Callable[..., Any]:
    """Store the access log setting with the stage."""

    def provisioned(identifier: str, *properties_and_stack: Any) -> Any:
        result = provision(identifier, *properties_and_stack)
        properties = properties_and_stack[-2]
        setting = properties.get("AccessLogSetting") or {}
        stage = apigateway_v1._stages_v1[properties["RestApiId"]][properties["StageName"]]
        stage["accessLogSettings"] = (
            {
                "destinationArn": setting.get("DestinationArn", ""),
                "format": setting.get("Format", ""),
            }
            if setting
            else {}
        )
        return result

    return provisioned


def write(exchange: Exchange, status: int, length: int) -> None:
    """Write the line of one request, when its stage has an access log."""
    setting = (exchange.request["stage"] or {}).get("accessLogSettings") or {}
    group = setting.get("destinationArn", "").partition(":log-group:")[2].split(":")[0]
    if not group or not setting.get("format"):
        return
    context = exchange.context() | {
        "status": str(status),
        "responseLength": str(length),
        "responseLatency": str(round((time.time() - exchange.received_at) * 1000)),
        "integrationLatency": milliseconds(exchange.integration_seconds),
        "integrationStatus": exchange.integration_status,
        "integration": {
            "status": exchange.integration_status,
            "integrationStatus": exchange.integration_status,
            "latency": milliseconds(exchange.integration_seconds),
            "requestId": None,
            "error": None,
        },
    }
    line = VARIABLE.sub(lambda match: field(variable(match[2], {"context": context})), setting["format"])
    put_line(group, exchange.request["api_id"], line)


def milliseconds(seconds: float | None) -> str | None:
    """Whole milliseconds, as text."""
    return None if seconds is None else str(round(seconds * 1000))


def field(value: Any) -> str:
    """The text of a variable, safe inside a JSON string."""
    return "-" if value in (None, "") else json.dumps(str(value))[1:-1]


def put_line(group: str, stream: str, line: str) -> None:
    """Append a line to the stream of the API in a log group that exists."""
    if group not in cloudwatch_logs._log_groups:
        return
    target = {"logGroupName": group, "logStreamName": stream}
    if stream not in cloudwatch_logs._log_groups[group]["streams"]:
        cloudwatch_logs._create_log_stream(target)
    event = {"timestamp": int(time.time() * 1000), "message": line}
    cloudwatch_logs._put_log_events(target | {"logEvents": [event]})
