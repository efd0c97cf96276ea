"""`assayd serve …` and `assayd health …`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

_USAGE = """usage: assayd serve --store DIR [flags]    run the server (assayd serve --help lists the flags)
       assayd health [ADDRESS]              exit 0 if the server at ADDRESS (default 127.0.0.1:50051) serves
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    command, *rest = (sys.argv[1:] if arguments is None else list(arguments)) or [""]
    match command:
        case "serve":
            return _serve(rest)
        case "health":
            return _health(rest[-1] if rest else "127.0.0.1:50051")
        case _:
            sys.stderr.write(_USAGE)
            return 0 if command in ("-h", "--help", "help") else 2


def _serve(flags: list[str]) -> int:
    # Read when numpy is first imported. The cores are the model's; several BLAS threads beside it wait for each other.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        import asyncio

        from pydantic import ValidationError
        from pydantic_settings import CliApp

        from assayd import log
        from assayd.app import serve
        from assayd.settings import Settings
    except ImportError as missing:
        # The light client installs this command too.
        sys.stderr.write(
            f"assayd: {missing.name} is missing. The server is an extra: pip install 'onnx-assay[server,cpu]', or "
            "'onnx-assay[server,gpu]' for CUDA\n"
        )
        return 1
    try:
        settings = CliApp.run(Settings, cli_args=flags)
    except ValidationError as error:
        for problem in error.errors():
            flag = "--" + "-".join(str(part) for part in problem["loc"]).replace("_", "-")
            sys.stderr.write(f"assayd serve: {flag}: {problem['msg']}\n")
        return 2
    log.configure(settings.log_level)
    try:
        asyncio.run(serve(settings))
    except (OSError, RuntimeError) as error:
        sys.stderr.write(f"assayd serve: {error}\n")
        return 1
    return 0


def _health(address: str) -> int:
    from assayd.api.probe import probe

    status = probe(address)
    if status != "SERVING":
        sys.stderr.write(f"assayd health: {address}: {status}\n")
    return 0 if status == "SERVING" else 1


if __name__ == "__main__":
    sys.exit(main())
