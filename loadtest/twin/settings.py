"""What the twin needs to know of the stack: read from the translated template.yaml, where each number stands once."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from hub.attempts import DIRECT_CALLS
from hub.pacing import Limits
from loadtest.twin.constants import Prices, PublishedBuild
from local.translated import ROOT, Source, Stack, deploy, logical_id, template_yaml

VARIANTS = ("flow-control", "no-flow-control", "plain-buffer")
MAXIMUM_ASYNC_RETRIES = 2
"""If a function does not say otherwise (CloudFormation, AWS::Lambda::EventInvokeConfig)."""


class SettingError(ValueError):
    """A parameter does not exist, or its value is not allowed; the message says which and why."""


@dataclass(frozen=True)
class FunctionSettings:
    """A Lambda function. Timeout in seconds, memory in MB; reserved is None without reserved concurrency."""

    name: str
    timeout: float
    memory: int
    reserved: int | None = None
    async_retries: int = MAXIMUM_ASYNC_RETRIES
    async_age: float | None = None
    """Seconds for which an asynchronous event is kept; None for Lambda's own limit."""
    dead_letters: bool = False
    """Whether an asynchronous event that is given up goes to a queue or a topic."""


@dataclass(frozen=True)
class QueueSettings:
    """A queue, in seconds. maximum_receives is None without a redrive policy."""

    name: str
    visibility: float
    retention: float
    maximum_receives: int | None


@dataclass(frozen=True)
class MappingSettings:
    """An event source mapping of a queue."""

    batch_size: int
    window: float
    maximum_concurrency: int | None


@dataclass(frozen=True)
class CourierSettings:
    """The courier, as the template's simulator plays it."""

    limits: Limits
    timeout: float
    failure_rate: float
    latency: tuple[float, float]
    seed: int
    honours_idempotency_key: bool
    throttled_retry_after: float | None
    """Seconds that its 429 asks to wait, if it asks."""


@dataclass(frozen=True)
class CircuitSettings:
    """The circuit breaker. Times in seconds."""

    failure_rate: float
    minimum_calls: int
    window: float
    probes: int
    probe_failures: int
    probe_wait_min: float
    probe_wait_max: float
    ramp_seconds: float
    look_seconds: float
    """Between two looks at a mapping that is changing."""
    pause_seconds: float
    """After a failed probe."""
    receive_seconds: float
    """How long a probe waits for an order."""
    watchdog_seconds: float
    """Between two looks of the watchdog."""


@dataclass(frozen=True)
class Deployment:
    """One variant of the stack, with everything that the model needs."""

    variant: str
    ingest: Limits
    ingest_queue: QueueSettings
    notification: FunctionSettings
    notification_mapping: MappingSettings
    delivery: FunctionSettings
    courier: CourierSettings
    sales_queue: QueueSettings
    sales: FunctionSettings
    sales_mapping: MappingSettings
    direct_calls: int
    direct_waits: tuple[float, float]
    saturating_orders: int
    """As many waiting orders mean that whatever limits delivery, it is not the load."""
    delivery_queue: QueueSettings | None = None
    delivery_mapping: MappingSettings | None = None
    paced: bool = False
    circuit: CircuitSettings | None = None
    slow_api: FunctionSettings | None = None


SATURATING_BATCHES = 2
"""As in `make bench`."""


def deployment(variant: str, values: Mapping[str, str] | None = None) -> Deployment:
    """Read what a variant is made of.

    Args:
        variant: One of VARIANTS.
        values: Parameters of template.yaml that differ from their defaults.

    Raises:
        SettingError: There is no such variant or parameter, or a value is not allowed.
    """
    if variant not in VARIANTS:
        raise SettingError(f"variant must be one of {', '.join(VARIANTS)}, not {variant!r}")
    given = dict(values or {})
    if "FlowControl" in given:
        raise SettingError("FlowControl is chosen by the variant: use --variant")
    check(template_yaml(), given)
    flow_control = "enabled" if variant == "flow-control" else "disabled"
    stack = _stack(flow_control, tuple(sorted(given.items())))
    return _read(stack, variant)


@cache
def _stack(flow_control: str, values: tuple[tuple[str, str], ...]) -> Stack:
    logging.getLogger("samtranslator").setLevel(logging.CRITICAL)  # it reports on itself
    stack = deploy(template_yaml(), {"FlowControl": flow_control, **dict(values)})
    if refused := stack.failed_assertions():
        raise SettingError("; ".join(refused))
    return stack


def check(source: Source, values: Mapping[str, str]) -> None:
    """Hold parameter values to the template's rules, as CloudFormation does.

    Raises:
        SettingError: With every value that breaks a rule.
    """
    problems = [problem for name, value in values.items() if (problem := _problem(source, name, value))]
    if problems:
        raise SettingError("; ".join(problems))


def _problem(source: Source, name: str, value: str) -> str | None:
    rules = source.parameters.get(name)
    if rules is None:
        return f"template.yaml has no parameter {name}; it has {', '.join(source.parameters)}"
    allowed = [str(each) for each in rules.get("AllowedValues", [])]
    if allowed and value not in allowed:
        return f"{name} must be one of {', '.join(allowed)}, not {value}"
    if rules["Type"] == "Number":
        try:
            number = float(value)
        except ValueError:
            return f"{name} must be a number, not {value!r}"
        least, most = float(rules.get("MinValue", "-inf")), float(rules.get("MaxValue", "inf"))
        if not least <= number <= most:
            return f"{name} must be from {least:g} to {most:g}, not {value}"
    if (pattern := rules.get("AllowedPattern")) and not re.search(pattern, value):
        return f"{name}: {rules.get('ConstraintDescription', f'must match {pattern}')}"
    return None


def _read(stack: Stack, variant: str) -> Deployment:
    """Collect the numbers of a resolved template."""
    environment = _environment(stack, "DeliveryFunction")
    parameters = {name: str(value) for name, value in stack.parameters.items()}
    batch_size, cap = (_whole(parameters[name], name) for name in ("DeliveryBatchSize", "MaximumConcurrency"))
    common: dict[str, Any] = {
        "variant": variant,
        "ingest": _throttle(stack, "OrdersUsagePlan"),
        "ingest_queue": _queue(stack, "IngestQueue"),
        "notification": _function(stack, "NotificationFunction"),
        "notification_mapping": _mapping(stack, "NotificationMapping"),
        "delivery": _function(stack, "DeliveryFunction"),
        "courier": _courier(stack, float(environment["COURIER_TIMEOUT"])),
        "sales_queue": _queue(stack, "SalesQueue"),
        "sales": _function(stack, "SalesFunction"),
        "sales_mapping": _mapping(stack, "SalesMapping"),
        "direct_calls": DIRECT_CALLS,
        "direct_waits": (float(environment["DIRECT_RETRY_WAIT_MIN"]), float(environment["DIRECT_RETRY_WAIT_MAX"])),
        "saturating_orders": SATURATING_BATCHES * cap * batch_size,
        "slow_api": _function(stack, "SlowApiFunction") if "SlowApiFunction" in stack.resources else None,
    }
    if variant == "flow-control":
        return Deployment(
            **common,
            delivery_queue=_queue(stack, "DeliveryQueue"),
            delivery_mapping=_mapping(stack, "DeliveryMapping"),
            paced=True,
            circuit=_circuit(stack),
        )
    if variant == "plain-buffer":
        return Deployment(**common, **_plain_buffer(common["delivery"], common["ingest_queue"]))
    return Deployment(**common)


def _whole(value: Any, name: str) -> int:
    """Read a number that is to have no fraction.

    Raises:
        SettingError: It has one; the message gives the name of the parameter or property.
    """
    number = float(value)
    if not number.is_integer():
        raise SettingError(f"{name} must be a whole number, not {value}")
    return int(number)


def _plain_buffer(delivery: FunctionSettings, like: QueueSettings) -> dict[str, Any]:
    """Put a queue and a cap before the function without flow control, as the published build did."""
    build = PublishedBuild()
    return {
        "delivery_queue": QueueSettings(
            "DeliveryQueue", build.visibility_factor * delivery.timeout, like.retention, build.maximum_receives
        ),
        "delivery_mapping": MappingSettings(build.batch_size, 0.0, build.maximum_concurrency),
    }


def _function(stack: Stack, name: str) -> FunctionSettings:
    properties = stack.properties(name)
    retries, age, dead_letters = MAXIMUM_ASYNC_RETRIES, None, "DeadLetterConfig" in properties
    for each in stack.of_type("AWS::Lambda::EventInvokeConfig"):
        config = stack.properties(each)
        if logical_id(config["FunctionName"]) == name:
            retries = int(config.get("MaximumRetryAttempts", MAXIMUM_ASYNC_RETRIES))
            age = config.get("MaximumEventAgeInSeconds")
            dead_letters = dead_letters or bool(config.get("DestinationConfig", {}).get("OnFailure"))
    reserved = properties.get("ReservedConcurrentExecutions")
    return FunctionSettings(
        name,
        float(properties["Timeout"]),
        int(properties["MemorySize"]),
        None if reserved is None else _whole(reserved, "ReservedConcurrentExecutions"),
        retries,
        None if age is None else float(age),
        dead_letters,
    )


def _environment(stack: Stack, name: str) -> dict[str, Any]:
    variables: dict[str, Any] = stack.properties(name)["Environment"]["Variables"]
    return variables


def _queue(stack: Stack, name: str) -> QueueSettings:
    properties = stack.properties(name)
    redrive = properties.get("RedrivePolicy")
    return QueueSettings(
        name,
        float(properties["VisibilityTimeout"]),
        float(properties["MessageRetentionPeriod"]),
        int(redrive["maxReceiveCount"]) if redrive else None,
    )


def _mapping(stack: Stack, name: str) -> MappingSettings:
    properties = stack.properties(name)
    cap = properties.get("ScalingConfig", {}).get("MaximumConcurrency")
    return MappingSettings(
        _whole(properties["BatchSize"], "BatchSize"),
        float(properties.get("MaximumBatchingWindowInSeconds", 0)),
        None if cap is None else _whole(cap, "MaximumConcurrency"),
    )


def _throttle(stack: Stack, plan: str) -> Limits:
    throttle = stack.properties(plan)["Throttle"]
    return Limits(float(throttle["RateLimit"]), float(throttle["BurstLimit"]))


def _courier(stack: Stack, timeout: float) -> CourierSettings:
    """Read the simulator. A courier of one's own is played by it too, with the same parameters."""
    simulated = "SlowApiFunction" in stack.resources
    source = stack if simulated else _stack("disabled", _simulated(stack.parameters))
    simulator = _environment(source, "SlowApiFunction")
    throttled = source.properties("CourierApi")["Body"]["x-amazon-apigateway-gateway-responses"]["THROTTLED"]
    retry_after = throttled.get("responseParameters", {}).get("gatewayresponse.header.Retry-After")
    return CourierSettings(
        _throttle(source, "CourierUsagePlan"),
        timeout,
        float(simulator["FAILURE_RATE"]),
        (float(simulator["LATENCY_MIN"]), float(simulator["LATENCY_MAX"])),
        _whole(simulator["SEED"], "SimulatorSeed"),
        honours_idempotency_key=str(simulator["HONOURS_IDEMPOTENCY_KEY"]).lower() == "true",
        throttled_retry_after=None if retry_after is None else float(retry_after.strip("'")),
    )


def _simulated(parameters: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return the parameters of the same stack with the simulator."""
    replaced = {"DeploySimulator": "true", "CourierUrl": "", "CourierApiKeySecretArn": "", "FlowControl": None}
    return tuple(sorted((name, str(value)) for name, value in parameters.items() if name not in replaced))


def _circuit(stack: Stack) -> CircuitSettings:
    failure_rate, volume = stack.properties("FailureRateAlarm"), stack.properties("CallVolumeAlarm")
    function = _environment(stack, "CircuitFunction")
    machine = stack.properties("CircuitBreaker")["DefinitionSubstitutions"]
    states = _machine_states()
    return CircuitSettings(
        failure_rate=float(failure_rate["Threshold"]),
        minimum_calls=_whole(volume["Threshold"], "CircuitMinimumCalls"),
        window=float(failure_rate["Period"]),
        probes=_whole(machine["Probes"], "CircuitProbes"),
        probe_failures=_whole(machine["ProbeFailures"], "CircuitProbeFailures"),
        probe_wait_min=float(function["PROBE_WAIT_MIN"]),
        probe_wait_max=float(function["PROBE_WAIT_MAX"]),
        ramp_seconds=float(machine["RampSeconds"]),
        look_seconds=float(states["LetMappingChange"]["Seconds"]),
        pause_seconds=float(states["PauseProbes"]["Seconds"]),
        receive_seconds=float(states["TakeOrder"]["Arguments"]["WaitTimeSeconds"]),
        watchdog_seconds=_schedule(stack.properties("WatchdogRule")["ScheduleExpression"]),
    )


def _schedule(expression: str) -> float:
    """Return the seconds between two events of a schedule such as ``rate(1 minute)``."""
    found = re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", expression)
    if not found:
        raise SettingError(f"the twin knows schedules such as rate(1 minute), not {expression}")
    return int(found[1]) * {"minute": 60.0, "hour": 3600.0, "day": 86_400.0}[found[2]]


@cache
def _machine_states() -> dict[str, Any]:
    definition = yaml.safe_load((ROOT / "statemachines" / "circuit_breaker.asl.yaml").read_text(encoding="utf-8"))
    states: dict[str, Any] = definition["States"]
    return states


@cache
def prices() -> Prices:
    """Return the list prices that the template's dashboard uses, and those that only the twin does."""
    listed = {
        f"{service}.{unit}": float(price)
        for service, units in template_yaml().document["Mappings"]["Prices"].items()
        for unit, price in units.items()
    }
    return Prices(
        lambda_gb_second=listed["Lambda.GigabyteSecond"],
        lambda_request=listed["Lambda.Invocation"],
        queue_request=listed["Queue.Request"],
        bus_event=listed["EventBus.Event"],
        gateway_request=listed["ApiGateway.Request"],
        table_write=listed["Table.Write"],
        table_read=listed["Table.Read"],
        log_gb=listed["Logs.Gigabyte"],
    )
