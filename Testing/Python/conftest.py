"""What all floors' tests share."""

from hypothesis import settings

settings.register_profile("floors", deadline=None)  # how long an example takes says nothing about it
settings.load_profile("floors")
