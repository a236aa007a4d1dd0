"""What the conformance tests of API Gateway share: a REST API in front of a queue, and its client."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from local.stack import EmulatorSettings, RunningEmulator

MAXIMUM_MESSAGE_BYTES = 4096
ACCESS_LOG = '{"id":"$context.requestId","status":$context.status,"error":"$context.error.message"}'

REQUEST_TEMPLATE = "&".join(
    [
        "Action=SendMessage",
        "MessageBody=$util.urlEncode($input.body)",
        "MessageAttribute.1.Name=correlation_id",
        "MessageAttribute.1.Value.DataType=String",
        "MessageAttribute.1.Value.StringValue=$util.urlEncode($context.requestId)",
        "MessageAttribute.2.Name=api_key_id",
        "MessageAttribute.2.Value.DataType=String",
        "MessageAttribute.2.Value.StringValue=$util.urlEncode($context.identity.apiKeyId)",
        "MessageAttribute.3.Name=received_at",
        "MessageAttribute.3.Value.DataType=Number",
        "MessageAttribute.3.Value.StringValue=$context.requestTimeEpoch",
        "MessageAttribute.4.Name=source",
        "MessageAttribute.4.Value.DataType=String",
        "MessageAttribute.4.Value.StringValue=$util.urlEncode($input.params('X-Source'))",
    ]
)
ACCEPTED_TEMPLATE = (
    "#set($result = $input.path('$.SendMessageResponse.SendMessageResult'))\n"
    '{"correlation_id": "$context.requestId", "message_id": "$result.MessageId"}'
)
REFUSED_TEMPLATE = (
    "#set($error = $input.path('$.Error'))\n"
    "#if($error.Code == 'InvalidParameterValue')\n"
    "#set($context.responseOverride.status = 413)\n"
    "#set($context.responseOverride.header.X-Reason = 'size')\n"
    "#end\n"
    '{"error": "$util.escapeJavaScript($error.Message)", "code": "$error.Code"}'
)


def respond(description: str, *headers: str) -> dict[str, Any]:
    """A method response."""
    return {
        "description": description,
        "headers": {name: {"schema": {"type": "string"}} for name in headers},
    }


def definition() -> dict[str, Any]:
    """The OpenAPI definition of the API."""
    return {
        "openapi": "3.0.1",
        "info": {"title": "orders", "version": "1"},
        "x-amazon-apigateway-api-key-source": "HEADER",
        "x-amazon-apigateway-request-validators": {
            "body": {"validateRequestBody": True, "validateRequestParameters": False}
        },
        "x-amazon-apigateway-gateway-responses": {
            "BAD_REQUEST_BODY": {
                "statusCode": 400,
                "responseTemplates": {
                    "application/json": '{"message": $context.error.messageString, '
                    '"detail": "$context.error.validationErrorString", '
                    '"id": "$context.requestId"}'
                },
            },
            "THROTTLED": {
                "statusCode": 429,
                "responseParameters": {
                    "gatewayresponse.header.Retry-After": "'1'",
                    "gatewayresponse.header.X-Path": "context.resourcePath",
                },
            },
            "DEFAULT_5XX": {
                "statusCode": 503,
                "responseTemplates": {
                    "application/json": '{"kind": "$context.error.responseType", "from": "$context.identity.sourceIp"}'
                },
            },
        },
        "paths": {
            "/orders": {"post": order_operation()},
            "/broken": {"post": broken_operation()},
            "/plain": {"post": plain_operation()},
            "/greeting/{name}": {"get": mock_operation()},
        },
        "components": {
            "schemas": {"Order": ORDER, "Item": ITEM},
            "securitySchemes": {"key": {"type": "apiKey", "name": "x-api-key", "in": "header"}},
        },
    }


ITEM = {
    "type": "object",
    "required": ["sku", "quantity"],
    "properties": {
        "sku": {"type": "string", "minLength": 1},
        "quantity": {"type": "integer", "minimum": 1},
    },
}
ORDER = {
    "type": "object",
    "required": ["order_id", "total"],
    "properties": {
        "order_id": {"type": "string", "pattern": "^ord-", "maxLength": 20},
        "total": {"type": "number", "minimum": 0},
        "currency": {"type": "string", "enum": ["EUR", "CHF"]},
        "items": {"type": "array", "items": {"$ref": "#/components/schemas/Item"}},
        "note": {"type": "string"},
    },
}


def order_operation() -> dict[str, Any]:
    """POST /orders: a validated order goes to the queue."""
    return {
        "security": [{"key": []}],
        "x-amazon-apigateway-request-validator": "body",
        "parameters": [{"name": "X-Source", "in": "header", "schema": {"type": "string"}}],
        "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Order"}}}},
        "responses": {
            "202": respond("accepted", "X-Correlation-Id"),
            "400": respond("refused"),
            "502": respond("failed"),
        },
        "x-amazon-apigateway-integration": sqs_integration("${Queue.QueueName}")
        | {
            "responses": {
                "2\\d{2}": {
                    "statusCode": "202",
                    "responseParameters": {"method.response.header.X-Correlation-Id": "context.requestId"},
                    "responseTemplates": {"application/json": ACCEPTED_TEMPLATE},
                },
                "400": {
                    "statusCode": "400",
                    "responseTemplates": {"application/json": REFUSED_TEMPLATE},
                },
                "default": {
                    "statusCode": "502",
                    "responseTemplates": {"application/json": '{"code": "unavailable"}'},
                },
            }
        },
    }


def broken_operation() -> dict[str, Any]:
    """POST /broken: a queue that does not exist, and no response for its refusal."""
    return {
        "responses": {"202": respond("accepted")},
        "x-amazon-apigateway-integration": sqs_integration("no-such-queue")
        | {"responses": {"200": {"statusCode": "202"}}},
    }


def plain_operation() -> dict[str, Any]:
    """POST /plain: the queue's own answer, which it is asked to give in XML."""
    integration = sqs_integration("${Queue.QueueName}")
    integration["requestParameters"] |= {
        "integration.request.header.Accept": "'application/xml'",
        "integration.request.querystring.DelaySeconds": "'0'",
    }
    return {
        "responses": {"200": respond("sent")},
        "x-amazon-apigateway-integration": integration | {"responses": {"default": {"statusCode": "200"}}},
    }


def sqs_integration(queue: str) -> dict[str, Any]:
    """An integration that sends the body to a queue."""
    return {
        "type": "aws",
        "httpMethod": "POST",
        "credentials": {"Fn::GetAtt": ["Role", "Arn"]},
        "uri": {"Fn::Sub": f"arn:${{AWS::Partition}}:apigateway:${{AWS::Region}}:sqs:path/${{AWS::AccountId}}/{queue}"},
        "passthroughBehavior": "never",
        "requestParameters": {"integration.request.header.Content-Type": "'application/x-www-form-urlencoded'"},
        "requestTemplates": {"application/json": REQUEST_TEMPLATE},
    }


def mock_operation() -> dict[str, Any]:
    """GET /greeting/{name}: a mock integration."""
    template = (
        "#foreach($place in ['path', 'querystring'])$place=#set($all = $input.params())"
        "$all.get($place);#end$context.httpMethod $context.path $stageVariables.mood"
    )
    return {
        "parameters": [{"name": "name", "in": "path", "required": True}],
        "responses": {"200": respond("greeting")},
        "x-amazon-apigateway-integration": {
            "type": "mock",
            "requestTemplates": {"application/json": '{"statusCode": 200}'},
            "responses": {"default": {"statusCode": "200", "responseTemplates": {"text/plain": template}}},
        },
    }


def template(body: Mapping[str, Any], resources: Mapping[str, Any]) -> dict[str, Any]:
    """A CloudFormation template: the API with a key and a usage plan, and more resources."""
    return {
        "Parameters": {
            "Rate": {"Type": "Number", "Default": 1000},
            "Burst": {"Type": "Number", "Default": 1000},
        },
        "Resources": {
            "Api": {"Type": "AWS::ApiGateway::RestApi", "Properties": {"Body": body}},
            "Deployment": {
                "Type": "AWS::ApiGateway::Deployment",
                "Properties": {"RestApiId": {"Ref": "Api"}},
            },
            "Log": {"Type": "AWS::Logs::LogGroup"},
            "Stage": {
                "Type": "AWS::ApiGateway::Stage",
                "Properties": {
                    "RestApiId": {"Ref": "Api"},
                    "DeploymentId": {"Ref": "Deployment"},
                    "StageName": "live",
                    "Variables": {"mood": "fine"},
                    "AccessLogSetting": {
                        "DestinationArn": {"Fn::GetAtt": ["Log", "Arn"]},
                        "Format": ACCESS_LOG,
                    },
                },
            },
            "Key": {
                "Type": "AWS::ApiGateway::ApiKey",
                "DependsOn": "Stage",
                "Properties": {"Enabled": True},
            },
            "Plan": {
                "Type": "AWS::ApiGateway::UsagePlan",
                "DependsOn": "Stage",
                "Properties": {
                    "ApiStages": [{"ApiId": {"Ref": "Api"}, "Stage": "live"}],
                    "Throttle": {"RateLimit": {"Ref": "Rate"}, "BurstLimit": {"Ref": "Burst"}},
                },
            },
            "PlanKey": {
                "Type": "AWS::ApiGateway::UsagePlanKey",
                "Properties": {
                    "KeyId": {"Ref": "Key"},
                    "KeyType": "API_KEY",
                    "UsagePlanId": {"Ref": "Plan"},
                },
            },
            **resources,
        },
        "Outputs": {
            "Api": {"Value": {"Ref": "Api"}},
            "Key": {"Value": {"Ref": "Key"}},
            "Log": {"Value": {"Ref": "Log"}},
        },
    }


def role(service: str) -> dict[str, Any]:
    """A role that a service may assume."""
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": service},
        "Action": "sts:AssumeRole",
    }
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    return {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": policy}}


@dataclass(frozen=True)
class Answer:
    """What a client of the API gets."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Api:
    """A deployed API and the emulator that serves it."""

    emulator: RunningEmulator
    outputs: Mapping[str, str]
    key: str

    def call(
        self,
        path: str,
        body: bytes | str = b"",
        *,
        method: str = "POST",
        stage: str = "live",
        **headers: str | None,
    ) -> Answer:
        """Send a request; a header of None is left out, `_` in its name stands for `-`."""
        defaults: dict[str, str | None] = {
            "x-api-key": self.key,
            "Content-Type": "application/json",
        }
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.emulator.port, timeout=30)
        try:
            connection.request(
                method,
                f"/_aws/execute-api/{self.outputs['Api']}/{stage}{path}",
                body.encode() if isinstance(body, str) else body,
                {name: value for name, value in (defaults | given).items() if value is not None},
            )
            response = connection.getresponse()
            lower = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, lower, response.read())
        finally:
            connection.close()

    def message(self) -> dict[str, Any]:
        """Take the next message from the queue."""
        sqs = self.emulator.client("sqs")
        answer = sqs.receive_message(QueueUrl=self.outputs["Queue"], MessageAttributeNames=["All"], WaitTimeSeconds=1)
        message: dict[str, Any] = answer["Messages"][0]
        sqs.delete_message(QueueUrl=self.outputs["Queue"], ReceiptHandle=message["ReceiptHandle"])
        return message


@contextmanager
def deployed(bare: bool, stack: Mapping[str, Any], parameters: Mapping[str, str] | None = None) -> Iterator[Api]:
    """The API of a CloudFormation stack in an emulator of its own."""
    emulator = RunningEmulator.start(EmulatorSettings(bare=bare))
    try:
        outputs = create(emulator, "api", stack, parameters or {})
        key = emulator.client("apigateway").get_api_key(apiKey=outputs["Key"], includeValue=True)
        yield Api(emulator, outputs, key["value"])
    finally:
        emulator.stop()


def create(
    emulator: RunningEmulator,
    name: str,
    stack: Mapping[str, Any],
    parameters: Mapping[str, str],
) -> dict[str, str]:
    """Create a stack and return its outputs; raises `WaiterError` when the creation fails."""
    cloudformation = emulator.client("cloudformation")
    cloudformation.create_stack(
        StackName=name,
        TemplateBody=json.dumps(stack),
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
    )
    cloudformation.get_waiter("stack_create_complete").wait(
        StackName=name, WaiterConfig={"Delay": 0.2, "MaxAttempts": 100}
    )
    return emulator.stack(name).outputs


def ingest_stack(body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The stack of the API in front of a queue."""
    queue = {
        "Type": "AWS::SQS::Queue",
        "Properties": {"MaximumMessageSize": MAXIMUM_MESSAGE_BYTES},
    }
    stack = template(body or definition(), {"Queue": queue, "Role": role("apigateway.amazonaws.com")})
    stack["Outputs"]["Queue"] = {"Value": {"Ref": "Queue"}}
    return stack
