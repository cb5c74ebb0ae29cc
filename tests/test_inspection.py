"""Looking inside taggers: colours by hand, activations against formulas, gradients against differences."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import run_python
from recipe_cases import one_error
from transformers import BertConfig, BertForTokenClassification, BertTokenizerFast

from pipelines.errors import UserError
from pipelines.examples import Example, Span
from pipelines.families import token_tagger
from pipelines.families.token_tagger import Loaded, TaggerSettings
from pipelines.inspection.activations import activations
from pipelines.inspection.layers import LayerSums, compare_layers, hoyer, layer_names
from pipelines.inspection.saliency import saliency, strongest
from pipelines.inspection.tags import Inspection, Token, inspect_example
from pipelines.networks.feedforward import FeedforwardConfig, FeedforwardTagger
from pipelines.networks.recurrent import RecurrentConfig, RecurrentTagger
from pipelines.networks.word_tokenizer import word_tokenizer
from pipelines.reporting.inspection import InspectionResults, write_inspection
from pipelines.spans import join_tokens

WORDS = ["Ada", "met", "Bo", "in", "Rome", "<b>"]
TAGS = dict(enumerate(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]))
SMALL = {"vocab_size": len(WORDS) + 2, "embedding_dim": 6, "id2label": TAGS}


def example(text="Ada met Bo in Rome again", entities=((0, "PER"), (2, "PER"), (4, "LOC")), id="7"):
    text, tokens = join_tokens(text.split())
    return Example(
        id, text, spans=tuple(Span(*tokens[at], label) for at, label in entities), tokens=tokens
    )


def tagger(kind="feedforward", **options):
    torch.manual_seed(0)
    model = (
        FeedforwardTagger(FeedforwardConfig(**SMALL, **({"hidden_sizes": [5]} | options)))
        if kind == "feedforward"
        else RecurrentTagger(RecurrentConfig(**SMALL, **({"hidden_size": 5} | options)))
    )
    with torch.no_grad():
        model.embeddings.words.weight.mul_(20)
    return Loaded(model.eval(), word_tokenizer(WORDS), TaggerSettings(decode="argmax"))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A random BERT of two layers that cuts words into pieces."""
    folder = tmp_path_factory.mktemp("bert")
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "Ada",
        "met",
        "Bo",
        "in",
        "Ro",
        "##me",
        "a",
        "##gain",
    ]
    (folder / "vocab.txt").write_text("\n".join(pieces))
    torch.manual_seed(0)
    model = BertForTokenClassification(
        BertConfig(
            vocab_size=len(pieces),
            hidden_size=8,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=12,
            id2label=TAGS,
            label2id={tag: number for number, tag in TAGS.items()},
        )
    ).eval()
    return Loaded(
        model, BertTokenizerFast(str(folder / "vocab.txt"), do_lower_case=False), TaggerSettings()
    )


KINDS = ["feedforward", "recurrent", "bidirectional", "library", "encoder"]


@pytest.fixture(params=KINDS)
def any_tagger(request, encoder):
    return {
        "encoder": encoder,
        "feedforward": tagger(),
        "recurrent": tagger("recurrent"),
        "bidirectional": tagger("recurrent", bidirectional=True, num_layers=2, cell="gru"),
        "library": tagger("recurrent", library_cell=True, cell="lstm", bidirectional=True),
    }[request.param]


@pytest.mark.parametrize(
    ("predicted", "true", "verdict"),
    [
        ("O", "O", ""),
        ("B-PER", "B-PER", "right"),
        ("I-PER", "B-PER", "prefix"),
        ("B-PER", "I-PER", "prefix"),
        ("B-PER", "B-LOC", "wrong"),
        ("O", "B-PER", "wrong"),
        ("B-PER", "O", "wrong"),
        ("B-PER", None, ""),
    ],
)
def test_colours_as_in_the_course(predicted, true, verdict):
    token = Token("x", False, predicted, 0.5, true)
    assert token.verdict == verdict
    shown = Inspection("1", [token])
    ansi = {"right": "\033[32m+", "prefix": "\033[33m~", "wrong": "\033[31mx", "": "\n  "}[verdict]
    assert ansi in shown.to_text(color=True)
    assert "\033" not in shown.to_text()
    ground = {"right": "#d8f0dc", "prefix": "#fdf0c2", "wrong": "#fbdcd9"}.get(verdict)
    assert ("<tr style" in shown.to_html()) == bool(verdict)
    assert ground is None or f'<tr style="background:{ground}' in shown.to_html()


def test_tokens_with_their_tags_and_unknown_marks(any_tagger):
    shown = inspect_example(any_tagger, example())
    assert [token.text for token in shown.tokens] == ["Ada", "met", "Bo", "in", "Rome", "again"]
    assert [token.true for token in shown.tokens] == ["B-PER", "O", "B-PER", "O", "B-LOC", "O"]
    known = "##gain" in any_tagger.tokenizer.get_vocab()
    assert [token.unknown for token in shown.tokens] == [False] * 5 + [not known]
    [prediction] = token_tagger.predict(any_tagger, [example()], progress=False)
    begins = {span.start for span in prediction.spans}
    assert begins == {
        start
        for (start, _), token, before in zip(
            example().tokens, shown.tokens, [None, *shown.tokens], strict=False
        )
        if token.predicted != "O"
        and (
            token.predicted[0] == "B"
            or before is None
            or before.predicted == "O"
            or before.predicted[2:] != token.predicted[2:]
        )
    }


def test_text_and_notebook_escape_and_tell(any_tagger):
    shown = inspect_example(any_tagger, replace(example("<b> met", ()), spans=None))
    assert "&lt;b&gt;" in shown._repr_html_()
    assert "<b>" not in shown._repr_html_()
    assert {token.true for token in shown.tokens} == {None}
    assert shown.to_text().startswith("example 7: ")


def test_activations_are_those_of_the_formula():
    loaded = tagger()
    model = loaded.model
    found = activations(loaded, example(), "layers.0")
    vectors = model.embeddings.words.weight[[2, 3, 4, 5, 6, 1]]
    assert found.tokens[-1] == "again"
    assert np.allclose(
        found.values,
        (vectors @ model.layers[0].weight.T + model.layers[0].bias).detach(),
        atol=1e-5,
    )
    assert activations(loaded, example(), "activations.0").values.min() == 0


def test_a_backward_cell_is_shown_in_the_order_of_the_text():
    loaded = tagger("recurrent", bidirectional=True)
    with torch.no_grad():
        for weights in loaded.model.layers[0][1].U.parameters():
            weights.zero_()
    cell = loaded.model.layers[0][1]
    vectors = loaded.model.embeddings.words.weight[[2, 3, 4, 5, 6, 1]]
    # Without a memory the cell is a function of its own word.
    assert np.allclose(
        activations(loaded, example(), "layers.0.1").values,
        torch.tanh(cell.W(vectors)).detach(),
        atol=1e-6,
    )
    # A module that runs once a step gives its rows step by step.
    assert activations(loaded, example(), "layers.0.1.f").values.shape == (6, 5)


def test_any_module_has_one_row_a_token(any_tagger):
    for name in layer_names(any_tagger.model):
        found = activations(any_tagger, example(), name)
        assert found.values.shape[0] == len(found.tokens) == 6
        one = activations(any_tagger, example("Ada", ()), name)
        assert one.values.shape == (1, found.values.shape[1])
    assert np.allclose(
        activations(any_tagger, example(), "classifier").values,
        token_tagger.unit_logits(
            any_tagger,
            token_tagger.encode([example()], any_tagger.tokenizer, any_tagger.settings),
            batch_tokens=100,
            progress=False,
        )[0],
        atol=1e-5,
    )


def test_layers_that_are_compared(encoder):
    assert layer_names(tagger("recurrent", bidirectional=True, num_layers=2).model) == [
        "embeddings.words",
        "layers.0.0",
        "layers.0.1",
        "layers.1.0",
        "layers.1.1",
        "classifier",
    ]
    assert layer_names(tagger().model) == [
        "embeddings.words",
        "layers.0",
        "activations.0",
        "classifier",
    ]
    assert layer_names(encoder.model) == [
        "bert.embeddings.word_embeddings",
        "bert.encoder.layer.0",
        "bert.encoder.layer.1",
        "classifier",
    ]


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("layer.0", "near it are .*layers.0"),
        ("", "no such module"),
        ("layers", "does not give one row"),
    ],
)
def test_a_module_that_cannot_be_drawn_is_reported(module, expected):
    with pytest.raises(UserError, match=expected):
        activations(tagger(), example(), module)


def test_sparsity_by_hand():
    rows = np.array([[1, 1, 1, 1], [0, 5, 0, 0], [0, 0, 0, 0], [3, 4, 0, 0]])
    assert np.allclose(hoyer(rows), [0, 1, 0, (2 - 7 / 5) / 1])
    assert np.allclose(hoyer(np.ones((2, 1))), 0)


def test_separation_by_hand():
    """One unit, entities 1 and 3, others -1 and -3: means ±2, variances 1; the second unit is the same for all."""
    moments = LayerSums(2)
    moments.add(np.array([[1, 7], [-1, 7]]), np.array([True, False]))
    moments.add(np.array([[3, 7], [-3, 7]]), np.array([True, False]))
    layer = moments.layer("x")
    assert (layer.best_unit, layer.best_fisher, layer.fisher) == (
        0,
        pytest.approx(8),
        pytest.approx(4),
    )
    assert layer.d_prime == pytest.approx(4)
    assert layer.entity_sparsity == pytest.approx(np.mean(hoyer(np.array([[1, 7], [3, 7]]))))


def test_sums_over_sentences_equal_one_over_all_tokens(any_tagger):
    examples = [example(), example("Rome met Ada", ((0, "LOC"), (2, "PER")), id="8")]
    for layer in compare_layers(any_tagger, examples, progress=False):
        rows = np.concatenate(
            [activations(any_tagger, one, layer.name).values for one in examples]
        ).astype(float)
        entity = np.array([True, False, True, False, True, False, True, False, True])
        difference = rows[entity].mean(0) - rows[~entity].mean(0)
        along = rows @ difference
        spread = np.sqrt((along[entity].var() + along[~entity].var()) / 2)
        assert layer.d_prime == pytest.approx(
            (along[entity].mean() - along[~entity].mean()) / spread, rel=1e-3
        )
        ratio = difference**2 / (rows[entity].var(0) + rows[~entity].var(0))
        assert layer.best_fisher == pytest.approx(ratio.max(), rel=1e-3)
        assert layer.entity_sparsity == pytest.approx(hoyer(rows[entity]).mean(), abs=1e-5)


def test_unlabelled_examples_cannot_be_compared(any_tagger):
    with pytest.raises(UserError, match="labelled file"):
        compare_layers(any_tagger, [Example("1", "Ada")], progress=False)
    with pytest.raises(UserError, match="without two entity tokens"):
        compare_layers(any_tagger, [example(entities=())], progress=False)


def test_a_word_alone_leans_on_itself_and_a_window_on_its_words():
    alone = saliency(tagger(), example()).values
    assert np.count_nonzero(alone - np.diag(np.diag(alone))) == 0
    assert np.count_nonzero(np.diag(alone)) > 0
    near = saliency(tagger(window=1), example()).values
    far = np.abs(np.subtract.outer(range(6), range(6))) > 1
    assert not near[far].any()
    assert near[~far].any()


def test_a_recurrent_tagger_leans_on_earlier_words_only():
    found = saliency(tagger("recurrent"), example()).values
    assert not np.triu(found, k=1).any()
    assert np.tril(found, k=-1).any()
    assert np.triu(saliency(tagger("recurrent", bidirectional=True), example()).values, k=1).any()


def test_saliency_is_the_slope_when_a_words_vector_grows(any_tagger):
    """Σ e · ∂y/∂e is dy/dα at α = 1 where the vector of one word is α e."""
    if any_tagger.model.config.model_type == "bert":
        pytest.skip(
            "its pieces share a vector with others; its sums are checked by the sub-words below"
        )
    model, text = any_tagger.model.double(), example("Ada met Bo", ())
    found = saliency(any_tagger, text)
    step, weights = 1e-4, model.embeddings.words.weight
    encoded = token_tagger.encode([text], any_tagger.tokenizer, any_tagger.settings)
    [window] = encoded[0].windows

    def scores():
        with torch.no_grad():
            return model(input_ids=torch.tensor([window.input_ids])).logits[0].numpy().copy()

    tags = scores().argmax(1)
    for unit, word in enumerate(window.input_ids):
        with torch.no_grad():
            kept = weights[word].clone()
            weights[word] = kept * (1 + step)
            more = scores()
            weights[word] = kept * (1 - step)
            slope = (more - scores()) / (2 * step)
            weights[word] = kept
        assert np.allclose(found.values[:, unit], slope[range(3), tags], atol=1e-5)


def test_saliency_of_pieces_is_that_of_their_word(encoder):
    found = saliency(encoder, example())
    assert found.values.shape == (6, 6)
    assert np.count_nonzero(found.values) == 36
    [[(first, value), *_], *_] = strongest(found)
    assert abs(value) == abs(found.values[0]).max() == abs(found.values[0, first])


def test_frozen_vectors_have_a_saliency_too():
    assert saliency(tagger(train_embeddings=False), example()).values.any()


def test_a_text_of_two_windows_is_refused(encoder):
    short = encoder._replace(settings=TaggerSettings(window=5, stride=1))
    with pytest.raises(UserError, match="within one window"):
        saliency(short, example())


@pytest.mark.extensive
@pytest.mark.slow
def test_a_very_long_text_is_drawn_in_part(tmp_path):
    words = 400
    loaded, long = tagger("recurrent"), example("Ada met Bo in Rome " * (words // 5))
    found = saliency(loaded, long)
    assert len(found.rows) == 100
    assert found.values.shape == (100, words)
    results = InspectionResults(
        inspection=inspect_example(loaded, long),
        saliency=found,
        activations=activations(loaded, long, "layers.0.0"),
        module="layers.0.0",
    )
    write_inspection(results, tmp_path / "a.html", run="r")
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 2
    assert page.count(f"The picture ends at token 300 of {words:,}.") == 2
    assert page.count("<tr") == words + 1


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    loaded = tagger("recurrent")
    token_tagger.save(
        folder / "model", model=loaded.model, tokenizer=loaded.tokenizer, settings=loaded.settings
    )
    rows = {
        "text": [["Ada", "met", "Bo"], ["Rome", "fell"], [" "]],
        "NER": [["B-PER", "O", "B-PER"], ["B-LOC", "O"], ["O"]],
        "index": [[0, 1, 2], [3, 4], [5]],
    }
    (folder / "dev.json").write_text(json.dumps(rows))
    (folder / "config.yaml").write_text(
        f"dev_file: {folder / 'dev.json'}\nseed: 70\nnetwork: rnn\n"
    )
    return folder


def command(*arguments):
    return run_python("-m", "pipelines.cli", *arguments)


@pytest.mark.slow
def test_the_command_prints_and_draws(run):
    done = command(
        "inspect",
        "--run",
        run,
        "--id",
        "1",
        "--color",
        "always",
        "--activations",
        "layers.0.0",
        "--saliency",
        "--compare_layers",
    )
    assert done.returncode == 0, done.stderr
    assert "example 1: 2 tokens" in done.stdout
    assert "fell" in done.stdout
    assert "layers.0.0" in done.stdout
    assert (
        "what the predicted tags depend on" in done.stdout
        or "no entity was predicted" in done.stdout
    )
    page = (run / "inspect.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 4
    assert "<dt>model</dt><dd>rnn</dd>" in page
    assert "<dt>seed</dt><dd>70</dd>" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_columns_are_those_that_the_run_or_the_command_names(run, tmp_path, capsys):
    from pipelines.cli import main

    odd, copy = tmp_path / "odd.json", shutil.copytree(run, tmp_path / "run")
    odd.write_text(json.dumps([{"nr": "x", "satz": "fell"}]))
    (copy / "config.yaml").write_text(f"dev_file: {odd}\ntext_column: satz\nid_column: nr\n")
    assert main(["inspect", "--run", str(copy), "--id", "x"]) == 0
    assert (
        main(
            [
                "inspect",
                "--run",
                str(run),
                "--id",
                "x",
                "--input",
                str(odd),
                "--text_column",
                "satz",
                "--id_column",
                "nr",
            ]
        )
        == 0
    )
    assert capsys.readouterr().out.count("example x: 1 tokens") == 2


def test_parameters_of_a_run(run, capsys):
    from pipelines.cli import main

    assert main(["parameters", "--run", str(run)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "closed form for T tokens: T·80 multiply-adds (as counted): H·(H + D + C), H = 5, D = 6, C = 5"
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--id", "9"], "got --id 9; no such example in"),
        ([], "inspect needs --id"),
        (["--id", "2"], "no words to look at"),
        (["--id", "0", "--activations", "nothing"], "no such module"),
        (["--id", "0", "--input", "missing.json"], "missing.json: no such file"),
    ],
)
def test_bad_input_is_one_line(run, arguments, expected, capsys):
    from pipelines.cli import main

    with pytest.raises(SystemExit) as ended:
        main(["inspect", "--run", str(run), *arguments])
    line = one_error(capsys.readouterr().err)
    assert expected in line
    assert ended.value.code == 2


def test_a_run_of_another_family_is_reported(run, tmp_path, capsys):
    from pipelines.cli import main

    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "lexical.json").write_text("{}")
    for folder, expected in (
        (tmp_path, "of the family lexical"),
        (tmp_path / "none", "no such folder"),
    ):
        with pytest.raises(SystemExit):
            main(["inspect", "--run", str(folder), "--id", "0"])
        assert expected in capsys.readouterr().err
