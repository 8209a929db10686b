"""Counting: what a graph costs and what it can see."""

from cnnatomy.analysis.accounting import Account, Row, Subtotal, Totals, account
from cnnatomy.analysis.receptive_field import ReceptiveField, lecture_rule, receptive_fields

__all__ = [
    "Account",
    "ReceptiveField",
    "Row",
    "Subtotal",
    "Totals",
    "account",
    "lecture_rule",
    "receptive_fields",
]
