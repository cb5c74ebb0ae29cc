"""Several taggers as one: their mean, saved and loaded, and from the recipe."""

import json
import shutil

import pytest
import tiny_encoder
import torch
from conftest import ROOT, load_recipe
from recipe_cases import predict
from transformers import AutoModelForTokenClassification

from pipelines.corpora import read_examples
from pipelines.corpora.predictions import read_predictions
from pipelines.errors import UserError
from pipelines.evaluation.voting import vote
from pipelines.families import token_tagger
from pipelines.families.token_tagger import tagging
from pipelines.inspection.tags import inspect_examples
from pipelines.networks.tagger_ensemble import TaggerEnsemble, ensemble_of
from pipelines.runs import options as config
from pipelines.spans import tags_to_spans

TAGS = ["O", "B-D", "I-D"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return tiny_encoder.write(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(params=[False, True], ids=["plain", "case"])
def taggers(request, encoder):
    made = []
    for seed in range(3):
        torch.manual_seed(seed)
        made.append(tagging.new_model(str(encoder), TAGS, case_feature=request.param).model.eval())
    return made


def agree(taggers):
    """Gives them one head, which is sure of itself: random ones find hardly a span in common."""
    with torch.no_grad():
        head = 30 * taggers[0].classifier.weight
        for tagger in taggers:
            tagger.classifier.weight.copy_(head)


def test_its_probabilities_are_the_mean_of_theirs(taggers):
    inputs = {
        "input_ids": torch.tensor([[2, 5, 6, 3], [2, 7, 3, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]]),
    }
    if hasattr(taggers[0], "extra_inputs"):
        inputs["cases"] = torch.tensor([[6, 1, 2, 6], [6, 3, 6, 0]])
    with torch.no_grad():
        mean = torch.stack([tagger(**inputs).logits.softmax(-1) for tagger in taggers]).mean(0)
        together = ensemble_of(taggers)(**inputs).logits
    torch.testing.assert_close(together.exp(), mean)
    assert not torch.allclose(together, taggers[0](**inputs).logits.log_softmax(-1), atol=1e-3)


def test_it_is_saved_as_one_checkpoint(taggers, encoder, corpus, tmp_path):
    tokenizer = token_tagger.load_tokenizer(str(encoder))
    settings = token_tagger.TaggerSettings(window=32, stride=8)
    agree(taggers)
    whole = token_tagger.Loaded(ensemble_of(taggers).eval(), tokenizer, settings)
    token_tagger.save(tmp_path, model=whole.model, tokenizer=tokenizer, settings=settings)
    examples = read_examples(corpus["test"])
    expected = token_tagger.predict(whole, examples, progress=False)
    assert any(prediction.spans for prediction in expected)
    loaded = token_tagger.load(tmp_path)
    assert isinstance(loaded.model, TaggerEnsemble)
    assert token_tagger.predict(loaded, examples, progress=False) == expected
    assert AutoModelForTokenClassification.from_pretrained(tmp_path).config.id2label == dict(
        enumerate(TAGS)
    )


def test_its_members_vote_and_inspection_shows_what_they_find(taggers, encoder, corpus):
    tokenizer, settings = (
        token_tagger.load_tokenizer(str(encoder)),
        token_tagger.TaggerSettings(window=32, stride=8),
    )
    agree(taggers)
    taggers[2].classifier.bias.data[0] += 100
    examples = read_examples(corpus["test"])
    first, second, third, together = (
        token_tagger.predict(
            token_tagger.Loaded(model, tokenizer, settings), examples, progress=False
        )
        for model in (*taggers, ensemble_of(taggers).eval())
    )
    assert together == vote([first, second, third], names="123")
    assert not any(prediction.spans for prediction in third)
    assert sum(len(prediction.spans) for prediction in together) > 5
    seen = inspect_examples(
        token_tagger.Loaded(ensemble_of(taggers).eval(), tokenizer, settings), examples
    )
    assert [
        tags_to_spans([token.predicted for token in inspection.tokens], text.offsets)
        for inspection, text in zip(
            seen, token_tagger.encode(examples, tokenizer, settings), strict=True
        )
    ] == [list(prediction.spans) for prediction in together]


@pytest.mark.slow
def test_the_recipe_trains_and_saves_several(encoder, corpus, tmp_path):
    recipe = load_recipe("finetune_token_tagger")

    def run(*options):
        recipe.run(
            *config.parse(
                (recipe.RecipeArguments, recipe.TrainingArguments),
                arguments=[
                    str(part)
                    for part in (
                        "--model_name_or_path",
                        encoder,
                        "--train_file",
                        corpus["train"],
                        "--dev_file",
                        corpus["dev"],
                        "--config",
                        ROOT / "recipes" / "configs" / "tagger_minilm.yaml",
                        "--num_train_epochs",
                        1,
                        "--disable_tqdm",
                        "true",
                        "--run_dir",
                        tmp_path / "run",
                        *options,
                    )
                ],
            )
        )

    with pytest.raises(UserError, match="scores whole sequences"):
        run("--members", 2, "--decode", "crf")
    with pytest.raises(UserError, match="wanted 1 or more"):
        run("--members", 0)
    with pytest.raises(UserError, match="its own checkpoint"):
        run("--members", 2, "--resume_from_checkpoint", tmp_path)
    run("--members", 2, "--ema_decay", 0.9)
    first, second = token_tagger.load(tmp_path / "run" / "model").model.taggers
    assert not torch.equal(first.classifier.weight, second.classifier.weight)
    cost = json.loads((tmp_path / "run" / "report.json").read_text())["cost"]
    assert cost["parameters"] == first.num_parameters() + second.num_parameters()
    # Stopped after the first of them: the second one alone is trained, and the whole is the same.
    before = (tmp_path / "run" / "model" / "model.safetensors").read_bytes()
    for folder in ("model", "checkpoints/tagger-2"):
        shutil.rmtree(tmp_path / "run" / folder)
    run("--members", 2, "--ema_decay", 0.9, "--resume_from_checkpoint", "true")
    assert (tmp_path / "run" / "model" / "model.safetensors").read_bytes() == before
    out = tmp_path / "again.jsonl"
    assert predict(tmp_path / "run", corpus["dev"], out) == 0
    assert read_predictions(out) == read_predictions(tmp_path / "run" / "predictions" / "dev.jsonl")
