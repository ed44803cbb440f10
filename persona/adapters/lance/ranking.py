"""The pure decisions of a search: which words to look for, what is worth remembering, how age and repetition count."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from persona.domain.chat import Message
from persona.domain.recall import Ranking, by_recency, fuse

_MILLISECONDS_PER_DAY = 86_400_000
_MAX_QUERY_INPUT = 10_000
_MAX_QUERY_WORDS = 64
_MAX_QUERY_CHARACTERS = 2_000
_LEAST_WORDS = 2
# Beside a weight of 1 for words and for meaning: of about equal matches the newer one, not any new one.
_RECENCY = 0.25
_CHARACTERS_PER_UNSPACED_WORD = 2

_EMOJI = re.compile(r"<a?:(\w+):\d+>")
_MARKUP = re.compile(r"<(?:@[!&]?|#|t:|/|id:)[^<>\s]*>|https?://(?:www\.)?")
_APOSTROPHES = re.compile("['`\u2019\u00b4]")
# Thai to Burmese, Khmer, kana and ideographs: scripts that put no spaces between words.
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")

# English words that say how a sentence is built, not what it is about. They stay in the index, so that a question
# made of nothing else ("who are you") still finds its like; beside any other word they only cost time and rank.
FUNCTION_WORDS = frozenset(
    """
    i me my myself mine we our ours us you your yours yourself u ur he him his she her hers it its they them
    their theirs this that these those who whom whose what which when where why how am is are was were be
    been being do does did done doing dont doesnt didnt have has had having havent hasnt hadnt isnt arent
    wasnt werent im ive ill id youre youve youll hes shes theyre theres thats whats lets will would wont
    wouldnt shall should shouldnt can cant cannot could couldnt may might must a an the and or but nor so if
    then than because as while of at by for with about against between into through during before after above
    below to from up down in on off over under again further once here there all any both each few more most
    other some such no not only own same too very just also hey hi oh ok okay yeah yes well
    """.split()  # noqa: SIM905 - two hundred quoted strings read worse
)


def query_words(text: str) -> tuple[str, ...]:
    """Return the distinct words of `text` to look for, first to last: at most 64 of them and 2,000 characters.

    Mentions, timestamps and the start of links are left out, a custom emoji counts by its name. Function words count
    only when there is nothing else. No words, as in a text of emoji alone, gives an empty result.
    """
    encodable = text[:_MAX_QUERY_INPUT].encode("utf-8", "replace").decode("utf-8")
    plain = _MARKUP.sub(" ", _EMOJI.sub(r" \1 ", encodable))
    distinct = dict.fromkeys(words(plain))
    telling = [word for word in distinct if not is_function_word(word)]
    return tuple(_within_bounds(telling or list(distinct)))


def words(text: str) -> Iterator[str]:
    """Yield the words of a text in lower case: what stands between spaces, without the punctuation around it."""
    for piece in text.casefold().split():
        word = _trimmed(piece)
        if word:
            yield word


def is_function_word(word: str) -> bool:
    """Whether a lower-case word is grammar rather than topic; apostrophes of any kind do not matter."""
    return _APOSTROPHES.sub("", word) in FUNCTION_WORDS


def worth_remembering(message: Message) -> bool:
    """Whether a message is talk of at least two words; "ok", an emoji or a bare link-less name bring nothing back."""
    return message.is_talk and word_count(message.content) >= _LEAST_WORDS


def word_count(text: str) -> int:
    """Return how many words a text has, up to where it no longer matters.

    In scripts without spaces two characters count as a word.
    """
    plain = _MARKUP.sub(" ", text)
    spaced = 0
    for _ in words(plain):
        spaced += 1
        if spaced >= _LEAST_WORDS:
            return spaced
    return max(spaced, len(_UNSPACED.findall(plain)) // _CHARACTERS_PER_UNSPACED_WORD)


def decayed(score: float, age_ms: float, *, half_life_days: float, floor: float) -> float:
    """Return a score weighed by age: full for something new, falling by half-lives towards `floor` (0..1) of it.

    The floor keeps an old but clearly better match ahead, and leaves the order alone where everything is old.
    A message from the future (a clock that was set back) counts as new.
    """
    half_lives = max(age_ms, 0.0) / (_MILLISECONDS_PER_DAY * half_life_days)
    return score * float(floor + (1.0 - floor) * 0.5**half_lives)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighing:
    """How much age counts: a score falls by `half_life_days` towards `age_floor` (0..1) of itself."""

    half_life_days: float
    age_floor: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What the stages of a search found out about a message; None where a stage did not find it."""

    message_id: int
    created_at_ms: int
    word_rank: int | None
    word_score: float | None
    vector_rank: int | None
    similarity: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """A candidate with its final score, and what its age did to it."""

    candidate: Candidate
    score: float
    age_days: float
    age_factor: float


def ranked(candidates: Sequence[Candidate], *, weighing: Weighing, now_ms: float, hybrid: bool) -> list[Ranked]:
    """Return candidates best first; of equals the newer one.

    Words alone are ranked by BM25. A hybrid search goes by reciprocal rank fusion (Cormack, Clarke and Buettcher 2009)
    of both stages and of how new the candidates are. Age then takes its part of either score.
    """
    fused = fuse(
        (
            Ranking(keys=_in_order({one.message_id: one.word_rank for one in candidates})),
            Ranking(keys=_in_order({one.message_id: one.vector_rank for one in candidates})),
            Ranking(keys=by_recency({one.message_id: one.created_at_ms for one in candidates}), weight=_RECENCY),
        )
    )
    result = []
    for one in candidates:
        age_ms = max(now_ms - one.created_at_ms, 0.0)
        factor = decayed(1.0, age_ms, half_life_days=weighing.half_life_days, floor=weighing.age_floor)
        score = fused[one.message_id] if hybrid else one.word_score or 0.0
        result.append(
            Ranked(candidate=one, score=score * factor, age_days=age_ms / _MILLISECONDS_PER_DAY, age_factor=factor)
        )
    return sorted(result, key=lambda item: (item.score, item.candidate.message_id), reverse=True)


def _in_order(ranks: Mapping[int, int | None]) -> list[int]:
    return [key for _, key in sorted((rank, key) for key, rank in ranks.items() if rank is not None)]


def _within_bounds(candidates: Iterable[str]) -> Iterator[str]:
    room = _MAX_QUERY_CHARACTERS
    for count, word in enumerate(candidates):
        if count >= _MAX_QUERY_WORDS or room <= 0:
            return
        yield word[:room]
        room -= len(word)


def _trimmed(piece: str) -> str:
    """Cut punctuation, symbols and control characters off both ends; nothing is left of what has no letter or digit.

    Marks (category M) stay: in many scripts they are the vowels.
    """
    start, end = 0, len(piece)
    while start < end and unicodedata.category(piece[start])[0] in "PSZC":
        start += 1
    while end > start and unicodedata.category(piece[end - 1])[0] in "PSZC":
        end -= 1
    word = piece[start:end]
    return word if any(map(str.isalnum, word)) else ""
