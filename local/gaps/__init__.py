"""What AWS does and the embedded emulator does not, closed beside the emulator: one file a gap.

Each module named in `GAPS` has one public function, `install(emulator: Emulator) -> None`, and a
docstring that says what AWS does (with the page of the documentation it is taken from) and what
ministack does instead. Each has a conformance test in `tests/conformance/` that also runs against
the bare emulator as an expected failure: when a newer release closes the gap, that test tells.
"""

from local.gaps.emulator import Emulator, GapError

__all__ = ["GAPS", "Emulator", "GapError"]

GAPS: tuple[str, ...] = (
    "api_gateway_exchange",
    "api_gateway_responses",
    "api_gateway_validation",
    "api_gateway_integrations",
    "api_gateway_import",
    "api_gateway_access_log",
    "api_gateway_usage_plans",
    "sqs_message_size",
    "inert_resource_types",
    "event_archive",
    "composite_alarm",
    "role_policy",
    "event_source_mapping_numbers",
    "execute_api_addresses",
    "execution_environments",
    "asynchronous_invocation",
    "batching_window",
    "event_bus_targets",
    "stream_mappings",
    "event_replay",
    "queue_metrics",
    "alarm_evaluation",
    "metric_math",
    "alarm_events",
    "log_event_ids",
    "log_event_pages",
    "metric_dimensions",
    "embedded_metrics",
    "schedule_rates",
    "mapping_state_changes",
    "step_functions_definition",
    "step_functions_states",
    "step_functions_retries",
    "step_functions_executions",
    "step_functions_service_calls",
)
"""Modules of this package in the order in which they are installed."""
