"""Makes up the history of the night kitchen: some weeks of evenings, with running jokes, as JSON lines."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from persona.domain.chat import snowflake_at
from pipelines.demo.words import WORDS

REGULARS = ("ben", "mia", "cleo", "dr_noodle", "Tomasz", "lin", "old greg", "Pip")
_IDS = {name: 9_000_000_000_000_001 + number for number, name in enumerate(REGULARS)}
_CHANNELS = {"kitchen": 800_000_000_000_000_001, "late-games": 800_000_000_000_000_002}
_FIRST_EVENING = datetime(2026, 3, 1, 21, tzinfo=UTC)

_SCENES: dict[str, tuple[tuple[str, ...], ...]] = {
    "kitchen": (
        ("gerald went off again, nothing in him", "he is getting stronger", "unplug him", "he WAS unplugged"),
        ("made {x} soup tonight", "with garlic?", "so much garlic", "good", "soup is a drink btw"),
        ("who left a {x} in the fridge", "not me", "it was ben", "i needed it cold, don't ask"),
        (
            "pancake night is friday, who brings syrup",
            "me",
            "you said that last time",
            "and i brought {x} instead, so?",
        ),
        ("is {x} a vegetable", "spiritually", "it goes in the soup either way"),
        ("burned my toast on level two", "gerald picks the level, not you", "respect the toaster"),
        ("the secret of the ramen is {x}", "that is illegal", "try it once and say that again"),
        ("dishes are piling up", "loser of tetris does them", "so ben", "so ben"),
        ("new ladle arrived, it is {x} colored", "pics", "it is beautiful", "it is too big for the pot"),
        ("can't sleep", "soup?", "soup", "ten minutes, don't touch the toaster"),
    ),
    "late-games": (
        ("chess anyone", "only if no bongcloud", "no promises", "i hate you ben"),
        ("new high score in tetris: {n}", "screenshot or it did not happen", "gerald is my witness"),
        ("found a {x} in the cave level", "keep it, the boss drops another", "the boss ate my {y}"),
        ("building a {x} farm in minecraft", "potatoes are better", "you and your potatoes"),
        ("board games on sunday?", "if nobody flips the table", "that was one time", "it was four times"),
        ("this puzzle with the {x} and the {y} makes no sense", "have you tried the {y} first", "oh. thanks"),
    ),
}


def write_history(path: Path, seed: int, evenings: int = 40) -> int:
    """Write the history, the same for the same seed; return how many messages it has."""
    rng = Random(seed)
    rows: list[dict[str, object]] = []
    for evening in range(evenings):
        moment = _FIRST_EVENING + timedelta(days=evening, minutes=rng.randrange(120))
        for _ in range(rng.randrange(1, 4)):
            channel = rng.choice(list(_SCENES))
            moment = _play(rng, rng.choice(_SCENES[channel]), channel, moment, rows)
            moment += timedelta(minutes=rng.randrange(8, 50))
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return len(rows)


def old_line(rng: Random) -> str:
    """Return a line such as stands in the history, for practice in reading old messages."""
    line = rng.choice(rng.choice(_SCENES[rng.choice(list(_SCENES))]))
    return line.format(x=rng.choice(WORDS), y=rng.choice(WORDS), n=rng.randrange(20_000, 90_000))


def _play(
    rng: Random, scene: tuple[str, ...], channel: str, moment: datetime, rows: list[dict[str, object]]
) -> datetime:
    """Add one scene, each line by somebody else than the one before; return when it ended."""
    slots = {"x": rng.choice(WORDS), "y": rng.choice(WORDS), "n": str(rng.randrange(20_000, 90_000))}
    people = rng.sample(REGULARS, 3)
    previous: str | None = None
    for number, line in enumerate(scene):
        moment += timedelta(seconds=rng.randrange(8, 70))
        who = people[number % len(people)]
        message_id = str(snowflake_at(moment, len(rows)))
        rows.append(
            {
                "id": message_id,
                "channel_id": str(_CHANNELS[channel]),
                "channel_name": channel,
                "author_id": str(_IDS[who]),
                "author_name": who,
                "bot": who == "Pip",
                "content": line.format(**slots),
                "timestamp": moment.isoformat(),
                "reply_to": previous if rng.random() < 0.4 else None,
                "reactions": [{"emoji": rng.choice("😂🍜👻❤"), "count": rng.randrange(1, 5)}]
                if rng.random() < 0.15
                else [],
            }
        )
        previous = message_id
    return moment
