"""Sends the published load to a deployed stack, and counts at the far end what became of it."""

import local  # noqa: F401 (puts the layer on the path, whose rules these tools share)
