"""One execution environment's process, seen from the emulator."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from typing import Any

from local.execution.logs import LogWriter, Outcome
from local.execution.template_process import TIME, receive, send


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
