"""What the vocabulary's filters leave, counted by hand, and against the tokenizer that a tagger gets."""

from __future__ import annotations

import json

import pytest
from conftest import run_python
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import UserError
from pipelines.examples import Example
from pipelines.inspection.vocabulary import study_vocabulary, vocabulary_as_text
from pipelines.networks.word_tokenizer import vocabulary, word_counts, word_tokenizer
from pipelines.reporting.vocabulary import write_vocabulary
from pipelines.spans import join_tokens


def examples(*texts):
    found = []
    for row, text in enumerate(texts):
        joined, tokens = join_tokens(text.split())
        found.append(Example(str(row), joined, tokens=tokens))
    return found


TRAIN = examples("a a a a b b c", "a b d")  # a 5, b 3, c 1, d 1
DEV = examples("a x b c")


def test_counts_by_hand():
    study = study_vocabulary(TRAIN, DEV, file="t", dev_file="d")
    assert [
        (cut.min_freq, cut.size, cut.unknown_train, cut.unknown_dev) for cut in study.by_min_freq
    ] == [(1, 4, 0, 0.25), (2, 2, 0.2, 0.5), (3, 2, 0.2, 0.5), (5, 1, 0.5, 0.75)]
    assert [cut.size for cut in study.by_remove_frac] == [4, 4, 4, 3, 3, 2, 2, 2, 1, 1]
    assert study.lengths == {3: 1, 7: 1}
    assert (study.length_at(0.5), study.length_at(1.0)) == (3, 7)
    assert "4 different; d: 4 words, 25.00 % not in training" in vocabulary_as_text(study)


def test_remove_frac_is_tried_at_the_given_min_freq():
    study = study_vocabulary(TRAIN, min_freq=3)
    assert {cut.min_freq for cut in study.by_remove_frac} == {3}
    assert study.by_remove_frac[0].size == 2
    assert study.by_remove_frac[0].unknown_dev is None


def test_lower_case():
    upper = study_vocabulary(examples("Rome rome"), examples("ROME"))
    lower = study_vocabulary(examples("Rome rome"), examples("ROME"), lowercase=True)
    assert (upper.by_min_freq[0].size, upper.by_min_freq[0].unknown_dev) == (2, 1.0)
    assert (lower.by_min_freq[0].size, lower.by_min_freq[0].unknown_dev) == (1, 0.0)


@given(
    st.lists(st.text("abcd ", min_size=1, max_size=30).filter(str.strip), min_size=1, max_size=5),
    st.text("abcde ", min_size=1, max_size=30).filter(str.strip),
    st.integers(0, 9),
)
def test_the_unknown_share_is_that_of_the_tokenizer(texts, dev, tenth):
    train = examples(*texts)
    study = study_vocabulary(train, examples(dev))
    cut = study.by_remove_frac[tenth]
    kept = vocabulary(word_counts(example.text for example in train), remove_frac=cut.remove_frac)
    ids = word_tokenizer(kept)(examples(dev)[0].text)["input_ids"]
    assert cut.size == len(kept)
    assert cut.unknown_dev == pytest.approx(ids.count(1) / len(ids))


@pytest.mark.parametrize(
    ("train", "options", "expected"),
    [
        (examples(), {}, "no word in 0 examples"),
        ([Example("0", "  ")], {}, "no word in 1 examples"),
        (TRAIN, {"min_freq": 9}, "leave none of 4 words"),
        (TRAIN, {"min_freq": 0}, "wanted at least 1"),
    ],
)
def test_a_vocabulary_of_nothing_is_refused(train, options, expected):
    with pytest.raises(UserError, match=expected):
        study_vocabulary(train, **options)


@pytest.mark.parametrize("dev", [None, DEV])
def test_the_page_holds_its_pictures(tmp_path, dev):
    write_vocabulary(study_vocabulary(TRAIN, dev, file="<b>"), tmp_path / "v.html")
    page = (tmp_path / "v.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 5
    assert "&lt;b&gt;" in page
    assert ("unknown, dev" in page) == (dev is not None)


@pytest.mark.slow
def test_the_command(tmp_path, capsys):
    from pipelines.cli import main

    (tmp_path / "a.json").write_text(
        json.dumps({"text": [["Rome", "fell"]], "NER": [["B-LOC", "O"]]})
    )
    done = run_python(
        "-m", "pipelines.cli", "vocabulary", tmp_path / "a.json", "--dev", tmp_path / "a.json"
    )
    assert done.returncode == 0, done.stderr
    assert "1 sentences, 2 words, 2 different" in done.stdout
    assert main(["vocabulary", str(tmp_path / "a.json"), "--html", str(tmp_path / "v.html")]) == 0
    page = (tmp_path / "v.html").read_text(encoding="utf-8")
    assert f"<dt>data</dt><dd>{tmp_path / 'a.json'}</dd>" in page
    assert "<dt>date</dt>" in page
    with pytest.raises(SystemExit) as ended:
        main(["vocabulary", str(tmp_path / "a.json"), "--min_freq", "5"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.strip().startswith("error: --min_freq 5")


def test_the_recommended_min_freq_by_hand():
    # a 5, b 3, c 1, d 1 of 10 words; dev has b, x: at 1 half of it is unknown, and none of train.
    study = study_vocabulary(TRAIN, examples("b x"))
    assert study.recommended == (
        5,
        "50.00 % of the words of training are then unknown, 100.00 % of dev",
    )
    # At 2, c and d are unknown: 2 of 10 words, and 2 of 4 of dev; at 5, 5 of 10 and 3 of 4.
    assert study_vocabulary(TRAIN, DEV).recommended[0] == 5
    assert study_vocabulary(TRAIN, examples("a a a a x")).recommended[0] == 2
    # Without dev: 2 of 10 words occur once or twice, as many as are unknown at 2.
    assert study_vocabulary(TRAIN).recommended == (
        2,
        "20.00 % of the words of training are then unknown, "
        "20.00 % of new text, estimated from training",
    )


def test_lengths_of_both_files_and_padding():
    study = study_vocabulary(TRAIN, DEV, batch_size=2, batch_tokens=7)
    assert study.dev_lengths == {4: 1}
    assert [padding.positions for padding in study.padding] == [14, 14, 14, 10]
    text = vocabulary_as_text(study)
    assert "static: 2 rows, all 7 long" in text
    assert text.splitlines()[-1].startswith("recommended: --min_freq 5; ")
    for wrong in ({"batch_size": 0}, {"batch_tokens": 0}):
        with pytest.raises(UserError, match="wanted at least 1"):
            study_vocabulary(TRAIN, **wrong)
