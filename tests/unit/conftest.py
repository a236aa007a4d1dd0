"""Fixtures of the unit tests: AWS in this process, a courier on the loopback interface, and the functions' output."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import boto3
import pytest
from moto import mock_aws

from hub.dead_letters import Look
from hub.instrument import logger, metrics
from tests.unit.aws import REGION, AwsErrors, Bus
from tests.unit.courier_server import CourierServer
from tests.unit.output import Output


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """AWS, empty, in this process; nothing of this test can reach the real one."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL"):  # as `make up` prints it, for whoever uses the emulator too
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Look, "WAIT_SECONDS", 0)  # long polling finds nothing more here
    monkeypatch.setattr(boto3, "client", _shared(boto3.client))
    monkeypatch.setattr(boto3, "resource", _shared(boto3.resource))
    with mock_aws():
        yield


@cache
def _shared(create: Callable[..., Any]) -> Callable[..., Any]:
    """Keep clients from test to test: making one takes longer than most tests."""
    made: dict[tuple[str, ...], Any] = {}

    def client(service: str, **settings: Any) -> Any:
        key = (service, *settings)  # whoever gives settings of a kind gives the same ones each time
        if key not in made:
            made[key] = create(service, **settings)
        return made[key]

    return client


@pytest.fixture
def bus(aws: None) -> Bus:
    """The event bus."""
    return Bus()


@pytest.fixture
def aws_errors(aws: None, monkeypatch: pytest.MonkeyPatch) -> AwsErrors:
    """Calls to AWS that fail, and a record of all calls."""
    return AwsErrors(monkeypatch)


@pytest.fixture
def courier() -> Iterator[CourierServer]:
    """A courier that takes every order at once, until it is told otherwise."""
    with CourierServer() as server:
        yield server


@pytest.fixture
def output(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[[], Output]:
    """Reads what has been printed since the last call."""
    monkeypatch.setattr(logger.registered_handler, "stream", _Stdout())
    metrics.clear_metrics()
    capsys.readouterr()

    def read() -> Output:
        captured = capsys.readouterr()
        return Output(captured.out, captured.err)

    return read


class _Stdout:
    """Whatever is standard output at the moment; the logger would keep the one of its import."""

    def write(self, text: str) -> None:
        sys.stdout.write(text)

    def flush(self) -> None:
        sys.stdout.flush()


@pytest.fixture
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Publishing does not wait between its attempts."""
    monkeypatch.setattr("hub.event_bus.full_jitter", lambda *_, **__: 0.0)
