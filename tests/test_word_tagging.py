"""Vocabulary, tokenizer, word vectors and rows of the word-level taggers, and their training."""

from collections import Counter

import pytest
import torch
from transformers import BertConfig, BertModel, TrainingArguments

from pipelines.errors import DataError, UserError
from pipelines.examples import Example, Span
from pipelines.families.token_tagger import TaggerSettings, tags_for, word_tagging
from pipelines.families.token_tagger.word_tagging import (
    check_tags,
    collate,
    fit_words,
    put_vectors,
    training_rows,
)
from pipelines.networks.embeddings import distilled_vectors, shape, unit_variance
from pipelines.networks.feedforward import FeedforwardConfig, FeedforwardTagger
from pipelines.networks.vector_files import read_vectors
from pipelines.networks.word_tokenizer import vocabulary, word_counts, word_tokenizer
from pipelines.spans import join_tokens


def tokenised(id: str, sentence: str, *spans: Span) -> Example:
    text, tokens = join_tokens(sentence.split())
    return Example(id, text, spans=spans, tokens=tokens)


TRAIN = [
    tokenised(
        "0", "Ada saw Rome . Ada left", Span(0, 3, "PER"), Span(8, 12, "LOC"), Span(15, 18, "PER")
    ),
    tokenised("1", "Rome is old", Span(0, 4, "LOC")),
]


def tagger(words, **options):
    tags = tags_for(TRAIN)
    torch.manual_seed(0)
    return FeedforwardTagger(
        FeedforwardConfig(
            vocab_size=len(words.tokenizer),
            embedding_dim=words.dim,
            hidden_sizes=[8],
            id2label=dict(enumerate(tags)),
            **options,
        )
    )


def test_min_freq_then_remove_frac():
    counts = Counter({"a": 9, "b": 5, "c": 5, "d": 2, "e": 1})
    assert vocabulary(counts) == ["a", "b", "c", "d", "e"]
    assert vocabulary(counts, min_freq=2) == ["a", "b", "c", "d"]
    assert vocabulary(counts, min_freq=2, remove_frac=0.5) == ["a", "b"]
    with pytest.raises(
        UserError,
        match=r"min_freq 10 .* leave none of 5 words \(the most frequent occurs 9 times\)",
    ):
        vocabulary(counts, min_freq=10)
    with pytest.raises(UserError, match="leave none"):
        vocabulary(counts, remove_frac=1.0)
    with pytest.raises(UserError, match="between 0 and 1"):
        vocabulary(counts, remove_frac=7)


def test_tokens_of_a_corpus_come_back_with_their_offsets():
    example = tokenised("0", "St. John's ( 3.5 % )")
    tokenizer = word_tokenizer(["St.", "(", "%"])
    found = tokenizer(example.text, return_offsets_mapping=True)
    assert [tuple(offset) for offset in found["offset_mapping"]] == list(example.tokens or ())
    assert found["input_ids"] == [2, 1, 3, 1, 4, 1]
    assert tokenizer.convert_ids_to_tokens([0, 1]) == ["[PAD]", "[UNK]"]


def test_natural_text_is_cut_at_punctuation():
    tokenizer = word_tokenizer(["flu", ","], punctuation=True)
    assert tokenizer("A flu, yes")["input_ids"] == [1, 2, 3, 1]
    assert word_counts(["A flu, yes", "flu"], punctuation=True) == Counter(
        {"flu": 2, "A": 1, ",": 1, "yes": 1}
    )
    assert word_counts(["A flu, yes"]) == Counter({"A": 1, "flu,": 1, "yes": 1})


def test_lower_case_and_sides():
    tokenizer = word_tokenizer(
        list(word_counts(["Ada ada"], lowercase=True)), lowercase=True, padding_side="left"
    )
    padded = tokenizer(["ADA ada", "Ada"], padding=True)
    assert padded["input_ids"] == [[2, 2], [0, 2]]
    assert padded["attention_mask"] == [[1, 1], [0, 1]]
    with pytest.raises(UserError, match="truncation_side middle; wanted left or right"):
        word_tokenizer(["a"], truncation_side="middle")


def test_vectors_from_a_text_file(tmp_path):
    glove = tmp_path / "glove.txt"
    glove.write_text("the 1 2\nrome -0.5 1e-1\nRome 3 4\n. . . 5 6\n", encoding="utf-8")
    assert read_vectors(glove, ["Rome", "ROME", "new", ". . ."]) == {
        "Rome": [3, 4],
        "ROME": [-0.5, 0.1],
        ". . .": [5, 6],
    }
    word2vec = tmp_path / "word2vec.vec"
    word2vec.write_text("2 3\nRome 1 2 3 \nold 4 5 6 \n", encoding="utf-8")
    assert read_vectors(word2vec, ["old"]) == {"old": [4, 5, 6]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "a 1 2\nb 1\nc 1 2\nd 1 2 3\n",
            r"vectors\.txt:2: 1 numbers; the first row has 2\n.*vectors\.txt:4: 3 numbers",
        ),
        ("a 1 2\nb 1 x\n", r"vectors\.txt:2: could not convert"),
        ("", "no word vectors in it"),
        ("Rome 1\n", "has a vector for none of the"),
    ],
)
def test_bad_files_of_vectors(content, message, tmp_path):
    file = tmp_path / "vectors.txt"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        fit_words([tokenised("0", "x y b")], embeddings=str(file))


def test_a_source_of_vectors_that_is_not_there(tmp_path):
    for source in ("glove", str(tmp_path / "none.txt")):
        with pytest.raises(
            UserError, match="wanted random, a text file of vectors, local:glove, or distil:"
        ):
            fit_words(TRAIN, embeddings=source)
    with pytest.raises(UserError, match="local:minilm"):
        fit_words(TRAIN, embeddings="distil:local:bert")


def test_words_of_other_texts_join_where_they_have_a_vector(tmp_path):
    file = tmp_path / "vectors.txt"
    file.write_text("Ada 1 2\nnew 3 -4\nelse 1 1\n", encoding="utf-8")
    words = fit_words(TRAIN, [tokenised("2", "Ada new unheard")], embeddings=str(file))
    vocabulary_ = words.tokenizer.get_vocab()
    assert "new" in vocabulary_
    assert not {"unheard", "else"} & vocabulary_.keys()
    model = tagger(words)
    put_vectors(model, words)
    table = model.embeddings.words.weight
    assert torch.equal(table[words.ids], words.vectors)
    assert {words.tokenizer.convert_ids_to_tokens(int(number)) for number in words.ids} == {
        "Ada",
        "new",
    }
    assert words.vectors.mean().item() == pytest.approx(0, abs=1e-6)
    assert "new" not in fit_words(TRAIN, [tokenised("2", "new")]).tokenizer.get_vocab()
    with pytest.raises(UserError, match="2 numbers, not --embedding_dim 3"):
        fit_words(TRAIN, embeddings=str(file), embedding_dim=3)


def test_distilled_vectors_are_the_principal_components_of_means_over_pieces():
    torch.manual_seed(0)
    encoder = BertModel(
        BertConfig(
            vocab_size=20,
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=8,
        )
    ).eval()
    tokenizer = word_tokenizer([f"w{n}" for n in range(12)])
    words = [f"w{n}" for n in range(12)] + ["w1 w2 w3"]
    found = distilled_vectors(words, encoder, tokenizer, batch_words=4, progress=False)
    with torch.no_grad():
        alone = torch.stack(
            [
                encoder(**tokenizer(word, return_tensors="pt")).last_hidden_state[0].mean(0)
                for word in words
            ]
        )
    centred = alone - alone.mean(0)
    assert torch.allclose(
        found @ found.T, centred @ centred.T, atol=1e-4
    )  # a rotation keeps products
    assert (found.var(0).diff() <= 1e-6).all()
    first = distilled_vectors(words, encoder, tokenizer, dim=3, progress=False)
    assert torch.allclose(first.abs(), found[:, :3].abs(), atol=1e-4)
    assert unit_variance(found).std().item() == pytest.approx(1)


def test_shapes():
    assert [shape(word) for word in ("Warsaw-2004", "USA", "iPhone", "3.5")] == [
        "Xxx-dd",
        "XX",
        "xXxx",
        "d.d",
    ]


@pytest.mark.parametrize("side", ["right", "left"])
def test_rows_hold_words_tags_and_spelling(side):
    words = fit_words(TRAIN, truncation_side=side)
    model = tagger(words, character_feature="cnn")
    rows = training_rows(
        [*TRAIN, Example("empty", "", spans=(), tokens=())], model, words.tokenizer
    )
    assert len(rows) == 2
    tags = tags_for(TRAIN)
    assert tags == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
    assert [tags[number] for number in rows[0]["labels"]] == [
        "B-PER",
        "O",
        "B-LOC",
        "O",
        "B-PER",
        "O",
    ]
    assert words.tokenizer.convert_ids_to_tokens(rows[1]["input_ids"].tolist()) == [
        "Rome",
        "is",
        "old",
    ]
    assert rows[0]["characters"].shape == (6, 20)
    [short, _] = training_rows(TRAIN, model, words.tokenizer, max_length=2)
    assert words.tokenizer.convert_ids_to_tokens(short["input_ids"].tolist()) == (
        ["Ada", "saw"] if side == "right" else ["Ada", "left"]
    )
    assert short["characters"].shape == (2, 20)


@pytest.mark.parametrize("side", ["left", "right"])
def test_batches_are_padded_on_the_side(side):
    words = fit_words(TRAIN)
    batch = collate(training_rows(TRAIN, tagger(words), words.tokenizer), pad=0, padding_side=side)
    assert batch["attention_mask"][1].tolist() == (
        [0] * 3 + [1] * 3 if side == "left" else [1] * 3 + [0] * 3
    )
    assert ((batch["labels"] == -100) == (batch["attention_mask"] == 0)).all()
    assert (batch["input_ids"][batch["attention_mask"] == 0] == 0).all()


def test_types_that_training_lacks_are_reported_at_once():
    dev = [
        tokenised("d", "x y", Span(0, 1, "DRUG"), Span(2, 3, "LOC")),
        tokenised("e", "x", Span(0, 1, "DRUG")),
    ]
    with pytest.raises(
        DataError, match=r"dev: the type 'DRUG' \(2 mentions, first in example d\).*LOC, PER"
    ):
        check_tags({"dev": dev}, tags_for(TRAIN))
    check_tags({"dev": TRAIN, "test": [Example("u", "unlabelled")]}, tags_for(TRAIN))


def test_training_learns_by_heart_and_keeps_the_best(tmp_path):
    words = fit_words(TRAIN, embedding_dim=8)
    model = tagger(words, word_dropout=0.1)
    arguments = TrainingArguments(
        str(tmp_path),
        num_train_epochs=30,
        learning_rate=0.05,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        metric_for_best_model="strict_f1",
        save_total_limit=1,
        report_to="none",
        remove_unused_columns=False,
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
        save_only_model=True,
    )
    rows = training_rows(TRAIN, model, words.tokenizer)
    trainer = word_tagging.WordTaggerTrainer(
        model=model,
        args=arguments,
        train_dataset=rows,
        dev=TRAIN,
        settings=TaggerSettings("argmax"),
        processing_class=words.tokenizer,
        batch_tokens=6,
    )
    assert len(trainer.get_train_dataloader()) == 2
    trainer.train()
    assert trainer.state.best_metric == 1.0
    assert trainer.evaluate()["eval_strict_precision"] == 1.0
