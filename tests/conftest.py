"""Settings of the test libraries, for every kind of test."""

from hypothesis import HealthCheck, settings

# No deadline: the machines that run this are shared, and a slow example is not a wrong one.
settings.register_profile(
    "hub",
    deadline=None,
    max_examples=50,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("hub")
