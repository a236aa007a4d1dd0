from __future__ import annotations

import json

import pytest
from rich.console import Console

from loadtest.twin import advice
from loadtest.twin import plan as sizing
from loadtest.twin.__main__ import main
from loadtest.twin.constants import Platform
from loadtest.twin.plan import Plan, Question, needed_concurrency, overhead, plan

COURIER = {"rate": 10.0, "latency": (0.0, 2.0), "failure_rate": 0.2, "burst": 10.0}


def planned(orders: float, given: dict[str, str] | None = None, **courier: object) -> Plan:
    question = Question(orders, **(COURIER | courier))  # type: ignore[arg-type]
    return plan(question, given or {}, hours=0.1, seed=1)


def setting(answer: Plan, name: str) -> str:
    return next(each.value for each in answer.settings if each.name == name)


def only_warning(answer: Plan) -> str:
    [warning] = answer.warnings
    return warning


def test_the_published_courier_needs_the_templates_defaults_and_that_is_safe() -> None:
    answer = planned(6.0)
    assert setting(answer, "DeliveryBatchSize") == "10"
    assert setting(answer, "MaximumConcurrency") == "3"
    assert setting(answer, "Seconds.Delivery.VisibilityTimeout") == "181"
    assert answer.warnings == []
    assert answer.result.lost == answer.result.dead_letters == 0
    assert answer.expected["p50_delay_s"] < 10


def test_the_recommended_concurrency_reaches_the_limit_and_one_less_does_not() -> None:
    for cap, reached in (("3", True), ("2", False)):
        answer = planned(15.0, {"MaximumConcurrency": cap})
        goodput = answer.result.goodput_ratio
        assert goodput is not None
        assert (goodput > 0.98) is reached


def test_the_arithmetic_says_what_the_twin_does_with_too_few_executions() -> None:
    question = Question(15.0, **COURIER)  # type: ignore[arg-type]
    goodput = planned(15.0, {"MaximumConcurrency": "2"}).result.goodput_ratio
    assert goodput == pytest.approx(2 / needed_concurrency(question, 10, overhead(Platform())), abs=0.1)


def test_the_last_answer_of_a_batch_is_the_greatest_of_its_calls() -> None:
    assert Question(1.0, 1e6, (1.0, 3.0), 0.0, 1.0).last_answer(9) == pytest.approx(1 + 2 * 9 / 10, abs=0.01)
    assert Question(1.0, 2.0, (1.0, 1.0), 0.0, 1.0).last_answer(4) == pytest.approx(1 + 3 / 2, abs=0.01)


def test_more_orders_than_the_courier_takes_never_drain() -> None:
    warnings = planned(15.0).warnings
    assert "Never drains: 15 orders a second come, and the courier takes 8 at most" in warnings[0]
    assert "Agree on more than 18.75 calls a second" in warnings[0]
    assert "Retention runs out: if it goes on like this, orders are 11 days old after 12.6 days" in warnings[1]


def test_a_courier_that_takes_just_what_comes_never_drains_either() -> None:
    warning = only_warning(planned(8.0))
    assert "what waits goes on waiting. Agree on more than 10 calls a second" in warning


def test_a_day_that_does_not_drain_is_extended_in_numbers() -> None:
    expected = planned(15.0).expected
    assert expected["backlog_after_a_day"] == 7 * 86_400
    assert expected["delay_after_a_day_s"] == 7 * 86_400 / 8
    assert expected["delivered_per_day"] == 8 * 86_400
    assert expected["cost_usd_per_day"] > 0


def test_a_courier_in_full_use_hardly_drains() -> None:
    assert only_warning(planned(7.6)).startswith(
        "Hardly drains: the courier is used to 95%, so after an hour of outage"
    )


def test_a_cap_that_does_not_limit_is_named() -> None:
    assert "MaximumConcurrency 12 does not limit anything" in only_warning(planned(6.0, {"MaximumConcurrency": "12"}))


def test_a_cap_that_asks_for_more_slots_than_fit_is_named() -> None:
    warnings = planned(6.0, {"MaximumConcurrency": "30"}).warnings
    assert any("30 executions with batches of 10 ask for slots of 30 s" in warning for warning in warnings)


def test_a_cap_that_is_too_small_is_named() -> None:
    answer = planned(7.0, {"MaximumConcurrency": "2"})
    assert "makes 7.9 calls a second, and the orders need 8.75: set 3." in only_warning(answer)


def test_a_courier_that_is_slower_than_the_timeout_delivers_twice() -> None:
    answer = planned(6.0, {"CourierTimeout": "2"}, latency=(0.0, 4.0))
    assert any("Unless it honours Idempotency-Key" in warning for warning in answer.warnings)


def test_answers_that_come_too_late_count_as_failures_of_the_courier() -> None:
    question = Question(5.0, 10.0, (10.0, 20.0), 0.2, 10.0)
    assert (question.late(5.0), question.late(15.0), question.late(20.0)) == (1.0, 0.5, 0.0)
    assert Question(5.0, 10.0, (2.0, 2.0), 0.2, 10.0).late(1.0) == 1.0
    warnings = planned(5.0, {"CourierTimeout": "15"}, latency=(10.0, 20.0)).warnings
    assert any("50% of its answers come too late" in warning for warning in warnings)
    assert any(
        warning.startswith("The circuit opens by chance") and "60% fail on average" in warning for warning in warnings
    ), "half of its answers fail for being late, and a fifth of the others for themselves"


def test_a_circuit_without_enough_calls_cannot_open() -> None:
    assert only_warning(planned(0.5)).startswith("The circuit cannot open: 6.25 calls come in 10 s")


def test_a_circuit_that_opens_by_chance_is_named() -> None:
    assert only_warning(planned(6.0, {"CircuitFailureRate": "0.3"})).startswith("The circuit opens by chance")


def test_a_webhook_that_refuses_orders_is_named_and_one_that_would_is_set() -> None:
    many = {"rate": 400.0, "latency": (0.0, 0.5), "failure_rate": 0.0, "burst": 400.0}
    refusing = planned(120.0, {"IngestRate": "100"}, **many)
    assert refusing.warnings[0].startswith("The webhook refuses orders: 120 a second come, and IngestRate is 100.")
    answer = planned(120.0, **many)
    assert setting(answer, "IngestRate") == "180"
    assert answer.result.orders == answer.result.accepted


def test_a_very_large_shop_is_tried_for_a_shorter_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizing, "MOST_ORDERS", 600)
    answer = planned(6.0)
    assert answer.expected["simulated_hours"] == pytest.approx(100 / 3600, abs=0.001)
    assert answer.result.orders == pytest.approx(600, rel=0.2)


def test_a_slow_limit_makes_batches_small_enough_for_one_invocation() -> None:
    answer = planned(0.2, rate=0.5, failure_rate=0.0)
    batch, cap = int(setting(answer, "DeliveryBatchSize")), int(setting(answer, "MaximumConcurrency"))
    assert cap * batch / 0.5 <= 20
    assert answer.result.throttled_share == 0


def test_the_executions_that_are_needed_obey_littles_law() -> None:
    question = Question(6.0, 10.0, (1.0, 1.0), 0.0, 10.0)
    assert needed_concurrency(question, 1, 0.0) == 10.0, "10 calls a second of 1 s each"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--orders-per-second", "0", "--courier-rate", "1"], "--orders-per-second must be above 0"),
        (["--orders-per-second", "1", "--courier-rate", "-1"], "--courier-rate must be above 0"),
        (["--orders-per-second", "1", "--courier-rate", "1", "--courier-latency", "2"], "takes LEAST,MOST"),
        (["--orders-per-second", "1", "--courier-rate", "1", "--courier-latency", "3,2"], "LEAST,MOST seconds"),
        (["--orders-per-second", "1", "--courier-rate", "1", "--failure-rate", "1"], "from 0, below 1"),
        (["--orders-per-second", "1", "--courier-rate", "1", "--courier-latency", "0,60"], "SimulatorLatencyMax must"),
        (["--orders-per-second", "1", "--courier-rate", "1", "--hours", "0"], "--hours must be above 0"),
        (["--orders-per-second", "1", "--courier-rate", "1", "--set", "X=1"], "has no parameter X"),
        (["--orders-per-second", "1", "--courier-rate", "1", "--set", "CourierRate=3"], "give it with --courier-rate"),
        (["--orders-per-second", "0.00001", "--courier-rate", "1"], "none came: try more --hours"),
        (
            ["--orders-per-second", "5000", "--courier-rate", "9000", "--courier-burst", "5000"],
            "ask for more than the template allows: MaximumConcurrency must be from 2 to 1000",
        ),
        (
            ["--orders-per-second", "1", "--courier-rate", "9", "--set", "DeliveryBatchSize=2.5"],
            "DeliveryBatchSize must be a whole number, not 2.5",
        ),
    ],
)
def test_a_question_that_makes_no_sense_is_answered_with_the_rule(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", *words]) == 2
    assert message in capsys.readouterr().err


def test_the_names_of_settings_are_whole_on_a_narrow_screen(capsys: pytest.CaptureFixture[str]) -> None:
    """People copy them into template.yaml."""
    console = Console(width=80)
    advice.show(console, planned(6.0))
    assert "Seconds.Delivery.VisibilityTimeout " in capsys.readouterr().out


def test_it_answers_in_words_and_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", "--orders-per-second", "6", "--courier-rate", "10", "--hours", "0.05"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "Little's law: 7.5 calls a second x 1 s = 7.5 calls in flight" in shown
    assert "Nothing about this is unsafe." in shown
    assert main([*words, "--json", "-"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["expected"]["cost_usd_per_day"] > 0
    assert answer["simulated"]["delivered"] > 0
