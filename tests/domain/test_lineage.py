"""Lineage: hashes that find what was forgotten, and tell nothing else."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persona.domain.lineage import (
    DIGEST_BYTES,
    LineageKey,
    decode_lineage,
    encode_lineage,
    lineage_of,
)

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
KEY, OTHER = LineageKey(secret=b"k" * 32), LineageKey(secret=b"o" * 32)
IDS = st.sets(st.integers(0, (1 << 63) - 1), max_size=60)


@given(IDS, IDS, st.sampled_from([NOON, NOON.astimezone(timezone(timedelta(hours=9)))]))
def test_a_file_gives_back_what_was_written(messages, authors, read_at):
    lineage = lineage_of(KEY, read_at, messages, authors)
    data = encode_lineage(lineage)
    assert decode_lineage(data) == lineage
    assert encode_lineage(decode_lineage(data)) == data


@given(IDS, IDS)
def test_it_counts_exactly_what_it_holds(inside, asked):
    lineage = lineage_of(KEY, NOON, inside, ())
    assert lineage.messages_among({KEY.message(each) for each in asked}) == len(inside & asked)
    assert lineage.messages_among({OTHER.message(each) for each in asked}) == 0


def test_people_count_when_they_were_forgotten_after_the_store_was_read():
    lineage = lineage_of(KEY, NOON, [1], [7])
    day = timedelta(days=1)
    assert lineage.authors_among({KEY.author(7): NOON + day}) == 1
    assert lineage.authors_among({KEY.author(7): NOON}) == 1
    assert lineage.authors_among({KEY.author(7): NOON - day}) == 0
    assert lineage.authors_among({KEY.author(8): NOON + day}) == 0


def test_a_person_and_a_message_with_one_number_have_different_hashes():
    assert KEY.author(7) != KEY.message(7)


def test_the_secret_is_in_no_file_and_no_text():
    data = encode_lineage(lineage_of(KEY, NOON, [1, 2], [3]))
    assert KEY.secret not in data
    assert KEY.fingerprint.encode() in data
    assert "k" * 32 not in repr(KEY)
    assert repr(KEY.secret) not in repr(KEY)
    assert KEY.fingerprint != OTHER.fingerprint


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_key_has_its_length(length):
    with pytest.raises(ValueError, match="32 bytes"):
        LineageKey(secret=b"x" * length)


WHOLE = encode_lineage(lineage_of(KEY, NOON, range(20), [7]))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "does not begin"),
        (b"persona lineage 2\n{}\n", "does not begin"),
        (b"persona lineage 1\n", "no end"),
        (b"persona lineage 1\n{}\n", "header"),
        (b"persona lineage 1\n[]\n", "header"),
        (b"persona lineage 1\n\xff\n", "header"),
        (WHOLE.replace(b'"digest_bytes": 8', b'"digest_bytes": 9'), "another version"),
        (WHOLE.replace(b"+00:00", b""), "another version"),
        (WHOLE.replace(b'"messages": 20', b'"messages": 19'), "bytes of hashes"),
        (WHOLE.replace(b'"messages": 20', b'"messages": -1'), "bytes of hashes"),
        (WHOLE[:-DIGEST_BYTES], "bytes of hashes"),
        (WHOLE[: -3 * DIGEST_BYTES] + WHOLE[-2 * DIGEST_BYTES : -DIGEST_BYTES] * 2 + WHOLE[-DIGEST_BYTES:], "order"),
    ],
)
def test_damage_is_never_taken_for_a_lineage(data, reason):
    with pytest.raises(ValueError, match=reason):
        decode_lineage(data)


@given(st.integers(0, len(WHOLE) - 1))
def test_cut_short_anywhere_it_is_refused(length):
    with pytest.raises(ValueError, match="it"):
        decode_lineage(WHOLE[:length])
