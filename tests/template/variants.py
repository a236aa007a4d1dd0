"""The parameter values for which the invariants must hold."""

from __future__ import annotations

from functools import cache
from typing import Any

from tests.template.translated import Source, Stack, deploy, template_yaml

_OWN_COURIER = {
    "DeploySimulator": "false",
    "CourierUrl": "https://courier.example/deliveries",
    "CourierApiKeySecretArn": "arn:aws:secretsmanager:eu-west-1:111122223333:secret:courier-AbCdEf",
}

VARIANTS: dict[str, dict[str, Any]] = {
    "flow_control": {"FlowControl": "enabled", "AlarmEmail": "people@widgets.example", "SilenceMinutes": 30},
    "no_flow_control": {"FlowControl": "disabled"},
    "flow_control+own_courier": {"FlowControl": "enabled", "SetApiGatewayAccountRole": "false", **_OWN_COURIER},
    "no_flow_control+own_courier": {"FlowControl": "disabled", **_OWN_COURIER},
}

# Times and counts must fit together at both ends of what the parameters allow, too: every number at this bound.
AT_BOUNDS: dict[str, tuple[str, str]] = {
    "flow_control+least": ("enabled", "MinValue"),
    "flow_control+most": ("enabled", "MaxValue"),
    "no_flow_control+most": ("disabled", "MaxValue"),
}


def parameter_values(variant: str, source: Source) -> dict[str, Any]:
    """Return a variant's parameter values for a template."""
    if variant in VARIANTS:
        return VARIANTS[variant]
    flow_control, bound = AT_BOUNDS[variant]
    numbers = {name: parameter[bound] for name, parameter in source.parameters.items() if bound in parameter}
    return {"FlowControl": flow_control, **numbers}


@cache
def stack(variant: str) -> Stack:
    """Translate and resolve the repository's template for a variant, once."""
    return deploy(template_yaml(), parameter_values(variant, template_yaml()))
