"""Virtual time: SimPy's event queue, with the one call that the hot paths need."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from simpy import Environment
from simpy.events import Timeout


class Clock(Environment):
    """The time of one simulation, in seconds from its start, and what is due when.

    Parts that tell a story (the load, the circuit breaker) are SimPy processes. What happens many times for each
    order uses :meth:`after`, which costs one event and no generator.
    """

    def after(self, seconds: float, action: Callable[..., Any], *arguments: Any) -> None:
        """Call an action in some seconds, 0 or more. Actions due at the same moment run in the order of their calls."""
        callbacks = Timeout(self, seconds).callbacks
        callbacks.append(lambda _: action(*arguments))
