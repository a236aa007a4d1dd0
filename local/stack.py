"""The stack on this machine: start the embedded emulator, build and deploy with SAM, stop.

with RunningEmulator.start() as emulator:
    stack = emulator.deploy("orders", {"FlowControl": "enabled"})
    stack.client("sqs").send_message(QueueUrl=stack.outputs["IngestQueueUrl"], MessageBody="…")
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

import boto3
import psutil
from botocore.config import Config
from botocore.exceptions import ClientError

from local.gaps.inert_resource_types import INERT_TYPES

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = ROOT / "template.yaml"
HOST = "127.0.0.1"
REGION = "eu-west-1"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}
VARIANTS = {
    "flow-control": {"FlowControl": "enabled"},
    "no-flow-control": {"FlowControl": "disabled"},
}
"""What the two variants of the hub set; every other parameter is the same in both."""

Progress = Callable[[str], None]


class StackError(RuntimeError):
    """The emulator or a SAM command failed; the message carries its own log."""


def silent(_message: str) -> None:
    """Progress for callers that want none."""


@dataclass(frozen=True)
class EmulatorSettings:
    """What may differ from AWS on purpose, in the unit AWS documents it in.

    Attributes:
        async_retry_base_seconds: Wait before the first retry of an asynchronous invocation that
            failed (the second waits twice as long). 60 on AWS ("Asynchronous error handling").
        account_concurrency: Concurrent executions of all functions together, 1 to 1,000.
        warm_seconds: How long an idle execution environment is kept.
        alarm_seconds: Time between two evaluations of the alarms. 60 on AWS for a period of 60.
        metric_seconds: Time between two readings of the queues for AWS/SQS metrics. 60 on AWS.
        mapping_change_seconds: Time until a change of an event source mapping is in effect. AWS
            publishes none.
        schedule_minute_seconds: Length of the minute in a schedule such as `rate(1 minute)`.
        bare: Leave every gap of the emulator open, for the conformance tests.
    """

    async_retry_base_seconds: float = 60.0
    account_concurrency: int = 1000
    warm_seconds: float = 300.0
    alarm_seconds: float = 5.0
    metric_seconds: float = 5.0
    mapping_change_seconds: float = 2.0
    schedule_minute_seconds: float = 60.0
    bare: bool = False

    def environment(self) -> dict[str, str]:
        """The environment variables that carry the settings to the emulator's process."""
        return {
            "LAMBDA_ASYNC_RETRY_BASE_SECONDS": str(self.async_retry_base_seconds),
            "LAMBDA_ASYNC_RETRY_MAX_SECONDS": str(self.async_retry_base_seconds * 5),
            "LAMBDA_ACCOUNT_CONCURRENCY": str(self.account_concurrency),
            "LAMBDA_WARM_TTL_SECONDS": str(round(self.warm_seconds)),
            "LOCAL_ALARM_SECONDS": str(self.alarm_seconds),
            "LOCAL_METRIC_SECONDS": str(self.metric_seconds),
            "LOCAL_MAPPING_CHANGE_SECONDS": str(self.mapping_change_seconds),
            "LOCAL_SCHEDULE_MINUTE_SECONDS": str(self.schedule_minute_seconds),
        }


@dataclass
class Stack:
    """A CloudFormation stack in a running emulator."""

    name: str
    endpoint: str
    outputs: dict[str, str] = field(default_factory=dict)

    def client(self, service: str) -> Any:
        """A boto3 client of this emulator, such as `stack.client("sqs")`."""
        return client(service, self.endpoint)

    def api_key(self, output: str = "OrdersApiKeyId") -> str:
        """The value of the API key whose identifier the stack gives in `output`."""
        answer = self.client("apigateway").get_api_key(apiKey=self.outputs[output], includeValue=True)
        return str(answer["value"])

    @cached_property
    def resources(self) -> dict[str, tuple[str, str]]:
        """Type and physical id of every resource, by logical id."""
        pages = self.client("cloudformation").get_paginator("list_stack_resources")
        return {
            resource["LogicalResourceId"]: (
                resource["ResourceType"],
                resource.get("PhysicalResourceId", ""),
            )
            for page in pages.paginate(StackName=self.name)
            for resource in page["StackResourceSummaries"]
        }

    def physical_id(self, logical_id: str) -> str:
        """The name that CloudFormation gave to a resource of the template."""
        return self.resources[logical_id][1]

    @property
    def inert_types(self) -> list[str]:
        """Types of the template that the emulator accepts and does nothing for."""
        return sorted({kind for kind, _ in self.resources.values()} & set(INERT_TYPES))


@dataclass
class RunningEmulator:
    """An emulator process that this object started, or that it was attached to."""

    port: int
    pid: int
    started: float
    state: str
    progress: Progress = silent

    @classmethod
    def start(
        cls,
        settings: EmulatorSettings | None = None,
        *,
        detached: bool = False,
        progress: Progress = silent,
        timeout: float = 30.0,
    ) -> Self:
        """Start an emulator on a fresh port of 127.0.0.1 and wait until it answers.

        Args:
            settings: Where it differs from AWS on purpose.
            detached: Let it outlive this process; otherwise it ends when this process does.
            progress: Called with a line for each step.
            timeout: Seconds it may take until it answers.

        Raises:
            StackError: If it ends or does not answer in time (with the tail of its log), or if it
                listens on anything but 127.0.0.1.
        """
        settings = settings or EmulatorSettings()
        port = free_port()
        state = Path(tempfile.mkdtemp(prefix="event-hub-"))
        progress(f"starting the emulator on {HOST}:{port}")
        command = [str(emulator_python()), "-m", "local.server", "--port", str(port)]
        command += ["--bare"] if settings.bare else []
        command += [] if detached else ["--attached"]
        with (state / "emulator.log").open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=emulator_environment(state) | settings.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        emulator = cls(
            port=port,
            pid=process.pid,
            started=psutil.Process(process.pid).create_time(),
            state=str(state),
            progress=progress,
        )
        try:
            emulator._wait_until_ready(timeout)
        except BaseException:
            emulator.stop()
            raise
        return emulator

    @property
    def endpoint(self) -> str:
        """The address for `AWS_ENDPOINT_URL`."""
        return f"http://{HOST}:{self.port}"

    @property
    def log(self) -> Path:
        """The log of the emulator's process."""
        return Path(self.state) / "emulator.log"

    @property
    def alive(self) -> bool:
        """Whether the very process that was started still runs."""
        try:
            process = psutil.Process(self.pid)
            return abs(process.create_time() - self.started) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def check(self) -> None:
        """Raise `StackError` with the tail of the log if the emulator has ended."""
        if not self.alive:
            raise StackError(f"the emulator has ended; the end of its log:\n{self.log_tail()}")

    def log_tail(self, lines: int = 40) -> str:
        """The last lines of the emulator's log."""
        if not self.log.exists():
            return "(no log)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def client(self, service: str) -> Any:
        """A boto3 client of this emulator."""
        return client(service, self.endpoint)

    def listening_addresses(self) -> set[tuple[str, int]]:
        """Addresses and ports that the emulator and its workers listen on."""
        family = [psutil.Process(self.pid), *psutil.Process(self.pid).children(recursive=True)]
        found: set[tuple[str, int]] = set()
        for process in family:
            try:
                connections = process.net_connections(kind="tcp")
            except psutil.NoSuchProcess:
                continue
            found |= {
                (connection.laddr.ip, connection.laddr.port)
                for connection in connections
                if connection.status == psutil.CONN_LISTEN
            }
        return found

    def deploy(
        self,
        name: str,
        parameters: Mapping[str, object] | None = None,
        template: Path | None = None,
    ) -> Stack:
        """Build (when something changed) and deploy the template with SAM, as on AWS.

        Args:
            name: Name of the CloudFormation stack.
            parameters: Template parameters that differ from their defaults.
            template: Template to deploy instead of the project's own.

        Raises:
            StackError: If a SAM command fails (with its output), or the emulator has ended.
        """
        self.check()
        template = template or TEMPLATE
        build(template, self.progress)
        started = time.monotonic()
        self.progress(f"{name}: deploying")
        command = [
            *("sam", "deploy", "--stack-name", name, "--resolve-s3", "--no-confirm-changeset"),
            *("--no-fail-on-empty-changeset", "--no-progressbar"),
            *("--capabilities", "CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"),
            *("--template-file", str(built_template(template)), "--region", REGION),
        ]
        if parameters:
            pairs = [f"{key}={value}" for key, value in parameters.items()]
            command += ["--parameter-overrides", *pairs]
        with artefact_bucket(self):
            process = start_sam(command, self.endpoint, template.parent)
        try:
            finish_sam(process, f"{name}: sam deploy", self)
        except StackError as error:
            reasons = self._failures(name)
            if not reasons:
                raise
            raise StackError(f"{name}: CloudFormation refused\n{reasons}") from error
        stack = self.stack(name)
        self.progress(f"{name}: deployed in {time.monotonic() - started:.0f} s")
        return stack

    def stack(self, name: str) -> Stack:
        """A stack that is already deployed."""
        described = self.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
        outputs = {o["OutputKey"]: o["OutputValue"] for o in described.get("Outputs", [])}
        return Stack(name=name, endpoint=self.endpoint, outputs=outputs)

    def deploy_all(self, stacks: Mapping[str, Mapping[str, object]]) -> dict[str, Stack]:
        """Deploy several stacks (name to parameters) of the template side by side."""
        build(TEMPLATE, self.progress)
        deployed: dict[str, Stack] = {}
        failures: list[BaseException] = []

        def deploy(name: str, parameters: Mapping[str, object]) -> None:
            try:
                deployed[name] = self.deploy(name, parameters)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=deploy, args=item, daemon=True) for item in stacks.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        return {name: deployed[name] for name in stacks}

    def stop(self) -> None:
        """End the emulator, every process it started, and its temporary state."""
        if self.alive:
            server = psutil.Process(self.pid)
            family = [*server.children(recursive=True), server]
            server.terminate()
            psutil.wait_procs([server], timeout=5)
            for process in family:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(family, timeout=5)
        shutil.rmtree(self.state, ignore_errors=True)

    def to_json(self) -> dict[str, Any]:
        """What `from_json` needs to attach to this emulator from another process."""
        record = asdict(self)
        del record["progress"]
        return record

    @classmethod
    def from_json(cls, record: Mapping[str, Any], progress: Progress = silent) -> Self:
        """Attach to an emulator that another process started."""
        return cls(**record, progress=progress)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _failures(self, name: str) -> str:
        """Why resources of a stack failed, a line each; empty when none did."""
        self.check()
        events = self.client("cloudformation").get_paginator("describe_stack_events")
        try:
            return "\n".join(
                f"  {event['LogicalResourceId']} ({event['ResourceType']}): "
                f"{event.get('ResourceStatusReason', 'no reason given')}"
                for page in events.paginate(StackName=name)
                for event in page["StackEvents"]
                if event["ResourceStatus"].endswith("_FAILED")
            )
        except ClientError:
            return ""

    def _wait_until_ready(self, timeout: float) -> None:
        opener = build_opener(ProxyHandler({}))
        deadline = time.monotonic() + timeout
        while True:
            self.check()
            try:
                with opener.open(f"{self.endpoint}/_ministack/health", timeout=2):
                    break
            except (URLError, OSError):
                if time.monotonic() > deadline:
                    raise StackError(
                        f"the emulator does not answer after {timeout:.0f} s; the end of its log:\n{self.log_tail()}"
                    ) from None
                time.sleep(0.1)
        elsewhere = {address for address in self.listening_addresses() if address[0] != HOST}
        if elsewhere:
            raise StackError(f"the emulator listens on {sorted(elsewhere)}, not on {HOST} alone")


def client(service: str, endpoint: str) -> Any:
    """A boto3 client for an emulator, with the credentials it takes."""
    return boto3.client(
        service,  # type: ignore[call-overload]
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        config=Config(retries={"max_attempts": 2}, proxies={}, max_pool_connections=50),
    )


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nothing listens on, and that no outgoing connection is given by itself.

    Below 32768, where Linux begins to hand out ports to connections (macOS at 49152): between this look and the
    emulator's start nobody takes it by accident.

    Raises:
        StackError: If a hundred ports in a row are taken.
    """
    for _ in range(100):
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port
    raise StackError(f"no free port on {HOST} between 20000 and 32000: stop what listens there, and try again")


def emulator_python() -> Path:
    """The interpreter of the emulator's own environment.

    Raises:
        StackError: If `make setup` has not made the environment yet.
    """
    python = ROOT / ".venv-emulator" / "bin" / "python"
    if not python.exists():
        raise StackError("there is no .venv-emulator: run `make setup`")
    return python


def emulator_environment(state: Path) -> dict[str, str]:
    """A clean environment: a handler must not see this machine's variables, nor AWS credentials."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(state),
        "TMPDIR": str(state),
        "LOCAL_STATE": str(state),
        "LANG": "en_US.UTF-8",
        "TZ": "UTC",
        "PYTHONUNBUFFERED": "1",
        "BIND_HOST": HOST,
        "MINISTACK_HOST": HOST,
        "MINISTACK_REGION": REGION,
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "PERSIST_STATE": "0",
        "CLOUDTRAIL_RECORDING": "0",
        "LAMBDA_EXECUTOR": "local",
        "LOG_LEVEL": "WARNING",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": f"{HOST},localhost",
    }


def built_template(template: Path) -> Path:
    """Where `sam build` puts the template with the paths of the built artefacts."""
    return template.parent / ".aws-sam" / "build" / "template.yaml"


def build(template: Path = TEMPLATE, progress: Progress = silent) -> Path:
    """Build functions and layers with `sam build`, unless nothing changed since the last build.

    Returns:
        The built template.

    Raises:
        StackError: If the build fails, with its output.
    """
    root = template.parent
    result = built_template(template)
    (root / ".aws-sam").mkdir(exist_ok=True)
    digest_file = root / ".aws-sam" / "local-digest"
    with (root / ".aws-sam" / "local-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        digest = source_digest(template)
        if result.exists() and digest_file.exists() and digest_file.read_text() == digest:
            return result
        progress("building functions and layers with SAM")
        command = ["sam", "build", "--cached", "--template-file", str(template)]
        finish_sam(start_sam(command, None, root), "sam build", None)
        digest_file.write_text(digest)
    return result


def source_digest(template: Path) -> str:
    """A digest of everything that `sam build` reads."""
    digest = hashlib.sha256()
    sources = [template]
    for folder in ("functions", "layers", "statemachines", "src", "layer"):
        sources += sorted(
            path for path in (template.parent / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts
        )
    for path in sources:
        digest.update(str(path.relative_to(template.parent)).encode() + b"\0")
        digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()


def start_sam(command: list[str], endpoint: str | None, folder: Path) -> subprocess.Popen[str]:
    """Start a SAM command with its output collected, aimed at the emulator and never at AWS."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
    environment |= CREDENTIALS | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": f"{HOST},localhost",
        "SAM_CLI_TELEMETRY": "0",
        "SAM_CLI_POLL_DELAY": "0.5",
        "PYTHONWARNINGS": "ignore",
    }
    if endpoint:
        environment["AWS_ENDPOINT_URL"] = endpoint
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )


def finish_sam(process: subprocess.Popen[str], what: str, emulator: RunningEmulator | None) -> None:
    """Wait for a SAM command; its output is shown in full only when it fails.

    Raises:
        StackError: If it fails, with its output, and the emulator's log if that has ended.
    """
    try:
        output, _ = process.communicate()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    if process.returncode == 0:
        return
    if emulator is not None:
        emulator.check()
    raise StackError(f"{what} failed with status {process.returncode}:\n{output}")


_bucket_lock = threading.Lock()


@contextmanager
def artefact_bucket(emulator: RunningEmulator) -> Iterator[None]:
    """Let the first `sam deploy` make SAM's managed bucket before a second one looks for it."""
    with _bucket_lock:
        yield
        cloudformation = emulator.client("cloudformation")
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            names = {
                summary["StackName"]
                for summary in cloudformation.list_stacks(StackStatusFilter=["CREATE_COMPLETE", "UPDATE_COMPLETE"])[
                    "StackSummaries"
                ]
            }
            if "aws-sam-cli-managed-default" in names:
                return
            time.sleep(0.2)


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write a JSON file at once, so that a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(record, indent=2) + "\n")
    temporary.replace(path)
