"""For all tests: what the layer needs of the environment when it is first imported, whichever test does it."""

from __future__ import annotations

import os

os.environ.setdefault("POWERTOOLS_METRICS_NAMESPACE", "SelfHealingEventHub")  # as in template.yaml
