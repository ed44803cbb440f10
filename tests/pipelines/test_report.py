import io
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from pipelines.report import Activity, AuthorShare, Dropped, Figures, SampleShown, histogram, page, show

EVIL = '<script>alert("x")</script><img src=http://evil.example/a.png onerror=alert(1)> & [red]oh[/red] \x1b[2J\u202e'


def figures(evil: str = "") -> Figures:
    return Figures(
        title=f"Data set spring {evil}",
        facts=(("seed", "7"), ("took", f"12 s {evil}")),
        steps=(("read", 196_000), (f"clean {evil}", 120_000)),
        authors=(
            AuthorShare(name=f"Ann {evil}", available=600, taken=120),
            AuthorShare(name="Ben", available=400, taken=120),
            *(AuthorShare(name=f"p{number}", available=20, taken=20) for number in range(38)),
        ),
        cap=0.1,
        effective_cap=0.12,
        cap_reason=f"only a test {evil}",
        splits=(("train", 850), ("validation", 100), ("test", 50)),
        preferences=(("DPO pairs", 12),),
        lengths=(histogram("reply tokens", {3: 10, 12: 40, 250: 2}),),
        months=("2026-01", "2026-02"),
        activity=(
            Activity(channel=f"general {evil}", counts=(3, 1_200)),
            Activity(channel="tea", counts=(0, 0)),
        ),
        dropped=(Dropped(step="clean", reason=f"links only {evil}", count=1_234),),
        samples=(SampleShown(prompt=(("user", f"Ann: tea?\n  now {evil}"),), completion=f"yes {evil}", note=evil),),
    )


class Outline(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text.append(data)


def outline(html: str) -> Outline:
    parsed = Outline()
    parsed.feed(html)
    parsed.close()
    return parsed


def printed(what: Figures, width: int = 110) -> str:
    stream = io.StringIO()
    show(what, Console(file=stream, width=width, force_terminal=False))
    return stream.getvalue()


def test_the_page_says_all_figures():
    text = " ".join("".join(outline(page(figures())).text).split())
    for wanted in (
        "Data set spring", "196,000", "120,000", "1,000 of 1,760", "34.1% \u2192 12.0%", "cap 12.0%", "train850",
        "DPO pairs12", "median 12", "95 % up to 12", "largest 250", "general", "2026-02", "links only 1,234",
        "Ann: tea?", "only a test", "relaxed from 10.0% to 12.0%", "and 15 more, together 17.0% before",
    ):  # fmt: skip
        assert wanted in text, wanted


def test_the_terminal_says_the_same_figures():
    text = printed(figures())
    for wanted in (
        "Data set spring", "196,000", "34.1%", "12.0%", "train", "850", "DPO pairs", "median 12", "1,203", "1,234",
        "Ann: tea?", "relaxed from 10.0% to 12.0%", "28 more",
    ):  # fmt: skip
        assert wanted in text, wanted


def test_what_people_wrote_cannot_become_markup():
    html = page(figures(EVIL))
    parsed = outline(html)
    assert "script" not in parsed.tags
    assert "img" not in parsed.tags
    assert not [name for name, _ in parsed.attributes if name.startswith("on")]
    assert '<script>alert("x")</script>' in "".join(parsed.text)  # shown as text
    assert "\x1b" not in html
    assert "\u202e" not in html
    assert "default-src 'none'" in html


def test_what_people_wrote_cannot_touch_the_terminal():
    text = printed(figures(EVIL), width=400)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert text.count("[red]oh[/red]") >= 8


def test_the_page_loads_nothing():
    html = page(figures())
    links = [value for name, value in outline(html).attributes if name in {"src", "href", "srcset", "data", "action"}]
    assert links == []
    assert "url(" not in html
    assert "@import" not in html
    assert set(re.findall(r"https?://[^\"' ]+", html)) == {"http://www.w3.org/2000/svg"}


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=40))
def test_every_plot_is_well_formed_whatever_the_names(name):
    html = page(figures(name))
    drawings = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert len(drawings) == 3
    for drawing in drawings:
        ET.fromstring(drawing)  # noqa: S314 - made a moment ago by ourselves
    html.encode("utf-8")
    printed(figures(name)).encode("utf-8")


def test_the_same_figures_give_the_same_page():
    assert page(figures()) == page(figures())


def test_a_report_of_nothing_has_no_empty_parts():
    empty = Figures(title="nothing yet")
    assert outline(page(empty)).tags.count("h2") == 0
    assert printed(empty).strip() == "nothing yet"


def test_an_empty_histogram_and_channels_without_months_do_no_harm():
    bare = Figures(
        title="bare", lengths=(histogram("nothing", {}),), activity=(Activity(channel="c", counts=()),), authors=(
            AuthorShare(name="nobody", available=0, taken=0),
        )
    )  # fmt: skip
    assert "nobody" in page(bare)
    assert "nobody" in printed(bare)


@given(st.dictionaries(st.integers(0, 30_000), st.integers(0, 50), max_size=40))
def test_a_histogram_counts_every_value_once(values):
    found = histogram("lengths", values)
    total = sum(values.values())
    assert sum(found.counts) == total
    assert list(found.bounds) == sorted(set(found.bounds))
    for number, count in enumerate(found.counts):
        low, high = found.bounds[number], found.bounds[number + 1]
        assert count == sum(times for value, times in values.items() if low <= value < high)
    flat = sorted(value for value, times in values.items() for _ in range(times))
    if flat:
        assert found.largest == flat[-1]
        assert found.median == flat[(len(flat) - 1) // 2]
        assert found.p95 >= found.median


@pytest.mark.parametrize(
    ("values", "bounds"), [({}, ()), ({0: 1}, (0, 1)), ({1: 1, 7: 1}, (1, 2, 5, 10)), ({20: 1}, (20, 50))]
)
def test_the_bounds_of_a_histogram_are_round_and_begin_at_the_first_value(values, bounds):
    assert histogram("x", values).bounds == bounds
