"""The native engine: one network, trained one pass over the data at a time.

The same C++ source is built for several levels of processor; the newest that this one runs is
chosen when the first network is made. ``INKPROOF_ISA`` names another one (for tests),
``INKPROOF_THREADS`` the number of threads.
"""

from inkproof.engine.ceilings import memory_rate, multiply_add_rate
from inkproof.engine.network import Network, OperationTime, PassTotals, Prepared
from inkproof.engine.processor import (
    MAX_THREADS,
    PRECISIONS,
    default_isa,
    default_threads,
    processor_name,
    usable_precision,
    variants,
)

__all__ = [
    "MAX_THREADS",
    "PRECISIONS",
    "Network",
    "OperationTime",
    "PassTotals",
    "Prepared",
    "default_isa",
    "default_threads",
    "memory_rate",
    "multiply_add_rate",
    "processor_name",
    "usable_precision",
    "variants",
]
