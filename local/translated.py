"""The template as CloudFormation sees it: translated by SAM, offline, and resolved for one set of parameter values.

References from one resource to another stay as they are (``{"Ref": …}``, ``{"Fn::GetAtt": […]}``), because they are
the edges of the graph that the invariants look at; parameters, mappings and conditions are worked out.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import boto3
from samtranslator.intrinsics.actions import FindInMapAction
from samtranslator.intrinsics.resolver import IntrinsicsResolver
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

ROOT = Path(__file__).parents[1]
REGION = "eu-west-1"
_ABSENT = object()


@dataclass(frozen=True)
class Source:
    """template.yaml: its text, and the document in it with the short forms (``!Ref``) spelled out."""

    text: str
    document: dict[str, Any]

    @classmethod
    def of(cls, text: str) -> Source:
        """Read a template's text."""
        return cls(text, yaml_parse(text))

    @property
    def parameters(self) -> dict[str, dict[str, Any]]:
        """What each parameter is, by its name."""
        parameters: dict[str, dict[str, Any]] = self.document["Parameters"]
        return parameters


@cache
def template_yaml() -> Source:
    """Read the repository's template once."""
    return Source.of((ROOT / "template.yaml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Stack:
    """What CloudFormation would create from a template with these parameter values."""

    source: Source
    parameters: dict[str, Any]
    template: dict[str, Any]

    @property
    def resources(self) -> dict[str, dict[str, Any]]:
        """The resources that exist with these parameter values, by logical id."""
        resources: dict[str, dict[str, Any]] = self.template["Resources"]
        return resources

    def of_type(self, *types: str) -> list[str]:
        """Return the logical ids of the resources of these types."""
        return [name for name, resource in self.resources.items() if resource["Type"] in types]

    def type_of(self, name: str | None) -> str | None:
        """Return a resource's type, or None if the stack has no such resource."""
        return self.resources[name]["Type"] if name in self.resources else None

    def properties(self, name: str) -> dict[str, Any]:
        """Return a resource's properties."""
        properties: dict[str, Any] = self.resources[name].get("Properties", {})
        return properties

    def dependencies(self, name: str) -> set[str]:
        """Return what CloudFormation creates before a resource: what it refers to, and its DependsOn."""
        return references(self.resources[name]) | set(as_list(self.resources[name].get("DependsOn")))

    def failed_assertions(self) -> list[str]:
        """Return what CloudFormation would refuse these parameter values with (the template's Rules)."""
        return [
            assertion["AssertDescription"]
            for rule in self.template.get("Rules", {}).values()
            if _holds(rule.get("RuleCondition", {"Fn::Equals": ["", ""]}), {})
            for assertion in rule["Assertions"]
            if not _holds(assertion["Assert"], {})
        ]


def deploy(source: Source, values: Mapping[str, Any] | None = None) -> Stack:
    """Translate a template with SAM and resolve it for parameter values; those not given have their defaults."""
    defaults = {name: parameter.get("Default") for name, parameter in source.parameters.items()}
    parameters = {**defaults, **(values or {})}
    template = IntrinsicsResolver(parameters).resolve_parameter_refs(_translate(source, parameters))
    if mappings := template.get("Mappings"):
        find_in_map = {FindInMapAction.intrinsic_name: FindInMapAction()}
        template = IntrinsicsResolver(mappings, find_in_map).resolve_parameter_refs(template)
    conditions = template.get("Conditions", {})
    for section in ("Resources", "Outputs"):
        template[section] = {
            name: _resolve(body, conditions)
            for name, body in template.get(section, {}).items()
            if "Condition" not in body or _holds({"Condition": body["Condition"]}, conditions)
        }
    return Stack(source, parameters, template)


def _translate(source: Source, parameters: dict[str, Any]) -> dict[str, Any]:
    """Do what AWS does with ``Transform: AWS::Serverless-2016-10-31``."""
    document = copy.deepcopy(source.document)
    for resource in document["Resources"].values():
        # SAM translates a packaged template, in which code is an object in S3.
        for uri in {"CodeUri", "ContentUri", "DefinitionUri"} & set(resource.get("Properties", {})):
            resource["Properties"][uri] = f"s3://packaged/{uri}"
    translator = Translator({}, Parser(), boto_session=_session())
    translated: dict[str, Any] = translator.translate(document, dict(parameters))
    return translated


@cache
def _session() -> boto3.Session:
    """Tell SAM the Region, and so the partition; it calls nothing."""
    return boto3.Session(region_name=REGION)


def _holds(condition: dict[str, Any], conditions: Mapping[str, Any]) -> bool:
    [(function, arguments)] = condition.items()
    match function:
        case "Condition":
            return _holds(conditions[arguments], conditions)
        case "Fn::Equals":
            return str(arguments[0]) == str(arguments[1])
        case "Fn::Not":
            return not _holds(arguments[0], conditions)
        case "Fn::And":
            return all(_holds(argument, conditions) for argument in arguments)
        case "Fn::Or":
            return any(_holds(argument, conditions) for argument in arguments)
    raise ValueError(f"{function} in a condition: teach it to {__name__}._holds")


def _resolve(value: Any, conditions: Mapping[str, Any]) -> Any:
    """Choose the branches of Fn::If, drop what is AWS::NoValue, and take a text that is filled in for one."""
    match value:
        case {"Fn::If": [name, if_true, if_false]}:
            return _resolve(if_true if _holds({"Condition": name}, conditions) else if_false, conditions)
        case {"Ref": "AWS::NoValue"}:
            return _ABSENT
        case {"Fn::Sub": str(text)} if "${" not in text:
            return text
        case dict():
            items = {key: _resolve(item, conditions) for key, item in value.items()}
            return {key: item for key, item in items.items() if item is not _ABSENT}
        case list():
            return [item for item in (_resolve(item, conditions) for item in value) if item is not _ABSENT]
    return value


def logical_id(value: Any) -> str | None:
    """Return the resource that a Ref or a GetAtt names, or None for anything else."""
    match value:
        case {"Ref": str(name)} | {"Fn::GetAtt": [str(name), *_]}:
            return name
        case {"Fn::GetAtt": str(dotted)}:
            return dotted.partition(".")[0]
    return None


def references(value: Any) -> set[str]:
    """Return everything that a value refers to at any depth: logical ids and pseudo parameters."""
    return set(_references(value))


def _references(value: Any) -> Iterator[str]:
    match value:
        case {"Fn::Sub": str(text)}:
            yield from _substituted(text)
        case {"Fn::Sub": [str(text), dict(variables)]}:
            yield from set(_substituted(text)) - set(variables)
            yield from _references(variables)
        case dict():
            if name := logical_id(value):
                yield name
            for item in value.values():
                yield from _references(item)
        case list():
            for item in value:
                yield from _references(item)


def _substituted(text: str) -> Iterator[str]:
    """``${Name.Attribute}`` refers to Name; ``${!Name}`` is the text ``${Name}``."""
    for name in re.findall(r"\$\{([^!}][^}]*)\}", text):
        yield name.partition(".")[0]


def as_list(value: Any) -> list[Any]:
    """Return a value that may be a list or a single item as a list, as policies have it."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
