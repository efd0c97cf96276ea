"""The command line: `assay`, or `python -m assay`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from assay.cli.arguments import parser
from assay.cli.connecting import told
from assay.errors import AssayError, Unavailable

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status: 0, 1 for an error (told in one line on stderr) or a check
    that found something, 2 for usage, 130 where Ctrl-C stopped it.
    """
    args = parser().parse_args(argv)
    try:
        status = args.run(args) or 0
        sys.stdout.flush()
    except Unavailable as error:
        return _told(f"unavailable: {told(error, args.server)}")
    except AssayError as error:
        return _told(f"{error.code.lower().replace('_', ' ')}: {error}")
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _told(f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error))
    except KeyboardInterrupt:
        return 130
    return int(status)


def _told(text: str) -> int:
    print(f"assay: {' '.join(text.split())}", file=sys.stderr)
    return 1
