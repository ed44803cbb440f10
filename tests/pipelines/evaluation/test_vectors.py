"""The vectors come from the embedding model where there is one; where there is none that is said."""

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs the extra `evaluate`: scikit-learn")

from persona.config import load_settings
from persona.errors import PersonaError
from pipelines.evaluation.running import open_vectors
from pipelines.evaluation.vectors import LetterVectors, ModelVectors
from tests.fakes.embedding import WordEmbedder, vector_of


def test_a_model_is_opened_asked_and_closed():
    embedder = WordEmbedder()
    vectors = ModelVectors(embedder)
    texts = [f"the cat number {number}" for number in range(300)]
    found = vectors.embed(texts)
    assert found.shape == (300, 64)
    assert np.allclose(found[7], vector_of(texts[7]))
    assert np.array_equal(vectors.embed(texts[::-1]), found[::-1])
    assert len(embedder.embedded) == 300
    assert vectors.embed([]).shape == (0, 64)
    assert "words/test" in vectors.name
    vectors.close()
    assert embedder.closed


def test_a_model_that_cannot_be_opened_says_so():
    embedder = WordEmbedder()
    embedder.open_error = "it is damaged"
    with pytest.raises(PersonaError, match="damaged"):
        ModelVectors(embedder)


@pytest.mark.parametrize(
    ("memory", "letters", "notes"),
    [
        ('embedding_path = "nowhere"', False, ["no embedding model ("]),
        ('embedding = ""', False, ["no embedding model is set"]),
        ('embedding = ""', True, []),
    ],
)
def test_without_a_model_letters_stand_in_and_that_is_noted(tmp_path, memory, letters, notes):
    (tmp_path / "config.toml").write_text(f"[memory]\n{memory}\n", encoding="utf-8")
    noted = []
    vectors = open_vectors(load_settings(tmp_path / "config.toml"), letters=letters, noted=noted.append)
    assert isinstance(vectors, LetterVectors)
    assert [note.startswith(start) for note, start in zip(noted, notes, strict=True)] == [True] * len(notes)
