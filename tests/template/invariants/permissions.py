"""Every role may do what it needs, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from cfnlint.data import AdditionalSpecs
from cfnlint.helpers import load_resource

from tests.template.invariants.encryption import statements_about
from tests.template.invariants.invariant import invariant, of
from tests.template.invariants.timing import function_of, queue_mappings, queue_of
from tests.template.translated import Stack, as_list, logical_id, references

# The service authorization reference, as cfn-lint ships it: each action, and what kinds of resource narrow it.
_ACTIONS: dict[str, Any] = load_resource(AdditionalSpecs, "Policies.json")
_IDENTITY_POLICIES = ("AWS::IAM::Role", "AWS::IAM::RolePolicy", "AWS::IAM::Policy", "AWS::IAM::ManagedPolicy")
_WILDCARD_ACTIONS = {
    "kms:*": "a key that its account does not manage cannot be managed at all (KMS, 'Default key policy')",
    "kms:GenerateDataKey*": "SNS calls several of them (SNS, 'Enable compatibility between event sources and topics')",
}
_MANAGED_POLICIES = {"AmazonAPIGatewayPushToCloudWatchLogs": "API Gateway's account setting asks for just this one"}


def documents(stack: Stack, name: str) -> list[dict[str, Any]]:
    """Return the policy documents that an IAM resource holds."""
    properties = stack.properties(name)
    inline = [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
    return inline + [properties[key] for key in ("PolicyDocument",) if key in properties]


def allowed(stack: Stack, name: str) -> list[dict[str, Any]]:
    """Return the Allow statements of an IAM resource."""
    statements = [item for document in documents(stack, name) for item in as_list(document["Statement"])]
    return [statement for statement in statements if statement["Effect"] == "Allow"]


def granted(stack: Stack, role: str | None) -> list[tuple[str, dict[str, Any]]]:
    """Return the Allow statements of a role, each with the resource of the template that holds it."""
    holders = [
        name
        for name in stack.of_type(*_IDENTITY_POLICIES)
        if name == role or role in references([stack.properties(name).get(key) for key in ("RoleName", "Roles")])
    ]
    return [(holder, statement) for holder in holders for statement in allowed(stack, holder)]


def actions_on(stack: Stack, role: str | None, resource: str) -> set[str]:
    """Return what a role may do with a resource of the stack."""
    return {
        action
        for _, statement in granted(stack, role)
        if resource in references(statement["Resource"])
        for action in as_list(statement["Action"])
    }


@invariant(of(*_IDENTITY_POLICIES))
def actions_are_named(stack: Stack, name: str) -> Iterator[str]:
    """A wildcard grants what AWS invents next year, too (IAM user guide, "Security best practices in IAM")."""
    for statement in allowed(stack, name):
        if "NotAction" in statement or "NotResource" in statement:
            yield "allows everything but something (NotAction, NotResource)"
        for action in as_list(statement.get("Action")):
            if "*" in action or "?" in action:
                yield f"allows {action}"


@invariant(of(*_IDENTITY_POLICIES))
def resources_are_named(stack: Stack, name: str) -> Iterator[str]:
    """Resource "*" is for actions that AWS cannot narrow, as those of X-Ray; any other one reaches foreign stacks.

    (Service authorization reference, "Actions, resources, and condition keys for AWS services": an action with an
    empty column of resource types takes "*" only.)
    """
    for statement in allowed(stack, name):
        if any(_is_everything(resource) for resource in as_list(statement.get("Resource"))):
            for action in filter(_can_be_narrowed, as_list(statement.get("Action"))):
                yield f"allows {action} on every resource"


def _is_everything(resource: Any) -> bool:
    text = resource.get("Fn::Sub", "") if isinstance(resource, dict) else resource
    if not isinstance(text, str) or re.search(
        r"\$\{(?!AWS::)[^}]+\}:\*$", text
    ):  # such as the executions of one machine
        return False
    return re.fullmatch(r"\*|arn:.*:\*", text) is not None


def _can_be_narrowed(action: str) -> bool:
    service, _, verb = action.lower().partition(":")
    return bool(_ACTIONS.get(service, {}).get("Actions", {}).get(verb, {"Resources": ["?"]}).get("Resources"))


@invariant(of("AWS::IAM::Role"))
def role_has_policies_of_its_own(stack: Stack, role: str) -> Iterator[str]:
    """A managed policy allows its actions on every resource of the account (AWS managed policy reference)."""
    for policy in stack.properties(role).get("ManagedPolicyArns", []):
        if not any(name in str(policy) for name in _MANAGED_POLICIES):
            yield f"has the managed policy {policy}"


@invariant(of("AWS::IAM::Role"))
def role_trusts_one_service(stack: Stack, role: str) -> Iterator[str]:
    """Whoever may assume a role has all its permissions (IAM user guide, "Roles terms and concepts")."""
    for statement in as_list(stack.properties(role)["AssumeRolePolicyDocument"]["Statement"]):
        match statement["Principal"]:
            case {"Service": str()} | {"Service": [str()]}:
                pass
            case principal:
                yield f"is trusted to {principal}, and not to one service"


@invariant(of("AWS::SQS::Queue", "AWS::SNS::Topic", "AWS::S3::Bucket", "AWS::DynamoDB::Table", "AWS::KMS::Key"))
def resource_policy_is_narrow(stack: Stack, name: str) -> Iterator[str]:
    """A service acts for every customer of AWS: without a condition, others can make it act on our resource.

    aws:SourceArn or aws:SourceAccount names whom it may act for (IAM user guide, "The confused deputy problem").
    Resource "*" in a policy of a key, a queue or a table means the resource itself.
    """
    for statement in statements_about(stack, name):
        if statement["Effect"] != "Allow":
            continue
        for action in as_list(statement["Action"]):
            if "*" in action and action not in _WILDCARD_ACTIONS:
                yield f"allows {action}"
        if statement["Principal"] in ("*", {"AWS": "*"}):
            yield "allows everybody in"
        if "Service" in statement["Principal"] and not re.search("aws:Source(Arn|Account)", str(statement)):
            yield f"allows {statement['Principal']['Service']} without aws:SourceArn or aws:SourceAccount"


@invariant(of("AWS::Lambda::Permission"))
def invoker_is_named(stack: Stack, permission: str) -> Iterator[str]:
    """Without SourceArn anybody's API or rule may invoke the function (Lambda, "Granting access to AWS services")."""
    if not references(stack.properties(permission).get("SourceArn")) & set(stack.resources):
        yield "has no SourceArn of a resource of this stack"


@invariant(of("AWS::Lambda::Function"))
def function_may_log_and_trace(stack: Stack, function: str) -> Iterator[str]:
    """Lambda writes logs and traces with the function's own role; what the role may not, is silently missing.

    (Lambda developer guide, "Function logging" and "Visualize Lambda function invocations using AWS X-Ray".)
    """
    properties = stack.properties(function)
    role, group = logical_id(properties.get("Role")), logical_id(properties.get("LoggingConfig", {}).get("LogGroup"))
    missing = {"logs:CreateLogStream", "logs:PutLogEvents"} - actions_on(stack, role, str(group))
    everywhere = {action for _, statement in granted(stack, role) for action in as_list(statement["Action"])}
    missing |= {"xray:PutTraceSegments", "xray:PutTelemetryRecords"} - everywhere
    for action in sorted(missing):
        yield f"may not {action}"


@invariant(of("AWS::Lambda::Function"))
def function_may_use_what_it_is_told_of(stack: Stack, function: str) -> Iterator[str]:
    """A function that knows a queue, a table, a bus or a secret and may not use it fails at its first order.

    A dead-letter queue, of all things, must take what the function sends (sqs:SendMessage).
    """
    properties = stack.properties(function)
    role = logical_id(properties.get("Role"))
    for variable, value in properties.get("Environment", {}).get("Variables", {}).items():
        resource = logical_id(value)
        if resource is None or resource not in stack.resources:
            continue
        may = actions_on(stack, role, resource)
        if not may:
            yield f"is told of {resource} in {variable}, and its role may do nothing with it"
        elif variable == "DEAD_LETTER_QUEUE_URL" and "sqs:SendMessage" not in may:
            yield f"may not send to its dead-letter queue {resource}"


@invariant(queue_mappings)
def mapping_may_read_its_queue(stack: Stack, mapping: str) -> Iterator[str]:
    """Lambda reads a queue with the function's role, and needs these three actions, no more and no fewer.

    ReceiveMessage, DeleteMessage and GetQueueAttributes (Lambda developer guide, "Configuring a queue to use with
    Lambda", "Execution role permissions"). ChangeMessageVisibility is for a function that knows its queue's URL.
    """
    queue, function = str(queue_of(stack, mapping)), stack.properties(function_of(stack, mapping))
    needed = {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"}
    if queue in map(logical_id, function["Environment"]["Variables"].values()):
        needed.add("sqs:ChangeMessageVisibility")
    may = actions_on(stack, logical_id(function["Role"]), queue)
    if may != needed:
        yield f"reads {queue} with a role that lacks {sorted(needed - may)} and has {sorted(may - needed)} too many"


@invariant(queue_mappings)
def mapping_waits_for_its_permissions(stack: Stack, mapping: str) -> Iterator[str]:
    """Lambda refuses a mapping whose function may not read, and a new policy takes some seconds to be known everywhere.

    "The provided execution role does not have permissions to call ReceiveMessage on SQS" (Lambda API,
    CreateEventSourceMapping; IAM user guide, "Changes that I make are not always immediately visible"). A policy inside
    the role is there before the function is; one beside it is not, and with DependsOn by a moment only.
    """
    role, queue = logical_id(stack.properties(function_of(stack, mapping))["Role"]), queue_of(stack, mapping)
    for holder, statement in granted(stack, role):
        reads = "sqs:ReceiveMessage" in as_list(statement["Action"]) and queue in references(statement["Resource"])
        if reads and holder != role:
            yield f"reads by the leave of {holder}, which may come too late: it belongs inside {role}"


# "Logging using CloudWatch Logs", Step Functions developer guide.
_LOG_DELIVERY = {
    *(f"logs:{verb}LogDelivery" for verb in ("Create", "Get", "Update", "Delete")),
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:DescribeResourcePolicies",
    "logs:DescribeLogGroups",
}


@invariant(of("AWS::StepFunctions::StateMachine"))
def machine_may_log_when_it_is_created(stack: Stack, machine: str) -> Iterator[str]:
    """Step Functions refuses a machine that logs and whose role may not, or may only since a moment ago.

    "The state machine IAM Role is not authorized to access the Log Destination" (Step Functions, CreateStateMachine;
    IAM user guide, "Changes that I make are not always immediately visible"). A policy inside the role is in time.
    """
    role = str(logical_id(stack.properties(machine)["RoleArn"]))
    inside = {action for statement in allowed(stack, role) for action in as_list(statement["Action"])}
    for action in sorted(_LOG_DELIVERY - inside):
        yield f"logs, and {role} itself does not allow {action}"


@invariant(of("AWS::StepFunctions::StateMachine"))
def machine_needs_no_room_in_the_log_policy(stack: Stack, machine: str) -> Iterator[str]:
    """Each logging machine adds its log group to one policy of the account, and creating one fails when that is full.

    It has room for 5,120 characters, and groups below /aws/vendedlogs/ need none (Step Functions developer guide,
    "Avoiding Amazon CloudWatch Logs resource policy size restrictions").
    """
    for destination in stack.properties(machine).get("LoggingConfiguration", {}).get("Destinations", []):
        group = str(logical_id(destination["CloudWatchLogsLogGroup"]["LogGroupArn"]))
        if "/aws/vendedlogs/" not in str(stack.properties(group).get("LogGroupName")):
            yield f"logs to {group}, whose name does not begin with /aws/vendedlogs/"
