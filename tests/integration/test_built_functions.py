"""Every function, as `sam build` left it, in a process of its own through Lambda's own client.

The sample events form a chain, and the tests follow it: what NotificationFunction makes of its
event is the sample for DeliveryFunction, and what that sends is the sample for the courier.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hub.events import check
from local.stack import ROOT, build
from tests.runtime import BuiltFunction, ExecutionEnvironment, Invocation, read_functions
from tests.runtime.__main__ import main
from tests.runtime.surroundings import COURIER_KEY, Surroundings

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(60),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(samcli|samtranslator).*"),
]

# A courier that always answers at once, so that the result does not depend on its dice.
CALM = {"SimulatorFailureRate": "0", "SimulatorLatencyMax": "0"}


def sample(name: str) -> Any:
    return json.loads((ROOT / "events" / f"{name}.json").read_text())


def bodies(name: str) -> list[Any]:
    return [json.loads(record["body"]) for record in sample(name)["Records"]]


@pytest.fixture(scope="session", autouse=True)
def built_template() -> Path:
    """The artefact of the working tree, built again only when its sources changed."""
    return build()


@pytest.fixture
def surroundings(built_template: Path) -> Iterator[Surroundings]:
    with Surroundings(built_template) as started:
        yield started


def built(surroundings: Surroundings, name: str, **parameters: str) -> BuiltFunction:
    """A function whose environment names the surroundings' own queues, tables, bus and secret."""
    functions = read_functions(surroundings.template, {**CALM, **parameters}, surroundings.physical_ids)
    return functions[name].with_variables(surroundings.variables)


def invoke(function: BuiltFunction, event: Any) -> Invocation:
    with ExecutionEnvironment(function) as environment:
        return environment.invoke(event)


def answer(function: BuiltFunction, event: Any) -> Any:
    """The response of an invocation that has to succeed."""
    result = invoke(function, event)
    assert result.function_error is None, f"{result.payload}\n{result.log}"
    return result.payload


def test_every_function_has_a_sample_event(built_template: Path) -> None:
    functions = read_functions(built_template).values()
    assert {function.source_name for function in functions} == {
        path.name for path in (ROOT / "functions").iterdir() if (path / "app.py").exists()
    }
    for function in functions:
        assert sample(function.source_name)


def test_notification_publishes_each_order(surroundings: Surroundings) -> None:
    function = built(surroundings, "NotificationFunction")
    assert answer(function, sample("notification")) == {"batchItemFailures": []}
    published = surroundings.published()
    assert [event["detail-type"] for event in published] == ["order.notified"] * 2
    assert [event["detail"] for event in published] == [event["detail"] for event in bodies("delivery")]


def test_delivery_from_the_queue_calls_the_courier_for_each_order(
    surroundings: Surroundings,
) -> None:
    function = built(surroundings, "DeliveryFunction")
    assert answer(function, sample("delivery")) == {"batchItemFailures": []}
    requests = {r["body"]["order_id"]: r for r in surroundings.courier.requests}
    expected = sample("slow_api")
    order = json.loads(expected["body"])
    assert requests.keys() == {event["detail"]["data"]["order_id"] for event in bodies("delivery")}
    assert requests[order["order_id"]]["body"] == order
    headers = requests[order["order_id"]]["headers"]
    for name in ("Content-Type", "Idempotency-Key", "X-Correlation-Id"):
        assert headers[name] == expected["headers"][name]
    assert headers["x-api-key"] == COURIER_KEY
    assert [e["detail-type"] for e in surroundings.published()] == ["delivery.completed"] * 2


def test_delivery_from_the_bus_calls_the_courier(surroundings: Surroundings) -> None:
    function = built(surroundings, "DeliveryFunction", FlowControl="disabled")
    answer(function, sample("delivery-direct"))
    [request] = surroundings.courier.requests
    assert request["body"] == sample("delivery-direct")["detail"]["data"]
    [event] = surroundings.published()
    assert event["detail-type"] == "delivery.completed"


def test_sales_keeps_each_order(surroundings: Surroundings) -> None:
    function = built(surroundings, "SalesFunction")
    assert answer(function, sample("sales")) == {"batchItemFailures": []}
    kept = {item["order_id"]: float(item["total"]) for item in surroundings.items("SalesTable")}
    orders = [event["detail"]["data"] for event in bodies("sales")]
    assert kept == {order["order_id"]: order["total"] for order in orders}


def test_sales_export_writes_each_sale(surroundings: Surroundings) -> None:
    function = built(surroundings, "SalesExportFunction")
    assert answer(function, sample("sales_export")) == {"batchItemFailures": []}
    lines = [json.loads(text) for text in surroundings.objects("SalesExportBucket").values()]
    for line in lines:
        check("sale", line)
    orders = [event["detail"]["data"] for event in bodies("sales")]
    assert {line["order_id"]: line["total"] for line in lines} == {each["order_id"]: each["total"] for each in orders}


def test_the_courier_simulator_accepts_a_delivery(surroundings: Surroundings) -> None:
    response = answer(built(surroundings, "SlowApiFunction"), sample("slow_api"))
    assert 200 <= response["statusCode"] < 300
    [item] = surroundings.items("CourierTable")
    assert item["pk"] == f"order#{sample('slow_api')['headers']['Idempotency-Key']}"
    assert item["effects"] == 1


def test_one_bad_order_fails_alone(surroundings: Surroundings) -> None:
    good, bad = (json.dumps(event) for event in bodies("delivery"))
    event = surroundings.sqs_event("DeliveryQueue", [good, bad])
    surroundings.courier.answers[json.loads(bad)["detail"]["data"]["order_id"]] = 500
    response = answer(built(surroundings, "DeliveryFunction"), event)
    identifiers = {record["body"]: record["messageId"] for record in event["Records"]}
    assert response == {"batchItemFailures": [{"itemIdentifier": identifiers[bad]}]}


def test_an_unreadable_message_goes_to_the_dead_letters_alone(surroundings: Surroundings) -> None:
    event = sample("notification")
    event["Records"][0]["body"] = "{not JSON"
    response = answer(built(surroundings, "NotificationFunction"), event)
    assert response == {"batchItemFailures": []}
    [letter] = surroundings.messages("IngestDeadLetterQueue")
    assert letter["Body"] == "{not JSON"
    assert "not JSON" in letter["MessageAttributes"]["reason"]["StringValue"]
    assert len(surroundings.published()) == 1


def test_a_dependency_that_is_missing_in_the_layer_fails(surroundings: Surroundings, tmp_path: Path) -> None:
    """fastjsonschema is installed for the tests too, and must not stand in for the layer's."""
    function = built(surroundings, "NotificationFunction")
    layers = []
    for layer in function.layers:
        copy = Path(shutil.copytree(layer, tmp_path / layer.name))
        shutil.rmtree(copy / "python" / "fastjsonschema", ignore_errors=True)
        layers.append(copy)
    result = invoke(replace(function, layers=tuple(layers)), sample("notification"))
    assert result.function_error == "Unhandled"
    assert result.payload["errorType"] == "Runtime.ImportModuleError"
    assert "No module named 'fastjsonschema'" in result.payload["errorMessage"]


def test_a_missing_setting_stops_the_start_and_is_named(surroundings: Surroundings) -> None:
    function = built(surroundings, "NotificationFunction").with_variables({"HUB_BUS_NAME": ""})
    result = invoke(function, sample("notification"))
    assert result.payload["errorType"] == "SettingsError"
    assert "HUB_BUS_NAME is not set" in result.payload["errorMessage"]


def test_an_exception_reaches_the_platform_with_its_type(surroundings: Surroundings) -> None:
    result = invoke(built(surroundings, "SalesFunction"), {"Records": [{"eventSource": "aws:sqs"}]})
    assert result.function_error == "Unhandled"
    assert result.payload["errorType"] == "KeyError"
    assert result.payload["requestId"] == result.request_id
    assert '"status":"FAILED"' in result.log


def test_a_timeout_ends_the_function_after_its_warning(surroundings: Surroundings) -> None:
    function = built(surroundings, "SlowApiFunction").with_variables({"LATENCY_MIN": "20", "LATENCY_MAX": "20"})
    result = invoke(replace(function, timeout=2), sample("slow_api"))
    assert result.payload["errorType"] == "Sandbox.Timedout"
    assert result.payload["errorMessage"].endswith("Task timed out after 2.00 seconds")
    assert '"status":"TIMEOUT"' in result.log
    assert 2 <= result.duration < 4


@pytest.mark.parametrize("name", ["notification", "delivery", "sales"])
def test_sample_messages_are_whole(name: str) -> None:
    for record in sample(name)["Records"]:
        assert record["md5OfBody"] == hashlib.md5(record["body"].encode()).hexdigest()
        if name == "notification":
            check("order", json.loads(record["body"]))
            _check_ingest_attributes(record["messageAttributes"])
        else:
            check("order.notified", json.loads(record["body"])["detail"])


def test_sample_events_tell_of_the_same_orders() -> None:
    assert sample("delivery-direct") == bodies("delivery")[0]
    assert bodies("sales") == bodies("delivery")
    orders = [event["detail"]["data"] for event in bodies("delivery")]
    assert bodies("notification") == orders
    assert json.loads(sample("slow_api")["body"]) == orders[0]


def test_the_command_shows_what_the_function_did(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["invoke", "notification"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("published order.notified:") == 2
    for order in bodies("notification"):
        assert order["order_id"] in shown
    assert "ms init" in shown


def test_the_command_fails_when_the_function_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["invoke", "notification", "--env", "HUB_BUS_NAME="]) == 1
    assert "SettingsError" in capsys.readouterr().out


def _check_ingest_attributes(attributes: Mapping[str, Mapping[str, Any]]) -> None:
    """What the SQS integration of the orders API sets (template.yaml, OrdersApi)."""
    kinds = {name: attribute["dataType"] for name, attribute in attributes.items()}
    assert kinds == {"correlation_id": "String", "api_key_id": "String", "received_at": "Number"}
