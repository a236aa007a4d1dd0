"""A small HTTP server on a free port of the loopback interface, for JSON.

Writes are buffered and Nagle's algorithm is off: otherwise the second half of every answer waits for the client's
delayed acknowledgement, 40 ms on Linux.
"""

import json
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Self


class LoopbackServer(ThreadingHTTPServer):
    """Serves in a background thread until its block ends."""

    daemon_threads = True
    block_on_close = False  # a client keeps its connection open for as long as it likes

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)

    @property
    def address(self) -> str:
        """host:port."""
        return f"127.0.0.1:{self.server_port}"

    def __enter__(self) -> Self:
        Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is killed breaks its connection; anything else is a fault of ours."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class JsonRequestHandler(BaseHTTPRequestHandler):
    """Reads and answers JSON over connections that are kept alive."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # buffered; http.server flushes once a request
    disable_nagle_algorithm = True

    def read_body(self) -> bytes:
        """The body of the request, empty if there is none."""
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        """Sends a JSON answer."""
        self.send_response(HTTPStatus(status))
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def answer_json(self, status: int, value: Any) -> None:
        """Sends a value as JSON."""
        self.answer(status, json.dumps(value).encode())

    def log_message(self, *_: Any) -> None:
        """No access log: it would stand between the lines of the function's log."""
