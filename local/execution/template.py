"""Functions that are initialised and ready to be forked into execution environments."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local.execution import template_process
from local.execution.fork import Fork, exit_error
from local.execution.logs import log_group
from local.execution.template_process import TIME, receive

INIT_SECONDS = 10.0
RUNTIME_LIBRARIES = (
    *("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six.py", "urllib3"),
    *("awslambdaric", "snapshot_restore_py.py", "simplejson"),
)
"""What the managed Python runtime brings, boto3 and the runtime interface client, with what they
need themselves."""


class InitError(Exception):
    """The function could not be initialised; carries the error as the runtime describes it."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error.get("errorMessage", ""))
        self.error = error


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
            try:
                with theirs:
                    message = json.dumps(environment).encode()
                    socket.send_fds(self.control, [message], [theirs.fileno()])
                frame = receive(self.control)
            except OSError:
                frame = None
            if frame is None:
                ours.close()
                self.stop()  # somebody killed it: the next invocation starts another
                self.process = self.control = None
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
        with theirs:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", template_process.__file__, str(theirs.fileno())),
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
