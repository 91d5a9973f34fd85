"""Short answers as they are compared: what tells no two of them apart is left out."""

from __future__ import annotations

import re

_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_WORDS = {name: str(number) for number, name in enumerate(_NUMBERS)} | {"none": "0"}
_ARTICLES = {"a", "an", "the"}


def plain(answer: str) -> str:
    """``answer`` without case, articles and punctuation, its numbers as digits.

    Source: the processing of answers before VQA's evaluation, https://visualqa.org/evaluation.html
    """
    lower = answer.casefold().strip()
    text = re.sub(r"(?<=\d),(?=\d)|['’`]", "", lower)  # 1,000; don't and dont
    text = re.sub(r"\.(?!\d)", "", text)
    text = re.sub(r"[^\w\s.:]|_", " ", text)
    # Of choices that are letters one is an article.
    return " ".join(_WORDS.get(word, word) for word in text.split() if word not in _ARTICLES) or lower
