"""A courier on the loopback interface, for a delivery function that runs alone."""

import json
from dataclasses import dataclass, field
from typing import Any, Self

from .loopback import JsonRequestHandler, LoopbackServer


@dataclass
class Courier:
    """A courier that accepts every delivery at once, except those it is told to answer otherwise.

    `answers` maps a piece of the request body (an order ID) to the status it gets; `requests`
    keeps the headers and the body of every call.
    """

    answers: dict[str, int] = field(default_factory=dict)
    requests: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._server = LoopbackServer(type("BoundHandler", (_CourierHandler,), {"courier": self}))

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.__exit__()

    @property
    def url(self) -> str:
        """Where it takes deliveries."""
        return f"http://{self._server.address}/deliveries"

    def status_for(self, body: str) -> int:
        """The status that a delivery is answered with."""
        return next((status for piece, status in self.answers.items() if piece in body), 201)


class _CourierHandler(JsonRequestHandler):
    courier: Courier

    def do_POST(self) -> None:  # noqa: N802 (http.server's name)
        body = self.read_body().decode()
        self.courier.requests.append({"headers": dict(self.headers), "body": json.loads(body)})
        status = self.courier.status_for(body)
        self.answer_json(status, {"status": "scheduled" if status < 400 else "refused"})
