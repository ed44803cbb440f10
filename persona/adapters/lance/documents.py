"""Messages that are searched in memory: by words, scored as the table's text index scores them, and by vectors."""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from py_rust_stemmers import SnowballStemmer

from persona.adapters.lance import table as shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vector = NDArray[np.float32]

# Okapi BM25 (Robertson and Zaragoza 2009) with LanceDB's constants.
_K1, _B = 1.2, 0.75
# Letters and digits: the index splits at whatever else there is, at apostrophes and underscores, too. In scripts
# without spaces it looks words up in a dictionary; here each character counts.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(f"[{_UNSPACED}]|[^\\W_{_UNSPACED}]+")


class Tokenizer:
    """Takes a text apart into the words that the text index knows: in lower case, stemmed, without accents."""

    def __init__(self, language: str) -> None:
        """`language` is the English name of a language with a Snowball stemmer, as LanceDB takes it."""
        self._stem: Callable[[str], str] = SnowballStemmer(language.lower()).stem_word

    def __call__(self, text: str) -> list[str]:
        """Return the words in order; what is said twice comes twice."""
        return [_bare(self._stem(word)) for word in _WORD.findall(text.lower())]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Document:
    """A message: how often it has which word, and its vector (unit length) where that is known."""

    message_id: int
    channel_id: int
    author_id: int
    words: Mapping[str, int]
    length: int
    vector: "Vector | None" = None


Fits = Callable[[Document], bool]


def document_of(row: shape.Row, tokens: Sequence[str], vector: "Vector | None") -> Document:
    """Return a row as it is searched in memory."""
    return Document(
        message_id=row.message_id,
        channel_id=row.channel_id,
        author_id=row.author_id,
        words=Counter(tokens),
        length=len(tokens),
        vector=None if vector is None else _unit(np.asarray(vector, dtype=np.float32)),
    )


def documents_in(read: pa.Table, tokens: Tokenizer) -> list[Document]:
    """Return whole rows of a table (its vectors, where it has any) as documents."""
    rows = [shape.Row(**row) for row in read.select(shape.COLUMNS.names).to_pylist()]
    vectors = _vectors_in(read) if shape.VECTOR in read.column_names else {}
    return [document_of(row, tokens(row.text), vectors.get(at)) for at, row in enumerate(rows)]


class Statistics:
    """How common words are, by a sample of the table: as good as counting all, since scores go by the logarithm."""

    def __init__(self, sample: Iterable[Sequence[str]] = ()) -> None:
        self._messages: Counter[str] = Counter()
        self._sampled = self._length = 0
        for tokens in sample:
            self.add(tokens)

    def add(self, tokens: Sequence[str]) -> None:
        """Count a message in."""
        self._messages.update(set(tokens))
        self._sampled += 1
        self._length += len(tokens)

    def weights(self, tokens: Iterable[str]) -> dict[str, float]:
        """Return how much it says that a message has a word: its inverse document frequency."""
        return {
            token: math.log((self._sampled - count + 0.5) / (count + 0.5) + 1.0)
            for token in set(tokens)
            for count in [min(self._messages[token], self._sampled)]
        }

    def mean_length(self) -> float:
        """Return how many words a message has."""
        return max(self._length / max(self._sampled, 1), 1.0)


def by_words(
    documents: Iterable[Document], tokens: Sequence[str], statistics: Statistics, limit: int
) -> dict[int, float]:
    """Return the BM25 scores of the best documents that have one of the words, by id, best first."""
    weights, mean = statistics.weights(tokens), statistics.mean_length()
    scores: dict[int, float] = {}
    for document in documents:
        score, room = 0.0, _K1 * (1.0 - _B + _B * document.length / mean)
        for token in weights.keys() & document.words.keys():
            often = document.words[token]
            score += weights[token] * (_K1 + 1.0) * often / (often + room)
        if score:
            scores[document.message_id] = score
    best = sorted(scores.items(), key=lambda item: (-item[1], -item[0]))[:limit]
    return dict(best)


class Stacked:
    """Documents that have a vector, with their vectors one a row."""

    def __init__(self, documents: Iterable[Document]) -> None:
        having = [(one, one.vector) for one in documents if one.vector is not None]
        self._documents = [one for one, _ in having]
        self._vectors = np.stack([vector for _, vector in having]) if having else None

    def by_vector(self, vector: "Vector", limit: int, *, fits: Fits | None = None) -> dict[int, float]:
        """Return the cosines of those nearest to a vector (of those that fit), by id, the nearest first."""
        if self._vectors is None:
            return {}
        cosines = self._vectors @ _unit(vector)
        nearest = ((self._documents[at], float(cosines[at])) for at in np.argsort(-cosines, kind="stable"))
        fitting = ((one.message_id, cosine) for one, cosine in nearest if fits is None or fits(one))
        return dict(islice(fitting, limit))


def _vectors_in(read: pa.Table) -> "dict[int, Vector]":
    """Return the vectors of a table by row number; some rows may have none."""
    column = read[shape.VECTOR].combine_chunks()
    present = np.flatnonzero(np.asarray(column.is_valid()))
    if not len(present):
        return {}
    numbers = column.take(pa.array(present)).flatten().to_numpy().reshape(len(present), -1)
    return {int(at): np.array(row) for at, row in zip(present, numbers, strict=True)}


def _unit(vector: "Vector") -> "Vector":
    length = float(vector @ vector) ** 0.5
    return vector / np.float32(length) if length else vector


def _bare(word: str) -> str:
    return word if word.isascii() else "".join(map(_without_accent, word))


def _without_accent(letter: str) -> str:
    """Return the plain letter of an accented Latin one; others keep what belongs to them."""
    parts = unicodedata.normalize("NFKD", letter)
    plain = "".join(part for part in parts if not unicodedata.combining(part))
    return plain if plain.isascii() else letter
