"""The emulator's process: ministack with the gaps of `local/gaps/` closed, on 127.0.0.1 only.

Runs in the emulator's own environment, started by `local.stack`:

    .venv-emulator/bin/python -m local.server --port 45661 [--bare]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import importlib
import logging
import os
import resource
import shutil
import signal
import sys
from importlib.metadata import version

from local.gaps import GAPS
from local.gaps.emulator import MINISTACK_VERSION, Application, Emulator, GapError

HOST = "127.0.0.1"
SETTING_PREFIX = "LOCAL_"


def main() -> int:
    """Serve until SIGTERM or SIGINT. Returns the exit status: 2 when a gap does not fit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--bare", action="store_true", help="leave every gap open")
    parser.add_argument("--attached", action="store_true", help="stop when the parent ends")
    arguments = parser.parse_args()

    os.environ["GATEWAY_PORT"] = str(arguments.port)
    os.environ["BIND_HOST"] = HOST
    allow_many_connections()
    logging.basicConfig(
        level=os.environ.get("LOG_LEVEL", "INFO"),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    for name in ("kms", "samtranslator.metrics.metrics"):
        logging.getLogger(name).setLevel(logging.ERROR)  # warnings about what nobody here uses
    try:
        application, emulator = load(arguments.port, () if arguments.bare else GAPS)
    except GapError as error:
        print(error, file=sys.stderr)
        return 2
    if arguments.attached:
        emulator.add_background(parent_ended)
    collect_garbage_seldom()
    asyncio.run(serve(application, emulator))
    if arguments.attached:
        shutil.rmtree(emulator.settings["state"], ignore_errors=True)
    return 0


def load(port: int, gaps: tuple[str, ...]) -> tuple[Application, Emulator]:
    """Import the emulator, close the gaps in their order and wrap the middleware around it.

    Raises:
        GapError: If the emulator is not the one the gaps were written for.
    """
    settings = {
        name.removeprefix(SETTING_PREFIX).lower(): value
        for name, value in os.environ.items()
        if name.startswith(SETTING_PREFIX)
    }
    emulator = Emulator(port=port, settings=settings)
    installed = version("ministack")
    if gaps and installed != MINISTACK_VERSION:
        emulator.gap = gaps[0]
        raise emulator.error(f"ministack {installed} is installed")
    for name in gaps:
        emulator.gap = name
        importlib.import_module(f"local.gaps.{name}").install(emulator)

    application: Application = importlib.import_module("ministack.app").app
    for wrapper in emulator.middleware:
        application = wrapper(application)
    return application, emulator


async def serve(application: Application, emulator: Emulator) -> None:
    """Serve and run the background tasks until a signal arrives; a task that fails stops all."""
    from hypercorn.asyncio import serve as hypercorn_serve
    from hypercorn.config import Config

    config = Config()
    config.bind = [f"{HOST}:{emulator.port}"]
    config.keep_alive_timeout = 75
    config.graceful_timeout = 1
    config.backlog = 4096
    config.loglevel = "WARNING"

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    async def stopped() -> None:
        await stop.wait()

    async with asyncio.TaskGroup() as tasks:
        background = [tasks.create_task(run()) for run in emulator.background]
        await hypercorn_serve(application, config, shutdown_trigger=stopped)
        for task in background:
            task.cancel()
    with contextlib.suppress(ImportError):
        from ministack.core import lambda_runtime

        lambda_runtime.reset()


async def parent_ended() -> None:
    """Stop the emulator once the process that started it is gone, however it went."""
    parent = os.getppid()
    while os.getppid() == parent:
        await asyncio.sleep(1)
    signal.raise_signal(signal.SIGTERM)


def collect_garbage_seldom() -> None:
    """Spare the emulator the collections that stop it for 0.2 s, as long as two calls at the courier's limit.

    It keeps every log line and every execution's history, so a collection of all generations takes ever longer; what it
    finds is little. Nothing that is loaded by now is ever garbage.
    """
    gc.freeze()
    gc.set_threshold(10_000, 50, 1_000)


def allow_many_connections() -> None:
    """Raise the soft limit of open files to the hard one: a burst opens many connections."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    raise SystemExit(main())
