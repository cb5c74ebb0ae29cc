"""A lexicon as a feature of an encoder that tags: which sub-words match, and what keeps it."""

import json
import shutil

import pytest
import torch
import word_bert
from conftest import load_recipe
from recipe_cases import CONFIGS, call, one_error
from word_bert import TAGS, example

from pipelines import cli
from pipelines.corpora.lexicon import Entry, Lexicon
from pipelines.corpora.predictions import read_predictions
from pipelines.errors import UserError
from pipelines.evaluation.silver import SilverText
from pipelines.examples import Example
from pipelines.families import token_tagger
from pipelines.families.token_tagger import (
    Loaded,
    TaggerSettings,
    encode,
    predict,
    tagging,
    window_inputs,
)
from pipelines.families.token_tagger.distillation import silver_rows
from pipelines.inspection.activations import batches_of_one
from pipelines.networks.tagger_ensemble import ensemble_of

LEXICON = Lexicon({name: Entry("D") for name in ("flu", "colon cancer", "non - hodgkin lymphoma")})
FIRST, INNER, LAST, ALONE = 1, 2, 3, 4  # their indices in `LEXICON.tags()`, behind O


@pytest.fixture(scope="module")
def tokenizer():
    return word_bert.word_pieces()


@pytest.fixture(scope="module")
def bare_bert(tmp_path_factory):
    return word_bert.write(tmp_path_factory.mktemp("models") / "tiny-bert")


@pytest.fixture
def make(bare_bert):
    """A tagger whose weights are those of each other one, but for the vectors of the matches."""

    def new(*, trained=True, **options):
        torch.manual_seed(0)
        model = tagging.new_model(str(bare_bert), TAGS, case_feature=True, **options).model.eval()
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            model.classifier.weight.normal_(generator=generator)
            for vectors in model.matches.values() if trained else ():
                vectors.weight[1:].normal_(generator=generator)
        return model

    return new


# Matches


def matches_of(model, tokenizer, case, **settings):
    [encoded] = encode([case], tokenizer, TaggerSettings(**settings))
    return encoded, [row["matches"] for row in window_inputs(model, encoded)]


def test_each_sub_word_has_the_tag_of_its_word(make, tokenizer):
    model = make(lexicon=LEXICON)
    assert LEXICON.tags() == ["O", "B-D", "I-D", "E-D", "S-D"]
    text = "no colon cancer, Non-Hodgkin flu"
    encoded, [found] = matches_of(model, tokenizer, example(text), window=64)
    sub_words = tokenizer.convert_ids_to_tokens(encoded.windows[0].input_ids)
    assert sub_words[:5] == ["[CLS]", "no", "colon", "cancer", ","]
    assert found == [0, 0, FIRST, LAST, 0, *[0] * 2, 0, *[0] * 7, ALONE, 0]
    _, [found] = matches_of(model, tokenizer, example("Non-Hodgkin lymphoma"), window=64)
    assert found == [0, *[FIRST] * 2, INNER, *[INNER] * 7, *[LAST] * 8, 0]


def test_tokens_of_a_corpus_are_the_words(make, tokenizer):
    tokens = ((0, 11), (12, 20), (21, 25))
    case = example("non-hodgkin lymphoma (flu", tokens=tokens)
    _, [found] = matches_of(make(lexicon=LEXICON), tokenizer, case, window=64)
    # A word of the corpus holds three of the name; "(flu" begins with no name.
    assert found == [0, *[FIRST] * 10, *[LAST] * 8, *[0] * 2, 0]


def test_a_name_that_a_window_cuts_is_whole(make, tokenizer):
    model = make(lexicon=LEXICON)
    text = "no x non-hodgkin lymphoma of x"
    encoded, found = matches_of(model, tokenizer, example(text), window=12, stride=3)
    assert len(found) > 2
    whole, [all_of_it] = matches_of(model, tokenizer, example(text), window=64)
    by_window = [
        dict(zip(window.word_of, ids, strict=True))
        for window, ids in zip(encoded.windows, found, strict=True)
    ]
    wanted = dict(zip(whole.windows[0].word_of, all_of_it, strict=True))
    assert wanted == {-1: 0, 0: 0, 1: 0, 2: FIRST, 3: INNER, 4: INNER, 5: LAST, 6: 0, 7: 0}
    assert all(wanted[word] == id for ids in by_window for word, id in ids.items())
    # No window has the whole name.
    assert not any({2, 5} <= ids.keys() for ids in by_window)


def test_a_word_without_a_sub_word_takes_part_in_a_match(make, tokenizer):
    """The tokenizer drops the character; the words are those of the text all the same."""
    lexicon = Lexicon({"no \ufffd flu": Entry()})
    encoded, [found] = matches_of(make(lexicon=lexicon), tokenizer, example("no \ufffd flu"))
    assert encoded.words == ["no", "\ufffd", "flu"]
    assert found == [0, 1, 3, 0]


def test_all_that_calls_a_network_gives_it_the_matches(make, tokenizer):
    model, settings, case = make(lexicon=LEXICON), TaggerSettings(window=64), example("no flu")
    wanted = [0, 0, ALONE, 0]
    [row] = tagging.training_rows([case], model, tokenizer, settings).rows
    silver = [SilverText(case, (), 1.0, 1.0)]
    [other] = silver_rows(silver, model, tokenizer, settings, weight=1.0)
    [encoded] = encode([case], tokenizer, settings)
    [batch] = batches_of_one(Loaded(model, tokenizer, settings), encoded)
    assert row["matches"] == other["matches"] == batch["matches"][0].tolist() == wanted
    assert token_tagger.extra_inputs(model, ["no", "flu"])["matches"] == [0, ALONE]
    assert "matches" not in window_inputs(make(), encoded)[0]


# The feature


def logits(model, tokenizer, text, **settings):
    loaded = Loaded(model, tokenizer, TaggerSettings(window=64))
    encoded = encode([example(text)], tokenizer, loaded.settings)
    [scores] = token_tagger.unit_logits(loaded, encoded, batch_tokens=64)
    return scores


def test_at_first_a_lexicon_changes_nothing_and_no_match_never_does(make, tokenizer):
    before = logits(make(), tokenizer, "no flu")
    torch.testing.assert_close(
        logits(make(lexicon=LEXICON, trained=False), tokenizer, "no flu"), before
    )
    trained = make(lexicon=LEXICON)
    assert (logits(trained, tokenizer, "no flu") - before).abs().max() > 0.1
    other = logits(make(), tokenizer, "no cancer")
    torch.testing.assert_close(logits(trained, tokenizer, "no cancer"), other)


@pytest.mark.parametrize("place", ["embeddings", "states"])
def test_it_enters_below_or_above(make, tokenizer, place):
    model = make(lexicon=LEXICON)
    before = logits(make(), tokenizer, "no flu")
    del model.matches["states" if place == "embeddings" else "embeddings"]
    moved = (logits(model, tokenizer, "no flu") - before).abs().amax(1) > 1e-4  # (U,)
    # Above, a match reaches its own word alone; below, the words around it too.
    assert moved.tolist() == [place == "embeddings", True]


def test_widths_of_embeddings_and_states_may_differ(tmp_path):
    from transformers import ElectraConfig, ElectraModel

    config = ElectraConfig(
        vocab_size=90,
        embedding_size=16,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
    )
    ElectraModel(config).save_pretrained(tmp_path)
    model = tagging.new_model(str(tmp_path), TAGS, lexicon=LEXICON).model
    ids = torch.tensor([[2, 5, 3]])
    model(input_ids=ids, matches=torch.tensor([[0, ALONE, 0]]), labels=ids * 0).loss.backward()
    for vectors, width in zip(model.matches.values(), (16, 32), strict=True):
        assert vectors.weight.shape == (5, width)
        moved = vectors.weight.grad.abs().sum(1) > 0
        assert moved.tolist() == [False, False, False, False, True]
    with pytest.raises(ValueError, match="`matches`, from `word_inputs`"):
        model(input_ids=ids)


def test_training_hides_whole_matches(make):
    model = make(lexicon=LEXICON, lexicon_dropout=0.25)
    matches = torch.tensor(
        [[0, FIRST, FIRST, INNER, LAST, 0, ALONE, 0], [ALONE, ALONE, 0, FIRST, LAST, 0, 0, 0]]
    ).repeat(2000, 1)
    assert model._not_hidden(matches) is matches
    torch.manual_seed(0)
    seen = model.train()._not_hidden(matches)
    assert ((seen == matches) | (seen == 0)).all()
    for row, parts in ((0, (slice(1, 5), slice(6, 7))), (1, (slice(0, 2), slice(3, 5)))):
        first, second = ((seen[row::2, part] > 0) for part in parts)
        for kept in (first, second):
            assert (kept == kept[:, :1]).all()
            assert kept.float().mean() == pytest.approx(0.75, abs=0.04)
        assert (first[:, 0] & second[:, 0]).float().mean() == pytest.approx(0.75**2, abs=0.04)
    model.config.lexicon_dropout = 0.0
    assert model._not_hidden(matches) is matches


# Saving, loading, going on


TEXTS = [Example("0", "No colon cancer, no flu. " * 9), Example("1", "flu")]


@pytest.mark.parametrize("members", [1, 2])
def test_a_saved_tagger_keeps_its_lexicon(make, tokenizer, tmp_path, members):
    models = [make(lexicon=LEXICON, lexicon_dropout=0.2) for _ in range(members)]
    model = models[0] if members == 1 else ensemble_of(models)
    settings = TaggerSettings(window=32, stride=8)
    token_tagger.save(tmp_path, model=model, tokenizer=tokenizer, settings=settings)
    before = predict(Loaded(model, tokenizer, settings), TEXTS, progress=False)
    assert before[0].spans
    loaded = token_tagger.load(tmp_path)
    assert predict(loaded, TEXTS, progress=False) == before
    for tagger in getattr(loaded.model, "taggers", [loaded.model]):
        assert tagger.lexicon is loaded.model.lexicon
        assert tagger.config.lexicon_dropout == 0.2
    assert loaded.model.lexicon.names == LEXICON.names
    (tmp_path / "lexicon.json").unlink()
    with pytest.raises(UserError, match=r"lexicon\.json"):
        token_tagger.load(tmp_path)


def test_a_tagger_goes_on_with_its_lexicon_or_with_another(make, tokenizer, tmp_path):
    first = make(lexicon=LEXICON, lexicon_dropout=0.2)
    token_tagger.save(tmp_path, model=first, tokenizer=tokenizer, settings=TaggerSettings())
    vectors = first.matches["states"].weight

    def again(lexicon):
        made = tagging.new_model(str(tmp_path), TAGS, lexicon=lexicon, lexicon_dropout=0.5)
        return made.model, made.new, made.model.matches["states"].weight

    model, new, weight = again(None)
    assert (new, model.lexicon.names) == ([], LEXICON.names)
    assert model.config.lexicon_dropout == 0.2
    assert torch.equal(weight, vectors)
    model, new, weight = again(Lexicon({"ague": Entry("D")}))
    assert (new, list(model.lexicon.names)) == ([], ["ague"])
    assert model.config.lexicon_dropout == 0.5
    assert torch.equal(weight, vectors)
    # Tags of other types, as many: their vectors start anew.
    model, new, weight = again(Lexicon({"ague": Entry("X")}))
    assert new == ["matches.embeddings.weight", "matches.states.weight"]
    assert not weight.any()
    assert model.config.lexicon_tags[1] == "B-X"


# The recipes


@pytest.fixture(scope="module")
def names(corpus, tmp_path_factory):
    """Half of the mentions of train, and a name that no text of the corpus has."""
    rows = json.loads(corpus["train"].read_text(encoding="utf-8"))
    mentions = sorted({entity["text"] for row in rows for entity in row["entities"]})
    file = tmp_path_factory.mktemp("names") / "names.tsv"
    lines = [f"{name}\tDisease\n" for name in mentions[::2]]
    file.write_text("".join([*lines, "swamp ague\tDisease\tD9\n"]), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def arguments(tiny_bert, corpus):
    return [
        *("--config", CONFIGS / "tagger_minilm.yaml", "--model_name_or_path", tiny_bert),
        *("--train_file", corpus["train"], "--dev_file", corpus["dev"]),
        *("--num_train_epochs", 1),
    ]


@pytest.fixture(scope="module")
def run(arguments, names, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "lexicon"
    assert call("finetune_token_tagger", *arguments, "--lexicon", names, "--run_dir", folder) == 0
    return folder


def test_a_run_needs_its_lexicon_no_more(run, names, corpus, tmp_path):
    folder = shutil.copytree(run, tmp_path / "run")
    moved = names.rename(tmp_path / "names.tsv")
    try:
        words = ["--input", corpus["dev"], "--output", tmp_path / "again.jsonl"]
        assert cli.main(["predict", "--run", str(folder), *map(str, words)]) == 0
    finally:
        moved.rename(names)
    again = read_predictions(tmp_path / "again.jsonl")
    assert again == read_predictions(folder / "predictions" / "dev.jsonl")
    model = token_tagger.load(folder / "model").model
    assert model.config.lexicon_dropout == 0.3
    assert all(vectors.weight[1:].any() for vectors in model.matches.values())
    provenance = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    assert str(names) in provenance["data"]
    assert "- `lexicon names.tsv`" in (folder / "README.md").read_text(encoding="utf-8")


def test_a_lexicon_that_was_changed_is_no_resumption(run, names, arguments, tmp_path, capsys):
    folder = shutil.copytree(run, tmp_path / "run")
    again = [*arguments, "--lexicon", names, "--run_dir", folder]
    again += ["--num_train_epochs", 2, "--resume_from_checkpoint", "true"]
    before = names.read_text(encoding="utf-8")
    try:
        names.write_text(f"{before}marsh ague\tDisease\n", encoding="utf-8")
        assert call("finetune_token_tagger", *again) == 2
        assert "names.tsv" in one_error(capsys.readouterr().err)
    finally:
        names.write_text(before, encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--lexicon", "none.tsv"], "--lexicon none.tsv: no such file"),
        (["--lexicon_dropout", 0.5], "without --lexicon"),
        (["--lexicon_dropout", 1], "wanted a number from 0 to below 1"),
    ],
)
@pytest.mark.parametrize("recipe", ["finetune_token_tagger", "distil_tagger"])
def test_bad_options_are_one_line(recipe, options, message, arguments, tmp_path):
    module = load_recipe(recipe)
    given = [*arguments, *options, "--run_dir", tmp_path / "run"]
    if recipe == "distil_tagger":
        given += ["--teachers", tmp_path, "--unlabelled", tmp_path]
    parsed = module.config.parse(
        (module.RecipeArguments, module.TrainingArguments), arguments=list(map(str, given))
    )
    with pytest.raises(UserError, match=message) as error:
        module.check(*parsed)
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def teacher(names, corpus, tmp_path_factory):
    """A dictionary with the lexicon."""
    folder = tmp_path_factory.mktemp("teachers") / "dictionary"
    files = ["--train_file", corpus["train"], "--dev_file", corpus["dev"]]
    options = ["--network", "dictionary", "--lexicon", names, *files, "--run_dir", folder]
    assert call("train_tagger", *options) == 0
    return folder


@pytest.mark.slow
def test_a_dictionary_with_a_lexicon_teaches_and_votes(teacher, arguments, names, corpus, tmp_path):
    crf, student = tmp_path / "crf", tmp_path / "student"
    files = ["--train_file", corpus["train"], "--dev_file", corpus["dev"]]
    options = ["--network", "crf", "--max_iterations", 20, "--lexicon", names]
    assert call("train_tagger", *options, *files, "--run_dir", crf) == 0
    texts = tmp_path / "more.txt"
    texts.write_text("Two patients had swamp ague .\nNo name is here .\n", encoding="utf-8")
    given = ["--teachers", teacher, crf, "--unlabelled", texts, "--lexicon", names]
    assert call("distil_tagger", *arguments, *given, "--run_dir", student) == 0
    rows = [json.loads(row) for row in (student / "silver/teacher-1.jsonl").open(encoding="utf-8")]
    [span] = rows[0]["spans"]
    assert (span["start"], span["end"], span["score"]) == (17, 27, 0.5)
    assert rows[0]["mentions"][0]["id"] == "D9"
    assert rows[1]["spans"] == []
    # The joint answer has it by the mean score, since the CRF believes the list too.
    silver = [json.loads(row) for row in (student / "silver/silver.jsonl").open(encoding="utf-8")]
    assert [len(row["spans"]) for row in silver] == [1, 0]
    assert token_tagger.load(student / "model").model.lexicon is not None
    # As a voter, beside one that is sure.
    sure = {"id": rows[0]["id"], "spans": [{**span, "score": 0.9}]}
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    one.write_text(json.dumps(rows[0]) + "\n", encoding="utf-8")
    two.write_text(json.dumps(sure) + "\n", encoding="utf-8")
    joint = tmp_path / "joint.jsonl"
    assert cli.main(["vote", str(one), str(two), "--out", str(joint)]) == 0
    [answer] = read_predictions(joint)
    assert [(found.start, found.end, found.score) for found in answer.spans] == [(17, 27, 0.7)]
    both = tmp_path / "both"
    assert cli.main(["vote", "--runs", str(teacher), str(crf), "--run_dir", str(both)]) == 0
    words = ["--run", both, "--input", texts, "--output", tmp_path / "answers.jsonl"]
    assert cli.main(["predict", *map(str, words)]) == 0
