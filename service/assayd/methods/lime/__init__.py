"""LIME: `method` is the method, the rest are its parts: `masks` and `tables` draw, `ridge` and `surrogates` fit, what
instances share of both is `kept`.
"""

from assayd.methods.lime.method import Lime

__all__ = ["Lime"]
