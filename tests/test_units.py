"""Units of text in any script: each tagger gives back the mentions that they can express, and names the others."""

import logging
import unicodedata

import pytest
import word_bert
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from pipelines.examples import Example, Span
from pipelines.families import lexical
from pipelines.families.tag_units import describe_unreachable, tags_for, unreachable
from pipelines.families.token_tagger import tagging, word_tagging
from pipelines.families.token_tagger.units import TaggerSettings, encode
from pipelines.networks.feedforward import FeedforwardConfig, FeedforwardTagger
from pipelines.networks.word_tokenizer import splitter, word_counts, word_tokenizer
from pipelines.spans import is_unspaced, spans_to_tags, word_units


def example(id, text, *mentions):
    """An example whose mentions are the first places of these strings."""
    places = [(text.index(mention), text.index(mention) + len(mention)) for mention in mentions]
    return Example(id, text, spans=tuple(Span(start, end, "D") for start, end in places))


UNSPACED = [
    example("chinese", "病人有急性肺炎，无发热。", "急性肺炎", "发热"),
    example("japanese", "患者はリウマチと肺炎です", "リウマチ", "肺炎"),
    example("thai", "ผู้ป่วยเป็นไข้หวัดใหญ่", "ไข้หวัดใหญ่"),
    example("lao", "ຄົນເຈັບເປັນໄຂ້ຫວັດ", "ໄຂ້ຫວັດ"),
    example("khmer", "អ្នកជំងឺមានជំងឺផ្តាសាយ", "ជំងឺផ្តាសាយ"),
    example("myanmar", "သူသည်တုပ်ကွေးဖြစ်သည်", "တုပ်ကွေး"),
    example("mixed", "p53基因与HIV感染2020年", "p53", "HIV感染"),
]
MARKS = [
    example("hindi", "रोगी को डेंगू हुआ", "डेंगू"),
    example("accent", "la fie\u0300vre et le me\u0301lanome", "fie\u0300vre"),
    example("emoji", "😷flu😷 end", "flu"),
]
INSIDE = [
    example("korean", "폐렴은 무섭다", "폐렴"),
    example("german", "Grippewelle im Land", "Grippe"),
    Example("nested", "colon cancer", spans=(Span(0, 12, "D"), Span(6, 12, "D"))),
    Example("blank", "a flu", spans=(Span(1, 5, "D"),)),
]


def whole_words(texts):
    return word_tokenizer(list(word_counts(texts, punctuation=True)), punctuation=True)


def byte_level():
    """A byte-level tokenizer, whose vocabulary lacks nothing."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    model = Tokenizer(
        models.BPE({"[UNK]": 0, **{byte: number + 1 for number, byte in enumerate(alphabet)}}, [])
    )
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return PreTrainedTokenizerFast(tokenizer_object=model, unk_token="[UNK]")


TOKENIZERS = {
    "WordPiece": word_bert.word_pieces(),
    "known words": whole_words([case.text for case in UNSPACED + MARKS]),
    "unknown words": whole_words(["a"]),
    "blanks only": word_tokenizer(["a"]),
    "bytes": byte_level(),
}


@pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
@pytest.mark.parametrize("case", UNSPACED + MARKS, ids=lambda case: case.id)
def test_mentions_come_back_at_the_exact_characters(case, tokenizer):
    for window in (10_000, 12):
        [encoded] = encode([case], tokenizer, TaggerSettings(window=window, stride=4))
        assert sorted(unit for part in encoded.windows for unit in part.units) == list(
            range(len(encoded.offsets))
        )
        assert not unreachable(case, spans_to_tags(case.spans, encoded.offsets), encoded.offsets)


@pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
def test_a_mention_inside_a_word_is_named(tokenizer):
    encoded = encode(INSIDE, tokenizer, TaggerSettings())
    lost = [
        (case.id, span)
        for case, text in zip(INSIDE, encoded, strict=True)
        for span in unreachable(case, spans_to_tags(case.spans, text.offsets), text.offsets)
    ]
    assert [id for id, _ in lost] == ["korean", "german", "nested", "blank"]
    line = describe_unreachable(lost)
    assert line.startswith("4 mentions cannot be expressed by tags")
    assert line.endswith("korean 0:2, german 0:6, nested 6:12, blank 1:5")
    many = describe_unreachable(lost * 10)
    assert many.endswith(" and 30 more")


def test_an_unknown_run_is_read_again_where_it_is_and_nowhere_else():
    tokenizer = word_bert.word_pieces()
    [encoded] = encode([Example("0", "no ไข้ flu")], tokenizer, TaggerSettings())
    [window] = encoded.windows
    assert tokenizer.convert_ids_to_tokens(window.input_ids) == [
        "[CLS]",
        "no",
        "[UNK]",
        "[UNK]",
        "flu",
        "[SEP]",
    ]
    assert encoded.offsets == [(0, 2), (3, 4), (4, 6), (7, 10)]
    # The sub-word of the second unit covers its letter: this tokenizer drops marks.
    assert window.words == ["", "no", "ไ", "ข", "flu", ""]


def test_a_known_piece_of_several_characters_is_left_whole():
    tokenizer = word_tokenizer(["肺炎"])
    [encoded] = encode([example("0", "肺炎 肺癌", "肺炎")], tokenizer, TaggerSettings())
    assert encoded.offsets == [(0, 2), (3, 4), (4, 5)]


def test_tokens_of_a_corpus_stay_whole():
    case = Example("0", "肺炎 です", spans=(Span(0, 2, "D"),), tokens=((0, 2), (3, 5)))
    assert encode([case], word_tokenizer(["a"]), TaggerSettings())[0].offsets == [(0, 2), (3, 5)]


def test_units_by_hand():
    def units(text):
        return [text[start:end] for start, end in word_units(text)]

    assert units("Ann's x_1, 3.5%") == ["Ann", "'", "s", "x", "_", "1", ",", "3", ".", "5", "%"]
    assert units("p53基因 ๒๐๒๐ปี") == ["p53", "基", "因", "๒๐๒๐", "ปี"]
    assert units("हिन्दी e\u0301te\u0301") == ["हिन्दी", "e\u0301te\u0301"]
    assert units("か\u3099き ❤\ufe0f") == ["か\u3099", "き", "❤\ufe0f"]
    assert units("") == units(" \n\t") == []


@given(st.text(alphabet=st.characters(max_codepoint=127)))
def test_units_of_ascii_are_those_of_any_text(text):
    assert word_units(text) == word_units(f"{text} é")[:-1]


@given(
    st.text(
        alphabet=st.one_of(
            st.characters(exclude_categories=("Cn", "Cs", "Z", "Cc")),
            st.sampled_from("aé_9.,基ไข้ひラမြាអ्हि\u0301\u200d😀 "),
        )
    )
)
def test_units_cover_every_character_once_and_word_tokenizers_agree(text):
    units = word_units(text)
    covered = [offset for start, end in units for offset in range(start, end)]
    assert covered == [offset for offset, letter in enumerate(text) if not letter.isspace()]
    for start, end in units:
        # A mark never begins a unit, unless there is nothing before it that it could belong to.
        is_mark = unicodedata.category(text[start])[0] == "M"
        assert not is_mark or start == 0 or text[start - 1].isspace()
        assert not is_unspaced(text[start]) or all(
            unicodedata.category(c)[0] == "M" for c in text[start + 1 : end]
        )
    pieces = splitter(punctuation=True).pre_tokenize_str(text)
    assert [piece for piece, _ in pieces] == [text[start:end] for start, end in units]


@pytest.mark.parametrize("method", ["dictionary", "most_frequent_tag"])
def test_lexical_taggers_find_mentions_in_unspaced_text_and_name_what_they_cannot(method, caplog):
    with caplog.at_level(logging.WARNING):
        fitted = lexical.fit(UNSPACED + MARKS, method=method)
        assert not caplog.records
        lexical.fit([*UNSPACED, *INSIDE], method=method)
    assert [record.getMessage().split(": ")[1] for record in caplog.records] == [
        "korean 0:2, german 0:6, nested 6:12, blank 1:5"
    ]
    if method == "dictionary":
        for case, prediction in zip(UNSPACED, lexical.predict(fitted, UNSPACED), strict=True):
            assert set(case.spans) <= set(prediction.spans)
        # Found where it stands among other letters, too.
        [answer] = lexical.predict(fitted, [Example("new", "他得了急性肺炎吗")])
        assert answer.spans == (Span(3, 7, "D"),)


def test_word_taggers_name_what_training_cannot_use(caplog):
    train = [
        *UNSPACED,
        *INSIDE,
        Example("empty", "", spans=()),
        Example("long", "a b c d e f g h", spans=()),
    ]
    words = word_tagging.fit_words(train)
    tags = tags_for(train)
    model = FeedforwardTagger(
        FeedforwardConfig(
            vocab_size=len(words.tokenizer),
            embedding_dim=4,
            hidden_sizes=[4],
            id2label=dict(enumerate(tags)),
        )
    )
    with caplog.at_level(logging.WARNING):
        rows = word_tagging.training_rows(train, model, words.tokenizer)
        assert len(rows) == len(train) - 1
        lost, empty = [record.getMessage() for record in caplog.records]
        assert lost.endswith("korean 0:2, german 0:6, nested 6:12, blank 1:5")
        assert empty.endswith(": empty")
        caplog.clear()
        word_tagging.training_rows(train[-1:], model, words.tokenizer, max_length=7)
    assert [record.getMessage() for record in caplog.records] == [
        "1 training texts have more than --max_length 7 words and were cut: long"
    ]
    chinese = tagging.training_rows(UNSPACED[:1], model, words.tokenizer, TaggerSettings()).rows[0][
        "labels"
    ]
    assert chinese == [0, 0, 0, 1, 2, 2, 2, 0, 0, 1, 2, 0]


def test_a_control_token_in_a_text_is_text():
    tokenizer = word_bert.word_pieces()
    case = example("0", "no [SEP] flu [PAD] [CLS]cancer", "flu", "cancer")
    [encoded] = encode([case], tokenizer, TaggerSettings())
    [window] = encoded.windows
    control = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    assert not control & set(window.input_ids[1:-1])
    assert [word for word in window.words if word][:4] == ["no", "[", "S", "E"]
    assert not unreachable(case, spans_to_tags(case.spans, encoded.offsets), encoded.offsets)


def test_a_corpus_that_holds_the_padding_word_keeps_its_vocabulary():
    texts = ["a [PAD] [UNK] b"]
    counts = word_counts(texts)
    assert set(counts) == {"a", "b"}
    tokenizer = word_tokenizer(sorted(counts))
    assert (tokenizer.pad_token_id, tokenizer.unk_token_id) == (0, 1)
    case = Example("0", texts[0], tokens=((0, 1), (2, 7), (8, 13), (14, 15)))
    [encoded] = encode([case], tokenizer, TaggerSettings())
    assert encoded.windows[0].input_ids == [2, 1, 1, 3]
