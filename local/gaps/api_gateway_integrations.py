"""Non-proxy integrations: mapping templates both ways, selection of the response, timeouts.

AWS: the request template of the media type makes the backend's payload; `requestParameters` and
`$context.requestOverride` its headers, path and query string. The answer goes to the integration
response whose `selectionPattern` matches the backend's HTTP status (AWS services, mock) or the
error message (Lambda), else to the default one, else the request fails; its template makes the
body, and `$context.responseOverride` wins over the status and headers ("Data transformations for
REST APIs in API Gateway", "Set up an integration response"). After `timeoutInMillis` the answer is
INTEGRATION_TIMEOUT. A Lambda proxy function that fails is answered with 502, one that Lambda does
not start with 500 (Lambda developer guide, "Handling errors with an API Gateway API").

SQS reads a query protocol call only as `application/x-www-form-urlencoded` or from the query string
and answers API Gateway in JSON unless it is asked for XML.

ministack: knows a small part of the template language, no `$context`, no parameter mapping, no
overrides and no timeouts; passes a Lambda function's error message on to the client.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from ministack.core.responses import request_scope
from ministack.services import apigateway_v1, sqs

from local.gaps.api_gateway_exchange import Exchange, Response, current, gateway_error
from local.gaps.api_gateway_responses import variable
from local.gaps.api_gateway_templates import (
    JavaMap,
    Parameters,
    TemplateError,
    compact_json,
    json_path,
    new_context,
    render,
)
from local.gaps.api_gateway_validation import for_media_type
from local.gaps.emulator import Emulator

DEFAULT_TIMEOUT_MILLISECONDS = 29_000
FORM = "application/x-www-form-urlencoded"
JSON = "application/json"

logger = logging.getLogger(__name__)


class IntegrationError(Exception):
    """The integration cannot answer; carries the gateway response to give instead."""

    def __init__(self, response_type: str, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.response = gateway_error(response_type, message, status=status)


def configuration_error(reason: str) -> IntegrationError:
    """The client sees an internal server error; the emulator's log gives the reason."""
    logger.error("request %s: execution failed, %s", current().request_id, reason)
    return IntegrationError("API_CONFIGURATION_ERROR", "Internal server error")


def install(emulator: Emulator) -> None:
    """Run integrations as AWS does."""
    emulator.wrap(apigateway_v1, "_invoke_sqs_v1", lambda _original: through(call_sqs))
    emulator.wrap(apigateway_v1, "_invoke_lambda_custom_v1", lambda _original: through(call_lambda))
    emulator.wrap(apigateway_v1, "_invoke_mock_v1", lambda _original: answer_mock)
    emulator.wrap(apigateway_v1, "_invoke_lambda_proxy_v1", guard)
    emulator.wrap(apigateway_v1, "_lambda_proxy_response", check_proxy_response)


class Transformation:
    """The transformations of one request by its integration."""

    def __init__(self, integration: dict[str, Any], exchange: Exchange) -> None:
        self.integration = integration
        self.exchange = exchange
        self.context: JavaMap = new_context(exchange.context())
        self.parameters = Parameters(exchange.request["path_params"], exchange.query, exchange.headers)
        self.payload = exchange.body.decode("utf-8", "replace")

    def request(self) -> tuple[str, dict[str, str], dict[str, str]]:
        """The backend's payload, headers (names in lower case) and query parameters."""
        templates = self.integration.get("requestTemplates") or {}
        template = for_media_type(templates, self.exchange.content_type)
        body = self.payload if template is None else self.render(template, self.payload)
        headers = {"content-type": self.exchange.content_type, "accept": JSON}
        query: dict[str, str] = {}
        for target, source in (self.integration.get("requestParameters") or {}).items():
            place, _, name = target.removeprefix("integration.request.").partition(".")
            value = self.resolve(str(source))
            if value is not None and place == "header":
                headers[name.lower()] = str(value)
            elif value is not None and place == "querystring":
                query[name] = str(value)
        override = self.context["requestOverride"]
        headers |= {name.lower(): str(value) for name, value in override["header"].items()}
        query |= {name: str(value) for name, value in override["querystring"].items()}
        return body, headers, query

    def response(self, outcome: str, text: str, headers: Mapping[str, str]) -> Response:
        """The method response for the backend's answer.

        Args:
            outcome: What selection patterns are matched with: HTTP status or error message.
            text: The backend's payload.
            headers: The backend's headers.

        Raises:
            IntegrationError: If no integration response matches.
        """
        chosen = self.select(outcome)
        answer_headers = {"Content-Type": JSON}
        for target, source in (chosen.get("responseParameters") or {}).items():
            value = self.resolve(str(source), text, headers)
            if value is not None:
                answer_headers[target.removeprefix("method.response.header.")] = str(value)
        templates = chosen.get("responseTemplates") or {}
        if templates:
            accept = self.exchange.headers.get("accept", JSON).split(",")[0].split(";")[0].strip()
            media_type = next((key for key in (accept, JSON) if key in templates), min(templates))
            answer_headers.setdefault("Content-Type", media_type)
            text = self.render(templates[media_type], text)
        override = self.context["responseOverride"]
        answer_headers |= {name: str(value) for name, value in override["header"].items()}
        status = int(override.get("status") or chosen["statusCode"])
        return status, answer_headers, text.encode()

    def select(self, outcome: str) -> dict[str, Any]:
        """The integration response for an outcome: the one that matches, else the default."""
        default = None
        for candidate in (self.integration.get("integrationResponses") or {}).values():
            pattern = candidate.get("selectionPattern")
            if not pattern:
                default = candidate
            elif outcome and re.fullmatch(pattern, outcome, re.DOTALL):
                return dict(candidate)
        if default is None:
            raise configuration_error(f"no match for output mapping and no default; the backend answered {outcome}")
        return dict(default)

    def render(self, template: str, body: str) -> str:
        """Evaluate one of the integration's templates."""
        try:
            return render(
                template,
                body=body,
                parameters=self.parameters,
                context=self.context,
                stage_variables=self.exchange.stage_variables,
            )
        except TemplateError as error:
            raise configuration_error(f"mapping template: {error}") from error

    def resolve(self, source: str, text: str | None = None, headers: Mapping[str, str] | None = None) -> Any:
        """The value of a parameter mapping's source; None when there is none."""
        if source.startswith("'") and source.endswith("'"):
            return source[1:-1]
        root, _, rest = source.partition(".")
        if root in ("context", "stageVariables"):
            values = {"context": self.context, "stageVariables": self.exchange.stage_variables}
            return variable(source, values)
        place, _, name = rest.partition(".")[2].partition(".")
        if place == "body":
            document = json.loads((self.payload if text is None else text) or "null")
            return json_path(document, f"$.{name}" if name else "$")
        if place == "header":
            return (self.exchange.headers if headers is None else headers).get(name.lower())
        return (self.parameters.path if place == "path" else self.parameters.querystring).get(name)


Backend = Callable[[Transformation], Awaitable[tuple[str, str, Mapping[str, str]]]]


def through(backend: Backend) -> Callable[..., Awaitable[Any]]:
    """A non-proxy integration with a backend, as ministack calls it."""

    async def invoke(integration: dict[str, Any], *_arguments: Any, **_options: Any) -> Any:
        mapping = Transformation(integration, current())
        try:
            outcome, text, headers = await in_time(integration, backend(mapping))
            return mapping.response(outcome, text, headers)
        except IntegrationError as error:
            return error.response

    return invoke


async def in_time(integration: dict[str, Any], call: Awaitable[Any]) -> Any:
    """The result of a backend call, which goes on by itself when it takes too long.

    Raises:
        IntegrationError: After the integration's timeout.
    """
    timeout = float(integration.get("timeoutInMillis") or DEFAULT_TIMEOUT_MILLISECONDS) / 1000
    task = asyncio.ensure_future(call)
    started = time.monotonic()
    try:
        done, _ = await asyncio.wait({task}, timeout=timeout)
    finally:
        current().integration_seconds = time.monotonic() - started
    if not done:
        task.add_done_callback(lambda late: late.cancelled() or late.exception())
        raise IntegrationError("INTEGRATION_TIMEOUT", "Endpoint request timed out")
    return task.result()


async def call_sqs(mapping: Transformation) -> tuple[str, str, Mapping[str, str]]:
    """Call SQS as `arn:aws:apigateway:<region>:sqs:path/<account>/<queue>` says."""
    region, _, _, path = apigateway_v1._parse_service_integration_uri(mapping.integration["uri"])
    account, _, queue = path.strip("/").partition("/")
    body, headers, query = mapping.request()
    form = dict(query)
    if headers["content-type"].split(";")[0].strip().lower() == FORM:
        form |= dict(parse_qsl(body, keep_blank_values=True))
    status, document = await query_protocol(account, region, queue, form)
    mapping.exchange.integration_status = status
    if JSON not in headers["accept"]:
        return str(status), sqs_xml(form.get("Action", ""), status, document), {}
    return str(status), compact_json(document), {}


async def query_protocol(account: str, region: str, queue: str, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
    """Run one SQS action; returns the HTTP status and the answer as SQS gives it in JSON."""
    request_id = str(uuid.uuid4())
    action = form.get("Action", "")
    if not action:
        return 404, {"Error": {"Code": "UnknownOperationException"}, "RequestId": request_id}
    url = sqs._queue_name_to_url.get_scoped(account, region, queue) or sqs._queue_url_for_account(account, queue)
    data = sqs._normalise(action, form) | {"QueueUrl": url}
    try:
        with request_scope(account, region):
            result = await sqs._dispatch(action, data, url)
    except sqs._Err as error:
        kind = "Sender" if error.status < 500 else "Receiver"
        code = sqs._QUERY_COMPAT_CODES.get(error.code, error.code)
        fields = {"Code": code, "Message": error.message, "Type": kind}
        return error.status, {"Error": fields, "RequestId": request_id}
    if action == "SendMessage":
        names = ("MD5OfMessageAttributes", "MD5OfMessageSystemAttributes", "SequenceNumber")
        result = dict.fromkeys(names) | result
    return 200, {
        f"{action}Response": {
            "ResponseMetadata": {"RequestId": request_id},
            f"{action}Result": result,
        }
    }


def sqs_xml(action: str, status: int, document: dict[str, Any]) -> str:
    """The same answer in XML."""
    if status == 200:
        return str(sqs._to_xml(action, document[f"{action}Response"][f"{action}Result"])[2].decode())
    error = document["Error"]
    _, _, body = sqs._xml_err_resp(error["Code"], error.get("Message", ""), status)
    return str(body.decode())


async def call_lambda(mapping: Transformation) -> tuple[str, str, Mapping[str, str]]:
    """Invoke a function with the mapped payload; a failure is matched by its error message."""
    uri = mapping.integration.get("uri", "")
    service = apigateway_v1._parse_service_integration_uri(uri)
    if service and service[1] != "lambda":
        raise configuration_error(f"the local stack has no integration with {service[1]}: {uri}")
    body, _, _ = mapping.request()
    try:
        event = json.loads(body or "{}")
    except ValueError as error:
        message = f"Could not parse request body into json: {error}"
        raise IntegrationError("BAD_REQUEST_BODY", message) from error
    function = apigateway_v1._extract_lambda_ref_from_integration_uri(uri)
    result, missing = await apigateway_v1._call_lambda_raw(function, event)
    if missing or result.get("throttle"):
        raise configuration_error(missing or "Lambda throttled the invocation")
    mapping.exchange.integration_status = 200
    payload = result.get("body")
    failure = payload.get("errorMessage", "") if result.get("error") else ""
    return failure, payload if isinstance(payload, str) else compact_json(payload), {}


def answer_mock(integration: dict[str, Any]) -> Any:
    """Answer with the status that the request template names."""
    mapping = Transformation(integration, current())
    try:
        body, _, _ = mapping.request()
        try:
            status = str(json.loads(body)["statusCode"])
        except (ValueError, KeyError, TypeError) as error:
            raise configuration_error(f"the mock's request template gives no statusCode: {body}") from error
        return mapping.response(status, "", {})
    except IntegrationError as error:
        return error.response


def guard(invoke: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Time out a Lambda proxy integration, and hide its failures from the client."""

    async def guarded(integration: dict[str, Any], *arguments: Any, **options: Any) -> Any:
        try:
            return await in_time(integration, invoke(integration, *arguments, **options))
        except IntegrationError as error:
            return error.response

    return guarded


PROXY_RESPONSE = {"statusCode", "headers", "multiValueHeaders", "body", "isBase64Encoded"}


def check_proxy_response(shape: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse what a Lambda proxy function must not answer.

    The format is in "Output format of a Lambda function for proxy integration": an object of the
    five keys, its body a string.
    """

    def checked(result: dict[str, Any]) -> Any:
        if result.get("throttle"):
            raise IntegrationError("DEFAULT_5XX", "Internal server error", status=500)
        payload = result.get("body")
        if isinstance(payload, str) and payload.lstrip().startswith("{"):
            payload = json.loads(payload)
        malformed = (
            not isinstance(payload, dict)
            or not payload.keys() <= PROXY_RESPONSE
            or not isinstance(payload.get("body", ""), str | None)
        )
        if result.get("error") or malformed:
            logger.error("request %s: Lambda proxy answered %s", current().request_id, payload)
            raise IntegrationError("DEFAULT_5XX", "Internal server error", status=502)
        current().integration_status = 200
        return shape(result)

    return checked
