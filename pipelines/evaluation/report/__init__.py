"""The report of an evaluation: one page that needs no network, and the same in the terminal."""

from pipelines.evaluation.report.page import page
from pipelines.evaluation.report.screen import show

__all__ = ["page", "show"]
