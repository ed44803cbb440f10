"""The report in the terminal: the table of figures, the targets, and what went wrong."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipelines.evaluation.report.numbers import range_text, value_text
from pipelines.report.safe import one_line

if TYPE_CHECKING:
    from rich.console import Console

_SHOWN_LEAKS = 5


def show(found: Mapping[str, Any], console: "Console") -> None:
    """Print an outcome."""
    _say(console, f"Does {found['model']['name']} sound like us?", style="bold")
    _say(
        console,
        f"{found['contexts']:,} contexts in {found['clusters']:,} conversations, {found['rounds']} replies to each; "
        f"95 % intervals; vectors: {found['vectors']}",
    )
    for note in found["notes"]:
        _say(console, f"note: {note}", style="yellow")
    _figures(found, console)
    _targets(found, console)
    if found["speaking"] is not None:
        told = found["speaking"]
        _say(
            console,
            f"when to speak: AUC {value_text(told['auc']['value'], percent=False)} "
            f"({range_text(told['auc'], percent=False)}), mean error of the frequency "
            f"{value_text(told['error']['value'], percent=True)}; {told['moments']:,} messages, "
            f"{told['people']} regulars",
        )
    for each in found["canaries"]:
        known = "KNOWN" if each["known"] else "not known"
        _say(
            console,
            f"canary planted {each['times']} times: rank {each['rank']}, "
            f"{each['exposure']:.1f} of {each['most']:.1f} bits, {known}",
        )
    for leak in found["leaks"][:_SHOWN_LEAKS]:
        where = (
            f" of {leak['source']}: {leak['text'][:100]}" if leak["text"] else f" in the reply to {leak['context_id']}"
        )
        _say(console, f"leak: {leak['kind']}{where}")
    if found["leak_count"] > _SHOWN_LEAKS:
        _say(console, f"and {found['leak_count'] - _SHOWN_LEAKS:,} more leaks: see the page")


def _figures(found: Mapping[str, Any], console: "Console") -> None:
    from rich import box  # noqa: PLC0415 - only to print
    from rich.table import Table  # noqa: PLC0415 - only to print
    from rich.text import Text  # noqa: PLC0415 - only to print

    contenders = found["contenders"]
    table = Table(box=box.SIMPLE)
    table.add_column("", overflow="fold")
    for one in contenders:
        table.add_column(Text(one_line(one["name"])), overflow="fold")
    for measure in found["measures"]:
        cells = []
        for one in contenders:
            figure = one["figures"].get(measure["key"])
            if figure is None:
                cells.append(Text(""))
                continue
            percent = measure["percent"]
            worse = measure["key"] in one["worse_than_people"]
            text = f"{value_text(figure['value'], percent=percent)}{'*' if worse else ''}"
            cells.append(Text(f"{text} ({range_text(figure, percent=percent)})", style="red" if worse else ""))
        if any(cell.plain for cell in cells):
            table.add_row(Text(one_line(measure["name"])), *cells)
    console.print(table)
    _say(console, "* worse than the other half of the people, beyond what other conversations could change")


def _targets(found: Mapping[str, Any], console: "Console") -> None:
    for target in found["targets"]:
        percent = target["name"] not in {"perplexity", "style similarity"}
        value = target["found"]
        shown = "not measured" if value is None else value_text(value["value"], percent=percent)
        met = {None: "", True: ", met", False: ", not met"}[target["met"]]
        _say(console, f"target {target['name']} {target['wanted']}: {shown}{met}")


def _say(console: "Console", text: str, *, style: str | None = None) -> None:
    console.print(one_line(text), style=style, markup=False, highlight=False, emoji=False)
