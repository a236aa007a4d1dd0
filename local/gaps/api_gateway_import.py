"""Import of a whole OpenAPI definition, with everything that AWS takes from it.

AWS ("Develop REST APIs using OpenAPI in API Gateway", "OpenAPI extensions for API Gateway"): the
`Body` of AWS::ApiGateway::RestApi brings integrations with their templates and responses, models,
validators, gateway responses, the source of the API key and binary media types, and an update keeps
the id of the API. `minItems`, `maxItems` and the keywords of OpenAPI that JSON Schema draft 4 does
not have are left out of models ("Amazon API Gateway important notes"). A definition is refused when
a model's name is not alphanumeric, an AWS integration names no role, an integration response has
no method response of its status, or a mapping uses a parameter that the operation does not declare.

ministack: imports paths, methods, authorizers, and of integrations the type, URI and method. It
drops the rest without a word, and gives an updated API a new id.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote

from ministack.services import apigateway_v1
from ministack.services.cloudformation import provisioners

from local.gaps.api_gateway_validation import MODEL_URL
from local.gaps.emulator import Emulator

Json = dict[str, Any]

ANY_METHOD = "x-amazon-apigateway-any-method"
NOT_IN_MODELS = frozenset(
    {
        "deprecated",
        "discriminator",
        "example",
        "maxItems",
        "minItems",
        "nullable",
        "readOnly",
        "writeOnly",
        "xml",
    }
)
INVALID_MAPPING = "Invalid mapping expression parameter specified"
PLACES = {"header": "header", "path": "path", "query": "querystring"}


class DefinitionError(ValueError):
    """AWS would refuse the definition."""


def install(emulator: Emulator) -> None:
    """Complete what ministack imports, and keep an API's id when its definition changes."""
    emulator.wrap(apigateway_v1, "_import_rest_api", complete_import, parameters=("spec", "base_data"))
    apigateway_v1._OPENAPI_HTTP_METHODS.add("any")
    handlers = provisioners._RESOURCE_HANDLERS["AWS::ApiGateway::RestApi"]
    emulator.wrap(provisioners, "_apigw_rest_api_create", with_properties)
    emulator.wrap(provisioners, "_apigw_rest_api_update", in_place)
    handlers["create"] = provisioners._apigw_rest_api_create
    handlers["update"] = provisioners._apigw_rest_api_update


def with_properties(create: Callable[..., Any]) -> Callable[..., Any]:
    """Apply the properties of the resource that ministack does not read."""

    def created(logical_id: str, properties: Json, stack_name: str) -> Any:
        api_id, attributes = create(logical_id, properties, stack_name)
        api = apigateway_v1._rest_apis[api_id]
        if "ApiKeySourceType" in properties:
            api["apiKeySource"] = properties["ApiKeySourceType"]
        api["disableExecuteApiEndpoint"] = is_true(properties.get("DisableExecuteApiEndpoint", False))
        return api_id, attributes

    return created


def in_place(update: Callable[..., Any]) -> Callable[..., Any]:
    """Import a changed definition into the API that is there, as PutRestApi overwrites it."""

    def updated(api_id: str, old: Json, new: Json, stack_name: str, logical_id: str | None = None) -> Any:
        if new.get("Body") == old.get("Body") or not isinstance(new.get("Body"), dict):
            return update(api_id, old, new, stack_name, logical_id)
        fresh, _ = provisioners._apigw_rest_api_create(logical_id or api_id, new, stack_name)
        for store in (
            apigateway_v1._resources,
            apigateway_v1._models,
            apigateway_v1._request_validators,
            apigateway_v1._gateway_responses,
            apigateway_v1._authorizers_v1,
        ):
            store[api_id] = store.get(fresh, {})
        for model in apigateway_v1._models[api_id].values():
            model["schema"] = model["schema"].replace(MODEL_URL.format(api_id=fresh), MODEL_URL.format(api_id=api_id))
        kept = apigateway_v1._rest_apis[api_id]
        kept.update(apigateway_v1._rest_apis[fresh] | {"id": api_id, "createdDate": kept["createdDate"]})
        apigateway_v1._delete_rest_api(fresh)
        return api_id, provisioners._apigw_rest_api_attrs(api_id)

    return updated


def complete_import(import_api: Callable[..., str]) -> Callable[..., str]:
    """Import what ministack does, then the rest; an API that AWS refuses is removed again."""

    def imported(spec: Json, base_data: Json | None = None) -> str:
        definition = Definition(spec)
        api_id = import_api(definition.spec, base_data)
        try:
            definition.complete(api_id)
        except DefinitionError:
            apigateway_v1._delete_rest_api(api_id)
            raise
        return api_id

    return imported


class Definition:
    """An OpenAPI 3.0 or 2.0 definition."""

    def __init__(self, spec: Json) -> None:
        self.spec = copy.deepcopy(spec)
        self.models: dict[str, str] = {}
        self.validators: dict[str, str] = {}
        for item in self.spec.get("paths", {}).values():
            if ANY_METHOD in item:
                item["any"] = item.pop(ANY_METHOD)

    def complete(self, api_id: str) -> None:
        """Add to an imported API what its definition says beyond paths and methods.

        Raises:
            DefinitionError: If AWS would refuse the definition; the message lists all reasons.
        """
        self.api_id = api_id
        self.errors: list[str] = []
        api = apigateway_v1._rest_apis[api_id]
        api["apiKeySource"] = self.spec.get("x-amazon-apigateway-api-key-source", "HEADER").upper()
        binary = self.spec.get("x-amazon-apigateway-binary-media-types") or []
        api["binaryMediaTypes"] = [*dict.fromkeys([*(api["binaryMediaTypes"] or []), *binary])]
        for name, schema in self.schemas().items():
            self.add_model(name, schema)
        for name, rules in self.spec.get("x-amazon-apigateway-request-validators", {}).items():
            self.add_validator(name, rules)
        for kind, response in self.spec.get("x-amazon-apigateway-gateway-responses", {}).items():
            self.put(f"gateway response {kind}", apigateway_v1._put_gateway_response, kind, response)
        for path, item in self.spec.get("paths", {}).items():
            for method, operation in item.items():
                if method.lower() in apigateway_v1._OPENAPI_HTTP_METHODS:
                    Operation(self, path, item, method.upper(), operation).complete()
        if self.errors:
            raise DefinitionError("Errors found during import:\n\t" + "\n\t".join(self.errors))

    def schemas(self) -> dict[str, Json]:
        """The named schemas."""
        named: dict[str, Json] = self.spec.get("components", {}).get("schemas") or self.spec.get("definitions") or {}
        return named

    def put(self, what: str, operation: Callable[..., Any], *arguments: Any) -> Json:
        """Call one of ministack's operations on the API and note a refusal."""
        status, _, body = operation(self.api_id, *arguments)
        answer: Json = json.loads(body)
        if status >= 400:
            self.errors.append(f"Unable to put {what}: {answer.get('message')}")
        return answer

    def add_model(self, name: str, schema: Json) -> str:
        """Create a model; returns its name."""
        if not name.isalnum() or not name.isascii():
            self.errors.append(f"Unable to create model '{name}': Model name must be alphanumeric")
        text = json.dumps(self.model_schema(schema))
        self.put(f"model {name}", apigateway_v1._create_model, {"name": name, "schema": text})
        return name

    def model_schema(self, schema: Any) -> Any:
        """The schema as a model has it: draft 4, references by the URL of the model."""
        if isinstance(schema, list):
            return [self.model_schema(item) for item in schema]
        if not isinstance(schema, dict):
            return number(schema)
        result: Json = {}
        for key, value in schema.items():
            if key == "$ref":
                result[key] = MODEL_URL.format(api_id=self.api_id) + value.rsplit("/", 1)[-1]
            elif key == "properties":
                result[key] = {name: self.model_schema(item) for name, item in value.items()}
            elif key in ("enum", "pattern", "required", "description", "title"):
                result[key] = value
            elif key not in NOT_IN_MODELS:
                result[key] = self.model_schema(value)
        return result

    def add_validator(self, name: str, rules: Json) -> None:
        """Create a request validator."""
        created = self.put(
            f"request validator {name}",
            apigateway_v1._create_request_validator,
            {
                "name": name,
                "validateRequestBody": is_true(rules.get("validateRequestBody", False)),
                "validateRequestParameters": is_true(rules.get("validateRequestParameters", False)),
            },
        )
        self.validators[name] = created["id"]

    def resolve(self, item: Json) -> Json:
        """The object itself, where it stands as a reference."""
        while "$ref" in item:
            target: Any = self.spec
            for step in item["$ref"].removeprefix("#/").split("/"):
                target = target[unquote(step).replace("~1", "/").replace("~0", "~")]
            item = target
        return item

    def resource_id(self, path: str) -> str:
        """Id of the resource that ministack made for a path."""
        wanted = path.rstrip("/") or "/"
        resources: dict[str, Json] = apigateway_v1._resources[self.api_id]
        return next(key for key, item in resources.items() if item["path"] == wanted)


class Operation:
    """One operation of a definition."""

    def __init__(self, definition: Definition, path: str, item: Json, method: str, operation: Json) -> None:
        self.definition = definition
        self.path = path
        self.http_method = method
        self.operation = operation
        self.parameters = [
            definition.resolve(parameter)
            for parameter in [*item.get("parameters", []), *operation.get("parameters", [])]
        ]
        self.resource = definition.resource_id(path)
        resources = apigateway_v1._resources[definition.api_id]
        self.method: Json = resources[self.resource]["resourceMethods"][method]

    def refuse(self, what: str, reason: str) -> None:
        """Note why AWS refuses the operation."""
        self.definition.errors.append(
            f"Unable to put {what} on '{self.http_method}' for resource at path '{self.path}': {reason}"
        )

    def complete(self) -> None:
        """Complete the method and its integration."""
        self.method["operationName"] = self.operation.get("operationId", "")
        self.method["requestParameters"] = {
            f"method.request.{PLACES[parameter['in']]}.{parameter['name']}": is_true(parameter.get("required", False))
            for parameter in self.parameters
            if parameter.get("in") in PLACES
        }
        self.method["requestModels"] = {
            media_type: self.model_name(schema) for media_type, schema in self.request_schemas()
        }
        self.choose_validator()
        self.add_method_responses()
        integration = self.operation.get("x-amazon-apigateway-integration")
        if integration:
            self.complete_integration(integration)

    def request_schemas(self) -> Iterator[tuple[str, Json]]:
        """The schemas of the request body by media type."""
        body = self.definition.resolve(self.operation.get("requestBody", {}))
        for media_type, content in body.get("content", {}).items():
            if "schema" in content:
                yield media_type, content["schema"]
        for parameter in self.parameters:
            if parameter.get("in") == "body":
                for media_type in self.operation.get("consumes", ["application/json"]):
                    yield media_type, parameter["schema"]

    def model_name(self, schema: Json) -> str:
        """The model of a schema; one that stands inline gets a name from its content."""
        if "$ref" in schema:
            return str(schema["$ref"]).rsplit("/", 1)[-1]
        digest = hashlib.sha256(json.dumps(schema, sort_keys=True).encode()).hexdigest()
        return self.definition.add_model(f"MODEL{digest[:6]}", schema)

    def choose_validator(self) -> None:
        """Bind the validator of the operation, or else of the definition."""
        key = "x-amazon-apigateway-request-validator"
        name = self.operation.get(key, self.definition.spec.get(key))
        if name in self.definition.validators:
            self.method["requestValidatorId"] = self.definition.validators[name]
        elif name:
            self.refuse("method", f"Invalid Request Validator identifier specified: {name}")

    def add_method_responses(self) -> None:
        """Declare the statuses and headers that integration responses may use."""
        for status, declared in self.operation.get("responses", {}).items():
            response = self.definition.resolve(declared)
            self.method["methodResponses"][str(status)] = {
                "statusCode": str(status),
                "responseParameters": {f"method.response.header.{name}": False for name in response.get("headers", {})},
                "responseModels": {},
            }

    def complete_integration(self, source: Json) -> None:
        """Fill in the integration and its responses."""
        integration: Json = self.method["methodIntegration"]
        for key in (
            "cacheKeyParameters",
            "cacheNamespace",
            "connectionId",
            "connectionType",
            "contentHandling",
            "credentials",
            "requestParameters",
            "requestTemplates",
            "tlsConfig",
        ):
            if source.get(key) is not None:
                integration[key] = source[key]
        behavior = source.get("passthroughBehavior", "when_no_match")
        integration["passthroughBehavior"] = behavior.upper()
        integration["timeoutInMillis"] = int(source.get("timeoutInMillis", 29_000))
        kind, uri = integration["type"], str(integration.get("uri"))
        if kind == "AWS" and ":lambda:path/" not in uri and not integration.get("credentials"):
            self.refuse("integration", "Role arn must be specified for AWS integrations")
        for mapping in (integration.get("requestParameters") or {}).values():
            if (
                mapping.startswith("method.request.")
                and not mapping.startswith(("method.request.body", "method.request.multivalue"))
                and mapping not in self.method["requestParameters"]
            ):
                self.refuse("integration", f"{INVALID_MAPPING}: {mapping} (declare it in parameters)")
        integration["integrationResponses"] = {}
        for pattern, response in source.get("responses", {}).items():
            self.add_integration_response(integration["integrationResponses"], pattern, response)

    def add_integration_response(self, responses: Json, pattern: str, source: Json) -> None:
        """Add the integration response for a selection pattern."""
        status = str(source.get("statusCode"))
        declared = self.method["methodResponses"].get(status)
        if declared is None:
            self.refuse(
                "integration response", f"Invalid Response status code specified: {status} (declare it in responses)"
            )
            return
        if status in responses:
            self.refuse(
                "integration response",
                f"status {status} has one integration response only, '{pattern}' is the second",
            )
        for target in source.get("responseParameters", {}):
            if target not in declared["responseParameters"]:
                self.refuse(
                    "integration response",
                    f"{INVALID_MAPPING}: {target} (declare the header in responses, {status})",
                )
        responses[status] = {
            "statusCode": status,
            "selectionPattern": "" if pattern == "default" else str(pattern),
            "responseParameters": source.get("responseParameters", {}),
            "responseTemplates": source.get("responseTemplates", {}),
            "contentHandling": source.get("contentHandling"),
        }


def is_true(value: Any) -> bool:
    """A boolean that CloudFormation may hand over as text."""
    return str(value).lower() == "true"


def number(value: Any) -> Any:
    """A number that CloudFormation hands over as text, as a number."""
    if isinstance(value, str):
        for convert in (int, float):
            try:
                return convert(value)
            except ValueError:
                continue
    return value
