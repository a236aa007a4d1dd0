"""Sends the published load to a deployed stack, and counts at the far end what became of it."""

import sys
from pathlib import Path

# The layer is on the path of the functions, not of this repository's tools, which share its rules.
_LAYER = str(Path(__file__).parents[1] / "layers" / "hub")
if _LAYER not in sys.path:
    sys.path.append(_LAYER)
