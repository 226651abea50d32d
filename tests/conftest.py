"""What every test gets: property tests that find the same examples each time and set no time limit of their own."""

from hypothesis import settings

settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")
