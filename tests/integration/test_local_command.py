"""`python -m local`: what a person types."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

import pytest

from local.stack import ROOT, RunningEmulator, Stack

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


@pytest.fixture
def name() -> Iterator[str]:
    """Give a name of its own, so that nothing that runs on this machine is touched."""
    name = f"test-{os.getpid()}"
    yield name
    command(name, "down")


def command(name: str, *arguments: str) -> str:
    """Run a command to its end and return what it printed."""
    answer = subprocess.run(
        [sys.executable, "-m", "local", *arguments, "--name", name],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


def test_up_key_status_logs_down(name: str, emulator: RunningEmulator, flow_control_stack: Stack) -> None:
    started = time.monotonic()
    shown = command(name, "up")
    assert time.monotonic() - started < 60
    key = command(name, "key").strip()
    assert key not in shown
    assert f"{key[:4]}…" in shown

    record = json.loads((ROOT / ".local" / f"{name}.json").read_text())
    mine = RunningEmulator.from_json(record["emulator"])
    assert f"export AWS_ENDPOINT_URL={mine.endpoint}" in shown
    assert mine.stack(f"{name}-flow-control").outputs["OrdersUrl"] in command(name, "status")

    correlation_id = post_example(shown, key)
    deadline = time.monotonic() + 20
    while '"status":"COMPLETED"' not in (logs := command(name, "logs")):
        assert time.monotonic() < deadline, logs
        time.sleep(0.5)
    assert correlation_id in logs

    assert "answers 422" in command(name, "courier", "refuse")
    with pytest.raises(AssertionError, match="make courier MODE="):
        command(name, "courier", "asleep")

    command(name, "down")
    assert not mine.alive
    emulator.check()
    assert flow_control_stack.endpoint == emulator.endpoint
    assert not (ROOT / ".local" / f"{name}.json").exists()


def post_example(shown: str, key: str) -> str:
    """Send the order of the printed curl line; returns its correlation id."""
    line = next(line.strip() for line in shown.splitlines() if line.strip().startswith("curl"))
    body = line.split(" -d '")[1].removesuffix("'")
    request = urllib.request.Request(
        line.split()[2], data=body.encode(), headers={"x-api-key": key, "content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 202
        return str(json.loads(answer.read())["correlation_id"])
