"""Counting: what a graph costs and what it can see."""

from cnnatomy.analysis.account import Account, Row, Subtotal, Totals, account
from cnnatomy.analysis.conventions import conventions
from cnnatomy.analysis.receptive_field import ReceptiveField, lecture_rule, receptive_fields

__all__ = [
    "Account",
    "ReceptiveField",
    "Row",
    "Subtotal",
    "Totals",
    "account",
    "conventions",
    "lecture_rule",
    "receptive_fields",
]
