"""What all tests share."""

from __future__ import annotations

import signal

from hypothesis import settings

# How long one example takes says how busy the machine is, not whether the code is right.
settings.register_profile("inkproof", deadline=None)
settings.load_profile("inkproof")

# A job in the background of a shell script ignores Ctrl-C, and so would every program that it
# starts; the tests that press it want the usual.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
