"""The figures of a finished data set, as the report shows them."""

from collections.abc import Mapping
from typing import Any

from pipelines.balance import Split
from pipelines.dataset.plan import PreparePlan
from pipelines.report import Activity, AuthorShare, Dropped, Figures, SampleShown, histogram


def figures_of(
    *,
    title: str,
    plan: PreparePlan,
    read: Mapping[str, Any],
    chosen: Mapping[str, Any],
    written: Mapping[str, Any],
) -> Figures:
    """Return what the report shows; shares are those of the training part, which is what a model learns from."""
    numbers, train = read["numbers"], written["balance"][str(Split.TRAIN)]
    left = chosen["candidates"] - written["copies"] - written["misfits"]
    months = _months([month for _, month, _ in written["activity"]])
    return Figures(
        title=title,
        facts=_facts(plan, read),
        steps=(
            ("messages read", numbers.get("read", 0)),
            ("messages kept", numbers.get("kept", 0)),
            ("conversations", numbers.get("conversations", 0)),
            ("replies that can be learned", chosen["candidates"]),
            ("without too many copies", left),
            ("examples after balancing", sum(written["splits"].values())),
        ),
        authors=[
            AuthorShare(name=name, available=available, taken=taken) for name, available, taken in train["authors"]
        ],
        cap=plan.cap,
        effective_cap=train["effective_cap"],
        cap_reason=train["reason"],
        splits=[(str(split), written["splits"].get(str(split), 0)) for split in Split],
        preferences=sorted(written["preferences"].items()),
        lengths=[
            histogram("tokens of a reply", dict(written["completion_tokens"])),
            histogram("lines of a reply", dict(written["completion_lines"])),
            histogram("tokens of a prompt", dict(written["prompt_tokens"])),
        ],
        months=months,
        activity=_activity(read, written, months),
        dropped=_dropped(read, chosen, written),
        samples=[
            SampleShown(
                prompt=tuple((turn["role"], turn["content"]) for turn in sample["prompt"]),
                completion=sample["completion"],
                note=sample["note"],
            )
            for sample in written["samples"]
        ],
    )


def _facts(plan: PreparePlan, read: Mapping[str, Any]) -> list[tuple[str, str]]:
    facts = [
        ("persona", plan.persona_name),
        ("channels", ", ".join(f"#{channel['name']}" for channel in read["channels"])),
        ("tokens of an example, at most", f"{plan.tokens:,}"),
        ("seed", str(plan.seed)),
    ]
    facts += [("permission", permission) for permission in read["permissions"]]
    return facts + [("own export", f"{note} ({number:,} messages)") for note, number in read["own_exports"].items()]


def _activity(read: Mapping[str, Any], written: Mapping[str, Any], months: list[str]) -> list[Activity]:
    names = {channel["id"]: f"#{channel['name']}" for channel in read["channels"]}
    counts: dict[int, dict[str, int]] = {}
    for channel, month, count in written["activity"]:
        counts.setdefault(channel, {})[month] = count
    return [
        Activity(channel=names.get(channel, str(channel)), counts=tuple(by_month.get(month, 0) for month in months))
        for channel, by_month in sorted(counts.items())
    ]


def _dropped(read: Mapping[str, Any], chosen: Mapping[str, Any], written: Mapping[str, Any]) -> list[Dropped]:
    balance = sum(told["available"] - told["taken"] for told in written["balance"].values())
    rows = [Dropped(step="messages", reason=reason, count=count) for reason, count in read["dropped"].items()]
    rows += [Dropped(step="masked", reason=reason, count=count) for reason, count in read["secrets"].items()]
    rows += [Dropped(step="replies", reason=reason, count=count) for reason, count in chosen["unfit"].items()]
    rows += [
        Dropped(step="replies", reason="copy of what was said too often", count=written["copies"]),
        Dropped(step="replies", reason="too long for the token budget after all", count=written["misfits"]),
        Dropped(step="balancing", reason="more than a share allows", count=balance),
    ]
    return [row for row in rows if row.count]


def _months(found: list[str]) -> list[str]:
    """Return every month from the first to the last."""
    if not found:
        return []
    first, last = min(found), max(found)
    year, month = int(first[:4]), int(first[5:])
    months = [first]
    while months[-1] < last:
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)  # noqa: PLR2004 - months of a year
        months.append(f"{year:04}-{month:02}")
    return months
