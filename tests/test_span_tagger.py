"""A head on whole spans: its scores and loss by hand, windows, nested mentions, saving, the recipe."""

import json
import re
from itertools import pairwise

import pytest
import torch
import word_bert
from conftest import load_recipe
from transformers import TrainingArguments

from pipelines import cli
from pipelines.corpora.lexicon import Entry, Lexicon
from pipelines.corpora.predictions import read_predictions
from pipelines.errors import UserError
from pipelines.examples import Example, Span
from pipelines.families import token_tagger
from pipelines.families.token_tagger import TaggerSettings, encode, span_answers, span_training
from pipelines.families.token_tagger.tagging import new_model
from pipelines.networks.span_tagger import NO_SPAN, SpanTagger
from pipelines.networks.tagger_ensemble import ensemble_of

TYPES = ["D", "G"]


def text_of(text, *spans, id="0"):
    return Example(id, text, spans=tuple(Span(start, end, label) for start, end, label in spans))


NESTED = [
    text_of("colon cancer gene", (0, 17, "G"), (0, 12, "D"), (0, 5, "D"), id="a"),
    text_of("the colon of no flu", (16, 19, "D"), (16, 19, "G"), id="b"),  # two types
    text_of("no colon cancer of the colon", (3, 15, "D"), (9, 18, "G"), id="c"),  # crossing
    text_of("the of no", id="d"),
]


@pytest.fixture(scope="module")
def tokenizer():
    return word_bert.word_pieces()


@pytest.fixture(scope="module")
def bare_bert(tmp_path_factory):
    return word_bert.write(tmp_path_factory.mktemp("models") / "tiny-bert")


def span_tagger(**options):
    return word_bert.span_tagger(TYPES, **{"nested": True} | options)


def trainer(model, tokenizer, folder, texts, **options):
    settings = TaggerSettings("spans", 64, 16)
    names = TrainingArguments.__dataclass_fields__
    given = {name: options.pop(name) for name in list(options) if name in names}
    return span_training.TaggerTrainer(
        model=model,
        processing_class=tokenizer,
        settings=settings,
        train_dataset=span_training.training_rows(texts, model, tokenizer, settings).rows,
        args=TrainingArguments(
            str(folder),
            use_cpu=True,
            report_to="none",
            disable_tqdm=True,
            remove_unused_columns=False,
            **{"save_strategy": "no"} | given,
        ),
        **options,
    )


def test_a_span_is_scored_from_its_ends_its_inside_and_its_width():
    model = span_tagger()
    ids = torch.tensor([[2, 4, 5, 6, 3]])
    first, last = torch.tensor([[1, 3]]), torch.tensor([[2, 3]])  # units of two sub-words and one
    with torch.no_grad():
        logits = model(input_ids=ids, first=first, last=last).logits
        states = model.encoder(input_ids=ids).last_hidden_state[0]
        inside = (model.inside(states[1]) + model.inside(states[3])) / 2
        whole = model.start(states[1]) + model.end(states[3]) + inside + model.widths.weight[1]
        wanted = model.classifier(torch.nn.functional.gelu(whole))
    assert logits.shape == (1, 2, 3, 2)
    torch.testing.assert_close(logits[0, 0, 1], wanted)
    assert (logits[0, [0, 1, 1], [2, 1, 2]] == NO_SPAN).all()  # run past the last unit
    assert (logits[0, [0, 0, 1], [0, 1, 0]] > NO_SPAN).all()


def test_spans_read_a_lexicon_too(bare_bert, tokenizer):
    options = {"tune": "full", "last_n": 1, "lora": None, "max_width": 3, "nested": True}
    names = Lexicon({"colon cancer": Entry("D")})
    model, new = span_training.model_to_train(str(bare_bert), TYPES, **options, lexicon=names)
    assert {name for name in new if name.startswith("matches")} == {
        "matches.embeddings.weight",
        "matches.states.weight",
    }
    settings = TaggerSettings("spans", 64, 16)
    [row, *_] = span_training.training_rows(NESTED, model, tokenizer, settings).rows
    assert sum(match > 0 for match in row["matches"]) == 2  # the words of the name
    encoded = encode(NESTED, tokenizer, settings)
    before = span_answers.span_logits(model, encoded, batch_tokens=64, pad=0)
    torch.nn.init.constant_(model.matches["states"].weight[1:], 1.0)
    after = span_answers.span_logits(model, encoded, batch_tokens=64, pad=0)
    changed = [not torch.equal(own, other) for own, other in zip(before, after, strict=True)]
    assert changed == [True, False, True, False]


def test_padding_changes_no_score():
    model = span_tagger()
    alone = {
        "input_ids": torch.tensor([[2, 4, 5, 3]]),
        "first": torch.tensor([[1, 2]]),
        "last": torch.tensor([[1, 2]]),
    }
    padded = {
        "input_ids": torch.tensor([[2, 4, 5, 3, 0, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1, 1, 0, 0]]),
        "first": torch.tensor([[1, 2, -1, -1]]),
        "last": torch.tensor([[1, 2, -1, -1]]),
    }
    with torch.no_grad():
        torch.testing.assert_close(
            model(**padded).logits[:, :2], model(**alone).logits, atol=1e-5, rtol=1e-5
        )
        assert (model(**padded).logits[:, 2:] == NO_SPAN).all()


def test_rows_hold_all_mentions_and_name_those_that_are_lost(tokenizer):
    model = span_tagger()
    cut = text_of("colon cancer", (0, 3, "D"), id="cuts a word")
    wide = text_of("no flu of the colon", (0, 19, "D"), id="five words")
    rows = span_training.training_rows(
        [*NESTED, cut, wide], model, tokenizer, TaggerSettings("spans", 64, 16)
    )
    assert rows.rows[0]["gold"] == [[0, 2, 1], [0, 1, 0], [0, 0, 0]]
    assert rows.rows[1]["gold"] == [[4, 0, 0], [4, 0, 1]]
    assert [id for id, _ in rows.lost] == ["cuts a word", "five words"]
    assert [label for label in rows.rows[0]["labels"] if label != -100] == [0, 0, 0]
    counted = span_training.label_weights(rows.rows[:1], model, power=1.0)
    assert counted.tolist() == [4 / 2, 5 / 1]  # of six spans two are D, one is G


def test_the_loss_is_of_every_span_that_is_there(tokenizer, tmp_path):
    model = span_tagger()
    made = trainer(model, tokenizer, tmp_path, NESTED[:2])
    batch = span_answers.collate_spans(made.train_dataset, pad=0)
    with torch.no_grad():
        loss = made.compute_loss(model, dict(batch))
        logits = model(**{name: batch[name] for name in batch if name not in ("labels", "gold")})
    total, gold = 0.0, [{(0, 2, 1), (0, 1, 0), (0, 0, 0)}, {(4, 0, 0), (4, 0, 1)}]
    for row, units in enumerate((3, 5)):
        for start in range(units):
            for width in range(min(3, units - start)):
                for label in range(2):
                    p = logits.logits[row, start, width, label].sigmoid()
                    total -= float((p if (start, width, label) in gold[row] else 1 - p).log())
    assert float(loss) == pytest.approx(total / 8, rel=1e-4)  # over eight units


def test_smoothing_goes_to_the_spans_beside():
    real = span_training.real_spans(torch.tensor([[1, 2, 3, -1]]), 2)
    assert real.tolist() == [[[True, True], [True, True], [True, False], [False, False]]]
    gold = torch.tensor([[[1, 0, 1], [-1, -1, -1]]])  # one unit of three, two widths
    targets = span_training.targets_of((1, 4, 2, 2), real, gold, smoothing=0.4)
    wanted = torch.zeros(4, 2)
    wanted[1, 0] = 0.8  # a span of no unit gets nothing
    wanted[0, 1] = wanted[1, 1] = 0.1
    torch.testing.assert_close(targets[0, ..., 1], wanted)
    assert not targets[0, ..., 0].any()
    plain = span_training.targets_of((1, 4, 2, 2), real, gold, smoothing=0.0)
    assert plain.sum() == plain[0, 1, 0, 1] == 1


def test_spans_that_overlap_are_alternatives():
    def score(start, end, p):
        return Span(start, end, "D", p)

    unsure = [score(0, 5, 0.3), score(0, 9, 0.35), score(20, 25, 0.45), score(30, 33, 0.19)]
    assert span_answers.likeliest([*unsure, score(30, 34, 0.19), score(31, 34, 0.19)]) == [
        score(0, 9, 0.35)
    ]
    sure = [score(0, 5, 0.9), score(3, 9, 0.8), score(6, 9, 0.6)]
    assert span_answers.likeliest(sure) == [sure[0], sure[2]]


@pytest.mark.parametrize("half_copies", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_training_learns_nested_mentions_by_heart(bare_bert, tokenizer, tmp_path, half_copies):
    torch.manual_seed(0)
    model, new = span_training.model_to_train(
        str(bare_bert),
        TYPES,
        tune="full",
        last_n=1,
        lora=None,
        max_width=3,
        nested=True,
        case_feature=half_copies,
        dropout=0.0,
    )
    assert "classifier.weight" in new
    made = trainer(
        model,
        tokenizer,
        tmp_path,
        NESTED,
        dev=NESTED,
        max_steps=80,
        learning_rate=3e-3,
        half_copies=half_copies,
        batch_tokens=40 if half_copies else None,
    )
    made.train()
    scores = made.evaluate()
    assert scores["eval_strict_f1"] == 1
    assert scores["eval_loss"] < 0.2
    settings = TaggerSettings("spans", 64, 16)
    loaded = token_tagger.Loaded(model, tokenizer, settings)
    found = token_tagger.predict(loaded, NESTED, progress=False)
    assert [prediction.spans for prediction in found] == [
        tuple(sorted(example.spans)) for example in NESTED
    ]
    assert all(0.5 < span.score <= 1 for prediction in found for span in prediction.spans)
    assert all(0.5 <= prediction.certainty <= 1 for prediction in found)
    if half_copies:
        return
    model.config.nested = False  # of those that overlap the likeliest
    for example, prediction in zip(
        NESTED, token_tagger.predict(loaded, NESTED, progress=False), strict=True
    ):
        assert set(prediction.spans) <= set(example.spans)
        assert len(prediction.spans) == bool(example.spans)
    folder = tmp_path / "saved"
    token_tagger.save(folder, model=model, tokenizer=tokenizer, settings=settings)
    again = token_tagger.load(folder, device="cpu")
    assert isinstance(again.model, SpanTagger)
    assert token_tagger.predict(again, NESTED, progress=False) == token_tagger.predict(
        loaded, NESTED, progress=False
    )
    joined = token_tagger.Loaded(ensemble_of([model, model]), tokenizer, settings)
    assert token_tagger.predict(joined, NESTED, progress=False)[0].spans
    same, lacking = span_training.model_to_train(
        str(folder), TYPES[::-1], tune="head", last_n=1, lora=None, max_width=3, nested=True
    )
    assert not lacking
    torch.testing.assert_close(same.classifier.weight, model.classifier.weight.flip(0))
    with pytest.raises(UserError, match="scores whole spans, and has no tags; take --decode spans"):
        new_model(str(folder), word_bert.TAGS)


def test_a_window_is_trained_on_the_mentions_that_it_holds_whole(tokenizer):
    """Every two words are a mention: a window of n words holds n - 1 of them."""
    text = "no flu of the colon cancer " * 3
    words = [(match.start(), match.end()) for match in re.finditer(r"\S+", text)]
    pairs = [(first[0], second[1], "D") for first, second in pairwise(words)]
    settings = TaggerSettings("spans", 12, 5)
    found = span_training.training_rows([text_of(text, *pairs)], span_tagger(), tokenizer, settings)
    assert len(found.rows) > 2
    for row in found.rows:
        units = len(row["first"])
        assert row["gold"] == [[start, 1, 0] for start in range(units - 1)]


def test_a_span_across_windows_is_found_in_one_that_holds_it(tokenizer):
    """The scores of a long text are those of the window in which a span has the most context."""
    model, text = span_tagger(), Example("0", "no flu of the colon cancer " * 3)
    settings = TaggerSettings("spans", 12, 5)
    [encoded] = encode([text], tokenizer, settings)
    assert len(encoded.windows) > 2
    [scores] = span_answers.span_logits(model, [encoded], batch_tokens=64, pad=0)
    assert torch.isfinite(scores[:-2]).all()
    reached = []
    for window in encoded.windows:
        units = span_answers.whole_units(encoded, window)
        reached += units.units
        for unit, first, last in zip(*units, strict=True):
            covered = [window.offsets[position] for position in range(first, last + 1)]
            assert (covered[0][0], covered[-1][1]) == encoded.offsets[unit]
    assert set(reached) == set(range(len(encoded.offsets)))
    [alone] = span_answers.span_logits(
        model, [encoded._replace(windows=encoded.windows[:1])], batch_tokens=64, pad=0
    )
    torch.testing.assert_close(scores[:2], alone[:2])


def test_the_width_admits_all_but_the_longest(bare_bert):
    texts = [text_of("flu", (0, 3, "D"))] * 2000 + [text_of("a b c d e", (0, 9, "D"))]
    assert span_training.width_for(texts) == 1
    assert span_training.width_for(texts[-1000:]) == 5
    assert span_training.width_for([text_of("flu")]) == 1


@pytest.fixture(scope="module")
def nested_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nested")
    for split, texts in (("train", NESTED * 2), ("dev", NESTED), ("test", NESTED)):
        rows = []
        for number, example in enumerate(texts):
            spans = [
                {"start": span.start, "end": span.end, "label": span.label}
                for span in example.spans
            ]
            text = f"{example.text} {split[0]} {number}"
            rows.append({"id": f"{split}-{number}", "text": text, "spans": spans})
        content = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{split}.jsonl").write_text(content)
    return folder


def run_recipe(bare_bert, files, run_dir, *options):
    from pipelines.runs import options as config

    recipe = load_recipe("finetune_token_tagger")
    given = ["--model_name_or_path", bare_bert, "--run_dir", run_dir, "--num_train_epochs", 25]
    given += ["--learning_rate", 3e-3, "--dropout", 0, "--batch_tokens", 64, "--nested", "true"]
    for split in ("train", "dev", "test"):
        given += [f"--{split}_file", files / f"{split}.jsonl"]
    return recipe.run(
        *config.parse(
            (recipe.RecipeArguments, recipe.TrainingArguments),
            arguments=[*map(str, given), *map(str, options)],
        )
    )


@pytest.mark.slow
def test_a_run_from_the_files_to_the_report(bare_bert, nested_files, tmp_path, caplog, capsys):
    caplog.set_level("INFO", logger="pipelines")
    report = run_recipe(bare_bert, nested_files, tmp_path / "run", "--decode", "spans")
    assert report["strict"]["f1"] == 1
    assert report["strict"]["support"] == 7
    assert report["cost"]["unreachable_mentions"] == 0
    assert "mentions of train overlap, so predicted ones may" in caplog.text
    test, run = nested_files / "test.jsonl", str(tmp_path / "run")
    out = tmp_path / "again.jsonl"
    assert cli.main(["predict", "--run", run, "--input", str(test), "--output", str(out)]) == 0
    assert read_predictions(out) == read_predictions(tmp_path / "run" / "predictions/test.jsonl")
    with pytest.raises(SystemExit):
        cli.main(["inspect", "--run", run, "--id", "test-0"])
    assert "scores whole spans, without tags to look at" in capsys.readouterr().err


def test_a_tagger_of_tags_says_what_it_leaves_out(bare_bert, nested_files, tmp_path, caplog):
    caplog.set_level("INFO", logger="pipelines")
    report = run_recipe(bare_bert, nested_files, tmp_path / "run", "--max_steps", 2)
    assert "mentions cannot be expressed by tags (they overlap another" in caplog.text
    assert report["cost"]["unreachable_mentions"] == 8
    assert report["strict"]["support"] == 7
    assert report["overlaps"] == {"mentions": 7, "overlapping": 7, "without_overlaps": 3}
    page = (tmp_path / "run" / "report.html").read_text()
    assert "7 of the 7 gold mentions overlap another" in page
    assert report["slices"]["nested"]["among overlapping mentions"]["support"] == 7


def test_options_that_do_not_fit_are_refused(bare_bert, nested_files, tmp_path):
    with pytest.raises(UserError, match="--max_span_words is of --decode spans"):
        run_recipe(bare_bert, nested_files, tmp_path / "run", "--max_span_words", 3)
    with pytest.raises(UserError, match="wanted 1 or more"):
        run_recipe(
            bare_bert, nested_files, tmp_path / "run", "--max_span_words", 0, "--decode", "spans"
        )
