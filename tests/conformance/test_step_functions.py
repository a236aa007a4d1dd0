"""How Step Functions runs a state machine in JSONata, and what services answer to its tasks."""

from __future__ import annotations

import json
import time
from typing import Any
from uuid import uuid4

import pytest

from tests.conformance.conftest import ROLE, Account

State = dict[str, Any]
INTEGRATION = "arn:aws:states:::"


class Execution:
    """An execution that was started."""

    def __init__(self, account: Account, machine: str, given: Any = None, **more: Any) -> None:
        self.account = account
        self.client = account.client("stepfunctions")
        self.arn = self.client.start_execution(stateMachineArn=machine, input=json.dumps(given or {}), **more)[
            "executionArn"
        ]

    @property
    def described(self) -> dict[str, Any]:
        answer: dict[str, Any] = self.client.describe_execution(executionArn=self.arn)
        return answer

    def wait(self) -> dict[str, Any]:
        """Wait for the end; returns the description."""
        self.account.eventually(lambda: self.described["status"] != "RUNNING")
        return self.described

    def output(self) -> Any:
        described = self.wait()
        assert described["status"] == "SUCCEEDED", described
        return json.loads(described["output"])

    def error(self) -> str:
        described = self.wait()
        assert described["status"] == "FAILED", described
        return str(described["error"])

    def events(self) -> list[str]:
        pages = self.client.get_paginator("get_execution_history").paginate(executionArn=self.arn)
        return [event["type"] for page in pages for event in page["events"]]


def run(account: Account, states: dict[str, State], given: Any = None, **settings: Any) -> Execution:
    return Execution(account, account.state_machine(states, **settings), given)


def call(account: Account, integration: str, arguments: Any) -> Execution:
    """Run one task that catches nothing."""
    task = {"Type": "Task", "Resource": INTEGRATION + integration, "Arguments": arguments, "End": True}
    return run(account, {"Task": task})


def test_variables_expressions_and_the_context(relied_upon: Account) -> None:
    """Step Functions developer guide, "Transforming data with JSONata", "Context object"."""
    states = {
        "First": {
            "Type": "Pass",
            "Assign": {"waits": "{% 2 * $power(2, $states.input.round) %}", "below": "{% $random() < 1 %}"},
            "Output": {"context": "{% $states.context.Execution %}", "now": "{% $millis() %}"},
            "Next": "Choice",
        },
        "Choice": {
            "Type": "Choice",
            "Choices": [{"Condition": "{% $waits = 8 and $below %}", "Next": "Wait"}],
            "Default": "Wrong",
        },
        "Wait": {"Type": "Wait", "Seconds": "{% $waits - 7 %}", "Next": "Last"},
        "Last": {"Type": "Pass", "Output": {"before": "{% $states.input %}", "waits": "{% $waits %}"}, "End": True},
        "Wrong": {"Type": "Fail"},
    }
    started = time.time()
    execution = run(relied_upon, states, {"round": 2})
    output = execution.output()
    context = output["before"]["context"]
    assert (context["Id"], context["Input"]) == (execution.arn, {"round": 2})
    assert execution.arn.endswith(f":{context['Name']}")
    assert context["StartTime"].endswith("Z")
    assert abs(output["before"]["now"] / 1000 - started) < 5
    assert time.time() - started >= 1
    assert execution.events()[-3:] == ["PassStateEntered", "PassStateExited", "ExecutionSucceeded"]


def test_output_of_succeed_and_of_the_default_of_choice(account: Account) -> None:
    """Step Functions developer guide, "Choice workflow state", "Succeed workflow state"."""
    choice = {"Type": "Choice", "Choices": [{"Condition": "{% false %}", "Next": "End"}], "Default": "End"}
    states = {
        "Choice": choice | {"Output": {"by": "default"}, "Assign": {"assigned": 1}},
        "End": {"Type": "Succeed", "Output": "{% $merge([$states.input, {'assigned': $assigned}]) %}"},
    }
    assert run(account, states).output() == {"by": "default", "assigned": 1}


def test_parallel_branches_get_arguments_and_give_results(account: Account) -> None:
    """Step Functions developer guide, "Parallel workflow state"."""
    branch = {"StartAt": "B", "States": {"B": {"Type": "Pass", "Output": "{% $states.input.n * 2 %}", "End": True}}}
    parallel = {"Type": "Parallel", "Arguments": {"n": "{% $states.input.number %}"}, "Branches": [branch, branch]}
    states = {
        "Both": parallel | {"Output": "{% $sum($states.result) %}", "Assign": {"first": "{% $states.result[0] %}"}},
        "End": {"Type": "Pass", "Output": ["{% $states.input %}", "{% $first %}"], "End": True},
    }
    states["Both"]["Next"] = "End"
    assert run(account, states, {"number": 3}).output() == [12, 6]


def test_a_handlers_error_is_retried_and_caught_by_its_type(relied_upon: Account) -> None:
    """Step Functions developer guide, "Handling errors in Step Functions workflows"."""
    function = relied_upon.function(
        """
        class CourierDown(Exception):
            pass

        def handler(event, context):
            raise CourierDown("503")
        """
    )
    task = {
        "Type": "Task",
        "Resource": f"{INTEGRATION}lambda:invoke",
        "Arguments": {"FunctionName": function, "Payload": {}},
        "TimeoutSeconds": 5,
        "Retry": [{"ErrorEquals": ["CourierDown"], "MaxAttempts": 2, "IntervalSeconds": 1, "BackoffRate": 1}],
        "Catch": [{"ErrorEquals": ["CourierDown"], "Next": "End", "Assign": {"cause": "{% $states.errorOutput %}"}}],
        "End": True,
    }
    execution = run(relied_upon, {"Task": task, "End": {"Type": "Pass", "Output": "{% $cause %}", "End": True}})
    error = execution.output()
    assert (error["Error"], json.loads(error["Cause"])["errorMessage"]) == ("CourierDown", "503")
    assert relied_upon.starts(function) == 3
    assert execution.events().count("TaskFailed") == 3


def slow_task(account: Account, seconds: float) -> State:
    function = account.function("import time\ndef handler(event, context): time.sleep(event['seconds'])", Timeout=20)
    arguments = {"FunctionName": function, "Payload": {"seconds": seconds}}
    return {"Type": "Task", "Resource": f"{INTEGRATION}lambda:invoke", "Arguments": arguments, "End": True}


def test_a_task_times_out(relied_upon: Account) -> None:
    """Step Functions developer guide, "Task workflow state": TimeoutSeconds ends in States.Timeout."""
    task = slow_task(relied_upon, 5) | {"TimeoutSeconds": 1}
    assert run(relied_upon, {"Task": task}).error() == "States.Timeout"


def test_a_timeout_may_be_an_expression(account: Account) -> None:
    """Step Functions developer guide, "Task workflow state"."""
    task = slow_task(account, 5) | {"TimeoutSeconds": "{% $states.input.limit %}"}
    assert run(account, {"Task": task}, {"limit": 1}).error() == "States.Timeout"


def test_waits_between_attempts_are_capped_and_jittered(account: Account) -> None:
    """Step Functions developer guide, "Retrying after an error": MaxDelaySeconds and JitterStrategy."""
    retrier = {"ErrorEquals": ["States.ALL"], "IntervalSeconds": 30, "MaxAttempts": 3, "MaxDelaySeconds": 1}
    task = {
        "Type": "Task",
        "Resource": f"{INTEGRATION}aws-sdk:sqs:getQueueAttributes",
        "Arguments": {"QueueUrl": f"{account.emulator.endpoint}/000000000000/no-such-queue"},
        "Retry": [retrier | {"JitterStrategy": "FULL"}],
        "End": True,
    }
    started = time.monotonic()
    execution = run(account, {"Task": task})
    assert execution.error() == "Sqs.QueueDoesNotExistException"
    assert execution.events().count("TaskFailed") == 4
    assert time.monotonic() - started < 5


def test_states_all_leaves_runtime_errors_alone(account: Account) -> None:
    """Step Functions developer guide, "Error names": States.ALL does not catch States.Runtime."""
    task = {
        "Type": "Task",
        "Resource": f"{INTEGRATION}aws-sdk:sqs:noSuchAction",
        "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "End"}],
        "End": True,
    }
    assert run(account, {"Task": task, "End": {"Type": "Succeed"}}).error() == "States.Runtime"


def test_a_stopped_execution_does_nothing_more(account: Account) -> None:
    """Step Functions API reference, "StopExecution"."""
    failing = {
        "Type": "Task",
        "Resource": f"{INTEGRATION}lambda:invoke",
        "Arguments": {"FunctionName": account.function("def handler(event, context): raise ValueError()")},
        "Retry": [{"ErrorEquals": ["ValueError"], "IntervalSeconds": 1, "BackoffRate": 1, "MaxAttempts": 3}],
        "End": True,
    }
    execution = run(account, {"Task": failing})
    account.eventually(lambda: "TaskFailed" in execution.events())
    execution.client.stop_execution(executionArn=execution.arn, error="Operator", cause="by hand")
    attempts = execution.events().count("TaskScheduled")
    time.sleep(4)
    assert execution.described["status"] == "ABORTED"
    assert execution.events()[-1] == "ExecutionAborted"
    assert execution.events().count("TaskScheduled") == attempts


def test_a_state_machine_times_out(account: Account) -> None:
    """Step Functions developer guide, "State machine structure": TimeoutSeconds of the whole."""
    execution = run(account, {"Wait": {"Type": "Wait", "Seconds": 30, "End": True}}, TimeoutSeconds=1)
    assert execution.wait()["status"] == "TIMED_OUT"
    assert execution.events()[-1] == "ExecutionTimedOut"


def test_a_start_with_the_same_name_and_input_answers_as_the_first(account: Account) -> None:
    """Step Functions API reference, "StartExecution": idempotent while the execution runs."""
    machine = account.state_machine({"Wait": {"Type": "Wait", "Seconds": 30, "End": True}})
    first = Execution(account, machine, {"n": 1}, name="only")
    second = Execution(account, machine, {"n": 1}, name="only")
    assert first.arn == second.arn
    with pytest.raises(account.client("stepfunctions").exceptions.ClientError, match="ExecutionAlreadyExists"):
        Execution(account, machine, {"n": 2}, name="only")
    first.client.stop_execution(executionArn=first.arn)


def test_a_mapping_is_disabled_and_waited_for(account: Account) -> None:
    """Step Functions developer guide, "AWS SDK service integrations": event source mappings of Lambda."""
    _, arn = account.queue()
    client = account.client("lambda")
    function = account.function("def handler(event, context): pass")
    uuid = client.create_event_source_mapping(FunctionName=function, EventSourceArn=arn)["UUID"]
    account.cleanups.append(lambda: client.delete_event_source_mapping(UUID=uuid))
    update = {
        "Type": "Task",
        "Resource": f"{INTEGRATION}aws-sdk:lambda:updateEventSourceMapping",
        "Retry": [{"ErrorEquals": ["Lambda.ResourceInUseException"], "IntervalSeconds": 1, "BackoffRate": 1}],
    }
    get = {"Type": "Task", "Resource": f"{INTEGRATION}aws-sdk:lambda:getEventSourceMapping"}
    states = {
        "Disable": update | {"Arguments": {"Uuid": uuid, "Enabled": False}, "Next": "Look"},
        "Look": get | {"Arguments": {"Uuid": uuid}, "Next": "Disabled?"},
        "Disabled?": {
            "Type": "Choice",
            "Choices": [{"Condition": "{% $states.input.State = 'Disabled' %}", "Next": "Limit"}],
            "Default": "Wait",
        },
        "Wait": {"Type": "Wait", "Seconds": 1, "Next": "Look"},
        "Limit": update | {"Arguments": {"Uuid": uuid, "ScalingConfig": {"MaximumConcurrency": 2}}, "Next": "Again"},
        "Again": update | {"Arguments": {"Uuid": uuid, "Enabled": True}, "End": True},
    }
    execution = run(account, states)
    output = execution.output()
    assert (output["Uuid"], output["State"]) == (uuid, "Enabling")
    assert output["ScalingConfig"] == {"MaximumConcurrency": 2}
    assert execution.events().count("TaskFailed") >= 1
    concurrency = {"FunctionName": function, "ReservedConcurrentExecutions": 5}
    assert call(account, "aws-sdk:lambda:putFunctionConcurrency", concurrency).output() == {
        "ReservedConcurrentExecutions": 5
    }


def test_a_message_is_received_handed_back_and_deleted(account: Account) -> None:
    """Step Functions developer guide, "AWS SDK service integrations": results are named as in the SDK for Java."""
    url, _ = account.queue()
    receive = {"QueueUrl": url, "MaxNumberOfMessages": 1, "MessageSystemAttributeNames": ["All"]}
    assert call(account, "aws-sdk:sqs:receiveMessage", receive).output() == {}
    sent = call(account, "aws-sdk:sqs:sendMessage", {"QueueUrl": url, "MessageBody": "order"}).output()
    [message] = call(account, "aws-sdk:sqs:receiveMessage", receive).output()["Messages"]
    assert (message["MessageId"], message["Body"]) == (sent["MessageId"], "order")
    assert message["Attributes"]["ApproximateReceiveCount"] == "1"
    handle = {"QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"]}
    call(account, "aws-sdk:sqs:changeMessageVisibility", handle | {"VisibilityTimeout": "{% 4 / 2 - 2 %}"}).output()
    [message] = call(account, "aws-sdk:sqs:receiveMessage", receive).output()["Messages"]
    assert message["Attributes"]["ApproximateReceiveCount"] == "2"
    handle = {"QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"]}
    call(account, "aws-sdk:sqs:deleteMessage", handle).output()
    attributes = call(account, "aws-sdk:sqs:getQueueAttributes", {"QueueUrl": url, "AttributeNames": ["All"]})
    assert attributes.output()["Attributes"]["ApproximateNumberOfMessagesNotVisible"] == "0"


def table(account: Account) -> str:
    client = account.client("dynamodb")
    name = f"table-{time.monotonic_ns()}"
    client.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    account.cleanups.append(lambda: client.delete_table(TableName=name))
    return name


@pytest.mark.parametrize(("integration", "prefix"), [("aws-sdk:dynamodb", "DynamoDb"), ("dynamodb", "DynamoDB")])
def test_a_conditional_write_fails_by_name(relied_upon: Account, integration: str, prefix: str) -> None:
    """Step Functions developer guide, "AWS SDK service integrations", "Call DynamoDB APIs with Step Functions"."""
    name = table(relied_upon)
    change = {
        "TableName": name,
        "Key": {"pk": {"S": "circuit"}},
        "UpdateExpression": "SET version = :next",
        "ConditionExpression": "attribute_not_exists(version)",
        "ExpressionAttributeValues": {":next": {"N": "1"}},
        "ReturnValues": "ALL_NEW",
    }
    written = call(relied_upon, f"{integration}:updateItem", change).output()
    assert written["Attributes"] == {"pk": {"S": "circuit"}, "version": {"N": "1"}}
    failure = call(relied_upon, f"{integration}:updateItem", change).error()
    assert failure == f"{prefix}.ConditionalCheckFailedException"
    read = {"TableName": name, "Key": {"pk": {"S": "circuit"}}, "ConsistentRead": True}
    assert call(relied_upon, f"{integration}:getItem", read).output()["Item"]["version"] == {"N": "1"}
    item = {"TableName": name, "Item": {"pk": {"S": "x"}}, "ConditionExpression": "attribute_exists(pk)"}
    assert call(relied_upon, f"{integration}:putItem", item).error() == failure


def test_an_event_and_a_message_are_sent(relied_upon: Account) -> None:
    """Step Functions developer guide, "Add EventBridge events with Step Functions", "Call Amazon SNS"."""
    url, arn = relied_upon.queue()
    events, sns = relied_upon.client("events"), relied_upon.client("sns")
    events.put_rule(Name="circuit", EventPattern='{"source": ["widgets.circuit"]}')
    events.put_targets(Rule="circuit", Targets=[{"Id": "inbox", "Arn": arn}])
    relied_upon.cleanups.append(lambda: events.delete_rule(Name="circuit"))
    relied_upon.cleanups.append(lambda: events.remove_targets(Rule="circuit", Ids=["inbox"]))
    topic = sns.create_topic(Name="circuit")["TopicArn"]
    relied_upon.cleanups.append(lambda: sns.delete_topic(TopicArn=topic))
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes={"RawMessageDelivery": "true"})
    entry = {"Source": "widgets.circuit", "DetailType": "circuit.opened", "Detail": {"version": 1}}
    assert call(relied_upon, "events:putEvents", {"Entries": [entry]}).output()["FailedEntryCount"] == 0
    assert json.loads(relied_upon.receive(url)["Body"])["detail"] == {"version": 1}
    call(relied_upon, "sns:publish", {"TopicArn": topic, "Message": "opened"}).output()
    assert relied_upon.receive(url)["Body"] == "opened"


def test_metrics_and_alarms_from_a_state_machine(account: Account) -> None:
    """Step Functions developer guide, "AWS SDK service integrations": CloudWatch."""
    cloudwatch = account.client("cloudwatch")
    datum = {"MetricName": "Transitions", "Value": "{% 1 + 1 %}", "Unit": "Count"}
    call(account, "aws-sdk:cloudwatch:putMetricData", {"Namespace": "Circuit", "MetricData": [datum]}).output()
    cloudwatch.put_metric_alarm(
        AlarmName="transitions",
        Namespace="Circuit",
        MetricName="Transitions",
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=2,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
    )
    account.cleanups.append(lambda: cloudwatch.delete_alarms(AlarmNames=["transitions"]))
    cloudwatch.put_composite_alarm(AlarmName="circuit", AlarmRule='ALARM("transitions")')
    account.cleanups.append(lambda: cloudwatch.delete_alarms(AlarmNames=["circuit"]))
    arguments = {"AlarmNames": ["circuit"], "AlarmTypes": ["CompositeAlarm"]}
    [alarm] = call(account, "aws-sdk:cloudwatch:describeAlarms", arguments).output()["CompositeAlarms"]
    assert alarm["StateValue"] == "ALARM"
    assert alarm["StateUpdatedTimestamp"].endswith("Z")


def test_executions_are_started_listed_and_stopped(account: Account) -> None:
    """Step Functions developer guide, "AWS SDK service integrations": Sfn errors carry the suffix."""
    machine = account.state_machine({"Wait": {"Type": "Wait", "Seconds": 30, "End": True}})
    start = {"StateMachineArn": machine, "Input": "{}", "Name": "one"}
    arn = call(account, "aws-sdk:sfn:startExecution", start).output()["ExecutionArn"]
    running = {"StateMachineArn": machine, "StatusFilter": "RUNNING"}
    [listed] = call(account, "aws-sdk:sfn:listExecutions", running).output()["Executions"]
    assert listed["ExecutionArn"] == arn
    stop = {"ExecutionArn": arn, "Error": "Watchdog", "Cause": "circuit is closed"}
    call(account, "aws-sdk:sfn:stopExecution", stop).output()
    assert call(account, "aws-sdk:sfn:describeExecution", {"ExecutionArn": arn}).output()["Status"] == "ABORTED"
    again = call(account, "aws-sdk:sfn:startExecution", start)
    assert again.error() == "Sfn.ExecutionAlreadyExistsException"


def test_service_errors_are_named_as_in_the_sdk(account: Account) -> None:
    """Step Functions developer guide, "AWS SDK service integrations", "Error names"."""
    nowhere = f"{account.emulator.endpoint}/000000000000/no-such-queue"
    function = account.function("def handler(event, context): pass")
    account.client("lambda").put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=0)
    expected = {
        ("aws-sdk:sqs:receiveMessage", "QueueUrl", nowhere): "Sqs.QueueDoesNotExistException",
        ("aws-sdk:lambda:getEventSourceMapping", "Uuid", str(uuid4())): "Lambda.ResourceNotFoundException",
        ("lambda:invoke", "FunctionName", function): "Lambda.TooManyRequestsException",
    }
    for (integration, name, value), error in expected.items():
        assert call(account, integration, {name: value}).error() == error


DEFINITION = """
QueryLanguage: JSONata
StartAt: Note
States:
  Note:
    Type: Task
    Resource: arn:aws:states:::sqs:sendMessage
    Arguments:
      QueueUrl: ${Queue}
      MessageBody: "{% {'alarm': $states.input.alarm, 'enabled': ${Enabled}, 'limit': ${Limit}} %}"
    Retry:
      - ErrorEquals: [States.ALL]
        MaxAttempts: ${Attempts}
    End: true
"""


def test_a_definition_in_yaml_is_started_by_an_alarm(account: Account) -> None:
    """CloudFormation template reference, "AWS::StepFunctions::StateMachine"; SAM, "AWS::Serverless::StateMachine"."""
    s3, cloudwatch = account.client("s3"), account.client("cloudwatch")
    s3.create_bucket(Bucket="definitions", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    account.cleanups.append(lambda: s3.delete_bucket(Bucket="definitions"))
    s3.put_object(Bucket="definitions", Key="machine.asl.yaml", Body=DEFINITION.encode())
    account.cleanups.append(lambda: s3.delete_object(Bucket="definitions", Key="machine.asl.yaml"))
    resources = {
        "Queue": {"Type": "AWS::SQS::Queue"},
        "Alarm": {
            "Type": "AWS::CloudWatch::Alarm",
            "Properties": {
                "Namespace": "Test",
                "MetricName": "Breaker",
                "Statistic": "Sum",
                "Period": 10,
                "EvaluationPeriods": 1,
                "Threshold": 1,
                "ComparisonOperator": "GreaterThanOrEqualToThreshold",
                "TreatMissingData": "ignore",
            },
        },
        "Machine": {
            "Type": "AWS::Serverless::StateMachine",
            "Properties": {
                "DefinitionUri": {"Bucket": "definitions", "Key": "machine.asl.yaml"},
                "DefinitionSubstitutions": {
                    "Queue": {"Ref": "Queue"},
                    "Attempts": {"Ref": "Attempts"},
                    "Enabled": True,
                    "Limit": 10,
                },
                "Role": ROLE,
                "Logging": {"Level": "ERROR", "IncludeExecutionData": True},
                "Tracing": {"Enabled": True},
            },
        },
        "Rule": {
            "Type": "AWS::Events::Rule",
            "Properties": {
                "EventPattern": {
                    "source": ["aws.cloudwatch"],
                    "detail-type": ["CloudWatch Alarm State Change"],
                    "detail": {"alarmName": [{"Ref": "Alarm"}], "state": {"value": ["ALARM"]}},
                },
                "Targets": [
                    {
                        "Id": "machine",
                        "Arn": {"Ref": "Machine"},
                        "RoleArn": ROLE,
                        "InputTransformer": {
                            "InputPathsMap": {"name": "$.detail.alarmName"},
                            "InputTemplate": '{"alarm": <name>}',
                        },
                    }
                ],
            },
        },
    }
    outputs = account.stack(
        resources,
        {name: {"Ref": name} for name in ("Queue", "Alarm", "Machine")},
        Transform="AWS::Serverless-2016-10-31",
        Parameters={"Attempts": {"Type": "Number", "Default": 2}},
    )
    described = account.client("stepfunctions").describe_state_machine(stateMachineArn=outputs["Machine"])
    definition = json.loads(described["definition"])
    assert definition["States"]["Note"]["Retry"][0]["MaxAttempts"] == 2
    cloudwatch.set_alarm_state(AlarmName=outputs["Alarm"], StateValue="ALARM", StateReason="test")
    body = json.loads(account.receive(outputs["Queue"])["Body"])
    assert body == {"alarm": outputs["Alarm"], "enabled": True, "limit": 10}
