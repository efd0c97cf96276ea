"""What `--out` writes, and whether that and `--png` can be written."""

from __future__ import annotations

import argparse
import errno
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from assay.cli.pictures import save_pictures
from assay.cli.shown import Shown
from assay.errors import invalid
from assay.explanation import Explanation
from assay.methods import Rows
from assay.tensors import Array


def save(path: Path, arrays: Mapping[str, Array]) -> None:
    """Writes arrays as .npz, a lone one also as .npy."""
    plain = {name: array.astype(str) if array.dtype == object else array for name, array in arrays.items()}
    if path.suffix == ".npz":
        # Not np.savez, which can't hold an input that is called "file".
        with zipfile.ZipFile(path, "w") as archive:
            for name, array in plain.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
    elif len(plain) == 1:
        with path.open("wb") as file:
            np.save(file, next(iter(plain.values())), allow_pickle=False)
    else:
        raise invalid("out", f"there are {len(plain)} arrays ({', '.join(plain)}): a .npz file holds them")


def results(explanation: Explanation) -> dict[str, Array]:
    """What of an explanation is worth a file: its maps, else its features' values, else its rows' scores.

    Of a Jacobian its blocks: by input where there is one output, else by OUTPUT/INPUT.
    """
    if explanation.attributions:
        return explanation.attributions
    if explanation.jacobian:
        return {f"{o}/{name}": block for o, blocks in explanation.jacobian.items() for name, block in blocks.items()}
    if explanation.feature_values is not None:
        return {"feature_values": explanation.feature_values}
    scores = [rows.scores for rows in explanation.rows if rows is not None and rows.scores is not None]
    return {"row_scores": np.stack(scores)} if scores else {}


def need_files(args: argparse.Namespace) -> None:
    """Raises for what can be known before the work to keep `--out` or `--png` from being written."""
    png: Path | None = getattr(args, "png", None)
    for path in (args.out, png):
        if path is None:
            continue
        if not path.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if png is None:
        return
    _need_pillow()
    if args.method is Rows:
        raise invalid("png", "there is nothing to draw of method rows, which gives scores alone: --out writes them")


def _need_pillow() -> None:
    """InvalidArgument where it isn't installed."""
    try:
        import PIL  # noqa: F401
    except ImportError as error:
        raise invalid("png", "pictures need pillow: pip install 'onnx-assay[cli]'") from error


def write(args: argparse.Namespace, explanation: Explanation, shown: Shown, layouts: Mapping[str, str]) -> None:
    """What `--out` and `--png` ask for; where one can't be written, the other is all the same."""
    try:
        if args.out:
            save(args.out, results(explanation))
    finally:
        if args.png:
            save_pictures(args.png, explanation, shown, layouts)
