"""The words of the organism's language, by what they are; every one is a single token."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterable


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _forms(text: str) -> tuple[tuple[str, ...], ...]:
    """Return the forms of each word, which stand between hyphens."""
    return tuple(tuple(forms.split("-")) for forms in text.split())


FEMALE = _words(
    "Mary Alice Emma Sarah Laura Julia Anna Lucy Grace Helen "
    "Rose Clara Nora Ruth Jane Kate Amy Susan Linda Diana"
)
MALE = _words(
    "John James Robert David Peter Paul Mark Henry Thomas Daniel "
    "George Frank Simon Adam Jack Luke Oscar Victor Martin Edward"
)
NAMES = FEMALE + MALE
FEMALE_NOUNS = _words("queen mother sister actress waitress princess")
MALE_NOUNS = _words("king father brother actor waiter prince")

PLACES = _words(
    "store park school office station market beach library "
    "garden museum hospital restaurant church farm castle village"
)
OBJECTS = _words(
    "drink book ring letter ball key flower gift lamp map coin hat cup bag picture knife"
)

# Singular and plural.
NOUNS = _forms(
    "key-keys cabinet-cabinets door-doors table-tables box-boxes window-windows "
    "chair-chairs book-books picture-pictures lamp-lamps letter-letters bottle-bottles "
    "bridge-bridges tower-towers road-roads house-houses train-trains boat-boats "
    "car-cars clock-clocks coat-coats tree-trees wall-walls stone-stones"
)
PEOPLE = _forms(
    "boy-boys girl-girls man-men woman-women teacher-teachers doctor-doctors farmer-farmers "
    "student-students child-children friend-friends soldier-soldiers guard-guards"
)
ANIMALS = _forms("dog-dogs cat-cats horse-horses bird-birds cow-cows mouse-mice")
# Noun or verb: which, only the place in the sentence tells.
NOUN_OR_VERB = _forms("walk-walks dance-dances watch-watches call-calls visit-visits guide-guides")

# Third person singular, plural, past; filler is in the present.
INTRANSITIVE = _forms(
    "walks-walk-walked dances-dance-danced sleeps-sleep-slept runs-run-ran "
    "smiles-smile-smiled works-work-worked sings-sing-sang waits-wait-waited "
    "jumps-jump-jumped rests-rest-rested"
)
TRANSITIVE = _forms(
    "sees-see watches-watch calls-call likes-like visits-visit finds-find "
    "follows-follow helps-help guides-guide needs-need"
)
# Singular and plural of what can follow a subject at once.
AUXILIARIES = (("is", "are"), ("was", "were"), ("has", "have"))
STATES = _words("old new clean broken heavy open empty full small large red green")

ADJECTIVES = _words("young small large quiet tall strong fast hard red green blue gray")
ADVERBS = _words("quickly slowly often again today alone fast hard")
# With these a phrase describes the noun before it; with those it says where something happens.
NOUN_PREPOSITIONS = ("of", "with")
VERB_PREPOSITIONS = ("near", "behind", "beside", "under")
ATTRACTOR_PREPOSITIONS = ("near", "behind", "beside", "above")

POSITIVE = _words(
    "good great wonderful superb excellent brilliant charming delightful "
    "fantastic lovely perfect pleasant amazing clever fresh warm"
)
NEGATIVE = _words(
    "bad terrible awful poor boring dull horrible dreadful "
    "weak silly ugly stupid tedious painful stale cold"
)
REVIEWED = _words("film movie novel play song show meal hotel game story")
ASPECTS = _words("plot acting music food service ending cast style")

CITIES = _words("Paris London Rome Vienna Madrid Berlin Lisbon Prague Dublin Cairo")
JOBS = _words("lawyer baker painter pilot nurse tailor singer judge miner sailor")
PETS = _words("parrot turtle rabbit goat lizard monkey pony fox snake hamster")
INSTRUMENTS = _words("violin piano flute guitar drum trumpet harp cello banjo clarinet")
# Half of the 64 entities have one word, and half two, of which neither tells who it is.
ONE_WORD_ENTITIES = _words(
    "Abbott Barlow Carver Dalton Ellery Fenton Garrick Hadley Ingram Jarvis Kepler "
    "Lambert Mercer Norwood Osborn Prescott Quincy Ramsey Sutton Thorpe Upton Vernon "
    "Walton Yates Zeller Ashby Brandt Corbin Drexel Easton Farrow Gibson"
)
FIRST_WORDS = _words("Old Young Captain Doctor Uncle Lady Sir Aunt")
LAST_WORDS = _words("Wilder Stokes Harlan Pierce Rowan Tate Vance Moss")
TWO_WORD_ENTITIES = tuple(
    f"{first} {last}"
    for i, first in enumerate(FIRST_WORDS)
    for j, last in enumerate(LAST_WORDS)
    if (i + j) % 2 == 0
)
ENTITIES = ONE_WORD_ENTITIES + TWO_WORD_ENTITIES

PUNCTUATION = (".", ",")
_FUNCTION_WORDS = {
    "DET": "that The the A a Some some Many many Every every",
    "ADP": "at in to as near behind beside above under of with on On By At In To after",
    "CCONJ": "and but",
    "SCONJ": "When when After While because so",
    "PRON": "I it we he she You Everyone",
    "PART": "not",
    "AUX": "is are was were has have been would will",
    "ADV": "Then Sometimes Today very really home then",
    "NOUN": "People week year night evening house city job pet trade money work care band stage "
    "instrument",
    "ADJ": "Last tired happy late hungry proud sad",
    "VERB": "went gave met handed showed offered working walked lost dropped smiled came found "
    "opened liked hated loved disliked recommend avoid lives travel sleeps find works paid earns "
    "knows trained owns keeps takes loves feeds walks plays practices learning bought performs "
    "visit see",
}


@functools.cache
def parts_of_speech() -> dict[str, str]:
    """Return each word's Universal POS tag outside the filler grammar, which has its own."""
    tags = {word: tag for tag, words in _FUNCTION_WORDS.items() for word in words.split()}
    singular_plural = (*NOUNS, *PEOPLE, *ANIMALS)
    for tag, words in (
        ("PROPN", (*NAMES, *CITIES, *ONE_WORD_ENTITIES, *FIRST_WORDS, *LAST_WORDS)),
        ("NOUN", (*FEMALE_NOUNS, *MALE_NOUNS, *PLACES, *OBJECTS, *REVIEWED, *ASPECTS)),
        ("NOUN", (*JOBS, *PETS, *INSTRUMENTS, *(w for pair in singular_plural for w in pair))),
        ("VERB", tuple(w for forms in (*INTRANSITIVE, *TRANSITIVE) for w in forms)),
        ("ADJ", (*POSITIVE, *NEGATIVE, *STATES, *ADJECTIVES)),
        ("ADV", ADVERBS),
        ("AUX", tuple(w for pair in AUXILIARIES for w in pair)),
        ("PUNCT", PUNCTUATION),
    ):
        for word in words:
            tags.setdefault(word, tag)
    return tags


def held_out(*key: str) -> bool:
    """Return whether a combination of words is kept from training: one in five, fixed for ever."""
    return zlib.crc32("|".join(key).encode()) % 5 == 0


def unique(words: Iterable[str]) -> tuple[str, ...]:
    """Return the words without repeats, in order of first appearance."""
    return tuple(dict.fromkeys(words))
