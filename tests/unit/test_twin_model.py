from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.profiles import Phase, Profile
from loadtest.twin.constants import Platform
from loadtest.twin.fluid import drain_seconds
from loadtest.twin.measure import SERIES
from loadtest.twin.model import simulate
from loadtest.twin.result import Result
from loadtest.twin.scenario import Outage, Scenario
from loadtest.twin.settings import VARIANTS, SettingError, deployment

STEADY = Profile("steady", (Phase("steady", 60.0, 5.0, 5.0),))
RUSH = Profile("rush", (Phase("rush", 60.0, 20.0, 20.0),))


def fates(result: Result) -> int:
    return result.delivered + result.lost + result.dead_letters + result.waiting


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_accepted_order_has_one_fate_and_the_series_add_up(variant: str) -> None:
    result = simulate(Scenario(variant, RUSH))
    assert result.orders == result.accepted == 1200
    assert fates(result) == result.accepted
    assert result.waiting == 0
    series = result.series
    assert list(series) == list(SERIES)
    assert len({len(column) for column in series.values()}) == 1
    assert sum(series["arrivals"]) == result.orders  # type: ignore[arg-type]
    assert sum(series["delivered"]) == result.delivered  # type: ignore[arg-type]
    assert sum(series["courier_calls"]) == result.courier_calls  # type: ignore[arg-type]
    assert sum(series["succeeded"] + series["failed"]) == result.invocations  # type: ignore[arg-type]
    assert max(series["concurrency"]) == result.peak_concurrency  # type: ignore[type-var]
    assert series["backlog"][-1] == 0


@given(
    variant=st.sampled_from(VARIANTS),
    rate=st.sampled_from([0.2, 3.0, 25.0]),
    seed=st.integers(0, 2**32),
    failures=st.sampled_from(["0", "0.2", "0.9"]),
    latency=st.sampled_from(["0", "2", "8"]),
    mode=st.sampled_from(["outage", "hang", "throttle", "unavailable", "slow", "drop", "refuse"]),
    begin=st.floats(0, 60),
    length=st.floats(1, 400),
    cap=st.sampled_from(["2", "5", "40"]),
)
@settings(max_examples=60, deadline=None)
def test_whatever_happens_no_order_is_forgotten(
    variant: str,
    rate: float,
    seed: int,
    failures: str,
    latency: str,
    mode: str,
    begin: float,
    length: float,
    cap: str,
) -> None:
    profile = Profile("any", (Phase("ramp", 30.0, 0.0, rate), Phase("steady", 15.0, rate, rate)))
    parameters = {"SimulatorFailureRate": failures, "SimulatorLatencyMax": latency, "MaximumConcurrency": cap}
    outage = Outage(begin, begin + length, mode)
    result = simulate(Scenario(variant, profile, seed=seed, parameters=parameters, outages=(outage,)))
    assert fates(result) == result.accepted == result.orders
    assert result.waiting == 0
    if variant == "flow-control":
        assert result.lost == 0, "with flow control every failure ends in a retry or a dead letter"
        assert result.peak_concurrency <= int(cap)
    assert result.courier_calls >= result.delivered
    assert result.invocations >= 1 or not result.accepted


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_same_scenario_gives_the_same_bytes(variant: str) -> None:
    scenario = Scenario(variant, RUSH, seed=7, outages=(Outage(20, 50),), arrivals="poisson")
    first, second = simulate(scenario).to_json(), simulate(scenario).to_json()
    assert first == second
    assert first != simulate(replace(scenario, seed=8)).to_json()
    assert json.loads(first)["delivered"] == simulate(scenario).delivered


def test_with_flow_control_a_rush_is_delivered_at_the_couriers_limit() -> None:
    result = simulate(Scenario("flow-control", RUSH))
    assert (result.delivered, result.lost, result.dead_letters, result.duplicates) == (1200, 0, 0, 0)
    assert result.throttled_share == 0
    assert result.goodput_ratio is not None
    assert result.goodput_ratio > 0.97
    assert result.peak_concurrency == 3
    assert result.p50_delay_s is not None
    assert result.p50_delay_s > 30


def test_without_flow_control_a_rush_multiplies_calls_and_loses_orders() -> None:
    result = simulate(Scenario("no-flow-control", Profile("long rush", (Phase("rush", 240.0, 20.0, 20.0),))))
    assert result.lost > 100
    assert result.throttled_share is not None
    assert result.throttled_share > 0.5
    assert result.max_failed_per_minute > 100


def test_a_quiet_load_is_delivered_at_once_by_every_variant() -> None:
    for variant in VARIANTS:
        result = simulate(Scenario(variant, Profile("quiet", (Phase("quiet", 300.0, 0.5, 0.5),))))
        assert result.delivered == result.accepted == 150
        assert result.p50_delay_s is not None
        assert result.p50_delay_s < 4


def test_nothing_sent_is_nothing_told() -> None:
    result = simulate(Scenario("flow-control", Profile("none", (Phase("none", 30.0, 0.0, 0.0),))))
    assert (result.orders, result.invocations, result.courier_calls) == (0, 0, 0)
    assert result.p50_delay_s is None
    assert result.throttled_share is None
    assert result.cost_usd_per_1000_orders is None
    assert result.worst_minute_success is None
    json.loads(result.to_json())


def test_the_webhook_refuses_what_its_usage_plan_does_not_allow() -> None:
    result = simulate(Scenario("flow-control", RUSH, parameters={"IngestRate": "10", "IngestBurst": "10"}))
    assert result.orders == 1200
    assert result.accepted == pytest.approx(610, abs=2)
    assert fates(result) == result.accepted


def test_at_the_accounts_limit_asynchronous_events_wait_and_none_is_forgotten() -> None:
    narrow = Platform(account_concurrency=40)
    result = simulate(Scenario("no-flow-control", RUSH, platform=narrow))
    assert result.peak_concurrency_of_account == 40
    assert result.waiting == 0
    assert fates(result) == result.accepted


def test_a_horizon_leaves_orders_waiting() -> None:
    result = simulate(Scenario("flow-control", RUSH, horizon=60.0))
    assert result.waiting > 500
    assert fates(result) == result.accepted


# ------------------------------------------------------------------------------------------- the circuit breaker


def test_the_circuit_opens_keeps_every_order_and_closes_again() -> None:
    result = simulate(Scenario("flow-control", Profile("long", (Phase("steady", 600.0, 4.0, 4.0),)), outages=(
        Outage(100.0, 400.0),
    )))  # fmt: skip
    assert (result.delivered, result.lost, result.dead_letters) == (2400, 0, 0)
    assert result.time_to_open_s is not None
    assert result.time_to_open_s <= 40
    assert result.time_to_recover_s is not None
    states = [state for state, former in zip(result.series["circuit"], [None, *result.series["circuit"]], strict=False)
              if state != former]  # fmt: skip
    assert states[0] == states[-1] == "closed"
    assert {"open", "half-open", "ramping"} & set(states)
    calls = result.series["courier_calls"]
    assert max(calls[16:39]) <= 4, "while it is open, only probes"  # type: ignore[type-var]
    assert result.throttled_share == 0


def test_the_courier_failing_one_call_in_five_does_not_open_it() -> None:
    result = simulate(Scenario("flow-control", RUSH))
    assert set(result.series["circuit"]) == {"closed"}


def test_throttling_never_opens_it_and_slows_the_pace_down() -> None:
    result = simulate(Scenario("flow-control", STEADY, outages=(Outage(10.0, 50.0, "throttle"),)))
    assert set(result.series["circuit"]) == {"closed"}
    assert result.delivered == result.accepted
    assert max(result.series["courier_calls"][2:5]) < 50  # type: ignore[type-var]


def test_with_too_few_calls_it_stays_closed() -> None:
    quiet = Profile("quiet", (Phase("quiet", 120.0, 0.2, 0.2),))
    result = simulate(Scenario("flow-control", quiet, outages=(Outage(0.0, 100.0),)))
    assert set(result.series["circuit"]) == {"closed"}
    assert result.delivered == result.accepted


def test_an_outage_without_a_queue_loses_orders() -> None:
    result = simulate(Scenario("no-flow-control", STEADY, outages=(Outage(0.0, 1200.0),)))
    assert result.lost == result.accepted


def test_an_outage_that_outlasts_the_receives_ends_in_dead_letters_not_in_silence() -> None:
    few = Profile("few", (Phase("few", 20.0, 0.15, 0.15),))
    result = simulate(Scenario("flow-control", few, outages=(Outage(0.0, 86_400.0),)))
    assert set(result.series["circuit"]) == {"closed"}, "too few calls for the alarms"
    assert (result.dead_letters, result.lost) == (result.accepted, 0)


@pytest.mark.parametrize(("window", "sooner_than_h"), [("10", 9.0), ("60", 3.0)])
def test_a_quiet_hub_gets_through_a_day_of_outage_without_a_dead_letter(window: str, sooner_than_h: float) -> None:
    """One order in eight minutes: its receives last until enough orders wait (docs/circuit-breaker.md)."""
    quiet = Profile("quiet", (Phase("quiet", 90_000.0, 1 / 480, 1 / 480),))
    result = simulate(
        Scenario("flow-control", quiet, parameters={"CircuitWindow": window}, outages=(Outage(0.0, 86_400.0),))
    )
    assert (result.delivered, result.dead_letters) == (result.accepted, 0)
    assert result.time_to_open_s is not None
    assert result.time_to_open_s < sooner_than_h * 3600


# -------------------------------------------------------------------------------------------------- settings


def test_parameters_reach_every_part_that_they_belong_to() -> None:
    stack = deployment("flow-control", {"MaximumConcurrency": "7", "DeliveryBatchSize": "4", "CourierRate": "25"})
    assert stack.delivery_mapping is not None
    assert (stack.delivery_mapping.maximum_concurrency, stack.delivery_mapping.batch_size) == (7, 4)
    assert stack.delivery.reserved == 7
    assert stack.courier.limits.rate == 25


def test_a_courier_of_ones_own_is_played_by_the_simulator() -> None:
    own = {
        "DeploySimulator": "false",
        "CourierUrl": "https://courier.example/deliveries",
        "CourierApiKeySecretArn": "arn:aws:secretsmanager:eu-west-1:111122223333:secret:courier-AbCdEf",
    }
    stack = deployment("flow-control", own)
    assert stack.slow_api is None
    assert stack.courier == deployment("flow-control").courier
    assert simulate(Scenario("flow-control", STEADY, parameters=own)).delivered == 300


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("Nonsense", "1", "template.yaml has no parameter Nonsense"),
        ("MaximumConcurrency", "1", "MaximumConcurrency must be from 2 to 1000, not 1"),
        ("MaximumConcurrency", "many", "MaximumConcurrency must be a number"),
        ("CircuitWindow", "20", "CircuitWindow must be one of 10, 30, 60, not 20"),
        ("CourierUrl", "http://plain", "CourierUrl: Leave it empty, or give the https URL"),
        ("DeploySimulator", "false", "CourierUrl must name the courier"),
        ("FlowControl", "disabled", "use --variant"),
    ],
)
def test_a_parameter_that_cloudformation_would_refuse_is_refused(name: str, value: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        deployment("flow-control", {name: value})


def test_every_fact_about_aws_names_its_source() -> None:
    from loadtest.twin import constants

    for kind in (constants.Platform, constants.PublishedBuild, constants.PublishedFigures):
        for name, _, source in constants.table(kind):
            assert len(source) > 10, f"{kind.__name__}.{name} needs a source, or 'assumption: …'"
    assert Platform().mapping_start == 5


# ---------------------------------------------------------------------------------------------- fluid limit


def test_the_fluid_limit_is_what_is_left_over_the_capacity() -> None:
    assert drain_seconds(RUSH, 8.0) == pytest.approx(60 * 12 / 8, rel=0.01)
    assert drain_seconds(STEADY, 8.0) == 0.0
    assert drain_seconds(STEADY, 0.0) is None


def test_an_outage_lengthens_the_fluid_limit() -> None:
    assert drain_seconds(RUSH, 8.0, (Outage(0.0, 100.0),)) == pytest.approx(60 * 20 / 8 + 40, rel=0.01)
    assert drain_seconds(RUSH, 8.0, (Outage(70.0, 100.0),)) == pytest.approx(60 * 12 / 8 + 30, rel=0.01)
