"""The form of the template: its parameters, names, outputs, references and files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import yaml

from tests.template.invariants.invariant import invariant, of
from tests.template.translated import ROOT, Stack, references

_TEMPLATE = "template.yaml"
_EMULATOR = re.compile(
    r"ministack|localstack|localemu|moto\b|emulat\w*|localhost|127\.0\.0\.1|http://|AWS_ENDPOINT_URL"
)
# A layer's name is shared by its versions, and a stage's belongs to its API: neither collides with another stack's.
_NAMES_THAT_DO_NOT_COLLIDE = {"AWS::Lambda::LayerVersion", "AWS::ApiGateway::Stage"}


def _template(stack: Stack) -> list[str]:
    return [_TEMPLATE]


def _parameters(stack: Stack) -> list[str]:
    return list(stack.source.parameters)


@invariant(_parameters)
def parameter_is_described(stack: Stack, name: str) -> Iterator[str]:
    """Who deploys sees names, descriptions and defaults, and not the template (CloudFormation, "Parameters")."""
    parameter = stack.source.parameters[name]
    if not parameter.get("Description"):
        yield "has no Description"
    if "Default" not in parameter:
        yield "has no Default, so the template does not deploy without it"


@invariant(_parameters)
def parameter_is_bounded(stack: Stack, name: str) -> Iterator[str]:
    """A value that cannot work is refused before anything is changed, with the rule that it breaks.

    (CloudFormation user guide, "Parameters": AllowedValues, AllowedPattern, MinValue, MaxValue.)
    """
    parameter = stack.source.parameters[name]
    if "AllowedValues" in parameter or "AllowedPattern" in parameter:
        return
    needed = {"MinValue", "MaxValue"} if parameter["Type"] == "Number" else {"AllowedPattern"}
    if missing := sorted(needed - parameter.keys()):
        yield f"has neither AllowedValues nor {' and '.join(missing)}"


@invariant(_parameters)
def parameter_is_grouped(stack: Stack, name: str) -> Iterator[str]:
    """The console shows a parameter without a group last, out of its context (AWS::CloudFormation::Interface)."""
    groups = stack.source.document["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    times = [parameter for group in groups for parameter in group["Parameters"]].count(name)
    if times != 1:
        yield f"stands in {times} of the ParameterGroups, and not in one"


@invariant(lambda stack: list(stack.resources))
def name_is_generated(stack: Stack, name: str) -> Iterator[str]:
    """Two stacks in one account and Region cannot have a resource of the same name (CloudFormation, "Name type").

    A name that holds AWS::StackName is as unique as the stack.
    """
    kind = str(stack.type_of(name))
    if kind in _NAMES_THAT_DO_NOT_COLLIDE:
        return
    for key in ("Name", f"{kind.rpartition('::')[2]}Name"):
        value = stack.properties(name).get(key)
        if value is not None and not references(value) & {"AWS::StackName", "AWS::StackId"}:
            yield f"has the fixed {key} {value!r}"


@invariant(lambda stack: [*stack.resources, *(f"Outputs.{name}" for name in stack.template["Outputs"])])
def references_exist(stack: Stack, name: str) -> Iterator[str]:
    """A resource of one variant that refers to one of the other fails when that variant is deployed, and not before.

    "Unresolved resource dependencies" (CloudFormation user guide, "Conditions").
    """
    section, _, key = name.rpartition(".")
    for reference in sorted(references(stack.template[section][key]) if section else stack.dependencies(name)):
        if reference not in stack.resources and not reference.startswith("AWS::"):
            yield f"refers to {reference}, which is not there with FlowControl={stack.parameters['FlowControl']}"


@invariant(of("AWS::SQS::Queue"))
def queue_is_an_output(stack: Stack, queue: str) -> Iterator[str]:
    """Load test, redrive and people find a queue by the stack's outputs, because its name is generated."""
    if not any(references(output["Value"]) == {queue} for output in stack.template["Outputs"].values()):
        yield "is not an output"


@invariant(of("AWS::S3::Bucket", "AWS::S3::BucketPolicy"))
def bucket_outlives_its_stack(stack: Stack, name: str) -> Iterator[str]:
    """A bucket that holds objects cannot be deleted, and the deletion of its stack fails half-way.

    Its policy stays with it, or what is left behind would answer over plain HTTP (CloudFormation user guide,
    "DeletionPolicy attribute" and "UpdateReplacePolicy attribute").
    """
    if stack.resources[name].get("DeletionPolicy") not in ("Retain", "RetainExceptOnCreate"):
        yield "says neither DeletionPolicy: RetainExceptOnCreate nor Retain"
    if stack.resources[name].get("UpdateReplacePolicy") != "Retain":
        yield "does not say UpdateReplacePolicy: Retain"


@invariant(lambda stack: [f"Outputs.{name}" for name in stack.template["Outputs"]])
def output_is_described(stack: Stack, name: str) -> Iterator[str]:
    """`sam list stack-outputs` and the console show it beside the value."""
    output = stack.template["Outputs"][name.removeprefix("Outputs.")]
    if not output.get("Description"):
        yield "has no Description"
    if "Export" in output:
        yield "has an Export, whose name collides with that of a second stack"


@invariant(_template)
def yaml_has_no_aliases(stack: Stack, template: str) -> Iterator[str]:
    """CloudFormation refuses them: "YAML aliases are not allowed in CloudFormation templates"."""
    for line in _anchored_lines(stack.source.text):
        yield f"has a YAML anchor or alias in line {line}"


@cache
def _anchored_lines(text: str) -> list[int]:
    events = yaml.parse(text, Loader=yaml.CSafeLoader)
    return [event.start_mark.line + 1 for event in events if event.start_mark and getattr(event, "anchor", None)]


@invariant(_template)
def nothing_is_for_the_emulator(stack: Stack, template: str) -> Iterator[str]:
    """What is deployed here is what is deployed on AWS; what the emulator lacks is closed in local/."""
    for number, line in enumerate(stack.source.text.splitlines(), start=1):
        if found := _EMULATOR.search(line):
            yield f"says {found.group()!r} in line {number}"


@invariant(_template)
def everything_is_tagged_by_the_stack(stack: Stack, template: str) -> Iterator[str]:
    """CloudFormation gives the stack's tags to every resource that takes tags; a resource's own ones win over them.

    (CloudFormation user guide, "Resource tags".) samconfig.toml gives every stack its tags.
    """
    for name, resource in stack.resources.items():
        own = resource.get("Properties", {}).get("Tags", [])
        keys = set(own) if isinstance(own, dict) else {tag["Key"] for tag in own}
        if keys & {"application", "variant"}:
            yield f"lets {name} replace the stack's tags {sorted(keys & {'application', 'variant'})}"


def _state_machines(stack: Stack) -> list[str]:
    resources = stack.source.document["Resources"]
    kinds = ("AWS::Serverless::StateMachine", "AWS::StepFunctions::StateMachine")
    return [name for name, resource in resources.items() if resource["Type"] in kinds]


@invariant(_state_machines)
def state_machine_has_its_definition(stack: Stack, machine: str) -> Iterator[str]:
    """Neither cfn-lint nor sam validate looks into the file: a missing one fails in the middle of a deployment.

    A ${name} without a substitution stays in the definition as it is, and one that is never used hides a typing error
    (SAM, AWS::Serverless::StateMachine, DefinitionSubstitutions).
    """
    properties = stack.source.document["Resources"][machine]["Properties"]
    uri = properties.get("DefinitionUri")
    if not isinstance(uri, str) or not (ROOT / uri).is_file():
        yield f"has the DefinitionUri {uri}, which is no file of the repository"
        return
    yield from unmatched_substitutions((ROOT / uri).read_text(), properties.get("DefinitionSubstitutions", {}))


def unmatched_substitutions(definition: str, substitutions: dict[str, Any]) -> Iterator[str]:
    """Compare the ${names} of a state machine's definition with its substitutions."""
    used = set(re.findall(r"\$\{(\w+)\}", definition))
    for name in sorted(used - substitutions.keys()):
        yield f"uses ${{{name}}}, for which DefinitionSubstitutions has nothing"
    for name in sorted(substitutions.keys() - used):
        yield f"has the substitution {name}, which its definition does not use"
