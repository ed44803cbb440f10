"""The members that a gateway client asks for, in chunks."""

from collections.abc import Iterator, Sequence
from typing import Final

from tests.fakes.discord.payloads import Payload

_MOST: Final = 1000


def chunks(everybody: Sequence[Payload], guild_id: str, request: Payload) -> Iterator[Payload]:
    """Yield what answers an op 8: members by `user_ids`, by the start of a name (`query`), or all, 1,000 at a time."""
    ids, query = request.get("user_ids"), request.get("query")
    wanted = [str(one) for one in ids] if isinstance(ids, list) else [] if ids is None else [str(ids)]
    found = list(everybody)
    if wanted:
        found = [one for one in found if one["user"]["id"] in wanted]
    elif query is not None:
        found = [one for one in found if _named(one, query.casefold())]
        found = found[: request.get("limit") or len(found)]
    there = {one["user"]["id"] for one in found}
    count = max(1, -(-len(found) // _MOST))
    for index in range(count):
        chunk = {
            "guild_id": guild_id,
            "members": found[index * _MOST : (index + 1) * _MOST],
            "chunk_index": index,
            "chunk_count": count,
            "not_found": [one for one in wanted if one not in there],
        }
        if request.get("nonce") is not None:
            chunk["nonce"] = request["nonce"]
        yield chunk


def _named(member: Payload, start: str) -> bool:
    """Say whether one of somebody's names begins like that."""
    names = (member["user"]["username"], member["user"]["global_name"], member["nick"])
    return any(name and name.casefold().startswith(start) for name in names)
