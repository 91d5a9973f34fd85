"""What a change of a picture does to the truth of a text about it, as far as its words tell.

The rules read English and doubt what they do not know: "may" is said only where no word speaks of what is changed.
A text with a character beyond ASCII may nothing.
"""

from __future__ import annotations

import re


def _words(text: str) -> re.Pattern[str]:
    """Any of the words of ``text``, whole; each a regular expression, with ``_`` for a space."""
    return re.compile(rf"(?<![a-z])(?:{'|'.join(text.replace('_', ' ') for text in text.split())})(?![a-z])")


_DIRECTIONS = _words("""
    left right (?:left|right)(?:most|wards?|-hand|-most|-side) above below under underneath beneath over top bottom
    up down upper lower higher highest lowest up(?:side|right|wards?) downwards? beside next_to vertical(?:ly)?
    horizontal(?:ly)? diagonal(?:ly)? tilt(?:s|ed|ing)? slant(?:s|ed|ing)? lean(?:s|ed|ing|t)? crooked(?:ly)? askew
    slop(?:es?|ed|ing) inverted flipped rotated turned level corners? edges? sides? rows?
    columns? position where direction pointing points? facing north(?:ern)? south(?:ern)? east(?:ern)? west(?:ern)?
    (?:(?:counter|anti)-?)?clockwise clock o'clock angle straight stand(?:s|ing)? lying lies hanging hangs falling
    low high underside sideways overhead upstairs downstairs ascend(?:s|ed|ing)? descend(?:s|ed|ing)?
    tak(?:es?|ing)_off climb(?:s|ed|ing)? upstanding
""")
_CHIRAL = _words(r"""
    texts? letters? words? writing written reads? reading says? saying signs? logos? labels? numbers? digits? digital
    clocks? times? o'clock \d+:\d\d
    watch maps? books? titles? license plates? screens? posters? mirrors? mirrored east(?:ern)? west(?:ern)?
    (?:(?:counter|anti)-?)?clockwise spelled spells? spelling flags? where position direction
""")
_COLOURS = _words("""
    [a-z]*colou?r(?:s|ed|ful|less|ing)? reds? reddish oranges? yellow(?:s|ish)? green(?:s|ish)? blues? bluish
    purples? violets? pink(?:s|ish)? brown(?:s|ish)? blacks? whites? whitish gr[ae]y(?:s|ish)? beige tan(?:ned)? cyan
    magenta turquoise teal maroon navy burgundy aqua azure fuchsia mauve plum lime mint mustard amber emerald ruby
    sapphire jade rose coral charcoal chocolate caramel chestnut cobalt ochre taupe rust(?:y)? pastel
    gold(?:en)? silver(?:y)? bronze copper indigo lavender lilac crimson scarlet ivory cream khaki olive peach salmon
    blonde? ginger brunette bright(?:er|est|ly)? dark(?:er|est)? light(?:er|est)? lit pale vivid faded monochrome
    sepia shade tint hue rainbow neon night day dawn dusk sunny sunset sunrise cloudy shadows? ripe unripe skin tone
""")
_PARTS = _words(r"""
    no not none without nothing nobody never neither nor cannot [a-z]+n't only all every each both any alone lone
    zero one two three four five six seven eight nine ten eleven twelve [a-z]+teen [a-z]+ty [a-z]+ty-[a-z]+
    hundreds? thousands? dozens? single double triple twins? trio duo half halves first second third last
    several many few fewer more most less least pairs? couple groups? how number count \d+ and between
    among around near far front behind background foreground middle centre center inside outside within at by against
    along alongside across through into onto atop off away towards? past surround(?:s|ed|ing)?
    large(?:r|st)? big(?:ger|gest)? small(?:er|est)? little tall(?:er|est)? close-up with in on
""")

# Left and right as directions: "on the left", "to the far left of", "left side", "leftmost"; not "the right time".
_SIDE = re.compile(
    r"(?<![a-z])(?:"
    r"(?:to|on|at|in|from|towards?) (?:the|its|his|her|their) (?:far |very |upper |lower |top |bottom )?"
    r"(?P<one>left|right)(?=-hand |most| (?:side|half|corner|edge|of|and|is|are|there)(?![a-z])|[,.;:!?)]|$)"
    r"|(?P<two>left|right)(?=most|-hand | (?:of|side|half|corner|edge)(?![a-z]))"
    r")"
)
_NO_SIDE = _words("""
    right_side_up right_of_way right_side_of_(?:history|the_law)
    (?:what|whatever|all|nothing|anything|something|little|much|none|that)(?:_is|_was|'s)?_left_of
    (?:one|two|three|four|five|six|few|some|several|many|more|half|most|bits?|enough)_left_of remains?_left_of
""")
# Of a cake, a slice may be left.
_PORTION = _words("slices? pieces? parts? portions? bits? bites? half halves quarters? remains? remainder crumbs?")
_BARE_LEFT_OF = re.compile(r"(?<!the )(?<!its )(?<![a-z])left of(?![a-z])")
_ANY_SIDE = re.compile(r"(?<![a-z])(?:left|right)")
_OPPOSITE = {"left": "right", "right": "left"}


def mirrored(text: str) -> str | None:
    """``text`` as it is true of the mirror image; None where that cannot be told.

    Args:
        text: cleaned.
    """
    lower = text.lower()
    if not text.isascii() or _CHIRAL.search(lower) or _NO_SIDE.search(lower):
        return None
    if _BARE_LEFT_OF.search(lower) and _PORTION.search(lower):
        return None
    spans = [match.span(name) for match in _SIDE.finditer(lower) for name in ("one", "two") if match[name]]
    if len(spans) != len(_ANY_SIDE.findall(lower)):
        return None  # "right now", "has left": one of them is no direction
    pieces, end = [], 0
    for start, stop in spans:
        word = _OPPOSITE[lower[start:stop]]
        pieces += [text[end:start], word.capitalize() if text[start].isupper() else word]
        end = stop
    return "".join((*pieces, text[end:]))


def may_rotate(text: str) -> bool:
    """Whether ``text``, if it is true of a picture, is true of the picture rotated."""
    return text.isascii() and not _DIRECTIONS.search(text.lower())


def may_recolour(text: str) -> bool:
    """Whether ``text``, if it is true of a picture, is true of the picture in other colours."""
    return text.isascii() and not _COLOURS.search(text.lower())


def may_lose_parts(text: str) -> bool:
    """Whether ``text`` neither counts, denies, relates nor places.

    A crop needs that to keep it true, but needs more: that what the text names is not cut away.
    """
    return text.isascii() and not _PARTS.search(text.lower()) and not _DIRECTIONS.search(text.lower())
