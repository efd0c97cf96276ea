"""The server that the flags name."""

from __future__ import annotations

import argparse
import os
import re

from assay.channel import TLS
from assay.client import Client
from assay.errors import Unavailable

# gRPC's words; a handshake that failed was with a server, and its own words say more.
_UNREACHED = re.compile(
    r"failed to connect(?!.*handshake)|errors? resolving|resolution failed", re.IGNORECASE | re.DOTALL
)
_REASONS = {"refused": ": it refuses connections", "resol": ": no such host is known"}


def connected(args: argparse.Namespace) -> Client:
    """A client of the server that `--server` and the flags beside it say."""
    tls: TLS | bool = args.tls
    ca = args.ca or os.environ.get("ASSAY_CA")
    if ca or args.cert or args.key:
        tls = TLS(ca, args.cert, args.key)
    return Client(args.server, tls, args.token or os.environ.get("ASSAY_TOKEN"))


def timeout(args: argparse.Namespace) -> float:
    """Seconds for a call."""
    return 30.0 if args.timeout is None else float(args.timeout)


def told(error: Unavailable, server: str) -> str:
    """What to tell: where nothing answers at the address, that, and how to name another."""
    if error.reason or not _UNREACHED.search(error.message):
        return str(error)
    why = next((said for sign, said in _REASONS.items() if sign in error.message), "")
    return f"no server answers at {server}{why}; --server HOST:PORT or ASSAY_SERVER names another"
