"""The report as one HTML file: it loads nothing, runs nothing, and everything that people wrote is escaped."""

from collections.abc import Iterable, Sequence

from pipelines.report.figures import Figures, SampleShown
from pipelines.report.plots import activity_grid, length_bars, share_bars
from pipelines.report.safe import escape

SHOWN_AUTHORS = 25
SHOWN_CHANNELS = 30

# The policy lets the page load nothing and run nothing, whatever its text says.
_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<title>%s</title><style>
:root { --ink: #1d2430; --soft: #5d6675; --line: #dde1e8; --paper: #fff; --card: #f6f7f9; --before: #b9c3d3;
  --after: #2f6fb5; --cap: #c0392b; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --soft: #9aa4b4; --line: #343b48; --paper: #161a21;
  --card: #1e242d; --before: #56627a; --after: #5b9ee6; --cap: #ef7a6d; } }
body { max-width: 900px; margin: 32px auto; padding: 0 20px; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, "Noto Sans", sans-serif; }
h1 { font-size: 26px; margin: 0 0 12px; } h2 { font-size: 19px; margin: 36px 0 10px; }
h3 { font-size: 15px; margin: 18px 0 4px; }
p { margin: 6px 0; } .soft { color: var(--soft); } .note { border-left: 3px solid var(--cap); padding-left: 10px; }
table { border-collapse: collapse; margin: 8px 0; } td, th { padding: 4px 14px 4px 0; text-align: left;
  border-bottom: 1px solid var(--line); vertical-align: top; } th { color: var(--soft); font-weight: 500; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: 2px 18px; margin: 0; }
.facts dt { color: var(--soft); } .facts dd { margin: 0; overflow-wrap: anywhere; }
svg { max-width: 100%%; height: auto; display: block; } svg text { font: 12px system-ui, "Noto Sans", sans-serif; }
svg text.name { fill: var(--ink); } svg text.figure { fill: var(--soft); }
.before { fill: var(--before); } .after, .square { fill: var(--after); } .cap { stroke: var(--cap);
  stroke-dasharray: 4 3; } .key i { display: inline-block; width: 12px; height: 12px; margin: 0 5px 0 12px; }
.sample { background: var(--card); border-radius: 8px; padding: 10px 14px; margin: 12px 0; }
.turn { white-space: pre-wrap; overflow-wrap: anywhere; margin: 4px 0 8px; }
.role { color: var(--soft); font-size: 12px; } .reply { border-left: 3px solid var(--after); padding-left: 10px; }
</style></head><body>
"""


def page(figures: Figures) -> str:
    """Return the whole page; the same figures give the same text."""
    parts = [
        _HEAD % escape(figures.title),
        f"<h1>{escape(figures.title)}</h1>",
        _facts(figures.facts),
        _table("What was left after each step", ("step", "left"), figures.steps),
        _shares(figures),
        _table("Splits", ("split", "examples"), figures.splits),
        _table("Preferences", ("kind", "rows"), figures.preferences),
        _lengths(figures),
        _channels(figures),
        _dropped(figures),
        _samples(figures.samples),
        "</body></html>\n",
    ]
    return "\n".join(part for part in parts if part)


def _facts(facts: Sequence[tuple[str, str]]) -> str:
    lines = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts)
    return f'<dl class="facts">{lines}</dl>' if lines else ""


def _table(title: str, heads: tuple[str, str], rows: Sequence[tuple[str, int]]) -> str:
    if not rows:
        return ""
    return f"<h2>{escape(title)}</h2>" + _rows(heads, ((name, f"{count:,}") for name, count in rows))


def _rows(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table whose last column holds numbers."""
    kinds = [""] * (len(heads) - 1) + [' class="number"']
    head = "".join(f"<th{kind}>{escape(text)}</th>" for kind, text in zip(kinds, heads, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{escape(text)}</td>" for kind, text in zip(kinds, row, strict=True)) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _shares(figures: Figures) -> str:
    if not figures.authors:
        return ""
    ordered = figures.by_share()
    shown, rest = ordered[:SHOWN_AUTHORS], ordered[SHOWN_AUTHORS:]
    available = sum(author.available for author in figures.authors)
    taken = sum(author.taken for author in figures.authors)
    why = f'<p class="note">{escape(cap_line(figures))}</p>' if figures.cap_reason else ""
    more = (
        f'<p class="soft">and {len(rest):,} more, together {sum(before for _, before, _ in rest):.1%} before and '
        f"{sum(after for _, _, after in rest):.1%} after</p>"
        if rest
        else ""
    )
    return (
        f"<h2>Shares before and after balancing</h2><p>{taken:,} of {available:,} examples of {len(ordered):,} people "
        f"were taken.</p>{why}"
        '<p class="key soft">share of the examples<i style="background:var(--before)"></i>before'
        '<i style="background:var(--after)"></i>after</p>' + share_bars(shown, figures.effective_cap) + more
    )


def cap_line(figures: Figures) -> str:
    """Return why the cap that held is another than the one that was asked for."""
    return f"The cap was relaxed from {figures.cap:.1%} to {figures.effective_cap:.1%}: {figures.cap_reason}."


def _lengths(figures: Figures) -> str:
    parts = [
        f'<h3>{escape(each.name)}</h3><p class="soft">median {each.median:g}, 95 % up to {each.p95:g}, largest '
        f"{each.largest:,}</p>{length_bars(each)}"
        for each in figures.lengths
    ]
    return "<h2>Lengths</h2>" + "".join(parts) if parts else ""


def _channels(figures: Figures) -> str:
    if not figures.activity:
        return ""
    ordered = sorted(figures.activity, key=lambda row: (-sum(row.counts), row.channel))
    rest = ordered[SHOWN_CHANNELS:]
    more = f'<p class="soft">and {len(rest):,} more channels</p>' if rest else ""
    return "<h2>Channels over time</h2>" + activity_grid(figures.months, ordered[:SHOWN_CHANNELS]) + more


def _dropped(figures: Figures) -> str:
    if not figures.dropped:
        return ""
    rows = ((each.step, each.reason, f"{each.count:,}") for each in figures.dropped)
    return "<h2>What was dropped, and why</h2>" + _rows(("step", "reason", "count"), rows)


def _samples(samples: Sequence[SampleShown]) -> str:
    return "<h2>Samples</h2>" + "".join(map(_sample, samples)) if samples else ""


def _sample(sample: SampleShown) -> str:
    turns = "".join(
        f'<div class="role">{escape(role)}</div><div class="turn">{escape(text)}</div>' for role, text in sample.prompt
    )
    return (
        f'<div class="sample">{turns}<div class="role">reply</div><div class="turn reply">{escape(sample.completion)}'
        f'</div><div class="soft">{escape(sample.note)}</div></div>'
    )
