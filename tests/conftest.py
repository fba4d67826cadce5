"""What all tests share."""

from __future__ import annotations

from hypothesis import settings

# How long one example takes says how busy the machine is, not whether the code is right.
settings.register_profile("inkproof", deadline=None)
settings.load_profile("inkproof")
