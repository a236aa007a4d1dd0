"""AWS SDK integrations of Step Functions, called as an SDK does.

AWS ("Learning to use AWS service SDK integrations", "Handling errors in Step Functions workflows",
Step Functions developer guide): a task may call any action of a service. Parameters and results are
named in Pascal case as in the SDK for Java 2 (`Uuid`, not `UUID`). An error is named after the
service and the exception, always with the suffix: `Lambda.ResourceInUseException`,
`DynamoDb.ConditionalCheckFailedException`, `Sqs.QueueDoesNotExistException`.
ministack: has eight actions of Lambda, without those of event source mappings; answers a
ReceiveMessage with one message as an object, or with none as a text; leaves out the suffix.

Here a task calls this emulator over HTTP through botocore, which knows every action and error.
"""

from __future__ import annotations

import contextlib
import json
import threading
from datetime import UTC, datetime
from typing import Any

from local.gaps.emulator import Emulator

SERVICES = {
    "cloudwatch": ("cloudwatch", "CloudWatch"),
    "dynamodb": ("dynamodb", "DynamoDb"),
    "eventbridge": ("events", "EventBridge"),
    "lambda": ("lambda", "Lambda"),
    "sfn": ("stepfunctions", "Sfn"),
    "sns": ("sns", "Sns"),
    "sqs": ("sqs", "Sqs"),
}
"""The name in botocore and the prefix of errors, by the name in a task's resource."""


def install(emulator: Emulator) -> None:
    """Replace the emulator's dispatchers for the services above, and name a throttled invocation."""
    from ministack.services import stepfunctions

    clients = Clients(f"http://127.0.0.1:{emulator.port}")

    def integration(original: Any) -> Any:
        def invoke(resource: str, arguments: Any) -> Any:
            service, action = resource.split(":")[-2:]
            if service not in SERVICES:
                return original(resource, arguments)
            return call_service(clients, service, action.split(".")[0], arguments or {})

        return invoke

    emulator.wrap(stepfunctions, "_invoke_aws_sdk_integration", integration, parameters=("resource", "input_data"))
    emulator.wrap(stepfunctions, "_call_lambda", with_throttle_named, parameters=("func_ref", "event"))


class Clients:
    """Clients of this emulator: one for each service, account and Region."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._clients: dict[tuple[str, str, str], Any] = {}
        self._lock = threading.Lock()

    def get(self, service: str) -> Any:
        """The client for the account and Region of the execution that asks."""
        import boto3
        from botocore.config import Config
        from ministack.core.responses import get_account_id, get_region

        key = (service, get_account_id(), get_region())
        with self._lock:
            if key not in self._clients:
                session: Any = boto3.session.Session()
                self._clients[key] = session.client(
                    service,
                    endpoint_url=self.endpoint,
                    region_name=key[2],
                    aws_access_key_id=key[1],
                    aws_secret_access_key="local",  # noqa: S106 - the emulator takes any
                    config=Config(retries={"total_max_attempts": 1}, proxies={}, max_pool_connections=50),
                )
            return self._clients[key]


def call_service(clients: Clients, service: str, action: str, arguments: dict[str, Any]) -> Any:
    """Call one action and return its result as Step Functions would.

    Raises:
        _ExecutionError: As Step Functions names the service's error, or `States.Runtime` for an
            action or parameters that do not exist.
    """
    from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError
    from ministack.services import stepfunctions

    name, prefix = SERVICES[service]
    client = clients.get(name)
    operation = action[:1].upper() + action[1:]
    if operation not in client.meta.service_model.operation_names:
        raise stepfunctions._ExecutionError("States.Runtime", f"{prefix} has no action {action}")
    model = client.meta.service_model.operation_model(operation)
    parameters = wire_value(stepfunctions._sdk_json_param_value(arguments, model.input_shape), model.input_shape)
    try:
        answer = client._make_api_call(operation, parameters)
    except ParamValidationError as error:
        raise stepfunctions._ExecutionError("States.Runtime", str(error)) from error
    except ClientError as error:
        response: dict[str, Any] = dict(error.response)
        details, metadata = response["Error"], response["ResponseMetadata"]
        cause = (
            f"{details.get('Message', '')} (Service: {prefix}, Status Code: "
            f"{metadata.get('HTTPStatusCode')}, Request ID: {metadata.get('RequestId')})"
        )
        raise stepfunctions._ExecutionError(
            f"{prefix}.{exception_name(client.meta.service_model, prefix, details)}", cause
        ) from error
    except BotoCoreError as error:
        raise stepfunctions._ExecutionError(f"{prefix}.SdkClientException", str(error)) from error
    answer.pop("ResponseMetadata", None)
    if model.output_shape is None:
        return {}
    return stepfunctions._sdk_json_value(plain(answer), model.output_shape)


def exception_name(model: Any, prefix: str, details: dict[str, Any]) -> str:
    """The exception of the SDK for Java 2: the modelled one, else the service's own base exception."""
    from ministack.services import stepfunctions

    code = str(details.get("QueryErrorCode") or details.get("Code")).rsplit("#", 1)[-1]
    for shape in model.error_shapes:
        if code in (shape.name, shape.error_code):
            name = str(stepfunctions._api_name_to_sfn_key(shape.name))
            return name if name.endswith("Exception") else f"{name}Exception"
    return f"{prefix}Exception"


def wire_value(value: Any, shape: Any) -> Any:
    """Arguments with whole numbers as integers where the action takes those: JSONata has one kind."""
    if shape is None:
        return value
    if shape.type_name == "structure" and isinstance(value, dict):
        return {key: wire_value(item, shape.members.get(key)) for key, item in value.items()}
    if shape.type_name == "list" and isinstance(value, list):
        return [wire_value(item, shape.member) for item in value]
    if shape.type_name == "map" and isinstance(value, dict):
        return {key: wire_value(item, shape.value) for key, item in value.items()}
    whole = shape.type_name in ("integer", "long") and isinstance(value, float) and value.is_integer()
    return int(value) if whole else value


def plain(value: Any) -> Any:
    """A result of botocore as JSON: times in ISO 8601, contents as text."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if hasattr(value, "read"):
        value = value.read()
    return value.decode() if isinstance(value, bytes) else value


def with_throttle_named(original: Any) -> Any:
    """Give a refused invocation Lambda's own error name, such as `Lambda.TooManyRequestsException`."""
    from ministack.services import stepfunctions

    def invoke(reference: str, event: Any) -> Any:
        try:
            return original(reference, event)
        except stepfunctions._ExecutionError as error:
            with contextlib.suppress(ValueError):
                refusal = json.loads(error.cause)
                if error.error == "Lambda.Unknown" and isinstance(refusal, dict) and "__type" in refusal:
                    error.error, error.cause = f"Lambda.{refusal['__type']}", refusal["message"]
            raise

    return invoke
