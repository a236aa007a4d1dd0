"""Settings of the libraries, for every kind of test, before the first of them imports one."""

import os

from hypothesis import HealthCheck, settings

os.environ.setdefault("POWERTOOLS_METRICS_NAMESPACE", "SelfHealingEventHub/tests")  # as in template.yaml

# No deadline: the machines that run this are shared, and a slow example is not a wrong one.
settings.register_profile(
    "hub",
    deadline=None,
    max_examples=50,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("hub")
