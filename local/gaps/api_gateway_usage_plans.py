"""Limits of usage plans that CloudFormation sets for single methods.

AWS (CloudFormation, "AWS::ApiGateway::UsagePlan ApiStage"): `Throttle` of an API stage limits the
methods it names, such as `/orders/POST`, for each key, next to the limit of the whole plan.

ministack: keeps CloudFormation's names (`RateLimit`), which its throttle does not read, so that such
a method has no limit. The limits of the plan itself work: a token bucket for each key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ministack.services.cloudformation import provisioners

from local.gaps.emulator import Emulator


def install(emulator: Emulator) -> None:
    """Give method limits the names that the throttle reads."""
    emulator.wrap(provisioners, "_apigw_usage_plan_body", translate_method_limits, parameters=("props",))


def translate_method_limits(body: Callable[..., Any]) -> Callable[..., Any]:
    """Translate `RateLimit` and `BurstLimit` of each method."""

    def translated(props: dict[str, Any]) -> Any:
        plan = body(props)
        for stage in plan["apiStages"]:
            stage["throttle"] = {
                method: provisioners._apigw_throttle(limits) for method, limits in stage["throttle"].items()
            }
        return plan

    return translated
