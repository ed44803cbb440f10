"""Small word lists: what everybody says everywhere, chat shorthand, and a guess at the language of a chat."""

from collections import Counter
from collections.abc import Iterable


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


COMMON_WORDS = _words(
    """
    a about actually after again against all almost already also always am an and another any anyone anything are
    aren't around as ask at away back bad be because been before being believe best better between big both but by
    call can can't cannot come could couldn't course day days did didn't different do does doesn't doing don't done
    down each else end enough even ever every everyone everything far feel few find first for found from full get
    gets getting give given go goes going gone good got great guess guys had hand happen happened has hasn't have
    haven't having he he's hear help her here here's hey hi him his hello home hope how i i'd i'll i'm i've idea if in
    instead into is isn't it it'll it's its itself just keep kind know last later least left less let let's like
    little long look looking looks lot lots made make makes making many may maybe me mean means might mind mine more
    most much must my myself name need needs never new next nice no nobody none not nothing now of off often oh ok
    okay old on once one ones only or other others our out over own part people place please point possible pretty
    probably problem put question quite rather read really right same saw say saying says second see seem seems seen
    set she she's should shouldn't since so some somebody someone something sometimes soon sorry sort still stop
    stuff such sure take talk tell than thank thanks that that'd that's the their them then there there's these they
    they'd they'll they're they've thing things think this those though thought through time times to today together
    told tomorrow too took tried true try trying two under until up upon us use used uses using usually very want
    wanted wants was wasn't way we we'd we'll we're we've week well went were weren't what what's when where where's
    whether which while who who's whole whom whose why will with within without won't word words work working works
    would wouldn't wrong year years yes yesterday yet you you'd you'll you're you've your yours yourself
    """
)
"""Words too common in English to say anything about a server."""

ABBREVIATIONS = _words(
    """
    afaik afk asap atm bbl bc brb brt btw bruh cba cuz cya def dm dunno fr ftw fwiw fyi gg gimme gj gl gn gonna gotta
    gtg haha hahaha hbu hehe hf hmm ic icymi idc idek idgaf idk iirc ikr imho imo irl istg jk kinda lel lemme lmao
    lmfao lmk lol meh mhm nah nbd ngl nope np nvm obv ofc omg omw ooc pls plz ppl prob rip rly rn rofl smh sry
    sus tba tbd tbf tbh tfw thx tho til tldr ttyl tx ty tysm u ur w8 wanna wb wdym welp wip wfm wtf wth wut yall yea
    yeah yep yolo yup
    """
)
"""Chat shorthand that shows how casual a server is."""

_FREQUENT = {
    "English": _words("the and you that is it for with what this have not are was just"),
    "German": _words("und ich das ist nicht die der auch ein mit auf wie aber noch mal"),
    "French": _words("je est pas les vous c'est et pour que dans une mais sur avec ça"),
    "Spanish": _words("que el los por una pero con para como está muy es más yo porque"),
    "Portuguese": _words("que não uma com para mas como isso você é tem mais foi eu também"),
    "Italian": _words("che non il per una sono anche con come ma è più questo della hai"),
    "Dutch": _words("het een ik niet dat van ook maar zijn voor wat heb dit wel je"),
    "Polish": _words("nie to się jest na że jak ale co tak już tylko mam czy bo"),
    "Russian": _words("и не что в на я это как но ты так вот мне по все"),
}
_FEWEST_WORDS = 50
_LEAST_SHARE = 0.06
_LEAD = 1.5


def guess_language(words: Iterable[str]) -> str | None:
    """Return the language of a chat from its most frequent words (lower case), or None when that is not clear.

    A language is named when its function words are at least 6 % of 50 or more words and half as many again as those
    of the next language.
    """
    counts: Counter[str] = Counter()
    total = 0
    for word in words:
        total += 1
        plain = word.replace("\u2019", "'")
        counts.update(language for language, frequent in _FREQUENT.items() if plain in frequent)
    if total < _FEWEST_WORDS or not counts:
        return None
    (language, hits), *others = counts.most_common(2)
    clear = not others or hits >= _LEAD * others[0][1]
    return language if clear and hits >= _LEAST_SHARE * total else None
