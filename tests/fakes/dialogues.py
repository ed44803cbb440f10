"""Made-up chat with a known answer: two groups of people, and the ways in which a model can fail to sound like them."""

import random
from dataclasses import replace

from pipelines.evaluation.samples import Sample

ATTIC = """lol yeah|brb|did anyone feed the cat|the cat is fine|i think so|nah|ok gonna cook|soup again?|soup is life|
who broke the oven|not me...|it was ben, obviously|haha ok|good night all|so tired today|the train was late again|
did you see the rain|tomorrow then|sure, why not|no idea tbh|that song is stuck in my head|turn it down pls|
ask cleo, she knows|wow|same here|the kettle is on|found my keys!|where were they|in the fridge lol|classic"""
OFFICE = """Good morning, everyone.|Please find the agenda attached.|The meeting has been moved to Thursday.|Thank you.|
I would like to confirm the budget.|Could you review the document?|Certainly, I will do so today.|Kind regards.|
The deadline is next Friday.|We have received your request.|Please let me know if there are questions.|Understood.|
The figures are correct.|I have updated the spreadsheet.|Let us discuss this on Monday.|It has been approved."""


def lines(text):
    return [line.strip() for line in text.split("|") if line.strip()]


def thing(chance):
    """Return a word for a thing; there are hundreds of thousands, so that hardly two people name the same."""
    return "".join(chance.choice("bdfgklmnprst") + chance.choice("aeiou") for _ in range(chance.choice((2, 3))))


def said(chance, phrases):
    """Return a reply of one to three messages, each made of one or two phrases, most of them about something."""
    burst = chance.choices((1, 2, 3), (6, 3, 1))[0]
    return tuple(
        " ".join(f"{phrase} {thing(chance)}" for phrase in chance.sample(phrases, chance.choices((1, 2), (3, 1))[0]))
        for _ in range(burst)
    )


def people(seed, *, phrases=ATTIC, conversations=60, replies=6):
    """Return what one group of people said, conversation by conversation."""
    chance, known = random.Random(seed), lines(phrases)
    return [
        Sample(
            context_id=f"{talk}.{number}",
            conversation_id=str(talk),
            context=(f"ann: {chance.choice(known)}",),
            messages=said(chance, known),
        )
        for talk in range(conversations)
        for number in range(replies)
    ]


def shuffled(samples, seed=0):
    """Return the samples with all their words in another order, among all of them."""
    chance = random.Random(seed)
    bag = [word for sample in samples for message in sample.messages for word in message.split()]
    chance.shuffle(bag)
    rest = iter(bag)
    return [
        replace(sample, messages=tuple(" ".join(next(rest) for _ in message.split()) for message in sample.messages))
        for sample in samples
    ]


def constant(samples, text="lol yeah"):
    """Return a reply that is always the same."""
    return [replace(sample, messages=(text,)) for sample in samples]
