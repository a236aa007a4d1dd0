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
import json
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from local.execution.fork import Fork
from local.execution.logs import LogWriter, Outcome, Report, now_milliseconds
from local.execution.template import InitError, Template, Templates
from local.gaps.emulator import Emulator
from local.gaps.scopes import in_scope

Result = dict[str, Any]


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
