"""The newest messages of a channel are searched by themselves, and the whole search ranks as the pure functions do."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from persona.adapters.lance import LanceMemory, looking, searching
from persona.adapters.lance import table as shape
from persona.adapters.lance.documents import Tokenizer, document_of
from persona.adapters.lance.newest import Newest
from persona.domain.recall import RECENT_MESSAGES, best_first, diverse_texts
from persona.ports import Embedded, MemoryQuery
from tests.fakes.embedding import WordEmbedder, vector_of
from tests.fakes.talk import ANN, ATTIC, BEN, KITCHEN, NOON, chatter, put, remove, said

SPACE = WordEmbedder().space
BOTH = frozenset({KITCHEN, ATTIC})


def vectors_of(messages):
    return {message.content: vector_of(message.content) for message in messages}


async def opened(folder, messages, *, now):
    memory = LanceMemory(folder, now=lambda: now)
    await memory.open(SPACE)
    await memory.apply(put(*messages), vectors_of(messages))
    memory._litter = memory._litter.after(rows=10**6)
    await memory.refresh()
    return memory


def asked(text, **more):
    return MemoryQuery(text=text, vector=vector_of(text), channel_ids=BOTH, **more)


def exact(messages, vector, pool):
    """The nearest messages by cosine, found the plain way."""
    cosines = {int(m.id): float(vector_of(m.content) @ vector) for m in messages}
    return dict(sorted(cosines.items(), key=lambda item: (-item[1], -item[0]))[:pool])


@pytest.mark.parametrize("reopened", [False, True], ids=["as written", "after a restart"])
def test_the_order_of_a_search_is_that_of_the_pure_functions_on_exact_searches(tmp_path, reopened):
    messages = chatter(1_500, words_each=4)
    now = messages[-1].created_at + timedelta(minutes=3)
    prompt = frozenset(m.id for m in messages if m.channel_id == KITCHEN) & {m.id for m in messages[-20:]}
    open_ = [m for m in messages if m.id not in prompt]
    newest = [m for m in open_ if m.channel_id == KITCHEN][-RECENT_MESSAGES:]
    created = {int(m.id): round(m.created_at.timestamp() * 1000) for m in messages}
    texts = {int(m.id): m.content for m in messages}

    async def scenario():
        memory = await opened(tmp_path, messages, now=now)
        if reopened:
            await memory.close()
            await memory.open(SPACE)
        results = []
        for message in messages[::150]:
            query = asked(message.content, channel_id=KITCHEN, exclude=prompt, limit=5)
            results.append((message, await memory.explain(query)))
        words = []
        for message, _ in results:
            # BM25 of everything, with a pool that nothing is left out of: the stage's truth.
            everything = await memory.explain(MemoryQuery(text=message.content, channel_ids=BOTH, limit=300))
            words.append({int(m.recollection.message_id): m.word_score for m in everything})
        await memory.close()
        return results, words

    results, words = asyncio.run(scenario())
    for (message, matches), scores in zip(results, words, strict=True):
        vector = vector_of(message.content)
        similar = exact(open_, vector, 30) | exact(newest, vector, 30)
        similar = dict(sorted(similar.items(), key=lambda item: (-item[1], -item[0])))
        by_vector = [int(m.recollection.message_id) for m in matches if m.vector_rank is not None]
        assert set(by_vector) <= set(similar)
        for match in matches:
            found = int(match.recollection.message_id)
            rank = list(similar).index(found) + 1 if found in similar else None
            assert match.vector_rank == rank
            assert match.similarity == (pytest.approx(similar[found], abs=1e-4) if rank else None)
            if match.word_score is not None and found in scores:
                assert match.word_score == pytest.approx(scores[found], rel=1e-3)
            assert match.recollection.text == texts[found]
            assert match.recollection.message_id not in prompt
            assert match.age_days == pytest.approx((now.timestamp() * 1000 - created[found]) / 86_400_000)


def test_the_chosen_ones_are_those_of_the_pure_functions_on_the_same_candidates(tmp_path, monkeypatch):
    messages = chatter(1_200, words_each=4, seed=5)
    now = messages[-1].created_at + timedelta(hours=2)
    texts = {int(m.id): m.content for m in messages}
    created = {int(m.id): round(m.created_at.timestamp() * 1000) for m in messages}
    seen = []

    async def recorded(*arguments):
        seen.append(await looking.look(*arguments))
        return seen[-1]

    monkeypatch.setattr(searching, "look", recorded)

    async def scenario():
        memory = await opened(tmp_path, messages, now=now)
        found = [await memory.search(asked(m.content, channel_id=ATTIC, limit=5)) for m in messages[::100]]
        await memory.close()
        return found

    for result, candidates in zip(asyncio.run(scenario()), seen, strict=True):
        stages = [list(candidates.words), list(candidates.similar)]
        known = sorted({*candidates.words, *candidates.similar}, reverse=True)
        order = best_first(stages, {i: created[i] for i in known}, now_ms=now.timestamp() * 1000)[:30]
        kept = diverse_texts([score for _, score in order], [texts[i] for i, _ in order], limit=5)
        assert [int(one.message_id) for one in result] == [order[at][0] for at in kept]
        assert [one.score for one in result] == pytest.approx([order[at][1] for at in kept])


def test_what_was_said_hours_ago_is_found_among_hundreds_that_match_better(tmp_path):
    history = [
        said(n, f"soup recipe of {one.content}", at=NOON - timedelta(days=300, minutes=n))
        for n, one in enumerate(chatter(400, words_each=3))
    ]
    lately = said(7, "we could have soup or bread or cheese tonight, what do all of you think", at=NOON)
    more = chatter(RECENT_MESSAGES - 10, channels=(KITCHEN,), start=NOON + timedelta(minutes=1))

    async def scenario():
        memory = await opened(tmp_path, [*history, lately, *more], now=NOON + timedelta(hours=4))
        query = MemoryQuery(text="soup recipe", channel_ids=BOTH)
        with_talk = await memory.explain(replace(query, channel_id=KITCHEN))
        without = await memory.explain(query)
        await memory.close()
        return with_talk, without

    with_talk, without = asyncio.run(scenario())
    assert lately.content in [match.recollection.text for match in with_talk]
    assert lately.content not in [match.recollection.text for match in without]


def test_the_newest_follow_edits_removals_and_late_vectors(tmp_path):
    async def scenario():
        first = [said(n, f"old talk of number {n}") for n in range(5)]
        memory = await opened(tmp_path, first, now=NOON)
        await memory.search(asked("anything at all", channel_id=KITCHEN))  # now they are held in memory
        await memory.apply(put(said(20, "a feline on the mat")))
        await memory.apply(remove(first[0]))
        await memory.apply(put(said(1, "quite another thing")))
        before = await memory.explain(asked("cat", channel_id=KITCHEN, limit=10))
        late = said(20, "a feline on the mat")
        await memory.embed([Embedded(message_id=late.id, text=late.content, vector=vector_of(late.content))])
        after = await memory.explain(asked("cat", channel_id=KITCHEN, limit=10))
        hidden = await memory.explain(
            asked("cat", channel_id=KITCHEN, exclude=frozenset({late.id}), exclude_authors=frozenset({BEN.id}))
        )
        mine = await memory.explain(asked("cat", channel_id=KITCHEN, exclude_authors=frozenset({ANN.id})))
        await memory.close()
        return before, after, hidden, mine

    before, after, hidden, mine = asyncio.run(scenario())
    said_before = {match.recollection.text for match in before}
    assert "old talk of number 0" not in said_before
    assert "old talk of number 1" not in said_before
    assert "a feline on the mat" not in said_before, "without a vector and with other words it cannot be found"
    (best,) = [match for match in after if match.recollection.text == "a feline on the mat"]
    assert best.vector_rank == 1
    assert "a feline on the mat" not in {match.recollection.text for match in hidden}
    assert mine == []


def test_only_so_many_are_kept_the_newest_without_those_excluded():
    tokens = Tokenizer("English")
    newest = Newest({1: range(1, 1_001)}, tokens)
    rows = [
        shape.Row(message_id=n, channel_id=1, author_id=n % 2, author_name="x", text=f"t{n}", created_at=n)
        for n in range(2_000, 2_300)
    ]
    newest._loaded[1] = None
    newest.put(rows, {row.message_id: document_of(row, tokens(row.text), None) for row in rows})

    def kept(channel, *, exclude=(), exclude_authors=()):
        found = newest.since(channel, exclude=frozenset(exclude), exclude_authors=frozenset(exclude_authors))
        return [one.message_id for one in found]

    assert kept(1)[-1] == 2_299
    assert len(kept(1)) == RECENT_MESSAGES
    even = kept(1, exclude={2_298}, exclude_authors={1})
    assert even[-2:] == [2_294, 2_296]
    assert all(n % 2 == 0 for n in even)
    assert newest.by_authors(1, frozenset({1})) >= {2_299, 2_297}
    assert kept(9) == []
    newest.put(rows[-1:], None)
    assert kept(1) == [], "what was not taken in is read again"
