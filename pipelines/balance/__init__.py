"""Balancing: how much each person may say in a data set, which of their examples are taken, and into which split.

Everything here is pure and needs little memory: first count, then `balance`, then one pass to `choose` by, then take.
"""

from pipelines.balance.choosing import MOST_BOOST, Candidate, Choice, boost, choose, choose_parts
from pipelines.balance.quotas import DEFAULT_CAP, Quotas, balance
from pipelines.balance.splitting import SHARES, Span, Split, SplitBounds, split_bounds

__all__ = [
    "DEFAULT_CAP",
    "MOST_BOOST",
    "SHARES",
    "Candidate",
    "Choice",
    "Quotas",
    "Span",
    "Split",
    "SplitBounds",
    "balance",
    "boost",
    "choose",
    "choose_parts",
    "split_bounds",
]
