"""The report of a data set: the same figures as one HTML file that needs no network, and in the terminal."""

from pipelines.report.figures import (
    Activity,
    AuthorShare,
    Dropped,
    Figures,
    Histogram,
    SampleShown,
    histogram,
)
from pipelines.report.page import page
from pipelines.report.screen import show

__all__ = [
    "Activity",
    "AuthorShare",
    "Dropped",
    "Figures",
    "Histogram",
    "SampleShown",
    "histogram",
    "page",
    "show",
]
