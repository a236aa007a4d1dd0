from __future__ import annotations

from dataclasses import fields

import pytest

from loadtest.profiles import Phase, Profile
from loadtest.twin.clock import Clock
from loadtest.twin.constants import Platform, Sizes
from loadtest.twin.functions import Account, Function
from loadtest.twin.model import simulate
from loadtest.twin.price import Work, bill
from loadtest.twin.scenario import Scenario
from loadtest.twin.settings import FunctionSettings, prices

SIZES = Sizes(event_bytes=1000, log_bytes_per_invocation=500, log_bytes_per_record=1500)


def work(**given: int) -> Work:
    clock = Clock()
    function = Function(clock, Account(10), FunctionSettings("Function", 30.0, 512), Platform())
    function.invocations, function.billed = 1_000_000, 2_000_000.0
    nothing = {field.name: 0 for field in fields(Work) if field.name != "functions"}
    return Work(functions=[function], **(nothing | given))


def test_functions_cost_their_memory_and_time_and_each_request() -> None:
    assert bill(work(), prices(), SIZES)["lambda"] == pytest.approx(1_000_000 * 0.0000133334 + 0.20)


@pytest.mark.parametrize(
    ("service", "given", "dollars"),
    [
        ("sqs", {"queue_requests": 1_000_000}, 0.40),
        ("eventbridge", {"bus_events": 1_000_000}, 1.00 + 0.10),
        ("api_gateway", {"gateway_requests": 1_000_000}, 3.50),
        ("dynamodb", {"table_writes": 1_000_000, "table_reads": 1_000_000}, 0.75),
        ("step_functions", {"transitions": 4_000}, 0.10),
        ("cloudwatch_logs", {"records": 1_000_000}, (0.5 + 1.5) * 0.50),
    ],
)
def test_each_service_costs_its_list_price(service: str, given: dict[str, int], dollars: float) -> None:
    assert bill(work(**given), prices(), SIZES)[service] == pytest.approx(dollars)


def test_the_price_of_a_simulation_is_the_sum_of_its_services() -> None:
    profile = Profile("steady", (Phase("steady", 60.0, 5.0, 5.0),))
    result = simulate(Scenario("flow-control", profile))
    assert result.costs_usd_per_1000_orders is not None
    assert result.cost_usd_per_1000_orders == pytest.approx(sum(result.costs_usd_per_1000_orders.values()), rel=1e-3)
    assert result.costs_usd_per_1000_orders["api_gateway"] == pytest.approx(1000 * prices().gateway_request)
    assert all(cost > 0 for service, cost in result.costs_usd_per_1000_orders.items() if service != "step_functions")


def test_collapsing_costs_more_than_waiting() -> None:
    rush = Profile("rush", (Phase("rush", 120.0, 20.0, 20.0),))
    collapsed, waited = (simulate(Scenario(variant, rush)) for variant in ("no-flow-control", "flow-control"))
    assert collapsed.cost_usd_per_1000_orders is not None
    assert waited.cost_usd_per_1000_orders is not None
    assert collapsed.cost_usd_per_1000_orders > 3 * waited.cost_usd_per_1000_orders
