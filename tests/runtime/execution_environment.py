"""Runs a built function in a process of its own, through AWS's own runtime interface client.

The process sees what a function sees on AWS and nothing else: the code, its layers and what the
managed runtime brings (the interface client and boto3), with a fresh environment. A package that
happens to be installed on this machine cannot stand in for one that is missing in the artefact.

Not imitated: memory limit, the second try of a failed initialisation inside the invocation (it
ends with the same answer), and concurrency (one environment handles one event at a time, as on
AWS; start several for more).
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from importlib.metadata import distribution
from pathlib import Path
from queue import Empty
from signal import strsignal
from threading import Thread
from typing import IO, Any, Self
from uuid import uuid4

from local.stack import REGION

from .artefact import BuiltFunction
from .runtime_api import Event, RuntimeApi, Signal

ACCOUNT_ID = "123456789012"
CREDENTIAL = "testing"  # for key, secret and token: no account can be reached by mistake
INIT_LIMIT = 10.0  # seconds; Lambda developer guide, "Lambda execution environment lifecycle"

# What the managed Python runtime provides besides the standard library: its interface client
# and boto3, each with what it depends on.
INTERFACE_CLIENT = ["awslambdaric", "simplejson", "snapshot-restore-py"]
SDK = ["boto3", "botocore", "s3transfer", "jmespath", "python-dateutil", "six", "urllib3"]


@dataclass(frozen=True)
class Invocation:
    """What Invoke with the log tail would answer; durations in seconds.

    `function_error` is "Unhandled" when the function failed, and `payload` then the error object
    with errorType and errorMessage. `init_duration` is None in a warm environment.
    """

    request_id: str
    payload: Any
    function_error: str | None
    duration: float
    init_duration: float | None
    log: str


@dataclass
class ExecutionEnvironment:
    """An execution environment of one function; a context manager that ends with its block.

    The process starts at the first invocation and stays warm for the next ones. After a timeout
    or an exit the next invocation begins in a fresh process.
    """

    function: BuiltFunction
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="lambda-")
        self._runtime = Path(self._folder.name, "runtime")
        _link_runtime(self._runtime)
        # A file instead of a pipe: nothing to drain, and a line is complete once it is answered.
        self._log: IO[bytes] = tempfile.TemporaryFile()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        self._log.close()
        self._folder.cleanup()

    def invoke(self, event: Any) -> Invocation:
        """Sends an event and waits for the answer, at most for the function's timeout."""
        log_start = os.fstat(self._log.fileno()).st_size
        request_id = str(uuid4())
        init_duration, signal = None, Signal("ready")
        if self._process is None:
            init_duration, signal = self._start()
        started = time.monotonic()
        if signal.kind == "ready":
            self._api.events.put(self._event(request_id, event))
            signal = self._wait(self.function.timeout, "response", "error")
        duration = time.monotonic() - started
        if signal.kind not in ("response", "error"):
            self._stop()
        return Invocation(
            request_id=request_id,
            payload=_payload(signal, request_id),
            function_error=None if signal.kind == "response" else "Unhandled",
            duration=duration,
            init_duration=init_duration,
            log=self._read_log(log_start),
        )

    def _start(self) -> tuple[float, Signal]:
        """Starts the process; returns the seconds until it was ready, or had failed, and which."""
        self._api = RuntimeApi().__enter__()
        started = time.monotonic()
        process = self._process = subprocess.Popen(
            # -S: no site-packages. -P: no current directory. PYTHONPATH alone decides.
            [sys.executable, "-S", "-P", "-m", "awslambdaric", self.function.handler],
            cwd=self.function.code,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        signals = self._api.signals
        Thread(target=lambda: signals.put(Signal("exit", process.wait())), daemon=True).start()
        signal = self._wait(INIT_LIMIT, "ready", "init error")
        return time.monotonic() - started, signal

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self._api.__exit__()

    def _wait(self, limit: float, *kinds: str) -> Signal:
        """The next signal of one of these kinds, an exit, or a timeout after `limit` seconds."""
        deadline = time.monotonic() + limit
        while True:
            try:
                signal = self._api.signals.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                return Signal("timeout", limit)
            if signal.kind in (*kinds, "exit"):
                return signal

    def _event(self, request_id: str, event: Any) -> Event:
        name = self.function.name
        deadline = time.time() + self.function.timeout
        return Event(
            body=json.dumps(event).encode(),
            headers={
                "Lambda-Runtime-Aws-Request-Id": request_id,
                "Lambda-Runtime-Deadline-Ms": str(int(deadline * 1000)),
                "Lambda-Runtime-Invoked-Function-Arn": (f"arn:aws:lambda:{REGION}:{ACCOUNT_ID}:function:{name}"),
                "Lambda-Runtime-Trace-Id": _trace_id(),
            },
        )

    def _environment(self) -> dict[str, str]:
        """The variables that Lambda sets ("Defined runtime environment variables") and ours."""
        function = self.function
        # Later layers overwrite earlier ones in /opt, and all of them come before the runtime.
        layers = [str(layer / "python") for layer in reversed(function.layers)]
        return {
            "AWS_ACCESS_KEY_ID": CREDENTIAL,
            "AWS_SECRET_ACCESS_KEY": CREDENTIAL,
            "AWS_SESSION_TOKEN": CREDENTIAL,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory),
            "AWS_LAMBDA_FUNCTION_NAME": function.name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": f"{time.strftime('%Y/%m/%d')}/[$LATEST]{uuid4().hex}",
            "AWS_LAMBDA_RUNTIME_API": self._api.address,
            "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
            "AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1:9",  # the discard port: segments go nowhere
            "LAMBDA_RUNTIME_DIR": str(self._runtime),
            "LAMBDA_TASK_ROOT": str(function.code),
            "LANG": "en_US.UTF-8",
            "PATH": os.defpath,
            "PYTHONPATH": os.pathsep.join([str(function.code), *layers, str(self._runtime)]),
            "TZ": ":UTC",
            "_HANDLER": function.handler,
            # Not Lambda's own: it keeps the artefact read-only, as /var/task is, and the SDK away
            # from this machine's profiles and metadata service.
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": self._folder.name,
            "AWS_EC2_METADATA_DISABLED": "true",
            **function.variables,
        }

    def _read_log(self, start: int) -> str:
        size = os.fstat(self._log.fileno()).st_size
        text = os.pread(self._log.fileno(), size - start, start).decode(errors="replace")
        return text.replace("\r", "\n")  # the client joins the lines of a traceback with \r


def _link_runtime(folder: Path) -> None:
    """Fills a folder with links to the managed runtime's packages in this virtual environment."""
    folder.mkdir()
    for name in INTERFACE_CLIENT + SDK:
        package = distribution(name)
        tops = {path.parts[0] for path in package.files or ()} - {"..", "__pycache__"}
        for top in tops:
            (folder / top).symlink_to(Path(str(package.locate_file(top))))


def _trace_id() -> str:
    """A sampled X-Ray trace header: 1-<epoch seconds in hex>-<96 bits>, parent of 64 bits."""
    root = f"1-{int(time.time()):08x}-{uuid4().hex[:24]}"
    return f"Root={root};Parent={uuid4().hex[:16]};Sampled=1"


def _payload(signal: Signal, request_id: str) -> Any:
    """The answer of the function, or of Lambda where the function gave none."""
    prefix = f"RequestId: {request_id} Error:"
    match signal.kind:
        case "timeout":
            message = f"{prefix} Task timed out after {signal.payload:.2f} seconds"
            return {"errorType": "Sandbox.Timedout", "errorMessage": message}
        case "exit":
            code = signal.payload
            end = f"exit status {code}" if code >= 0 else f"signal: {strsignal(-code)}".lower()
            message = f"{prefix} Runtime exited with error: {end}"
            return {"errorType": "Runtime.ExitError", "errorMessage": message}
    return signal.payload
