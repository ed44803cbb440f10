"""Says which channels everybody who sees one channel can read, too, without knowing who the members are.

Without the members intent nobody tells which roles a person has. So every combination of roles counts that a member
could have, and everybody who has an overwrite of their own. How roles and overwrites add up:
https://discord.com/developers/docs/topics/permissions#permission-overwrites
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

ADMINISTRATOR = 1 << 3
VIEW = 1 << 10
HISTORY = 1 << 16
CONNECT = 1 << 20
_COUNTED = (VIEW, HISTORY, CONNECT)
_ANY = VIEW | HISTORY | CONNECT


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """To whom a channel gives one right and from whom it takes it; giving wins where it does both."""

    given_roles: frozenset[int]
    taken_roles: frozenset[int]
    given_members: frozenset[int]
    taken_members: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class SortedArea:
    """A channel's overwrites sorted by right, for looking at many channels; made by `sort_area`, worth keeping."""

    sides: Mapping[int, Sides]
    needs: tuple[int, ...]


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


def sort_area(area: Area) -> SortedArea:
    """Return a channel's overwrites sorted by right: takes time in proportion to how many there are."""
    return sort_overwrites(
        ((key, it.allow, it.deny) for key, it in area.roles.items()),
        ((key, it.allow, it.deny) for key, it in area.members.items()),
        area.needs,
    )


def sort_overwrites(
    roles: Iterable[tuple[int, int, int]], members: Iterable[tuple[int, int, int]], needs: int
) -> SortedArea:
    """Return overwrites, each as (id, allowed bits, denied bits), sorted by right."""
    by_role, by_member = _by_right(roles), _by_right(members)
    return SortedArea(
        sides={
            right: Sides(
                given_roles=frozenset(by_role[0][right]),
                taken_roles=frozenset(by_role[1][right]),
                given_members=frozenset(by_member[0][right]),
                taken_members=frozenset(by_member[1][right]),
            )
            for right in _COUNTED
        },
        needs=tuple(right for right in _COUNTED if needs & right),
    )


def shared(server: Server, seen: Area, others: Mapping[int, Area]) -> frozenset[int]:
    """Return those of the other channels, by id, whose history everybody who sees the one channel can read."""
    return shared_sorted(server, sort_area(seen), {key: sort_area(other) for key, other in others.items()})


def shared_sorted(server: Server, seen: SortedArea, others: Mapping[int, SortedArea]) -> frozenset[int]:
    """Do what `shared` does with channels that are sorted already.

    Two roles at most are enough to find somebody who cannot: one that lets them see the first channel, one that takes
    a right away in the second. Any further role could only open the second one or close the first. Each right is
    looked at by itself, so that a channel takes a few operations on sets, and no walk over pairs of roles and members.
    """
    if server.roles.get(server.everyone, 0) & ADMINISTRATOR:
        return frozenset(others)
    viewers = _Viewers(server, seen.sides[VIEW])
    return frozenset(
        key for key, other in others.items() if not any(viewers.one_lacks(other.sides[it], it) for it in other.needs)
    )


def is_seen(server: Server, area: SortedArea, roles: frozenset[int], member: int) -> bool:
    """Say whether somebody with these roles (everyone's comes on top) can see a channel that is sorted."""
    bits = server.roles.get(server.everyone, 0)
    for role in roles:
        bits |= server.roles.get(role, 0)
    sides = area.sides[VIEW]
    if bits & ADMINISTRATOR or member == server.owner or member in sides.given_members:
        return True
    if member in sides.taken_members:
        return False
    held = roles - {server.everyone}
    if not held.isdisjoint(sides.given_roles):
        return True
    if not held.isdisjoint(sides.taken_roles):
        return False
    return _common_right(bits, sides, server.everyone, VIEW) is True


class _Viewers:
    """Everybody who could see one channel. Roles with Administrator are left out: whoever has one may read it all."""

    def __init__(self, server: Server, sides: Sides) -> None:
        everyone = server.everyone
        self._server = server
        self._common = server.roles.get(everyone, 0)
        plain = {role for role, bits in server.roles.items() if role != everyone and not bits & ADMINISTRATOR}
        self._plain = plain
        self._holders = {right: frozenset(r for r in plain if server.roles[r] & right) for right in _COUNTED}
        self._opening = plain & sides.given_roles
        self._closing = sides.taken_roles
        # Whether @everyone sees it (True), nobody does but by an opening role (False), or holders of the right (None).
        self._open = _common_right(self._common, sides, everyone, VIEW)
        # Roles that show it by the right they hold on the server, where the channel leaves it at that.
        holding = self._holders[VIEW] - self._closing - self._opening if self._open is None else frozenset()
        self._showing = self._opening | holding
        self._always = sides.given_members - {server.owner}
        self._never = sides.taken_members | {server.owner}
        self._someone = self._open is True or bool(self._showing)

    def one_lacks(self, sides: Sides, right: int) -> bool:
        """Say whether somebody who sees the channel could lack a right in another one."""
        taking = (sides.taken_roles & self._plain) if sides.taken_roles else frozenset()
        common = _common_right(self._common, sides, self._server.everyone, right)
        if self._by_roles(sides, right, taking, common=common):
            return True
        # People with an overwrite of their own in the other channel, in this one, or in both.
        kept_out = sides.taken_members - self._never if sides.taken_members else frozenset()
        if kept_out and (self._someone or not kept_out.isdisjoint(self._always)):
            return True
        can_lack = common is not True or bool(taking)
        return can_lack and not self._always <= sides.given_members

    def _by_roles(self, sides: Sides, right: int, taking: frozenset[int], *, common: bool | None) -> bool:
        """Say so of people without an overwrite of their own."""
        if common is True and not taking:
            return False
        # Whom @everyone's rights show the channel, with one role at most that takes the right away.
        if self._open is True and (common is not True or not taking <= self._closing):
            return True
        showing = self._showing - sides.given_roles
        if not showing:
            return False
        if common is False or (common is None and not showing <= self._holders[right]):
            return True
        # Each role that shows the channel brings the right along, so another one has to take it: beside an opening
        # role any may, beside one that only holds the right to see none that closes the channel.
        if not taking:
            return False
        return not showing.isdisjoint(self._opening) or not taking <= self._closing


def _common_right(bits: int, sides: Sides, everyone: int, right: int) -> bool | None:
    """Say whether @everyone has a right in a channel: True, False, or None when those roles do that hold it."""
    if everyone in sides.given_roles:
        return True
    if everyone in sides.taken_roles:
        return False
    return True if bits & right else None


def _by_right(overwrites: Iterable[tuple[int, int, int]]) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    """Return whom overwrites give each right that counts here, and from whom they take it."""
    given: dict[int, list[int]] = {right: [] for right in _COUNTED}
    taken: dict[int, list[int]] = {right: [] for right in _COUNTED}
    for key, allow, deny in overwrites:
        if (allow | deny) & _ANY:
            for right in _COUNTED:
                if allow & right:
                    given[right].append(key)
                elif deny & right:
                    taken[right].append(key)
    return given, taken
