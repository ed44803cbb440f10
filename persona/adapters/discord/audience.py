"""Says which channels everybody who sees one channel can read, too, without knowing who the members are.

Without the members intent nobody tells which roles a person has. So every combination of roles counts that a member
could have, and everybody who has an overwrite of their own. How roles and overwrites add up:
https://discord.com/developers/docs/topics/permissions#permission-overwrites
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, combinations

ADMINISTRATOR = 1 << 3
VIEW = 1 << 10
HISTORY = 1 << 16
CONNECT = 1 << 20


@dataclass(frozen=True, slots=True)
class Overwrite:
    """What a channel allows and denies to a role or a person, as permission bits."""

    allow: int = 0
    deny: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """A channel's overwrites by role id and by member id, and the bits it takes to read its history."""

    roles: Mapping[int, Overwrite] = field(default_factory=dict)
    members: Mapping[int, Overwrite] = field(default_factory=dict)
    needs: int = VIEW | HISTORY


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server's roles with their permission bits; `everyone` is the id of the role that all have."""

    everyone: int
    owner: int
    roles: Mapping[int, int]


def permissions(server: Server, area: Area, roles: Iterable[int], member: int | None) -> int:
    """Return the permission bits of somebody with these roles (everyone's comes on top) in a channel; -1 is all."""
    held = {server.everyone, *roles}
    bits = 0
    for role in held:
        bits |= server.roles.get(role, 0)
    if bits & ADMINISTRATOR or member == server.owner:
        return -1
    general = area.roles.get(server.everyone, Overwrite())
    bits = bits & ~general.deny | general.allow
    allow = deny = 0
    for role in held - {server.everyone}:
        if overwrite := area.roles.get(role):
            allow |= overwrite.allow
            deny |= overwrite.deny
    bits = bits & ~deny | allow
    own = area.members.get(member, Overwrite()) if member is not None else Overwrite()
    return bits & ~own.deny | own.allow


def shared(server: Server, seen: Area, others: Mapping[int, Area]) -> frozenset[int]:
    """Return those of the other channels, by id, whose history everybody who sees the one channel can read.

    Two roles at most are enough to find somebody who cannot: one that lets them see the first channel, one that keeps
    them from the second. Any further role could only open the second one or close the first. So this looks at every
    pair of roles that differ in what counts here, for everybody without and with an overwrite of their own.
    """
    alike: dict[int, list[int]] = {}
    for role, bits in server.roles.items():
        if role != server.everyone and not bits & ADMINISTRATOR:
            alike.setdefault(bits & (VIEW | HISTORY | CONNECT), []).append(role)
    return frozenset(one for one, other in others.items() if _shares(server, seen, other, alike))


def _shares(server: Server, seen: Area, other: Area, alike: Mapping[int, Sequence[int]]) -> bool:
    special = {*seen.roles, *other.roles}
    roles = [role for role in special & server.roles.keys() if not server.roles[role] & ADMINISTRATOR]
    # Of the roles that neither channel treats in its own way, one for each kind will do.
    for same in alike.values():
        roles += next(([role] for role in same if role not in special), [])
    for held in chain([()], ((role,) for role in roles), combinations(roles, 2)):
        for member in (None, *(seen.members.keys() | other.members.keys())):
            if permissions(server, seen, held, member) & VIEW:
                bits = permissions(server, other, held, member)
                if bits & other.needs != other.needs:
                    return False
    return True
