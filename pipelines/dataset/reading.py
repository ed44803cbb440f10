"""Step 1: from the database to conversations, consent and cleaning applied to every message on the way."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from persona.adapters.sqlite.snapshot import Snapshot, Stored
from persona.domain.chat import AuthorId, Channel, ChannelId, GuildId, MessageId
from pipelines.dataset.cleaning import Cleaner
from pipelines.dataset.conversations import Talk
from pipelines.dataset.gaps import GapLearner
from pipelines.dataset.gate import Gate, Origin, require_permission
from pipelines.dataset.plan import PreparePlan
from pipelines.dataset.secrets import SecretFinder
from pipelines.dataset.shelf import dump
from pipelines.dataset.withheld import Withheld
from pipelines.run import LineageCollector, RunFolder, now

CONVERSATIONS = "conversations.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Reads one database into one run."""

    database: Path
    run: RunFolder
    plan: PreparePlan

    def read(self) -> Mapping[str, Any]:
        """Write the conversations of all allowed channels; return counts, gaps, and a hash of what was read.

        Raises:
            ConfigError: content came through the API, and no permission to train on it is recorded.
            StoreError: the database cannot be read.
        """
        with Snapshot(self.database) as snapshot:
            read_at = now()
            gate = Gate(snapshot.entries())
            if not self.plan.own_only:
                origins = [
                    Origin(guild_id=key, guild_name=name, messages=number)
                    for key, name, number in snapshot.through_api()
                ]
                require_permission(gate, origins)
            self._claim(snapshot, read_at)
            return {**self._conversations(snapshot, gate), "read_at": read_at.isoformat()}

    def _claim(self, snapshot: Snapshot, read_at: Any) -> None:
        """Write the lineage of everything that may come in, before the first word does; it is narrowed down later."""
        collector = LineageCollector(snapshot.lineage_key())
        for channel in snapshot.channels():
            for message_id, author_id in snapshot.written(channel.id):
                collector.add(message_id, author_id)
        self.run.write_lineage(collector.encode(read_at))

    def _conversations(self, snapshot: Snapshot, gate: Gate) -> Mapping[str, Any]:
        secrets = SecretFinder(self.plan.regions)
        counts: dict[str, Counter[str]] = {name: Counter() for name in ("dropped", "secrets", "numbers")}
        digest = hashlib.sha256()
        gaps: dict[str, float] = {}
        channels = snapshot.channels()
        withheld = self._withheld(snapshot, gate, channels)
        with (self.run.work / CONVERSATIONS).open("w", encoding="utf-8") as stream:
            for channel in channels:
                gaps[str(channel.id)] = gap = GapLearner().extend(snapshot.times(channel.id)).gap_seconds()
                digest.update(f"{channel.id} {channel.guild_id} {channel.name}\n".encode())
                talk = self._talk(snapshot, self._cleaner(gate, secrets, channel, withheld), channel, gap, counts)
                stored = _hashed(snapshot, channel, digest, counts["numbers"])
                for conversation in talk.conversations(stored):
                    counts["numbers"]["conversations"] += 1
                    counts["numbers"]["kept"] += len(conversation.lines)
                    stream.write(dump(conversation) + "\n")
        return {
            "input_sha256": digest.hexdigest(),
            "consent_sha256": consent_sha256(snapshot),
            "channels": [_described(channel) for channel in channels],
            "gaps": gaps,
            "permissions": [f"{entry.at.isoformat()} {entry.note}" for entry in gate.basis()],
            "own_exports": dict(snapshot.own_exports()),
            **{name: dict(sorted(counter.items())) for name, counter in counts.items()},
        }

    def _withheld(self, snapshot: Snapshot, gate: Gate, channels: Sequence[Channel]) -> Withheld:
        """Return the words of people who are not admitted: others may have quoted them."""
        withheld = Withheld()
        for channel in channels:
            for stored in snapshot.messages(channel.id):
                message = stored.message
                by_person = stored.answers is None and message.is_talk and not message.author.is_bot
                if by_person and not self._admits(gate, message.author.id, channel.guild_id, own=stored.own):
                    withheld.add(message.content)
        withheld.seal()
        return withheld

    def _cleaner(self, gate: Gate, secrets: SecretFinder, channel: Channel, withheld: Withheld) -> Cleaner:
        guild = channel.guild_id
        return Cleaner(
            secrets,
            admits=lambda author, own: self._admits(gate, author, guild, own=own),
            may_name=partial(self._may_name, gate, guild),
            repeats=withheld.carried,
        )

    def _talk(
        self, snapshot: Snapshot, cleaner: Cleaner, channel: Channel, gap: float, counts: Mapping[str, Counter[str]]
    ) -> Talk:
        def find(message_id: MessageId) -> Stored | None:
            stored = snapshot.message(message_id)
            # What was said elsewhere is another audience's business.
            return stored if stored is not None and stored.message.channel_id == channel.id else None

        return Talk(
            gap_seconds=gap,
            clean=cleaner.clean,
            find=find,
            dropped=lambda reason: counts["dropped"].update([str(reason)]),
            secrets=lambda kind: counts["secrets"].update([str(kind)]),
        )

    def _admits(self, gate: Gate, author: AuthorId, guild: GuildId, *, own: bool) -> bool:
        return gate.admits(author, guild, own=own) and (own or not self.plan.own_only)

    def _may_name(self, gate: Gate, guild: GuildId, author: AuthorId) -> bool:
        """Whether a person may be named where others mention them: as if they had exported something themselves."""
        return gate.admits(author, guild, own=not gate.permits(guild))


def consent_sha256(snapshot: Snapshot) -> str:
    """Return a hash of everything that people and the owner have said about consent."""
    said = [repr(entry) for entry in snapshot.entries()] + sorted(snapshot.own_exports())
    return hashlib.sha256("\n".join(said).encode("utf-8", "replace")).hexdigest()


def _hashed(snapshot: Snapshot, channel: Channel, digest: Any, numbers: Counter[str]) -> Any:
    """Yield the messages of a channel; hash and count them on the way."""
    for stored in snapshot.messages(channel.id):
        message = stored.message
        reactions = sorted(stored.reactions.items())
        digest.update(
            f"{message.id}\0{message.author.id}\0{message.author.display_name}\0{message.kind}\0{message.content}\0"
            f"{message.reply_to}\0{message.mentions}\0{message.attachments}\0{reactions}\0{stored.own}\n".encode(
                "utf-8", "replace"
            )
        )
        numbers["read"] += 1
        yield stored


def _described(channel: Channel) -> dict[str, Any]:
    return {
        "id": channel.id,
        "guild_id": channel.guild_id,
        "name": channel.name,
        "server": channel.guild_name,
        "parent_id": channel.parent_id,
    }


def channel_names(channels: Any) -> dict[ChannelId, str]:
    """Return the names of the channels that the first step described."""
    return {ChannelId(channel["id"]): str(channel["name"]) for channel in channels}
