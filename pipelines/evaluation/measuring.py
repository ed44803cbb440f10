"""Measures a contender's replies against people's, every figure with its draws."""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from persona.domain.words import guess_language
from pipelines.evaluation import counting
from pipelines.evaluation.measures import BY_KEY, Contender
from pipelines.evaluation.ranking import rank_of
from pipelines.evaluation.resampling import Draws, Figure, Floats, figure, fixed
from pipelines.evaluation.samples import Conversation, Sample, words
from pipelines.evaluation.statistics import wilson
from pipelines.evaluation.style import recognised
from pipelines.evaluation.usage import Vocabulary
from pipelines.evaluation.vectors import TextVectors, Vectors

DISTRACTORS = 9
"""Contexts of other conversations that the own one is ranked among."""

_CONTEXT_LINES = 3
_LANGUAGE_BLOCKS = 10
_LONGEST = 200


class Yardstick:
    """People's replies to the contexts, and everything that is computed of them once."""

    def __init__(
        self, human: Sequence[Sample], *, clusters: Sequence[str], draws: Draws, known: Vocabulary, vectors: TextVectors
    ) -> None:
        self.human = tuple(human)
        self.clusters = {name: place for place, name in enumerate(clusters)}
        self.draws = draws
        self._known = known
        self._vectors = vectors
        self._human_vectors = vectors.embed([sample.text for sample in self.human])

    def measure(self, contender: Contender) -> dict[str, Figure]:
        """Return every figure that needs nothing but the replies, by the measure's key."""
        w = self.draws.weights
        known = self._known
        server = lambda sample: (word for word in words(sample.text) if word in known.server_words)  # noqa: E731
        small = lambda sample: (word for word in words(sample.text) if word in known.function_words)  # noqa: E731
        found: dict[str, Floats] = {
            "letters": self._counts(contender, counting.letters_of),
            "vocabulary": self._counts(contender, counting.words_of),
            "function_words": self._counts(contender, small),
            "message_words": self._lengths(contender, lambda s: [min(len(m.split()), _LONGEST) for m in s.messages]),
            "burst": self._lengths(contender, lambda s: [len(s.messages)]),
            "habits": self._mean(contender, self._habits),
            "server_words": self._mean(contender, lambda once: self._word_share(once, server)),
            "known_pairs": self._mean(contender, self._known_pairs),
            "distinct": self._mean(contender, self._distinct),
            "repeated": self._mean(contender, self._repeated),
            **self._by_vectors(contender),
        }
        hits = [self._recognised(once) for once in contender.replies]
        ours, theirs = (np.mean([hit[side] for hit in hits], axis=0) for side in (0, 1))
        found["recognised"] = (_rows(w, ours) + _rows(w, theirs)) / 2
        figures = {key: _figure(key, values) for key, values in found.items()}
        language = self._language(contender)
        return figures if language is None else {**figures, "language": language}

    def habits(self, samples: Sequence[Sample]) -> Floats:
        """Return the share of messages with each habit, for each draw (draws x habits)."""
        return counting.habit_rows(self.draws.weights, samples, self.clusters)

    def people(self) -> dict[str, Figure]:
        """Return the figures that say something about people alone: what `Better.PEOPLE` compares with."""
        known = self._known.server_words
        server = lambda sample: (word for word in words(sample.text) if word in known)  # noqa: E731
        found = {
            "server_words": self._word_share(self.human, server),
            "known_pairs": self._known_pairs(self.human),
            "distinct": self._distinct(self.human),
            "repeated": self._repeated(self.human),
        }
        return {key: _figure(key, values) for key, values in found.items()}

    def shares(self, contender: Contender, hit: Callable[[Sample], bool]) -> Figure:
        """Return the share of replies that have something, with a Wilson interval (right where it is rare)."""
        hits = [hit(sample) for sample in contender.all]
        # Rounds of the same context are not independent: the interval is that of one round.
        once = len(contender.replies[0]) if contender.replies else 0
        share = sum(hits) / len(hits) if hits else float("nan")
        return fixed_share(share, once, len(self.draws.weights))

    def own_mean(self, values: Sequence[float], samples: Sequence[Sample]) -> Figure:
        """Return the mean of one value a reply."""
        sums, totals = counting.by_cluster(values, samples, self.clusters)
        return figure(counting.share_rows(self.draws.weights, sums, totals))

    def _mean(self, contender: Contender, measured: Callable[[Sequence[Sample]], Floats]) -> Floats:
        """Return the mean over the rounds: every round has as many replies as people gave."""
        found: Floats = np.mean([measured(once) for once in contender.replies], axis=0)
        return found

    def _counts(self, contender: Contender, features: counting.Features) -> Floats:
        def distance(once: Sequence[Sample]) -> Floats:
            ours, theirs = counting.count_matrices((once, self.human), self.clusters, features)
            weights = self.draws.weights
            return counting.jensen_shannon_rows(weights @ ours, weights @ theirs)

        return self._mean(contender, distance)

    def _lengths(self, contender: Contender, values: Callable[[Sample], Iterable[int]]) -> Floats:
        def distance(once: Sequence[Sample]) -> Floats:
            ours, theirs = counting.histograms((once, self.human), self.clusters, values)
            return counting.wasserstein_rows(self.draws.weights @ ours, self.draws.weights @ theirs)

        return self._mean(contender, distance)

    def _habits(self, once: Sequence[Sample]) -> Floats:
        found: Floats = np.abs(self.habits(once) - self.habits(self.human)).mean(axis=1)
        return found

    def _word_share(self, once: Sequence[Sample], features: counting.Features) -> Floats:
        hits, totals = np.zeros(len(self.clusters)), np.zeros(len(self.clusters))
        for sample in once:
            place = self.clusters[sample.conversation_id]
            hits[place] += sum(1 for _ in features(sample))
            totals[place] += len(words(sample.text))
        return counting.share_rows(self.draws.weights, hits, totals)

    def _known_pairs(self, once: Sequence[Sample]) -> Floats:
        hits, totals = np.zeros(len(self.clusters)), np.zeros(len(self.clusters))
        for sample in once:
            pairs = counting.pairs_of(sample)
            hits[self.clusters[sample.conversation_id]] += sum(pair in self._known.pairs for pair in pairs)
            totals[self.clusters[sample.conversation_id]] += len(pairs)
        return counting.share_rows(self.draws.weights, hits, totals)

    def _distinct(self, once: Sequence[Sample]) -> Floats:
        (counts,) = counting.count_matrices((once,), self.clusters, counting.pairs_of)
        drawn = self.draws.weights @ counts
        with np.errstate(divide="ignore", invalid="ignore"):
            found: Floats = (drawn > 0).sum(axis=1) / drawn.sum(axis=1)
        return found

    def _repeated(self, once: Sequence[Sample]) -> Floats:
        texts = [" ".join(words(sample.text)) for sample in once]
        counts = Counter(texts)
        sums, totals = counting.by_cluster([float(counts[text] > 1) for text in texts], once, self.clusters)
        return counting.share_rows(self.draws.weights, sums, totals)

    def _recognised(self, once: Sequence[Sample]) -> tuple[Floats, Floats]:
        """Return for both sides (hits, replies) of each cluster, stacked."""
        ours, theirs = _grouped(once, self.clusters), _grouped(self.human, self.clusters)
        both = sorted(set(ours) & set(theirs))
        talks = [Conversation(replies=tuple(ours[place]), human=tuple(theirs[place])) for place in both]
        sides = np.zeros((2, 2, len(self.clusters)))
        for place, one in zip(both, recognised(talks), strict=True):
            for side, hits in enumerate((one.ours, one.theirs)):
                sides[side, :, place] = sum(hits), len(hits)
        return sides[0], sides[1]

    def _by_vectors(self, contender: Contender) -> dict[str, Floats]:
        energy, relevance, similarity = [], [], []
        for number, once in enumerate(contender.replies):
            ours = self._vectors.embed([sample.text for sample in once])
            energy.append(self._energy(once, ours))
            relevance.append(self._relevance(once, ours, number))
            similarity.append(self._similarity(once, ours))
        return {
            "energy": np.mean(energy, axis=0),
            "relevance": np.mean(relevance, axis=0),
            "similarity": np.mean(similarity, axis=0),
        }

    def _energy(self, once: Sequence[Sample], ours: Vectors) -> Floats:
        """Return the energy distance (Szekely and Rizzo 2013) of pairs from different clusters, for each draw.

        Replies of one conversation share its subject; leaving such pairs out on all sides keeps the estimate without
        bias, and drawing a conversation twice does not make it its own neighbour.
        """
        theirs = self._human_vectors
        a, b = ([self.clusters[s.conversation_id] for s in side] for side in (once, self.human))
        cross, within, beyond = (
            self._mean_distance(x, p, y, q)
            for x, p, y, q in ((ours, a, theirs, b), (ours, a, ours, a), (theirs, b, theirs, b))
        )
        found: Floats = 2 * cross - within - beyond
        return found

    def _mean_distance(self, x: Vectors, at: Sequence[int], y: Vectors, by: Sequence[int]) -> Floats:
        """Return the mean distance of pairs from different clusters, for each draw."""
        size = len(self.clusters)
        distances = np.sqrt(np.maximum(2 - 2 * (x.astype(np.float64) @ y.astype(np.float64).T), 0.0))
        rows, columns = np.zeros((len(at), size)), np.zeros((len(by), size))
        rows[np.arange(len(at)), at] = 1
        columns[np.arange(len(by)), by] = 1
        sums, counts = rows.T @ distances @ columns, np.outer(rows.sum(axis=0), columns.sum(axis=0))
        np.fill_diagonal(sums, 0)
        np.fill_diagonal(counts, 0)
        w = self.draws.weights
        with np.errstate(divide="ignore", invalid="ignore"):
            found: Floats = np.einsum("ri,ij,rj->r", w, sums, w, optimize=True) / np.einsum(
                "ri,ij,rj->r", w, counts, w, optimize=True
            )
        return found

    def _relevance(self, once: Sequence[Sample], ours: Vectors, number: int) -> Floats:
        contexts = self._vectors.embed([last_lines(sample) for sample in once])
        ranks = [
            1
            / rank_of(float(ours[place] @ contexts[place]), [float(ours[place] @ contexts[other]) for other in others])
            for place, others in enumerate(distractors(once, count=DISTRACTORS, seed=number))
        ]
        sums, totals = counting.by_cluster(ranks, once, self.clusters)
        return counting.share_rows(self.draws.weights, sums, totals)

    def _similarity(self, once: Sequence[Sample], ours: Vectors) -> Floats:
        means = []
        for side, vectors in ((once, ours), (self.human, self._human_vectors)):
            sums = np.zeros((len(self.clusters), vectors.shape[1]))
            np.add.at(sums, [self.clusters[sample.conversation_id] for sample in side], vectors)
            means.append(self.draws.weights @ sums)
        norms = np.linalg.norm(means[0], axis=1) * np.linalg.norm(means[1], axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            found: Floats = (means[0] * means[1]).sum(axis=1) / norms
        return found

    def _language(self, contender: Contender) -> Figure | None:
        """Return the share of blocks of replies in the language that people write there; None where none is clear."""
        hits = blocks = 0
        for number in range(min(_LANGUAGE_BLOCKS, len(self.clusters))):
            theirs = self._block_language(self.human, number)
            if theirs is not None:
                blocks += 1
                hits += self._block_language(contender.all, number) == theirs
        return fixed_share(hits / blocks, blocks, len(self.draws.weights)) if blocks else None

    def _block_language(self, samples: Iterable[Sample], number: int) -> str | None:
        block = (s for s in samples if self.clusters[s.conversation_id] % _LANGUAGE_BLOCKS == number)
        return guess_language(word for sample in block for word in words(sample.text))


def fixed_share(share: float, trials: int, rounds: int) -> Figure:
    """Return a share with the Wilson interval of so many trials."""
    interval = wilson(round(share * trials), trials) if trials else wilson(0, 0)
    return fixed(
        type(interval)(value=share, low=min(interval.low, share), high=max(interval.high, share)), rounds, trials=trials
    )


def last_lines(sample: Sample) -> str:
    """Return the newest lines of a context, which a reply most likely answers."""
    return "\n".join(sample.context[-_CONTEXT_LINES:])


def distractors(samples: Sequence[Sample], *, count: int, seed: int) -> list[list[int]]:
    """Return for each sample the places of up to so many samples of other conversations, drawn by the seed."""
    found = []
    for sample in samples:
        chance = random.Random(f"{seed} {sample.context_id}")  # noqa: S311 - a fixed draw
        others = [n for n, other in enumerate(samples) if other.conversation_id != sample.conversation_id]
        found.append(chance.sample(others, min(count, len(others))))
    return found


def _figure(key: str, values: Floats) -> Figure:
    return figure(values, biased=BY_KEY[key].biased, bounds=BY_KEY[key].range)


def _rows(weights: Floats, hits: Floats) -> Floats:
    return counting.share_rows(weights, hits[0], hits[1])


def _grouped(samples: Iterable[Sample], clusters: Mapping[str, int]) -> dict[int, list[Sample]]:
    groups: dict[int, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(clusters[sample.conversation_id], []).append(sample)
    return groups
