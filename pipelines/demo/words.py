"""Names and words to talk about: common ones, and made-up ones, so that the model learns to copy what it never saw."""

from random import Random

FIRST_NAMES = (
    "alice bob carol dave erin frank grace heidi ivan judy ken lena mia noah olga paul quinn rosa sam tina uma vik "
    "wendy xena yara zoe ann ben cleo dan eva finn gus hana iris jon kai leo max nina otto pia rex sue tom ulf val "
    "will ada bea cem dora eli fay gil hugo ida jan kim lou moe nat owen pam rae sid tess uri vera wes yan anna "
    "emma liam lucas felix marta jonas lukas sarah david maria peter laura chris alex robin jamie taylor morgan "
    "casey riley jordan sascha mika toni andy ellie oscar ruby molly jack harry george charlie oliver amelia isla "
    "poppy freya jasper silas luna stella nova atlas river sky "
).split()

WORDS = (
    "apple anchor basket beetle blanket bottle bridge bucket button candle carrot castle circle cloud copper corner "
    "cricket crystal diamond dragon eagle ember engine falcon feather fiddle flower forest fossil garden ghost "
    "ginger glacier hammer harbor helmet honey island jacket jungle kettle kitten ladder lantern lemon lizard "
    "magnet maple marble meadow mirror monkey mountain muffin needle nickel ocean onion orange otter paddle panda "
    "paper pepper pickle pillow pirate planet pocket poodle pumpkin puzzle rabbit ribbon river robot rocket saddle "
    "sailor salmon shadow silver snail spider sponge squirrel sticker storm sugar summit sunset table temple "
    "thunder ticket tiger tomato tower tractor turtle umbrella velvet violin walnut whale window winter wizard "
    "yogurt zebra zipper biscuit waffle pretzel mango cobalt pixel quartz comet radish noodle pebble tulip domino "
    "banjo cactus "
).split()

PETS = (
    "cat",
    "dog",
    "hamster",
    "rabbit",
    "parrot",
    "snake",
    "turtle",
    "goldfish",
    "ferret",
    "gecko",
    "rat",
    "guinea pig",
    "frog",
    "spider",
    "hedgehog",
    "pony",
    "horse",
    "duck",
)

_ONSETS = "b c d f g h j k l m n p r s t v w z br ch cr dr fl gr kl pl sh sl st th tr".split()
_VOWELS = "a e i o u ai ee oo ou y".split()
_RUDE = ("shit", "tit", "slut", "twat", "coon", "nig", "kik", "gook", "spic", "cock", "cunt", "fuck", "dik")
_ENDS = ("", "", "n", "r", "x", "s", "k", "t", "l")


def made_up(rng: Random, syllables: int) -> str:
    """Return a word that does not exist, of so many syllables, and that no grandmother would mind."""
    while True:
        text = "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) for _ in range(syllables)) + rng.choice(_ENDS)
        if not any(rude in text for rude in _RUDE):
            return text


def word(rng: Random) -> str:
    """Return something to talk about: half of the time a real word."""
    draw = rng.random()
    if draw < 0.5:
        return rng.choice(WORDS)
    return made_up(rng, rng.choice((1, 2, 2, 3))) if draw < 0.9 else rng.choice(FIRST_NAMES)


_GLUE = (
    "the a is on my with you need to it in and try use i have but we should think that this was so not all of for "
    "at can will just do did if then he she they said going about from by one how when"
).split()


def loose_phrase(rng: Random, words: int) -> str:
    """Return so many words in no sensible order, half of them small ones."""
    return " ".join(rng.choice(_GLUE) if rng.random() < 0.5 else word(rng) for _ in range(words))


def is_small(text: str) -> bool:
    """Whether a word says nothing by itself."""
    return text in _GLUE


def name(rng: Random) -> str:
    """Return a name as people on Discord have them."""
    draw = rng.random()
    if draw < 0.45:
        plain = rng.choice(FIRST_NAMES)
    elif draw < 0.65:
        plain = made_up(rng, rng.choice((1, 2, 2, 3)))
    elif draw < 0.75:
        plain = rng.choice(WORDS) + rng.choice(("", "", str(rng.randrange(100)), "_" + rng.choice(WORDS), "y"))
    elif draw < 0.85:
        plain = rng.choice(FIRST_NAMES) + rng.choice(("_", "", ".", "-")) + str(rng.randrange(1, 2000))
    elif draw < 0.93:
        plain = rng.choice(("dr_", "mr_", "the_", "x", "")) + made_up(rng, 2)
    else:
        plain = f"{rng.choice(FIRST_NAMES)} {made_up(rng, 2)}"
    case = rng.random()
    return plain.title() if case < 0.3 else plain.upper() if case < 0.33 else plain


def noisy(rng: Random, text: str) -> str:
    """Return a line as somebody would type it: other case, missing marks, a slip of the finger, a smiley."""
    case = rng.random()
    if case < 0.15:
        text = text[:1].upper() + text[1:]
    elif case < 0.18:
        text = text.upper()
    if rng.random() < 0.3:
        text = text.rstrip("?.!")
    elif rng.random() < 0.1:
        text += rng.choice(("?", "!", "??", "...", " lol", " haha", " :)", " 😄", " pls", " tbh"))
    if rng.random() < 0.12 and len(text) > 6:
        text = _slip(rng, text)
    if rng.random() < 0.2:
        text = text.replace("you", "u", 1) if rng.random() < 0.5 else text.replace("'", "")
    return text


def _slip(rng: Random, text: str) -> str:
    """Leave a letter out, swap two, or type one twice."""
    at = rng.randrange(1, len(text) - 2)
    draw = rng.random()
    if draw < 0.4:
        return text[:at] + text[at + 1 :]
    if draw < 0.7:
        return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    return text[:at] + text[at] + text[at:]
