"""One request id, one `$context` and the size limit for each request to a REST API.

AWS: every request has one id, and `$context.requestId` in mapping templates, gateway responses and
access logs, `requestContext.requestId` of a Lambda proxy event and the header `x-amzn-RequestId`
all carry it (API Gateway developer guide, "Variables for data models, authorizers, mapping
templates, and CloudWatch access logging"). A payload over 10 MB is answered with the gateway
response REQUEST_TOO_LARGE ("Quotas for configuring and running a REST API").

ministack: makes up a new id in each of these places, has no `$context` but the authorizer's, takes
a payload of any size and answers an error of its own with Python's message.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ministack.services import apigateway_v1

from local.gaps.emulator import Emulator

Response = tuple[int, dict[str, Any], bytes]

MAXIMUM_PAYLOAD_BYTES = 10 * 1024 * 1024
LOCAL_ADDRESS = "127.0.0.1"

logger = logging.getLogger(__name__)
_current: ContextVar[Exchange] = ContextVar("api_gateway_exchange")


@dataclass
class Exchange:
    """One request to a REST API, from its arrival to its answer.

    Attributes:
        request: What ministack fills in while it routes: stage, resource path, path parameters …
        method: HTTP method in capitals.
        path: Path below the stage.
        body: Payload as received.
        account_id: Owner of the API, 12 digits.
        api_key: Record of the key that was presented and accepted.
        error: Type, message and validation errors of a gateway response, once there is one.
        integration_status: HTTP status of the backend, once it has answered.
        integration_seconds: Time the backend took, seconds.
        received_at: Seconds since the epoch.
    """

    request: dict[str, Any]
    method: str
    path: str
    body: bytes
    account_id: str
    api_key: dict[str, Any] | None = None
    error: dict[str, str] = field(default_factory=dict)
    integration_status: int | None = None
    integration_seconds: float | None = None
    received_at: float = field(default_factory=time.time)

    @property
    def request_id(self) -> str:
        """The id that every trace of this request carries."""
        return str(self.request["request_id"])

    @property
    def headers(self) -> Mapping[str, str]:
        """Request headers, one value each, names in lower case."""
        return {
            name.lower(): value if isinstance(value, str) else value[-1]
            for name, value in self.request["headers"].items()
        }

    @property
    def query(self) -> Mapping[str, str]:
        """Query parameters, one value each: the last, as API Gateway takes it."""
        return {
            name: value if isinstance(value, str) else value[-1] for name, value in self.request["query_params"].items()
        }

    @property
    def stage_variables(self) -> Mapping[str, str]:
        """Variables of the stage that serves the request."""
        return (self.request["stage"] or {}).get("variables") or {}

    @property
    def content_type(self) -> str:
        """Media type without parameters; a request without one counts as application/json."""
        value = self.headers.get("content-type") or "application/json"
        return value.split(";", 1)[0].strip().lower()

    def identity(self) -> dict[str, str]:
        """`$context.identity`: who called."""
        identity = {
            "sourceIp": self.headers.get("x-forwarded-for", LOCAL_ADDRESS).split(",")[0].strip(),
            "userAgent": self.headers.get("user-agent", ""),
        }
        if self.api_key:
            identity |= {"apiKey": self.api_key["value"], "apiKeyId": self.api_key["id"]}
        return identity

    def context(self) -> dict[str, Any]:
        """`$context` as mapping templates, gateway responses and access logs see it."""
        stage = self.request["stage"] or {}
        moment = datetime.fromtimestamp(self.received_at, UTC)
        host = self.headers.get("host", "")
        return {
            "accountId": self.account_id,
            "apiId": self.request["api_id"],
            "deploymentId": stage.get("deploymentId", ""),
            "domainName": host,
            "domainPrefix": host.split(".")[0],
            "error": self.error,
            "extendedRequestId": self.request_id,
            "httpMethod": self.method,
            "identity": self.identity(),
            "path": f"/{self.request['stage_name']}{self.path}",
            "protocol": "HTTP/1.1",
            "requestId": self.request_id,
            "requestTime": moment.strftime("%d/%b/%Y:%H:%M:%S +0000"),
            "requestTimeEpoch": int(self.received_at * 1000),
            "resourcePath": self.request["resource_path"],
            "stage": self.request["stage_name"],
        }


def current() -> Exchange:
    """The request that the running task answers."""
    return _current.get()


finished: list[Callable[[Exchange, int, int], None]] = []
"""Called with the request, the status and the length of the answer, after each answer."""


async def answer(
    api_id: str,
    stage_name: str,
    method: str,
    path: str,
    headers: dict[str, Any],
    body: bytes,
    query_params: dict[str, Any],
    owner_account_id: str,
    owner_region: str,
) -> Response:
    """Answer one request; takes the place of ministack's `_handle_execute_in_scope`."""
    request = {
        "api_id": api_id,
        "stage_name": stage_name,
        "stage": apigateway_v1._stages_v1.get(api_id, {}).get(stage_name),
        "headers": headers or {},
        "query_params": query_params or {},
        "path_params": {},
        "resource_path": "",
        "request_id": str(uuid.uuid4()),
    }
    exchange = Exchange(request, method, path, body or b"", owner_account_id)
    token = _current.set(exchange)
    try:
        if request["stage"] and len(exchange.body) > MAXIMUM_PAYLOAD_BYTES:
            response = gateway_error(
                "REQUEST_TOO_LARGE",
                f"HTTP content length exceeded {MAXIMUM_PAYLOAD_BYTES} bytes.",
            )
        else:
            response = await _execute(
                request,
                api_id,
                stage_name,
                method,
                path,
                headers,
                body,
                query_params,
                owner_account_id,
                owner_region,
            )
        if isinstance(response, apigateway_v1._GatewayError):
            response = apigateway_v1._gateway_error_response(response, request)
        status, response_headers, payload = response
        response_headers["x-amzn-requestid"] = exchange.request_id
        response_headers["x-amz-apigw-id"] = exchange.request_id
        for observer in finished:
            observer(exchange, int(status), len(payload))
        return status, response_headers, payload
    finally:
        _current.reset(token)


async def _execute(request: dict[str, Any], *arguments: Any) -> Any:
    """Run ministack's pipeline; what it does not catch is API Gateway's internal server error."""
    try:
        return await apigateway_v1._execute_in_scope(request, *arguments)
    except Exception:
        if not request["stage"]:
            raise
        logger.exception("request %s failed inside the emulator", request["request_id"])
        return gateway_error("DEFAULT_5XX", "Internal server error")


def gateway_error(response_type: str, message: str, *, status: int | None = None) -> Any:
    """An error that API Gateway answers through the gateway response of its type.

    Args:
        response_type: For example THROTTLED or DEFAULT_5XX.
        message: `$context.error.message`.
        status: HTTP status where the type has none of its own and no customized one.
    """
    error = apigateway_v1._GatewayError(response_type, message)
    error.status = status
    return error


def install(emulator: Emulator) -> None:
    """Give each request to a REST API one identity."""
    parameters = (
        "api_id",
        "stage_name",
        "method",
        "path",
        "headers",
        "body",
        "query_params",
        "owner_account_id",
        "owner_region",
    )
    emulator.wrap(apigateway_v1, "_handle_execute_in_scope", lambda _original: answer, parameters=parameters)
    emulator.wrap(
        apigateway_v1,
        "_execute_in_scope",
        lambda original: original,
        parameters=("request", *parameters),
    )
    emulator.wrap(apigateway_v1, "_check_api_key", remember_api_key)
    emulator.wrap(apigateway_v1, "_build_lambda_event_v1", identify_event)


def remember_api_key(check: Callable[..., Any]) -> Callable[..., Any]:
    """Keep the accepted key for `$context.identity`."""

    def checked(*arguments: Any) -> Any:
        error, key = check(*arguments)
        current().api_key = key
        return error, key

    return checked


def identify_event(build: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Give the Lambda proxy event the request's own id, time and caller."""

    def built(*arguments: Any, **options: Any) -> dict[str, Any]:
        event = build(*arguments, **options)
        exchange, details = current(), event["requestContext"]
        context = exchange.context()
        for name in ("requestId", "extendedRequestId", "requestTime", "requestTimeEpoch"):
            details[name] = context[name]
        for name in ("domainName", "domainPrefix", "deploymentId"):
            details[name] = context[name]
        details["identity"].update(exchange.identity())
        return event

    return built
