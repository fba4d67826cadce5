"""The native engine: one network, trained one pass over the data at a time.

The same C++ source is built for several levels of processor; the newest that this one runs is
chosen when the first network is made. ``INKPROOF_ISA`` names another one (for tests),
``INKPROOF_THREADS`` the number of threads.
"""

from inkproof.engine.network import Network, PassTotals, Prepared
from inkproof.engine.processor import MAX_THREADS, default_isa, default_threads, variants

__all__ = [
    "MAX_THREADS",
    "Network",
    "PassTotals",
    "Prepared",
    "default_isa",
    "default_threads",
    "variants",
]
