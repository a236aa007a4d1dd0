from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from loadtest import demo, picture, profiles
from loadtest import run as running
from loadtest.measure import Figures
from loadtest.profiles import Scale
from loadtest.progress import Board, Snapshot
from loadtest.run import Drain, Limits, Situation, wait_until_drained
from tests.unit.loadtest.test_measure import measured, with_flow_control, without_flow_control

LIMITS = Limits(poll_s=1.0, drain_s=300.0, async_retry_wait_s=8.0)


class Clock:
    """A clock that only sleeping moves on."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(running, "time", clock)
    monkeypatch.setattr(running.target, "function_configuration", lambda *_: {"Timeout": 60})
    return clock


def drain(situations: Iterator[tuple[int, int]], *, queue: bool) -> Drain:
    """Wait on a stack that shows (unaccounted orders, messages) at each look."""
    observer: Any = SimpleNamespace(look=lambda _stage: Situation(Snapshot(), *next(situations)))
    stack: Any = SimpleNamespace(outputs={"DeliveryQueueUrl": "https://queue"} if queue else {})
    return wait_until_drained(stack, observer, LIMITS, lambda _snapshot: None)


def forever(unaccounted: int, messages: int) -> Iterator[tuple[int, int]]:
    while True:
        yield unaccounted, messages


def test_drained_once_every_order_is_accounted_for_and_no_message_is_left() -> None:
    assert drain(iter([(2, 3), (0, 1), (0, 0)]), queue=True) == Drain(2.0, ended=True)


def test_an_order_out_of_sight_gets_the_time_of_an_invocation_and_a_retry() -> None:
    ended = drain(forever(1, 0), queue=False)
    assert ended.ended
    assert 60 + 8 < ended.seconds <= 60 + 8 + 2


def test_queues_get_the_time_in_which_their_figures_settle() -> None:
    assert drain(forever(1, 0), queue=True).seconds == pytest.approx(61)


def test_a_queue_that_never_empties_ends_at_the_limit() -> None:
    assert drain(forever(0, 1), queue=True) == Drain(301.0, ended=False)


def test_progress_is_a_line_for_each_stage_where_there_is_no_terminal() -> None:
    text = StringIO()
    with Board(Console(file=text, width=120), ("hub",)) as board:
        show = board.row("hub")
        show(Snapshot("sending", 0.0))
        show(Snapshot("sending", 0.5, sent=10))
        show(Snapshot("draining", 0.9, sent=20, delivered=18, queued=2, concurrency=3))
    assert text.getvalue().splitlines() == [
        "hub: sending 0%, 0 sent, 0 delivered, 0 queued, 0 concurrent",
        "hub: draining 90%, 20 sent, 18 delivered, 2 queued, 3 concurrent",
    ]


def test_progress_is_a_table_on_a_terminal() -> None:
    text = StringIO()
    with Board(Console(file=text, width=120, force_terminal=True), ("hub", "other")) as board:
        board.row("hub")(Snapshot("draining", 0.9, sent=20, accepted=19, delivered=18, queued=2, concurrency=3))
    assert "draining" in text.getvalue()
    assert "waiting" in text.getvalue()


def test_the_table_writes_every_figure_of_both_variants() -> None:
    text = StringIO()
    figures: dict[str, Figures] = {
        "flow-control": measured(with_flow_control(0), drained=True).figures,
        "no-flow-control": measured(without_flow_control(), drained=True).figures,
    }
    Console(file=text, width=100).print(demo.table(figures))
    rows = {cells[1].strip(): [cell.strip() for cell in cells[2:4]] for cells in split_rows(text.getvalue())}
    assert rows["accepted (202)"] == ["3", "3"]
    assert rows["of them throttled"] == ["0.0%", "71.4%"]
    assert rows["billed seconds an order"] == ["1.33 s", "5.67 s"]
    assert len(rows) == len(demo.ROWS)


def split_rows(text: str) -> list[list[str]]:
    return [line.split("│") for line in text.splitlines() if line.startswith("│")]


def test_parameters_follow_the_scale() -> None:
    parameters = demo.scaled_parameters(Scale(time=1 / 15, rate=1 / 2))
    assert parameters["CourierRate"] == "5"
    assert parameters["CourierBurst"] == "5"
    assert (parameters["DirectRetryWaitMin"], parameters["DirectRetryWaitMax"]) == ("0.2", "0.533")


def test_what_differs_from_the_experiment_is_said() -> None:
    scale = Scale(time=1 / 15, rate=1 / 2)
    said = demo.explanation(profiles.load().scaled(scale), scale)
    for fact in ("15 times shorter", "72 s", "7.5 a second", "5 calls a second", "4 and 8 s instead of 60 and 120 s"):
        assert fact in said


@pytest.mark.parametrize(("waiting", "status"), [(0, 1), (1, 1)])
def test_an_order_that_flow_control_did_not_deliver_fails_the_demo(waiting: int, status: int) -> None:
    run: Any = SimpleNamespace(measurement=measured(with_flow_control(waiting), drained=True))
    text = StringIO()
    assert demo.verdict(Console(file=text, width=200), run, []) == status
    assert "Flow control lost" in text.getvalue()


def test_pictures_for_light_and_dark_pages(tmp_path: Path) -> None:
    runs = {
        "flow-control": measured(with_flow_control(0), drained=True),
        "no-flow-control": measured(without_flow_control(), drained=True),
    }
    short = profiles.load().scaled(Scale(time=1 / 60))
    files = picture.draw(runs, short, courier_rate=10, folder=tmp_path)
    assert [file.name for file in files] == ["demo.png", "demo.svg", "demo-dark.png", "demo-dark.svg"]
    assert files[0].read_bytes().startswith(b"\x89PNG")
    assert "<svg" in files[1].read_text()
