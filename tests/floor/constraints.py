"""Print the lower bounds of the base dependencies as pip constraints: the floor is what pyproject.toml says.

Usage: constraints.py PYPROJECT
"""

import re
import sys
import tomllib
from pathlib import Path

for requirement in tomllib.loads(Path(sys.argv[1]).read_text())["project"]["dependencies"]:
    bound = re.fullmatch(r"([\w-]+)>=([\d.]+)", requirement)
    if bound is None:
        sys.exit(f"{requirement!r} states no plain lower bound")
    print(f"{bound[1]}=={bound[2]}")
