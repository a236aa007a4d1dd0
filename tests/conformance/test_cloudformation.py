"""What CloudFormation accepts and resolves."""

from __future__ import annotations

import json

import pytest

from local.gaps.inert_resource_types import INERT_TYPES
from tests.conformance.conftest import Account

ROLE_DOCUMENT = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
POLICY_DOCUMENT = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "arn:aws:sqs:eu-west-1:000000000000:q"}],
}


@pytest.mark.parametrize("kind", INERT_TYPES)
def test_a_type_without_a_local_use_is_accepted(account: Account, kind: str) -> None:
    """Each is in the CloudFormation template reference, "AWS resource and property types reference"."""
    outputs = account.stack(
        {"Resource": {"Type": kind, "Properties": {"Description": "x"}}}, {"Id": {"Ref": "Resource"}}
    )
    assert outputs["Id"]


def test_an_archive_of_a_bus_keeps_its_events(account: Account) -> None:
    """CloudFormation template reference, "AWS::Events::Archive"."""
    outputs = account.stack(
        {
            "Bus": {"Type": "AWS::Events::EventBus", "Properties": {"Name": "archived"}},
            "Archive": {
                "Type": "AWS::Events::Archive",
                "Properties": {"SourceArn": {"Fn::GetAtt": ["Bus", "Arn"]}, "RetentionDays": "3"},
            },
        },
        {"Name": {"Ref": "Archive"}, "Arn": {"Fn::GetAtt": ["Archive", "Arn"]}},
    )
    events = account.client("events")
    entry = {"EventBusName": "archived", "Source": "test", "DetailType": "test", "Detail": "{}"}
    assert events.put_events(Entries=[entry])["FailedEntryCount"] == 0
    archive = events.describe_archive(ArchiveName=outputs["Name"])
    assert outputs["Arn"] == archive["ArchiveArn"]
    assert (archive["EventCount"], archive["RetentionDays"]) == (1, 3)


def test_a_composite_alarm_follows_its_children(account: Account) -> None:
    """CloudFormation template reference, "AWS::CloudWatch::CompositeAlarm"."""
    alarm = {
        "Namespace": "Test",
        "MetricName": "Failures",
        "Statistic": "Sum",
        "Period": 60,
        "EvaluationPeriods": 1,
        "Threshold": 1,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        "TreatMissingData": "ignore",
    }
    outputs = account.stack(
        {
            "Child": {"Type": "AWS::CloudWatch::Alarm", "Properties": alarm},
            "Parent": {
                "Type": "AWS::CloudWatch::CompositeAlarm",
                "Properties": {"AlarmRule": {"Fn::Sub": "ALARM(${Child})"}},
            },
        },
        {"Child": {"Ref": "Child"}, "Parent": {"Ref": "Parent"}},
    )
    cloudwatch = account.client("cloudwatch")
    cloudwatch.set_alarm_state(AlarmName=outputs["Child"], StateValue="ALARM", StateReason="test")

    def parent_state() -> str:
        found = cloudwatch.describe_alarms(AlarmNames=[outputs["Parent"]], AlarmTypes=["CompositeAlarm"])
        return str(found["CompositeAlarms"][0]["StateValue"])

    account.eventually(lambda: parent_state() == "ALARM")


def test_a_role_policy_is_embedded_in_its_role(account: Account) -> None:
    """CloudFormation template reference, "AWS::IAM::RolePolicy"."""
    outputs = account.stack(
        {
            "Role": {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": ROLE_DOCUMENT}},
            "Policy": {
                "Type": "AWS::IAM::RolePolicy",
                "Properties": {
                    "RoleName": {"Ref": "Role"},
                    "PolicyName": "send",
                    "PolicyDocument": POLICY_DOCUMENT,
                },
            },
        },
        {"Role": {"Ref": "Role"}},
    )
    policy = account.client("iam").get_role_policy(RoleName=outputs["Role"], PolicyName="send")
    assert policy["PolicyDocument"] == POLICY_DOCUMENT


def test_a_number_parameter_is_a_number_in_an_event_source_mapping(account: Account) -> None:
    """CloudFormation user guide, "Parameters"; the mapping takes messages all the same."""
    function = account.function("def handler(event, context): print(len(event['Records']))")
    outputs = account.stack(
        {
            "Queue": {"Type": "AWS::SQS::Queue"},
            "Mapping": {
                "Type": "AWS::Lambda::EventSourceMapping",
                "Properties": {
                    "FunctionName": function,
                    "EventSourceArn": {"Fn::GetAtt": ["Queue", "Arn"]},
                    "ScalingConfig": {"MaximumConcurrency": {"Ref": "Maximum"}},
                },
            },
        },
        {"Mapping": {"Ref": "Mapping"}, "Queue": {"Ref": "Queue"}},
        Parameters={"Maximum": {"Type": "Number", "Default": 2}},
    )
    mapping = account.client("lambda").get_event_source_mapping(UUID=outputs["Mapping"])
    assert mapping["ScalingConfig"]["MaximumConcurrency"] == 2
    account.client("sqs").send_message(QueueUrl=outputs["Queue"], MessageBody="x")
    account.eventually(lambda: account.starts(function) == 1)


def test_the_address_of_a_stage_leads_to_this_machine(account: Account) -> None:
    """API Gateway developer guide, "Invoke a REST API": a client that uses the output reaches the stage."""
    outputs = account.stack(
        {"Api": {"Type": "AWS::ApiGateway::RestApi", "Properties": {"Name": "api"}}},
        {
            "Id": {"Ref": "Api"},
            "Sub": {"Fn::Sub": "https://${Api}.execute-api.${AWS::Region}.${AWS::URLSuffix}/live/orders"},
            "Join": {
                "Fn::Join": ["", ["https://", {"Ref": "Api"}, ".execute-api.eu-west-1.amazonaws.com/live/orders"]]
            },
        },
    )
    address = f"{account.emulator.endpoint}/restapis/{outputs['Id']}/live/_user_request_/orders"
    assert outputs["Sub"] == outputs["Join"] == address


def test_an_api_key_takes_its_value_from_a_secret(relied_upon: Account) -> None:
    """CloudFormation user guide, "Get a secret or secret value from Secrets Manager"."""
    outputs = relied_upon.stack(
        {
            "Secret": {
                "Type": "AWS::SecretsManager::Secret",
                "Properties": {
                    "GenerateSecretString": {
                        "SecretStringTemplate": "{}",
                        "GenerateStringKey": "api_key",
                        "PasswordLength": 40,
                        "ExcludePunctuation": True,
                    }
                },
            },
            "Key": {
                "Type": "AWS::ApiGateway::ApiKey",
                "Properties": {
                    "Value": {"Fn::Sub": "{{resolve:secretsmanager:${Secret}:SecretString:api_key}}"},
                    "Enabled": True,
                },
            },
        },
        {"Secret": {"Ref": "Secret"}, "Key": {"Ref": "Key"}},
    )
    secret = relied_upon.client("secretsmanager").get_secret_value(SecretId=outputs["Secret"])
    key = relied_upon.client("apigateway").get_api_key(apiKey=outputs["Key"], includeValue=True)
    assert key["value"] == json.loads(secret["SecretString"])["api_key"]
    assert len(key["value"]) == 40
