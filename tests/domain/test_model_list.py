"""The list of models: what can be done to it keeps it whole, and its text says everything."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persona.domain.model_list import (
    ModelEntry,
    ModelList,
    ModelMark,
    decode_models,
    encode_models,
    is_model_name,
    names_like,
)

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
NAMES = ["server-1", "server-2", "qwen", "Tiny.v3"]


def entry(name="server-1", **fields):
    given_fields = {"file": f"{name}.gguf", "sha256": "a" * 64, "size": 5, "created": NOON}
    return ModelEntry(name=name, **(given_fields | fields))


def listed(*names, **fields):
    return ModelList(models=tuple(entry(name) for name in names), **fields)


marks = st.none() | st.builds(
    ModelMark,
    at=st.datetimes(timezones=st.just(UTC)),
    messages=st.integers(0, 10**9),
    authors=st.integers(0, 10**6),
    problem=st.text(max_size=20),
)
entries = st.builds(
    ModelEntry,
    name=st.sampled_from(NAMES),
    file=st.from_regex(r"[a-z][a-z0-9]{0,8}\.gguf", fullmatch=True),
    sha256=st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
    size=st.integers(0, 10**12),
    created=st.datetimes(timezones=st.just(UTC)),
    quantisation=st.text(max_size=8),
    prompt_hash=st.text(max_size=8),
    manifest=st.text(max_size=8),
    run=st.text(max_size=8),
    base=st.text(max_size=8),
    mark=marks,
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), entries),
        st.tuples(st.sampled_from(["use", "remove"]), st.sampled_from(NAMES)),
        st.tuples(st.just("back"), st.none()),
        st.tuples(st.just("mark"), st.dictionaries(st.sampled_from(NAMES), marks.filter(bool))),
    ),
    max_size=30,
)


def carried_out(models, kind, what):
    match kind:
        case "add":
            return models.with_model(what)
        case "use":
            return models.using(what)
        case "remove":
            return models.without(what)
        case "mark":
            return models.marked(what)
    return models.rolled_back()


@given(steps)
def test_whatever_is_done_the_list_stays_whole_and_its_text_says_it_all(doings):
    models, used = ModelList(), []
    for kind, what in doings:
        before = models
        try:
            models = carried_out(models, kind, what)
        except (KeyError, LookupError, ValueError):
            assert kind in {"use", "remove", "back"}
            continue
        if kind == "use" and before.current not in {None, what}:
            used.append(before.current)
        names = [each.name for each in models.models]
        assert len(set(names)) == len(names)
        assert models.current is None or models.current in names
        assert set(models.history) <= set(used)
        assert decode_models(encode_models(models)) == models
        if before.in_use is not None:
            assert models.in_use is not None, "a model in use cannot vanish"


def test_rolling_back_goes_back_step_by_step_and_ends_at_the_first():
    models = listed("a", "b", "c")
    for name in ("a", "b", "c"):
        models = models.using(name)
    assert models.before.name == "b"
    models = models.rolled_back()
    assert (models.current, models.history) == ("b", ("a",))
    models = models.rolled_back()
    assert models.current == "a"
    with pytest.raises(LookupError):
        models.rolled_back()


def test_rolling_back_passes_over_models_that_are_gone():
    models = listed("a", "b", "c").using("a").using("b").using("c").without("b")
    assert models.rolled_back().current == "a"


def test_choosing_the_same_model_again_is_a_choice_of_its_own():
    once = listed("a").using("a")
    again = once.using("a")
    assert (again.current, again.history, again.chosen) == ("a", (), once.chosen + 1)


def test_a_mark_survives_a_new_description_of_the_same_file_only():
    mark = ModelMark(at=NOON, messages=3)
    models = listed("a").marked({"a": mark})
    assert models.with_model(entry("a", base="qwen")).find("a").mark == mark
    assert models.with_model(entry("a", sha256="b" * 64)).find("a").mark is None


def test_marking_with_what_is_known_changes_nothing():
    models = listed("a", "b").marked({"a": ModelMark(at=NOON, messages=3)})
    later = ModelMark(at=NOON + timedelta(days=1), messages=3)
    assert models.marked({"a": later}) is models
    more = models.marked({"a": replace(later, messages=4)})
    assert (more.find("a").mark.messages, more.find("b").mark) == (4, None)


def test_near_names_are_found():
    models = listed("server-2026-05-01", "server-2026-06-01", "qwen2.5-3b")
    assert models.near("sever-2026-05-01")[0] == "server-2026-05-01"
    assert models.near("QWEN") == ["qwen2.5-3b"]
    assert models.near("zzz") == []


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b"\xff\xfe",
        b'{"version": 2, "current": null, "history": [], "models": [], "chosen": 0}',
        b'{"version": 1, "current": "gone", "history": [], "models": [], "chosen": 0}',
        encode_models(listed("a")).replace(b"a.gguf", b"../../etc"),
        encode_models(listed("a")).replace(b'"a"', b'"a/b"'),
        encode_models(listed("a")).replace(b"aaaa", b"zzzz"),
        encode_models(listed("a")).replace(b"+00:00", b""),
        b"[" * 100_000,
    ],
)
def test_what_is_no_list_is_refused_as_a_value_error(data):
    with pytest.raises(ValueError, match=r".+"):
        decode_models(data)


@given(st.binary(max_size=200))
def test_no_bytes_at_all_do_anything_else(data):
    try:
        decode_models(data)
    except ValueError:
        return
    raise AssertionError(data)


@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=3))
def test_a_list_that_was_cut_or_overwritten_is_read_as_a_list_or_refused(place, junk):
    text = encode_models(listed("a", "b").using("b").marked({"a": ModelMark(at=NOON, messages=1)}))
    place %= len(text)
    for damaged in (text[:place], text[:place] + junk + text[place + len(junk) :]):
        try:
            found = decode_models(damaged)
        except ValueError:
            continue
        assert found.current is None or found.find(found.current)


@pytest.mark.parametrize("name", ["", ".hidden", "-x", "a/b", "a b", "..", "ä", "a" * 101, "a\n"])
def test_names_that_will_not_do(name):
    assert not is_model_name(name)
    with pytest.raises(ValueError, match="no name"):
        entry(name)


@given(st.text(max_size=120), st.lists(st.sampled_from(["model", "model-2", "x"])))
def test_every_file_gets_a_name_that_will_do(stem, taken):
    name = names_like(stem, taken)
    assert is_model_name(name)
    assert name not in taken
