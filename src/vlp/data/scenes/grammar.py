"""Statements about scenes: structured objects, and their way into English and back.

``write`` has several templates a form and synonyms for many words; ``parse`` accepts all that ``write``
can say, in any letter case and with any punctuation around the words. Texts are lower case, without
punctuation, at most 16 words long.

Templates with the same place in the same list are one template: a statement and its minimal edit,
written in one style, differ in the edited words only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache

from vlp.data.scenes.statements import CompareNumber, CompareSize, Count, Exists, Is, Noun, Relation, Statement
from vlp.data.scenes.world import COLOURS, SHAPES, SIZES

Groups = dict[str, str | None]

NUMBERS = ("zero", "one", "two", "three", "four", "five")

SYNONYMS: dict[str, tuple[str, ...]] = {
    "small": ("small", "small", "little"),
    "large": ("large", "large", "big"),
    "larger": ("larger", "bigger"),
    "thing": ("thing", "object"),
    "things": ("things", "objects"),
    "left of": ("left of", "to the left of"),
    "right of": ("right of", "to the right of"),
    "above": ("above", "higher than"),
    "below": ("below", "lower than"),
}
"""Ways to say a word; the first one is its name. Listed twice, a way is twice as frequent."""

# {a} "a small red circle", {the}/{the2} "the red circle", {n} "red circle", {ns}/{ns2} "red circles",
# {adj} "red" or "a circle", {rest}/{rests} a noun without its {adj}, {num} "exactly two red circles",
# {verb} "is" or "are", {rel} a direction.
_EXISTS = (
    "there is {a}",
    "the picture shows {a}",
    "a picture with {a}",
    "a picture of {a}",
    "i can see {a}",
    "{a} can be seen",
    "{a}",
)
_EXISTS_TWO = (
    "there is {a} and {a2}",
    "the picture shows {a} and {a2}",
    "a picture with {a} and {a2}",
    "{a} and {a2}",
    "i can see {a} and {a2}",
)
_EXISTS_NOT = (
    "there is no {n}",
    "there are no {ns}",
    "the picture shows no {n}",
    "a picture without {a}",
    "i can see no {ns}",
)
_NONE_IS = ("no {rest} is {adj}", "none of the {rests} is {adj}")
_IS = ("{the} is {adj}", "{the} in the picture is {adj}", "in the picture {the} is {adj}")
_IS_NOT = ("{the} is not {adj}", "{the} in the picture is not {adj}", "in the picture {the} is not {adj}")
_RELATION = (
    "{the} is {rel} {the2}",
    "{the} lies {rel} {the2}",
    "in the picture {the} is {rel} {the2}",
    "{rel} {the2} is {the}",
)
_RELATION_NOT = ("{the} is not {rel} {the2}", "{rel} {the2} is not {the}")
_COUNT = (
    "there {verb} {num}",
    "the picture shows {num}",
    "a picture with {num}",
    "i can see {num}",
    "{num} can be seen",
    "{num}",
)
_COMPARE_NUMBER = (
    "there are {how} {ns} {than} {ns2}",
    "the picture shows {how} {ns} {than} {ns2}",
    "a picture with {how} {ns} {than} {ns2}",
    "i can see {how} {ns} {than} {ns2}",
)
_COMPARE_SIZE = (
    "{the} is {how} than {the2}",
    "in the picture {the} is {how} than {the2}",
    "{the} looks {how} than {the2}",
)


class Style:
    """One way to say things: a number of 32 bits, spent digit by digit on templates and synonyms."""

    def __init__(self, number: int) -> None:
        self._number = number & 0xFFFFFFFF

    def template(self, templates: tuple[str, ...]) -> str:
        """One of ``templates``; the same place for every list of the same length."""
        return templates[(self._number >> 16) % len(templates)]

    def word(self, name: str) -> str:
        """One way to say the word ``name``."""
        ways = SYNONYMS.get(name)
        if ways is None:
            return name
        # A word and its opposite take the same way, so that an edit changes nothing else.
        return ways[(self._number >> (4 * _DIGIT[name])) % 16 % len(ways)]

    def exact(self) -> str:
        """*Exactly*, or nothing, which means the same."""
        return "exactly " if (self._number >> 12) % 3 else ""

    def noun(self, noun: Noun, plural: bool = False) -> str:
        """``small red circle`` or, in the plural, ``small red circles``."""
        head = (noun.shape or "thing") + ("es" if noun.shape == "cross" else "s") * plural
        words = (noun.size and self.word(noun.size), noun.colour, self.word(head))
        return " ".join(word for word in words if word)


_DIGIT = {
    "small": 0,
    "large": 0,
    "larger": 0,
    "thing": 1,
    "things": 1,
    "left of": 2,
    "right of": 2,
    "above": 2,
    "below": 2,
}
"""Which digit of a style a word spends."""


def write(statement: Statement, style: int = 0) -> str:
    """Say ``statement`` in English.

    Args:
        statement: what to say.
        style: any number: chooses the template and the synonyms. 0 is the plainest way.
    """
    way = Style(style)
    match statement:
        case Exists(nouns, negated):
            return _write_exists(nouns, negated, way)
        case Is(noun, value, negated):
            adjective = article(way.noun(value)) if value.shape else way.word(value.size or value.colour or "")
            slots = {"the": f"the {way.noun(noun)}", "adj": adjective}
            template = way.template(_IS_NOT if negated else _IS)
        case Relation(a, direction, b, negated):
            slots = {"the": f"the {way.noun(a)}", "rel": way.word(direction), "the2": f"the {way.noun(b)}"}
            template = way.template(_RELATION_NOT if negated else _RELATION)
        case Count(quantifier, number, noun):
            many = f"{NUMBERS[number]} {way.noun(noun, plural=number != 1)}"
            prefix = way.exact() if quantifier == "exactly" else f"{quantifier} "
            slots = {"num": prefix + many, "verb": "is" if number == 1 else "are"}
            template = way.template(_COUNT)
        case CompareNumber(a, how, b):
            slots = {"ns": way.noun(a, plural=True), "ns2": way.noun(b, plural=True), "how": how}
            slots["than"] = "as" if how == "as many" else "than"
            template = way.template(_COMPARE_NUMBER)
        case CompareSize(a, how, b):
            slots = {"the": f"the {way.noun(a)}", "how": way.word(how), "the2": f"the {way.noun(b)}"}
            template = way.template(_COMPARE_SIZE)
    return template.format_map(slots)


def _write_exists(nouns: tuple[Noun, ...], negated: bool, way: Style) -> str:
    noun = nouns[0]
    slots = {"a": article(way.noun(noun)), "n": way.noun(noun), "ns": way.noun(noun, plural=True)}
    if len(nouns) == 2:
        return way.template(_EXISTS_TWO).format_map(slots | {"a2": article(way.noun(nouns[1]))})
    if not negated:
        return way.template(_EXISTS).format_map(slots)
    adjective = noun.colour or noun.size
    if adjective is None:
        return way.template(_EXISTS_NOT).format_map(slots)
    rest = Noun(size=noun.size if noun.colour else None, shape=noun.shape)
    slots |= {"rest": way.noun(rest), "rests": way.noun(rest, plural=True), "adj": way.word(adjective)}
    return way.template(_EXISTS_NOT + _NONE_IS).format_map(slots)


def article(words: str) -> str:
    """``words`` behind *a* or *an*."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def parse(text: str) -> Statement | None:
    """Read a statement; None where ``text`` is none of this grammar.

    Letter case, punctuation and spaces do not matter, and *a* may stand for *an*.
    """
    words = _canonical(text)
    for pattern, build in _patterns():
        if found := pattern.fullmatch(words):
            return build(found.groupdict())
    return None


def _canonical(text: str) -> str:
    """Lower case, words only, each synonym by its name."""
    words = " ".join(re.findall(r"[^\W_]+", text.lower()))
    pattern, names = _synonyms()
    return pattern.sub(lambda found: names[found[0]], words)


@cache
def _synonyms() -> tuple[re.Pattern[str], dict[str, str]]:
    names = {way: name for name, ways in SYNONYMS.items() for way in ways if way != name}
    longest_first = sorted(names, key=len, reverse=True)
    return re.compile(rf"\b(?:{'|'.join(longest_first)})\b"), names


_PLURALS = {head: head + ("es" if head == "cross" else "s") for head in (*SHAPES, "thing")}
_SINGULARS = {many: head for head, many in _PLURALS.items()}


def _noun_pattern(key: str, heads: Iterable[str]) -> str:
    return (
        f"(?:(?P<{key}_size>{'|'.join(SIZES)}) )?(?:(?P<{key}_colour>{'|'.join(COLOURS)}) )?"
        f"(?P<{key}_head>{'|'.join(heads)})"
    )


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], Callable[[Groups], Statement]], ...]:
    """Each template as a pattern over canonical words, beside what builds the statement from its groups."""
    one, other = _noun_pattern("a", _PLURALS), _noun_pattern("b", _PLURALS)
    ones, others = _noun_pattern("a", _SINGULARS), _noun_pattern("b", _SINGULARS)
    either = _noun_pattern("a", (*_SINGULARS, *_PLURALS))
    adjective = (
        f"(?:(?P<b_size>{'|'.join(SIZES)})|(?P<b_colour>{'|'.join(COLOURS)})|an? (?P<b_head>{'|'.join(SHAPES)}))"
    )
    slots = {
        "a": f"an? {one}",
        "a2": f"an? {other}",
        "the": f"the {one}",
        "the2": f"the {other}",
        "n": one,
        "ns": ones,
        "ns2": others,
        "rest": one,
        "rests": ones,
        "adj": adjective,
        "verb": "(?:is|are)",
        "rel": "(?P<word>left of|right of|above|below)",
        "num": f"(?:(?P<quantifier>exactly|at least|at most) )?(?P<number>{'|'.join(NUMBERS)}) {either}",
        "how": "(?P<word>more|fewer|as many|larger|smaller)",
        "than": "(?:than|as)",
    }
    return tuple(
        (re.compile(template.format_map(slots)), build) for templates, build in _FORMS for template in templates
    )


def _noun(groups: Groups, key: str = "a") -> Noun:
    head = groups.get(f"{key}_head")
    head = _SINGULARS.get(head, head) if head else None
    words = {"size": groups.get(f"{key}_size"), "colour": groups.get(f"{key}_colour"), "shape": head}
    return Noun(**{name: word for name, word in words.items() if word != "thing"})  # type: ignore[arg-type]


def _exists(groups: Groups) -> Statement:
    return Exists((_noun(groups), _noun(groups, "b"))) if "b_head" in groups else Exists((_noun(groups),))


def _none_is(groups: Groups) -> Statement:
    noun, value = _noun(groups), _noun(groups, "b")
    return Exists(
        (Noun(value.size or noun.size, value.colour or noun.colour, value.shape or noun.shape),), negated=True
    )


def _count(groups: Groups) -> Statement:
    return Count(groups["quantifier"] or "exactly", NUMBERS.index(groups["number"]), _noun(groups))  # type: ignore[arg-type]


def _is(groups: Groups, negated: bool = False) -> Statement:
    return Is(_noun(groups), _noun(groups, "b"), negated)


def _relation(groups: Groups, negated: bool = False) -> Statement:
    return Relation(_noun(groups), groups["word"], _noun(groups, "b"), negated)  # type: ignore[arg-type]


_FORMS: tuple[tuple[tuple[str, ...], Callable[[Groups], Statement]], ...] = (
    (_EXISTS, _exists),
    (_EXISTS_TWO, _exists),
    (_EXISTS_NOT, lambda groups: Exists((_noun(groups),), negated=True)),
    (_NONE_IS, _none_is),
    (_IS, _is),
    (_IS_NOT, lambda groups: _is(groups, negated=True)),
    (_RELATION, _relation),
    (_RELATION_NOT, lambda groups: _relation(groups, negated=True)),
    (_COUNT, _count),
    (_COMPARE_NUMBER, lambda groups: CompareNumber(_noun(groups), groups["word"], _noun(groups, "b"))),  # type: ignore[arg-type]
    (_COMPARE_SIZE, lambda groups: CompareSize(_noun(groups), groups["word"], _noun(groups, "b"))),  # type: ignore[arg-type]
)
