"""Request validation that says what is wrong, and the media types that an integration takes.

AWS ("Request validation for REST APIs in API Gateway"): the body is checked against the model of
its content type, JSON Schema draft 4; without a model for the content type (or `$default`) there is
no check. `$context.error.validationErrorString` lists the violations in the words of
json-schema-validator, for example `[object has missing required properties (["order_id"])]`, and
is escaped for use inside a JSON string. The text for a body that is not JSON is not documented; it
is the parser's here. A media type that no request template matches is answered with
UNSUPPORTED_MEDIA_TYPE under `passthroughBehavior: NEVER`, and under `WHEN_NO_TEMPLATES` if there is
any template ("Method request behavior for payloads without mapping templates for REST APIs").

ministack: takes the model of application/json for every content type, says nothing but "Invalid
request body", and lets every media type pass when there is no template.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from jsonschema import Draft4Validator, FormatChecker
from jsonschema.exceptions import ValidationError
from ministack.services import apigateway_v1

from local.gaps.api_gateway_exchange import current, gateway_error
from local.gaps.api_gateway_templates import compact_json
from local.gaps.emulator import Emulator

MODEL_URL = "https://apigateway.amazonaws.com/restapis/{api_id}/models/"
"""How a model refers to another one of its API; the import writes it."""


def install(emulator: Emulator) -> None:
    """Check bodies and media types as AWS does."""
    emulator.wrap(
        apigateway_v1,
        "_check_request_validation",
        lambda _original: check_request,
        parameters=("method_obj", "api_id", "request", "headers", "body", "query_params"),
    )
    emulator.wrap(
        apigateway_v1,
        "_check_passthrough_behavior",
        lambda _original: check_media_type,
        parameters=("integration", "headers"),
    )


def check_media_type(integration: dict[str, Any], _headers: Any) -> Any:
    """The error for a media type that the integration does not take, or None."""
    if integration["type"].endswith("_PROXY"):
        return None
    behavior = (integration.get("passthroughBehavior") or "WHEN_NO_MATCH").upper()
    templates = integration.get("requestTemplates") or {}
    refuses = behavior == "NEVER" or (behavior == "WHEN_NO_TEMPLATES" and templates)
    if not refuses or for_media_type(templates, current().content_type) is not None:
        return None
    return gateway_error("UNSUPPORTED_MEDIA_TYPE", "Unsupported Media Type")


def for_media_type(by_type: dict[str, Any], media_type: str) -> Any:
    """The entry for a media type, whatever the parameters and the case of the keys."""
    for key, value in by_type.items():
        if key.split(";", 1)[0].strip().lower() == media_type:
            return value
    return None


def check_request(
    method: dict[str, Any],
    api_id: str,
    request: dict[str, Any],
    headers: dict[str, Any],
    _body: bytes,
    query_params: dict[str, Any],
) -> Any:
    """The error for a request that its method's validator refuses, or None."""
    validators = apigateway_v1._request_validators.get(api_id, {})
    validator = validators.get(method.get("requestValidatorId")) or {}
    if validator.get("validateRequestParameters"):
        missing = apigateway_v1._missing_request_parameters(method, request, headers, query_params)
        if missing:
            return gateway_error(
                "BAD_REQUEST_PARAMETERS",
                f"Missing required request parameters: [{', '.join(missing)}]",
            )
    if validator.get("validateRequestBody"):
        models = method.get("requestModels") or {}
        name = for_media_type(models, current().content_type) or models.get("$default")
        problems = violations(api_id, name, current().body) if name else []
        if problems:
            current().error["validationErrorString"] = f"[{', '.join(problems)}]"
            return gateway_error("BAD_REQUEST_BODY", "Invalid request body")
    return None


def violations(api_id: str, model: str, body: bytes) -> list[str]:
    """What is wrong with a body, in the words of AWS; empty when nothing is."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        return [f"unable to parse the request body as JSON: {error}"]
    errors = schema_validator(api_id, model).iter_errors(document)
    return [describe(error) for error in merge_missing(errors)]


_validators: dict[tuple[str, str], tuple[list[str], Draft4Validator]] = {}


def schema_validator(api_id: str, model: str) -> Draft4Validator:
    """The validator of a model, built once for as long as the models of the API stay the same."""
    models = apigateway_v1._models.get(api_id, {})
    schemas = [entry["schema"] for entry in models.values()]
    cached = _validators.get((api_id, model))
    if cached is None or cached[0] != schemas:
        prefix = MODEL_URL.format(api_id=api_id)
        parsed = {name: json.loads(entry["schema"].replace(prefix, "#/definitions/")) for name, entry in models.items()}
        schema = {"definitions": parsed, "$ref": f"#/definitions/{model}"}
        cached = schemas, Draft4Validator(schema, format_checker=formats())
        _validators[api_id, model] = cached
    return cached[1]


def formats() -> FormatChecker:
    """The formats that the emulator knows API Gateway to check."""
    checker = FormatChecker(formats=())
    for name, holds in apigateway_v1._JSON_FORMATS.items():
        checker.checks(name)(lambda value, holds=holds: not isinstance(value, str) or holds(value))
    return checker


def merge_missing(errors: Iterable[ValidationError]) -> Iterator[ValidationError]:
    """The errors from the outside in, one for all the properties that an object lacks."""
    seen = set()
    for error in sorted(errors, key=lambda error: [str(step) for step in error.absolute_path]):
        place = error.validator, tuple(error.absolute_path)
        if error.validator == "required" and place in seen:
            continue
        seen.add(place)
        yield error


def describe(error: ValidationError) -> str:
    """The message of json-schema-validator for a violation."""
    message = MESSAGES.get(str(error.validator))
    return message(error.validator_value, error.instance, error.schema) if message else error.message


def instance_type(value: Any) -> str:
    """The JSON type of a value."""
    names: dict[type, str] = {
        bool: "boolean",
        int: "integer",
        float: "number",
        str: "string",
        list: "array",
        dict: "object",
    }
    return names.get(type(value), "null")


def allowed_types(types: str | list[str]) -> str:
    """The types of a schema in alphabetical order; a number may be an integer."""
    allowed = {types} if isinstance(types, str) else set(types)
    return compact_json(sorted(allowed | ({"integer"} if "number" in allowed else set())))


def bound(relation: str, strict: str, limit: str, exclusive: str) -> Callable[..., str]:
    """The message for a number outside its range."""

    def message(value: Any, instance: Any, schema: Any) -> str:
        if schema.get(exclusive) and instance == value:
            return f"numeric instance is not strictly {strict} than the required {limit} {value}"
        return f"numeric instance is {relation} than the required {limit} ({limit}: {value}, found: {instance})"

    return message


def size(text: str) -> Callable[..., str]:
    """The message for a string, array or object of the wrong size."""

    def message(value: Any, instance: Any, _schema: Any) -> str:
        return text.format(value=value, instance=compact_json(instance), length=len(instance))

    return message


MESSAGES: dict[str, Callable[[Any, Any, Any], str]] = {
    "required": lambda value, instance, _: (
        "object has missing required properties "
        f"({compact_json(sorted(name for name in value if name not in instance))})"
    ),
    "type": lambda value, instance, _: (
        f"instance type ({instance_type(instance)}) does not match any allowed primitive type "
        f"(allowed: {allowed_types(value)})"
    ),
    "enum": lambda value, instance, _: (
        f"instance value ({compact_json(instance)}) not found in enum (possible values: {compact_json(value)})"
    ),
    "additionalProperties": lambda _value, instance, schema: (
        "object instance has properties which are not allowed by the schema: "
        f"{compact_json(sorted(set(instance) - set(schema.get('properties', {}))))}"
    ),
    "minimum": bound("lower", "greater", "minimum", "exclusiveMinimum"),
    "maximum": bound("greater", "lower", "maximum", "exclusiveMaximum"),
    "minLength": size("string {instance} is too short (length: {length}, required minimum: {value})"),
    "maxLength": size("string {instance} is too long (length: {length}, maximum allowed: {value})"),
    "minItems": size("array is too short: must have at least {value} elements but instance has {length} elements"),
    "maxItems": size("array is too long: must have at most {value} elements but instance has {length} elements"),
    "minProperties": size("object has too few properties (found {length} but schema requires at least {value})"),
    "maxProperties": size("object has too many properties (found {length} but schema requires at most {value})"),
    "pattern": lambda value, instance, _: f'ECMA 262 regex "{value}" does not match input string "{instance}"',
    "multipleOf": lambda value, instance, _: f"remainder of division is not zero ({instance} / {value})",
    "uniqueItems": lambda *_: "array must not contain duplicate elements",
    "oneOf": lambda value, *_: f"instance failed to match exactly one schema out of {len(value)}",
    "anyOf": lambda value, *_: f"instance failed to match at least one required schema among {len(value)}",
    "format": lambda value, instance, _: f'string "{instance}" is invalid against requested format {value}',
}
