"""The HTTP side of the Lambda Runtime API: what a runtime asks for its next event and answers to.

Four calls, as in the Lambda developer guide, "Using the Lambda runtime API for custom runtimes":
`GET invocation/next`, `POST invocation/<id>/response`, `POST invocation/<id>/error` and
`POST init/error`. One server serves one runtime process.
"""

import json
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, Literal, Self

from .loopback import JsonRequestHandler, LoopbackServer

PREFIX = "/2018-06-01/runtime/"

SignalKind = Literal["ready", "response", "error", "init error", "exit", "timeout"]


@dataclass(frozen=True)
class Signal:
    """Something the runtime process did: asked for an event, answered, failed or ended.

    `payload` is the response or the error object; the return code for `exit`, the limit in seconds
    for `timeout`, which is the absence of any other signal.
    """

    kind: SignalKind
    payload: Any = None


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
        self._server = LoopbackServer(type("BoundHandler", (_Handler,), {"api": self}))

    @property
    def address(self) -> str:
        """host:port, the value of AWS_LAMBDA_RUNTIME_API."""
        return self._server.address

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.events.put(None)  # releases a request for the next event that still waits
        self._server.__exit__()


class _Handler(JsonRequestHandler):
    api: RuntimeApi

    def do_GET(self) -> None:  # noqa: N802 (http.server's name)
        if self.path != f"{PREFIX}invocation/next":
            self.answer_json(404, {})
            return
        self.api.signals.put(Signal("ready"))
        event = self.api.events.get()
        if event is None:
            self.close_connection = True
        else:
            self.answer(200, event.body, event.headers)

    def do_POST(self) -> None:  # noqa: N802 (http.server's name)
        payload = json.loads(self.read_body())
        match self.path.removeprefix(PREFIX).split("/"):
            case ["invocation", _, ("response" | "error") as kind]:
                signal = Signal(kind, payload)
            case ["init", "error"]:
                signal = Signal("init error", payload)
            case _:
                self.answer_json(404, {})
                return
        self.answer_json(202, {"status": "OK"})
        self.api.signals.put(signal)
