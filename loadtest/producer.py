"""A polite sender of orders: `python -m loadtest.producer --url … [orders.jsonl | --orders N --rate R]`.

Sends each order until the hub has accepted it. Where trying again can help (429, 5xx, no answer) it waits, longer each
time and never less than Retry-After, and sends the very same order: its order id is the idempotency key, so the hub
takes it once. Other answers are final, and shown. The API's key stands in ORDERS_API_KEY, or is read with --stack.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from random import Random, SystemRandom

import urllib3
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from hub.outcomes import parse_retry_after
from loadtest.orders import Order, OrdersError, made_up_orders, read_orders
from loadtest.politeness import Patience, Turn, decide
from loadtest.target import CloudFormationStack
from local.deployed import StackNotFoundError

CALL_S = 15.0
"""Seconds that a call may take: longer than the API waits for its queue (10 s), so that its answer is heard."""

CONNECTIONS = 10
UNSENT = Path(__file__).parent / "out" / "unsent.jsonl"
console = Console(highlight=False)


class UsageError(Exception):
    """It is not said where to send orders; the message says how to."""


class Stopped(Exception):
    """Whoever started the producer wants it to end."""


@dataclass(frozen=True)
class Reply:
    """What came of one call: status is None if there was no answer, and explanation says what the API says."""

    status: int | None
    explanation: str
    retry_after_s: float | None = None
    correlation_id: str = ""


@dataclass(frozen=True)
class Sent:
    """What became of an order at the API."""

    order: Order
    turn: Turn
    reply: Reply
    retries: Counter[str] = field(default_factory=Counter)
    """Why it was sent again, and how often."""
    reason: str = ""


class OrdersApi:
    """The hub's order webhook.

    Args:
        url: Where to post orders.
        key: The shop's API key.
        timeout_s: Seconds that a call may take, connection included.
    """

    def __init__(self, url: str, key: str, *, timeout_s: float = CALL_S) -> None:
        self._url = url
        self._headers = {"Content-Type": "application/json", "x-api-key": key}
        self._timeout = urllib3.Timeout(total=timeout_s)
        self._pool = urllib3.PoolManager(maxsize=CONNECTIONS, retries=False)

    def post(self, order: Order) -> Reply:
        """Send an order, once. Never raises for what the network does."""
        try:
            answer = self._pool.request(
                "POST", self._url, body=order.body, headers=self._headers, timeout=self._timeout, redirect=False
            )
        except urllib3.exceptions.HTTPError as error:
            return Reply(None, f"no answer: {type(error).__name__}")
        retry_after = parse_retry_after(answer.headers.get("Retry-After"), time.time())
        try:
            said = json.loads(answer.data)
        except ValueError:
            said = {}
        said = said if isinstance(said, dict) else {}
        explanation = str(said.get("errors") or said.get("message") or "")
        return Reply(answer.status, explanation, retry_after, str(said.get("correlation_id", "")))


class Schedule:
    """When orders may be sent: so many a second, and not before the time that the API asked for.

    Threads may share it: Retry-After is for all of them.

    Args:
        rate: Orders a second that are begun, above 0.
        clock: Gives the time in seconds, from any start.
        sleep: Waits for some seconds.
    """

    def __init__(
        self,
        rate: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._spacing = 1.0 / rate
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._next = clock()
        self._closed_until = self._next

    def wait_turn(self) -> None:
        """Wait until another order may be begun."""
        with self._lock:
            begin = max(self._next, self._closed_until, self._clock())
            self._next = begin + self._spacing
        self._sleep(max(0.0, begin - self._clock()))
        self.wait_open()

    def wait_open(self) -> None:
        """Wait until the time has passed that the API asked for."""
        while (left := self._closed_until - self._clock()) > 0:
            self._sleep(left)

    def close(self, seconds: float) -> None:
        """Let nobody send for some seconds."""
        with self._lock:
            self._closed_until = max(self._closed_until, self._clock() + seconds)


def send(
    order: Order,
    post: Callable[[Order], Reply],
    schedule: Schedule,
    patience: Patience,
    *,
    random: Random,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Sent:
    """Send an order until it is accepted or refused, or patience ends."""
    schedule.wait_turn()
    began, attempt, retries = clock(), 1, Counter[str]()
    while True:
        reply = post(order)
        decision = decide(
            reply.status,
            reply.retry_after_s,
            attempt=attempt,
            elapsed_s=clock() - began,
            patience=patience,
            random=random,
        )
        if decision.turn is not Turn.RETRY:
            return Sent(order, decision.turn, reply, retries, decision.reason)
        if reply.retry_after_s:
            schedule.close(reply.retry_after_s)
        retries[f"HTTP {reply.status}" if reply.status else reply.explanation] += 1
        attempt += 1
        sleep(decision.wait_s)
        schedule.wait_open()


# ---------------------------------------------------------------------------------------------------- command line


def main() -> int:
    """Send orders. Returns 0 if all were accepted, 1 if not, 2 if nothing could be sent."""
    arguments = parse()
    try:
        url, key = address(arguments)
        orders = (
            read_orders(arguments.file)
            if arguments.file
            else list(made_up_orders(arguments.orders, secrets.token_hex(3)))
        )
    except (UsageError, OrdersError, StackNotFoundError, ClientError, BotoCoreError) as error:
        console.print(f"[red]{escape(str(error))}[/red]")
        return 2
    patience = Patience(attempts=arguments.attempts, deadline_s=arguments.deadline)
    api = OrdersApi(url, key, timeout_s=arguments.timeout)
    return produce(orders, api.post, arguments.rate, patience, arguments.unsent, arguments.stack)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.producer", description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, help="orders to send, one JSON object a line")
    parser.add_argument("--orders", type=_whole, default=20, help="how many orders to make up without a file (20)")
    parser.add_argument("--rate", type=_positive, default=5.0, help="orders a second (5)")
    parser.add_argument("--stack", help="name of the CloudFormation stack whose address and key to read")
    parser.add_argument("--url", help="where to post orders, if not to a stack")
    parser.add_argument("--key", help="the API key; better in ORDERS_API_KEY, where no list of processes shows it")
    parser.add_argument("--attempts", type=_whole, default=Patience.attempts, help="calls for one order at most (8)")
    parser.add_argument(
        "--deadline", type=_positive, default=Patience.deadline_s, help="seconds to try for one order (120)"
    )
    parser.add_argument("--timeout", type=_positive, default=CALL_S, help="seconds that one call may take (15)")
    parser.add_argument("--unsent", type=Path, default=UNSENT, help="where to keep orders that were given up")
    return parser.parse_args()


def _whole(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a whole number, 1 or more")
    return int(text)


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 1e6:
        raise argparse.ArgumentTypeError("must be a number above 0")
    return number


def address(arguments: argparse.Namespace) -> tuple[str, str]:
    """Return where to post orders, and the key for it.

    Raises:
        UsageError: Neither a stack nor an address with a key is given.
        StackNotFoundError: There is no such stack, or it delivers to a real courier.
    """
    key = arguments.key or os.environ.get("ORDERS_API_KEY", "")
    if arguments.url:
        if not arguments.url.startswith(("https://", "http://")):
            raise UsageError("--url must be the whole address, such as https://….amazonaws.com/live/orders")
        if not key:
            raise UsageError("set ORDERS_API_KEY to the API key of the shop")
        return arguments.url, key
    if not arguments.stack:
        raise UsageError("say where to: --stack NAME, or --url with ORDERS_API_KEY")
    stack = CloudFormationStack.find(arguments.stack)
    return stack.outputs["OrdersUrl"], key or stack.api_key()


def produce(
    orders: Sequence[Order],
    post: Callable[[Order], Reply],
    rate: float,
    patience: Patience,
    unsent: Path,
    stack: str | None = None,
) -> int:
    """Send all orders, show how it goes, and keep what was not accepted or refused. Returns the exit status."""
    began, stop = time.monotonic(), threading.Event()

    def sleep(seconds: float) -> None:
        if stop.wait(seconds):
            raise Stopped

    schedule, random = Schedule(rate, sleep=sleep), SystemRandom()
    results: list[Sent] = []
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        calls = [pool.submit(send, order, post, schedule, patience, random=random, sleep=sleep) for order in orders]
        try:
            follow(calls, results)
        except KeyboardInterrupt:
            console.print("stopping: waiting for the calls under way")
            stop.set()
            pool.shutdown(cancel_futures=True)
    summarize(results, orders, time.monotonic() - began, stack)
    settled = {sent.order.order_id for sent in results if sent.turn in (Turn.ACCEPTED, Turn.REFUSED)}
    keep([order for order in orders if order.order_id not in settled], unsent)
    if stop.is_set():
        return 130
    return int(any(sent.turn is not Turn.ACCEPTED for sent in results))


def follow(calls: Sequence[Future[Sent]], results: list[Sent]) -> None:
    """Show each order that ends: a bar for all, and a line for one that is not accepted."""
    shown = "{task.fields[retries]} retries"
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("orders,"), TextColumn(shown), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=len(calls), retries=0)
        for call in as_completed(calls):
            sent = call.result()
            results.append(sent)
            if sent.turn is not Turn.ACCEPTED:
                progress.console.print(escape(complaint(sent)))
            progress.update(task, advance=1, retries=sum(sum(sent.retries.values()) for sent in results))


def complaint(sent: Sent) -> str:
    """Say why an order was not accepted, with what the API says of field and rule."""
    answer = f"HTTP {sent.reply.status} {sent.reply.explanation}" if sent.reply.status else sent.reply.explanation
    return f"{sent.order.order_id} {sent.turn}: {answer.strip()}" + (f" (after {sent.reason})" if sent.reason else "")


def summarize(results: Sequence[Sent], orders: Sequence[Order], seconds: float, stack: str | None) -> None:
    """Print what became of the orders."""
    turns = Counter(sent.turn for sent in results)
    reasons = sum((sent.retries for sent in results), Counter[str]())
    rows = {
        "orders": len(orders),
        "accepted": turns[Turn.ACCEPTED],
        "accepted after retries": sum(sent.turn is Turn.ACCEPTED and bool(sent.retries) for sent in results),
        "refused": turns[Turn.REFUSED],
        "given up": turns[Turn.GIVEN_UP],
        **{f"retries after {reason}": count for reason, count in sorted(reasons.items())},
    }
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column()
    table.add_column(justify="right")
    for name, count in rows.items():
        table.add_row(escape(name), f"{count:,}")
    table.add_row("seconds", f"{seconds:.1f}")
    console.print(table)
    accepted = [
        sent.reply.correlation_id for sent in results if sent.reply.correlation_id and sent.turn is Turn.ACCEPTED
    ]
    if accepted:
        where = f" STACK={stack}" if stack else ""
        console.print(f"What became of the last one: make story ID={accepted[-1]}{escape(where)}", soft_wrap=True)


def keep(orders: Sequence[Order], path: Path) -> None:
    """Keep orders whose fate is not known, or that were given up, so that they can be sent again."""
    if not orders:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(order.body + b"\n" for order in orders))
    console.print(
        f"{len(orders)} orders are kept in {path}: send them again with FILE={path}. "
        "Those that the hub has already are recognised by their order id.",
        soft_wrap=True,
    )


if __name__ == "__main__":
    sys.exit(main())
