"""RecoveryFunction: letters go back once, at their rate, only while the courier is well; and people hear of the end."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest

from hub.circuit import ITEM_KEY
from tests.unit.aws import REGION, AwsErrors, Queue, create_table
from tests.unit.lambda_functions import call, load_function
from tests.unit.letters import EVENT_BUS, HUB, INVOCATION
from tests.unit.orders import INGEST_ATTRIBUTES, an_envelope, an_order
from tests.unit.output import Output

ACCOUNT = "123456789012"
ME = {
    "arn": f"arn:aws:states:{REGION}:{ACCOUNT}:execution:redrive:me",
    "name": "me",
    "since": "2030-01-01T00:00:00.000Z",  # later than every letter of these tests, unless one says otherwise
}
OTHER = ME | {"arn": ME["arn"].replace(":me", ":other"), "name": "other"}


@dataclass
class Recovery:
    """The function, with queues, circuit and people."""

    queues: dict[str, Queue]
    people: Queue
    delivery_table: Any
    letter_table: Any
    environment: dict[str, str]
    running: set[str]

    def __call__(self, action: str, **event: Any) -> dict[str, Any]:
        answer: dict[str, Any] = call(load_function("recovery", self.environment), {"action": action, **event})
        return answer

    def begin(self, execution: dict[str, str] = ME, **given: Any) -> dict[str, Any]:
        return self("begin-redrive", input={"queue": "delivery"} | given, execution=execution)

    def step(self, execution: dict[str, str] = ME, number: int = 0, moved: int = 0, idle: int = 0, **plan: Any) -> Any:
        given = {"queue": "delivery"} | plan
        return self("step-redrive", plan=given, execution=execution, number=number, moved=moved, idle=idle)

    def end(self, **how: Any) -> dict[str, Any]:
        end = {"result": "done", "why": "why", "moved": 3, "for_good": 0, "skipped": 0} | how
        return self("end-redrive", plan={"queue": "delivery"}, execution=ME, **end)

    def told(self) -> list[tuple[str, str]]:
        messages = [json.loads(message["Body"]) for message in self.people.take()]
        return [(message["Subject"], message["Message"]) for message in messages]


@pytest.fixture
def recovery(aws: None, aws_errors: AwsErrors, monkeypatch: pytest.MonkeyPatch) -> Recovery:
    sources = {"ingest", "sales", "delivery"}
    queues = {name: Queue(name) for name in (*sources, *(f"{name}-letters" for name in (*sources, "event-bus")))}
    people = Queue("people")
    sns = boto3.client("sns")
    topic = sns.create_topic(Name="people")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=f"arn:aws:sqs:{REGION}:{ACCOUNT}:people")
    homes = [f"{name}={queues[f'{name}-letters'].url}>{queues[name].url}" for name in sorted(sources)]
    environment = {
        "DEAD_LETTER_QUEUES": ",".join([*homes, f"event-bus={queues['event-bus-letters'].url}>*"]),
        "LETTER_TABLE_NAME": "letters",
        "ALARM_TOPIC_ARN": topic,
        "REPLAY_RULES": "sales=arn:sales-rule,delivery=arn:delivery-rule",
        "ARCHIVE_RETENTION_DAYS": "14",
        "DELIVERY_TABLE_NAME": "delivery",
    }
    running: set[str] = set()

    def describe(parameters: Any, _proceed: Any) -> Any:
        return {"status": "RUNNING" if parameters["executionArn"] in running else "SUCCEEDED"}

    aws_errors.on("DescribeExecution", describe)
    return Recovery(queues, people, create_table("delivery", "pk"), create_table("letters", "pk"), environment, running)


def envelopes(count: int) -> list[str]:
    return [json.dumps(an_envelope(an_order(f"ord-{number}"))) for number in range(count)]


# ------------------------------------------------------------------------------------------------- beginning


def test_it_begins_and_says_how_long_a_step_is(recovery: Recovery) -> None:
    answer = recovery.begin(rate=2)
    assert answer == {"refused": "", "plan": {"queue": "delivery", "rate": 2.0}, "step_seconds": 5}


@pytest.mark.parametrize("state", ["open", "half-open", "ramping", "broken"])
@pytest.mark.parametrize("queue", ["delivery", "event-bus", "ingest"])
def test_it_refuses_while_the_circuit_is_not_closed(recovery: Recovery, state: str, queue: str) -> None:
    recovery.delivery_table.put_item(Item={"pk": ITEM_KEY, "state": state})
    assert f"the circuit is {state}" in recovery.begin(queue=queue)["refused"]
    assert recovery.letter_table.scan()["Items"] == [], "nothing is claimed"
    assert recovery.begin(queue="sales")["refused"] == "", "sales has nothing to do with the courier"


def test_a_stack_without_circuit_redrives_all_the_same(recovery: Recovery) -> None:
    recovery.environment["DELIVERY_TABLE_NAME"] = ""
    assert recovery.begin(queue="ingest")["refused"] == ""


def test_an_invalid_plan_is_refused_with_the_field_and_the_rule(recovery: Recovery) -> None:
    assert "rate must be a number" in recovery.begin(rate=1000)["refused"]
    assert "the input must be an object" in recovery("begin-redrive", input=None, execution=ME)["refused"]


def test_one_redrive_at_a_time_moves_a_queue(recovery: Recovery) -> None:
    recovery.begin()
    recovery.running.add(ME["arn"])
    assert recovery.begin()["refused"] == "", "the answer was lost, and the machine asks again"
    assert "another redrive of delivery runs" in recovery.begin(OTHER)["refused"]
    assert recovery.begin(OTHER, queue="sales")["refused"] == ""


def test_a_redrive_that_died_holds_nobody_up(recovery: Recovery) -> None:
    recovery.begin()
    assert recovery.begin(OTHER)["refused"] == ""
    recovery.queues["delivery-letters"].send(*envelopes(1), attributes=HUB)
    assert "another redrive of delivery has taken over" in recovery.step()["ended"]


def test_an_execution_that_is_forgotten_holds_nobody_up(recovery: Recovery, aws_errors: AwsErrors) -> None:
    recovery.begin()
    aws_errors.refuse("DescribeExecution", "ExecutionDoesNotExist")
    assert recovery.begin(OTHER)["refused"] == ""


# ---------------------------------------------------------------------------------------------------- moving


def test_letters_go_back_as_they_were_before_they_failed(recovery: Recovery) -> None:
    body = json.dumps(an_order())
    recovery.queues["ingest-letters"].send(body, attributes=HUB | INGEST_ATTRIBUTES)
    recovery.begin(queue="ingest")
    step = recovery.step(queue="ingest")
    assert (step["moved"], step["ended"], step["result"]) == (1, "no letter is left to move", "done")
    [(moved, attributes)] = recovery.queues["ingest"].letters()
    assert moved == body
    again = json.loads(attributes.pop("redriven"))
    assert attributes == INGEST_ATTRIBUTES, "what the failure added is gone"
    assert (again["times"], again["by"]) == (1, "me")
    assert recovery.queues["ingest-letters"].bodies == []


def test_it_is_counted_how_often_a_letter_went_back(recovery: Recovery) -> None:
    before = json.dumps({"times": 4, "at": "2026-11-20T10:00:00+00:00", "by": "an earlier one"})
    recovery.queues["delivery-letters"].send(*envelopes(1), attributes=HUB | {"redriven": before})
    recovery.begin()
    recovery.step()
    [(_, attributes)] = recovery.queues["delivery"].letters()
    assert json.loads(attributes["redriven"])["times"] == 5


def test_letters_of_a_step_come_one_after_another(recovery: Recovery, aws_errors: AwsErrors) -> None:
    recovery.queues["delivery-letters"].send(*envelopes(30), attributes=HUB)
    recovery.begin()
    aws_errors.calls.clear()
    step = recovery.step(rate=2)
    assert (step["moved"], step["ended"], step["for_good"]) == (10, "", 10)
    delays = [parameters["DelaySeconds"] for name, parameters in aws_errors.calls if name == "SendMessage"]
    assert delays == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert len(recovery.queues["delivery-letters"].take()) == 20


def test_totals_and_steps_go_on_to_the_end(recovery: Recovery) -> None:
    recovery.queues["delivery-letters"].send(*envelopes(25), attributes=HUB)
    recovery.begin()
    moved, ended, number = 0, "", 0
    while not ended:
        step = recovery.step(number=number, moved=moved, rate=2)
        moved, ended, number = step["moved"], step["ended"], number + 1
    assert (moved, number) == (25, 3)
    assert len(recovery.queues["delivery"].bodies) == 25


def test_a_reason_leaves_the_others_alone_and_visible(recovery: Recovery) -> None:
    letters = recovery.queues["delivery-letters"]
    letters.send(*envelopes(12), attributes=HUB)
    letters.send("stays", attributes=HUB | {"reason": "HTTP 401"})
    recovery.begin()
    step = recovery.step(only_reason="http 422")
    assert (step["moved"], step["skipped"]) == (12, 1)
    assert step["ended"] == "no letter is left that was asked for"
    assert [body for body, _ in letters.letters()] == ["stays"]


def test_no_more_than_the_maximum_move(recovery: Recovery) -> None:
    recovery.queues["delivery-letters"].send(*envelopes(12), attributes=HUB)
    recovery.begin()
    step = recovery.step(maximum=7)
    assert (step["moved"], step["ended"]) == (7, "the 7 letters that were asked for have moved")


def test_letters_of_the_event_bus_go_to_the_queue_that_each_names(recovery: Recovery) -> None:
    letters = recovery.queues["event-bus-letters"]
    target = EVENT_BUS["TARGET_ARN"].rpartition(":")[0]
    for name in ("sales", "delivery"):
        letters.send(*envelopes(1), attributes=EVENT_BUS | {"TARGET_ARN": f"{target}:{name}"})
    function = {"TARGET_ARN": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:circuit"}
    letters.send("a tick of the watchdog", attributes=EVENT_BUS | function)
    letters.send(json.dumps(INVOCATION))
    recovery.begin(queue="event-bus")
    step = recovery.step(queue="event-bus")
    assert (step["moved"], step["skipped"]) == (2, 2), "nothing repeats an old tick, or an old alarm"
    for name in ("sales", "delivery"):
        [(_, attributes)] = recovery.queues[name].letters()
        assert set(attributes) == {"redriven"}
    assert len(letters.take()) == 2


# -------------------------------------------------------------------------------------------------- stopping


def test_it_stops_when_the_circuit_opens(recovery: Recovery) -> None:
    recovery.queues["delivery-letters"].send(*envelopes(3), attributes=HUB)
    recovery.begin()
    recovery.delivery_table.put_item(Item={"pk": ITEM_KEY, "state": "open"})
    step = recovery.step()
    assert (step["result"], step["moved"]) == ("stopped", 0)
    assert "the circuit is open" in step["ended"]


def test_it_stops_when_what_went_comes_back(recovery: Recovery) -> None:
    mine = json.dumps({"times": 1, "at": "2026-11-21T10:00:00+00:00", "by": "me"})
    letters = recovery.queues["delivery-letters"]
    letters.send(*envelopes(1), attributes=HUB | {"redriven": mine})
    recovery.begin()
    step = recovery.step()
    assert step["result"] == "stopped"
    assert "sent again is back: permanent: HTTP 422" in step["ended"]
    assert len(letters.take()) == 1


def test_it_stops_when_new_letters_arrive(recovery: Recovery) -> None:
    began = ME | {"since": (datetime.now(UTC) - timedelta(minutes=1)).isoformat()}
    recovery.queues["delivery-letters"].send(*envelopes(1), attributes=HUB)
    recovery.begin()
    assert "a new dead letter arrived" in recovery.step(began)["ended"]


def test_a_queue_that_takes_nothing_loses_nothing(recovery: Recovery, aws_errors: AwsErrors) -> None:
    letters = recovery.queues["delivery-letters"]
    letters.send(*envelopes(5), attributes=HUB)
    recovery.begin()
    sent = iter(range(100))
    aws_errors.refuse("SendMessage", when=lambda _: next(sent) >= 2)
    step = recovery.step()
    assert (step["result"], step["moved"]) == ("stopped", 2)
    assert "a letter could not be moved: ClientError: An error occurred (InternalFailure)" in step["ended"]
    assert (len(recovery.queues["delivery"].bodies), len(letters.take())) == (2, 3)


def test_a_letter_that_cannot_be_deleted_is_twice_there_and_ends_it(recovery: Recovery, aws_errors: AwsErrors) -> None:
    letters = recovery.queues["delivery-letters"]
    letters.send(*envelopes(5), attributes=HUB)
    recovery.begin()
    aws_errors.refuse("DeleteMessage")
    assert recovery.step()["result"] == "stopped"
    assert (len(recovery.queues["delivery"].bodies), len(letters.take())) == (1, 5)


def test_it_waits_for_letters_that_somebody_else_looks_at(recovery: Recovery) -> None:
    letters = recovery.queues["delivery-letters"]
    letters.send(*envelopes(3), attributes=HUB)
    recovery.begin()
    letters.take()
    step = recovery.step()
    assert (step["ended"], step["idle"]) == ("", 1)
    assert recovery.step(idle=12)["ended"] == "no letter is left to move", "but not for ever"


# ------------------------------------------------------------------------------------------------- reporting


def test_the_end_is_told_and_the_queue_released(recovery: Recovery) -> None:
    mine = json.dumps({"times": 1, "at": "2026-11-21T10:00:00+00:00", "by": "me"})
    recovery.queues["delivery-letters"].send("back", attributes=HUB | {"redriven": mine})
    recovery.queues["delivery-letters"].send("left", attributes=HUB)
    recovery.begin()
    report = recovery.end(for_good=3, skipped=1)
    assert (report["left"], report["back"]) == (2, 1)
    [(subject, text)] = recovery.told()
    assert subject == "Redrive of delivery done: 3 letters"
    for expected in ("Sent again: 3", "Left alone: 1", "Left in the queue: about 2", "Came back already: 1"):
        assert expected in text
    assert "3 of them had been refused for good" in text
    assert recovery.letter_table.scan()["Items"] == []
    assert len(recovery.queues["delivery-letters"].take()) == 2


def test_a_refusal_is_told_and_releases_nobody_elses_queue(recovery: Recovery) -> None:
    recovery.begin(OTHER)
    recovery.end(result="refused", why="the circuit is open", moved=0)
    recovery.end(result="stopped", why="superseded", moved=0)
    (subject, text), _ = recovery.told()
    assert subject == "Redrive of delivery refused: 0 letters"
    assert "the circuit is open" in text
    assert len(recovery.letter_table.scan()["Items"]) == 1


def test_people_who_cannot_be_told_are_an_error(recovery: Recovery, aws_errors: AwsErrors) -> None:
    recovery.begin()
    aws_errors.refuse("Publish")
    with pytest.raises(Exception, match="made to fail"):
        recovery.end()


# --------------------------------------------------------------------------------------------------- replays


def window(minutes_ago: float = 30, **changes: Any) -> dict[str, Any]:
    end = datetime.now(UTC) - timedelta(minutes=minutes_ago)
    return {"rule": "sales", "from": (end - timedelta(hours=1)).isoformat(), "to": end.isoformat()} | changes


def test_a_replay_begins_with_the_rule_of_its_consumer(recovery: Recovery) -> None:
    answer = recovery("begin-replay", input=window(), execution={"name": "one:1"})
    assert (answer["refused"], answer["rule_arn"], answer["mark"]) == ("", "arn:sales-rule", "sales-one-1")
    assert answer["from"].endswith("Z")


def test_a_replay_that_cannot_be_is_refused(recovery: Recovery) -> None:
    answer = recovery("begin-replay", input=window(rule="marketing"), execution={"name": "one"})
    assert "rule must be one of sales, delivery" in answer["refused"]
    assert "must be an object" in recovery("begin-replay", input=[], execution={"name": "one"})["refused"]


def test_without_flow_control_nothing_is_delivered_again(recovery: Recovery) -> None:
    recovery.environment["REPLAY_RULES"] = "sales=arn:sales-rule"
    answer = recovery("begin-replay", input=window(rule="delivery"), execution={"name": "one"})
    assert "rule must be one of sales:" in answer["refused"]


@pytest.mark.parametrize(("minutes_ago", "warned"), [(30, False), (1, True)])
def test_the_end_of_a_replay_is_told(recovery: Recovery, minutes_ago: float, warned: bool) -> None:
    begun = recovery("begin-replay", input=window(minutes_ago), execution={"name": "one"})
    recovery("end-replay", **begun, result="done", why="every event of the window was replayed")
    recovery("end-replay", **begun, result="failed", why="no such archive")
    (subject, text), (failed, _) = recovery.told()
    assert (subject, failed) == ("Replay to sales done", "Replay to sales failed")
    assert ("less than ten minutes ago" in text) is warned


def test_the_log_names_the_replay(recovery: Recovery, output: Callable[[], Output]) -> None:
    """A field called name would be taken for a person's."""
    begun = recovery("begin-replay", input=window(), execution={"name": "one:1"})
    recovery("end-replay", **begun, result="done", why="every event of the window was replayed")
    [line] = [line for line in output().logs if line["message"] == "REPLAY"]
    assert line["replay_mark"] == "sales-one-1"


def test_an_action_that_is_unknown_is_an_error(recovery: Recovery) -> None:
    with pytest.raises(KeyError):
        recovery("undo")


def test_the_sample_event_shows_a_refusal(recovery: Recovery) -> None:
    from tests.unit.test_samples import sample

    answer: Callable[..., Any] = recovery
    assert answer(**sample("recovery"))["refused"] == "from must be before to"
