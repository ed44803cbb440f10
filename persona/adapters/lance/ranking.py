"""The pure decisions of a search: which words to look for, what is worth remembering, what the stages come to."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from persona.domain.chat import DISCORD_EPOCH_MS, Message
from persona.domain.recall import age_factor, best_first

_MILLISECONDS_PER_DAY = 86_400_000
_SNOWFLAKE_TIME_SHIFT = 22
_MAX_QUERY_INPUT = 10_000
_MAX_QUERY_WORDS = 64
_MAX_QUERY_CHARACTERS = 2_000
_LEAST_WORDS = 2
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
    first = text.split(None, _LEAST_WORDS)[:_LEAST_WORDS]
    if len(first) == _LEAST_WORDS and all(map(str.isalnum, first)):
        return _LEAST_WORDS  # most of what is said
    plain = _MARKUP.sub(" ", text)
    spaced = 0
    for _ in words(plain):
        spaced += 1
        if spaced >= _LEAST_WORDS:
            return spaced
    return max(spaced, len(_UNSPACED.findall(plain)) // _CHARACTERS_PER_UNSPACED_WORD)


def time_of(message_id: int) -> int:
    """Return when a message was written (milliseconds since 1970, UTC), by its id: no row need be read for it."""
    return (message_id >> _SNOWFLAKE_TIME_SHIFT) + DISCORD_EPOCH_MS


def merged(*searches: Mapping[int, float]) -> dict[int, float]:
    """Return what several searches of one stage found as one ranking: scores by id, the best first, then the newer."""
    scores: dict[int, float] = {}
    for found in searches:
        scores |= found
    return dict(sorted(scores.items(), key=lambda item: (-item[1], -item[0])))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """A candidate with its final score, its place in each stage (from 1; None where it was not found) and its age."""

    message_id: int
    score: float
    word_rank: int | None
    vector_rank: int | None
    recency_rank: int
    age_days: float
    age_factor: float


def ranked(words: Mapping[int, float], similar: Mapping[int, float], *, now_ms: float) -> Iterator[Ranked]:
    """Yield what the stages found, best first, as `persona.domain.recall` ranks it.

    `words` and `similar` (empty for a search without a vector) are scores by message id, best first.
    """
    created = {message_id: time_of(message_id) for message_id in sorted({**words, **similar}, reverse=True)}
    stages = [list(stage) for stage in (words, similar) if stage]
    by_words, by_vector, newest = (
        {message_id: rank for rank, message_id in enumerate(keys, start=1)} for keys in (words, similar, created)
    )
    for message_id, score in best_first(stages, created, now_ms=now_ms):
        age_ms = now_ms - created[message_id]
        yield Ranked(
            message_id=message_id,
            score=score,
            word_rank=by_words.get(message_id),
            vector_rank=by_vector.get(message_id),
            recency_rank=newest[message_id],
            age_days=max(age_ms, 0.0) / _MILLISECONDS_PER_DAY,
            age_factor=age_factor(age_ms),
        )


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
    if piece.isalnum():
        return piece
    start, end = 0, len(piece)
    while start < end and unicodedata.category(piece[start])[0] in "PSZC":
        start += 1
    while end > start and unicodedata.category(piece[end - 1])[0] in "PSZC":
        end -= 1
    word = piece[start:end]
    return word if any(map(str.isalnum, word)) else ""
