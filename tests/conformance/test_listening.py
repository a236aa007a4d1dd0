"""The emulator is for this machine alone."""

from __future__ import annotations

from local.stack import HOST
from tests.conformance.conftest import Account, Emulators


def test_the_emulator_and_its_functions_listen_on_the_loopback_address_only(
    relied_upon: Account, emulators: Emulators
) -> None:
    relied_upon.invoke(relied_upon.function("def handler(event, context): return 1"))
    for bare in (False, True):
        emulator = emulators.get(bare=bare)
        assert emulator.listening_addresses() == {(HOST, emulator.port)}
