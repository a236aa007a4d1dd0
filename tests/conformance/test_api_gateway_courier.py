"""A REST API in front of a function, with an API key and the limits of a usage plan.

Each test says what AWS does, with its page. Those with `bare` among their parameters fail there;
the limits of a usage plan are the emulator's own, and are checked here because the demo rests on
them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conformance.api_gateway import Api, deployed, role, template
from tests.conformance.conftest import WITH_AND_WITHOUT_GAPS

CODE = """
import time

def handler(event, context):
    action = (event["queryStringParameters"] or {}).get("do")
    if action == "hang":
        time.sleep(3)
    if action == "raise":
        raise RuntimeError("secret detail")
    if action == "malformed":
        return {"statusCode": 200, "body": "", "unknown": 1}
    if action == "refuse":
        return {"statusCode": 502, "body": "my own"}
    details = event["requestContext"]
    return {"statusCode": 201, "headers": {"X-Request": details["requestId"]},
            "body": details["identity"]["apiKeyId"]}
"""
TIMEOUT_MILLISECONDS = 1000


def function_stack() -> dict[str, Any]:
    operation: dict[str, Any] = {
        "security": [{"key": []}],
        "responses": {},
        "x-amazon-apigateway-integration": {
            "type": "aws_proxy",
            "httpMethod": "POST",
            "timeoutInMillis": TIMEOUT_MILLISECONDS,
            "uri": {
                "Fn::Sub": "arn:${AWS::Partition}:apigateway:${AWS::Region}:lambda:path/2015-03-31"
                "/functions/${Function.Arn}/invocations"
            },
        },
    }
    failed = '{"error": "$input.path(\'$.errorMessage\')"}'
    custom = {
        "parameters": [{"name": "do", "in": "query", "schema": {"type": "string"}}],
        "responses": {"200": {"description": "done"}, "409": {"description": "failed"}},
        "x-amazon-apigateway-integration": operation["x-amazon-apigateway-integration"]
        | {
            "type": "aws",
            "requestTemplates": {
                "application/json": '{"queryStringParameters": {"do": "$input.params(\'do\')"},'
                '"requestContext": {"requestId": "1", "identity": {"apiKeyId": "2"}}}'
            },
            "responses": {
                "default": {"statusCode": "200"},
                ".*secret.*": {
                    "statusCode": "409",
                    "responseTemplates": {"application/json": failed},
                },
            },
        },
    }
    body = {
        "openapi": "3.0.1",
        "info": {"title": "courier", "version": "1"},
        "paths": {
            "/deliveries": {"post": operation},
            "/custom": {"post": custom},
            "/limited": {"x-amazon-apigateway-any-method": operation},
        },
        "components": {"securitySchemes": {"key": {"type": "apiKey", "name": "x-api-key", "in": "header"}}},
        "x-amazon-apigateway-gateway-responses": {
            "THROTTLED": {
                "responseParameters": {
                    "gatewayresponse.header.Retry-After": "'1'",
                    "gatewayresponse.header.X-Path": "context.resourcePath",
                }
            }
        },
    }
    stack = template(
        body,
        {
            "FunctionRole": role("lambda.amazonaws.com"),
            "Function": {
                "Type": "AWS::Lambda::Function",
                "Properties": {
                    "Runtime": "python3.13",
                    "Handler": "index.handler",
                    "Role": {"Fn::GetAtt": ["FunctionRole", "Arn"]},
                    "Timeout": 10,
                    "Code": {"ZipFile": CODE},
                },
            },
        },
    )
    stage = stack["Resources"]["Plan"]["Properties"]["ApiStages"][0]
    stage["Throttle"] = {"/limited/GET": {"RateLimit": 1, "BurstLimit": 2}}
    return stack


@pytest.fixture(scope="module", params=WITH_AND_WITHOUT_GAPS)
def api(request: pytest.FixtureRequest) -> Iterator[Api]:
    with deployed(request.param, function_stack()) as api:
        yield api


@pytest.fixture(scope="module")
def limited() -> Iterator[Api]:
    """An API whose usage plan allows 7.5 requests a second and a burst of 15."""
    with deployed(False, function_stack(), {"Rate": "7.5", "Burst": "15"}) as api:
        yield api


def test_the_function_gets_the_request_id_and_the_key_of_the_request(api: Api) -> None:
    """`requestContext` carries requestId and identity.apiKeyId.

    API Gateway developer guide, "Input format of a Lambda function for proxy integration".
    """
    answer = api.call("/deliveries", "{}")
    assert answer.status == 201
    assert answer.headers["x-request"] == answer.headers["x-amzn-requestid"]
    assert answer.body.decode() == api.outputs["Key"]


@pytest.mark.parametrize("action", ["raise", "malformed"])
def test_a_failure_of_the_function_is_not_told_to_the_client(api: Api, action: str) -> None:
    """502 with "Internal server error" (Lambda developer guide, "Handling errors with an API …")."""
    answer = api.call(f"/deliveries?do={action}", "{}")
    assert (answer.status, answer.json()) == (502, {"message": "Internal server error"})


def test_a_custom_integration_maps_the_event_and_the_error(api: Api) -> None:
    """The error message is matched with the selection pattern.

    API Gateway developer guide, "Handle Lambda errors in API Gateway", and
    "x-amazon-apigateway-integration.responses object".
    """
    answer = api.call("/custom?do=raise", "{}")
    assert (answer.status, answer.json()) == (409, {"error": "secret detail"})
    answer = api.call("/custom", "{}")
    assert (answer.status, answer.json()["body"]) == (200, "2")


def test_a_slow_function_is_a_timeout_of_the_integration(api: Api) -> None:
    """INTEGRATION_TIMEOUT, 504, after timeoutInMillis ("Gateway response types")."""
    started = time.monotonic()
    answer = api.call("/deliveries?do=hang", "{}")
    assert (answer.status, answer.json()) == (504, {"message": "Endpoint request timed out"})
    assert 0.9 < time.monotonic() - started < 2


def test_a_limit_of_one_method_is_enforced(api: Api) -> None:
    """`Throttle` of an API stage limits the method (CloudFormation, "UsagePlan ApiStage")."""
    answers = [api.call("/limited", method="GET") for _ in range(4)]
    assert [answer.status for answer in answers].count(429) >= 1
    assert all(answer.headers["x-path"] == "/limited" for answer in answers if answer.status == 429)


def test_a_status_of_the_functions_own_is_passed_on(limited: Api) -> None:
    """The function's answer is the method's ("Output format of a Lambda function …")."""
    answer = limited.call("/deliveries?do=refuse", "{}")
    assert (answer.status, answer.body) == (502, b"my own")


def test_the_burst_of_a_usage_plan_is_honoured(limited: Api) -> None:
    """A token bucket of the burst's size, filled at the rate.

    API Gateway developer guide, "Throttle requests to your REST APIs".
    """
    time.sleep(2.5)
    statuses = []
    started = time.monotonic()
    while time.monotonic() - started < 1:
        statuses.append(limited.call("/deliveries", "{}").status)
    first_refusal = statuses.index(429)
    assert 15 <= first_refusal <= 15 + 7.5 + 1
    assert set(statuses) == {201, 429}


def test_the_rate_of_a_usage_plan_is_held_within_a_few_percent(limited: Api) -> None:
    """Sustained, as many requests pass as the rate allows, fractions included (same page)."""
    while limited.call("/deliveries", "{}").status != 429:
        pass
    passed, started = 0, time.monotonic()
    while (elapsed := time.monotonic() - started) < 8:
        answer = limited.call("/deliveries", "{}")
        passed += answer.status == 201
        if answer.status == 429:
            assert answer.headers["retry-after"] == "1"
            assert answer.headers["x-amzn-errortype"] == "TooManyRequestsException"
            assert json.loads(answer.body) == {"message": "Too Many Requests"}
        time.sleep(0.02)
    assert passed / elapsed == pytest.approx(7.5, rel=0.05)


def test_an_unknown_path_or_stage_is_forbidden(limited: Api) -> None:
    """MISSING_AUTHENTICATION_TOKEN for a path, Forbidden for a stage ("Gateway response types")."""
    answer = limited.call("/unknown", "{}")
    assert (answer.status, answer.json()) == (403, {"message": "Missing Authentication Token"})
    answer = limited.call("/deliveries", "{}", stage="test")
    assert (answer.status, answer.json()) == (403, {"message": "Forbidden"})
