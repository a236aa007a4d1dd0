"""Account and Region for work of a gap that no request started."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import Any


def in_scope(account: str, region: str, call: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of the emulator as a request of that account and Region would."""
    from ministack.core import responses

    def run() -> Any:
        responses._request_account_id.set(account)
        responses._request_region.set(region)
        return call(*arguments)

    return contextvars.copy_context().run(run)
