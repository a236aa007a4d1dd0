"""What one deploys with: samconfig.toml's environments, and the parameter values that the template refuses."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest

from tests.template.translated import ROOT, deploy, template_yaml

SAMCONFIG = tomllib.loads((ROOT / "samconfig.toml").read_text())
ENVIRONMENTS = {name: body["deploy"]["parameters"] for name, body in SAMCONFIG.items() if isinstance(body, dict)}


def overrides(environment: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in ENVIRONMENTS[environment]["parameter_overrides"])


def tags(environment: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in ENVIRONMENTS[environment]["tags"])


def test_environments_are_the_documented_ones() -> None:
    assert set(ENVIRONMENTS) == {"default", "no-flow-control", "prod"}
    assert overrides("default")["FlowControl"] == "enabled"
    assert overrides("no-flow-control")["FlowControl"] == "disabled"
    assert overrides("prod")["DeploySimulator"] == "false"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_overrides_are_allowed(environment: str) -> None:
    """CloudFormation refuses a parameter that the template does not have, or a value out of its bounds."""
    for name, value in overrides(environment).items():
        assert name in template_yaml().parameters
        assert _allows(template_yaml().parameters[name], value), f"{name}={value}"


def _allows(parameter: dict[str, Any], value: str) -> bool:
    if "AllowedValues" in parameter:
        return value in map(str, parameter["AllowedValues"])
    if parameter["Type"] == "Number":
        return bool(parameter["MinValue"] <= float(value) <= parameter["MaxValue"])
    return re.fullmatch(parameter["AllowedPattern"], value) is not None


@pytest.mark.parametrize("name", template_yaml().parameters)
def test_default_is_allowed(name: str) -> None:
    parameter = template_yaml().parameters[name]
    assert _allows(parameter, str(parameter["Default"]))


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_environment_keeps_the_rules(environment: str) -> None:
    assert deploy(template_yaml(), overrides(environment)).failed_assertions() == []


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_stack_is_tagged(environment: str) -> None:
    """CloudFormation passes a stack's tags on to every resource that takes tags: that is how all of them have some."""
    assert tags(environment)["application"] == "self-healing-event-hub"
    assert tags(environment)["variant"]


def test_stacks_live_side_by_side() -> None:
    """Each environment has a stack, a place for its package, and a tag of its own."""
    for key in ("stack_name", "s3_prefix"):
        assert len({parameters[key] for parameters in ENVIRONMENTS.values()}) == len(ENVIRONMENTS)
    assert len({tags(environment)["variant"] for environment in ENVIRONMENTS}) == len(ENVIRONMENTS)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_needs_no_more_than_unnamed_roles(environment: str) -> None:
    """CAPABILITY_IAM lets CloudFormation make roles whose names it generates, and no others."""
    assert ENVIRONMENTS[environment]["capabilities"] == "CAPABILITY_IAM"


COURIER = {"CourierUrl": "https://courier.example/deliveries"}
SECRET = {"CourierApiKeySecretArn": "arn:aws:secretsmanager:eu-west-1:111122223333:secret:courier-AbCdEf"}


@pytest.mark.parametrize(
    ("values", "refused_for"),
    [
        ({"DeploySimulator": "false"}, ["CourierUrl", "CourierApiKeySecretArn"]),
        ({"DeploySimulator": "false", **COURIER}, ["CourierApiKeySecretArn"]),
        ({"DeploySimulator": "false", **SECRET}, ["CourierUrl"]),
        ({"DeploySimulator": "false", **COURIER, **SECRET}, []),
        ({"DeploySimulator": "true"}, []),
    ],
    ids=["no courier", "no key", "no url", "own courier", "simulator"],
)
def test_hub_without_simulator_names_its_courier(values: dict[str, str], refused_for: list[str]) -> None:
    """Refused before anything is created, with a sentence that names the parameter (CloudFormation, "Rules")."""
    refusals = deploy(template_yaml(), values).failed_assertions()
    assert len(refusals) == len(refused_for)
    for refusal, name in zip(refusals, refused_for, strict=True):
        assert f"so {name} must" in refusal
