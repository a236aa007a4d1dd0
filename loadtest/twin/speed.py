"""How fast the twin is, and how its time and memory grow: each simulation in a process of its own."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

from loadtest import profiles
from loadtest.profiles import Scale
from loadtest.twin.model import simulate
from loadtest.twin.scenario import Scenario
from loadtest.twin.settings import VARIANTS

SIZES = (10_000, 100_000, 1_000_000)
PUBLISHED_S = 3.0
"""Most seconds for the published profile, the command's start included."""
LARGEST_S = 180.0
LARGEST_MIB = 1024.0
GROWTH = 2.0
"""Most seconds (or bytes) for each order of the largest size, over those of the smallest."""


@dataclass(frozen=True)
class Speed:
    """What one simulation took. Memory is the process's most, and what it had before the first order."""

    variant: str
    orders: int
    seconds: float
    mebibytes: float
    mebibytes_before: float

    @property
    def microseconds_per_order(self) -> float:
        """Time for each order."""
        return self.seconds / self.orders * 1e6

    @property
    def bytes_per_order(self) -> float:
        """Memory for each order."""
        return (self.mebibytes - self.mebibytes_before) * 2**20 / self.orders


def command_seconds(variant: str) -> float:
    """Return the seconds that the command takes for the published profile, from its start to its end."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "loadtest.twin", "run", "--variant", variant]
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


def growth() -> Iterator[Speed]:
    """Simulate the published shape, stretched in time, with ever more orders; yield what each took."""
    for variant in VARIANTS:
        for orders in SIZES:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                yield process.submit(measure, variant, orders).result()


def measure(variant: str, orders: int) -> Speed:
    """Simulate in this process, which should be a fresh one."""
    published = profiles.load()
    simulate(Scenario(variant, published.scaled(Scale(time=1 / 100))))  # everything is imported and read
    before = _mebibytes()
    began = time.perf_counter()
    result = simulate(Scenario(variant, published.scaled(Scale(time=orders / published.orders))))
    return Speed(variant, result.orders, time.perf_counter() - began, _mebibytes(), before)


def _mebibytes() -> float:
    """Return the most memory that this process has had so far (kilobytes on Linux, bytes on macOS)."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 2**10)
