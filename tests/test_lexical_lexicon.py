"""Lexicons: their files, good and bad, and where their names stand in a text."""

import gzip

import pytest

from pipelines.corpora.lexicon import (
    Entry,
    Lexicon,
    coverage,
    lexicon_tags,
    load_lexicon,
    read_lexicon,
    save_lexicon,
)
from pipelines.errors import DataError, UserError
from pipelines.examples import Example, Span
from pipelines.families.lexical.word_features import word_features

NAMES = {
    "flu": Entry("Disease", "D1"),
    "non - hodgkin lymphoma": Entry("Disease", "D2"),
    "colon": Entry(),
    "colon cancer": Entry("Disease"),
}


MENTIONS = (Span(0, 3, "Disease"), Span(5, 25, "Disease"), Span(27, 31, "Disease"))


def written(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_one_name_a_line_or_name_type_and_id(tmp_path, caplog):
    lines = "Flu\tDisease\tD1\nNon-Hodgkin  lymphoma\tDisease\tD2\n\ncolon\ncolon cancer\tDisease\n"
    assert read_lexicon(written(tmp_path / "names.tsv", lines)).names == NAMES
    assert not caplog.messages
    with gzip.open(tmp_path / "names.tsv.gz", "wt", encoding="utf-8") as f:
        f.write("\ufeff" + lines.replace("\n", "\r\n"))
    assert read_lexicon(tmp_path / "names.tsv.gz").names == NAMES


def test_names_of_one_letter_and_duplicates_are_skipped_and_counted(tmp_path, caplog):
    file = written(tmp_path / "names.txt", "a\nflu\tDisease\tD1\nB\nFLU\tDisease\tD9\nflu\n")
    assert read_lexicon(file).names == {"flu": Entry("Disease", "D1")}
    assert "2 names of one letter are skipped: a, B" in caplog.messages[0]
    assert "2 repeated names are skipped" in caplog.messages[1]


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"a\nb\n", UserError, "holds no name"),
        (b"", UserError, "holds no name"),
        (b"flu\tDisease\tD1\tx\nok\nfever\t\t\t\n", DataError, "three columns in lines 1, 3"),
        (b"fl\xfc\n", UserError, "not a whole text file in UTF-8"),
    ],
)
def test_bad_files_are_one_line(content, error, message, tmp_path):
    (tmp_path / "names.tsv").write_bytes(content)
    with pytest.raises(error, match=message) as raised:
        read_lexicon(tmp_path / "names.tsv")
    assert "\n" not in str(raised.value)


def test_no_file_and_a_gzip_that_is_cut_off(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_lexicon(tmp_path / "names.tsv")
    whole = gzip.compress(b"influenza\n" * 1000)
    for content in (whole[:-20], b"influenza\n"):
        (tmp_path / "names.gz").write_bytes(content)
        with pytest.raises(UserError, match="not a whole text file"):
            read_lexicon(tmp_path / "names.gz")


def test_the_longest_name_from_left_to_right():
    lexicon = Lexicon({"a b": Entry(id="1"), "a b c": Entry(id="2"), "b c d": Entry(id="3")})
    assert [match.entry.id for match in lexicon.matches(["A", "b", "c", "d", "a", "b"])] == [
        "2",
        "1",
    ]
    assert [tuple(match)[:2] for match in lexicon.matches(["a", "b", "c", "d", "a", "b"])] == [
        (0, 3),
        (4, 6),
    ]


def test_tags_of_words():
    lexicon = Lexicon(NAMES)
    assert lexicon.tags() == [
        "O",
        *("B", "I", "E", "S"),
        *("B-Disease", "I-Disease", "E-Disease", "S-Disease"),
    ]
    words = ["Colon", "cancer", ",", "flu", "and", "colon"]
    tags = ["B-Disease", "E-Disease", "O", "S-Disease", "O", "S"]
    assert lexicon_tags(lexicon, words) == tags
    assert lexicon_tags(lexicon, []) == []


def test_a_match_begins_and_ends_with_a_word_of_the_corpus():
    lexicon = Lexicon(NAMES)
    whole = ["B-Disease", "I-Disease", "I-Disease", "E-Disease"]
    assert lexicon_tags(lexicon, ["Non", "-", "Hodgkin", "lymphoma"]) == whole
    assert lexicon_tags(lexicon, ["Non-Hodgkin", "lymphoma"]) == ["B-Disease", "E-Disease"]
    assert lexicon_tags(lexicon, ["flu-like", "anti-flu", "flu"]) == ["O", "O", "S-Disease"]


def test_matches_are_features_of_a_word_and_its_neighbours():
    [_, middle, _] = word_features(["the", "flu", "is"], ["lexicon"], Lexicon(NAMES))
    assert middle == ["bias", "lexicon-1=O", "lexicon+0=S-Disease", "lexicon+1=O"]


def test_coverage_counts_the_mentions_that_are_names():
    mentions = Example("0", "Flu, Non-Hodgkin lymphoma; ague", spans=MENTIONS)
    without = Example("1", "no name")
    told = coverage(Lexicon(NAMES), {"train": [mentions, without], "dev": [without]})
    assert told == "4 names; 66.7 % of the mentions of train among them"


def test_saved_and_loaded_it_is_the_same(tmp_path):
    save_lexicon(tmp_path / "lexicon.json", Lexicon(NAMES))
    assert list(load_lexicon(tmp_path / "lexicon.json").names.items()) == list(NAMES.items())


def test_a_large_lexicon_is_searched_by_first_words_not_name_by_name():
    class Counted(dict):
        lookups = 0

        def get(self, *arguments):
            Counted.lookups += 1
            return super().get(*arguments)

    names = Counted({f"word{number % 50_000} of{number}": Entry() for number in range(200_000)})
    lexicon = Lexicon(names)
    words = ["other", "word7", "of7", *(f"word{number}" for number in range(1000))]
    assert [match.first for match in lexicon.matches(words)] == [1]
    # One look-up for each word that begins a name, and so many lengths of names.
    assert Counted.lookups <= 1001
