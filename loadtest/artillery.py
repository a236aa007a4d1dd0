"""Runs artillery, and reads its records while it does."""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from loadtest.ledger import SentOrder, read_records
from loadtest.profiles import SCENARIO, Profile
from loadtest.target import DeployedStack

FOLDER = SCENARIO.parent
OUT = FOLDER / "out"
ARTILLERY = FOLDER / "node_modules" / ".bin" / "artillery"
THRESHOLDS_MISSED = 1
"""Artillery's exit status when a threshold of `ensure` was missed but the load was sent."""


class ArtilleryError(RuntimeError):
    """Artillery is not installed, or did not send the load; the message carries its output."""


@dataclass
class Load:
    """A load that artillery is sending to a stack."""

    process: subprocess.Popen[bytes]
    records: Path
    log: Path

    @classmethod
    def start(cls, stack: DeployedStack, profile: Profile, seed: int) -> Load:
        """Start sending.

        Args:
            stack: Where to send, from its outputs OrdersUrl and OrdersApiKeyId.
            profile: The phases to send.
            seed: The same seed sends the same orders.

        Raises:
            ArtilleryError: If artillery is not installed.
        """
        if not ARTILLERY.exists():
            raise ArtilleryError("artillery is not installed: run `make setup`")
        OUT.mkdir(exist_ok=True)
        records = OUT / f"{stack.name}.ndjson"
        log = OUT / f"{stack.name}.artillery.log"
        records.write_text("")
        command = [str(ARTILLERY), "run", "--target", stack.outputs["OrdersUrl"].removesuffix("/orders")]
        command += ["--overrides", json.dumps({"config": {"phases": profile.artillery_phases()}})]
        command += [str(SCENARIO)]
        environment = os.environ | {
            "ARTILLERY_DISABLE_TELEMETRY": "true",
            "LOADTEST_RECORDS": str(records),
            "LOADTEST_SEED": str(seed),
            "ORDERS_API_KEY": stack.api_key(),
            "WORKERS": "1",  # several would each count their orders from 1
        }
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=FOLDER,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        return cls(process, records, log)

    @property
    def running(self) -> bool:
        """Whether artillery is still at work."""
        return self.process.poll() is None

    def sent(self) -> list[SentOrder]:
        """Read the orders that have been answered so far, or given up."""
        return read_records(self.records.read_text().splitlines())

    def share(self, profile: Profile) -> float:
        """Tell how much of the profile's time has passed since the first order, from 0 to 1."""
        first = min((order.sent_at for order in self.sent()), default=None)
        return 0.0 if first is None else min(1.0, (time.time() - first) / profile.duration_s)

    def finish(self) -> bool:
        """Wait for the end; whether every threshold of `ensure` was met.

        Raises:
            ArtilleryError: If artillery failed, or sent nothing.
        """
        status = self.process.wait()
        if status not in (0, THRESHOLDS_MISSED) or not self.sent():
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])
            raise ArtilleryError(f"artillery ended with status {status}:\n{tail}")
        return status == 0

    def stop(self) -> None:
        """End artillery if it still runs."""
        if self.running:
            self.process.terminate()
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def version() -> str:
    """Return the version that is installed."""
    package = FOLDER / "node_modules" / "artillery" / "package.json"
    return str(json.loads(package.read_text())["version"])
