"""How cases are generated: a busy machine is no failure."""

import sys

from hypothesis import HealthCheck, settings

# What is tried out here knows no system, so the other ones are for what differs between Pythons.
settings.register_profile(
    "patient",
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
    max_examples=20 if sys.platform == "win32" else 100,
)
settings.load_profile("patient")
