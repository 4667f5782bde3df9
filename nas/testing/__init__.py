"""Batteries that every part of a kind has to pass, the project's own and a user's."""

from nas.primitive_checks import check_primitive, check_primitives
from nas.testing.strategies import check_strategy

__all__ = ["check_primitive", "check_primitives", "check_strategy"]
