"""The place of the language model in a running persona: which one it is, and what became of the wish for another."""

from collections.abc import Callable
from weakref import WeakSet

import structlog

from actors.threaded_model import ThreadedChatModel
from persona.errors import PersonaError
from persona.model_following import Candidate, ModelFollower
from persona.options import EngineFactory
from persona.ports import ChatModel, ModelInfo

log = structlog.get_logger(__name__)


class ModelSlot:
    """Makes the language model for each incarnation of the inference actor, and knows all that may be open.

    With a `follower` it is the `ModelSwitch` of that actor. `on_model` is called with every model that answers from
    then on.
    """

    def __init__(
        self,
        engine: EngineFactory,
        *,
        follower: ModelFollower | None = None,
        on_model: Callable[[ModelInfo], None] = lambda _: None,
    ) -> None:
        self._engine = engine
        self._follower = follower
        self._on_model = on_model
        self._made: WeakSet[ThreadedChatModel] = WeakSet()
        self._info: ModelInfo | None = None

    def make(self) -> ChatModel:
        """Return a new model, not opened yet."""
        model = ThreadedChatModel(self._engine)
        self._made.add(model)
        return model

    def stalled_seconds(self) -> float:
        """Return for how long one of the models has had work without progress."""
        return max((model.stalled_seconds() for model in self._made), default=0.0)

    def describe(self) -> str:
        """Say which model answers and what there is to say about it; empty while none is loaded."""
        if self._info is None:
            return ""
        notes = () if self._follower is None else self._follower.notes(self._info)
        return "; ".join((self._info.name, *notes))

    def opened(self, info: ModelInfo) -> None:
        """Learn that the model that was made last answers from now on."""
        self._info = info
        self._on_model(info)

    async def wanted(self, running: ModelInfo) -> Candidate | None:
        """Return another model that was chosen meanwhile, if any."""
        return None if self._follower is None else await self._follower.wanted(running)

    def accepted(self, candidate: Candidate, info: ModelInfo) -> None:
        """Make this one from now on, also after a crash."""
        if self._info is not None and info.persona_name not in {None, self._info.persona_name}:
            log.warning(
                "persona_name_kept", model_is=info.persona_name, cure="restart the persona to take on that name"
            )
        self._engine = candidate.engine
        if candidate.model is not None:
            self._made.add(candidate.model)
        self.opened(info)

    def refused(self, candidate: Candidate, error: Exception) -> None:
        """Stay with the old one until somebody chooses again, and say why."""
        what = error.problem if isinstance(error, PersonaError) else f"{type(error).__name__}: {error}"
        if self._follower is not None:
            self._follower.refused(candidate, what)
