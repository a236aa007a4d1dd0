"""Lambda execution environments for Python: real errors, real log times, and starts by fork.

AWS ("Understanding the Lambda execution environment lifecycle", "Lambda function handler in
Python", "AWS Lambda function logging in Python", Lambda developer guide): a handler's exception is
answered with its type, message and stack trace, and the environment stays; a timeout or an exit of
the process ends it. Every invocation leaves START, END and REPORT lines, with the time of each line
and the duration in fractions of a millisecond, in one log stream for each environment. A handler
finds the managed runtime's boto3 and its own package and layers, and no other library.
ministack: every exception is `Runtime.HandlerError` without a stack trace and ends the environment;
all lines carry the time of the end; durations include the start and up to 50 ms of waiting for log
lines; handlers can import whatever the emulator has installed; each environment is a fresh process
that unpacks and imports everything (0.4 s of CPU, 60 MiB).

Here one template process a function initialises it, and environments are forks of that process: a
start takes milliseconds, and memory is shared until it is written to. As with Lambda SnapStart,
code outside the handler runs once for all of them, and soon after the function is created.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local.gaps.emulator import Emulator
from local.gaps.scopes import in_scope
from local.lambda_template_process import TIME, receive, send

INIT_SECONDS = 10.0
RUNTIME_LIBRARIES = (
    *("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six.py", "urllib3"),
    *("awslambdaric", "snapshot_restore_py.py", "simplejson"),
)
"""What the managed Python runtime brings, boto3 and the runtime interface client, with what they
need themselves."""

Result = dict[str, Any]


class InitError(Exception):
    """The function could not be initialised; carries the error as the runtime describes it."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error.get("errorMessage", ""))
        self.error = error


def install(emulator: Emulator) -> None:
    """Let Python functions run in environments of this module; the pool around them stays."""
    from ministack.core import lambda_runtime
    from ministack.services import lambda_svc

    templates = Templates(Path(tempfile.gettempdir()) / "lambda")

    def worker_class(original: Any) -> Any:
        def choose(config: dict[str, Any]) -> Any:
            if not is_python(config):
                return original(config)
            return lambda _name, config, code: Environment(templates, config, code)

        return choose

    def execute(original: Any) -> Any:
        def run(func: dict[str, Any], event: Any, request_id: str) -> Result:
            config = func.get("config") or func
            if not is_python(config) or not func.get("code_zip"):
                return dict(original(func, event, request_id))
            lambda_svc._ensure_reaper_thread()
            environment, _ = lambda_svc.acquire_worker(
                config["FunctionName"],
                config,
                func["code_zip"],
                qualifier=config.get("Version", "$LATEST"),
            )
            try:
                trace_id = lambda_svc._xray_trace_id_for_invocation(config)
                answer: Result = environment.invoke(event, request_id, trace_id=trace_id)
                return answer
            finally:
                lambda_svc.release_worker(environment)

        return run

    def logs(original: Any) -> Any:
        def emit(func: dict[str, Any], *arguments: Any, **options: Any) -> None:
            if not is_python(func.get("config") or func):
                original(func, *arguments, **options)

        return emit

    async def initialise_ahead() -> None:
        while True:
            await asyncio.sleep(0.5)
            for (account, region, _), func in list(lambda_svc._functions._data.items()):
                if is_python(func["config"]) and func.get("code_zip"):
                    ahead = (templates.initialise, func["config"], func["code_zip"])
                    await asyncio.to_thread(in_scope, account, region, *ahead)

    emulator.add_background(initialise_ahead)
    emulator.wrap(lambda_runtime, "_worker_class_for", worker_class, parameters=("config",))
    emulator.wrap(lambda_svc, "_execute_function_warm", execute, parameters=("func", "event", "request_id"))
    emulator.wrap(lambda_svc, "_emit_lambda_logs", logs)


def is_python(config: dict[str, Any]) -> bool:
    """Whether a function is one that this gap runs."""
    return str(config.get("Runtime", "")).startswith("python")


class Environment:
    """An execution environment, in the shape of the emulator's pool entries."""

    def __init__(self, templates: Templates, config: dict[str, Any], code: bytes) -> None:
        self.config = config
        self.in_use = False
        self.last_used = time.time()
        self._lock = threading.Lock()
        self._templates = templates
        self._code = code
        self._proc: Fork | None = None
        self._log: LogWriter | None = None

    def invoke(self, event: Any, request_id: str, *, trace_id: str | None = None) -> Result:
        """Run one invocation; starts the environment first when there is none.

        Returns:
            `body` (the handler's answer or the error), `log`, and `error` when it failed.
        """
        init_milliseconds = None
        with self._lock:
            if self._proc is None or self._log is None or self._proc.poll() is not None:
                started = time.perf_counter()
                self._log = LogWriter(self.config)
                template = self._templates.get(self.config, self._code)
                try:
                    self._proc = template.fork({"AWS_LAMBDA_LOG_STREAM_NAME": self._log.stream})
                except InitError as failure:
                    self._templates.discard(template)
                    return self._init_failed(template, self._log, failure, request_id)
                init_milliseconds = (time.perf_counter() - started) * 1000
                for stamp, line in template.take_init_lines():
                    self._log.write(stamp, line)
            report = Report(self.config, request_id, init_milliseconds, trace_id)
            return self._run(self._proc, self._log, event, report)

    def _run(self, process: Fork, log: LogWriter, event: Any, report: Report) -> Result:
        timeout = float(self.config.get("Timeout", 3))
        log.write(now_milliseconds(), report.start())
        started = time.perf_counter()
        outcome = process.run(
            {
                "request_id": report.request_id,
                "event": json.dumps(event),
                "function_arn": self.config.get("FunctionArn", ""),
                "deadline": now_milliseconds() + int(timeout * 1000),
                "trace_id": report.trace_id,
            },
            timeout,
            log,
        )
        if outcome.status == "timeout":
            duration = timeout * 1000
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
            text = f"{stamp} {report.request_id} Task timed out after {timeout:.2f} seconds\n"
            log.write(now_milliseconds(), text)
        else:
            duration = (time.perf_counter() - started) * 1000
            if outcome.status == "exit":
                log.write(now_milliseconds(), str(outcome.body["errorMessage"]))
        log.write(now_milliseconds(), report.end())
        log.write(now_milliseconds(), report.report(duration, outcome))
        self.last_used = time.time()
        if outcome.status in ("timeout", "exit"):
            process.kill()
            self._proc = None
        answer: Result = {"body": outcome.body, "log": "\n".join(log.take())}
        return answer if outcome.status == "ok" else answer | {"error": True}

    def _init_failed(self, template: Template, log: LogWriter, failure: InitError, request_id: str) -> Result:
        report = Report(self.config, request_id, None, None)
        for stamp, line in template.take_init_lines():
            log.write(stamp, line)
        log.write(now_milliseconds(), report.start())
        log.write(now_milliseconds(), report.end())
        log.write(now_milliseconds(), report.report(0.0, Outcome("error", failure.error)))
        return {"body": failure.error, "error": True, "log": "\n".join(log.take())}

    def kill(self) -> None:
        """End the environment's process."""
        process, self._proc = self._proc, None
        if process is not None:
            process.kill()

    def _discard_tmpdir(self) -> None:
        """Nothing: code and layers are unpacked once for all environments."""


@dataclass
class Outcome:
    """What became of one invocation: ok, error (of the handler), exit or timeout."""

    status: str
    body: Any = None
    memory: int = 0


class Fork:
    """The process of one environment, and the socket to it; has what the pool calls on a process."""

    def __init__(self, pid: int, channel: socket.socket) -> None:
        self.pid = pid
        self.channel = channel
        self.dead = False
        self.memory = 0

    def run(self, invocation: dict[str, Any], timeout: float, log: LogWriter) -> Outcome:
        """Send an invocation, pass on log lines, and wait for the answer or the timeout."""
        deadline = time.monotonic() + timeout
        try:
            self.channel.settimeout(timeout)
            send(self.channel, b"I", json.dumps(invocation).encode())
            while True:
                self.channel.settimeout(max(0.001, deadline - time.monotonic()))
                frame = receive(self.channel)
                if frame is None:
                    message = "Runtime exited without providing a reason"
                    return Outcome("exit", exit_error(message, invocation["request_id"]), self.memory)
                kind, payload = frame
                if kind == b"L":
                    log.write(TIME.unpack(payload[:8])[0], payload[8:].decode())
                elif kind == b"M":
                    self.memory = int(payload)
                elif kind == b"X":
                    message = f"Runtime exited with error: exit status {int(payload)}"
                    if payload == b"0":
                        message = "Runtime exited without providing a reason"
                    return Outcome("exit", exit_error(message, invocation["request_id"]), self.memory)
                else:
                    return Outcome("ok" if kind == b"R" else "error", json.loads(payload), self.memory)
        except TimeoutError:
            message = f"Task timed out after {timeout:.2f} seconds"
            error = {
                "errorType": "Sandbox.Timedout",
                "errorMessage": f"RequestId: {invocation['request_id']} Error: {message}",
            }
            return Outcome("timeout", error, self.memory)
        except (BrokenPipeError, ConnectionResetError):
            message = "Runtime exited without providing a reason"
            return Outcome("exit", exit_error(message, invocation["request_id"]), self.memory)

    def poll(self) -> int | None:
        """None while the process lives."""
        if self.dead:
            return 1
        try:
            self.channel.settimeout(0)
            self.dead = self.channel.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return None
        except OSError:
            self.dead = True
        return 1 if self.dead else None

    def kill(self) -> None:
        """End the process at once."""
        if not self.dead:
            self.dead = True
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self.channel.close()

    terminate = kill

    def wait(self, timeout: float | None = None) -> int:  # noqa: ARG002 - as of a Popen
        """Nothing to wait for: the template process has the kernel reap it."""
        return 0


def exit_error(message: str, request_id: str) -> dict[str, str]:
    """The error for an environment whose process ended."""
    return {
        "errorType": "Runtime.ExitError",
        "errorMessage": f"RequestId: {request_id} Error: {message}",
    }


@dataclass
class Template:
    """The process that has initialised one version of a function, and forks its environments."""

    folder: Path
    config: dict[str, Any]
    code: bytes
    process: subprocess.Popen[bytes] | None = None
    control: socket.socket | None = None
    init_lines: list[tuple[int, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def initialise(self) -> None:
        """Start the process unless it runs.

        Raises:
            InitError: If the function cannot be initialised.
        """
        with self.lock:
            if self.process is None:
                self._start()

    def fork(self, environment: dict[str, str]) -> Fork:
        """Make an environment, with these variables added to it.

        Raises:
            InitError: If the function cannot be initialised.
        """
        self.initialise()
        with self.lock:
            if self.control is None:
                raise InitError(exit_error("Runtime exited without providing a reason", ""))
            ours, theirs = socket.socketpair()
            with theirs:
                message = json.dumps(environment).encode()
                socket.send_fds(self.control, [message], [theirs.fileno()])
            frame = receive(self.control)
            if frame is None:
                ours.close()
                raise InitError(exit_error("Runtime exited without providing a reason", ""))
            return Fork(int(frame[1]), ours)

    def take_init_lines(self) -> list[tuple[int, str]]:
        """Log lines of the initialisation, once."""
        lines, self.init_lines = self.init_lines, []
        return lines

    def stop(self) -> None:
        """End the process; environments that it forked live on until they are killed."""
        if self.control is not None:
            self.control.close()
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def _start(self) -> None:
        code, layers = unpack_function(self.folder, self.config, self.code)
        ours, theirs = socket.socketpair()
        path = [str(code)]
        for layer in layers:
            version = f"python{sys.version_info.major}.{sys.version_info.minor}"
            path += [str(layer / "python" / "lib" / version / "site-packages"), str(layer / "python")]
        script = Path(__file__).resolve().parent.parent / "lambda_template_process.py"
        with theirs:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", str(script), str(theirs.fileno())),
                    *(json.dumps(path), str(runtime_folder(self.folder))),
                ],
                cwd=code,
                env=function_environment(self.config, code),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        self.control = ours
        ours.settimeout(INIT_SECONDS)
        try:
            while (frame := receive(ours)) is not None:
                kind, payload = frame
                if kind == b"L":
                    self.init_lines.append((TIME.unpack(payload[:8])[0], payload[8:].decode()))
                elif kind == b"E":
                    raise InitError(json.loads(payload))
                else:
                    ours.settimeout(None)
                    return
        except TimeoutError:
            raise InitError(
                {
                    "errorType": "Sandbox.Timedout",
                    "errorMessage": f"Init timed out after {INIT_SECONDS:.2f} seconds",
                }
            ) from None
        raise InitError(exit_error("Runtime exited without providing a reason", ""))


class Templates:
    """A template process for each version of a function, replaced when its settings change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = threading.Lock()
        self.by_key: dict[tuple[str, str], tuple[str, Template]] = {}
        self.failed: set[str] = set()

    def get(self, config: dict[str, Any], code: bytes) -> Template:
        """The template of a function version as it is configured now."""
        key = (function_arn(config), str(config.get("Version", "$LATEST")))
        digest = configuration_digest(config)
        with self.lock:
            known = self.by_key.get(key)
            if known is not None and known[0] == digest:
                return known[1]
            template = Template(self.folder, config, code)
            self.by_key[key] = (digest, template)
        if known is not None:
            known[1].stop()
        return template

    def initialise(self, config: dict[str, Any], code: bytes) -> None:
        """Initialise a function ahead of its first invocation, where a failure is told."""
        digest = configuration_digest(config)
        if digest in self.failed:
            return
        template = self.get(config, code)
        try:
            template.initialise()
        except InitError:
            self.failed.add(digest)
            self.discard(template)

    def discard(self, template: Template) -> None:
        """Forget a template whose initialisation failed: the next invocation tries again."""
        with self.lock:
            for key, (_, known) in list(self.by_key.items()):
                if known is template:
                    del self.by_key[key]
        template.stop()


def function_arn(config: dict[str, Any]) -> str:
    """The ARN of a function without a version or alias."""
    return ":".join(str(config["FunctionArn"]).split(":")[:7])


def configuration_digest(config: dict[str, Any]) -> str:
    """A digest of what an initialised function depends on."""
    names = ("CodeSha256", "Environment", "Handler", "Layers", "MemorySize", "Runtime", "Timeout")
    relevant = {name: config.get(name) for name in names}
    return hashlib.sha256(json.dumps(relevant, sort_keys=True, default=str).encode()).hexdigest()


def unpack_function(folder: Path, config: dict[str, Any], code: bytes) -> tuple[Path, list[Path]]:
    """Unpack code and layers, each archive once; returns their folders, the last layer first."""
    from ministack.services.lambda_svc import _resolve_layer_zip

    layers = []
    for layer in config.get("Layers") or []:
        archive = _resolve_layer_zip(layer)
        if archive:
            layers.append(unpack(folder, archive))
    return unpack(folder, code), layers[::-1]


_unpack_lock = threading.Lock()


def unpack(folder: Path, archive: bytes) -> Path:
    """Unpack an archive into a folder named after its content, unless it is there."""
    target = folder / hashlib.sha256(archive).hexdigest()[:16]
    with _unpack_lock:
        if not target.exists():
            partial = target.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            with zipfile.ZipFile(io.BytesIO(archive)) as contents:
                contents.extractall(partial)
            partial.rename(target)
    return target


def runtime_folder(folder: Path) -> Path:
    """A folder with the managed runtime's libraries, taken from the emulator's environment."""
    import botocore

    installed = Path(botocore.__file__).parent.parent
    target = folder / "runtime"
    with _unpack_lock:
        target.mkdir(parents=True, exist_ok=True)
        for name in RUNTIME_LIBRARIES:
            link = target / name
            if not link.exists():
                link.symlink_to(installed / name)
    return target


def function_environment(config: dict[str, Any], code: Path) -> dict[str, str]:
    """The environment variables that Lambda defines, and the function's own.

    Source: "Working with Lambda environment variables", Lambda developer guide.
    """
    from ministack.core.lambda_runtime import execution_credentials

    region = str(config["FunctionArn"]).split(":")[3]
    variables = (config.get("Environment") or {}).get("Variables") or {}
    credentials: dict[str, str] = execution_credentials(config)
    defaults = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{os.environ['GATEWAY_PORT']}"}
    return (
        defaults
        | {str(name): str(value) for name, value in variables.items()}
        | credentials
        | {
            "AWS_REGION": region,
            "AWS_DEFAULT_REGION": region,
            "AWS_EXECUTION_ENV": f"AWS_Lambda_{config['Runtime']}",
            "AWS_LAMBDA_FUNCTION_NAME": str(config["FunctionName"]),
            "AWS_LAMBDA_FUNCTION_VERSION": str(config.get("Version", "$LATEST")),
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(config.get("MemorySize", 128)),
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": log_group(config),
            "LAMBDA_TASK_ROOT": str(code),
            "_HANDLER": str(config.get("Handler", "")),
            "LANG": "en_US.UTF-8",
            "PATH": os.defpath,
            "TZ": ":UTC",
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1",
        }
    )


def log_group(config: dict[str, Any]) -> str:
    """The log group of a function: its own setting, or the default name."""
    own = (config.get("LoggingConfig") or {}).get("LogGroup")
    return str(own or f"/aws/lambda/{config['FunctionName']}")


class LogWriter:
    """Writes the log stream of one environment, each line with the time it was written at."""

    def __init__(self, config: dict[str, Any]) -> None:
        from ministack.services import cloudwatch_logs

        self.group = log_group(config)
        version = config.get("Version", "$LATEST")
        day = time.strftime("%Y/%m/%d", time.gmtime())
        self.stream = f"{day}/[{version}]{os.urandom(16).hex()}"
        self.lines: list[str] = []
        self.fresh: list[dict[str, Any]] = []
        self.service = cloudwatch_logs
        # Both answer with an error when the log group exists, or cannot be made: logging never
        # fails an invocation.
        cloudwatch_logs._create_log_group({"logGroupName": self.group})
        cloudwatch_logs._create_log_stream({"logGroupName": self.group, "logStreamName": self.stream})

    def write(self, milliseconds: int, line: str) -> None:
        """Store one line at its time (milliseconds since the epoch)."""
        self.lines.append(line)
        event = {"timestamp": milliseconds, "message": line, "ingestionTime": now_milliseconds()}
        self.fresh.append(event)
        group = self.service._log_groups.get(self.group)
        stream = group and group["streams"].get(self.stream)
        if stream:
            self.service._append_log_events(stream, [event])

    def take(self) -> list[str]:
        """The lines since the last call, after handing them to subscription filters."""
        events, self.fresh = self.fresh, []
        self.service._fanout_to_subscription_filters(self.group, self.stream, events)
        lines, self.lines = self.lines, []
        return lines


@dataclass(frozen=True)
class Report:
    """The platform's log lines of one invocation.

    Source: "Log Lambda function calls", Lambda developer guide; since August 2025 the time of the
    initialisation is billed for managed runtimes too ("AWS Lambda standardizes billing for INIT
    Phase", AWS Compute Blog).
    """

    config: dict[str, Any]
    request_id: str
    init_milliseconds: float | None
    trace_id: str | None

    def start(self) -> str:
        """Say that an invocation begins."""
        version = self.config.get("Version", "$LATEST")
        return f"START RequestId: {self.request_id} Version: {version}"

    def end(self) -> str:
        """Say that it has ended."""
        return f"END RequestId: {self.request_id}"

    def report(self, duration: float, outcome: Outcome) -> str:
        """Tell what it took; `duration` in milliseconds."""
        billed = -(-(duration + (self.init_milliseconds or 0.0)) // 1)
        parts = [
            f"REPORT RequestId: {self.request_id}",
            f"Duration: {duration:.2f} ms",
            f"Billed Duration: {billed:.0f} ms",
            f"Memory Size: {self.config.get('MemorySize', 128)} MB",
            f"Max Memory Used: {outcome.memory} MB",
        ]
        if self.init_milliseconds is not None:
            parts.append(f"Init Duration: {self.init_milliseconds:.2f} ms")
        if outcome.status == "timeout":
            parts.append("Status: timeout")
        elif outcome.status == "exit":
            parts += ["Status: error", f"Error Type: {outcome.body['errorType']}"]
        if self.trace_id:
            root = self.trace_id.split(";")[0].removeprefix("Root=")
            parts.append(f"\nXRAY TraceId: {root}")
        return "\t".join(parts)


def now_milliseconds() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000
