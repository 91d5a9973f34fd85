"""From collected text to token ids: cleaning, judging, tokenising; the one way, for training and serving alike.

``clean`` repairs only what loses no meaning (Unicode form, invisible characters, white space). What cannot be
repaired is named by ``problem``. Case is left to the tokenizer, which carries its own normalisation.

Sources: Unicode normalisation, https://unicode.org/reports/tr15/; WordPiece as in BERT (Devlin et al. 2019,
https://arxiv.org/abs/1810.04805).
"""

from __future__ import annotations

import functools
import hashlib
import html
import itertools
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from vlp.files import lines
from vlp.params import Section
from vlp.preprocessing import wordpiece

PAD, UNK, CLS, SEP, MASK = SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""BERT's special tokens; a trained tokenizer gives them the ids 0 to 4."""

Script = Literal["latin", "greek", "cyrillic", "han", "kana", "hangul", "arabic", "hebrew", "devanagari", "thai"]

# The first word of a character's Unicode name is its script, but for these.
_SCRIPT_NAMES = {"cjk": "han", "hiragana": "kana", "katakana": "kana", "katakana-hiragana": "kana"}
_JOINERS = "\u200c\u200d"  # they change letters in Persian and Indic scripts
_LETTERS_A_WORD = 40  # longer on average is no prose: a text without spaces is too long too
_TAG = re.compile(r"</?[A-Za-z][A-Za-z0-9-]*(?:\s[^<>]*)?/?>|<!--|<!DOCTYPE", re.IGNORECASE)
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9A-Fa-f]{1,6}|([A-Za-z][A-Za-z0-9]{1,30}));")
# A name of at most 64 characters (RFC 5321), from its start: looked for at every letter, a long word takes its square.
_ADDRESS = re.compile(r"(?:https?://|www\.)\S+|(?<![\w.+-])[\w.+-]{1,64}@[\w-]+\.[\w.-]+", re.IGNORECASE)
_IN_WORD = re.compile(r"(?<=\w) ([-'’]) (?=\w)")
_REPEATED = re.compile(r"([^\w\s])\1+")
_TEXTS_AT_ONCE = 1 << 16
_MOST_MARKS = 30
_UNKNOWN = "\U00012000"  # a sign of cuneiform: a letter that no vocabulary of ours has, and no normaliser removes
_HIGH_RUN = re.compile(r"[^\x00-\x7f]{2,}")
_SIGNS = re.compile("[–—…‘’“”«»‹›]+$")  # not „ and ‚, which only open: "в„–" is №, misread
_CYRILLIC = re.compile("[\u0400-\u04ff]+(?:[’–—][\u0400-\u04ff]+)*")
_WRITTEN_CYRILLIC = re.compile("[\u0400-\u045fґҐ]+")  # without letters that have not been in use for a hundred years
_MISREAD_AS = ("cp1252", "latin-1", "cp1251")


class TokenizerError(ValueError):
    """A tokenizer cannot be trained, read or used."""


class ScriptRules(Section):
    """What differs for the texts of one script; what is left out holds as for all."""

    script: Script
    min_words: int | None = Field(None, ge=0, description="words that a text must have")
    max_words: int | None = Field(None, gt=0, description="words of a text; each character of han, kana, thai is one")
    urls: Literal["keep", "refuse"] | None = None
    max_punctuation: int | None = Field(None, ge=0)


class TextParams(Section):
    """What a text may be and how it becomes tokens; the bundle carries it to the service."""

    max_words: int = Field(gt=0, description="words of a text; a longer one is a problem")
    min_words: int = Field(0, ge=0, description="words that a text must have; 0: any letter or digit will do")
    max_tokens: int = Field(ge=4, le=512, description="L: most token ids of a text, [CLS] and [SEP] included")
    vocabulary: int = Field(ge=32, description="most entries of a trained vocabulary")
    min_frequency: int = Field(2, ge=1, description="times a word piece must occur to be learnt")
    lower_case: bool = Field(True, description="a trained tokenizer folds case")
    scripts: tuple[Script, ...] = Field((), description="scripts a text may be in; none listed: any")
    urls: Literal["keep", "refuse"] = Field("keep", description="refuse: a text with a web or e-mail address")
    max_punctuation: int = Field(
        0, ge=0, description="times that one sign may follow itself, as in !!!!; a dash or dots may; 0: any"
    )
    tokenizer: str | None = Field(None, description="tokenizer.json, or a folder with vocab.txt, instead of training")
    stop_words: tuple[str, ...] = Field((), description="words that a trained tokenizer passes over, in any case")
    by_script: tuple[ScriptRules, ...] = Field(
        (), description="rules of texts that are mostly in one script: [{script: han, max_words: 80}]"
    )

    @model_validator(mode="after")
    def _own_tokenizer(self) -> Self:
        if self.tokenizer and self.stop_words:
            raise ValueError("stop_words are left out by a trained tokenizer; a given one (tokenizer) knows its own")
        return self

    def of(self, script: str) -> TextParams:
        """These parameters as they are for texts of ``script``."""
        changes = {
            name: value
            for rules in self.by_script
            if rules.script == script
            for name, value in rules
            if name != "script" and value is not None
        }
        return self.model_copy(update=changes)


_FRACTION = re.compile(r"(?<=\d)(?=[¼½¾⅐-⅞])")
_RAISED = re.compile(r"(?<=[0-9])(?=[⁺⁻]?[⁰¹²³⁴-⁹])")


def clean(text: str) -> str:
    """``text`` in NFKC, without control and invisible characters, its white space single and trimmed."""
    if text.isascii() and text.isprintable():  # most are: nothing to normalise
        return " ".join(text.split())
    # Invisible characters go first: they can stand between letters that normalisation joins.
    kept = "".join(" " if char.isspace() else char for char in _stream_safe(text) if _visible(char))
    # 1½ and 10⁶ would become 11⁄2 and 106.
    kept = _RAISED.sub("^", _FRACTION.sub(" ", kept))
    return " ".join(unicodedata.normalize("NFKC", kept).split())


def _stream_safe(text: str) -> Iterator[str]:
    """``text`` without the marks on a letter that are beyond the thirtieth: to sort a run of them takes its square.

    Source: Unicode Standard Annex 15, Stream-Safe Text Format, https://unicode.org/reports/tr15/#Stream_Safe_Text_Format
    """
    marks = 0
    for char in text:
        marks = marks + 1 if unicodedata.combining(char) else 0
        if marks <= _MOST_MARKS:
            yield char


def words(text: str) -> int:
    """Words of a cleaned text; each letter of a script that writes no spaces counts as one, marks and signs do not."""
    if text.isascii():
        return len(text.split())
    alone = sum(unspaced(char) and not unicodedata.category(char).startswith("M") for char in text)
    others = "".join(" " if unspaced(char) else char for char in text).split()
    return alone + sum(any(unicodedata.category(char)[0] not in "PM" for char in other) for other in others)


def unspaced(char: str) -> bool:
    """Whether it is a letter of a script that writes no spaces between words."""
    return _script_of(char) in ("han", "kana", "thai")


def script(text: str) -> str:
    """The script of most letters of ``text``: ``latin``, ``han``, …; empty without letters."""
    found = _scripts(text)
    return max(found, key=lambda name: (found[name], name), default="")


def problem(text: str, params: TextParams) -> str:
    """What makes a collected text unusable.

    Args:
        text: as collected, not cleaned.
        params: limits.

    Returns:
        ``reason: detail``, or empty. The reasons: ``lone_surrogate``, ``mojibake``, ``control_characters``,
        ``html``, ``url``, ``punctuation``, ``empty``, ``stop_words``, ``too_short``, ``too_long``, ``script``.
    """
    for judge in (_broken, _markup):
        if found := judge(text):
            return found
    cleaned = clean(text)
    if params.by_script:
        params = params.of(script(cleaned))
    if found := _noise(cleaned, params):
        return found
    if not any(map(str.isalnum, cleaned)):
        return "empty: no letter and no digit"
    if params.stop_words and not any(map(str.isalnum, _passing_over(params).normalize_str(cleaned))):
        return "stop_words: there is no other word"
    if (count := words(cleaned)) < params.min_words:
        return f"too_short: {count} words, asked {params.min_words}"
    if count > params.max_words or len(cleaned) > _LETTERS_A_WORD * params.max_words:
        return f"too_long: {count} words, {len(cleaned)} characters, allowed {params.max_words} words"
    return _foreign(cleaned, params.scripts)


def train_tokenizer(texts: Iterable[str], params: TextParams) -> Tokenizer:
    """Train a BERT-style WordPiece tokenizer; equal texts in any order give equal bytes.

    Args:
        texts: cleaned texts of the train split.
        params: vocabulary size, least frequency, case.

    Raises:
        TokenizerError: the texts hold no word, or the vocabulary is too small for their characters.
    """
    return learn_tokenizer(word_counts(texts, params), params)


def word_counts(texts: Iterable[str], params: TextParams) -> Counter[str]:
    """How often each word occurs, as a tokenizer's training sees words; counts of parts can be added."""
    tokenizer = _trained(SPECIAL_TOKENS, params)
    counts: Counter[str] = Counter()
    texts = iter(texts)
    while some := Counter(itertools.islice(texts, _TEXTS_AT_ONCE)):  # many are said again and again
        for text, count in some.items():
            for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text)):
                counts[word] += count
    return counts


def learn_tokenizer(counts: Mapping[str, int], params: TextParams) -> Tokenizer:
    """The tokenizer of some ``word_counts``; raises as ``train_tokenizer`` does."""
    if not counts:
        raise TokenizerError("text: no word to train a tokenizer on; does the train split have captions or questions?")
    room = params.vocabulary - len(SPECIAL_TOKENS)
    try:
        pieces = wordpiece.train(counts, room, params.min_frequency)
    except ValueError as error:
        raise TokenizerError(f"text.vocabulary: {params.vocabulary}: {error}") from None
    return _trained([*SPECIAL_TOKENS, *pieces], params)


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Read a ``tokenizer.json``, a BERT ``vocab.txt``, or a folder that holds either.

    A folder's ``tokenizer_config.json`` decides whether a ``vocab.txt`` folds case; without one it does.

    Raises:
        TokenizerError: there is none, it cannot be read, it lacks one of ``SPECIAL_TOKENS``, or makes no use of [CLS],
            [SEP] or [UNK].
    """
    path = Path(path)
    file = next((path / name for name in ("tokenizer.json", "vocab.txt") if (path / name).is_file()), path)
    if not file.is_file():
        raise TokenizerError(f"{path}: no tokenizer.json and no vocab.txt")
    try:
        tokenizer = _from_vocabulary(file) if file.suffix == ".txt" else _from_json(file)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise TokenizerError(f"{file}: not a readable tokenizer ({error})") from None
    missing = [token for token in SPECIAL_TOKENS if tokenizer.token_to_id(token) is None]
    if missing:
        raise TokenizerError(f"{file}: the vocabulary lacks {', '.join(missing)}")
    tokenizer = _plain(tokenizer)
    if unused := _unused(tokenizer):
        raise TokenizerError(f"{file}: {unused}")
    return tokenizer


def vocabulary_sha256(tokenizer: Tokenizer) -> str:
    """Of all tokens and their ids, as hex digits: the same for tokenizers that give the same ids."""
    return hashlib.sha256(json.dumps(sorted(tokenizer.get_vocab().items())).encode()).hexdigest()


def read_tokenizer(content: str) -> Tokenizer:
    """The tokenizer that ``Tokenizer.to_str`` wrote of one of this module's."""
    return _plain(Tokenizer.from_str(content))


def _plain(tokenizer: Tokenizer) -> Tokenizer:
    """Without padding and cuts, and with special tokens in texts as the characters that they are: no file says so."""
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True
    return tokenizer


def _unused(tokenizer: Tokenizer) -> str:
    """What keeps a given tokenizer, whose vocabulary has all special tokens, from using them; empty if nothing does.

    Nothing else would tell: texts without [CLS] and [SEP] train, badly, and an unknown character ends a stage only
    where there is one, or is left out.
    """
    if tokenizer.encode("").ids != [_id(tokenizer, CLS), _id(tokenizer, SEP)]:
        return f"a text does not begin with {CLS} and end with {SEP}; give it BERT's post_processor"
    try:
        known = len(tokenizer.encode(_UNKNOWN).ids) > 2
    except Exception as error:  # the library raises nothing narrower
        if type(error) is not Exception:
            raise
        return f"an unknown character is an error ({error}); set the unk_token of its model to {UNK}"
    return "" if known else f"unknown characters are left out; set the unk_token of its model to {UNK}"


def special_ids(tokenizer: Tokenizer) -> dict[str, int]:
    """Ids of the special tokens: ``pad``, ``unk``, ``cls``, ``sep``, ``mask``."""
    return {token.strip("[]").lower(): _id(tokenizer, token) for token in SPECIAL_TOKENS}


def encode(tokenizer: Tokenizer, texts: Sequence[str], params: TextParams) -> list[list[int]]:
    """Token ids of each text, [CLS] first and [SEP] last, at most ``params.max_tokens`` of them, not padded."""
    last = _id(tokenizer, SEP)
    return [shorten(ids, params.max_tokens, last) for ids in encode_whole(tokenizer, texts)]


def encode_whole(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text, [CLS] first and [SEP] last, however many."""
    return [encoding.ids for encoding in tokenizer.encode_batch_fast(list(texts))]


def shorten(ids: list[int], limit: int, last: int) -> list[int]:
    """``ids``, cut to ``limit`` where they are more; the id ``last`` still ends them."""
    return ids if len(ids) <= limit else [*ids[: limit - 1], last]


def decode(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """The text of token ids as one writes it, without special tokens.

    BERT's tokens are parted at every han character and sign, and its decoder leaves a space wherever two were parted.
    """
    text = _IN_WORD.sub(r"\1", tokenizer.decode(list(ids), skip_special_tokens=True))
    if text.isascii():
        return text
    found = ""
    for piece in text.split(" "):
        found += piece if not found or _close(found.rstrip(",.?!")[-1:] or found[-1], piece[:1]) else f" {piece}"
    return found


def _close(left: str, right: str) -> bool:
    """Whether a space between the two is the decoder's: beside han, or a wide sign as 。, nobody writes one."""
    kinds = {
        "sign" if unicodedata.east_asian_width(char) in "WF" and not char.isalnum() else _script_of(char)
        for char in (left, right)
        if char
    }
    return bool(kinds & {"han", "sign"}) and kinds <= {"han", "kana", "sign"}


def _id(tokenizer: Tokenizer, token: str) -> int:
    found = tokenizer.token_to_id(token)
    if found is None:
        raise TokenizerError(f"the tokenizer's vocabulary lacks {token}")
    return found


def _broken(text: str) -> str:
    """Text that is not the text that was meant: lost or misread bytes, control characters."""
    if text.isprintable() and text.isascii():
        return ""
    if any("\ud800" <= char <= "\udfff" for char in text):
        return "lone_surrogate: half of a character"
    if misread := _misread(text):
        return f"mojibake: {misread}"
    for char in text:
        if (unicodedata.category(char) == "Cc" and char not in "\t\n\r\x85") or char in "\u202d\u202e":
            return f"control_characters: U+{ord(char):04X}"
    return ""


def _misread(text: str) -> str:
    """The first trace of text decoded by the wrong code page, described; empty if there is none."""
    if "\ufffd" in text or "锟斤拷" in text:
        return "a character that was lost in decoding"
    for run in _HIGH_RUN.findall(text):
        for codec in _MISREAD_AS:
            try:
                meant = run.encode(codec).decode("utf-8")
            except UnicodeError:
                continue
            # Two characters can stand side by side by chance; only the leads of Latin letters are then taken.
            if len(run) < 3 and (codec == "cp1251" or not "Â" <= run[0] <= "Å"):
                continue
            if not _as_written(run, meant):
                return f"{run!r} is {meant!r} read as {codec}"
    return ""


def _as_written(run: str, meant: str) -> bool:
    """Whether characters that could be misread bytes are more likely what somebody wrote.

    By chance bytes are UTF-8 where a letter stands before two signs (``café…»``) and in words that have one of the few
    letters of code page 1251 that are no first byte: Ukrainian ``дії``, ``б’є`` and ``СІРІ``, Russian ``её…``. Misread
    Cyrillic has a capital in every other place, which no word has; in capitals it is told by what it means.
    """
    if len(run) == 3 and run[0].isalpha() and _SIGNS.fullmatch(run, 1):
        return True
    word = _SIGNS.sub("", run)
    return (
        _CYRILLIC.fullmatch(word) is not None
        and (word.islower() or word.isupper() or word.istitle())
        and not _WRITTEN_CYRILLIC.fullmatch(meant)
    )


def _markup(text: str) -> str:
    if tag := _TAG.search(text):
        return f"html: {tag[0][:40]}"
    for entity in _ENTITY.finditer(text):
        if entity[1] is None or entity[1] + ";" in html.entities.html5:
            return f"html: {entity[0]}"
    return ""


def _noise(text: str, params: TextParams) -> str:
    """What collected captions carry that is not said of the picture."""
    if params.urls == "refuse" and (address := _ADDRESS.search(text)):
        return f"url: {address[0][:40]}"
    if params.max_punctuation:
        for run in _REPEATED.finditer(text):
            if len(run[0]) > params.max_punctuation and run[1] not in "-–—.":
                return f"punctuation: {run[0][:20]}"
    return ""


def _foreign(text: str, allowed: tuple[Script, ...]) -> str:
    letters = _scripts(text) if allowed else Counter[str]()
    foreign = {name: count for name, count in letters.items() if name not in allowed}
    if 2 * sum(foreign.values()) > sum(letters.values()):
        return f"script: most letters are {', '.join(sorted(foreign))}, allowed are {', '.join(allowed)}"
    return ""


def _visible(char: str) -> bool:
    return char in _JOINERS or char.isspace() or unicodedata.category(char) not in ("Cc", "Cf", "Cs")


def _scripts(text: str) -> Counter[str]:
    """Letters of each script."""
    if text.isascii():
        letters = sum(map(str.isalpha, text))
        return Counter(latin=letters) if letters else Counter()
    return Counter(name for char in text if (name := _script_of(char)))


@functools.lru_cache(maxsize=1 << 14)
def _script_of(char: str) -> str:
    if not char.isalpha():
        return ""
    name = unicodedata.name(char, "").split(" ")[0].lower()
    return _SCRIPT_NAMES.get(name, name)


@functools.lru_cache(maxsize=8)
def _passing_over(params: TextParams) -> normalizers.Normalizer:
    """What leaves ``params.stop_words`` out."""
    normalizer: normalizers.Normalizer = _trained(SPECIAL_TOKENS, params).normalizer
    return normalizer


def _trained(tokens: Sequence[str], params: TextParams) -> Tokenizer:
    """The tokenizer of a vocabulary of our own; its file tells what it leaves out, so that serving does, too."""
    tokenizer = _wordpiece({token: index for index, token in enumerate(tokens)}, params.lower_case)
    if params.stop_words:
        words = "|".join(sorted(map(re.escape, params.stop_words), key=lambda word: (-len(word), word)))
        pattern = Regex(rf"(?i)(?<![\p{{L}}\p{{N}}])(?:{words})(?![\p{{L}}\p{{N}}])")
        unspaced = [word for word in params.stop_words if script(word) in ("han", "kana", "thai")]
        steps = [tokenizer.normalizer, normalizers.Replace(pattern, " ")]
        # A script without spaces has no edges of words to look for.
        steps += [normalizers.Replace(word, " ") for word in sorted(unspaced, key=lambda word: (-len(word), word))]
        tokenizer.normalizer = normalizers.Sequence(steps)
    return tokenizer


def _wordpiece(vocabulary: dict[str, int], lower_case: bool, strip_accents: bool = False) -> Tokenizer:
    """BERT's tokenizer over ``vocabulary``. Accents stay unless asked for: they tell words apart."""
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=UNK, max_input_chars_per_word=100))
    tokenizer.add_special_tokens([token for token in SPECIAL_TOKENS if token in vocabulary])
    tokenizer.encode_special_tokens = True  # "[SEP]" inside a collected text is five characters, not a separator
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lower_case, strip_accents=strip_accents)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    if SEP in vocabulary and CLS in vocabulary:
        tokenizer.post_processor = processors.BertProcessing((SEP, vocabulary[SEP]), (CLS, vocabulary[CLS]))
    return tokenizer


def _from_vocabulary(file: Path) -> Tokenizer:
    vocabulary: dict[str, int] = {}
    for number, token in lines(file, blank=True):
        if not token or token in vocabulary:
            raise TokenizerError(f"{file}:{number}: {f'token {token!r} comes again' if token else 'an empty token'}")
        vocabulary[token] = number - 1
    config = file.with_name("tokenizer_config.json")
    settings = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
    fold = bool(settings.get("do_lower_case", True))
    strip = settings.get("strip_accents")
    return _wordpiece(vocabulary, fold, strip_accents=fold if strip is None else bool(strip))


def _from_json(file: Path) -> Tokenizer:
    content = file.read_text(encoding="utf-8")
    try:
        return Tokenizer.from_str(content)
    except Exception as error:  # the library raises nothing narrower
        if type(error) is not Exception:
            raise
        raise TokenizerError(f"{file}: not a tokenizer.json ({error})") from None
