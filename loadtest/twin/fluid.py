"""The fluid limit: what a courier that is used to the last call could do. No system is faster."""

from __future__ import annotations

from collections.abc import Sequence

from loadtest.profiles import Profile
from loadtest.twin.scenario import Outage

_STEPS = 5000


def drain_seconds(profile: Profile, capacity: float, outages: Sequence[Outage] = ()) -> float | None:
    """Return the seconds from the end of a load until a courier has taken everything.

    Orders flow in like water at the profile's rate and out at no more than the capacity.

    Args:
        profile: The load.
        capacity: Deliveries a second, 0 or more.
        outages: When nothing flows out.

    Returns:
        None if it never ends.
    """
    step = profile.duration_s / _STEPS
    level = 0.0
    for index in range(_STEPS):
        middle = (index + 0.5) * step
        outflow = 0.0 if any(outage.begin <= middle < outage.end for outage in outages) else capacity
        level = max(0.0, level + (profile.rate_at(middle) - outflow) * step)
    if level <= 1e-9:
        return 0.0
    if capacity <= 0:
        return None
    seconds = level / capacity
    now = profile.duration_s
    for outage in sorted(outages, key=lambda outage: outage.begin):
        begin = max(outage.begin, now)
        if begin < now + seconds and outage.end > begin:
            seconds += outage.end - begin
    return round(seconds, 1)
