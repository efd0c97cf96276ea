"""A model whose arithmetic is in half precision."""

from __future__ import annotations

from onnx import load_from_string
from onnxruntime.transformers.float16 import convert_float_to_float16

from assayd.errors import ModelUnfit


def in_half(program: bytes) -> bytes:
    """The program in float16, with inputs and outputs as they were. Raises ModelUnfit where it can't be converted.

    Operators that halves suit badly stay in float32 (onnxruntime's own list), and so does what isn't float32 now.
    """
    try:
        made = convert_float_to_float16(load_from_string(program), keep_io_types=True)
        return bytes(made.SerializeToString())
    except Exception as error:  # the converter raises whatever it stumbles over
        raise ModelUnfit(f"the model can't be converted to float16 ({type(error).__name__})") from error
