"""The steps of `prepare`, one after the other: read, choose, write, report; each is done once for a run."""

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from persona.adapters.sqlite.snapshot import Snapshot
from persona.domain.chat import AuthorId, ChannelId
from persona.domain.lineage import LineageKey
from persona.errors import PersonaError
from pipelines.dataset.choosing import Candidates, Chosen
from pipelines.dataset.figures import figures_of
from pipelines.dataset.plan import PreparePlan
from pipelines.dataset.reading import CONVERSATIONS, Reader, consent_sha256
from pipelines.dataset.rendering import ExampleRenderer, Place
from pipelines.dataset.shelf import read_shelf
from pipelines.dataset.tokens import Tokens, hash_of_prompts
from pipelines.dataset.writing import Writer, tally_json
from pipelines.report import Figures, page
from pipelines.run import RunFolder
from pipelines.train.files import flush_folder, write_json, write_text

REPORT_FILE = "report.html"
TIMINGS_FILE = "timings.json"

_WRITTEN = ("sft", "kto", "meta", "preferences")
_TRIES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What came of it."""

    folder: Path
    figures: Figures
    manifest: Mapping[str, Any]


class Watcher:
    """Learns how far it is; this one does nothing."""

    def step(self, name: str, total: int) -> None:
        """A step begins; `total` is how much it has to go through, 0 when nobody knows."""

    def at(self, number: int) -> None:
        """So much of the step is done."""


class Preparer:
    """Makes a data set out of a database, in a run folder that goes on where it was interrupted."""

    def __init__(
        self, *, database: Path, folder: Path, plan: PreparePlan, tokens: Tokens, watcher: Watcher | None = None
    ) -> None:
        self._database = database
        self._plan = plan
        self._tokens = tokens
        self._watcher = watcher or Watcher()
        self._prompt_hash = hash_of_prompts(tokens)
        self._seconds: dict[str, float] = {}
        config = {**plan.as_json(), "tokenizer_sha256": tokens.sha256, "prompt_hash": self._prompt_hash}
        self.run = RunFolder(folder, config)

    def prepare(self, *, fresh: bool = False) -> Prepared:
        """Do what is left to do; return the figures.

        Raises:
            ConfigError: consent does not allow it, or a library is missing.
            PersonaError: the database cannot be read, or nothing in it can be learned.
        """
        with Snapshot(self._database) as snapshot:
            key, consent = snapshot.lineage_key(), consent_sha256(snapshot)
        self.run.open(fresh=fresh)
        self._check_consent(consent)
        read = self._stage("read", Reader(database=self._database, run=self.run, plan=self._plan).read)
        candidates = Candidates(self.run.work, self._plan)
        shelf = self.run.work / CONVERSATIONS
        chosen = self._stage("candidates", lambda: candidates.write(shelf, self._tokens, key))
        if not chosen["candidates"]:
            self.run.begin_anew()
            raise PersonaError(
                f"nothing can be learned: {_why(read, chosen)}", cure="python -m persona consent list shows who agreed"
            )
        written = self._stage("write", lambda: self._write(key, read, candidates, shelf))
        return self._finish(read, chosen, written)

    def _check_consent(self, consent: str) -> None:
        """Read again what was read under another consent.

        Raises:
            PersonaError: the run is finished, so that words may be in it that should not be.
        """
        read = self.run.done("read")
        if read is None or read["consent_sha256"] == consent:
            return
        if self.run.done("write") is not None:
            raise PersonaError(
                f"somebody changed their mind since {self.run.path} was made",
                cure="make it anew: the same with --fresh",
            )
        self.run.begin_anew()

    def _stage(self, name: str, do: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
        began = time.monotonic()
        self._watcher.step(name, 0)
        told, now = self.run.stage(name, do)
        if now:
            self._seconds[name] = round(time.monotonic() - began, 2)
        return told

    def _write(
        self, key: LineageKey, read: Mapping[str, Any], candidates: Candidates, shelf: Path
    ) -> Mapping[str, Any]:
        """Choose and render; begin again without what turned out not to fit."""
        left_out: set[str] = set()
        renderer = ExampleRenderer(
            tokens=self._tokens,
            key=key,
            persona_name=self._plan.persona_name,
            budget=self._plan.tokens,
            window=self._plan.window,
        )
        for _ in range(_TRIES):
            chosen = candidates.choose(left_out)
            writer = Writer(
                renderer=renderer,
                chosen=chosen,
                places=self._places(read),
                key=key,
                work=self.run.work,
                seed=self._plan.seed,
            )
            for name in _WRITTEN:
                shutil.rmtree(self.run.path / name, ignore_errors=True)
            self._watcher.step("write", read["numbers"]["conversations"])
            rows = candidates.rows(chosen.copied, left_out)
            tally, lineage, files, misfits = writer.write(self.run.path, read_shelf(shelf), rows, self._watcher.at)
            if not misfits:
                break
            left_out.update(misfits)
        else:
            raise PersonaError("replies that do not fit the token budget keep turning up", cure="raise --tokens")
        for name in _WRITTEN:
            flush_folder(self.run.path / name)
        self.run.write_lineage(lineage.encode(datetime.fromisoformat(read["read_at"])))
        return {
            **tally_json(tally),
            "files": [str(file.relative_to(self.run.path)) for file in files],
            "copies": chosen.copies_dropped,
            "misfits": len(left_out),
            "balance": _balance_json(chosen, tally.names),
        }

    def _places(self, read: Mapping[str, Any]) -> Mapping[ChannelId, Place]:
        names: dict[int, dict[ChannelId, str]] = {}
        for channel in read["channels"]:
            names.setdefault(channel["guild_id"], {})[ChannelId(channel["id"])] = channel["name"]
        return {
            ChannelId(channel["id"]): Place(
                channel_name=channel["name"],
                server=self._plan.server or channel["server"] or "this server",
                channel_names=names[channel["guild_id"]],
            )
            for channel in read["channels"]
        }

    def _finish(self, read: Mapping[str, Any], chosen: Mapping[str, Any], written: Mapping[str, Any]) -> Prepared:
        figures = figures_of(
            title=f"Data set {self.run.path.name}", plan=self._plan, read=read, chosen=chosen, written=written
        )
        write_text(self.run.path / REPORT_FILE, page(figures))
        outputs = [self.run.path / name for name in written["files"]] + [self.run.path / REPORT_FILE]
        manifest = {
            "inputs": {
                "messages": {"sha256": read["input_sha256"], "count": read["numbers"].get("read", 0)},
                "tokenizer": {"sha256": self._tokens.sha256, "name": self._tokens.name},
            },
            "prompt_hash": self._prompt_hash,
            "persona_name": self._plan.persona_name,
            "server": self._plan.server,
            "seed": self._plan.seed,
            "permissions": read["permissions"],
            "own_exports": read["own_exports"],
            "counts": {
                "read": read["numbers"],
                "dropped": read["dropped"],
                "secrets": read["secrets"],
                "candidates": chosen,
                "copies": written["copies"],
                "misfits": written["misfits"],
                "splits": written["splits"],
                "preferences": written["preferences"],
                "balance": {
                    split: {key: told[key] for key in ("available", "taken", "effective_cap", "reason")}
                    for split, told in written["balance"].items()
                },
            },
            "lineage": {"file": "lineage.bin"},
        }
        self.run.write_manifest(manifest, outputs)
        if self._seconds:
            write_json(self.run.path / TIMINGS_FILE, self._seconds)
        shutil.rmtree(self.run.work, ignore_errors=True)
        return Prepared(folder=self.run.path, figures=figures, manifest=manifest)


def _balance_json(chosen: Chosen, names: Mapping[int, str]) -> dict[str, Any]:
    return {
        str(split): {
            "available": sum(chosen.available[split].values()),
            "taken": quotas.total,
            "effective_cap": quotas.effective_cap,
            "reason": quotas.reason,
            "authors": _shares(chosen.available[split], quotas.counts, names),
        }
        for split, quotas in chosen.quotas.items()
    }


def _shares(
    available: Mapping[AuthorId, int], taken: Mapping[AuthorId, int], names: Mapping[int, str]
) -> list[list[Any]]:
    return [[names.get(author, "someone"), available[author], taken.get(author, 0)] for author in sorted(available)]


def _why(read: Mapping[str, Any], chosen: Mapping[str, Any]) -> str:
    """Return the most frequent reasons in one line."""
    reasons = {**read["dropped"], **chosen["unfit"]}
    ordered = sorted(reasons.items(), key=lambda item: -item[1])[:3]
    return "; ".join(f"{reason} ({count:,})" for reason, count in ordered) or "no messages in allowed channels"
