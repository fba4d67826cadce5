"""Names and addresses of machines."""

from __future__ import annotations

import ipaddress

__all__ = ["is_local"]


def is_local(host: str) -> bool:
    """Say whether an address or name reaches this machine alone."""
    name = host.strip("[]").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
