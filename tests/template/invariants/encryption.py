"""What is stored is encrypted, and nothing is read or written over plain HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.template.invariants.invariant import invariant, of
from tests.template.translated import Stack, as_list, logical_id

_POLICIES = {
    "AWS::SQS::QueuePolicy": "Queues",
    "AWS::SNS::TopicPolicy": "Topics",
    "AWS::S3::BucketPolicy": "Bucket",
}


def policies_of(stack: Stack, name: str) -> list[str]:
    """Return the policy resources that are attached to a queue, a topic or a bucket."""
    return [
        policy
        for policy in stack.of_type(*_POLICIES)
        if name in map(logical_id, as_list(stack.properties(policy)[_POLICIES[stack.resources[policy]["Type"]]]))
    ]


def statements_about(stack: Stack, name: str) -> list[dict[str, Any]]:
    """Return the statements of a resource's own policy, wherever its type keeps them."""
    properties = stack.properties(name)
    documents = [stack.properties(policy)["PolicyDocument"] for policy in policies_of(stack, name)]
    documents += [properties[key] for key in ("KeyPolicy",) if key in properties]
    documents += [properties[key]["PolicyDocument"] for key in ("ResourcePolicy",) if key in properties]
    return [statement for document in documents for statement in as_list(document["Statement"])]


@invariant(of("AWS::SQS::Queue"))
def queue_is_encrypted(stack: Stack, queue: str) -> Iterator[str]:
    """Orders carry names and addresses (SQS developer guide, "Encryption at rest in Amazon SQS").

    SqsManagedSseEnabled costs nothing; a customer managed key needs a key policy for every service that sends.
    """
    properties = stack.properties(queue)
    if properties.get("SqsManagedSseEnabled") is not True and "KmsMasterKeyId" not in properties:
        yield "says neither SqsManagedSseEnabled: true nor a KmsMasterKeyId"


@invariant(of("AWS::SNS::Topic"))
def topic_is_encrypted(stack: Stack, topic: str) -> Iterator[str]:
    """A topic is not encrypted unless it names a key (SNS developer guide, "Securing Amazon SNS data")."""
    if "KmsMasterKeyId" not in stack.properties(topic):
        yield "has no KmsMasterKeyId"


@invariant(of("AWS::DynamoDB::Table"))
def table_is_encrypted_with_kms(stack: Stack, table: str) -> Iterator[str]:
    """SSEEnabled: true takes the key from AWS KMS, where its use is audited (DynamoDB, "Encryption at rest")."""
    if stack.properties(table).get("SSESpecification", {}).get("SSEEnabled") is not True:
        yield "does not say SSESpecification.SSEEnabled: true"


@invariant(of("AWS::S3::Bucket"))
def bucket_is_encrypted_and_private(stack: Stack, bucket: str) -> Iterator[str]:
    """What marketing exports is nobody else's business (S3 user guide, "Security best practices for Amazon S3")."""
    properties = stack.properties(bucket)
    if "BucketEncryption" not in properties:
        yield "has no BucketEncryption"
    blocks = properties.get("PublicAccessBlockConfiguration", {})
    for name in ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"):
        if blocks.get(name) is not True:
            yield f"does not say PublicAccessBlockConfiguration.{name}: true"


_REFUSED_ACTIONS = {
    "AWS::SQS::Queue": "sqs:*",
    "AWS::SNS::Topic": "sns:Publish",  # a topic policy takes no sns:*
    "AWS::S3::Bucket": "s3:*",
    "AWS::DynamoDB::Table": "dynamodb:*",
}


@invariant(of(*_REFUSED_ACTIONS))
def plain_http_is_refused(stack: Stack, name: str) -> Iterator[str]:
    """SQS, SNS, S3 and DynamoDB answer over plain HTTP too, unless a policy denies it to everybody.

    A Deny for everybody on aws:SecureTransport false (SQS developer guide, "Amazon SQS security best practices",
    "Enforce encryption of data in transit"; AWS Security Hub controls SNS and S3.5).
    """
    action = _REFUSED_ACTIONS[stack.resources[name]["Type"]]
    if not any(
        statement["Effect"] == "Deny"
        and statement.get("Principal") == "*"
        and action in as_list(statement["Action"])
        and str(statement.get("Condition", {}).get("Bool", {}).get("aws:SecureTransport")).lower() == "false"
        for statement in statements_about(stack, name)
    ):
        yield f"has no policy that denies {action} to everybody when aws:SecureTransport is false"


@invariant(of("AWS::SQS::Queue", "AWS::SNS::Topic", "AWS::S3::Bucket"))
def one_policy_each(stack: Stack, name: str) -> Iterator[str]:
    """A second policy resource replaces the first one's statements, in an order that nobody knows.

    A queue, a topic or a bucket has one policy, which each policy resource sets as a whole (CloudFormation,
    AWS::SQS::QueuePolicy; SQS API, SetQueueAttributes).
    """
    policies = policies_of(stack, name)
    if len(policies) > 1:
        yield f"has its policy set by {' and '.join(policies)}, of which the last one wins"
