"""The words of a caption as the metrics count them, and their runs.

Tokenisation: lower case, runs of letters and digits of any script (no underscore); punctuation is
left out, as COCO's evaluation does after Penn Treebank's tokenizer. Of a script without spaces each character is a
word, as ``vlp.preprocessing.text.words`` counts them.
"""

from __future__ import annotations

import re
from collections import Counter

from vlp.preprocessing.text import unspaced

LONGEST = 4
_WORD = re.compile(r"[^\W_]+")


def tokens(text: str) -> list[str]:
    """The words of ``text``."""
    if not text.isascii():
        text = "".join(f" {char} " if unspaced(char) else char for char in text)
    return _WORD.findall(text.lower())


def ngrams(words: list[str], length: int) -> Counter[tuple[str, ...]]:
    """How often each run of ``length`` words occurs."""
    return Counter(tuple(words[start : start + length]) for start in range(len(words) - length + 1))
