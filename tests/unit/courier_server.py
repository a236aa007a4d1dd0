"""A courier on the loopback interface, to be told how to answer: real HTTP, real connections."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, Self


@dataclass(frozen=True)
class Reply:
    """How the courier answers a call."""

    status: int = 201
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b'{"message": "scheduled"}'
    delay: float = 0.0
    """Seconds before the answer."""
    hangs_up: bool = False
    """Close the connection without an answer."""
    pause_between_bytes: float = 0.0
    """Seconds between two bytes of the body."""


@dataclass(frozen=True)
class Request:
    """A call that the courier got."""

    headers: Mapping[str, str]
    body: bytes
    connection: tuple[str, int]
    """Address and port of the caller: the same for two calls on one connection."""

    @property
    def order_id(self) -> str:
        """Which order the call is for."""
        return str(json.loads(self.body)["order_id"])


@dataclass
class CourierServer:
    """A courier that takes every order at once, unless it is told otherwise; a context manager."""

    reply: Callable[[Request], Reply] = lambda _: Reply()
    requests: list[Request] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"courier": self}))
        self._server.daemon_threads = True
        Thread(target=self._server.serve_forever, args=(0.005,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Where it takes deliveries."""
        return f"http://127.0.0.1:{self._server.server_port}/live/deliveries"

    def answers(self, reply: Reply, /, **by_order: Reply) -> None:
        """Answer so from now on, and otherwise for some orders (``ord_1`` stands for ord-1)."""
        special = {name.replace("_", "-"): special for name, special in by_order.items()}
        self.reply = lambda request: special.get(request.order_id, reply)

    def calls(self, order_id: str) -> int:
        """How often it was called for an order."""
        return sum(request.order_id == order_id for request in self.requests)

    def take(self, request: Request) -> Reply:
        """Record a call and decide its answer."""
        with self._lock:
            self.requests.append(request)
            return self.reply(request)


class _Server(ThreadingHTTPServer):
    block_on_close = False  # a connection that is kept alive would keep the test waiting
    request_queue_size = 64


class _Handler(BaseHTTPRequestHandler):
    courier: CourierServer
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        reply = self.courier.take(Request(dict(self.headers), body, self.client_address))
        time.sleep(reply.delay)
        if reply.hangs_up:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        try:
            self._write(reply)
        except OSError:
            self.close_connection = True  # the caller did not wait for the end

    def do_GET(self) -> None:
        self.do_POST()

    def _write(self, reply: Reply) -> None:
        if not reply.pause_between_bytes:
            self.wfile.write(reply.body)
            return
        for byte in reply.body:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            time.sleep(reply.pause_between_bytes)

    def finish(self) -> None:
        with suppress(OSError):  # nobody listens any more
            super().finish()

    def log_message(self, *_: Any) -> None:
        """The caller's log tells what was called."""
