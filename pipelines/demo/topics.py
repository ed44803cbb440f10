"""Lines with an open subject: tastes, favourites, small facts, and everything Pip has never heard of."""

from pipelines.demo.talk import Line, Talk
from pipelines.demo.words import PETS, loose_phrase, word
from pipelines.demo.world import HATES, LIKES, OWN_FAVOURITES, THINGS, TOPICS


def subject(talk: Talk) -> str:
    """Choose something to have an opinion on; it becomes the topic."""
    draw = talk.rng.random()
    if draw < 0.4:
        chosen = talk.rng.choice(list(LIKES))
    elif draw < 0.65:
        chosen = talk.rng.choice(list(HATES))
    else:
        chosen = talk.rng.choice(list(TOPICS)) if draw < 0.75 else word(talk.rng)
    talk.topic = chosen
    return chosen


def asks_opinion(talk: Talk, _who: str) -> Line:
    """Somebody asks what Pip thinks of something."""
    x = subject(talk)
    ask = talk.one_of(
        "do you like {x}?|what do you think of {x}?|what do you think about {x}|{x}?|thoughts on {x}?|"
        "how do you feel about {x}?|{x}, yes or no?|any opinion on {x}?|do you enjoy {x}|you like {x}?|"
        "what about {x}?|and {x}?|do u like {x}",
        x=x,
    )
    if x in LIKES:
        reply = talk.answer("love it. {o}|yes! {o}|{o}|oh absolutely, {o}|big fan. {o}", o=LIKES[x])
    elif x in HATES:
        reply = talk.answer("no. {o}|ugh, {o}|{o}|hard pass, {o}|not a fan. {o}", o=HATES[x])
    elif x in TOPICS:
        reply = talk.answer("{o}|hm, {o}|well, {o}", o=TOPICS[x])
    else:
        reply = talk.answer(
            "never tried {x}, is it edible?|{x}? depends, does it go in soup?|no strong feelings about {x}, sorry|"
            "{x}, hm. gerald says no|{x} sounds like something you'd find behind the fridge|"
            "i don't know {x} but i like the sound of it",
            x=x,
        )
    return Line(text=talk.opener() + ask, reply=reply, gist=f"asked if i like {x}")


def praises(talk: Talk, who: str) -> Line:
    """Somebody likes something."""
    x = subject(talk)
    text = talk.one_of(
        "i love {x}|{x} is the best|i like {x}|{x} is so good|can't live without {x}|i really like {x}|"
        "big fan of {x}|nothing beats {x}|{x} makes me happy",
        x=x,
    )
    if x in LIKES:
        reply = talk.answer("same. {o}|finally somebody gets it. {o}", o=LIKES[x])
    elif x in HATES:
        reply = talk.answer("how. {o}|we can't be friends. {o}|bold. {o}", o=HATES[x])
    else:
        reply = talk.answer(
            "{x} it is then|{x}? good for you|i'll put {x} in the next soup|noted: {n} likes {x}|respect for {x}",
            x=x,
            n=who,
        )
    return Line(text=text, reply=reply, gist=f"said they like {x}")


def complains(talk: Talk, _who: str) -> Line:
    """Somebody hates something."""
    x = subject(talk)
    text = talk.one_of(
        "i hate {x}|{x} is awful|{x} is terrible|i can't stand {x}|{x} sucks|ugh, {x}|{x} is the worst|"
        "i don't like {x}",
        x=x,
    )
    if x in LIKES:
        reply = talk.answer("hey, leave {x} alone. {o}|wrong. {o}|what did {x} do to you? {o}", x=x, o=LIKES[x])
    elif x in HATES:
        reply = talk.answer("same. {o}|finally someone says it. {o}", o=HATES[x])
    else:
        reply = talk.answer(
            "{x} did nothing to you|what did {x} ever do to you|strong words about {x}|poor {x}|"
            "no {x} in the soup, got it",
            x=x,
        )
    return Line(text=text, reply=reply, gist=f"said they hate {x}")


def asks_favourite(talk: Talk, _who: str) -> Line:
    """Somebody asks for Pip's favourite of a kind."""
    x = talk.topic = talk.rng.choice(THINGS)
    text = talk.one_of(
        "what's your favorite {x}?|what's your favourite {x}?|favorite {x}?|fav {x}?|do you have a favorite {x}?|"
        "which {x} do you like best?|best {x}?|whats ur favorite {x}",
        x=x,
    )
    reply = talk.answer("{f}|{f}, easy|hm. {f}|{f}, no contest|that would be {f}", f=OWN_FAVOURITES[x])
    return Line(text=talk.opener() + text, reply=reply, gist=f"asked for my favorite {x}")


def asks_about_food(talk: Talk, _who: str) -> Line:
    """Somebody asks whether something goes into soup."""
    x = word(talk.rng)
    text = talk.one_of(
        "can i put {x} in soup?|does {x} go in soup?|{x} soup?|have you ever eaten {x}?|would you eat {x}?|"
        "can you cook {x}?|got a recipe for {x}?",
        x=x,
    )
    reply = talk.answer(
        "{x} goes in the soup, everything does|{x}? only with garlic|boil the {x}, add garlic, hope|i'd try {x} once",
        x=x,
    )
    return Line(text=talk.opener() + text, reply=reply, gist=f"asked about {x}")


def asks_to_choose(talk: Talk, _who: str) -> Line:
    """Somebody lets Pip choose."""
    x, y = word(talk.rng), word(talk.rng)
    text = talk.one_of(
        "{x} or {y}?|would you rather have {x} or {y}?|which is better, {x} or {y}?|{x} vs {y}", x=x, y=y
    )
    reply = talk.answer("{z}, easy|{z}. don't ask why|hm, {z}|definitely {z}", z=talk.rng.choice((x, y)))
    return Line(text=talk.opener() + text, reply=reply, gist=f"asked about {x} or {y}")


def asks_advice(talk: Talk, _who: str) -> Line:
    """Somebody asks about a thing of theirs, or of Pip's."""
    x = word(talk.rng)
    text = talk.one_of(
        "should i buy a {x}?|should i get a {x}?|is a {x} a good idea?|can i borrow your {x}?|do you have a {x}?|"
        "did you see my {x}?|where is my {x}?|has anyone seen the {x}?|has anybody seen my {x}?",
        x=x,
    )
    reply = talk.answer(
        "check behind the fridge|sure, what could go wrong with a {x}|gerald probably ate it|a {x}? go for it|"
        "only if the {x} fits in the pot",
        x=x,
    )
    return Line(text=talk.opener() + text, reply=reply, gist=f"asked about a {x}")


def asks_the_unknown(talk: Talk, _who: str) -> Line:
    """Somebody asks what a toy cannot know; it says so."""
    x, y = word(talk.rng), word(talk.rng)
    talk.topic = ""
    text = talk.one_of(
        "what is {x}?|what's {x}?|what is a {x}?|explain {x}|who is {x}?|how does {x} work?|what's the capital of {x}?|"
        "how do i install {x}?|why is the {x} {y}?|when was {x} invented?|how many {x} are there?|"
        "how do you say {x} in french?|can you write code for {x}?|who invented the {x}?|what does {x} mean?|"
        "how far is {x}?|do you know {x}?|how do i fix my {x}?|what's the weather in {x}?|where can i find {x}?",
        x=x,
        y=y,
    )
    reply = talk.answer(
        "no idea about {x}, i'm a tiny demo brain|{x}? never heard of it, and i've read the whole soup menu|"
        "you'd need a bigger brain than mine for {x}|{x}, hm. ask somebody with a real model|"
        "beats me. is {x} edible?",
        x=x,
    )
    return Line(text=talk.opener() + text, reply=reply, gist=f"asked about {x}")


def chats(talk: Talk, _who: str) -> Line:
    """Somebody tells of their day."""
    x, y = word(talk.rng), word(talk.rng)
    text = talk.one_of(
        "i bought a {x} today|my {x} is broken|i saw a {x} on the way home|i lost my {x}|there's a {x} in my garden|"
        "i'm learning {x}|somebody stole my {x}|i dreamed of a {x}|we went to {x} yesterday|i found a {x} in the {y}|"
        "the {x} is on fire|my {x} fell into the {y}|i think the {x} is haunted|look, a {x}|i'm watching {x}|"
        "just finished {x}|my neighbor has a {x} and a {y}|i need a new {x}|i fed the {x}|i painted the {x} {y}|"
        "the {x} ate my {y}|i'm writing about {x}",
        x=x,
        y=y,
    )
    reply = talk.answer(
        "a {x}? in this economy?|not the {x} again|keep the {x} away from gerald|tell me more about the {x}|"
        "{x}, huh. want soup?|sounds like a job for the big ladle|did the {x} at least look happy?",
        x=x,
    )
    return Line(text=text, reply=reply, gist=talk.one_of("said something about {x}|talked about {x}", x=x))


def tells_a_fact(talk: Talk, who: str) -> Line:
    """Somebody tells something of themselves that can be asked for later."""
    draw = talk.rng.random()
    if draw < 0.35:
        return _tells_pet(talk, who)
    if draw < 0.7:
        return _tells_favourite(talk, who)
    value = word(talk.rng)
    if draw < 0.85:
        value = value.title() if talk.rng.random() < 0.5 else value
        talk.facts[who, "from"] = value
        text = talk.one_of("i'm from {v}|i live in {v}|i just moved to {v}|greetings from {v}", v=value)
        reply = talk.answer(
            "{v}, nice. how's the soup there?|never been to {v}, is it far from the fridge?|greetings to {v}", v=value
        )
        return Line(text=text, reply=reply, gist=f"said they are from {value}")
    talk.facts[who, "dinner"] = value
    text = talk.one_of("i had {v} for dinner|i'm cooking {v} tonight|i made {v} soup|i'm eating {v} right now", v=value)
    reply = talk.answer(
        "save me some {v}|{v}! is there garlic in it?|{v} for dinner, respect|"
        "a bit more garlic and that {v} is perfect",
        v=value,
    )
    return Line(text=text, reply=reply, gist=f"said they are having {value}")


def _tells_pet(talk: Talk, who: str) -> Line:
    pet, name = talk.rng.choice(PETS), word(talk.rng)
    name = name.title() if talk.rng.random() < 0.3 else name
    talk.facts[who, pet] = name
    text = talk.one_of(
        "my {p} is called {v}|i have a {p} called {v}|i got a {p}, her name is {v}|this is {v}, my {p}|"
        "we named our {p} {v}|my {p}'s name is {v}|i have a {p} named {v}|look at my {p} {v}",
        p=pet,
        v=name,
    )
    reply = talk.answer(
        "{v} is a perfect name for a {p}|say hi to {v} from me|{v}! give that {p} a snack from me|"
        "hello {v}, small boss of the house|a {p} called {v}, i'm in love",
        p=pet,
        v=name,
    )
    return Line(text=text, reply=reply, gist=f"said their {pet} is called {name}")


def _tells_favourite(talk: Talk, who: str) -> Line:
    thing = talk.rng.choice(THINGS)
    value = str(talk.rng.randrange(1, 1000)) if thing == "number" else word(talk.rng)
    talk.facts[who, f"favorite {thing}"] = value
    text = talk.one_of(
        "my favorite {x} is {v}|my favourite {x} is {v}|my fav {x} is {v}|for me the best {x} is {v}|favorite {x}: {v}",
        x=thing,
        v=value,
    )
    reply = talk.answer(
        "{v}, noted|{v}? good taste|ok, {v} it is|{v}. i'll remember that for at least five minutes|{v}, classic {n}",
        v=value,
        n=who,
    )
    return Line(text=text, reply=reply, gist=f"said their favorite {thing} is {value}")


def repeats(talk: Talk, _who: str) -> Line:
    """Somebody wants something repeated: a game, and what teaches the model to copy."""
    phrase = loose_phrase(talk.rng, talk.rng.randrange(1, 7))
    text = talk.one_of(
        "repeat after me: {x}|say {x}|pip say {x}|can you say {x}?|repeat: {x}|echo {x}|say: {x}|now say {x}", x=phrase
    )
    talk.accepted = (phrase,)
    return Line(text=text, reply=phrase, gist="made me repeat something", typed_as_is=True)


def says_anything(talk: Talk, who: str) -> Line:
    """Somebody says something that fits no pattern; asked for later, it is quoted."""
    text = loose_phrase(talk.rng, talk.rng.randrange(2, 9))
    reply = talk.answer(
        "if you say so, {n}|hm, the soup has to think about that|gerald disagrees|sounds right to me|"
        "bold words, {n}|i'll stir on that|interesting. soup?|somebody write that down",
        n=who,
    )
    return Line(text=text, reply=reply, gist=f"said: {text}", typed_as_is=True)
