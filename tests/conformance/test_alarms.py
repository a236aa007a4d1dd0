"""When an alarm fires, and on what."""

from __future__ import annotations

import json
import time
from typing import Any

from tests.conformance.conftest import Account


def watch(account: Account, name: str, queue_arn: str, **settings: Any) -> None:
    """Make an alarm on the visible messages of a queue."""
    cloudwatch = account.client("cloudwatch")
    cloudwatch.put_metric_alarm(
        AlarmName=name,
        Namespace="AWS/SQS",
        MetricName="ApproximateNumberOfMessagesVisible",
        Dimensions=[{"Name": "QueueName", "Value": queue_arn.rsplit(":", 1)[1]}],
        Statistic="Maximum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
        TreatMissingData="notBreaching",
        **settings,
    )
    account.cleanups.append(lambda: cloudwatch.delete_alarms(AlarmNames=[name]))


def state(account: Account, name: str) -> str:
    found = account.client("cloudwatch").describe_alarms(AlarmNames=[name])
    return str(found["MetricAlarms"][0]["StateValue"])


def test_a_dead_letter_fires_its_alarm_and_people_are_told(account: Account) -> None:
    """SQS developer guide, "Creating alarms for dead-letter queues using Amazon CloudWatch"."""
    letters, letters_arn = account.queue()
    inbox, inbox_arn = account.queue()
    sns = account.client("sns")
    topic = sns.create_topic(Name="people")["TopicArn"]
    account.cleanups.append(lambda: sns.delete_topic(TopicArn=topic))
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=inbox_arn)
    watch(account, "dead-letters", letters_arn, AlarmActions=[topic])

    account.client("sqs").send_message(QueueUrl=letters, MessageBody="dead")
    notification = json.loads(json.loads(account.receive(inbox)["Body"])["Message"])
    assert notification["AlarmName"] == "dead-letters"
    assert notification["NewStateValue"] == "ALARM"
    assert state(account, "dead-letters") == "ALARM"


def test_an_alarm_looks_at_its_own_queue_only(account: Account) -> None:
    """CloudWatch user guide, "Metrics concepts": each set of dimensions is a metric of its own."""
    busy, busy_arn = account.queue()
    _, quiet_arn = account.queue()
    watch(account, "busy", busy_arn)
    watch(account, "quiet", quiet_arn)
    account.client("sqs").send_message(QueueUrl=busy, MessageBody="x")
    account.eventually(lambda: state(account, "busy") == "ALARM")
    assert state(account, "quiet") == "OK"


def test_missing_data_counts_as_the_alarm_says(account: Account) -> None:
    """CloudWatch user guide, "Configuring how CloudWatch alarms treat missing data"."""
    nothing = "arn:aws:sqs:eu-west-1:000000000000:no-such-queue"
    cloudwatch = account.client("cloudwatch")
    watch(account, "not-breaching", nothing)
    common = {
        "Namespace": "Test",
        "MetricName": "Nothing",
        "Statistic": "Sum",
        "Period": 60,
        "EvaluationPeriods": 1,
        "Threshold": 1,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
    }
    for treatment in ("breaching", "missing"):
        cloudwatch.put_metric_alarm(AlarmName=treatment, TreatMissingData=treatment, **common)
    account.cleanups.append(lambda: cloudwatch.delete_alarms(AlarmNames=["breaching", "missing"]))
    account.eventually(lambda: state(account, "not-breaching") == "OK")
    account.eventually(lambda: state(account, "breaching") == "ALARM")
    assert state(account, "missing") == "INSUFFICIENT_DATA"


def test_an_alarm_waits_for_as_many_datapoints_as_it_says(account: Account) -> None:
    """CloudWatch user guide, "Alarm evaluation": M out of N datapoints."""
    cloudwatch = account.client("cloudwatch")
    cloudwatch.put_metric_alarm(
        AlarmName="two-of-three",
        Namespace="Test",
        MetricName="Failures",
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=3,
        DatapointsToAlarm=2,
        Threshold=1,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
        TreatMissingData="notBreaching",
    )
    account.cleanups.append(lambda: cloudwatch.delete_alarms(AlarmNames=["two-of-three"]))

    def fail(minutes_ago: float) -> None:
        datum = {"MetricName": "Failures", "Value": 5, "Timestamp": time.time() - 60 * minutes_ago}
        cloudwatch.put_metric_data(Namespace="Test", MetricData=[datum])

    fail(0.5)
    account.eventually(lambda: state(account, "two-of-three") == "OK")
    fail(1.5)
    account.eventually(lambda: state(account, "two-of-three") == "ALARM")


def test_a_change_of_state_is_an_event_for_metric_and_composite_alarms(account: Account) -> None:
    """CloudWatch user guide, "Alarm events and EventBridge"."""
    inbox, inbox_arn = account.queue()
    cloudwatch, events = account.client("cloudwatch"), account.client("events")
    pattern = {"source": ["aws.cloudwatch"], "detail-type": ["CloudWatch Alarm State Change"]}
    pattern |= {"detail": {"alarmName": ["rate", "rate-and-volume"], "state": {"value": ["ALARM"]}}}
    events.put_rule(Name="alarms", EventPattern=json.dumps(pattern))
    events.put_targets(Rule="alarms", Targets=[{"Id": "inbox", "Arn": inbox_arn}])
    account.cleanups.append(lambda: events.delete_rule(Name="alarms"))
    account.cleanups.append(lambda: events.remove_targets(Rule="alarms", Ids=["inbox"]))
    metric = {"Namespace": "Test", "MetricName": "Calls", "Dimensions": [{"Name": "service", "Value": "courier"}]}
    common = {"Period": 10, "EvaluationPeriods": 3, "DatapointsToAlarm": 1, "TreatMissingData": "notBreaching"}
    over = {"ComparisonOperator": "GreaterThanOrEqualToThreshold"}
    cloudwatch.put_metric_alarm(AlarmName="rate", Statistic="Average", Threshold=0.5, **metric, **common, **over)
    cloudwatch.put_metric_alarm(AlarmName="volume", Statistic="SampleCount", Threshold=2, **metric, **common, **over)
    rule = 'ALARM("rate") AND ALARM("volume")'
    cloudwatch.put_composite_alarm(AlarmName="rate-and-volume", AlarmRule=rule, AlarmDescription="both")
    account.cleanups.append(lambda: cloudwatch.delete_alarms(AlarmNames=["rate", "volume"]))
    account.cleanups.append(lambda: cloudwatch.delete_alarms(AlarmNames=["rate-and-volume"]))
    account.eventually(lambda: state(account, "rate") == state(account, "volume") == "OK")

    def call(*values: float) -> None:
        datum = {"MetricName": "Calls", "Dimensions": metric["Dimensions"], "Values": list(values)}
        cloudwatch.put_metric_data(Namespace="Test", MetricData=[datum | {"StorageResolution": 1}])

    call(1)
    event = json.loads(account.receive(inbox)["Body"])
    assert (event["detail"]["alarmName"], event["region"]) == ("rate", "eu-west-1")
    assert event["resources"] == ["arn:aws:cloudwatch:eu-west-1:000000000000:alarm:rate"]
    assert event["detail"]["previousState"]["value"] == "OK"
    assert event["detail"]["state"]["reason"].startswith("Threshold Crossed")
    [watched] = event["detail"]["configuration"]["metrics"]
    assert watched["metricStat"]["metric"]["dimensions"] == {"service": "courier"}
    assert (watched["metricStat"]["period"], watched["metricStat"]["stat"]) == (10, "Average")

    call(1, 0)
    event = json.loads(account.receive(inbox)["Body"])
    assert event["detail"]["alarmName"] == "rate-and-volume"
    assert event["detail"]["configuration"] == {"description": "both", "alarmRule": rule}
    assert event["detail"]["previousState"]["value"] == "OK"
    triggering = json.loads(event["detail"]["state"]["reasonData"])["triggeringAlarms"]
    assert {alarm["arn"].rsplit(":", 1)[1]: alarm["state"]["value"] for alarm in triggering} == {
        "rate": "ALARM",
        "volume": "ALARM",
    }


def test_an_alarm_on_arithmetic_looks_at_all_its_metrics(account: Account) -> None:
    """CloudWatch user guide, "Using metric math": of two metrics, and only in periods in which both have data."""

    def metric(name: str, **more: Any) -> dict[str, Any]:
        stat = {"Metric": {"Namespace": "Test", "MetricName": name}, "Period": 60, "Stat": "Sum"}
        return {"Id": name.lower(), "MetricStat": stat, "ReturnData": False}

    def alarm(expression: str, threshold: int) -> dict[str, Any]:
        properties = {
            "Metrics": [{"Id": "share", "Expression": expression}, metric("Errors"), metric("Calls")],
            "EvaluationPeriods": 1,
            "Threshold": threshold,
            "ComparisonOperator": "GreaterThanOrEqualToThreshold",
            "TreatMissingData": "notBreaching",
        }
        return {"Type": "AWS::CloudWatch::Alarm", "Properties": properties}

    outputs = account.stack(
        {
            "Share": alarm("100 * errors / calls", 50),
            "High": alarm("100 * errors / (calls + 1)", 50),
            "Quota": alarm("100 * errors / SERVICE_QUOTA(calls)", 1),
        },
        {name: {"Ref": name} for name in ("Share", "High", "Quota")},
    )
    cloudwatch = account.client("cloudwatch")

    def measure(**values: float) -> None:
        data = [{"MetricName": name, "Value": value} for name, value in values.items()]
        cloudwatch.put_metric_data(Namespace="Test", MetricData=data)

    def states() -> list[str]:
        return [state(account, outputs[name]) for name in ("Share", "High", "Quota")]

    measure(Errors=5)
    account.eventually(lambda: states() == ["OK", "OK", "OK"])
    measure(Calls=10)
    account.eventually(lambda: states() == ["ALARM", "OK", "OK"])
    measure(Errors=5)
    account.eventually(lambda: states() == ["ALARM", "ALARM", "ALARM"])
