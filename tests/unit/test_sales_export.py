"""SalesExportFunction: each sale is one line of the export, however the stream's batches are cut and repeated."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.aws import REGION, AwsErrors
from tests.unit.lambda_functions import Context, call, load_function, returned
from tests.unit.output import Output
from tests.unit.stream_records import a_record, a_stream_event, an_image, an_item

type Read = Callable[[], Output]
BUCKET = "sales-export"
ENVIRONMENT = {"EXPORT_BUCKET_NAME": BUCKET, "EXPORT_PREFIX": "sales", "BATCH_SIZE": "50"}


@pytest.fixture
def bucket(aws: None) -> None:
    boto3.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})


@pytest.fixture
def sales_export(bucket: None) -> ModuleType:
    return load_function("sales_export", ENVIRONMENT)


def exported() -> dict[str, str]:
    """The content of every object, by key."""
    s3: Any = boto3.client("s3")
    keys = [found["Key"] for found in s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]
    return {key: s3.get_object(Bucket=BUCKET, Key=key)["Body"].read().decode() for key in keys}


def test_a_sale_is_one_line_in_the_partition_of_its_hour(sales_export: ModuleType, output: Read) -> None:
    assert call(sales_export, a_stream_event(an_image("ord-1"), an_image("ord-2"))) == {"batchItemFailures": []}
    objects = exported()
    hour = "sales/year=2026/month=11/day=21/hour=09"
    assert objects.keys() == {f"{hour}/order-ord-1.jsonl", f"{hour}/order-ord-2.jsonl"}
    assert objects[f"{hour}/order-ord-1.jsonl"] == (
        '{"order_id":"ord-1","received_at":"2026-11-21T09:14:02.481+00:00","placed_at":"2026-11-21T09:14:02.318Z",'
        '"currency":"EUR","total":59.9,"items":[{"sku":"WIDGET-BLUE-M","quantity":2,"unit_price":19.95},'
        '{"sku":"WIDGET-STAND","quantity":1,"unit_price":20}]}\n'
    )
    assert output().metric("SalesExported") == 2


def test_what_marketing_does_not_need_stays_in_the_table(sales_export: ModuleType) -> None:
    image = an_image(customer={"M": {"name": {"S": "Ada"}}}, note={"S": "ring twice"})
    call(sales_export, a_stream_event(image))
    [line] = exported().values()
    assert json.loads(line).keys() == {"order_id", "received_at", "placed_at", "currency", "total", "items"}


@pytest.mark.parametrize("total", ["0", "0.30000000000000004", "1000000000", "59.90"])
def test_money_is_exported_to_the_last_digit(total: str, sales_export: ModuleType) -> None:
    call(sales_export, a_stream_event(an_image(total={"N": total})))
    [line] = exported().values()
    assert json.loads(line)["total"] == float(total)
    assert repr(json.loads(line)["total"]) in (total, total.rstrip("0"))


@pytest.mark.parametrize("order_id", [".hidden", "_hidden", "..", "a" * 64, "-"])
def test_athena_reads_every_object(order_id: str, sales_export: ModuleType) -> None:
    call(sales_export, a_stream_event(an_image(order_id)))
    [key] = exported()
    assert key.rpartition("/")[2] == f"order-{order_id}.jsonl", "files that begin with . or _ are passed over"


POISON: dict[str, tuple[dict[str, Any] | None, str]] = {
    "total is text": (an_image(total={"S": "a lot"}), 'sale.total breaks the rule type: "number"'),
    "total is negative": (an_image(total={"N": "-1"}), "sale.total breaks the rule minimum: 0"),
    "no currency": (an_image(currency=None), "sale must contain currency"),
    "no items": (an_image(items={"L": []}), "sale.items breaks the rule minItems: 1"),
    "half an item": (an_image(items={"L": [{"M": {"sku": {"S": "W"}}}]}), "must contain quantity, unit_price"),
    "more in an item": (
        an_image(items={"L": [{"M": an_item(sku="W", quantity=1, unit_price=1, name="secret gift")}]}),
        "additionalProperties",
    ),
    "half a piece": (
        an_image(items={"L": [{"M": {"sku": {"S": "W"}, "quantity": {"N": "0.5"}, "unit_price": {"N": "1"}}}]}),
        "quantity breaks the rule type",
    ),
    "a key that leaves the folder": (an_image("../../x"), "sale.order_id breaks the rule pattern"),
    "no such day": (an_image(received_at={"S": "2026-02-31T09:14:02.481+00:00"}), "no date and time of the calendar"),
    "no time zone": (an_image(received_at={"S": "2026-11-21T09:14:02.481"}), "sale.received_at breaks the rule"),
    "no type of DynamoDB": (an_image(total={"X": "1"}), "sale.total is no attribute value"),
    "no number": (an_image(total={"N": "many"}), "sale.total is no attribute value"),
    "binary": (an_image(currency={"B": "RVVS"}), "sale.currency"),
    "a set": (an_image(currency={"SS": ["EUR"]}), "sale.currency breaks the rule type"),
    "no value": (an_image(currency={}), "sale.currency is no attribute value"),
    "no image": (None, "the record has no NewImage"),
}


@pytest.mark.parametrize("kind", POISON)
def test_a_poison_record_is_reported_with_its_reason_and_the_others_are_exported(
    kind: str, sales_export: ModuleType, output: Read
) -> None:
    poison, reason = POISON[kind]
    response = call(sales_export, a_stream_event(an_image("before"), poison, an_image("behind")))
    assert returned(response) == ["101"]
    assert [key.rpartition("-")[2] for key in exported()] == ["before.jsonl", "behind.jsonl"]
    written = output()
    [line] = [line for line in written.lines if line.get("status") == "FAILED"]
    assert reason in line["reason"]
    assert line["sequence_number"] == "101", "the message in the on-failure queue names the record by it"
    assert "secret gift" not in written.text


def test_a_poison_record_is_told_apart_by_its_order(sales_export: ModuleType, output: Read) -> None:
    call(sales_export, a_stream_event(an_image("ord-9", total={"S": "a lot"})))
    [line] = [line for line in output().lines if line.get("status") == "FAILED"]
    assert (line["order_id"], line["correlation_id"]) == ("ord-9", "correlation-of-ord-9")
    assert "a lot" not in json.dumps(line)


def test_what_s3_refuses_is_reported_and_exported_at_the_next_try(
    sales_export: ModuleType, aws_errors: AwsErrors
) -> None:
    event = a_stream_event(an_image("ord-1"), an_image("ord-2"))
    aws_errors.refuse("PutObject", "SlowDown", when=lambda parameters: "ord-2" in parameters["Key"])
    assert returned(call(sales_export, event)) == ["101"]
    assert len(exported()) == 1
    aws_errors.refuse("PutObject", times=0)
    assert call(sales_export, event) == {"batchItemFailures": []}
    assert len(exported()) == 2


def test_s3_out_of_reach_is_reported_for_every_record(sales_export: ModuleType, aws_errors: AwsErrors) -> None:
    def out_of_reach(_: Mapping[str, Any], __: Any) -> Any:
        raise EndpointConnectionError(endpoint_url="https://s3.eu-west-1.amazonaws.com")

    aws_errors.on("PutObject", out_of_reach)
    assert returned(call(sales_export, a_stream_event(an_image("ord-1"), an_image("ord-2")))) == ["100", "101"]


def test_what_s3_does_not_answer_in_time_is_reported_before_the_timeout(
    sales_export: ModuleType, aws_errors: AwsErrors
) -> None:
    released = threading.Event()

    def slow(parameters: Mapping[str, Any], proceed: Any) -> Any:
        if "ord-2" in parameters["Key"]:
            released.wait(10)
        return proceed(parameters)

    aws_errors.on("PutObject", slow)
    started = time.monotonic()
    response = call(sales_export, a_stream_event(an_image("ord-1"), an_image("ord-2")), Context(seconds=3.5))
    assert time.monotonic() - started < 3
    released.set()
    assert returned(response) == ["101"]


def test_an_event_of_something_else_fails_as_a_whole(sales_export: ModuleType) -> None:
    with pytest.raises(KeyError):
        call(sales_export, {"records": []})


# ------------------------------------------------------------------------- exactly once, however batches are cut


class Bucket:
    """A bucket in memory that refuses some keys, for one invocation."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.refused: set[str] = set()

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, ContentType: str) -> None:  # noqa: N803 - as in boto3
        if Key in self.refused:
            raise ConnectionError(Key)
        self.objects[Key] = Body

    def lines(self) -> list[str]:
        return [json.loads(line)["order_id"] for content in self.objects.values() for line in content.splitlines()]


class WorstMapping:
    """An event source mapping at its worst: answers are lost, batches are cut anywhere, and what failed is repeated."""

    def __init__(self, function: ModuleType, bucket: Bucket, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
        self.function, self.bucket, self.draw = function, bucket, draw
        self.discarded: list[dict[str, Any]] = []

    def read(self, records: list[dict[str, Any]]) -> None:
        """Hand out records in batches until each is exported or given up."""
        batches: list[tuple[list[dict[str, Any]], int]] = []
        while records:
            size = self.draw(st.integers(1, len(records)))
            batches.append((records[:size], 0))
            records = records[size:]
        while batches:
            batch, tries = batches.pop(0)
            failed = self._failed(batch)
            if failed is None:
                continue
            if tries == 3:
                self.discarded += batch[failed:]
                continue
            cut = self.draw(st.integers(0, len(batch) - 1))
            # From the checkpoint on, or from any record before it, as if the answer had not been read.
            rest = batch[self.draw(st.integers(0, failed)) :]
            batches[:0] = [(part, tries + 1) for part in (rest[:cut], rest[cut:]) if part]

    def _failed(self, batch: list[dict[str, Any]]) -> int | None:
        """Invoke; returns the index of the first record that failed, None when none did."""
        keys = [f"sales/year=2026/month=11/day=21/hour=09/order-{name(record)}.jsonl" for record in batch]
        self.bucket.refused = self.draw(st.sets(st.sampled_from(keys), max_size=2))
        response = call(self.function, {"Records": batch})
        if self.draw(st.booleans()):  # a crash or a timeout after the work was done
            return 0
        failed = set(returned(response))
        indices = [index for index, record in enumerate(batch) if record["dynamodb"]["SequenceNumber"] in failed]
        return min(indices, default=None)


def name(record: dict[str, Any]) -> str:
    return str(record["dynamodb"]["Keys"]["order_id"]["S"])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(poison=st.lists(st.booleans(), min_size=1, max_size=24), data=st.data())
def test_every_sale_is_exported_exactly_once_and_none_is_lost(
    sales_export: ModuleType, output: Read, poison: list[bool], data: st.DataObject
) -> None:
    bucket = Bucket()
    sales_export.S3 = bucket
    bad = an_item(total="a lot")
    records = [
        a_record(index, an_image(f"ord-{index}", **(bad if is_poison else {})))
        for index, is_poison in enumerate(poison)
    ]
    good = sorted(f"ord-{index}" for index, is_poison in enumerate(poison) if not is_poison)
    mapping = WorstMapping(sales_export, bucket, data.draw)

    mapping.read(records)
    assert len(bucket.lines()) == len(set(bucket.lines())), "no sale stands in two lines"
    discarded = {name(record) for record in mapping.discarded}
    assert set(good) <= set(bucket.lines()) | discarded, "a sale is exported, or it is in the on-failure queue"

    bucket.refused = set()
    call(sales_export, {"Records": mapping.discarded})  # people replay what was given up
    assert sorted(bucket.lines()) == good
