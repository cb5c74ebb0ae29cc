"""A tokenizer of words that is trained alone and taken by several networks."""

import sys

import pytest
from conftest import load_recipe
from tiny_encoder import write
from transformers import AutoTokenizer

from pipelines.cli import main
from pipelines.errors import UserError
from pipelines.examples import Example
from pipelines.families.token_tagger.word_tagging import fit_words
from pipelines.networks.word_tokenizer import load_word_tokenizer

TRAIN = [Example("0", "The flu, the Flu and asthma."), Example("1", "the cold")]


@pytest.fixture
def folder(corpus, tmp_path, capsys):
    out = tmp_path / "tokenizer"
    command = ["vocabulary", str(corpus["train"]), "--min_freq", "2", "--lowercase"]
    assert main([*command, "--save_tokenizer", str(out)]) == 0
    assert f"{out}: " in capsys.readouterr().out
    return out


def test_it_is_that_of_the_same_filters(folder, corpus):
    from pipelines.corpora import read_examples

    examples = read_examples(corpus["train"], answer="spans")
    fitted = fit_words(examples, min_freq=2, lowercase=True).tokenizer
    given = load_word_tokenizer(folder)
    assert given.get_vocab() == fitted.get_vocab()
    text = "The patient has a Flu, or asthma."
    assert given(text)["input_ids"] == fitted(text)["input_ids"]


def test_its_words_are_taken_as_they_are(folder, tmp_path):
    words = fit_words(TRAIN, tokenizer=str(folder), padding_side="left", embedding_dim=7)
    assert words.tokenizer.get_vocab() == load_word_tokenizer(folder).get_vocab()
    assert (words.tokenizer.padding_side, words.dim, len(words.ids)) == ("left", 7, 0)
    known = next(word for word in words.tokenizer.get_vocab() if word.isalpha())
    (tmp_path / "vectors.txt").write_text(f"{known} 1 2 3\nnobody 4 5 6\n")
    with_vectors = fit_words(TRAIN, tokenizer=str(folder), embeddings=str(tmp_path / "vectors.txt"))
    assert with_vectors.tokenizer.convert_ids_to_tokens(with_vectors.ids.tolist()) == [known]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["train_tagger", "train_text_classifier"])
def test_a_recipe_takes_it(recipe, folder, corpus, tmp_path, monkeypatch, capsys):
    network = {"train_tagger": "ffnn", "train_text_classifier": "bag_of_embeddings"}[recipe]
    arguments = ["--network", network, "--num_train_epochs", 1, "--tokenizer", folder]
    arguments += ["--init", "xavier_normal", "--run_dir", tmp_path / "run"]
    if recipe == "train_text_classifier":
        arguments += ["--mention_type", "Disease"]
    for option, split in (("train", "train"), ("dev", "train"), ("test", "test")):
        arguments += [f"--{option}_file", corpus[split]]
    monkeypatch.setattr(sys, "argv", [f"{recipe}.py", *map(str, arguments)])
    load_recipe(recipe).main()
    saved = AutoTokenizer.from_pretrained(tmp_path / "run" / "model")
    assert saved.get_vocab() == load_word_tokenizer(folder).get_vocab()
    # A run's tokenizer serves as well.
    assert load_word_tokenizer(tmp_path / "run").get_vocab() == saved.get_vocab()
    arguments[arguments.index("--run_dir") + 1] = tmp_path / "other"
    monkeypatch.setattr(sys, "argv", [f"{recipe}.py", *map(str, arguments), "--min_freq", "2"])
    with pytest.raises(SystemExit):
        load_recipe(recipe).main()
    assert "--tokenizer has decided --min_freq; leave one" in capsys.readouterr().err


def test_what_is_no_tokenizer_of_words(tmp_path):
    with pytest.raises(UserError, match=r"no tokenizer\.json"):
        load_word_tokenizer(tmp_path)
    letters = write(tmp_path / "bert")
    tokenizer = AutoTokenizer.from_pretrained(letters)
    tokenizer.save_pretrained(tmp_path / "letters")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match="could not be loaded"):
        load_word_tokenizer(tmp_path / "damaged")


def test_other_files_are_not_overwritten(tmp_path, corpus, capsys):
    (tmp_path / "model.safetensors").write_text("mine")
    (tmp_path / "tokenizer.json").write_text("of a model")
    with pytest.raises(SystemExit):
        main(["vocabulary", str(corpus["train"]), "--save_tokenizer", str(tmp_path)])
    assert "holds something else than a tokenizer" in capsys.readouterr().err
    assert (tmp_path / "model.safetensors").read_text() == "mine"
    with pytest.raises(SystemExit):
        main(["vocabulary", str(corpus["train"]), "--remove_frac", "0.5"])
    assert "--remove_frac is of --save_tokenizer" in capsys.readouterr().err
