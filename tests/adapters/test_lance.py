"""The memory on real LanceDB folders: what it finds, what it must not find, and what it survives."""

import asyncio
import itertools
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import lancedb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from persona.adapters.lance import LanceMemory
from persona.domain.chat import AuthorId, MessageKind
from persona.errors import MemoryIndexError
from persona.ports import MemoryQuery
from tests.fakes.talk import ANN, ATTIC, BEN, KITCHEN, NOON, chatter, put, remove, rows_of, said

REPOSITORY = Path(__file__).resolve().parents[2]
BOTH = frozenset({KITCHEN, ATTIC})
LATER_ON = NOON + timedelta(days=1)


def memory_at(folder, **more):
    return LanceMemory(folder, now=lambda: LATER_ON, **more)


async def remembering(folder, *messages):
    memory = memory_at(folder)
    await memory.open()
    await memory.apply(put(*messages))
    return memory


async def texts(memory, text, *, channels=BOTH, **more):
    return [one.text for one in await memory.search(MemoryQuery(text=text, channel_ids=channels, **more))]


async def best_by_words(memory, text):
    """What the words alone put first, wherever newness and age put it afterwards."""
    matches = await memory.explain(MemoryQuery(text=text, channel_ids=BOTH, limit=50))
    return [match.recollection.text for match in matches if match.word_rank == 1]


def test_finds_what_was_said_with_who_where_and_when(tmp_path):
    async def scenario():
        apples = said(1, "The apples in the cellar are going bad", author=BEN)
        memory = await remembering(tmp_path / "m", apples, said(2, "my bicycle has a flat tyre"))
        found = await memory.search(MemoryQuery(text="what about the APPLE pie?", channel_ids=BOTH))
        await memory.close()
        return apples, found

    apples, (only,) = asyncio.run(scenario())
    assert only.message_id == apples.id
    assert only.channel_id == KITCHEN
    assert only.author_name == "Ben"
    assert only.text == apples.content
    assert only.created_at == apples.created_at
    assert only.score > 0


def test_better_matches_come_first_and_the_limit_holds(tmp_path):
    async def scenario():
        memory = await remembering(
            tmp_path / "m",
            said(1, "somebody painted the garden shed"),
            said(2, "the green garden gate squeaks again"),
            said(3, "rain in the garden, as always, for the whole long week"),
        )
        both = await texts(memory, "green garden gate", limit=2)
        nothing = await texts(memory, "green garden gate", limit=0)
        await memory.close()
        return both, nothing

    both, nothing = asyncio.run(scenario())
    assert both[0] == "the green garden gate squeaks again"
    assert len(both) == 2
    assert nothing == []


def test_searches_only_the_channels_it_is_given(tmp_path):
    async def scenario():
        # A hundred better matches next door must not push the one that may be seen out of the candidates.
        noise = [said(n, f"lighthouse keeper number {n}", channel=ATTIC) for n in range(500)]
        mine = said(600, "once upon a time, far away, there stood an old crooked lighthouse on a rock in the sea")
        memory = await remembering(tmp_path / "m", *noise, mine)
        found = await texts(memory, "lighthouse keeper", channels=frozenset({KITCHEN}))
        none = await texts(memory, "lighthouse keeper", channels=frozenset())
        await memory.close()
        return mine, found, none

    mine, found, none = asyncio.run(scenario())
    assert found == [mine.content]
    assert none == []


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """A memory of 600 messages in four channels, half of it indexed, and a runner to search it with."""
    messages = chatter(600, channels=(10, 20, 30, 40), words_each=3)
    with asyncio.Runner() as runner:
        memory = memory_at(tmp_path_factory.mktemp("library") / "m")
        runner.run(memory.open())
        runner.run(memory.apply(put(*messages[:300])))
        memory._litter = memory._litter.after(rows=10_000)
        runner.run(memory.refresh())
        runner.run(memory.apply(put(*messages[300:])))
        yield runner, memory, messages
        runner.run(memory.close())


@given(data=st.data())
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_result_never_comes_from_elsewhere_and_a_match_is_never_missed(library, data):
    runner, memory, messages = library
    channels = frozenset(data.draw(st.sets(st.sampled_from((10, 20, 30, 40, 50)))))
    words = data.draw(st.lists(st.sampled_from(sorted({w for m in messages for w in m.content.split()})), max_size=3))
    excluded = frozenset(data.draw(st.sets(st.sampled_from([m.id for m in messages]), max_size=20)))
    authors = frozenset(data.draw(st.sets(st.sampled_from((ANN.id, BEN.id)))))
    query = MemoryQuery(text=" ".join(words), channel_ids=channels, exclude=excluded, exclude_authors=authors, limit=5)
    found = runner.run(memory.search(query))
    eligible = {
        m.id
        for m in messages
        if m.channel_id in channels
        and m.id not in excluded
        and m.author.id not in authors
        and set(words) & set(m.content.split())
    }
    assert {one.message_id for one in found} <= eligible
    assert bool(found) == bool(eligible)
    assert len(found) <= 5
    assert all(one.score <= found[0].score for one in found)


def test_what_is_excluded_gives_way_to_what_is_not(tmp_path):
    async def scenario():
        own = [said(n, f"pancakes pancakes {n} {chr(97 + n % 26) * 6}", author=BEN) for n in range(400)]
        other = said(900, "did anybody ever find out why all of those pancakes stuck to the ceiling that evening")
        memory = await remembering(tmp_path / "m", *own, other)
        by_author = await texts(memory, "pancakes", exclude_authors=frozenset({BEN.id}))
        by_id = await texts(memory, "pancakes", exclude=frozenset(m.id for m in own))
        await memory.close()
        return other, by_author, by_id

    other, by_author, by_id = asyncio.run(scenario())
    assert by_author == by_id == [other.content]


def test_one_of_many_near_identical_messages_is_enough(tmp_path):
    async def scenario():
        memory = await remembering(
            tmp_path / "m",
            *(said(n, f"Has anyone seen the cat{'!' * n}") for n in range(30)),
            said(40, "the cat sleeps on the roof of the shed"),
        )
        found = await texts(memory, "cat seen")
        await memory.close()
        return found

    first, second = asyncio.run(scenario())
    assert first.startswith("Has anyone seen the cat")
    assert second == "the cat sleeps on the roof of the shed"


def test_of_equal_matches_the_newer_comes_first_and_age_buries_what_is_no_better(tmp_path):
    async def scenario():
        old, older, new = NOON - timedelta(days=400), NOON - timedelta(days=500), LATER_ON - timedelta(hours=1)
        memory = await remembering(
            tmp_path / "m",
            said(1, "owls hoot by the mill", at=old),
            said(2, "mill by the owls hoot", at=new),
            said(3, "a quartz pendulum clock, with a cuckoo", at=old),
            *(said(n, f"what is the time by the clock {'in the hall ' * n}", at=older) for n in range(10, 16)),
        )
        equal = await texts(memory, "owls mill hoot", limit=1)
        better = await texts(memory, "quartz pendulum clock cuckoo", limit=1)
        await memory.close()
        return equal, better

    equal, better = asyncio.run(scenario())
    assert equal == ["mill by the owls hoot"]
    assert better == ["a quartz pendulum clock, with a cuckoo"]


def test_removed_edited_and_shortened_messages_are_found_no_more(tmp_path):
    async def scenario():
        gone, edited, shortened = (said(n, f"the treasure is under oak {n}") for n in (1, 2, 3))
        memory = await remembering(tmp_path / "m", gone, edited, shortened)
        before = await texts(memory, "treasure oak")
        await memory.apply(remove(gone))
        await memory.apply(put(said(2, "the hoard is under a birch"), said(3, "oak")))
        after = await texts(memory, "treasure oak")
        birch = await texts(memory, "birch")
        await memory.close()
        return before, after, birch, await rows_of(tmp_path / "m")

    before, after, birch, rows = asyncio.run(scenario())
    assert before
    assert after == []
    assert birch == ["the hoard is under a birch"]
    assert [row[-1] for row in rows] == ["the hoard is under a birch"]


def test_remembers_talk_of_two_words_or_more_in_any_script(tmp_path):
    async def scenario():
        memory = await remembering(
            tmp_path / "m",
            said(1, "lol"),
            said(2, "\N{GRINNING FACE} \N{GRINNING FACE}"),
            said(3, "<@123456789> thanks"),
            said(4, "/play some music", kind=MessageKind.COMMAND),
            said(5, "今日はとても良い天気です"),
            said(6, "हिन्दी में नमस्ते"),
            said(7, "два слова"),
        )
        found = [await texts(memory, q) for q in ("天気", "नमस्ते", "Слова", "music")]
        await memory.close()
        return found, await rows_of(tmp_path / "m")

    found, rows = asyncio.run(scenario())
    assert found == [["今日はとても良い天気です"], ["हिन्दी में नमस्ते"], ["два слова"], []]
    assert len(rows) == 3


def test_a_question_of_function_words_alone_still_finds_its_like(tmp_path):
    async def scenario():
        memory = await remembering(tmp_path / "m", said(1, "who are you?"), said(2, "the bus is late"))
        found = await texts(memory, "Who are YOU")
        mixed = await texts(memory, "who is on the bus")
        await memory.close()
        return found, mixed

    found, mixed = asyncio.run(scenario())
    assert found == ["who are you?"]
    assert mixed == ["the bus is late"]


HOSTILE = [
    "",
    "   \n\t ",
    "\N{GRINNING FACE}\N{HEAVY BLACK HEART}\N{VARIATION SELECTOR-16}",
    '"unbalanced',
    "'; DROP TABLE messages; --",
    'text:"apples" AND (NOT (bad OR ^2~3*))',
    "+apples -bad \\ / { } [ ] ? * ~ ^ :",
    "<@1> <#2> <t:3:R> <:party:4> <a:5",
    "a" * 10_000,
    "apples " * 10_000,
    " ".join(f"word{n}" for n in range(5_000)),
    "nul \x00 apples",
    "half \ud83d a pair of apples \ude00",
    "\u202eselppa \u200b\ufeff apples",
    "%s {0} ${HOME} `id` apples",
]


def test_hostile_queries_find_something_or_nothing_but_never_fail(tmp_path):
    async def scenario():
        memory = await remembering(tmp_path / "m", said(1, "the apples are bad"), said(2, "half a\ud83dloaf of bread"))
        found = [await texts(memory, query) for query in HOSTILE]
        bread = await texts(memory, "bread")
        await memory.close()
        return found, bread

    found, bread = asyncio.run(scenario())
    for query, result in zip(HOSTILE, found, strict=True):
        assert ("the apples are bad" in result) == ("apples" in query), query[:40]
    assert bread == ["half a?loaf of bread"]


def test_a_replay_changes_nothing_and_writes_nothing(tmp_path):
    async def scenario():
        messages = chatter(200)
        memory = await remembering(tmp_path / "m", *messages)
        first, versions = await rows_of(tmp_path / "m"), _files(tmp_path / "m")
        await memory.apply(put(*messages))
        await memory.apply(put(*messages[50:70]) + remove(said(4000, "never there")))
        same, no_new_files = await rows_of(tmp_path / "m"), _files(tmp_path / "m") == versions
        await memory.close()
        return first, same, no_new_files

    first, same, no_new_files = asyncio.run(scenario())
    assert len(first) == 200
    assert same == first
    assert no_new_files


def test_the_last_of_several_changes_to_a_message_counts_in_any_order_of_ids(tmp_path):
    async def scenario():
        a, b, c = (said(n, f"version one of {n}") for n in (30, 20, 10))
        memory = await remembering(tmp_path / "m", b)
        await memory.apply(put(a) + remove(a) + put(c, said(10, "version two of 10")) + remove(b) + put(b))
        await memory.apply(put(said(5, "an older message than all"), said(20, "version three of 20")))
        await memory.close()
        return await rows_of(tmp_path / "m")

    rows = asyncio.run(scenario())
    assert [row[-1] for row in rows] == ["an older message than all", "version two of 10", "version three of 20"]


def test_a_cancelled_write_leaves_no_duplicates(tmp_path):
    async def scenario():
        messages = chatter(2_000)
        memory = memory_at(tmp_path / "m")
        await memory.open()
        for moment in (0, 0.0005, 0.001, 0.002, 0.004, 0.008):
            task = asyncio.create_task(memory.apply(put(*messages)))
            await asyncio.sleep(moment)
            task.cancel()
            await asyncio.wait({task})
        await memory.apply(put(*messages))
        await memory.close()
        return len(messages), await rows_of(tmp_path / "m")

    count, rows = asyncio.run(scenario())
    assert len(rows) == len({row[0] for row in rows}) == count


def test_searching_writing_and_tidying_go_on_side_by_side(tmp_path):
    async def scenario():
        messages = chatter(3_000)
        memory = memory_at(tmp_path / "m")
        await memory.open()
        done = asyncio.Event()

        async def write():
            for start in range(0, len(messages), 20):
                await memory.apply(put(*messages[start : start + 20]))
                await memory.refresh()
            done.set()

        async def look():
            searches = 0
            while not done.is_set():
                await texts(memory, messages[searches % len(messages)].content)
                searches += 1
            return searches

        _, one, other = await asyncio.gather(write(), look(), look())
        await memory.close()
        return one + other, len(await rows_of(tmp_path / "m"))

    searches, rows = asyncio.run(scenario())
    assert searches > 0
    assert rows == 3_000


def test_many_small_writes_leave_few_fragments(tmp_path):
    async def scenario():
        ticks = itertools.count()
        memory = memory_at(tmp_path / "m", clock=lambda: float(next(ticks)))
        await memory.open()
        for message in chatter(300):
            await memory.apply(put(message))
            await memory.refresh()
        statistics = await memory._opened.table.stats()
        await memory.close()
        return statistics

    statistics = asyncio.run(scenario())
    assert statistics["num_rows"] == 300
    assert statistics["fragment_stats"]["num_fragments"] < 70


def test_opens_what_it_left_and_says_whether_there_is_anything(tmp_path):
    async def scenario():
        folder = tmp_path / "deep" / "m"
        memory = memory_at(folder)
        answers = [await memory.open()]
        await memory.close()
        answers.append(await memory.open())  # still empty: nobody filled it
        await memory.apply(put(said(1, "a kept word")))
        answers.append(await memory.open())  # without closing
        kept = await texts(memory, "kept word")
        await memory.close()
        await memory.close()
        with pytest.raises(MemoryIndexError, match="not open"):
            await texts(memory, "kept word")
        with pytest.raises(MemoryIndexError, match="not open"):
            await memory.apply(put(said(2, "too late now")))
        return answers, kept

    assert asyncio.run(scenario()) == ([False, False, True], ["a kept word"])


def _files(folder):
    return {path for path in (folder / "messages.lance").rglob("*") if path.is_file()}


def _of_kind(folder, *patterns):
    found = sorted(path for pattern in patterns for path in (folder / "messages.lance").rglob(pattern))
    assert found, patterns
    return found


DAMAGE = {
    "data files gone": lambda folder: [path.unlink() for path in _of_kind(folder, "data/*.lance")],
    "one data file gone": lambda folder: _of_kind(folder, "data/*.lance")[-1].unlink(),
    "data file cut off": lambda folder: os.truncate(_of_kind(folder, "data/*.lance")[0], 100),
    "data file empty": lambda folder: os.truncate(_of_kind(folder, "data/*.lance")[0], 0),
    "manifests empty": lambda folder: [os.truncate(path, 0) for path in _of_kind(folder, "_versions/*")],
    "manifests gone": lambda folder: [path.unlink() for path in _of_kind(folder, "_versions/*")],
    "index files gone": lambda folder: [path.unlink() for path in _of_kind(folder, "_indices/*/*")],
    "index files cut off": lambda folder: [os.truncate(path, 10) for path in _of_kind(folder, "_indices/*/*")],
    "a plain file in its place": lambda folder: _replace_by_file(folder / "messages.lance"),
}


def _replace_by_file(path):
    path.rename(path.with_name("elsewhere"))
    path.write_text("not a table")


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_table_is_moved_aside_and_a_new_one_works(tmp_path, damage):
    folder = tmp_path / "m"
    messages = chatter(400)

    async def build():
        memory = await remembering(folder, *messages[:200])
        memory._litter = memory._litter.after(rows=10_000)
        await memory.refresh()
        await memory.apply(put(*messages[200:]))
        await memory.close()

    async def recover():
        memory = memory_at(folder)
        held = await memory.open()
        empty = await texts(memory, messages[0].content)
        await memory.apply(put(*messages))
        full = await best_by_words(memory, messages[0].content)
        await memory.close()
        return held, empty, full, await rows_of(folder)

    asyncio.run(build())
    (folder / "bystander.txt").write_text("mine")
    DAMAGE[damage](folder)
    held, empty, full, rows = asyncio.run(recover())
    assert not held
    assert empty == []
    assert full == [messages[0].content]
    assert len(rows) == 400
    assert (folder / "bystander.txt").read_text() == "mine"
    assert len(list(folder.glob("messages.unusable-*"))) == 1


def test_a_foreign_table_is_moved_aside_and_kept(tmp_path):
    async def scenario():
        connection = await lancedb.connect_async(str(tmp_path / "m"))
        await connection.create_table("messages", pa.table({"message_id": [1], "recipe": ["soup"]}))
        connection.close()
        memory = memory_at(tmp_path / "m")
        held = await memory.open()
        await memory.apply(put(said(1, "a word of ours")))
        found = await texts(memory, "word")
        await memory.close()
        later = LanceMemory(tmp_path / "m", now=lambda: NOON + timedelta(days=365))
        await later.open()
        await later.close()
        return held, found

    held, found = asyncio.run(scenario())
    (aside,) = (tmp_path / "m").glob("messages.foreign-*")
    assert not held
    assert found == ["a word of ours"]
    assert list(aside.rglob("data/*.lance"))


def test_a_table_of_another_format_is_started_anew(tmp_path):
    async def scenario():
        memory = await remembering(tmp_path / "m", said(1, "in the old format"))
        await memory.close()
        connection = await lancedb.connect_async(str(tmp_path / "m"))
        table = await connection.open_table("messages")
        schema = (await table.schema()).with_metadata({b"persona.memory": b"0"})
        await connection.create_table("messages", schema=schema, mode="overwrite")
        return await memory_at(tmp_path / "m").open()

    assert asyncio.run(scenario()) is False
    assert len(list((tmp_path / "m").glob("messages.unusable-*"))) == 1


def test_tables_moved_aside_are_deleted_after_a_week(tmp_path):
    folder = tmp_path / "m"

    async def opened(moment):
        memory = LanceMemory(folder, now=lambda: moment)
        held = await memory.open()
        await memory.close()
        return held

    async def scenario():
        memory = await remembering(folder, said(1, "something private was said"))
        await memory.close()
        DAMAGE["manifests empty"](folder)
        await opened(NOON)
        kept = len(list(folder.glob("messages.unusable-*")))
        await opened(NOON + timedelta(days=6))
        still = len(list(folder.glob("messages.unusable-*")))
        await opened(NOON + timedelta(days=8))
        return kept, still, len(list(folder.glob("messages.unusable-*")))

    assert asyncio.run(scenario()) == (1, 1, 0)


def test_a_lost_index_is_made_again_without_losing_the_table(tmp_path):
    async def scenario():
        memory = await remembering(tmp_path / "m", said(1, "kept through thick and thin"))
        for name in ("text_idx", "message_id_idx"):
            await memory._opened.table.drop_index(name)
        await memory.close()
        held = await memory.open()
        found = await texts(memory, "thick")
        await memory.close()
        return held, found

    assert asyncio.run(scenario()) == (True, ["kept through thick and thin"])


def test_a_file_where_the_folder_belongs_is_named_with_its_cure(tmp_path):
    (tmp_path / "m").write_text("hello")

    with pytest.raises(MemoryIndexError, match=r"m is a file.*move the file away"):
        asyncio.run(memory_at(tmp_path / "m").open())
    assert (tmp_path / "m").read_text() == "hello"


def test_a_nullable_column_can_be_added_later(tmp_path):
    async def scenario():
        memory = await remembering(tmp_path / "m", said(1, "before the vectors came"))
        await memory._opened.table.add_columns(pa.field("vector", pa.list_(pa.float32(), 4)))
        await memory.close()
        held = await memory.open()
        await memory.apply(put(said(2, "after the vectors came"), said(1, "before any vectors came")))
        found = await texts(memory, "vectors")
        await memory.close()
        return held, sorted(found)

    assert asyncio.run(scenario()) == (True, ["after the vectors came", "before any vectors came"])


def test_errors_while_in_use_name_what_failed_in_one_line(tmp_path):
    async def scenario():
        memory = await remembering(tmp_path / "m", *chatter(50))
        DAMAGE["data files gone"](tmp_path / "m")
        with pytest.raises(MemoryIndexError) as failure:
            await texts(memory, chatter(1)[0].content)
        await memory.close()
        return str(failure.value)

    line = asyncio.run(scenario())
    assert line.startswith("the memory index failed while searching: ")
    assert "\n" not in line
    assert len(line) < 300


def test_nothing_is_written_outside_its_folder(tmp_path):
    program = (
        "import asyncio\n"
        "from tests.fakes.talk import put, said\n"
        "from persona.adapters.lance import LanceMemory\n"
        "async def main():\n"
        "    memory = LanceMemory('index')\n"
        "    await memory.open()\n"
        "    await memory.apply(put(said(1, 'one and two')))\n"
        "    memory._litter = memory._litter.after(rows=10_000)\n"
        "    await memory.refresh()\n"
        "    await memory.close()\n"
        "asyncio.run(main())\n"
    )
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *filter(None, sys.path)]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(home),
        "TMPDIR": str(home),
        "XDG_CACHE_HOME": str(home),
    }
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True, timeout=50)
    assert {path.name for path in tmp_path.iterdir()} == {"home", "index"}
    assert list(home.iterdir()) == []
    assert {path.name for path in (tmp_path / "index").iterdir()} == {"messages.lance"}


def test_an_unknown_author_to_exclude_changes_nothing(tmp_path):
    async def scenario():
        memory = await remembering(tmp_path / "m", said(1, "plain and simple"))
        found = await texts(memory, "simple", exclude_authors=frozenset({AuthorId(99)}))
        await memory.close()
        return found

    assert asyncio.run(scenario()) == ["plain and simple"]
