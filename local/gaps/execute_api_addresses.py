"""Addresses of API Gateway stages that answer on this machine.

AWS ("Invoke a REST API", API Gateway developer guide): a stage answers at
https://{api-id}.execute-api.{region}.amazonaws.com/{stage}/{path}, and templates put that address
together for outputs and for the environment of functions.
ministack: resolves the template to the same address, which on this machine leads to the real AWS;
it serves the stage at http://127.0.0.1:{port}/restapis/{api-id}/{stage}/_user_request_/{path}.
"""

from __future__ import annotations

import re
import sys
from typing import Any

from local.gaps.emulator import Emulator

ADDRESS = re.compile(
    r"https://(?P<api>[a-z0-9]+)\.execute-api\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?"
    r"/(?P<stage>[A-Za-z0-9_$-]+)"
)


def install(emulator: Emulator) -> None:
    """Rewrite the addresses in everything that the template engine resolves."""
    from ministack.services.cloudformation import changesets, engine, handlers, stacks

    local = rf"http://127.0.0.1:{emulator.port}/restapis/\g<api>/\g<stage>/_user_request_"

    def rewriting(original: Any) -> Any:
        def resolve(value: Any, *context: Any, **more: Any) -> Any:
            resolved = original(value, *context, **more)
            if isinstance(resolved, str) and ".execute-api." in resolved:
                return ADDRESS.sub(local, resolved)
            return resolved

        return resolve

    emulator.wrap(engine, "_resolve_refs", rewriting)
    for module in (changesets, handlers, stacks):
        if "_resolve_refs" in vars(sys.modules[module.__name__]):
            module._resolve_refs = engine._resolve_refs
