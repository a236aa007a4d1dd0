"""Starting, deploying, crashing and stopping the stack on this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import local.stack
from local.gaps.emulator import Emulator, GapError
from local.server import load
from local.stack import HOST, ROOT, RunningEmulator, Stack, StackError

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

BROKEN_TEMPLATE = json.dumps(
    {
        "Resources": {
            "Key": {"Type": "AWS::KMS::Alias", "Properties": {"AliasName": "no-prefix", "TargetKeyId": "none"}},
        }
    }
)


def test_both_variants_deploy_side_by_side(flow_control_stack: Stack, no_flow_control_stack: Stack) -> None:
    for stack in (flow_control_stack, no_flow_control_stack):
        assert stack.outputs["OrdersUrl"].startswith(f"{stack.endpoint}/restapis/")
        assert len(stack.api_key()) >= 20
    assert flow_control_stack.outputs["FlowControl"] == "enabled"
    assert no_flow_control_stack.outputs["FlowControl"] == "disabled"
    assert "DeliveryQueueUrl" not in no_flow_control_stack.outputs


def test_the_emulator_listens_on_the_loopback_address_only(
    emulator: RunningEmulator, flow_control_stack: Stack
) -> None:
    assert flow_control_stack.endpoint == emulator.endpoint
    assert emulator.listening_addresses() == {(HOST, emulator.port)}


def test_two_emulators_run_side_by_side_and_stop_alone(emulator: RunningEmulator) -> None:
    with RunningEmulator.start() as other:
        assert other.port != emulator.port
        other.client("sqs").create_queue(QueueName="only-here")
        assert not emulator.client("sqs").list_queues(QueueNamePrefix="only-here").get("QueueUrls")
        family = psutil.Process(other.pid).children(recursive=True)
    assert not other.alive
    assert not any(process.is_running() for process in family)
    assert not Path(other.state).exists()
    emulator.check()


def test_a_crash_is_told_with_the_log() -> None:
    with RunningEmulator.start() as emulator:
        with emulator.log.open("a") as log:
            log.write("the last words\n")
        os.kill(emulator.pid, signal.SIGKILL)
        psutil.wait_procs([psutil.Process(emulator.pid)], timeout=5)
        with pytest.raises(StackError, match=r"the emulator has ended; the end of its log:(.|\n)*the last words"):
            emulator.deploy("never")


def test_a_refused_resource_is_told_with_its_reason(tmp_path: Path, emulator: RunningEmulator) -> None:
    template = tmp_path / "template.yaml"
    template.write_text(BROKEN_TEMPLATE)
    with pytest.raises(StackError, match=r"Key \(AWS::KMS::Alias\)"):
        emulator.deploy("refused", template=template)


def test_a_build_is_skipped_when_nothing_changed(emulator: RunningEmulator, flow_control_stack: Stack) -> None:
    assert flow_control_stack.endpoint == emulator.endpoint
    told: list[str] = []
    local.stack.build(progress=told.append)
    assert told == []


def test_the_emulator_ends_with_the_process_that_started_it() -> None:
    script = (
        "import os, local.stack\n"
        "emulator = local.stack.RunningEmulator.start()\n"
        "print(emulator.pid, emulator.state, flush=True)\n"
        "os._exit(1)\n"
    )
    answer = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    pid, state = answer.stdout.split()
    deadline = time.monotonic() + 10
    while psutil.pid_exists(int(pid)) and psutil.Process(int(pid)).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the emulator outlives its parent"
        time.sleep(0.2)
    assert not Path(state).exists()


def test_a_gap_that_does_not_fit_names_its_file() -> None:
    emulator = Emulator(port=1, gap="batching_window")
    with pytest.raises(GapError, match=r"local/gaps/batching_window\.py: .* has no 'renamed'"):
        emulator.wrap(local.stack, "renamed", lambda original: original)
    with pytest.raises(GapError, match=r"local/gaps/batching_window\.py: .* takes \('service', 'endpoint'\)"):
        emulator.wrap(local.stack, "client", lambda original: original, parameters=("service",))


def test_another_release_of_the_emulator_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local.server.version", lambda _name: "9.9.9")
    with pytest.raises(GapError, match=r"local/gaps/first\.py: ministack 9\.9\.9 is installed"):
        load(1, ("first",))
