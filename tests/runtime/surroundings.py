"""What a function needs around it to do its work once: AWS services and a courier.

The services are moto's, in this process, with the queues, tables, buses and secrets that the
template defines. For behaviour between functions there is the local stack (local/); here one
function runs alone, and what it did is read back from the services and from the courier.
"""

import json
import logging
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self
from warnings import catch_warnings, simplefilter

import boto3
import urllib3
from botocore.config import Config

from local.stack import REGION

from .artefact import BUILT_TEMPLATE, read_resources
from .courier import Courier
from .execution_environment import CREDENTIAL

SESSION = boto3.Session(CREDENTIAL, CREDENTIAL, CREDENTIAL, REGION)
DIRECT = Config(proxies={})  # whatever proxy this machine uses for the rest of the world
COURIER_KEY = "a-key-for-this-machine-only"
EVENTS_SEEN = "events-seen"  # a queue behind a rule that matches every event of every bus


@dataclass
class Surroundings:
    """AWS services and a courier on the loopback interface; a context manager."""

    template: Path = BUILT_TEMPLATE
    courier: Courier = field(default_factory=Courier)

    def __enter__(self) -> Self:
        with catch_warnings():
            simplefilter("ignore")  # the server needs two packages of the many moto lists for it
            from moto.server import ThreadedMotoServer
        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # its access log
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        self.endpoint = "http://{}:{}".format(*self._server.get_host_and_port())
        urllib3.request("POST", f"{self.endpoint}/moto-api/reset")  # its state is the process's
        self.client("sqs").create_queue(QueueName=EVENTS_SEEN)
        self.courier.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.courier.__exit__()
        self._server.stop()

    def client(self, service: str) -> Any:
        """A boto3 client of these services."""
        return SESSION.client(service, endpoint_url=self.endpoint, config=DIRECT)  # type: ignore[call-overload]

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables that lead a function here instead of to AWS and the courier."""
        return {"AWS_ENDPOINT_URL": self.endpoint, "COURIER_URL": self.courier.url}

    @cached_property
    def _resources(self) -> dict[str, dict[str, Any]]:
        return read_resources(self.template)

    @cached_property
    def physical_ids(self) -> dict[str, dict[str, str]]:
        """Creates the template's resources; what Ref and Fn::GetAtt of each would give."""
        created = {
            "AWS::SQS::Queue": self._create_queue,
            "AWS::DynamoDB::Table": self._create_table,
            "AWS::Events::EventBus": self._create_bus,
            "AWS::SecretsManager::Secret": self._create_secret,
            "AWS::S3::Bucket": self._create_bucket,
        }
        return {
            logical_id: create(logical_id, self._resources[logical_id]["Properties"])
            for resource_type, create in created.items()
            for logical_id in self.logical_ids(resource_type)
        }

    def logical_ids(self, resource_type: str) -> list[str]:
        """The template's resources of a CloudFormation type."""
        return [key for key, value in self._resources.items() if value["Type"] == resource_type]

    def sqs_event(self, queue: str, bodies: list[str]) -> dict[str, Any]:
        """An event of messages that really are in flight, so that the function may delete or
        delay them: sent to the queue with this logical ID and received from it."""
        sqs, url = self.client("sqs"), self.physical_ids[queue]["Ref"]
        for body in bodies:
            sqs.send_message(QueueUrl=url, MessageBody=body)
        received = sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=10,
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
        )["Messages"]
        return {
            "Records": [
                {
                    "messageId": message["MessageId"],
                    "receiptHandle": message["ReceiptHandle"],
                    "body": message["Body"],
                    "attributes": message["Attributes"],
                    "messageAttributes": {},
                    "md5OfBody": message["MD5OfBody"],
                    "eventSource": "aws:sqs",
                    "eventSourceARN": self.physical_ids[queue]["Arn"],
                    "awsRegion": REGION,
                }
                for message in received
            ]
        }

    def published(self) -> list[dict[str, Any]]:
        """Takes the events that were put on any bus since the last call."""
        url = self.client("sqs").get_queue_url(QueueName=EVENTS_SEEN)["QueueUrl"]
        return [json.loads(message["Body"]) for message in self._take(url)]

    def messages(self, queue: str) -> list[dict[str, Any]]:
        """Takes the visible messages of the queue with this logical ID."""
        return self._take(self.physical_ids[queue]["Ref"])

    def items(self, table: str) -> list[dict[str, Any]]:
        """The items of the table with this logical ID, in plain Python types."""
        resource = SESSION.resource("dynamodb", endpoint_url=self.endpoint, config=DIRECT)
        return list(resource.Table(self.physical_ids[table]["Ref"]).scan()["Items"])

    def objects(self, bucket: str) -> dict[str, str]:
        """The texts of the objects in the bucket with this logical ID, by key."""
        s3, name = self.client("s3"), self.physical_ids[bucket]["Ref"]
        keys = [found["Key"] for found in s3.list_objects_v2(Bucket=name).get("Contents", [])]
        return {key: s3.get_object(Bucket=name, Key=key)["Body"].read().decode() for key in keys}

    def _take(self, url: str) -> list[dict[str, Any]]:
        sqs, taken = self.client("sqs"), []
        while messages := sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=10,
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
        ).get("Messages"):
            taken += messages
        return taken

    def _create_queue(self, logical_id: str, _: dict[str, Any]) -> dict[str, str]:
        sqs = self.client("sqs")
        url = sqs.create_queue(QueueName=logical_id)["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
        return {"Ref": url, "Arn": arn["QueueArn"], "QueueName": logical_id}

    def _create_table(self, logical_id: str, properties: dict[str, Any]) -> dict[str, str]:
        table = self.client("dynamodb").create_table(
            TableName=logical_id,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=properties["KeySchema"],
            AttributeDefinitions=properties["AttributeDefinitions"],
        )
        return {"Ref": logical_id, "Arn": table["TableDescription"]["TableArn"]}

    def _create_bus(self, logical_id: str, _: dict[str, Any]) -> dict[str, str]:
        events = self.client("events")
        arn = events.create_event_bus(Name=logical_id)["EventBusArn"]
        rule = {"Rule": "every-event", "EventBusName": logical_id}
        events.put_rule(Name=rule["Rule"], EventBusName=logical_id, EventPattern='{"source": [{"prefix": ""}]}')
        target = arn.split("event-bus")[0].replace(":events:", ":sqs:") + EVENTS_SEEN
        events.put_targets(**rule, Targets=[{"Id": "seen", "Arn": target}])
        return {"Ref": logical_id, "Arn": arn}

    def _create_secret(self, logical_id: str, properties: dict[str, Any]) -> dict[str, str]:
        generate = properties.get("GenerateSecretString", {})
        secret = json.loads(generate.get("SecretStringTemplate", "{}"))
        secret[generate.get("GenerateStringKey", "value")] = COURIER_KEY
        created = self.client("secretsmanager").create_secret(Name=logical_id, SecretString=json.dumps(secret))
        return {"Ref": created["ARN"]}

    def _create_bucket(self, logical_id: str, _: dict[str, Any]) -> dict[str, str]:
        name = logical_id.lower()
        self.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
        return {"Ref": name, "Arn": f"arn:aws:s3:::{name}"}
