"""Settings of all tests."""

from hypothesis import settings

# The same examples in every run: what is red here is red everywhere, and no slow machine fails by the clock.
settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=40, database=None)
settings.load_profile("repeatable")
