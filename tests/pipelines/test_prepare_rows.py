import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persona.domain.chat import AuthorId
from persona.domain.lineage import LineageKey, decode_lineage
from pipelines.balance import Candidate, Quotas, choose, choose_parts
from pipelines.dataset.choosing import CANDIDATES, Candidates
from pipelines.dataset.kto_rows import KtoRows
from pipelines.dataset.plan import PreparePlan
from pipelines.dataset.withheld import Withheld
from pipelines.preferences import usual_reactions
from pipelines.report import AuthorShare, Figures, page
from pipelines.run import LineageCollector
from tests.pipelines.prepare_world import NOON

LONG = "the gate of the garden is left open at night"


def withheld(*texts):
    found = Withheld()
    for text in texts:
        found.add(text)
    found.seal()
    return found


@pytest.mark.parametrize(
    "quoted", [LONG, f"> {LONG}", f">>> {LONG}\nreally?", f"he said:\n**{LONG.upper()}**", f"  {LONG} !!"]
)
def test_a_line_of_somebody_else_is_known_again(quoted):
    assert withheld("hello there", f"{LONG}\nand more of it").carried(quoted)


@pytest.mark.parametrize("own", ["", "hello there", "the gate of the garden is closed at night", f"so {LONG}"])
def test_what_is_short_or_only_similar_is_ones_own(own):
    assert not withheld("hello there", LONG).carried(own)


def test_a_link_is_nobodys_words():
    link = "https://example.org/a/long/path/to/something"
    assert not withheld(link, f"<{link}>").carried(f"> {link}")
    assert withheld(f"look at {link} please").carried(f"look at {link} please")


def test_without_anything_withheld_everything_may_be_said():
    assert not withheld().carried(LONG)


def kto(folder, rows, seed=7):
    """Write rows (split, liked, ignored); return what stayed by split, and the counts."""
    kept = {}
    with KtoRows(folder, seed) as found:
        for number, (split, liked, ignored) in enumerate(rows):
            line = json.dumps({"n": number, "liked": liked, "ignored": ignored}) + "\n"
            found.add(split, f"e{number}", line, liked=liked, ignored=ignored)
        counts = found.finish(lambda split, line: kept.setdefault(split, []).append(json.loads(line)))
    assert list(folder.iterdir()) == []
    return kept, counts


def test_silence_is_no_more_than_praise_and_the_order_stays(tmp_path):
    rows = [("train", number % 10 == 0, number % 10 != 0) for number in range(500)]
    rows += [("train", False, False)] * 7
    kept, counts = kto(tmp_path, rows)
    assert sum(row["liked"] for row in kept["train"]) == 50
    assert sum(row["ignored"] for row in kept["train"]) == 50
    assert [row["n"] for row in kept["train"]] == sorted(row["n"] for row in kept["train"])
    assert counts == {"train": 107, "silent": 50}
    assert kto(tmp_path, rows)[0] == kept
    assert kto(tmp_path, rows, seed=8)[0] != kept


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([("train", True, False)] * 3, {}),
        ([("train", False, True)] * 3, {}),
        ([("train", False, False)] * 3, {}),
        ([("train", True, False), ("train", False, True), ("validation", True, False)], {"train": 2}),
        ([("validation", True, False), ("validation", False, False)], {}),
        ([(split, liked, False) for split in ("validation", "train") for liked in (True, False)],
         {"train": 2, "validation": 2}),
    ],
)  # fmt: skip
def test_one_kind_of_label_alone_teaches_nothing(tmp_path, rows, expected):
    kept, _ = kto(tmp_path, rows)
    assert {split: len(found) for split, found in kept.items()} == expected


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 3), st.integers(0, 400)), max_size=80, unique=True))
def test_parts_are_chosen_from_as_if_each_were_alone(rows):
    candidates = [
        (part, Candidate(example_id=f"{part}{author}{number}", author_id=AuthorId(author)))
        for part, author, number in rows
    ]
    quotas = {part: Quotas(counts={AuthorId(n): n for n in (1, 2)}, effective_cap=1.0) for part in "ab"}
    found = choose_parts(iter(candidates), quotas, 3)
    for part in "ab":
        alone = choose((each for of, each in candidates if of == part), quotas[part], 3)
        assert found[part] == alone


def test_what_can_be_gone_through_only_once_is_refused():
    with pytest.raises(TypeError, match="only once"):
        usual_reactions(iter(()))


@given(st.lists(st.integers(1, 2**62), min_size=1, max_size=60))
def test_the_lineage_holds_each_message_once_in_order(ids):
    key = LineageKey(secret=b"k" * 32)
    collector = LineageCollector(key)
    for number in (*ids, *ids[::2]):
        collector.add(number, AuthorId(number % 5))
    for _ in range(2):
        lineage = decode_lineage(collector.encode(NOON))
        assert lineage.messages_among([key.message(number) for number in set(ids)]) == len(set(ids))
        assert len(lineage.messages) == len(set(ids))


def test_where_nobody_comes_near_the_cap_the_bars_can_be_compared():
    many = [AuthorShare(name=f"p{n}", available=10 + n, taken=10 + n) for n in range(100)]
    assert "nobody comes near the cap of 12.0%" in page(Figures(title="x", authors=many, cap=0.12, effective_cap=0.12))
    few = page(Figures(title="x", authors=many[:9], cap=0.12, effective_cap=0.12))
    assert "nobody comes near" not in few
    assert ">cap 12.0%<" in few


@given(st.lists(st.integers(0, 9), max_size=60), st.integers(0, 4), st.integers(0, 9))
def test_what_was_said_too_often_is_counted_exactly(tmp_path_factory, keys, copies, short_copies):
    plan = PreparePlan(copies=copies, short_copies=short_copies)
    folder = tmp_path_factory.mktemp("candidates")
    (folder / CANDIDATES).write_text("".join(json.dumps(["x", key]) + "\n" for key in keys))
    limits = {key: short_copies if key & 1 else copies for key in keys}
    assert Candidates(folder, plan).copied() == {key: n for key, n in limits.items() if keys.count(key) > n}
