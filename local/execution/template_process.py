"""One Lambda function, initialised once and forked into an execution environment on request.

Runs in a process of its own, started by `local/execution/template.py` with `-I -S`: it sees
the function's code, its layers and what the managed runtime brings, and nothing else. The runtime
interface client is AWS's own (`awslambdaric`): it loads the handler, makes the context, calls the
handler and describes its errors. Only the transport differs: frames on a socket instead of HTTP.

Frame: kind (1 byte), length (4 bytes, big-endian), payload. Kinds, from the environment: `L` a log
line with its time (8 bytes, milliseconds), `M` peak memory in MiB, then `R` the result, `E` an
error, or `X` the exit status of a handler that leaves the process. To it: `I` an invocation.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import signal
import socket
import struct
import sys
import time
from typing import Any, TextIO, cast

HEADER = struct.Struct("!cI")
TIME = struct.Struct("!Q")


class LogStream:
    """Standard output and error of the handler, a frame for each line."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.rest = ""

    def write(self, text: str) -> int:
        """Send every line that ends with this text."""
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            self.line(line)
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Write one text after the other."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Nothing: a line is on its way as soon as it ends."""

    def isatty(self) -> bool:
        """Say that nobody sits in front of it."""
        return False

    def finish(self) -> None:
        """Send what was written without a newline at its end."""
        if self.rest:
            self.line(self.rest)
            self.rest = ""

    def line(self, text: str) -> None:
        """Send one line with the time."""
        stamp = TIME.pack(time.time_ns() // 1_000_000)
        send(self.channel, b"L", stamp + text.encode(errors=self.errors))


class RuntimeClient:
    """What `awslambdaric` posts results and errors to."""

    def __init__(self, channel: socket.socket, stream: LogStream) -> None:
        from awslambdaric.lambda_runtime_marshaller import LambdaMarshaller

        self.channel = channel
        self.stream = stream
        self.marshaller = LambdaMarshaller()

    def post_invocation_result(self, _id: str, result: Any, *_: Any) -> None:
        """Send what the handler returned, as JSON."""
        self.post(b"R", result)

    def post_invocation_error(self, _id: str, error: str, *_: Any) -> None:
        """Send the description of an error, as JSON."""
        self.post(b"E", error)

    def post(self, kind: bytes, payload: str | bytes) -> None:
        """Send the rest of the log, the peak memory, and the outcome."""
        self.stream.finish()
        send(self.channel, b"M", str(peak_memory()).encode())
        send(self.channel, kind, payload.encode() if isinstance(payload, str) else payload)


def main() -> None:
    """Initialise the function, then fork an environment for each message on the control socket."""
    os.nice(5)  # the emulator, which all functions wait for, goes first
    control = socket.socket(fileno=int(sys.argv[1]))
    sys.path[:0] = json.loads(sys.argv[2])
    sys.path.append(sys.argv[3])
    stream = LogStream(control)
    sys.stdout = sys.stderr = cast(TextIO, stream)
    handler = initialise(control, stream)

    # Ended environments are reaped by the kernel, and garbage collection must not touch (and so
    # copy) the pages that all environments share.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    gc.collect()
    gc.freeze()
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 65536, 1)
        if not message:
            return
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            control.close()
            stream.channel = socket.socket(fileno=descriptors[0])
            os.environ.update(json.loads(message))
            serve(stream, handler)
        os.close(descriptors[0])
        send(control, b"P", str(pid).encode())


def initialise(control: socket.socket, stream: LogStream) -> Any:
    """Load the handler, as the runtime does; a failure is sent and ends the process."""
    from awslambdaric import bootstrap
    from awslambdaric.lambda_runtime_exception import FaultException

    sink = bootstrap.StandardLogSink()
    bootstrap._setup_logging(bootstrap._AWS_LAMBDA_LOG_FORMAT, bootstrap._AWS_LAMBDA_LOG_LEVEL, sink)
    try:
        handler = bootstrap._get_handler(os.environ["_HANDLER"])
    except FaultException as fault:
        error = bootstrap.make_error(fault.msg, fault.exception_type, fault.trace)
    except SystemExit as leaving:
        error = bootstrap.make_error(
            f"Runtime exited with error: exit status {exit_status(leaving)}", "Runtime.ExitError", []
        )
    except Exception:
        error = bootstrap.build_fault_result(sys.exc_info(), None)
    else:
        send(control, b"R", b"")
        return handler
    bootstrap.log_error(error, sink)
    stream.finish()
    send(control, b"E", json.dumps(error).encode())
    raise SystemExit(0)


def serve(stream: LogStream, handler: Any) -> None:
    """Be one execution environment: an invocation at a time until the socket closes."""
    from awslambdaric import bootstrap

    channel = stream.channel
    client = RuntimeClient(channel, stream)
    sink = bootstrap.StandardLogSink()
    status = 0
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        while (invocation := receive(channel)) is not None:
            request = json.loads(invocation[1])
            bootstrap._GLOBAL_AWS_REQUEST_ID = request["request_id"]
            bootstrap.update_xray_env_variable(request["trace_id"])
            try:
                bootstrap.handle_event_request(
                    client,
                    handler,
                    request["request_id"],
                    request["event"],
                    "application/json",
                    None,
                    None,
                    request["function_arn"],
                    request["deadline"],
                    None,
                    sink,
                )
            except SystemExit as leaving:
                status = exit_status(leaving)
                client.post(b"X", str(status))
                break
    os._exit(status)


def exit_status(leaving: SystemExit) -> int:
    """The exit status that `sys.exit(code)` stands for."""
    if leaving.code is None:
        return 0
    return leaving.code if isinstance(leaving.code, int) else 1


def peak_memory() -> int:
    """Peak resident memory of this process in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1024 * 1024 if sys.platform == "darwin" else 1024)


def send(channel: socket.socket, kind: bytes, payload: bytes) -> None:
    """Send one frame."""
    channel.sendall(HEADER.pack(kind, len(payload)) + payload)


def receive(channel: socket.socket) -> tuple[bytes, bytes] | None:
    """Receive one frame (kind, payload), or None when the other side has closed."""
    header = receive_exactly(channel, HEADER.size)
    if header is None:
        return None
    kind, length = HEADER.unpack(header)
    payload = receive_exactly(channel, length)
    return None if payload is None else (kind, payload)


def receive_exactly(channel: socket.socket, length: int) -> bytes | None:
    """Receive `length` bytes, or None when the other side closes before."""
    parts = []
    while length:
        part = channel.recv(min(length, 1 << 20))
        if not part:
            return None
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


if __name__ == "__main__":
    main()
