"""The API: what it hands to the queue, and what it answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from tests.template.invariants.invariant import invariant, of
from tests.template.translated import Stack, logical_id, references

METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "x-amazon-apigateway-any-method"}
# What a gateway response cannot do: $util, $input, #if …
_VELOCITY = re.compile(r"\$(?!context\.|stageVariables\.)\w+[\w.]*|#(?:set|if|else|end|foreach)")
# API Gateway makes these itself; everything else comes from the caller, or may hold a character that separates fields.
_PLAIN_VARIABLES = {"$context.requestTimeEpoch"}


def operations(stack: Stack) -> dict[str, dict[str, Any]]:
    """Return the operations of every REST API, as "ApiLogicalId POST /path"."""
    return {
        f"{api} {method.upper()} {path}": operation
        for api in stack.of_type("AWS::ApiGateway::RestApi")
        for path, item in stack.properties(api)["Body"]["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    }


def _integration(stack: Stack, operation: str) -> dict[str, Any]:
    integration: dict[str, Any] = operations(stack)[operation]["x-amazon-apigateway-integration"]
    return integration


def _queue_operations(stack: Stack) -> list[str]:
    return [name for name in operations(stack) if ":sqs:path/" in str(_integration(stack, name)["uri"])]


def _queue_apis(stack: Stack) -> list[str]:
    return sorted({name.partition(" ")[0] for name in _queue_operations(stack)})


def gateway_responses(stack: Stack, api: str) -> dict[str, dict[str, Any]]:
    """Return what an API answers by itself, by response type."""
    responses: dict[str, dict[str, Any]] = stack.properties(api)["Body"].get(
        "x-amazon-apigateway-gateway-responses", {}
    )
    return responses


@invariant(_queue_operations)
def what_the_caller_sends_is_url_encoded(stack: Stack, operation: str) -> Iterator[str]:
    """The message travels as a form: an & in a body that is not encoded starts a new parameter of SQS's API.

    With it a caller could set the message's attributes, or its queue; %, + and emoji would change on the way (API
    Gateway developer guide, "Variables for data transformations", $util.urlEncode).
    """
    for media_type, template in _integration(stack, operation).get("requestTemplates", {}).items():
        # One level of parentheses inside, as in $util.urlEncode($input.json('$')).
        bare = re.sub(r"\$util\.urlEncode\((?:[^()]|\([^()]*\))*\)", "", template)
        for variable in sorted(set(re.findall(r"\$[\w.]+", bare)) - _PLAIN_VARIABLES):
            yield f"puts {variable} into the message ({media_type}) without $util.urlEncode"
        if "MessageBody=$util.urlEncode($input.body)" not in template:
            yield f"does not send the body as it came ({media_type}): MessageBody=$util.urlEncode($input.body)"


@invariant(_queue_operations)
def only_a_stored_order_is_accepted(stack: Stack, operation: str) -> Iterator[str]:
    """A 2xx for an order that SQS did not store is an order lost; the shop will not send it again.

    An answer without a match in responses gets the one called default, whatever it says (API Gateway developer guide,
    "x-amazon-apigateway-integration.responses object").
    """
    responses = _integration(stack, operation)["responses"]
    for pattern, response in responses.items():
        status = str(response["statusCode"])
        if pattern == "200":
            if not status.startswith("2"):
                yield f"answers {status} for an order that is stored"
        elif not status.startswith("5"):
            yield f"answers {status} where SQS answers {pattern!r}, and must answer 5xx"
        for override in re.findall(r"responseOverride\.status\s*=\s*(\d+)", str(response.get("responseTemplates"))):
            if override.startswith("2"):
                yield f"turns an answer of SQS into {override} in a template"
    for needed in ("200", "default"):
        if needed not in responses:
            yield f"has no answer for {needed!r}"


@invariant(lambda stack: [name for name in operations(stack) if "responses" in _integration(stack, name)])
def answers_are_declared(stack: Stack, operation: str) -> Iterator[str]:
    """API Gateway refuses to import an integration response whose status or header the method does not declare.

    "Invalid mapping expression parameter specified: method.response.header.…" (API Gateway API,
    PutIntegrationResponse: the key must match an existing method response header parameter).
    """
    declared = operations(stack)[operation]["responses"]
    for response in _integration(stack, operation)["responses"].values():
        status = str(response["statusCode"])
        if status not in declared:
            yield f"answers {status}, which responses does not declare"
        headers = {name.lower() for name in declared.get(status, {}).get("headers", {})}
        for parameter in response.get("responseParameters", {}):
            if parameter.removeprefix("method.response.header.").lower() not in headers:
                yield f"sets {parameter}, and responses.{status}.headers does not declare it"


@invariant(_queue_apis)
def refusals_are_answered(stack: Stack, api: str) -> Iterator[str]:
    """What API Gateway refuses by itself never reaches the integration: these are the only words the shop gets.

    (API Gateway developer guide, "Gateway response types for API Gateway".) A caller that is told when to come back
    does not hammer: Retry-After (RFC 9110, section 10.2.3; RFC 6585, section 4).
    """
    wanted = {
        "BAD_REQUEST_BODY": "400",
        "INVALID_API_KEY": "403",
        "REQUEST_TOO_LARGE": "413",
        "UNSUPPORTED_MEDIA_TYPE": "415",
        "THROTTLED": "429",
        "DEFAULT_4XX": None,
        "DEFAULT_5XX": None,
    }
    responses = gateway_responses(stack, api)
    for kind, status in wanted.items():
        if kind not in responses:
            yield f"has no gateway response {kind}"
        elif status and str(responses[kind].get("statusCode")) != status:
            yield f"answers {kind} with {responses[kind].get('statusCode')}, and not with {status}"
    for kind in ("THROTTLED", "DEFAULT_5XX"):
        if "gatewayresponse.header.Retry-After" not in responses.get(kind, {}).get("responseParameters", {}):
            yield f"answers {kind} without Retry-After"
    if "$context.error.validationErrorString" not in str(responses.get("BAD_REQUEST_BODY")):
        yield "answers BAD_REQUEST_BODY without naming what is wrong ($context.error.validationErrorString)"


@invariant(lambda stack: [name for name in stack.of_type("AWS::ApiGateway::RestApi") if gateway_responses(stack, name)])
def gateway_responses_substitute_only(stack: Stack, api: str) -> Iterator[str]:
    """A template of a gateway response knows $context, $stageVariables and method.request, and no $util or #if.

    "A GatewayResponse mapping template isn't processed by the Velocity Template Language (VTL) engine" (API Gateway
    developer guide, "x-amazon-apigateway-gateway-responses.responseTemplates object"): the rest is sent as it stands.
    """
    for kind, response in gateway_responses(stack, api).items():
        for template in response.get("responseTemplates", {}).values():
            for expression in _VELOCITY.findall(template):
                yield f"answers {kind} with {expression}, which nothing will evaluate"


@invariant(lambda stack: [name for name in stack.of_type("AWS::ApiGateway::RestApi") if gateway_responses(stack, name)])
def gateway_responses_are_json(stack: Stack, api: str) -> Iterator[str]:
    """With the quotes the wrong way round the shop cannot read the answer.

    $context.error.messageString comes with its quotes, every other variable without (API Gateway developer guide,
    "Variables for data transformations").
    """
    for kind, response in gateway_responses(stack, api).items():
        for template in response.get("responseTemplates", {}).values():
            text = template.replace("$context.error.messageString", '"message"')
            try:
                json.loads(re.sub(r"\$context\.[\w.]+", "value", text))
            except ValueError as error:
                yield f"answers {kind} with what is not JSON: {error}"


@invariant(_queue_operations)
def size_limit_is_told(stack: Stack, operation: str) -> Iterator[str]:
    """A 413 that names more than the queue takes sends the shop round in circles.

    MaximumMessageSize counts the message's attributes, too (SQS API, CreateQueue; SQS developer guide, "Amazon SQS
    message attributes"), so the figure told leaves them a KiB, and not much more.
    """
    api, uri = operation.partition(" ")[0], _integration(stack, operation)["uri"]
    [queue] = [name for name in references(uri) if stack.type_of(name) == "AWS::SQS::Queue"]
    size = stack.properties(queue).get("MaximumMessageSize", 1024 * 1024)
    answers = {
        "the integration's answer": str(_integration(stack, operation)["responses"]),
        "REQUEST_TOO_LARGE": str(gateway_responses(stack, api).get("REQUEST_TOO_LARGE")),
    }
    told = {where: re.findall(r"may have ([\d,]+) bytes", text) for where, text in answers.items()}
    for where, figures in told.items():
        if not figures or not all(1024 <= size - int(figure.replace(",", "")) <= 8 * 1024 for figure in figures):
            yield f"tells {figures or 'no limit'} in {where}, and {queue} takes {size} bytes with the attributes"
    if len({figure for figures in told.values() for figure in figures}) > 1:
        yield f"tells different limits: {told}"


@invariant(_queue_operations)
def order_fits_into_an_execution(stack: Stack, operation: str) -> Iterator[str]:
    """An order that is too large for an execution cannot be tried by the circuit breaker, and uses up its receives.

    A state holds 256 KiB of JSON (Step Functions developer guide, "Quotas"), in which the order is a text: each of its
    quotation marks takes two bytes. The bus's envelope and the message's attributes take some KiB more.
    """
    [queue] = [
        name for name in references(_integration(stack, operation)["uri"]) if stack.type_of(name) == "AWS::SQS::Queue"
    ]
    size = stack.properties(queue).get("MaximumMessageSize", 1024 * 1024)
    if 2 * size + 8 * 1024 > 256 * 1024:
        yield f"stores orders of up to {size} bytes, which may be {2 * size} bytes of JSON"


@invariant(operations)
def operation_needs_api_key(stack: Stack, operation: str) -> Iterator[str]:
    """A usage plan limits keys: a method without one is open to the world, and without a limit of its own.

    (API Gateway developer guide, "Usage plans and API keys for REST APIs".)
    """
    api = operation.partition(" ")[0]
    schemes = stack.properties(api)["Body"]["components"]["securitySchemes"]
    wanted = {"type": "apiKey", "name": "x-api-key", "in": "header"}
    security = operations(stack)[operation].get("security", [])
    if not any(schemes.get(name) == wanted for requirement in security for name in requirement):
        yield f"has no security scheme {wanted}"


@invariant(operations)
def integration_answers_in_time(stack: Stack, operation: str) -> Iterator[str]:
    """API Gateway waits 29 s at most, and less if it is told so (API Gateway quotas, "Integration timeout")."""
    timeout = _integration(stack, operation).get("timeoutInMillis")
    if timeout is None or not 50 <= timeout <= 29000:
        yield f"has timeoutInMillis {timeout}, and needs one from 50 to 29,000"


@invariant(of("AWS::ApiGateway::Stage"))
def stage_is_observed(stack: Stack, stage: str) -> Iterator[str]:
    """An order that never reached the queue is in the access log, or nowhere (API Gateway, "Monitor REST APIs")."""
    properties = stack.properties(stage)
    if properties.get("TracingEnabled") is not True:
        yield "does not say TracingEnabled: true"
    if stack.type_of(logical_id(properties.get("AccessLogSetting", {}).get("DestinationArn"))) != "AWS::Logs::LogGroup":
        yield "has no AccessLogSetting with a log group of this stack"
    if not any(setting.get("MetricsEnabled") is True for setting in properties.get("MethodSettings", [])):
        yield "has no MethodSettings with MetricsEnabled: true"


@invariant(of("AWS::ApiGateway::Stage"))
def stage_waits_for_the_log_role(stack: Stack, stage: str) -> Iterator[str]:
    """The first deployment fails: "CloudWatch Logs role ARN must be set in account settings to enable logging".

    CloudFormation creates AWS::ApiGateway::Account beside the stage unless the stage or its API depends on it, by
    DependsOn or by a reference, which may stand in an !If, and in Metadata (CloudFormation, AWS::ApiGateway::Account;
    "DependsOn attribute").
    """
    api = str(logical_id(stack.properties(stage)["RestApiId"]))
    for account in stack.of_type("AWS::ApiGateway::Account"):
        if account not in stack.dependencies(stage) | stack.dependencies(api):
            yield f"may be created before {account}: {api} must depend on it"


@invariant(of("AWS::ApiGateway::Account"))
def account_settings_come_after_an_api_key(stack: Stack, settings: str) -> Iterator[str]:
    """An account that has never had a resource of API Gateway takes no settings.

    "If an API Gateway resource has never been created in your account, you must add a dependency on another API Gateway
    resource" (CloudFormation template reference, "AWS::ApiGateway::Account"). The APIs cannot be it: they wait for the
    settings.
    """
    kinds = {str(stack.type_of(name)) for name in stack.dependencies(settings)}
    if not any(kind.startswith("AWS::ApiGateway::") for kind in kinds):
        yield "is the first resource of API Gateway that the stack creates, and fails in a new account"
