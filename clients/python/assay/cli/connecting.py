"""The server that the flags name."""

from __future__ import annotations

import argparse
import os

from assay.channel import TLS
from assay.client import Client


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
