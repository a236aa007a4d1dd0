"""The HTTP side of the Lambda Runtime API: what a runtime asks for its next event and answers to.

Four calls, as in the Lambda developer guide, "Using the Lambda runtime API for custom runtimes":
`GET invocation/next`, `POST invocation/<id>/response`, `POST invocation/<id>/error` and
`POST init/error`. The server listens on a free port of the loopback interface and serves one
runtime process. Writes are buffered and Nagle's algorithm is off: with either one missing, every
answer waits for a delayed acknowledgement (23 instead of 2,000 invocations a second).
"""

import json
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import SimpleQueue
from threading import Thread
from typing import Any, Literal, Self

PREFIX = "/2018-06-01/runtime/"

SignalKind = Literal["ready", "response", "error", "init error", "exit", "timeout"]


@dataclass(frozen=True)
class Signal:
    """Something the runtime process did: asked for its first event, answered, failed or ended.

    `payload` is the response or the error object; the return code for `exit`, the limit in seconds
    for `timeout`, which is the absence of any other signal.
    """

    kind: SignalKind
    payload: Any = None
    request_id: str | None = None


@dataclass(frozen=True)
class Event:
    """An event for the runtime, with the headers that AWS sends along."""

    body: bytes
    headers: dict[str, str]


@dataclass
class RuntimeApi:
    """A Runtime API for one runtime process; a context manager that stops with its block.

    Put events into `events`; read what the process did from `signals`.
    """

    events: SimpleQueue[Event | None] = field(default_factory=SimpleQueue)
    signals: SimpleQueue[Signal] = field(default_factory=SimpleQueue)

    def __post_init__(self) -> None:
        handler = type("BoundRequestHandler", (_RequestHandler,), {"api": self})
        self._server = _Server(("127.0.0.1", 0), handler)

    @property
    def address(self) -> str:
        """host:port, the value of AWS_LAMBDA_RUNTIME_API."""
        return f"127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.events.put(None)  # releases a request for the next event that still waits
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # the runtime process keeps its connection open until it is killed


class _RequestHandler(BaseHTTPRequestHandler):
    api: RuntimeApi
    protocol_version = "HTTP/1.1"  # keep-alive
    wbufsize = -1  # buffered; http.server flushes once a request
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        if self.path != f"{PREFIX}invocation/next":
            self._answer(HTTPStatus.NOT_FOUND, b"{}")
            return
        self.api.signals.put(Signal("ready"))
        event = self.api.events.get()
        if event is None:
            self.close_connection = True
        else:
            self._answer(HTTPStatus.OK, event.body, event.headers)

    def do_POST(self) -> None:
        payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        match self.path.removeprefix(PREFIX).split("/"):
            case ["invocation", request_id, ("response" | "error") as kind]:
                signal = Signal(kind, payload, request_id)
            case ["init", "error"]:
                signal = Signal("init error", payload)
            case _:
                self._answer(HTTPStatus.NOT_FOUND, b"{}")
                return
        self._answer(HTTPStatus.ACCEPTED, b'{"status":"OK"}')
        self.api.signals.put(signal)

    def _answer(
        self, status: HTTPStatus, body: bytes, headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Keep the server's access log out of the function's log."""
