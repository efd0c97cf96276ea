"""Jacobians by finite differences."""

from assayd.methods.jacobian.method import Jacobian

__all__ = ["Jacobian"]
