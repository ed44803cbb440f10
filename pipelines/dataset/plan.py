"""What a data set is to be: everything that has a say in its bytes."""

from dataclasses import asdict, dataclass
from typing import Any

from pipelines.balance import DEFAULT_CAP
from pipelines.dataset.secrets import DEFAULT_REGIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparePlan:
    """The settings of `prepare`.

    Attributes:
        persona_name: what the persona is called in the prompts.
        server: what its server is called; "" takes the name of the server that a channel belongs to.
        tokens: most tokens of a prompt and its reply together.
        window: most messages in a prompt, as the running bot has it.
        cap: the largest share of one person.
        seed: draws who is taken where there is too much.
        most: so many examples at most; 0 is no limit.
        copies: of near-verbatim copies, so many are learned.
        short_copies: the same for what is too short to be anybody's own words.
        own_only: take nothing that came through Discord's API.
        regions: where phone numbers are known without a country code.
    """

    persona_name: str = "Persona"
    server: str = ""
    tokens: int = 2048
    window: int = 30
    cap: float = DEFAULT_CAP
    seed: int = 7
    most: int = 0
    copies: int = 3
    short_copies: int = 100
    own_only: bool = False
    regions: tuple[str, ...] = DEFAULT_REGIONS

    def as_json(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        return {**asdict(self), "regions": list(self.regions)}
