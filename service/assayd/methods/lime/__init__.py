"""LIME: `method` is the method, the rest are its parts: `masks` and `tables` draw, `surrogates` fit."""

from assayd.methods.lime.method import Lime

__all__ = ["Lime"]
