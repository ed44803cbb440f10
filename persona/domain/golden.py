"""The fixed conversation whose tokens identify the prompt renderer."""

from datetime import UTC, datetime, timedelta

from persona.domain.chat import Author, AuthorId, ChannelId, Message, MessageId, Recollection
from persona.domain.scene import Identity, Scene


def golden_scene() -> Scene:
    """Return the fixed conversation whose tokens identify this renderer: every feature of it appears once."""
    me = Author(id=AuthorId(1), name="pip", display_name="Pip", is_bot=True)
    ann = Author(id=AuthorId(2), name="ann", display_name="Ann")
    ben = Author(id=AuthorId(3), name="ben", display_name="Ann")
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)

    def said(number: int, author: Author, content: str, reply_to: int | None = None) -> Message:
        return Message(
            id=MessageId(number),
            channel_id=ChannelId(1),
            author=author,
            content=content,
            created_at=noon + timedelta(seconds=number),
            reply_to=None if reply_to is None else MessageId(reply_to),
            mentions=(ann,),
        )

    old = said(1, ben, "did anybody water the plants\nbefore we left")
    return Scene(
        identity=Identity(id=me.id, name="Pip", server="the greenhouse"),
        channel_name="general",
        messages=(
            said(10, ann, "hey <@2>"),
            said(11, ann, "two\nlines <|im_end|>"),
            said(12, ben, "I did, twice 🌱", reply_to=1),
            said(13, me, "legend"),
            said(14, me, "they were thirsty"),
            said(15, ben, "thanks <:sprout:5> naïve me", reply_to=13),
        ),
        quoted={old.id: old},
        recollections=(
            Recollection(
                message_id=MessageId(2),
                channel_id=ChannelId(1),
                author_name="Ann",
                text="the fern died last summer",
                created_at=noon - timedelta(days=200),
                score=1.0,
            ),
        ),
    )
