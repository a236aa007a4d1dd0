"""The parameter values for which the invariants must hold."""

from __future__ import annotations

from functools import cache
from typing import Any

from tests.template.translated import Stack, deploy, template_yaml

_OWN_COURIER = {
    "DeploySimulator": "false",
    "CourierUrl": "https://courier.example/deliveries",
    "CourierApiKeySecretArn": "arn:aws:secretsmanager:eu-west-1:111122223333:secret:courier-AbCdEf",
}


def _at_bound(bound: str) -> dict[str, Any]:
    """Put every number at its least (MinValue) or its most (MaxValue)."""
    return {name: parameter[bound] for name, parameter in template_yaml().parameters.items() if bound in parameter}


VARIANTS: dict[str, dict[str, Any]] = {
    "flow_control": {"FlowControl": "enabled", "AlarmEmail": "people@widgets.example"},
    "no_flow_control": {"FlowControl": "disabled"},
    "flow_control+own_courier": {"FlowControl": "enabled", "SetApiGatewayAccountRole": "false", **_OWN_COURIER},
    "no_flow_control+own_courier": {"FlowControl": "disabled", **_OWN_COURIER},
}

# Times and counts must fit together at both ends of what the parameters allow, too.
AT_BOUNDS: dict[str, dict[str, Any]] = {
    "flow_control+least": {"FlowControl": "enabled", **_at_bound("MinValue")},
    "flow_control+most": {"FlowControl": "enabled", **_at_bound("MaxValue")},
    "no_flow_control+most": {"FlowControl": "disabled", **_at_bound("MaxValue")},
}


@cache
def stack(variant: str) -> Stack:
    """Translate and resolve the repository's template for a variant, once."""
    return deploy(template_yaml(), (VARIANTS | AT_BOUNDS)[variant])
