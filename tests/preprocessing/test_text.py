from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, processors

from vlp.params import ParamsError, parse
from vlp.preprocessing.text import (
    SPECIAL_TOKENS,
    TextParams,
    TokenizerError,
    clean,
    decode,
    encode,
    learn_tokenizer,
    load_tokenizer,
    problem,
    script,
    special_ids,
    train_tokenizer,
    word_counts,
    words,
)

TEXTS = [
    "a red circle above a blue square",
    "two green rings",
    "a blue ring left of a red square",
    "no circle is green",
]


def params(**changes: Any) -> TextParams:
    values = {"max_words": 12, "max_tokens": 16, "vocabulary": 100, "scripts": ["latin"]}
    return parse(TextParams, values | changes, "text")


def reason(text: str, **changes: Any) -> str:
    return problem(text, params(**changes)).partition(": ")[0]


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("  a  red\tcircle\n", "a red circle"),
        ("caf\u0065\u0301", "café"),
        ("ﬁne １２", "fine 12"),
        ("zero\u200bwidth", "zerowidth"),
        ("bell\x07", "bell"),
        ("hard\u00a0space", "hard space"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("", ""),
    ],
)
def test_cleaning_repairs_form_and_keeps_meaning(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


@given(st.text())
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    once = clean(text)
    assert clean(once) == once
    assert unicodedata.is_normalized("NFKC", once)
    assert once == once.strip()
    assert "  " not in once
    assert not any(unicodedata.category(char) in ("Cc", "Cs") for char in once)


@pytest.mark.parametrize(
    "text",
    [
        "a red circle",
        "Ein großer Käfer, 3 cm",
        "c’est l’été à 20 °C",
        "“quoted” – dashed … café™",
        "5 < 6 > 4",
        "AT&T; R&D",
        "keycap: #",
        "CAFÉ®",
        "a smile 😀",
        "line\nbreak",
    ],
)
def test_ordinary_text_has_no_problem(text: str) -> None:
    assert problem(text, params()) == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "empty"),
        (" \n\u200b", "empty"),
        ("!!! …", "empty"),
        ("word " * 13, "too_long"),
        ("x" * 1000, "too_long"),
        ("a <b>red</b> circle", "html"),
        ("<br/>", "html"),
        ("a <!-- note --> circle", "html"),
        ("fish &amp; chips", "html"),
        ("caf&#233;", "html"),
        ("a\x00circle", "control_characters"),
        ("a\x1b[31m circle", "control_characters"),
        ("a \u202eelcric", "control_characters"),
        ("cafÃ©", "mojibake"),
        ("itâ€™s red", "mojibake"),
        ("Ð¿Ñ€Ð¸Ð²ÐµÑ‚", "mojibake"),
        ("РїСЂРёРІРµС‚", "mojibake"),
        ("a red \ufffd circle", "mojibake"),
        ("红色的圆", "script"),
        ("красный круг", "script"),
        ("دائرة حمراء", "script"),
        ("赤い円 circle の絵です", "script"),
        ("a \ud83d circle", "lone_surrogate"),
    ],
)
def test_what_cannot_be_used_is_named(text: str, expected: str) -> None:
    assert reason(text) == expected


@pytest.mark.parametrize("text", ["Crème brûlée à l’œuf", "naïve Übergröße", "señor Ñandú", "smørrebrød på dansk"])
def test_text_read_by_the_wrong_code_page_is_found_and_the_right_one_is_not(text: str) -> None:
    assert reason(text) == ""
    assert reason(text.encode().decode("cp1252", errors="replace")) == "mojibake"


# Common words, those among them that are UTF-8 by chance as bytes of code page 1251, and in sentences with their signs.
CYRILLIC = {
    "ukrainian": "я ти він її їй їжа ліс кіт дії мії лії надії дій дім рік ніч сіль хліб місто людина дитина синій сірі"
    " німі міці п’є б’є п’ять м’яч об’єм з’їв ґава ґанок єдина їжак їхні від він двоє інші «дії» дії…» від…» її—дії",
    "belarusian": "ён яна дзень ноч лес кот піў біў ліў леў воўк быў шоў доўг мова зіма хлеб вуліца дзіця сіні чырвоны"
    " кніга неба поўня аўто ўсё цёмны пяць аб’ём",
    "russian": "её своё неё ней моё ещё нём всё лёд ёж днём мой кот лес дом чёрный красный её… моё…» нём… её” в…» и…»",
    "bulgarian": "аз ти той тя куче котка жълт червен син къща вода хляб ден нощ път ъгъл хих…",
    "serbian": "ја ти он она њој мој твој љубав њива ћерка ђак џеп кућа пас мачка љиљан њених сјај… сјо…» ej њу—њој",
    "macedonian": "јас ти тој куќа ѓавол ѕвезда мој сјај еј… еј” њива љубов",
}


@pytest.mark.parametrize("language", CYRILLIC)
def test_words_in_cyrillic_letters_are_no_misread_bytes(language: str) -> None:
    for word in CYRILLIC[language].split():
        for form in (
            word,
            word.upper(),
            word.capitalize(),
            f"«{word}»",
            f"{word}…",
            f"{word}”",
            f"{word}…»",
            f"{word}—“",
        ):
            assert problem(f"- {form}, a", params(scripts=[])) == "", form


@pytest.mark.parametrize("text", ["café…»", "“café”—the other", "perché…”", "«è…»", "fiancé—“yes”", "é——", "«Já…»"])
def test_signs_behind_a_letter_are_no_misread_bytes(text: str) -> None:
    assert reason(text) == ""


@pytest.mark.parametrize("codec", ["cp1251", "cp1252"])
@pytest.mark.parametrize("language", CYRILLIC)
def test_cyrillic_words_that_were_misread_are_found(language: str, codec: str) -> None:
    words = [word.strip("…»«”“") for word in CYRILLIC[language].split()]
    for word in words:
        for form in (word, word.upper(), word.capitalize()):
            if len(form) > 2 and form.isalpha():
                misread = form.encode().decode(codec, errors="replace")
                assert reason(f"a {misread} b", scripts=[]) == "mojibake", (form, misread)


@pytest.mark.parametrize("text", ["it’s", "a – b", "5 €", "“so”", "№ 5", "naïve €", "中文", "日本語", "красный круг"])
def test_signs_and_letters_misread_as_cyrillic_are_found(text: str) -> None:
    assert reason(text.encode().decode("cp1251", errors="replace"), scripts=[]) == "mojibake"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a red cup from https://shop.example/cup?id=3", "url: https://shop.example/cup?id=3"),
        ("more at WWW.EXAMPLE.COM", "url: WWW.EXAMPLE.COM"),
        ("write to me@example.org", "url: me@example.org"),
        ("wow!!!! a cup", "punctuation: !!!!"),
        ("a cup ??", ""),
        ("a cup ... and so on ---- a plate", ""),
        ("a 3:4 picture, e.g. a cup", ""),
    ],
)
def test_what_a_caption_carries_besides_is_refused_where_it_is_asked(text: str, found: str) -> None:
    assert problem(text, params(urls="refuse", max_punctuation=3)) == found
    assert problem(text, params()) == ""


def test_chinese_is_cut_into_characters_and_decodes_to_itself() -> None:
    texts = ["一只红色的圆", "两只蓝色的星", "红色的圆在星的左边"]
    chinese = params(scripts=["han"], vocabulary=60)
    assert [problem(text, chinese) for text in texts] == ["", "", ""]
    tokenizer = train_tokenizer([*texts, *texts], chinese)
    (ids,) = encode(tokenizer, ["红色的星"], chinese)
    assert [tokenizer.id_to_token(number) for number in ids] == ["[CLS]", "红", "色", "的", "星", "[SEP]"]


def test_any_script_is_welcome_where_none_is_listed() -> None:
    assert reason("红色的圆", scripts=[]) == ""


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a circle", "latin"),
        ("красный", "cyrillic"),
        ("円 の え", "kana"),
        ("圆", "han"),
        ("12 %", ""),
        ("원", "hangul"),
    ],
)
def test_the_script_is_that_of_most_letters(text: str, name: str) -> None:
    assert script(text) == name


@pytest.mark.parametrize(
    ("text", "found"),
    [("a" + "\u0301\u0323" * 400_000, ""), ("a" * 800_000 + "@", "too_long"), ("a@" * 400_000, "too_long")],
    ids=["marks", "letters", "addresses"],
)
def test_a_text_of_any_length_is_judged_in_a_time_that_grows_with_it(text: str, found: str) -> None:
    began = time.process_time()
    assert problem(text, params(urls="refuse")).partition(":")[0] == found
    assert time.process_time() - began < 5  # where it grows with the square: minutes


def test_marks_and_punctuation_are_no_words() -> None:
    assert words("ที่นี่") == 2
    assert words("你好，世界") == 4


def test_scripts_without_spaces_count_each_character_as_a_word() -> None:
    assert words("红色的圆") == 4
    assert words("a red 圆") == 3
    assert words("") == 0


@given(st.text(max_size=80))
def test_every_text_is_judged(text: str) -> None:
    found = problem(text, params())
    assert found == "" or ": " in found


def test_the_special_tokens_come_first() -> None:
    tokenizer = train_tokenizer(TEXTS, params())
    assert [tokenizer.token_to_id(token) for token in SPECIAL_TOKENS] == [0, 1, 2, 3, 4]
    assert special_ids(tokenizer) == {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4}


def test_encoding_frames_a_text_and_decodes_to_it() -> None:
    tokenizer = train_tokenizer(TEXTS, params())
    (ids,) = encode(tokenizer, ["A red  CIRCLE"], params())
    assert (ids[0], ids[-1]) == (2, 3)
    assert 1 not in ids
    assert tokenizer.decode(ids) == "a red circle"


def test_a_long_text_is_cut_and_still_ends_with_sep() -> None:
    tokenizer = train_tokenizer(TEXTS, params())
    whole, cut = (encode(tokenizer, ["red " * 40], params(max_tokens=size))[0] for size in (64, 8))
    assert len(whole) == 42
    assert cut == [*whole[:7], 3]


def test_special_tokens_inside_a_text_are_only_characters() -> None:
    tokenizer = train_tokenizer(TEXTS, params())
    (ids,) = encode(tokenizer, ["red [SEP] [MASK] ring"], params())
    assert ids.count(3) == 1
    assert 4 not in ids


def test_unknown_characters_are_unknown_tokens_not_errors() -> None:
    tokenizer = train_tokenizer(TEXTS, params())
    assert encode(tokenizer, ["圆"], params()) == [[2, 1, 3]]


def test_accents_tell_words_apart() -> None:
    tokenizer = train_tokenizer(["schon", "schön"], params(min_frequency=1))
    one, two = encode(tokenizer, ["schon", "schön"], params())
    assert one != two


def test_the_order_of_the_texts_changes_nothing() -> None:
    one, two = (train_tokenizer(texts, params()).to_str() for texts in (TEXTS, TEXTS[::-1]))
    assert one == two


_TRAIN = """
import hashlib, random
from vlp.preprocessing.text import TextParams, train_tokenizer
rng = random.Random(0)
texts = [" ".join("".join(rng.choices("abcdefgh", k=rng.randint(2, 7))) for _ in range(8)) for _ in range(200)]
tokenizer = train_tokenizer(texts, TextParams(max_words=40, max_tokens=32, vocabulary=300))
print(hashlib.sha256(tokenizer.to_str().encode()).hexdigest())
"""


def test_every_process_trains_the_same_bytes_whatever_its_hash_seed_and_threads() -> None:
    found = {
        subprocess.run(
            [sys.executable, "-c", _TRAIN],
            env=os.environ | {"PYTHONHASHSEED": seed, "RAYON_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "true"},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed, threads in (("1", "1"), ("2", "4"))
    }
    assert len(found) == 1
    assert len(found.pop().strip()) == hashlib.sha256().digest_size * 2


def test_no_words_are_no_tokenizer() -> None:
    with pytest.raises(TokenizerError, match="no word to train a tokenizer on"):
        train_tokenizer([" "], params())


def test_a_vocabulary_too_small_for_the_characters_is_named() -> None:
    with pytest.raises(TokenizerError, match=r"text\.vocabulary: 32: too small for the \d+ characters"):
        train_tokenizer(["abcdefghijklmnopqrstuvwxyz ba dc fe hg ji lk nm po rq ts vu xw zy"], params(vocabulary=32))


def test_a_saved_tokenizer_reads_back(tmp_path: Path) -> None:
    trained = train_tokenizer(TEXTS, params())
    trained.save(str(tmp_path / "tokenizer.json"))
    for path in (tmp_path, tmp_path / "tokenizer.json"):
        read = load_tokenizer(path)
        assert encode(read, TEXTS, params()) == encode(trained, TEXTS, params())
        assert encode(read, ["[SEP] red"], params())[0].count(3) == 1


def test_a_vocabulary_in_berts_format_reads_as_bert_reads_it(tmp_path: Path) -> None:
    vocabulary = [
        "[PAD]",
        "[unused0]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "a",
        "red",
        "un",
        "##aff",
        "##able",
        "cafe",
    ]
    (tmp_path / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    tokenizer = load_tokenizer(tmp_path)
    assert encode(tokenizer, ["A Red unaffable", "Café"], params()) == [[3, 6, 7, 8, 9, 10, 4], [3, 11, 4]]


def test_a_folders_configuration_decides_about_case(tmp_path: Path) -> None:
    vocabulary = [*SPECIAL_TOKENS, "Red", "red"]
    (tmp_path / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False}), encoding="utf-8")
    assert encode(load_tokenizer(tmp_path), ["Red red"], params()) == [[2, 5, 6, 3]]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("vocab.txt", "a\nb\n", "the vocabulary lacks"),
        ("tokenizer.json", "{}", "not a tokenizer.json"),
        ("tokenizer.json", "\x00", "not a tokenizer.json"),
        ("other.json", "{}", "no tokenizer.json and no vocab.txt"),
    ],
)
def test_what_is_no_tokenizer_is_named_with_its_file(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(TokenizerError, match=message) as caught:
        load_tokenizer(tmp_path)
    assert str(tmp_path) in str(caught.value)


def given_tokenizer(model: models.Model, framed: str = "bert") -> Tokenizer:
    tokenizer = Tokenizer(model)
    if framed == "bert":
        tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    elif framed == "end":
        tokenizer.post_processor = processors.TemplateProcessing("$A [SEP]", special_tokens=[("[SEP]", 3)])
    return tokenizer


IDS = {token: number for number, token in enumerate([*SPECIAL_TOKENS, "red"])}
LAST = {token: number for number, token in enumerate(["[PAD]", "[UNK]", "red"])}


@pytest.mark.parametrize(
    ("tokenizer", "message"),
    [
        (
            given_tokenizer(models.WordPiece(LAST, unk_token="[UNK]"), ""),
            r"the vocabulary lacks \[CLS\], \[SEP\], \[MASK\]",
        ),
        (
            given_tokenizer(models.WordPiece(IDS, unk_token="[UNK]"), ""),
            r"does not begin with \[CLS\] and end with \[SEP\]",
        ),
        (given_tokenizer(models.WordPiece(IDS, unk_token="[UNK]"), "end"), r"does not begin with \[CLS\]"),
        (given_tokenizer(models.WordPiece(IDS, unk_token="<unk>")), r"an unknown character is an error .*unk_token"),
        (given_tokenizer(models.WordLevel(IDS, unk_token="<unk>")), r"an unknown character is an error .*unk_token"),
        (given_tokenizer(models.BPE(IDS, [])), r"unknown characters are left out; set the unk_token"),
    ],
)
def test_a_tokenizer_that_does_not_use_the_special_tokens_is_refused(
    tmp_path: Path, tokenizer: Tokenizer, message: str
) -> None:
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(TokenizerError, match=rf"tokenizer\.json: .*{message}"):
        load_tokenizer(tmp_path)


def test_a_tokenizer_of_another_make_that_uses_the_special_tokens_is_taken(tmp_path: Path) -> None:
    for model in (models.WordLevel(IDS, unk_token="[UNK]"), models.BPE(IDS, [], unk_token="[UNK]")):
        given_tokenizer(model).save(str(tmp_path / "tokenizer.json"))
        assert encode(load_tokenizer(tmp_path), ["€"], params()) == [[2, 1, 3]]


def test_an_unknown_script_is_named() -> None:
    with pytest.raises(ParamsError, match="text: scripts"):
        params(scripts=["klingon"])


def test_stop_words_are_passed_over_by_the_tokenizer_and_by_its_file(tmp_path: Path) -> None:
    chosen = params(stop_words=["a", "of", "的"], scripts=[], min_frequency=1)
    tokenizer = train_tokenizer([*TEXTS, "红色的圆"], chosen)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    for each in (tokenizer, load_tokenizer(tmp_path)):
        assert each.encode("A red circle left of a square").tokens[1:-1] == ["red", "circle", "left", "square"]
        assert each.encode("红色的圆").tokens[1:-1] == ["红", "色", "圆"]
        assert "a" in each.decode(each.encode("blue above").ids), "only whole words"
    assert tokenizer.token_to_id("的") is None


def test_a_text_of_stop_words_alone_is_none() -> None:
    chosen = params(stop_words=["to", "be", "or", "not", "的"], scripts=[])
    assert problem("To be, or not to be!", chosen).startswith("stop_words: ")
    assert problem("的的", chosen).startswith("stop_words: ")
    assert problem("to be or not to bee", chosen) == ""


def test_a_given_tokenizer_takes_no_stop_words() -> None:
    with pytest.raises(ParamsError, match="stop_words are left out by a trained tokenizer"):
        params(stop_words=["a"], tokenizer="bert")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("红色的圆形", ""),
        ("红色" * 9, "too_long"),
        ("红", "too_short"),
        ("red", ""),
        ("a red circle! " * 5, "too_long"),
    ],
)
def test_each_script_has_its_own_rules(text: str, found: str) -> None:
    rules = [{"script": "han", "max_words": 16, "min_words": 2}]
    assert reason(text, by_script=rules, scripts=["latin", "han"]) == found


def test_a_script_takes_the_other_rules_from_all() -> None:
    chosen = params(by_script=[{"script": "han", "max_punctuation": 2}], scripts=[], max_punctuation=0)
    assert problem("red!!!!", chosen) == ""
    assert problem("红色!!!!", chosen).startswith("punctuation")
    assert problem("红色" * 20, chosen).startswith("too_long")


def test_a_text_may_have_to_have_some_words() -> None:
    assert reason("red circle", min_words=3) == "too_short"
    assert reason("a red circle", min_words=3) == ""


def test_words_counted_in_parts_train_the_same_tokenizer() -> None:
    parts = word_counts(TEXTS[:2], params()) + word_counts(TEXTS[2:], params())
    assert learn_tokenizer(parts, params()).to_str() == train_tokenizer(TEXTS, params()).to_str()


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("a 1½ year old", "a 1 1⁄2 year old"),
        ("½ a pear", "1⁄2 a pear"),
        ("10⁶ stars", "10^6 stars"),
        ("5 m²", "5 m2"),
        ("10⁻⁶ g", "10^−6 g"),
    ],
)
def test_normalising_changes_no_number(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


def test_a_vocabulary_s_tokens_are_its_lines_whatever_they_hold(tmp_path: Path) -> None:
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "\u2028", "cat", "dog"]
    (tmp_path / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    assert load_tokenizer(tmp_path).encode("dog").ids == [2, 7, 3]
    (tmp_path / "vocab.txt").write_text("\n".join([*tokens, "cat"]), encoding="utf-8")
    with pytest.raises(TokenizerError, match=r"vocab\.txt:9: token 'cat' comes again"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "一只白色的狗在草地上奔跑。",
        "草地上有两只狗,一只是白色的。",
        "犬が走る、カメラを見る。",
        "一只狗 and a dog",
        "a dog's well-known black-and-white t-shirt, once more.",
        "l’été au bord de l'eau",
        "หมา วิ่ง",
    ],
)
def test_what_is_decoded_is_written_as_people_write(text: str) -> None:
    few = params(min_frequency=1, max_tokens=40)
    tokenizer = train_tokenizer([text], few)
    (ids,) = encode(tokenizer, [text], few)
    assert decode(tokenizer, ids) == text
