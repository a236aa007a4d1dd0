"""Gateway responses: every `$context` variable, every status and header that AWS answers with.

AWS: templates and parameters of a gateway response may use any `$context` and `$stageVariables`
variable by simple substitution, `$context.error.validationErrorString` among them ("Gateway
responses for REST APIs in API Gateway"); the status code of a customized DEFAULT_4XX or DEFAULT_5XX
replaces that of every type of its family without an own one ("Gateway response types"); an error
of API Gateway names its kind in `x-amzn-ErrorType`.

ministack: substitutes eight variables in templates and one in parameters, keeps the status code of
each type whatever DEFAULT_4XX and DEFAULT_5XX say, and names fewer kinds of error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from ministack.services import apigateway_v1

from local.gaps.api_gateway_exchange import Response, current
from local.gaps.emulator import Emulator

ERROR_TYPES = {
    "INVALID_API_KEY": "ForbiddenException",
    "INTEGRATION_FAILURE": "InternalServerErrorException",
    "INTEGRATION_TIMEOUT": "InternalServerErrorException",
    "QUOTA_EXCEEDED": "LimitExceededException",
}
"""`x-amzn-ErrorType` of the gateway responses for which ministack has none."""

VARIABLE = re.compile(r"\$(\{)?((?:context|stageVariables)(?:\.\w+)+)(?(1)\})")


def install(emulator: Emulator) -> None:
    """Answer API Gateway's own errors as AWS does."""
    types = apigateway_v1._GATEWAY_RESPONSE_ERROR_TYPES
    for response_type, name in ERROR_TYPES.items():
        emulator.register(types, response_type, name)
    emulator.wrap(apigateway_v1, "_gateway_response_for_type", inherit_status)
    emulator.wrap(apigateway_v1, "_gateway_request_value", resolve_parameter, parameters=("source", "request"))
    emulator.wrap(apigateway_v1, "_gateway_error_response", substitute, parameters=("error", "request"))


def inherit_status(choose: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Give a type without a customized response the status of its customized family."""

    def chosen(customized: Mapping[str, dict[str, Any]], response_type: str) -> dict[str, Any]:
        response = choose(customized, response_type)
        family = customized.get(apigateway_v1._gateway_response_family(response_type))
        if response_type not in customized and family and family.get("statusCode"):
            response["statusCode"] = family["statusCode"]
        return response

    return chosen


def resolve_parameter(resolve: Callable[..., Any]) -> Callable[..., Any]:
    """Resolve `context.*` in a parameter mapping too."""

    def resolved(source: str, request: dict[str, Any]) -> Any:
        if source.startswith("context."):
            return variable(source, scope())
        return resolve(source, request)

    return resolved


def substitute(answer: Callable[..., Response]) -> Callable[..., Response]:
    """Fill in the variables that ministack leaves in the body."""

    def answered(error: Any, request: dict[str, Any]) -> Response:
        exchange = current()
        exchange.error |= {
            "message": error.message or "",
            "messageString": json.dumps(error.message),
            "responseType": error.response_type,
        }
        status, headers, body = answer(error, request)
        values = scope()
        text = VARIABLE.sub(lambda match: in_json(variable(match[2], values), match[2]), body.decode())
        own_status = getattr(error, "status", None)
        if own_status and not customized_status(request, error.response_type):
            status = own_status
        return status, headers, text.encode()

    return answered


def customized_status(request: dict[str, Any], response_type: str) -> Any:
    """The status that the API sets for a type of gateway response, or None."""
    deployment = request["stage"].get("deploymentId")
    deployed = apigateway_v1._deployed_gateway_responses.get(request["api_id"], {})
    return deployed.get(deployment, {}).get(response_type, {}).get("statusCode")


def scope() -> dict[str, Any]:
    """The variables of the request that is being answered, by their first name."""
    exchange = current()
    return {"context": exchange.context(), "stageVariables": exchange.stage_variables}


def variable(path: str, values: Mapping[str, Any]) -> Any:
    """The value of a variable such as `context.identity.sourceIp`; None when there is none."""
    value: Any = values
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def in_json(value: Any, path: str) -> str:
    """The text that takes the variable's place; validation errors are escaped for JSON."""
    if value is None:
        return ""
    return json.dumps(value)[1:-1] if path.endswith(".validationErrorString") else str(value)
