"""A REST API that is imported from OpenAPI and sends its requests to SQS without a function.

Each test says what AWS does, with its page of the API Gateway developer guide, and runs with the
gaps closed and, as an expected failure, against the bare emulator.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator

import pytest
from botocore.exceptions import WaiterError

from tests.conformance.api_gateway import (
    MAXIMUM_MESSAGE_BYTES,
    Api,
    create,
    definition,
    deployed,
    ingest_stack,
)
from tests.conformance.conftest import WITH_AND_WITHOUT_GAPS

ORDER = {"order_id": "ord-1", "total": 59.9, "items": [{"sku": "a", "quantity": 1}]}


@pytest.fixture(scope="module", params=WITH_AND_WITHOUT_GAPS)
def api(request: pytest.FixtureRequest) -> Iterator[Api]:
    with deployed(request.param, ingest_stack()) as api:
        yield api


def order(**changes: object) -> str:
    return json.dumps(ORDER | changes, ensure_ascii=False)


def test_an_order_is_stored_with_attributes_and_answered_with_its_request_id(api: Api) -> None:
    """`$context` has one request id, the key's id and the time in ms.

    "Variables for data transformations for API Gateway".
    """
    before = time.time() * 1000
    answer = api.call("/orders", order(), X_Source="shop & co")
    assert answer.status == 202
    message = api.message()
    attributes = {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
    received_at = int(attributes.pop("received_at"))
    assert before - 1000 < received_at < time.time() * 1000 + 1000
    assert attributes == {
        "correlation_id": answer.headers["x-amzn-requestid"],
        "api_key_id": api.outputs["Key"],
        "source": "shop & co",
    }
    assert message["MessageAttributes"]["received_at"]["DataType"] == "Number"
    assert answer.json() == {
        "correlation_id": answer.headers["x-amzn-requestid"],
        "message_id": message["MessageId"],
    }
    assert answer.headers["x-correlation-id"] == answer.headers["x-amzn-requestid"]


@pytest.mark.parametrize(
    "note",
    [
        "a&b=c%26+d e",
        "Ünïcödé 🚚 \u2028",
        "line\nbreak\ttab \"quoted\" \\back 'single'",
        "$context.requestId #set($x=1) ${input.body}",
        "%20%zz+&Action=DeleteQueue",
    ],
)
def test_the_body_reaches_the_queue_byte_for_byte(api: Api, note: str) -> None:
    """`$util.urlEncode($input.body)` makes any body one parameter ("Mapping template reference")."""
    body = json.dumps(ORDER | {"note": note}, ensure_ascii=False, indent=1)
    assert api.call("/orders", body).status == 202
    assert api.message()["Body"] == body


def test_request_ids_are_unique(api: Api) -> None:
    """Every request has an id of its own ("Variables for access logging", requestId)."""
    ids = {api.call("/orders", order()).json()["correlation_id"] for _ in range(3)}
    for _ in range(3):
        api.message()
    assert len(ids) == 3


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"total": 1}, '[object has missing required properties (["order_id"])]'),
        ({}, '[object has missing required properties (["order_id","total"])]'),
        (
            {"order_id": "ord-1", "total": "59.9"},
            '[instance type (string) does not match any allowed primitive type (allowed: ["integer","number"])]',
        ),
        (
            {"order_id": 7, "total": -1},
            "[instance type (integer) does not match any allowed primitive type "
            '(allowed: ["string"]), numeric instance is lower than the required minimum '
            "(minimum: 0, found: -1)]",
        ),
        (
            ORDER | {"currency": "USD"},
            '[instance value ("USD") not found in enum (possible values: ["EUR","CHF"])]',
        ),
        (
            ORDER | {"items": [{"sku": "", "quantity": 1}]},
            '[string "" is too short (length: 0, required minimum: 1)]',
        ),
        (
            ORDER | {"order_id": "x"},
            '[ECMA 262 regex "^ord-" does not match input string "x"]',
        ),
        (
            [],
            '[instance type (array) does not match any allowed primitive type (allowed: ["object"])]',
        ),
    ],
)
def test_a_refused_body_is_answered_with_what_is_wrong(api: Api, body: object, detail: str) -> None:
    """`$context.error.validationErrorString` names the violations.

    "Request validation for REST APIs in API Gateway"; "Gateway responses for REST APIs".
    """
    answer = api.call("/orders", json.dumps(body))
    assert answer.status == 400
    assert answer.json() == {
        "message": "Invalid request body",
        "detail": detail,
        "id": answer.headers["x-amzn-requestid"],
    }


@pytest.mark.parametrize("body", ['{"order_id": ', "", "\x00", "null"])
def test_a_body_that_is_no_order_at_all_is_a_bad_request_body(api: Api, body: str) -> None:
    """A body that is not JSON does not adhere to the model ("Request validation for REST APIs")."""
    answer = api.call("/orders", body)
    assert answer.status == 400
    assert answer.json()["message"].strip() == "Invalid request body"
    assert answer.json()["detail"].startswith("[")


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "text/json"])
def test_a_media_type_without_template_is_refused(api: Api, content_type: str) -> None:
    """`passthroughBehavior: never` answers 415.

    "Method request behavior for payloads without mapping templates for REST APIs".
    """
    answer = api.call("/orders", order(), Content_Type=content_type)
    assert (answer.status, answer.json()) == (415, {"message": "Unsupported Media Type"})


@pytest.mark.parametrize("content_type", [None, "application/json; charset=utf-8"])
def test_json_is_taken_with_parameters_and_without_a_media_type(api: Api, content_type: str | None) -> None:
    """A request without a media type counts as application/json (same page)."""
    assert api.call("/orders", order(), Content_Type=content_type).status == 202
    assert json.loads(api.message()["Body"]) == ORDER


def test_what_the_queue_refuses_is_never_accepted(api: Api) -> None:
    """A service's error goes to the response its HTTP status matches; overrides win.

    "x-amazon-apigateway-integration.responses object"; "Override your API's request and response
    parameters and status codes"; SQS API reference, SendMessage: InvalidParameterValue.
    """
    answer = api.call("/orders", order(note="x" * MAXIMUM_MESSAGE_BYTES))
    assert answer.status == 413
    assert answer.headers["x-reason"] == "size"
    assert answer.json() == {
        "error": "One or more parameters are invalid. Reason: Message must be shorter than "
        f"{MAXIMUM_MESSAGE_BYTES} bytes.",
        "code": "InvalidParameterValue",
    }


def test_characters_that_sqs_does_not_take_are_refused(api: Api) -> None:
    """SQS takes the characters of XML 1.0 only: InvalidMessageContents (SQS API, SendMessage)."""
    body = order().encode()[:-1] + b', "note": "\xef\xbf\xbf"}'
    answer = api.call("/orders", body)
    assert (answer.status, answer.json()["code"]) == (400, "InvalidMessageContents")


def test_without_response_templates_the_services_answer_is_passed_on(api: Api) -> None:
    """SQS answers in XML when it is asked to, and the body passes through.

    "Method response behavior for payloads without mapping templates"; SQS developer guide,
    "Making Query API requests".
    """
    answer = api.call("/plain", "{}")
    message_id = api.message()["MessageId"]
    assert answer.status == 200
    assert f"<MessageId>{message_id}</MessageId>" in answer.body.decode()


def test_an_outcome_without_response_is_an_internal_error_with_the_familys_status(
    api: Api,
) -> None:
    """DEFAULT_5XX's status replaces that of the 5XX types without their own.

    "Gateway response types for API Gateway", DEFAULT_5XX.
    """
    answer = api.call("/broken", "{}")
    assert answer.status == 503
    assert answer.json() == {"kind": "API_CONFIGURATION_ERROR", "from": "127.0.0.1"}


def test_a_wrong_key_is_answered_before_the_body_is_looked_at(api: Api) -> None:
    """INVALID_API_KEY, with the error type ForbiddenException ("Gateway response types")."""
    for key in (None, "wrong"):
        answer = api.call("/orders", "{", x_api_key=key)
        assert (answer.status, answer.json()) == (403, {"message": "Forbidden"})
        assert answer.headers["x-amzn-errortype"] == "ForbiddenException"


def test_a_payload_over_ten_megabytes_is_too_large(api: Api) -> None:
    """REQUEST_TOO_LARGE over 10 MB ("Quotas for configuring and running a REST API")."""
    answer = api.call("/orders", b" " * (10 * 1024 * 1024 + 1))
    assert answer.status == 413


def test_a_mock_answers_with_its_template(api: Api) -> None:
    """A mock's response template sees parameters, context and stage variables ("Mock integration")."""
    answer = api.call("/greeting/ada?a=1", method="GET")
    assert answer.body.decode() == ("path={name=ada};querystring={a=1};GET /live/greeting/ada fine")


def test_the_access_log_has_the_id_of_the_answer(api: Api) -> None:
    """One line a request in the stage's format ("Set up CloudWatch logging for REST APIs")."""
    answer = api.call("/orders", "{}")
    logs = api.emulator.client("logs")
    events = logs.filter_log_events(logGroupName=api.outputs["Log"])["events"]
    lines = [json.loads(event["message"]) for event in events]
    assert {
        "id": answer.headers["x-amzn-requestid"],
        "status": 400,
        "error": "Invalid request body",
    } in lines


@pytest.mark.parametrize(
    ("mistake", "reason"),
    [
        ("role", "Role arn must be specified for AWS integrations"),
        ("status", "Invalid Response status code specified: 418"),
        ("parameter", "Invalid mapping expression parameter specified"),
        ("header", "Invalid mapping expression parameter specified"),
        ("model", "Model name must be alphanumeric"),
    ],
)
def test_a_definition_that_aws_refuses_is_refused(api: Api, mistake: str, reason: str) -> None:
    """An import fails on what API Gateway cannot take.

    "OpenAPI extensions for API Gateway" and "Amazon API Gateway important notes".
    """
    body = copy.deepcopy(definition())
    integration = body["paths"]["/orders"]["post"]["x-amazon-apigateway-integration"]
    if mistake == "role":
        del integration["credentials"]
    elif mistake == "status":
        integration["responses"]["default"]["statusCode"] = "418"
    elif mistake == "header":
        body["paths"]["/orders"]["post"]["responses"]["202"]["headers"] = {}
    elif mistake == "parameter":
        integration["requestParameters"]["integration.request.header.A"] = "method.request.header.Undeclared"
    else:
        body["components"]["schemas"]["my_model"] = {"type": "object"}
    with pytest.raises(WaiterError):
        create(api.emulator, f"refused-{mistake}", ingest_stack(body), {})
    events = api.emulator.client("cloudformation").describe_stack_events(StackName=f"refused-{mistake}")["StackEvents"]
    assert any(reason in event.get("ResourceStatusReason", "") for event in events)


def test_an_update_of_the_definition_keeps_the_id_of_the_api(api: Api) -> None:
    """`Body` is updated without interruption (CloudFormation, "AWS::ApiGateway::RestApi")."""
    changed = definition()
    mock = changed["paths"]["/greeting/{name}"]["get"]["x-amazon-apigateway-integration"]
    mock["responses"]["default"]["responseTemplates"] = {"text/plain": "changed"}
    before = create(api.emulator, "updated", ingest_stack(), {})
    cloudformation = api.emulator.client("cloudformation")
    cloudformation.update_stack(
        StackName="updated",
        TemplateBody=json.dumps(ingest_stack(changed)),
        Capabilities=["CAPABILITY_IAM"],
    )
    cloudformation.get_waiter("stack_update_complete").wait(
        StackName="updated", WaiterConfig={"Delay": 0.2, "MaxAttempts": 100}
    )
    after = api.emulator.stack("updated").outputs
    assert after["Api"] == before["Api"]
    other = Api(api.emulator, after, api.key)
    assert other.call("/greeting/ada", method="GET").body == b"changed"
