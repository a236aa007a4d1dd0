"""SlowApiFunction, the simulated courier: repeatable in its moods, and exact in what it counts."""

from __future__ import annotations

import importlib.util
import json
import sys
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.aws import create_table
from tests.unit.lambda_functions import FUNCTIONS, call, load_function
from tests.unit.orders import CORRELATION_ID, PRIVATE, an_order
from tests.unit.output import Output

type Read = Callable[[], Output]
type Load = Callable[..., ModuleType]


def _load_behaviour() -> ModuleType:
    """The pure rules, under a name that loading a function does not touch."""
    spec = importlib.util.spec_from_file_location("courier_behaviour", FUNCTIONS / "slow_api" / "behaviour.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


behaviour = _load_behaviour()
plan, Courier, Control, MODES = behaviour.plan, behaviour.Courier, behaviour.Control, behaviour.MODES

COURIER = Courier(failure_rate=0.2, latency_min=0.0, latency_max=2.0, seed=7)
LONGEST_ANSWER_SECONDS = 29.0  # of API Gateway for a Lambda integration
ENVIRONMENT = {
    "COURIER_TABLE_NAME": "courier",
    "FAILURE_RATE": "0",
    "LATENCY_MIN": "0",
    "LATENCY_MAX": "0",
    "SEED": "7",
    "HONOURS_IDEMPOTENCY_KEY": "true",
}


# ------------------------------------------------------------------------------------------------------ behaviour


@given(st.sampled_from(sorted(MODES)), st.text(), st.integers(1, 100), st.integers())
def test_the_same_call_takes_the_same_course_in_every_run(mode: str, key: str, number: int, seed: int) -> None:
    courier = Courier(0.5, 0.0, 2.0, seed)
    assert plan(courier, Control(mode), key, number) == plan(courier, Control(mode), key, number), (
        "two variants can be compared only if they meet the same courier"
    )


def test_another_seed_is_another_courier() -> None:
    courses = {
        seed: [plan(Courier(0.5, 0.0, 2.0, seed), Control(), f"key-{index}", 1) for index in range(20)]
        for seed in (1, 2)
    }
    assert courses[1] != courses[2]


def test_a_second_call_has_its_own_luck() -> None:
    courses = [plan(COURIER, Control(), "key", number).status for number in range(1, 100)]
    assert {201, 500} == set(courses), "an order that failed once must be able to succeed"


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.5, 1.0])
def test_the_share_of_failures_is_the_failure_rate(rate: float) -> None:
    courier = Courier(rate, 0.0, 2.0, 7)
    failures = sum(plan(courier, Control(), f"key-{index}", 1).status == 500 for index in range(10_000))
    assert failures / 10_000 == pytest.approx(rate, abs=0.016), "four standard deviations at most"


def test_latency_fills_its_range_and_does_not_depend_on_success() -> None:
    courses = [plan(Courier(0.5, 1.0, 3.0, 7), Control(), f"key-{index}", 1) for index in range(4_000)]
    assert all(1.0 <= course.latency <= 3.0 for course in courses)
    for accepts in (True, False):
        latencies = [course.latency for course in courses if course.accepts is accepts]
        assert sum(latencies) / len(latencies) == pytest.approx(2.0, abs=0.06)


@given(st.sampled_from(sorted(MODES)), st.text(), st.integers(1, 50), st.integers(0, 3600))
def test_every_course_is_one_that_api_gateway_can_tell(mode: str, key: str, number: int, retry_after: int) -> None:
    course = plan(Courier(0.2, 0.0, 25.0, 7), Control(mode, retry_after), key, number)
    assert course.latency >= 0
    assert 200 <= course.status <= 599
    assert course.message
    if mode != "drop":
        assert course.accepts == (200 <= course.status < 300), "a refusal has no effect"
        assert course.latency + course.silence <= LONGEST_ANSWER_SECONDS
    assert (course.retry_after is not None) == (mode in ("throttle", "unavailable"))


@pytest.mark.parametrize(
    ("mode", "status", "accepts", "at_once"),
    [
        ("outage", 500, False, True),
        ("unavailable", 503, False, True),
        ("throttle", 429, False, True),
        ("refuse", 422, False, True),
        ("hang", 504, False, False),
        ("drop", 504, True, False),
    ],
)
def test_a_mood_leaves_nothing_to_luck(mode: str, status: int, accepts: bool, at_once: bool) -> None:
    for index in range(50):
        course = plan(COURIER, Control(mode, 5), f"key-{index}", 1)
        assert (course.status, course.accepts) == (status, accepts)
        assert (course.latency + course.silence == 0) is at_once
        if not at_once:
            assert course.silence > 20, "nobody waits so long"


@pytest.mark.parametrize("mode", sorted(MODES))
def test_what_no_courier_can_reach_is_refused_in_every_mood(mode: str) -> None:
    course = plan(COURIER, Control(mode), "key", 1, behaviour.UNDELIVERABLE_COUNTRY)
    assert (course.status, course.accepts, course.latency, course.silence) == (422, False, 0.0, 0.0)
    assert plan(COURIER, Control(mode), "key", 1, "IE") == plan(COURIER, Control(mode), "key", 1)


def test_slow_is_five_times_as_slow_with_the_same_luck() -> None:
    for index in range(200):
        healthy = plan(COURIER, Control(), f"key-{index}", 1)
        slow = plan(COURIER, Control("slow"), f"key-{index}", 1)
        assert slow.latency == pytest.approx(5 * healthy.latency)
        assert (slow.status, slow.accepts) == (healthy.status, healthy.accepts)


def test_every_mode_says_what_it_does() -> None:
    assert all(MODES.values())
    assert {"healthy", "outage", "hang", "throttle", "slow"} <= MODES.keys()


# -------------------------------------------------------------------------------------------------------- handler


@pytest.fixture
def table(aws: None) -> Any:
    return create_table("courier", "pk")


@pytest.fixture
def load(table: Any) -> Load:
    def load(**environment: str) -> ModuleType:
        return load_function("slow_api", {**ENVIRONMENT, **environment})

    return load


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the courier would have taken."""
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    return slept


def request(method: str, resource: str, body: Any = None, headers: dict[str, str] | None = None) -> dict[str, Any]:
    text = body if isinstance(body, str) or body is None else json.dumps(body)
    return {"httpMethod": method, "resource": resource, "headers": headers, "body": text}


def a_delivery(key: str = "key-1", order_id: str = "ord-1") -> dict[str, Any]:
    headers = {"Idempotency-Key": key, "X-Correlation-Id": CORRELATION_ID, "x-api-key": "key-of-the-hub"}
    return request("POST", "/deliveries", an_order(order_id), headers)


def switch(function: ModuleType, mode: str, **more: Any) -> None:
    assert call(function, request("PUT", "/mode", {"mode": mode, **more}))["statusCode"] == 200


def item(table: Any, key: str = "key-1") -> dict[str, Any]:
    found: dict[str, Any] = table.get_item(Key={"pk": f"order#{key}"})["Item"]
    return found


def test_an_accepted_delivery_is_answered_and_recorded(load: Load, table: Any, output: Read) -> None:
    answer = call(load(), a_delivery())
    assert answer["statusCode"] == 201
    assert answer["headers"]["Content-Type"] == "application/json"
    assert json.loads(answer["body"]) == {"order_id": "ord-1", "message": "scheduled"}
    recorded = item(table)
    assert (recorded["calls"], recorded["effects"]) == (1, 1)
    assert (recorded["order_id"], recorded["correlation_id"]) == ("ord-1", CORRELATION_ID)
    assert recorded["first_accepted_at"] > 1_700_000_000, "epoch seconds"
    assert recorded["expires_at"] > recorded["first_accepted_at"], "the table forgets by itself"
    written = output()
    assert written.metric("DeliveriesAccepted") == 1
    assert next(line for line in written.logs if line["message"] == "delivery")["correlation_id"] == CORRELATION_ID


def test_a_courier_that_honours_the_key_has_one_effect_for_many_calls(load: Load, table: Any) -> None:
    function = load(HONOURS_IDEMPOTENCY_KEY="true")
    answers = [call(function, a_delivery()) for _ in range(3)]
    assert [answer["statusCode"] for answer in answers] == [201, 201, 201]
    recorded = item(table)
    assert (recorded["calls"], recorded["effects"]) == (3, 1)


def test_a_courier_that_does_not_honour_the_key_delivers_each_time(load: Load, table: Any) -> None:
    function = load(HONOURS_IDEMPOTENCY_KEY="false")
    first = call(function, a_delivery()) and item(table)["first_accepted_at"]
    call(function, a_delivery())
    recorded = item(table)
    assert (recorded["calls"], recorded["effects"]) == (2, 2), "so that a duplicate can be seen"
    assert recorded["first_accepted_at"] == first


def test_orders_are_counted_apart(load: Load, table: Any) -> None:
    function = load()
    for key in ("a", "b", "b"):
        call(function, a_delivery(key, f"ord-{key}"))
    assert item(table, "a")["calls"] == 1
    assert item(table, "b")["calls"] == 2


def test_a_failed_call_is_counted_and_has_no_effect(load: Load, table: Any, output: Read) -> None:
    answer = call(load(FAILURE_RATE="1"), a_delivery())
    assert answer["statusCode"] == 500
    assert item(table)["calls"] == 1
    assert "effects" not in item(table)
    assert output().metric("DeliveriesRefused") == 1


@pytest.mark.parametrize(
    ("mode", "status", "retry_after", "effects"),
    [
        ("outage", 500, None, None),
        ("unavailable", 503, "7", None),
        ("throttle", 429, "7", None),
        ("refuse", 422, None, None),
        ("slow", 201, None, 1),
        ("hang", 504, None, None),
        ("drop", 504, None, 1),
    ],
)
def test_a_mode_is_switched_while_it_runs(
    mode: str,
    status: int,
    retry_after: str | None,
    effects: int | None,
    load: Load,
    table: Any,
    naps: list[float],
) -> None:
    function = load()
    switch(function, mode, retry_after=7)
    answer = call(function, a_delivery())
    assert answer["statusCode"] == status
    assert answer["headers"].get("Retry-After") == retry_after
    assert item(table).get("effects") == effects
    assert (max(naps) > 20) == (mode in ("hang", "drop"))
    switch(function, "healthy")
    assert call(function, a_delivery("key-2"))["statusCode"] == 201


def test_the_effect_comes_after_the_latency_and_before_the_silence(
    load: Load, table: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    function = load(LATENCY_MIN="1", LATENCY_MAX="1")
    switch(function, "drop")
    seen: list[tuple[float, int]] = []
    monkeypatch.setattr("time.sleep", lambda seconds: seen.append((seconds, int(item(table).get("effects", 0)))))
    call(function, a_delivery())
    (latency, before), (silence, after) = seen
    assert (latency, before) == (1.0, 0)
    assert silence > 20
    assert after == 1, "the parcel is on its way, whatever becomes of the answer"


def test_the_mode_can_be_asked_for(load: Load) -> None:
    function = load()
    assert json.loads(call(function, request("GET", "/mode"))["body"]) == {"mode": "healthy", "retry_after": 1}
    switch(function, "throttle", retry_after=30)
    assert json.loads(call(function, request("GET", "/mode"))["body"]) == {"mode": "throttle", "retry_after": 30}


def test_the_mode_can_be_switched_in_the_table_too(load: Load, table: Any) -> None:
    table.put_item(Item={"pk": "control", "mode": "outage"})
    assert call(load(), a_delivery())["statusCode"] == 500


@pytest.mark.parametrize(
    "body",
    [
        None,
        "",
        "outage",
        "null",
        "[]",
        "5",
        '"outage"',
        "{}",
        {"mode": "sleepy"},
        {"mode": None},
        {"mode": ["outage"]},
        {"mode": "throttle", "retry_after": "soon"},
        {"mode": "throttle", "retry_after": None},
        {"mode": "throttle", "retry_after": -1},
        {"mode": "throttle", "retry_after": 3601},
        '{"mode": "throttle", "retry_after": 1e999}',
    ],
    ids=str,
)
def test_a_mode_that_is_none_is_refused_and_changes_nothing(body: Any, load: Load) -> None:
    function = load()
    answer = call(function, request("PUT", "/mode", body))
    assert answer["statusCode"] == 400
    told = json.loads(answer["body"])
    assert told["message"]
    assert told["modes"] == sorted(MODES), "an error says what to do next"
    assert json.loads(call(function, request("GET", "/mode"))["body"])["mode"] == "healthy"


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (None, '{"order_id": "ord-1"}'),
        ({}, '{"order_id": "ord-1"}'),
        ({"Idempotency-Key": ""}, '{"order_id": "ord-1"}'),
        ({"Idempotency-Key": "key-1"}, None),
        ({"Idempotency-Key": "key-1"}, ""),
        ({"Idempotency-Key": "key-1"}, "no JSON"),
        ({"Idempotency-Key": "key-1"}, "[]"),
        ({"Idempotency-Key": "key-1"}, "null"),
        ({"Idempotency-Key": "key-1"}, '"ord-1"'),
        ({"Idempotency-Key": "key-1"}, "{}"),
        ({"Idempotency-Key": "key-1"}, '{"order_id": 17}'),
        ({"Idempotency-Key": "key-1"}, '{"order_id": ""}'),
    ],
)
def test_a_delivery_without_key_or_order_id_is_refused(headers: Any, body: Any, load: Load, table: Any) -> None:
    answer = call(load(), request("POST", "/deliveries", body, headers))
    assert answer["statusCode"] == 400
    assert "Idempotency-Key" in answer["body"]
    assert table.scan()["Items"] == [], "what was not understood is not counted"


def test_a_delivery_to_where_no_courier_goes_is_refused_for_good(load: Load, table: Any) -> None:
    address = {**an_order()["delivery_address"], "country": behaviour.UNDELIVERABLE_COUNTRY}
    order = an_order(delivery_address=address)
    answer = call(load(), request("POST", "/deliveries", order, {"Idempotency-Key": "key-1"}))
    assert answer["statusCode"] == 422
    assert "effects" not in item(table)


def test_header_names_may_be_in_any_case(load: Load) -> None:
    event = request("POST", "/deliveries", an_order(), {"IDEMPOTENCY-KEY": "key-1"})
    assert call(load(), event)["statusCode"] == 201


@pytest.mark.parametrize(("method", "resource"), [("GET", "/deliveries"), ("DELETE", "/mode"), ("POST", "/")])
def test_elsewhere_is_nothing(method: str, resource: str, load: Load) -> None:
    assert call(load(), request(method, resource))["statusCode"] == 404


def test_the_courier_logs_nothing_private(load: Load, output: Read) -> None:
    call(load(), a_delivery())
    written = output()
    assert all(value not in written.text for value in (*PRIVATE.values(), "key-of-the-hub"))


def test_a_missing_setting_stops_the_start_and_all_are_named(table: Any) -> None:
    with pytest.raises(Exception, match=r"SEED is not set.*HONOURS_IDEMPOTENCY_KEY='perhaps' must be true or false"):
        load_function("slow_api", {**ENVIRONMENT, "SEED": "", "HONOURS_IDEMPOTENCY_KEY": "perhaps"})


def test_a_request_that_counts_nothing_leaves_no_warning_in_the_log(load: Load, output: Read) -> None:
    """Powertools warns of an invocation without metrics, as plain text that no query finds fields in."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert call(load(), request("GET", "/mode"))["statusCode"] == 200
