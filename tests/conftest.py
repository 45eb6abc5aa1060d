"""For all tests: Hypothesis looks for wrong answers, never for slow ones, for how fast a machine is decides nothing."""

from hypothesis import HealthCheck, settings

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")
