"""`assayd serve …`, `assayd health …` and `assayd token …`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

_USAGE = """usage: assayd serve --store DIR [flags]    run the server (assayd serve --help lists the flags)
       assayd health [ADDRESS]              exit 0 if the server at ADDRESS (default 127.0.0.1:50051) serves
       assayd token --tenant T --roles R    make a token, and the line for the file that --tokens names
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    command, *rest = (sys.argv[1:] if arguments is None else list(arguments)) or [""]
    match command:
        case "serve":
            return _serve(rest)
        case "health":
            return _health(rest[-1] if rest else os.environ.get("ASSAYD_PROBES") or "127.0.0.1:50051")
        case "token":
            return _token(rest)
        case _:
            sys.stderr.write(_USAGE)
            return 0 if command in ("-h", "--help", "help") else 2


def _serve(flags: list[str]) -> int:
    # Read when numpy is first imported. The cores are the model's; several BLAS threads beside it wait for each other.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from assayd.heap import keep_at_hand

    keep_at_hand()
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


def _token(flags: list[str]) -> int:
    """The token goes to standard output, the line for the file to standard error: each may go where it belongs."""
    import argparse
    from datetime import UTC, datetime, timedelta

    from assayd.api.auth.tokens import new_token

    parser = argparse.ArgumentParser("assayd token", description="Make a token. It is shown once, and kept nowhere.")
    parser.add_argument("--tenant", required=True, help="whose models, tensors and quota it is for")
    parser.add_argument("--roles", required=True, help="some of explain,upload,admin")
    parser.add_argument("--days", type=float, help="so long it is good for; by default until its line is removed")
    args = parser.parse_args(flags)
    try:
        expires = None if args.days is None else datetime.now(UTC) + timedelta(days=args.days)
        token, line = new_token(args.tenant, args.roles.split(","), expires)
    except (ValueError, OverflowError) as error:
        sys.stderr.write(f"assayd token: {error}\n")
        return 2
    sys.stderr.write(f"# for the file of --tokens; the caller gets the token, which is kept nowhere\n{line}\n")
    sys.stdout.write(f"{token}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
