"""Parts of the page: targets, leaks, canaries, the decision to speak, samples side by side."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipelines.evaluation.report.numbers import range_text, value_text
from pipelines.evaluation.report.plots import curve
from pipelines.report.safe import escape

_LONGEST_COPY = 240


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of text cells."""
    head = "".join(f"<th>{escape(text)}</th>" for text in heads) if any(heads) else ""
    body = "".join("<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def targets(found: Sequence[Mapping[str, Any]]) -> str:
    """Return the targets that the project began with, beside what was found."""
    rows = []
    for target in found:
        percent = target["name"] not in {"perplexity", "style similarity"}
        value = target["found"]
        shown = "not measured" if value is None else value_text(value["value"], percent=percent)
        if value is not None and value["low"] != value["high"]:
            shown += f" ({range_text(value, percent=percent)})"
        met = {None: "", True: "met", False: "not met"}[target["met"]]
        rows.append((target["name"], target["wanted"], shown, met, target["about"]))
    return "<h2>Targets, and what they really measure</h2>" + table(
        ("target", "wanted", "found", "", "what it really measures"), rows
    )


def leaks(found: Mapping[str, Any]) -> str:
    """Return what the model's replies gave away, with the messages."""
    if not found["leaks"]:
        return "<h2>Leaks</h2><p>No reply copies eight words in a row, and none holds personal data.</p>"
    rows = [
        (leak["kind"], leak["source"], str(leak["words"] or ""), leak["text"][:_LONGEST_COPY], leak["context_id"])
        for leak in found["leaks"]
    ]
    more = found["leak_count"] - len(rows)
    rest = f'<p class="soft">and {more:,} more</p>' if more > 0 else ""
    return "<h2>Leaks</h2>" + table(("kind", "from", "words", "what", "said in"), rows) + rest


def canaries(found: Sequence[Mapping[str, Any]]) -> str:
    """Return how well planted messages are known; nothing where none were planted."""
    if not found:
        return ""
    rows = [
        (
            each["text"],
            f"{each['times']:,}",
            f"{each['rank']:,}",
            f"{each['exposure']:.1f} of {each['most']:.1f} bits",
            "known" if each["known"] else "",
        )
        for each in found
    ]
    return (
        "<h2>Canaries</h2><p class='soft'>Made-up messages planted in training, ranked among equally made ones.</p>"
        + table(("message", "times in training", "rank", "exposure", ""), rows)
    )


def speaking(found: Mapping[str, Any] | None) -> str:
    """Return how well the rules predict when somebody replies."""
    if found is None:
        return ""
    text = (
        f"In the place of {found['people']} regulars, on {found['moments']:,} messages of others in the held-out days "
        f"({found['replies']:,} were answered by the regular): AUC {value_text(found['auc']['value'], percent=False)} "
        f"({range_text(found['auc'], percent=False)}; 0.5 knows nothing), mean error of the predicted frequency "
        f"{value_text(found['error']['value'], percent=True)} ({range_text(found['error'], percent=True)}). It would "
        f"have spoken on {found['spoken']:.1%} of the messages, the regulars did on "
        f"{found['replies'] / found['moments']:.1%}."
    )
    return f"<h2>When to speak</h2><p>{escape(text)}</p>{curve(found['curve'])}"


def samples(found: Sequence[Mapping[str, Any]]) -> str:
    """Return contexts with everybody's reply side by side."""
    return "<h2>Samples</h2>" + "".join(map(_sample, found)) if found else ""


def _sample(sample: Mapping[str, Any]) -> str:
    context = escape("\n".join(sample["context"]))
    replies = "".join(
        f'<div><div class="who">{escape(reply["name"])}</div><div class="text {_place(number)}">'
        f"{escape(chr(10).join(reply['messages']).strip() or '(silence)')}</div></div>"
        for number, reply in enumerate(sample["replies"])
    )
    return f'<div class="sample"><div class="context">{context}</div><div class="replies">{replies}</div></div>'


def _place(number: int) -> str:
    return ("first", "second")[number] if number < 2 else ""  # noqa: PLR2004 - people, then the model
