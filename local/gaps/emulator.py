"""The handle a gap gets on the emulator: guarded patches, middleware and background tasks."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from dataclasses import dataclass, field
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

MINISTACK_VERSION = "1.5.33"
"""The release that every gap was written against and checked with."""


class GapError(RuntimeError):
    """The emulator is not the one that a gap was written for."""


@dataclass
class Emulator:
    """Collects what the gaps change about the emulator before it starts to serve.

    Attributes:
        port: TCP port on 127.0.0.1 that the emulator will listen on.
        settings: Settings of the gaps, by name (strings, from `LOCAL_*` environment variables).
        gap: Name of the gap that is being installed, for messages.
        middleware: ASGI wrappers, outermost last.
        background: Coroutine functions that run for as long as the emulator serves.
    """

    port: int
    settings: dict[str, str] = field(default_factory=dict)
    gap: str = ""
    middleware: list[Callable[[Application], Application]] = field(default_factory=list)
    background: list[Callable[[], Coroutine[Any, Any, None]]] = field(default_factory=list)

    def wrap(
        self,
        owner: Any,
        name: str,
        wrapper: Callable[[Any], Any],
        *,
        parameters: tuple[str, ...] | None = None,
    ) -> None:
        """Replace `owner.name` by `wrapper(original)`.

        Args:
            owner: Module or class of the emulator.
            name: Attribute that must exist on it.
            wrapper: Gets the original and returns what takes its place.
            parameters: Parameter names that the original must have, when the gap relies on them.

        Raises:
            GapError: If the attribute is missing or has other parameters; names the gap's file.
        """
        original = getattr(owner, name, None)
        if original is None:
            raise self.error(f"{owner.__name__} has no {name!r}")
        if parameters is not None:
            actual = tuple(inspect.signature(original).parameters)
            if actual != parameters:
                raise self.error(f"{owner.__name__}.{name} takes {actual}, not {parameters}")
        setattr(owner, name, wrapper(original))

    def register(self, registry: dict[str, Any], name: str, value: Any) -> None:
        """Add an entry to one of the emulator's tables, where it must be new.

        Raises:
            GapError: If the emulator has the entry itself, so that the gap may be closed.
        """
        if name in registry:
            raise self.error(f"the emulator itself has {name!r} now; is the gap still needed?")
        registry[name] = value

    def add_middleware(self, wrapper: Callable[[Application], Application]) -> None:
        """Put an ASGI application around the emulator; the last one added sees a request first."""
        self.middleware.append(wrapper)

    def add_background(self, task: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a coroutine function in the emulator's event loop for as long as it serves."""
        self.background.append(task)

    def error(self, problem: str) -> GapError:
        """The error for an emulator that is not what the gap being installed expects."""
        return GapError(
            f"local/gaps/{self.gap}.py: {problem}. It was written for ministack "
            f"{MINISTACK_VERSION}: check with tests/conformance whether the newer release closes "
            f"the gap (then delete the file) or adapt it."
        )
