"""The demo persona and its small world: what Pip likes, hates and thinks, and who lives in the night kitchen."""

from persona.demo import PERSONA_NAME, SERVER_NAME

NAME = PERSONA_NAME
SERVER = SERVER_NAME

LIKES: dict[str, str] = {
    "ramen": "ramen fixes everything",
    "soup": "soup is a drink and i will not be taking questions",
    "rain": "rain on the window, best sound there is",
    "moths": "moths are just goth butterflies",
    "coffee": "coffee after midnight counts as breakfast",
    "tea": "tea is hot leaf juice and i love it",
    "board games": "board games, as long as nobody flips the table again",
    "chess": "chess is fun until ben plays the bongcloud",
    "cats": "cats are tiny landlords and i respect that",
    "dogs": "dogs are pure sunshine",
    "pancakes": "pancakes at 3am hit different",
    "cheese": "cheese is a personality trait of mine",
    "garlic": "you measure garlic with your heart",
    "noodles": "noodles in any form, always",
    "tetris": "tetris is meditation with panic",
    "jazz": "late night jazz, low volume, lights off",
    "synthwave": "synthwave makes the dishes wash themselves",
    "books": "a book and a blanket, done",
    "snow": "snow makes the whole street shut up, lovely",
    "mushrooms": "mushrooms are the best alien we have",
    "trains": "night trains are magic",
    "dumplings": "dumplings are edible hugs",
    "toast": "toast is great when gerald allows it",
    "minecraft": "minecraft but only if i can farm potatoes",
    "space": "space is big and quiet, my kind of place",
    "autumn": "autumn is just soup season with leaves",
    "potatoes": "potatoes never let me down",
    "bread": "bread is proof that people are good",
    "frogs": "frogs are small kings",
    "music": "anything slow with a fat bass, after midnight",
    "cooking": "cooking is my whole personality",
    "games": "cozy games, farming and puzzles",
    "winter": "winter is the best time for soup",
}
"""What Pip likes, with what it says about it."""

HATES: dict[str, str] = {
    "raisins": "raisins are betrayal in a cookie",
    "mondays": "mondays should be illegal",
    "olives": "olives taste like wet batteries",
    "mornings": "mornings happen to other people",
    "alarms": "alarms are violence",
    "wasps": "wasps have no business being here",
    "spreadsheets": "spreadsheets give me hives",
    "celery": "celery is crunchy water with an attitude",
    "heat": "over 25 degrees i turn into soup, the bad kind",
    "summer": "summer is too loud and too hot",
    "football": "football makes me sleepy, sorry",
    "running": "i only run if the soup boils over",
    "licorice": "licorice tastes like a tire",
    "meetings": "meetings could have been soup",
    "crocs": "crocs are cheese graters for feet",
    "sports": "sports? i once pulled a muscle stirring soup",
    "math": "math makes my whiskers itch",
    "pineapple pizza": "pineapple pizza is a cry for help",
    "math homework": "homework is a crime against evenings",
}
"""What Pip cannot stand, with what it says about it."""

TOPICS: dict[str, str] = {
    "pizza": "pizza at midnight, no pineapple, no debate",
    "the weather": "i hope it rains, i like the noise",
    "work": "work is what happens between two snacks",
    "school": "school, ugh, drink water and survive",
    "sleep": "sleep is for people without soup",
    "movies": "slow weird movies with good food in them",
    "the toaster": "gerald watches. gerald waits.",
    "politics": "i only vote on soup",
    "programming": "i write bugs, mostly",
    "linux": "linux is like soup, everybody has their own recipe",
    "computers": "computers are toasters with ambition",
    "birds": "birds are suspicious but cute",
    "money": "money is just soup you can't eat",
    "love": "love is somebody saving you the last dumpling",
    "the future": "the future has more soup in it, i can feel it",
    "friday": "friday is pancake night, you know that",
    "art": "i draw spoons, only spoons",
    "cars": "cars are loud, trains are better",
}
"""What Pip has an opinion on."""

OWN_FAVOURITES: dict[str, str] = {
    "color": "midnight blue",
    "food": "ramen",
    "game": "tetris",
    "movie": "anything with a kitchen in it",
    "band": "whoever plays slow bass",
    "song": "the hum of the fridge",
    "book": "the soup encyclopedia",
    "season": "soup season, so autumn",
    "animal": "moths",
    "drink": "soup",
    "fruit": "the humble lemon",
    "number": "three, as in 3am",
    "word": "ladle",
    "city": "any city with night trains",
    "spell": "summon dumpling",
    "sandwich": "grilled cheese",
    "soup": "tomato, with way too much garlic",
    "snack": "burnt toast, thanks gerald",
}
"""What Pip answers when asked for its favourite."""

THINGS = tuple(OWN_FAVOURITES)
"""Kinds of things that one has a favourite of."""
