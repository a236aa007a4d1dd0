"""What a cold start costs: import times of the built handlers as ratios, and the size of the layers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from local.stack import REGION, ROOT, build
from tests.runtime.artefact import read_functions

# Its libraries are what the managed runtime provides: boto3, and nothing of ours.
RUNTIME_PYTHON = ROOT / ".venv-emulator" / "bin" / "python"
BASELINE = "import boto3; boto3.client('sqs')"
ROUNDS = 10


def import_ratios() -> dict[str, float]:
    """Return each handler's time of import over that of boto3 with one client, the best of ten rounds of both.

    Fresh processes, the built artefacts with their byte code, and the runtime's own boto3. It is processor time, which
    depends little on what else the machine is doing; and the two are measured in turns.
    """
    build()
    ratios: dict[str, float] = {}
    for function in read_functions().values():
        path = [function.code, *(layer / "python" for layer in function.layers)]
        module = function.handler.rpartition(".")[0]
        baseline = handler = float("inf")
        for _ in range(ROUNDS):
            baseline = min(baseline, _seconds(BASELINE, [], {}))
            handler = min(handler, _seconds(f"import {module}", path, function.variables))
        ratios[function.source_name] = round(handler / baseline, 2)
    return ratios


def layer_mebibytes() -> float:
    """Return the size of all layers together, unpacked, in MiB."""
    build()
    layers = {layer for function in read_functions().values() for layer in function.layers}
    files = (file for layer in layers for file in layer.rglob("*") if file.is_file())
    return round(sum(file.stat().st_size for file in files) / 2**20, 1)


def _seconds(code: str, path: Sequence[Path], variables: Mapping[str, str]) -> float:
    environment = {
        **variables,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "LAMBDA_TASK_ROOT": "/var/task",
        "PYTHONPATH": ":".join(str(entry) for entry in path),
    }
    process = subprocess.Popen([RUNTIME_PYTHON, "-c", code], env=environment)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, code)
    return used.ru_utime + used.ru_stime
