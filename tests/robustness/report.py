"""What a long run found: tables for people, which can be pasted as they are, and JSON for machines."""

import json
import subprocess
import time


def table(head, rows):
    """In Markdown, columns aligned."""
    cells = [[_text(cell) for cell in row] for row in [head, *rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in cells]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(lines)


def _text(cell):
    if isinstance(cell, float):
        return f"{cell:,.1f}" if abs(cell) >= 10 else f"{cell:.3g}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def revision():
    """Of the tree that ran, with + where it has changes; "" outside a repository."""

    def git(*words):
        return subprocess.run(["git", *words], capture_output=True, text=True, check=False).stdout.strip()

    return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "-s", "-uno") else "")


def finish(title, parts, facts, folder, *, passed):
    """Print it all and keep the facts as JSON; the exit status. parts: texts."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    verdict = "passed" if passed else "FAILED"
    print(f"\n{title} ({revision()}, {stamp}): {verdict}.", *parts, sep="\n\n", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{title.split()[0].lower()}.json"
    held = {"taken": stamp, "revision": revision(), "passed": passed, **facts}
    path.write_text(json.dumps(held, indent=1, default=float) + "\n")
    return 0 if passed else 1
