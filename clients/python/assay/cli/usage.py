"""What a mistyped command is told."""

from __future__ import annotations

import argparse
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """Tells what was wrong, and where all flags are listed: some commands have more than fit on a screen."""

    def error(self, message: str) -> NoReturn:
        """Ends with status 2."""
        self.exit(2, f"usage: {self.prog} …  ({self.prog} --help lists what it takes)\n{self.prog}: error: {message}\n")
