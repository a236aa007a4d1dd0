"""Runs the stack on this machine, without an AWS account and without Docker, and works on one that is deployed."""

import sys
from pathlib import Path

# The layer is on the path of the functions, not of this repository's tools, which share its rules.
_LAYER = str(Path(__file__).parents[1] / "layers" / "hub")
if _LAYER not in sys.path:
    sys.path.append(_LAYER)
