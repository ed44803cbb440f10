"""The report as one HTML file: it loads nothing, runs nothing, and everything that people wrote is escaped."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipelines.evaluation.report.numbers import range_text, value_text
from pipelines.evaluation.report.parts import canaries, leaks, samples, speaking, table, targets
from pipelines.evaluation.report.plots import habits, ranges, two_histograms
from pipelines.report.safe import escape

_PLOTTED = ("perplexity_character", "recognised", "energy", "letters", "message_words", "relevance", "copied")
_LENGTHS = (1, 2, 3, 5, 8, 12, 20, 40)
_BURSTS = (1, 2, 3, 4, 5, 6)

# The policy lets the page load nothing and run nothing, whatever its text says.
_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<title>%s</title><style>
:root { --ink: #1d2430; --soft: #5d6675; --line: #dde1e8; --paper: #fff; --card: #f6f7f9; --people: #8b96a8;
  --model: #2f6fb5; --bad: #b3402f; --good: #2c7a4b; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --soft: #9aa4b4; --line: #343b48; --paper: #161a21;
  --card: #1e242d; --people: #76829a; --model: #5b9ee6; --bad: #ef7a6d; --good: #6cc391; } }
body { max-width: 1080px; margin: 32px auto; padding: 0 20px; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, "Noto Sans", sans-serif; }
h1 { font-size: 26px; margin: 0 0 12px; } h2 { font-size: 19px; margin: 40px 0 10px; }
h3 { font-size: 15px; margin: 22px 0 4px; } p { margin: 6px 0; } .soft { color: var(--soft); }
.note { border-left: 3px solid var(--bad); padding-left: 10px; }
.wide { overflow-x: auto; } table { border-collapse: collapse; margin: 8px 0; width: 100%%; }
td, th { padding: 6px 12px 6px 0; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 500; } td.number { white-space: nowrap; font-variant-numeric: tabular-nums; }
td small { display: block; color: var(--soft); font-size: 12px; } td.worse b { color: var(--bad); }
td.level b { color: var(--good); } td b { font-weight: 600; }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: 2px 18px; margin: 0; }
.facts dt { color: var(--soft); } .facts dd { margin: 0; overflow-wrap: anywhere; }
svg { max-width: 100%%; height: auto; display: block; } svg text { font: 12px system-ui, "Noto Sans", sans-serif; }
svg text.name { fill: var(--ink); } svg text.figure { fill: var(--soft); }
.model { fill: var(--model); stroke: var(--model); } .people { fill: var(--people); stroke: var(--people); }
.other { fill: var(--soft); stroke: var(--soft); } .range { stroke-width: 2; } .range.soft { stroke: var(--line);
  stroke-width: 3; } rect.model, rect.people { stroke: none; } .frame { fill: none; stroke: var(--line); }
.key i { display: inline-block; width: 12px; height: 12px; margin: 0 5px 0 12px; border-radius: 2px; }
.sample { background: var(--card); border-radius: 8px; padding: 10px 14px; margin: 12px 0; }
.sample .context { white-space: pre-wrap; overflow-wrap: anywhere; color: var(--soft); margin: 0 0 10px; }
.replies { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 10px 18px; }
.who { color: var(--soft); font-size: 12px; } .text { white-space: pre-wrap; overflow-wrap: anywhere; }
.text.first { border-left: 3px solid var(--people); padding-left: 8px; }
.text.second { border-left: 3px solid var(--model); padding-left: 8px; }
</style></head><body>
"""


def page(found: Mapping[str, Any]) -> str:
    """Return the whole page for an evaluation's outcome; the same outcome gives the same text."""
    title = f"Does {found['model']['name']} sound like us?"
    model, people = found["contenders"][0], found["people"]
    parts = [
        _HEAD % escape(title),
        f"<h1>{escape(title)}</h1>",
        _facts(found),
        "".join(f'<p class="note">{escape(note)}</p>' for note in found["notes"]),
        _summary(found, model),
        _figures(found),
        _plots(found),
        "<h2>Lengths</h2>",
        _key(model["name"]),
        "<h3>words in a message</h3>",
        two_histograms(model["lengths"], people["lengths"], bounds=_LENGTHS, names=(model["name"], "people")),
        "<h3>messages in a reply</h3>",
        two_histograms(model["bursts"], people["bursts"], bounds=_BURSTS, names=(model["name"], "people")),
        "<h2>Habits</h2>",
        '<p class="soft">Share of messages that do it.</p>',
        _key(model["name"]),
        habits(found["habits"], model["habits"], people["habits"]),
        targets(found["targets"]),
        leaks(found),
        canaries(found["canaries"]),
        speaking(found["speaking"]),
        samples(found["samples"]),
        _meanings(found),
        _times(found),
        "</body></html>\n",
    ]
    return "\n".join(part for part in parts if part)


def _facts(found: Mapping[str, Any]) -> str:
    facts = [
        ("model", f"{found['model']['path']}  (sha256 {found['model']['sha256'][:16]}\N{HORIZONTAL ELLIPSIS})"),
        ("run", f"{found['run']}, part {found['split']}"),
        (
            "contexts",
            f"{found['contexts']:,} in {found['clusters']:,} conversations, {found['rounds']} replies to each",
        ),
        ("intervals", f"95 %, by drawing conversations again {found['draws']:,} times; seed {found['seed']}"),
        ("vectors", found["vectors"]),
        ("made", found["made_at"]),
    ]
    lines = "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in facts)
    return f'<dl class="facts">{lines}</dl>'


def _summary(found: Mapping[str, Any], model: Mapping[str, Any]) -> str:
    measured = [m for m in found["measures"] if m["key"] in model["figures"] and m["key"] in _ceiling(found)["figures"]]
    worse = [m["name"] for m in measured if m["key"] in model["worse_than_people"]]
    level = len(measured) - len(worse)
    text = f"In {level} of {len(measured)} measures it is no worse than one half of the people is beside the other."
    if worse:
        text += f" It is worse in: {', '.join(worse)}."
    silent = model["silent"]
    if silent:
        text += f" {silent:,} of {model['replies']:,} replies were empty, cut off at the limit, or did not fit."
    return f"<p>{escape(text)}</p>"


def _figures(found: Mapping[str, Any]) -> str:
    contenders = found["contenders"]
    head = "".join(f'<th title="{escape(one["about"])}">{escape(one["name"])}</th>' for one in contenders)
    body = []
    for measure in found["measures"]:
        cells = [_cell(one, measure, last=one is contenders[-1]) for one in contenders]
        if any(cell for cell in cells):
            row = "".join(cell or "<td></td>" for cell in cells)
            body.append(
                f'<tr><td title="{escape(measure["about"])}">{escape(measure["name"])}<small>{_wanted(found, measure)}'
                f"</small></td>{row}</tr>"
            )
    return (
        '<h2>Figures</h2><p class="soft">Red: worse than people\N{RIGHT SINGLE QUOTATION MARK}s other half beyond what '
        "other conversations could change; green: no worse. The last column is the human ceiling; what a random reply "
        f'and a copy score is what a figure is worth.</p><div class="wide"><table><thead><tr><th></th>{head}</tr>'
        f"</thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def _wanted(found: Mapping[str, Any], measure: Mapping[str, Any]) -> str:
    if measure["better"] != "as people":
        return f"{measure['better']} is better"
    own = found["people"]["figures"].get(measure["key"])
    return "as people" + (f": {value_text(own['value'], percent=measure['percent'])}" if own else "")


def _cell(one: Mapping[str, Any], measure: Mapping[str, Any], *, last: bool) -> str:
    figure = one["figures"].get(measure["key"])
    if figure is None:
        return ""
    kind = "" if last or measure["key"].startswith("perplexity") else "level"
    if measure["key"] in one["worse_than_people"]:
        kind = "worse"
    percent = measure["percent"]
    return (
        f'<td class="number {kind}"><b>{value_text(figure["value"], percent=percent)}</b>'
        f"<small>{range_text(figure, percent=percent)}</small></td>"
    )


def _plots(found: Mapping[str, Any]) -> str:
    parts = []
    for measure in found["measures"]:
        if measure["key"] not in _PLOTTED:
            continue
        rows = [
            (one["name"], one["figures"][measure["key"]], _kind(number, found["contenders"]))
            for number, one in enumerate(found["contenders"])
            if measure["key"] in one["figures"]
        ]
        plot = ranges(rows, name=measure["name"], percent=measure["percent"])
        if plot:
            parts.append(f"<h3>{escape(measure['name'])} ({escape(measure['better'])} is better)</h3>{plot}")
    return "<h2>Side by side</h2>" + "".join(parts) if parts else ""


def _kind(number: int, contenders: Sequence[Any]) -> str:
    return "model" if not number else "people" if number == len(contenders) - 1 else "other"


def _key(name: str) -> str:
    return (
        f'<p class="key soft"><i style="background:var(--model)"></i>{escape(name)}'
        '<i style="background:var(--people)"></i>people</p>'
    )


def _meanings(found: Mapping[str, Any]) -> str:
    lines = "".join(f"<dt>{escape(m['name'])}</dt><dd>{escape(m['about'])}</dd>" for m in found["measures"])
    who = "".join(f"<dt>{escape(c['name'])}</dt><dd>{escape(c['about'])}</dd>" for c in found["contenders"])
    return f'<h2>What it means</h2><dl class="facts">{lines}</dl><h3>Who is measured</h3><dl class="facts">{who}</dl>'


def _times(found: Mapping[str, Any]) -> str:
    rows: Iterable[tuple[str, str]] = ((name, f"{seconds:,.1f} s") for name, seconds in found["seconds"].items())
    whole = (
        f'<p class="soft">{found["seconds_per_100_contexts"]:,.0f} s for 100 contexts; less where replies were '
        "there from an earlier run.</p>"
    )
    return f"<h2>Time</h2>{whole}" + table(("", ""), rows)


def _ceiling(found: Mapping[str, Any]) -> Mapping[str, Any]:
    last: Mapping[str, Any] = found["contenders"][-1]
    return last
