"""Each invariant can fail: for each there is a fault, seeded into the template in memory, that it catches.

A fault is a JSON Patch (RFC 6902) on template.yaml, so it breaks this test, and not silently, when the template has
moved on and the fault no longer fits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jsonpatch
import pytest

from tests.template.invariants import INVARIANTS
from tests.template.translated import Source, Stack, deploy, template_yaml
from tests.template.variants import parameter_values, stack

R = "/Resources"
API = f"{R}/OrdersApi/Properties"
BODY = f"{API}/DefinitionBody"
REFUSALS = f"{BODY}/x-amazon-apigateway-gateway-responses"
POST = f"{BODY}/paths/~1orders/post"
STORE = f"{POST}/x-amazon-apigateway-integration"
STATEMENTS = "Properties/Policies/0/PolicyDocument/Statement"
STOPPED = f"{R}/CircuitBreakerSingleFlight/Properties/PolicyDocument/Statement/1/Resource"
EXECUTIONS = "arn:${AWS::Partition}:states:${AWS::Region}:${AWS::AccountId}:execution"
Operation = dict[str, Any]


@dataclass(frozen=True)
class Fault:
    """A mistake in template.yaml, and the invariant that catches it."""

    name: str
    caught_by: str
    patch: tuple[Operation, ...]
    variant: str = "flow_control"


def fault(name: str, caught_by: str, *patch: Operation, variant: str = "flow_control") -> Fault:
    return Fault(name, caught_by, patch, variant)


def put(path: str, value: Any) -> Operation:
    return {"op": "replace", "path": path, "value": value}


def add(path: str, value: Any) -> Operation:
    return {"op": "add", "path": path, "value": value}


def drop(path: str) -> Operation:
    return {"op": "remove", "path": path}


def arn(name: str, attribute: str = "Arn") -> dict[str, Any]:
    return {"Fn::GetAtt": [name, attribute]}


BUCKET = {"Type": "AWS::S3::Bucket", "Properties": {"VersioningConfiguration": {"Status": "Enabled"}}}
MACHINE = {
    "Type": "AWS::Serverless::StateMachine",
    "Properties": {"DefinitionUri": "statemachines/missing.asl.yaml", "Role": arn("SalesRole")},
}
SEPARATE_POLICY = {
    "Type": "AWS::IAM::RolePolicy",
    "Properties": {
        "RoleName": {"Ref": "SalesRole"},
        "PolicyName": "TakeFromQueue",
        "PolicyDocument": {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Action": ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"],
                    "Resource": arn("SalesQueue"),
                }
            ],
        },
    },
}
OPEN_QUEUE = {
    "Effect": "Allow",
    "Principal": {"Service": "events.amazonaws.com"},
    "Action": "sqs:SendMessage",
    "Resource": "*",
}
SECOND_QUEUE_POLICY = {
    "Type": "AWS::SQS::QueuePolicy",
    "Properties": {
        "Queues": [{"Ref": "SalesQueue"}],
        "PolicyDocument": {"Version": "2012-10-17", "Statement": [OPEN_QUEUE]},
    },
}

FAULTS = [
    # Times and counts
    fault(
        "visibility timeout of a minute",
        "visibility_timeout_covers_retries",
        put("/Mappings/Seconds/Delivery/VisibilityTimeout", 60),
    ),
    fault(
        "visibility timeout without the batching window",
        "visibility_timeout_covers_retries",
        put("/Mappings/Seconds/Sales/VisibilityTimeout", 180),
    ),
    fault(
        "courier timeout as long as the function's",
        "call_timeout_is_below_function_timeout",
        put("/Parameters/CourierTimeout/Default", 30),
    ),
    fault(
        "courier timeout that may be as long as the function's",
        "call_timeout_is_below_function_timeout",
        put("/Parameters/CourierTimeout/MaxValue", 30),
        variant="flow_control+most",
    ),
    fault(
        "fewer executions reserved than may be asked for",
        "reserved_concurrency_covers_mappings",
        put(f"{R}/DeliveryFunction/Properties/ReservedConcurrentExecutions", 20),
        variant="flow_control+most",
    ),
    fault(
        "two executions reserved",
        "reserved_concurrency_covers_mappings",
        put(f"{R}/DeliveryFunction/Properties/ReservedConcurrentExecutions", 2),
    ),
    fault("no cap", "mapping_has_maximum_concurrency", drop(f"{R}/SalesMapping/Properties/ScalingConfig")),
    fault(
        "whole batches fail",
        "mapping_reports_item_failures",
        drop(f"{R}/NotificationMapping/Properties/FunctionResponseTypes"),
    ),
    fault(
        "batch of 100 without a window",
        "batch_over_ten_has_window",
        put(f"{R}/NotificationMapping/Properties/BatchSize", 100),
        put("/Mappings/Seconds/Notification/BatchingWindow", 0),
    ),
    fault(
        "three receives",
        "messages_are_tried_five_times",
        put(f"{R}/SalesQueue/Properties/RedrivePolicy/maxReceiveCount", 3),
    ),
    fault(
        "queue keeps messages as long as its dead-letter queue",
        "dead_letters_outlive_their_queue",
        put("/Mappings/Seconds/Retention/Queue", 1209600),
    ),
    fault(
        "alarm that looks back two days",
        "alarm_looks_back_a_day_at_most",
        put("/Parameters/CircuitNotClosedMinutes/MaxValue", 2880),
        variant="flow_control+most",
    ),
    fault(
        "orders forgotten before the archive forgets them",
        "delivered_orders_outlive_their_events",
        put("/Mappings/Seconds/Retention/DeliveredOrder", 45 * 86400),
        variant="flow_control+most",
    ),
    # Dead letters
    fault("no redrive", "queue_has_dead_letter_queue", drop(f"{R}/DeliveryQueue/Properties/RedrivePolicy")),
    fault(
        "rule target without dead letters",
        "rule_target_has_dead_letter_queue",
        drop(f"{R}/SalesRule/Properties/Targets/0/DeadLetterConfig"),
    ),
    fault(
        "queue policy without the rule",
        "rule_may_send_to_its_queues",
        drop(f"{R}/DeliveryQueuePolicy/Properties/PolicyDocument/Statement/1"),
    ),
    fault(
        "dead-letter queue admits another rule only",
        "rule_may_send_to_its_queues",
        drop(
            f"{R}/EventDeadLetterQueuePolicy/Properties/PolicyDocument/Statement/1/Condition/ArnEquals/aws:SourceArn/0"
        ),
    ),
    fault(
        "the bus invokes a function that has no destination",
        "asynchronous_function_has_destination",
        put(f"{R}/SlowApiPermission/Properties/Principal", "events.amazonaws.com"),
    ),
    # Streams
    fault(
        "stream stuck behind poison",
        "stream_mapping_gets_past_poison",
        drop(f"{R}/SalesExportMapping/Properties/MaximumRetryAttempts"),
    ),
    fault(
        "poison takes its batch along",
        "stream_mapping_gets_past_poison",
        drop(f"{R}/SalesExportMapping/Properties/BisectBatchOnFunctionError"),
    ),
    fault(
        "discarded without a word",
        "stream_mapping_gets_past_poison",
        drop(f"{R}/SalesExportMapping/Properties/DestinationConfig"),
    ),
    fault(
        "records given up when the stream has forgotten them",
        "discarded_record_can_be_fetched",
        put("/Mappings/Seconds/SalesExport/MaximumRecordAge", 86400),
    ),
    fault(
        "records never given up",
        "discarded_record_can_be_fetched",
        drop(f"{R}/SalesExportMapping/Properties/MaximumRecordAgeInSeconds"),
    ),
    fault(
        "stream that may not be read",
        "stream_mapping_may_read_and_tell",
        drop(f"{R}/SalesExportRole/{STATEMENTS}/0"),
    ),
    fault(
        "stream mapping that may write the table",
        "stream_mapping_may_read_and_tell",
        add(f"{R}/SalesExportRole/{STATEMENTS}/0/Action/-", "dynamodb:PutItem"),
    ),
    fault(
        "discarded records that nobody may be told of",
        "stream_mapping_may_read_and_tell",
        drop(f"{R}/SalesExportRole/{STATEMENTS}/2"),
    ),
    fault("stream that stands still unseen", "stream_mapping_has_age_alarm", drop(f"{R}/SalesExportIteratorAgeAlarm")),
    fault(
        "age alarm of another function",
        "stream_mapping_has_age_alarm",
        put(f"{R}/SalesExportIteratorAgeAlarm/Properties/Dimensions/0/Value", {"Ref": "SalesFunction"}),
    ),
    fault(
        "age alarm after the records are given up",
        "stream_mapping_has_age_alarm",
        put(f"{R}/SalesExportIteratorAgeAlarm/Properties/Threshold", 43200000),
    ),
    fault(
        "stream on plain HTTP",
        "stream_refuses_plain_http",
        drop(f"{R}/SalesTable/Properties/StreamSpecification/ResourcePolicy"),
    ),
    fault(
        "stream policy with an action of tables",
        "stream_refuses_plain_http",
        add(
            f"{R}/SalesTable/Properties/StreamSpecification/ResourcePolicy/PolicyDocument/Statement/0/Action/-",
            "dynamodb:ListStreams",
        ),
    ),
    fault(
        "bucket that keeps its stack from going",
        "bucket_outlives_its_stack",
        drop(f"{R}/SalesExportBucket/DeletionPolicy"),
    ),
    fault(
        "bucket left behind without its policy",
        "bucket_outlives_its_stack",
        put(f"{R}/SalesExportBucketPolicy/DeletionPolicy", "Delete"),
    ),
    fault(
        "dead letters kept for four days",
        "dead_letters_are_kept_fourteen_days",
        drop(f"{R}/EventDeadLetterQueue/Properties/MessageRetentionPeriod"),
    ),
    fault("no alarm", "dead_letter_queue_has_alarm", drop(f"{R}/IngestDeadLetterAlarm")),
    fault(
        "alarm on a misspelt dimension",
        "dead_letter_queue_has_alarm",
        put(f"{R}/SalesDeadLetterAlarm/Properties/Dimensions/0/Name", "Queue"),
    ),
    fault(
        "alarm on the queue's ARN",
        "dead_letter_queue_has_alarm",
        put(f"{R}/SalesDeadLetterAlarm/Properties/Dimensions/0/Value", arn("SalesDeadLetterQueue")),
    ),
    fault(
        "alarm that breaches without data",
        "dead_letter_queue_has_alarm",
        drop(f"{R}/EventDeadLetterAlarm/Properties/TreatMissingData"),
    ),
    fault("silent alarm", "alarm_tells_people", put(f"{R}/DeliveryDeadLetterAlarm/Properties/AlarmActions", [])),
    fault("silent composite alarm", "alarm_tells_people", put(f"{R}/CourierAlarm/Properties/AlarmActions", [])),
    fault(
        "silent alarm that is no part of a composite any more",
        "alarm_tells_people",
        put(f"{R}/CourierAlarm/Properties/AlarmRule", {"Fn::Sub": 'ALARM("${FailureRateAlarm}")'}),
    ),
    fault(
        "topic under the AWS managed key",
        "alarms_reach_the_topic",
        put(f"{R}/AlarmTopic/Properties/KmsMasterKeyId", "alias/aws/sns"),
    ),
    # Alarms
    fault(
        "alarm that nobody explains",
        "alarm_has_runbook_entry",
        add(f"{R}/StrangeAlarm", {"Type": "AWS::CloudWatch::Alarm", "Properties": {}}),
    ),
    fault("entry without its alarm", "runbook_entry_is_complete", drop(f"{R}/SalesDeadLetterAlarm")),
    fault(
        "link to another entry",
        "alarm_links_to_runbook",
        put(
            f"{R}/SalesDeadLetterAlarm/Properties/AlarmDescription",
            {"Fn::Sub": "Orders wait. ${RunbookUrl}#ingestdeadletteralarm"},
        ),
    ),
    fault(
        "link and no sentence",
        "alarm_links_to_runbook",
        put(
            f"{R}/SalesDeadLetterAlarm/Properties/AlarmDescription",
            {"Fn::Sub": "${RunbookUrl}#salesdeadletteralarm"},
        ),
    ),
    fault(
        "alarm without a word on missing data",
        "alarm_says_what_missing_data_means",
        drop(f"{R}/IngestAgeAlarm/Properties/TreatMissingData"),
    ),
    fault(
        "alarm that falls asleep without data",
        "alarm_says_what_missing_data_means",
        drop(f"{R}/CircuitNotClosedAlarm/Properties/InsufficientDataActions"),
    ),
    fault(
        "part of no composite alarm but by NOT",
        "alarm_tells_people",
        drop(f"{R}/AccountConcurrencyAlarm/Properties/AlarmActions"),
    ),
    fault(
        "dead-letter queue that nobody looks at",
        "dead_letter_queue_is_looked_at",
        drop(f"{R}/DeadLettersFunction/Properties/Environment/Variables/DEAD_LETTER_QUEUES/Fn::Join/1/2"),
    ),
    fault(
        "dead-letter queue that nobody may look at",
        "dead_letter_queue_is_looked_at",
        drop(f"{R}/DeadLettersRole/{STATEMENTS}/0/Resource/1"),
    ),
    fault(
        "alarm that brings no letter",
        "dead_letter_alarm_brings_the_letter",
        drop(f"{R}/DeadLetterAlarmRule/Properties/EventPattern/resources/2"),
    ),
    fault(
        "letters of sales go to ingest",
        "redrive_leads_back",
        put(
            f"{R}/RecoveryFunction/Properties/Environment/Variables/DEAD_LETTER_QUEUES/Fn::Join/1/2",
            {"Fn::Sub": "sales=${SalesDeadLetterQueue}>${IngestQueue}"},
        ),
    ),
    fault(
        "letters with a make target that does not exist",
        "dead_letter_queue_has_a_way_out",
        put(
            f"{R}/DeadLettersFunction/Properties/Environment/Variables/DEAD_LETTER_QUEUES/Fn::Join/1/3",
            {"Fn::Sub": "sales-export=${SalesExportDeadLetterQueue}!export-again"},
        ),
    ),
    fault(
        "redrive that may not send",
        "redrive_leads_back",
        drop(f"{R}/RecoveryRole/{STATEMENTS}/1/Resource/0"),
    ),
    # Encryption
    fault("plain queue", "queue_is_encrypted", put(f"{R}/IngestQueue/Properties/SqsManagedSseEnabled", False)),
    fault("plain topic", "topic_is_encrypted", drop(f"{R}/AlarmTopic/Properties/KmsMasterKeyId")),
    fault("plain table", "table_is_encrypted_with_kms", drop(f"{R}/SalesTable/Properties/SSESpecification")),
    fault("public bucket", "bucket_is_encrypted_and_private", add(f"{R}/ExportBucket", BUCKET)),
    fault("queue on plain HTTP", "plain_http_is_refused", drop(f"{R}/QueuesRefusePlainHttp/Properties/Queues/0")),
    fault("table on plain HTTP", "plain_http_is_refused", drop(f"{R}/SalesTable/Properties/ResourcePolicy")),
    fault(
        "plain HTTP refused for HTTPS",
        "plain_http_is_refused",
        put(
            f"{R}/AlarmTopicPolicy/Properties/PolicyDocument/Statement/1/Condition/Bool/aws:SecureTransport",
            "true",
        ),
    ),
    fault("two policies on a queue", "one_policy_each", add(f"{R}/SecondPolicy", SECOND_QUEUE_POLICY)),
    # Functions
    fault("Lambda's own log group", "function_has_log_group", drop(f"{R}/SalesFunction/Properties/LoggingConfig")),
    fault("logs for ever", "log_group_has_retention", drop(f"{R}/SalesLogGroup/Properties/RetentionInDays")),
    fault("no traces", "function_is_traced", put("/Globals/Function/Tracing", "PassThrough")),
    fault("timeout of three seconds", "function_has_timeout", drop(f"{R}/SlowApiFunction/Properties/Timeout")),
    fault(
        "shared role",
        "function_has_role_of_its_own",
        put(f"{R}/SalesFunction/Properties/Role", arn("NotificationRole")),
    ),
    fault("unobserved machine", "state_machine_is_observed", add(f"{R}/Machine", MACHINE)),
    fault(
        "variable that nobody reads",
        "environment_is_settings",
        add(f"{R}/SalesFunction/Properties/Environment/Variables/TABLE_NAME", "sales"),
    ),
    fault(
        "setting that nobody gives",
        "environment_is_settings",
        drop(f"{R}/SlowApiFunction/Properties/Environment/Variables/SEED"),
    ),
    fault(
        "required setting that is empty",
        "environment_is_settings",
        put(f"{R}/DeliveryFunction/Properties/Environment/Variables/COURIER_URL", ""),
    ),
    # Permissions
    fault("wildcard action", "actions_are_named", put(f"{R}/SalesRole/{STATEMENTS}/2/Action", "dynamodb:*")),
    fault("wildcard resource", "resources_are_named", put(f"{R}/SalesRole/{STATEMENTS}/2/Resource", "*")),
    fault("executions of every machine", "resources_are_named", put(STOPPED, {"Fn::Sub": f"{EXECUTIONS}:*"})),
    fault(
        "wildcard that names a resource elsewhere",
        "resources_are_named",
        put(STOPPED, {"Fn::Sub": f"{EXECUTIONS}-${{CircuitBreaker.Name}}:other:*"}),
    ),
    fault(
        "managed policy",
        "role_has_policies_of_its_own",
        add(f"{R}/SalesRole/Properties/ManagedPolicyArns", ["arn:aws:iam::aws:policy/AmazonSQSFullAccess"]),
    ),
    fault(
        "role for everybody",
        "role_trusts_one_service",
        put(f"{R}/SalesRole/Properties/AssumeRolePolicyDocument/Statement/0/Principal", {"AWS": "*"}),
    ),
    fault(
        "confused deputy",
        "resource_policy_is_narrow",
        drop(f"{R}/SalesQueuePolicy/Properties/PolicyDocument/Statement/1/Condition"),
    ),
    fault("any API invokes", "invoker_is_named", drop(f"{R}/SlowApiPermission/Properties/SourceArn")),
    fault("no right to log", "function_may_log_and_trace", drop(f"{R}/NotificationRole/{STATEMENTS}/3")),
    fault(
        "no right to the table",
        "function_may_use_what_it_is_told_of",
        put(f"{R}/SalesRole/{STATEMENTS}/2/Resource", arn("CourierTable")),
    ),
    fault(
        "dead-letter queue that may be read only",
        "function_may_use_what_it_is_told_of",
        put(f"{R}/SalesRole/{STATEMENTS}/1/Action", "sqs:GetQueueAttributes"),
    ),
    fault(
        "mapping that may not delete",
        "mapping_may_read_its_queue",
        put(f"{R}/SalesRole/{STATEMENTS}/0/Action", ["sqs:ReceiveMessage", "sqs:GetQueueAttributes"]),
    ),
    fault(
        "mapping that may purge",
        "mapping_may_read_its_queue",
        add(f"{R}/SalesRole/{STATEMENTS}/0/Action/-", "sqs:PurgeQueue"),
    ),
    fault(
        "mapping before its permissions",
        "mapping_waits_for_its_permissions",
        drop(f"{R}/SalesRole/{STATEMENTS}/0"),
        add(f"{R}/SalesQueueAccess", SEPARATE_POLICY),
        add(f"{R}/SalesMapping/DependsOn", "SalesQueueAccess"),
    ),
    fault(
        "machine before its permissions",
        "machine_may_log_when_it_is_created",
        drop(f"{R}/RedriveRole/{STATEMENTS}/1"),
    ),
    fault(
        "log group that needs room",
        "machine_needs_no_room_in_the_log_policy",
        drop(f"{R}/RedriveLogGroup/Properties/LogGroupName"),
    ),
    # API
    fault(
        "settings before any resource of API Gateway",
        "account_settings_come_after_an_api_key",
        drop(f"{R}/ApiGatewayAccount/DependsOn"),
    ),
    fault(
        "body sent as it came",
        "what_the_caller_sends_is_url_encoded",
        put(f"{STORE}/requestTemplates/application~1json", "Action=SendMessage&MessageBody=$input.body"),
    ),
    fault(
        "attribute from a header, not encoded",
        "what_the_caller_sends_is_url_encoded",
        put(
            f"{STORE}/requestTemplates/application~1json",
            "Action=SendMessage&MessageBody=$util.urlEncode($input.body)&QueueUrl=$input.params('queue')",
        ),
    ),
    fault(
        "202 whatever SQS says", "only_a_stored_order_is_accepted", put(f"{STORE}/responses/default/statusCode", 202)
    ),
    fault("no default", "only_a_stored_order_is_accepted", drop(f"{STORE}/responses/default")),
    fault("no answer for a stored order", "only_a_stored_order_is_accepted", drop(f"{STORE}/responses/200")),
    fault("undeclared status", "answers_are_declared", drop(f"{POST}/responses/202")),
    fault(
        "undeclared header",
        "answers_are_declared",
        add(f"{STORE}/responses/200/responseParameters", {"method.response.header.Location": "'/orders'"}),
    ),
    fault("no word for wrong keys", "refusals_are_answered", drop(f"{REFUSALS}/INVALID_API_KEY")),
    fault("no Retry-After", "refusals_are_answered", drop(f"{REFUSALS}/THROTTLED/responseParameters")),
    fault(
        "velocity where there is none",
        "gateway_responses_substitute_only",
        put(
            f"{REFUSALS}/BAD_REQUEST_BODY/responseTemplates/application~1json", '{"id": "$util.urlEncode($context.a)"}'
        ),
    ),
    fault(
        "quotes twice",
        "gateway_responses_are_json",
        put(
            f"{REFUSALS}/DEFAULT_4XX/responseTemplates/application~1json", '{"message": "$context.error.messageString"}'
        ),
    ),
    fault(
        "larger orders than an execution can hold",
        "order_fits_into_an_execution",
        put(f"{R}/IngestQueue/Properties/MaximumMessageSize", 131072),
    ),
    fault("smaller queue", "size_limit_is_told", put(f"{R}/IngestQueue/Properties/MaximumMessageSize", 65536)),
    fault("no key needed", "operation_needs_api_key", put(f"{POST}/security", [])),
    fault("a minute at the gateway", "integration_answers_in_time", put(f"{STORE}/timeoutInMillis", 60000)),
    fault("no access log", "stage_is_observed", drop(f"{API}/AccessLogSetting")),
    fault(
        "stage before the account's log role",
        "stage_waits_for_the_log_role",
        add(f"{R}/OtherAccount", {"Type": "AWS::ApiGateway::Account"}),
    ),
    fault(
        "story without its end",
        "function_is_in_the_story",
        put(f"{R}/StoryQuery/Properties/LogGroupNames", [{"Ref": "DeliveryLogGroup"}]),
    ),
    fault(
        "another story behind the link",
        "story_link_is_the_saved_query",
        put(f"{R}/StoryQuery/Properties/QueryString", "fields @message"),
    ),
    fault(
        "link that searches less",
        "story_link_is_the_saved_query",
        drop(f"{R}/DeadLettersFunction/Properties/Environment/Variables/LOG_GROUP_NAMES/Fn::Join/1/0"),
    ),
    fault(
        "export that nobody counts",
        "records_are_counted",
        drop(f"{R}/SuccessRateQuery/Properties/LogGroupNames/3"),
    ),
    # Form
    fault("parameter without a word", "parameter_is_described", drop("/Parameters/CourierRate/Description")),
    fault("boundless parameter", "parameter_is_bounded", drop("/Parameters/CourierTimeout/MaxValue")),
    fault(
        "parameter out of its group",
        "parameter_is_grouped",
        drop("/Metadata/AWS::CloudFormation::Interface/ParameterGroups/0/Parameters/1"),
    ),
    fault("fixed name", "name_is_generated", add(f"{R}/SalesTable/Properties/TableName", "sales")),
    fault("fixed bus name", "name_is_generated", put(f"{R}/HubBus/Properties/Name", "hub")),
    fault(
        "metrics that stacks share",
        "metrics_are_of_one_stack",
        put("/Globals/Function/Environment/Variables/POWERTOOLS_METRICS_NAMESPACE", "SelfHealingEventHub"),
    ),
    fault(
        "output of the other variant",
        "references_exist",
        drop("/Outputs/DeliveryQueueUrl/Condition"),
        variant="no_flow_control",
    ),
    fault("queue that is no output", "queue_is_an_output", drop("/Outputs/SalesDeadLetterQueueUrl")),
    fault("output without a word", "output_is_described", drop("/Outputs/OrdersUrl/Description")),
    fault(
        "resource that replaces the stack's tag",
        "everything_is_tagged_by_the_stack",
        add(f"{R}/SalesTable/Properties/Tags", [{"Key": "application", "Value": "sales"}]),
    ),
    fault("no definition", "state_machine_has_its_definition", add(f"{R}/Machine", MACHINE)),
]
# Faults of the text, which the document no longer shows.
TEXT_FAULTS = {
    "yaml_has_no_aliases": ("Resources:\n", "Resources: &resources\n"),
    "nothing_is_for_the_emulator": ("Resources:\n", "Resources:  # http://127.0.0.1:4566\n"),
}


@pytest.mark.parametrize("seeded", FAULTS, ids=lambda seeded: f"{seeded.caught_by}-{seeded.name}")
def test_fault_is_caught(seeded: Fault) -> None:
    sound = template_yaml()
    faulty = Source(sound.text, jsonpatch.apply_patch(sound.document, seeded.patch))
    found = violations(deploy(faulty, parameter_values(seeded.variant, faulty)), seeded.caught_by)
    assert found - violations(stack(seeded.variant), seeded.caught_by), f"{seeded.caught_by} sees nothing wrong"


@pytest.mark.parametrize("rule", TEXT_FAULTS)
def test_fault_of_the_text_is_caught(rule: str) -> None:
    sound, (before, after) = template_yaml(), TEXT_FAULTS[rule]
    assert before in sound.text
    faulty = Source.of(sound.text.replace(before, after, 1))
    assert violations(deploy(faulty), rule) - violations(deploy(sound), rule)


@pytest.mark.parametrize("rule", INVARIANTS)
def test_every_invariant_has_a_fault(rule: str) -> None:
    assert rule in {seeded.caught_by for seeded in FAULTS} | TEXT_FAULTS.keys(), "seed a fault that it catches"


def violations(faulty: Stack, rule: str) -> set[str]:
    invariant = INVARIANTS[rule]
    return {
        violation
        for subject in invariant.subjects(faulty)
        if subject not in invariant.exceptions
        for violation in invariant.violations(faulty, subject)
    }
