"""How the circuit breaker gets through an outage of the courier, in the middle of a steady load, on this machine."""

from __future__ import annotations

import json
import threading
import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from rich.console import Console
from rich.table import Table

from loadtest import demo, measure, target
from loadtest.artillery import OUT
from loadtest.ledger import read_records
from loadtest.logs import SLICE_S
from loadtest.measure import Evidence
from loadtest.profiles import Phase, Profile
from loadtest.progress import Board
from loadtest.run import Limits, run
from local.circuit import read_item
from local.stack import VARIANTS, EmulatorSettings, RunningEmulator, Stack

BEFORE_S = 40.0
OUTAGE_S = 90.0
AFTER_S = 70.0
ORDERS_PER_S = 4.0
LOOK_S = 0.25
"""Seconds between two looks at the circuit: the error of every time measured here."""

ROUND_AND_RAMP_S = 30.0
"""Seconds that the last round of probes and the ramp may take together, after the wait in force at the recovery."""

TARGETS: dict[str, float] = {
    "time_to_open_s": 30.0,
    "calls_while_open_beyond_probes": 0,
    "dead_letters": 0,
    "lost": 0,
    "duplicates": 0,
    "peak_rate_over_limit": 0.2,
}
"""None of these figures may be above; nor time_to_full_rate_s above the wait in force and ROUND_AND_RAMP_S."""

MEANINGS = {
    "time_to_open_s": "from the first failing call until the mapping is off",
    "calls_while_open": "calls of invocations that began while the mapping was off",
    "probes": "orders that the circuit breaker tried",
    "calls_while_open_beyond_probes": "calls while open that were no probes",
    "dead_letters": "messages in all dead-letter queues",
    "lost": "accepted orders that are nowhere",
    "duplicates": "second effects at the courier",
    "delivered": "accepted orders that the courier took",
    "accepted": "orders that the webhook accepted",
    "probe_wait_s": "the wait for probes under way at the courier's recovery, or begun next, from begin to end",
    "time_to_full_rate_s": "from the courier's recovery until the circuit is closed",
    "throttled_after_recovery": "calls that the courier refused as too many, after the recovery",
    "peak_rate_over_limit": "most calls in any second after the recovery, over the courier's limit, less 1",
    "longest_stall_s": "longest look at item and mapping after the recovery; calls that a stall delays come at once",
}


@dataclass(frozen=True)
class Sight:
    """What was seen of the circuit at one moment, in epoch seconds."""

    at: float
    state: str
    mapping: str


@dataclass
class Outage:
    """Switches the courier off and on again, and looks at the circuit all the while."""

    stack: Stack
    began: float = 0.0
    ended: float = 0.0
    sights: list[Sight] = field(default_factory=list)
    _done: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        """Run until :meth:`stop`: the outage begins some time after the first order was delivered."""
        dynamodb, functions = self.stack.client("dynamodb"), self.stack.client("lambda")
        first_delivery = 0.0
        while not self._done.wait(LOOK_S):
            now = time.time()
            mapping = functions.get_event_source_mapping(UUID=self.stack.outputs["DeliveryMappingId"])["State"]
            self.sights.append(Sight(now, read_item(self.stack.outputs, dynamodb)["state"], mapping))
            if not first_delivery:
                first_delivery = now if target.courier_orders(self.stack) else 0.0
            elif not self.began and now - first_delivery >= BEFORE_S:
                self.began = self._switch("outage")
            elif self.began and not self.ended and now - self.began >= OUTAGE_S:
                self.ended = self._switch("healthy")

    def stop(self) -> None:
        """End the watch."""
        self._done.set()

    def _switch(self, mode: str) -> float:
        """Switch the courier simulator into a mode through its table, and return when."""
        self.stack.client("dynamodb").update_item(
            TableName=self.stack.outputs["CourierTableName"],
            Key={"pk": {"S": "control"}},
            UpdateExpression="SET #mode = :mode, retry_after = :one",
            ExpressionAttributeNames={"#mode": "mode"},
            ExpressionAttributeValues={":mode": {"S": mode}, ":one": {"N": "1"}},
        )
        return time.time()


def outage(console: Console, seed: int = demo.SEED) -> int:
    """Deploy with flow control, let the courier fail for a while under load, and report.

    Returns:
        The exit status: 0 if every target is met.

    Raises:
        StackError: The emulator or the deployment failed.
        ArtilleryError: The load was not sent.
    """
    seconds = BEFORE_S + OUTAGE_S + AFTER_S
    profile = Profile("outage", (Phase("steady", seconds, ORDERS_PER_S, ORDERS_PER_S),))
    console.print(
        f"{profile.orders:.0f} orders in {seconds:.0f} s; the courier answers 500 to every call for {OUTAGE_S:.0f} s"
    )
    limits = Limits(poll_s=demo.POLL_S, drain_s=demo.DRAIN_S, log_delay_s=demo.LOG_DELAY_S)
    with RunningEmulator.start(EmulatorSettings(alarm_seconds=5.0), progress=console.print) as emulator:
        stack = emulator.deploy("outage", VARIANTS["flow-control"] | {"SimulatorHonoursIdempotencyKey": "false"})
        parameters = target.parameters(stack)
        watched = Outage(stack)
        thread = threading.Thread(target=watched.watch, daemon=True)
        thread.start()
        try:
            with Board(console, (stack.name,)) as board:
                result = run(stack, profile, seed, limits, board.row(stack.name)).measurement
        finally:
            watched.stop()
            thread.join()
        emulator.check()
        evidence = measure.collect(stack, read_records((OUT / f"{stack.name}.ndjson").read_text().splitlines()))
        received = courier_calls(stack, begin=watched.sights[0].at)
        entered = history(stack)
    figures = {name: getattr(result.figures, name) for name in ("accepted", "delivered", "lost", "duplicates")}
    figures["dead_letters"] = result.figures.dead_letters
    figures |= times(watched, evidence, received, float(parameters["CourierRate"]))
    figures["probes"] = sum(name == "TryOrder" for _, name in entered)
    figures["probe_wait_s"] = round(wait_in_force(entered, watched.ended), 1)
    figures["calls_while_open_beyond_probes"] = max(0, figures["calls_while_open"] - figures["probes"])
    targets = TARGETS | {"time_to_full_rate_s": figures["probe_wait_s"] + ROUND_AND_RAMP_S}
    met = {name: figures[name] <= bound for name, bound in targets.items()}
    console.print(_table(figures, targets, met))
    meta = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "parameters": parameters,
        "targets": targets,
        "targets_met": met,
        "outage": [0.0, round(watched.ended - watched.began, 1)],
        "states": story(watched),
    }
    OUT.mkdir(exist_ok=True)
    (OUT / "outage.json").write_text(json.dumps(figures | {"meta": meta}, indent=2) + "\n")
    console.print(f"Written: {(OUT / 'outage.json').relative_to(OUT.parent.parent)}")
    return int(not all(met.values()))


def times(watched: Outage, evidence: Evidence, received: Sequence[tuple[float, int]], limit: float) -> dict[str, Any]:
    """Work out what depends on when things happened.

    Raises:
        ValueError: The circuit did not open or did not close.
    """
    failing = min(at for at, status in received if at >= watched.began and status >= 500)
    off = _first(watched.sights, watched.began, lambda sight: sight.mapping == "Disabled", "the mapping was not off")
    on = _first(watched.sights, watched.ended, lambda sight: sight.mapping != "Disabled", "the mapping stayed off")
    closed = _first(watched.sights, on, lambda sight: sight.state == "closed", "the circuit was not closed")
    begins = {invocation.request_id: invocation.begin for invocation in evidence.invocations["Delivery"]}
    while_open = [call for call in evidence.calls if off <= begins[call.request_id] < on]
    return {
        "time_to_open_s": round(off - failing, 1),
        "calls_while_open": len(while_open),
        "time_to_full_rate_s": round(closed - watched.ended, 1),
        "peak_rate_over_limit": round(peak_rate([at for at, _ in received if at >= watched.ended]) / limit - 1, 3),
        "longest_stall_s": round(max(longest_look(watched.sights, watched.ended), 0.0), 2),
        "throttled_after_recovery": sum(status == 429 for at, status in received if at >= watched.ended),
    }


def _first(sights: Sequence[Sight], begin: float, condition: Any, otherwise: str) -> float:
    for sight in sights:
        if sight.at >= begin and condition(sight):
            return sight.at
    raise ValueError(otherwise)


def longest_look(sights: Sequence[Sight], begin: float) -> float:
    """Return how many seconds the longest look took, of those from some moment on."""
    return max((after.at - before.at - LOOK_S for before, after in pairwise(sights) if before.at >= begin), default=0.0)


def peak_rate(moments: Sequence[float]) -> int:
    """Return the most events within any second."""
    ordered = sorted(moments)
    return max((index + 1 - bisect_right(ordered, at - 1.0) for index, at in enumerate(ordered)), default=0)


def courier_calls(stack: Stack, begin: float) -> list[tuple[float, int]]:
    """Read from the courier's access log when it received each call for a delivery, and what it answered."""
    pages = stack.client("logs").get_paginator("filter_log_events")
    group = stack.physical_id("CourierApiLogGroup")
    calls: dict[str, tuple[float, int]] = {}
    start = begin
    while start < time.time():
        span = {"startTime": int(start * 1000), "endTime": int((start + SLICE_S) * 1000)}
        for page in pages.paginate(logGroupName=group, **span):
            for event in page["events"]:
                line = json.loads(event["message"])
                if line["path"].endswith("/deliveries"):
                    calls[line["request_id"]] = (int(line["received_at"]) / 1000, int(line["status"]))
        start += SLICE_S
    return sorted(calls.values())


def history(stack: Stack) -> list[tuple[float, str]]:
    """Return when executions of the circuit breaker entered which state, in the order of time."""
    machines = stack.client("stepfunctions")
    executions = machines.list_executions(stateMachineArn=stack.outputs["CircuitBreakerArn"])["executions"]
    pages = machines.get_paginator("get_execution_history")
    return sorted(
        (event["timestamp"].timestamp(), event["stateEnteredEventDetails"]["name"])
        for execution in executions
        for page in pages.paginate(executionArn=execution["executionArn"], includeExecutionData=False)
        for event in page["events"]
        if "stateEnteredEventDetails" in event
    )


def wait_in_force(entered: Sequence[tuple[float, str]], recovered: float) -> float:
    """Return the length of the wait for probes that was under way at a moment, in seconds.

    If a round of probes was under way then, it is the wait that followed it, or, if none did, the one before it.

    Raises:
        ValueError: There was no wait.
    """
    waits = [(begin, end) for (begin, name), (end, _) in pairwise(entered) if name == "WaitForProbes"]
    if not waits:
        raise ValueError("the circuit breaker waited for no round of probes")
    begin, end = next((wait for wait in waits if wait[1] > recovered), waits[-1])
    return end - begin


def story(watched: Outage) -> list[list[Any]]:
    """Return state and mapping whenever either changed, in seconds since the outage began."""
    changes: list[list[Any]] = []
    for sight in watched.sights:
        if not changes or changes[-1][1:] != [sight.state, sight.mapping]:
            changes.append([round(sight.at - watched.began, 1), sight.state, sight.mapping])
    return changes


def _table(figures: dict[str, Any], targets: dict[str, float], met: dict[str, bool]) -> Table:
    grid = Table(title=f"An outage of {OUTAGE_S:.0f} s", title_justify="left")
    grid.add_column("figure")
    grid.add_column("value", justify="right")
    grid.add_column("target", justify="right")
    grid.add_column("")
    for name, meaning in MEANINGS.items():
        aim = f"<= {targets[name]:g}" if name in targets else ""
        verdict = {True: "[green]met[/green]", False: "[red]missed[/red]", None: ""}[met.get(name)]
        grid.add_row(f"{name}\n[dim]{meaning}[/dim]", f"{figures[name]:g}", aim, verdict)
    return grid
