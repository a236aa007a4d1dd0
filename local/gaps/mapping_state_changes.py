"""Changes of an event source mapping take time.

AWS ("UpdateEventSourceMapping" and "EventSourceMappingConfiguration", Lambda API reference): a
mapping is Enabling, Disabling or Updating until the change is in effect; a change of one that is in
the middle of another is refused with ResourceInUseException. Invocations under way end on their own.
ministack: changes the mapping at once, and takes one change on top of another.

AWS publishes no latency; `LOCAL_MAPPING_CHANGE_SECONDS` sets it. Until the change is in effect the
mapping reads its queue as before. A change by CloudFormation, which waits for it, is in effect at
once here, and so are creation and deletion.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import Any

from local.gaps.emulator import Emulator

DEFAULT_SECONDS = 2.0

Mapping = dict[str, Any]


def install(emulator: Emulator) -> None:
    """Put a delay before the emulator's own change, and describe the mapping accordingly."""
    from ministack.core.responses import error_response_json, json_response
    from ministack.services import lambda_svc

    seconds = float(emulator.settings.get("mapping_change_seconds", DEFAULT_SECONDS))
    changes: dict[str, Mapping] = {}

    def update(original: Any) -> Any:
        def begin(esm_id: str, data: Mapping) -> Any:
            mapping = lambda_svc._esms.get(esm_id)
            if mapping is None:
                return original(esm_id, data)
            if esm_id in changes:
                message = "Cannot update the event source mapping because it is in use."
                return error_response_json("ResourceInUseException", message, 400)
            refusal = refused(mapping, data)
            if refusal:
                return refusal
            changes[esm_id] = described_change(mapping, data)

            def finish() -> None:
                del changes[esm_id]
                original(esm_id, data)
                lambda_svc.esm_wake.set()

            after(seconds, finish)
            return json_response(lambda_svc._esm_response(mapping), 202)

        return begin

    def describe(original: Any) -> Any:
        def response(esm: Mapping) -> Any:
            return original(esm | changes.get(esm["UUID"], {}))

        return response

    emulator.wrap(lambda_svc, "_update_esm", update, parameters=("esm_id", "data"))
    emulator.wrap(lambda_svc, "_esm_response", describe, parameters=("esm",))


def refused(mapping: Mapping, data: Mapping) -> Any:
    """The answer to a change that cannot be made, else None."""
    from ministack.services import lambda_svc

    error = lambda_svc._validate_scaling_config(data, mapping.get("EventSourceArn", ""))
    if error is None and "FunctionName" in data:
        *_, error = lambda_svc._resolve_existing_esm_function(data["FunctionName"])
    return error


def described_change(mapping: Mapping, data: Mapping) -> Mapping:
    """How the mapping is described while the change is under way."""
    enabled = bool(mapping.get("Enabled", True))
    wanted = bool(data.get("Enabled", enabled))
    state = "Updating" if wanted == enabled else "Enabling" if wanted else "Disabling"
    settings = {key: value for key, value in data.items() if key not in ("Enabled", "FunctionName")}
    return settings | {"State": state}


def after(seconds: float, call: Callable[[], None]) -> None:
    """Run a call later, for the account and Region of the request."""
    timer = threading.Timer(seconds, contextvars.copy_context().run, args=(call,))
    timer.daemon = True
    timer.start()
