"""Cutting, aligning, decoding, merging windows, saving: and the recipe from the command line."""

import json
import shutil
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import ROOT, run_python
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import nn
from transformers import BertConfig, BertForTokenClassification, BertModel, PreTrainedTokenizerFast, TrainerCallback

from pipelines import cli
from pipelines.corpora import read_examples
from pipelines.errors import UserError
from pipelines.examples import Example, Span, read_predictions
from pipelines.families import tagging
from pipelines.families.token_tagger import (
    Loaded,
    Settings,
    collate,
    encode,
    gold_tags,
    load,
    load_network,
    predict,
    read_tags,
    save,
    unit_logits,
    unreachable,
)
from pipelines.networks.encoder_config import window_of
from pipelines.networks.encoder_tagger import EncoderTagger, EncoderTaggerConfig, case_of
from pipelines.networks.trained_rows import TrainedRows
from pipelines.spans import illegal_tags, spans_to_tags

TAGS = ["O", "B-D", "I-D"]
NAMES = {"id2label": dict(enumerate(TAGS)), "label2id": {tag: number for number, tag in enumerate(TAGS)}}
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
RECIPE = ROOT / "recipes" / "finetune_token_tagger.py"


def word_pieces() -> PreTrainedTokenizerFast:
    """An uncased WordPiece tokenizer: some words, and single letters for the rest."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "colon", "cancer", "the", "of", "no", "flu", *LETTERS,
             *(f"##{letter}" for letter in LETTERS), *".,-()"]
    model = Tokenizer(models.WordPiece({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    model.normalizer, model.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    model.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[
        ("[CLS]", 2), ("[SEP]", 3)])
    return PreTrainedTokenizerFast(tokenizer_object=model, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
                                   sep_token="[SEP]", model_max_length=64)


def bert_config(**options):
    return BertConfig(vocab_size=90, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
                      max_position_embeddings=64, **options)


@pytest.fixture(scope="module")
def tokenizer():
    return word_pieces()


@pytest.fixture
def model():
    torch.manual_seed(0)
    return BertForTokenClassification(bert_config(initializer_range=0.5, **NAMES)).eval()


@pytest.fixture(scope="module")
def bare_bert(tmp_path_factory):
    """The folder of a tiny random BERT without a tagging head."""
    folder = tmp_path_factory.mktemp("models") / "tiny-bert"
    torch.manual_seed(0)
    BertModel(bert_config()).save_pretrained(folder)
    word_pieces().save_pretrained(folder)
    return folder


def example(text, *spans, **options):
    return Example("0", text, spans=tuple(Span(start, end, "D") for start, end in spans), **options)


# Cutting and aligning


def test_the_first_sub_word_of_each_unit_carries_its_tag(tokenizer):
    [encoded] = encode([example("No BRCA, flu.")], tokenizer, Settings(window=64))
    [window] = encoded.windows
    assert encoded.offsets == [(0, 2), (3, 7), (7, 8), (9, 12), (12, 13)]
    assert tokenizer.convert_ids_to_tokens(window.input_ids) == \
        ["[CLS]", "no", "b", "##r", "##c", "##a", ",", "flu", ".", "[SEP]"]
    assert window.positions == [1, 2, 6, 7, 8]
    assert window.words == ["", "No", "B", "R", "C", "A", ",", "flu", ".", ""]


def test_rows_have_labels_at_first_sub_words_only(tokenizer, model):
    rows = tagging.training_rows([example("No BRCA flu.", (3, 11))], model, tokenizer, Settings(window=64)).rows
    assert rows == [{"input_ids": rows[0]["input_ids"], "labels": [-100, 0, 1, -100, -100, -100, 2, 0, -100]}]


def test_tokens_of_a_corpus_are_the_units(tokenizer):
    text, tokens = "x-ray (flu) .", ((0, 5), (6, 11), (12, 13))
    [encoded] = encode([example(text, tokens=tokens)], tokenizer, Settings(window=64))
    assert encoded.offsets == list(tokens)
    assert [encoded.windows[0].words[position] for position in encoded.windows[0].positions] == ["x", "(", "."]


def test_units_under_one_sub_word_are_one(model):
    from pipelines.networks.word_tokenizer import word_tokenizer

    [encoded] = encode([example("a flu, then (b).")], word_tokenizer(["a", "flu,"]), Settings())
    assert encoded.offsets == [(0, 1), (2, 6), (7, 11), (12, 16)]


def test_what_tags_cannot_say_is_counted(tokenizer, model):
    texts = [example("colon cancer", (0, 12), (6, 12)), example("antiflu", (4, 7)), example("flu", (0, 3))]
    found = tagging.training_rows(texts, model, tokenizer, Settings(window=64))
    assert [(span.start, span.end) for _, span in found.lost] == [(6, 12), (4, 7)]
    other = tagging.training_rows([Example("9", "flu", spans=(Span(0, 3, "Other"),))], model, tokenizer,
                                  Settings(window=64))
    assert other.lost == [("9", Span(0, 3, "Other"))]
    assert other.rows[0]["labels"] == [-100, 0, -100]


def test_empty_texts_train_nothing_and_have_no_spans(tokenizer, model):
    texts = [Example("0", "", spans=()), Example("1", "flu", spans=()), Example("2", " \n", spans=())]
    found = tagging.training_rows(texts, model, tokenizer, Settings(window=64))
    assert found.empty == ["0", "2"]
    assert len(found.rows) == 1
    predictions = predict(Loaded(model, tokenizer, Settings(window=64)), texts, progress=False)
    assert [prediction.id for prediction in predictions] == ["0", "1", "2"]
    assert predictions[0].spans == predictions[2].spans == ()
    assert predict(Loaded(model, tokenizer, Settings()), [], progress=False) == []


@given(st.lists(st.tuples(st.text(alphabet=LETTERS + "ABÉß-(),._ \t\u00a0\u0300\u200b漢", max_size=9),
                          st.booleans()), max_size=20), st.integers(8, 30), st.integers(0, 6))
def test_windows_cover_each_unit_once_and_gold_comes_back(words, window, stride):
    text, spans = "", []
    for word, inside in words:
        if inside and word.strip() == word and word:
            spans.append(Span(len(text), len(text) + len(word), "D"))
        text += word + " "
    case = Example("0", text, spans=tuple(spans))
    tokenizer = _TOKENIZER
    [whole] = encode([case], tokenizer, Settings(window=10_000))
    [cut] = encode([case], tokenizer, Settings(window=window, stride=stride))
    assert cut.offsets == whole.offsets
    assert sorted(unit for part in cut.windows for unit in part.units) == list(range(len(cut.offsets)))
    assert all(len(part.input_ids) <= window for part in cut.windows)
    tags = gold_tags(case, cut.offsets)
    assert not illegal_tags(tags)
    lost = unreachable(case, tags, cut.offsets)
    reached = [span for span in spans if span not in lost]
    assert spans_to_tags(reached, cut.offsets) == [tag if any(
        span.start < end and start < span.end for span in reached) else "O"
        for tag, (start, end) in zip(tags, cut.offsets, strict=True)]


_TOKENIZER = word_pieces()


def test_a_unit_is_tagged_where_it_has_most_context(tokenizer):
    text = " ".join(LETTERS[:20])
    [encoded] = encode([Example("0", text)], tokenizer, Settings(window=12, stride=4))
    # Windows of ten letters, six apart: a–j, g–p, m–t. The shared ones go to the nearer middle.
    assert ["".join(window.words[position] for position in window.positions) for window in encoded.windows] == \
        ["abcdefgh", "ijklmn", "opqrst"]


# Prediction


def test_long_texts_are_predicted_to_their_end(tokenizer):
    """Tags by token alone (no position, no attention across) do not depend on the windows."""
    class ByToken(torch.nn.Module):
        config = BertConfig(**NAMES)
        device = torch.device("cpu")

        def forward(self, input_ids, attention_mask):
            wanted = _TOKENIZER.convert_tokens_to_ids("flu")
            logits = torch.stack([(input_ids != wanted).float(), (input_ids == wanted).float(),
                                  torch.zeros(input_ids.shape)], dim=-1) * 9
            return type("Output", (), {"logits": logits})

    text = "no x flu " * 300
    gold = [(start + 5, start + 8) for start in range(0, len(text), 9)]
    for decode in ("argmax", "viterbi"):
        [found] = predict(Loaded(ByToken(), tokenizer, Settings(decode, 64, 16)), [Example("0", text)], progress=False)
        assert [(span.start, span.end) for span in found.spans] == gold


def test_answers_do_not_depend_on_the_batch(tokenizer, model):
    texts = [Example(str(number), text) for number, text in enumerate(
        ["colon cancer", "no flu", "the flu of no colon, no cancer (flu)", "x"])]
    loaded = Loaded(model, tokenizer, Settings(window=64))
    alone = [scores for text in texts for scores in unit_logits(
        loaded, encode([text], tokenizer, loaded.settings), batch_tokens=64, progress=False)]
    together = unit_logits(loaded, encode(texts, tokenizer, loaded.settings), batch_tokens=4096, progress=False)
    for a, b in zip(alone, together, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_viterbi_is_the_likeliest_legal_sequence(model):
    torch.manual_seed(1)
    texts = [torch.randn(length, 3) * 2 for length in (1, 5, 3, 4)]
    for scores, (tags, probabilities) in zip(texts, read_tags(model, texts, decode="viterbi"), strict=True):
        likelihood = scores.log_softmax(-1)
        legal = [path for path in product(range(3), repeat=len(scores)) if not illegal_tags([TAGS[t] for t in path])]
        assert tuple(tags) == max(legal, key=lambda path: sum(likelihood[i, t] for i, t in enumerate(path)))
        assert probabilities == pytest.approx([float(scores.softmax(-1)[i, t]) for i, t in enumerate(tags)])
    assert [tags for tags, _ in read_tags(model, texts, decode="argmax")] == [t.argmax(-1).tolist() for t in texts]


def test_a_span_scores_as_its_least_likely_tag(tokenizer, model):
    [found] = encode([Example("0", "colon cancer")], tokenizer, Settings(window=64))
    loaded = Loaded(model, tokenizer, Settings("argmax", 64))
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.copy_(torch.tensor([0.0, 1.0, 0.0]))
    [prediction] = predict(loaded, [Example("0", "colon cancer")], progress=False)
    expected = float(torch.tensor([0.0, 1.0, 0.0]).softmax(0)[1])
    assert [(span.start, span.end) for span in prediction.spans] == found.offsets
    assert [span.score for span in prediction.spans] == pytest.approx([expected] * 2, abs=1e-5)


def test_crf_reads_with_its_own_transitions(model):
    torch.manual_seed(2)
    tagger = EncoderTagger(EncoderTaggerConfig(encoder=bert_config(), crf=True, **NAMES))
    with torch.no_grad():
        tagger.crf.transitions.copy_(torch.randn(3, 3) * 3)
    scores = torch.randn(6, 3)
    [(tags, probabilities)] = read_tags(tagger, [scores], decode="crf")
    mask = torch.ones(1, 6, dtype=torch.bool)
    assert tags == tagger.crf.viterbi(scores[None], mask)[0].tolist()
    assert probabilities == pytest.approx(
        tagger.crf.marginals(scores[None], mask)[0].gather(1, torch.tensor(tags)[:, None])[:, 0].tolist())
    with pytest.raises(UserError, match="trained with a CRF"):
        read_tags(model, [scores], decode="crf")


# The network that sees case


def test_case_of_letters():
    assert [case_of(word) for word in ["", "12", "flu", "Flu", "BRCA", "A", "mRNA", "X1", "É"]] == \
        [6, 0, 1, 2, 3, 4, 5, 4, 4]


def test_case_reaches_the_scores(tokenizer):
    torch.manual_seed(0)
    tagger = EncoderTagger(EncoderTaggerConfig(encoder=bert_config(), case_feature=True, **NAMES)).eval()
    loaded, texts = Loaded(tagger, tokenizer, Settings(window=64)), [Example("0", "no flu"), Example("1", "No FLU")]

    def scores():
        return unit_logits(loaded, encode(texts, tokenizer, loaded.settings), batch_tokens=64, progress=False)

    torch.testing.assert_close(*scores())  # nothing is learnt yet
    torch.nn.init.normal_(tagger.case_embeddings.weight)
    lower, upper = scores()
    assert (lower - upper).abs().max() > 0.1


# Saving and loading


@pytest.mark.parametrize(("case_feature", "crf"), [(False, False), (True, True)])
def test_a_saved_model_answers_alike(tokenizer, bare_bert, tmp_path, case_feature, crf):
    torch.manual_seed(3)
    model, new = tagging.new_model(str(bare_bert), TAGS, case_feature=case_feature, crf=crf)
    assert "classifier.weight" in new
    torch.nn.init.normal_(model.classifier.weight)
    settings = Settings("crf" if crf else "viterbi", 32, 8)
    save(tmp_path / "model", model=model, tokenizer=tokenizer, settings=settings)
    texts = [Example("0", "No colon cancer, no flu. " * 9)]
    before = predict(Loaded(model, tokenizer, settings), texts, progress=False)
    assert before[0].spans
    assert predict(load(tmp_path / "model"), texts, progress=False) == before
    assert not [file for file in (tmp_path / "model").iterdir() if file.suffix in (".bin", ".pt", ".pkl")]


def test_an_unfinished_or_foreign_folder_is_refused(bare_bert, tokenizer, model, tmp_path):
    with pytest.raises(UserError, match=r"tagger\.json"):
        load(bare_bert)
    shutil.copytree(bare_bert, tmp_path / "headless")
    save(tmp_path / "whole", model=model, tokenizer=tokenizer, settings=Settings())
    shutil.copy(tmp_path / "whole" / "tagger.json", tmp_path / "headless")
    with pytest.raises(UserError, match="lack classifier"):
        load(tmp_path / "headless")
    (tmp_path / "whole" / "tagger.json").write_text('{"decode": "viterbi"')
    with pytest.raises(UserError, match=r"no readable tagger\.json"):
        load(tmp_path / "whole")


def test_a_generator_has_no_tagging_head(tmp_path):
    from transformers import ASTConfig

    ASTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="no head for tagging"):
        load_network(str(tmp_path))


def test_window_is_what_positions_and_tokenizer_admit(tokenizer, model):
    from transformers import DebertaV2Config, RobertaConfig

    assert window_of(model.config, tokenizer) == 64
    assert window_of(RobertaConfig(max_position_embeddings=20, pad_token_id=1), tokenizer) == 18
    # DeBERTa-v3 has no vectors of positions.
    relative = DebertaV2Config(max_position_embeddings=20, position_biased_input=False, relative_attention=True)
    assert window_of(relative, tokenizer) == 20
    assert window_of(EncoderTaggerConfig(encoder=relative), tokenizer) == 20


# A tagger that goes on from another


REORDERED = ["O", "I-D", "B-D"]


@pytest.mark.parametrize("crf", [False, True])
def test_tags_in_another_order_keep_their_scores(tokenizer, bare_bert, tmp_path, crf):
    first = tagging.new_model(str(bare_bert), TAGS, crf=crf).model.eval()
    if crf:
        torch.nn.init.normal_(first.crf.transitions)
    save(tmp_path, model=first, tokenizer=tokenizer, settings=Settings())
    again, new = tagging.new_model(str(tmp_path), REORDERED, crf=crf)
    assert new == []
    ids, order = torch.tensor([[2, 5, 9, 3]]), [0, 2, 1]
    with torch.no_grad():
        torch.testing.assert_close(again.eval()(input_ids=ids).logits, first(input_ids=ids).logits[..., order])
    if crf:
        mask, emissions = torch.ones(1, 4, dtype=torch.bool), torch.randn(1, 4, 3)
        torch.testing.assert_close(again.crf.log_partition(emissions[..., order], mask),
                                   first.crf.log_partition(emissions, mask))


def test_a_head_of_other_tags_starts_at_random(tokenizer, bare_bert, tmp_path):
    first = tagging.new_model(str(bare_bert), TAGS, crf=True).model
    torch.nn.init.normal_(first.crf.transitions)
    save(tmp_path, model=first, tokenizer=tokenizer, settings=Settings())
    # As many tags; and the rules are those of the new ones, in which the third tag opens a mention.
    other, new = tagging.new_model(str(tmp_path), ["O", "B-E", "B-F"], crf=True)
    assert new == ["classifier.bias", "classifier.weight", "crf.end", "crf.start", "crf.transitions"]
    assert not torch.equal(other.classifier.weight, first.classifier.weight)
    assert not other.crf.transitions.any()
    assert other.crf.allowed_first.all()
    more, new = tagging.new_model(str(tmp_path), [*TAGS, "B-E", "I-E"], crf=True)
    assert {"classifier.weight", "crf.transitions"} <= set(new)
    assert more.crf.allowed_first.tolist() == [True, True, False, True, False]


def test_parts_that_a_tagger_lacks_are_added(tokenizer, bare_bert, tmp_path):
    save(tmp_path, model=tagging.new_model(str(bare_bert), TAGS, case_feature=True).model, tokenizer=tokenizer,
         settings=Settings())
    model, new = tagging.new_model(str(tmp_path), TAGS, crf=True)
    assert new == ["crf.end", "crf.start", "crf.transitions"]
    assert not any(parameter.any() for parameter in model.crf.parameters())
    assert model.crf.allowed_first.tolist() == [True, True, False]
    assert model.case_embeddings is not None
    save(tmp_path, model=model, tokenizer=tokenizer, settings=Settings("crf"))
    assert tagging.new_model(str(tmp_path), TAGS).model.crf is None


def test_a_case_feature_needs_vectors_of_one_width(tmp_path):
    from transformers import ElectraConfig, ElectraModel

    ElectraModel(ElectraConfig(vocab_size=90, embedding_size=8, hidden_size=16, num_hidden_layers=1,
                               num_attention_heads=2, intermediate_size=8)).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="embeddings of 8 numbers and states of 16"):
        tagging.new_model(str(tmp_path), TAGS, case_feature=True)


# What is trained, how fast, on which loss


def trained(model):
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize(("tune", "parts"), [
    ("full", {"embeddings", "layer.0", "layer.1", "classifier"}), ("head", {"classifier"}),
    ("last_n", {"layer.1", "classifier"}), ("lora", {"lora_A", "lora_B", "classifier"})])
def test_modes_train_their_part(model, tune, parts):
    from peft import LoraConfig

    tagging.choose_trained(model, tune, last_n=1, lora=LoraConfig(target_modules="all-linear"))
    found = trained(model)
    assert {part for part in parts if any(part in name for name in found)} == parts
    assert not [name for name in found if not any(part in name for part in parts)]
    merged = tagging.merged(model)
    assert not [name for name, _ in merged.named_parameters() if "lora" in name]


def test_rates_fall_by_layer_and_rise_for_the_head(model):
    rates = {id(parameter): group["lr"] for group in tagging.parameter_groups(
        model, learning_rate=1.0, weight_decay=0.1, layer_decay=0.5, head_rate=10) for parameter in group["params"]}
    named = {name: rates[id(parameter)] for name, parameter in model.named_parameters()}
    assert named["classifier.weight"] == 10
    assert named["bert.encoder.layer.1.output.dense.weight"] == 1
    assert named["bert.encoder.layer.0.output.dense.weight"] == 0.5
    assert named["bert.embeddings.word_embeddings.weight"] == 0.25
    decays = {group["weight_decay"] for group in tagging.parameter_groups(model, learning_rate=1.0, weight_decay=0.1)
              for parameter in group["params"] if parameter.ndim == 1}
    assert decays == {0.0}


def test_berts_pooler_is_of_the_head():
    from transformers import BertForSequenceClassification

    model = BertForSequenceClassification(bert_config())
    groups = tagging.parameter_groups(model, learning_rate=1.0, weight_decay=0, layer_decay=0.5, head_rate=10)
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    assert rates[id(model.bert.pooler.dense.weight)] == 10
    tagging.choose_trained(model, "head")
    assert trained(model) == {f"{name}.{part}" for name in ("bert.pooler.dense", "classifier")
                              for part in ("weight", "bias")}


def test_half_copies_where_they_can_be(monkeypatch):
    monkeypatch.setattr(tagging.precision, "choose", lambda: SimpleNamespace(device="cpu"))

    def training(**options):
        return SimpleNamespace(**{"bf16": True, "gradient_checkpointing": False, "world_size": 1} | options)

    assert tagging.half_copies(None, training())
    assert tagging.half_copies(True, training(bf16=False))
    for options, told in (({"gradient_checkpointing": True}, "gradient_checkpointing"), ({"world_size": 2}, "2 proc")):
        assert not tagging.half_copies(None, training(**options))
        with pytest.raises(UserError, match=told):
            tagging.half_copies(True, training(**options))


def test_a_run_that_goes_on_keeps_counting_for_early_stopping(model, tokenizer, tmp_path):
    def stopped_at(folder, *, steps=9, resume=None):
        made = trainer(model, tokenizer, folder, TEXTS, max_steps=steps, learning_rate=0.0, dev=TEXTS,
                       callbacks=[tagging.EarlyStopping(4)], eval_dataset=TEXTS[:1], eval_strategy="steps",
                       eval_steps=1, save_strategy="steps", save_steps=1, metric_for_best_model="strict_f1",
                       load_best_model_at_end=True)
        made.train(resume_from_checkpoint=resume)
        return made.state.global_step

    assert stopped_at(tmp_path / "whole") == 5
    assert stopped_at(tmp_path / "cut", steps=3) == 3
    assert stopped_at(tmp_path / "cut", resume=str(tmp_path / "cut" / "checkpoint-3")) == 5


def test_weights_are_where_the_labels_are():
    logits, labels = torch.zeros(2, 2, device="meta"), torch.zeros(2, dtype=torch.long, device="meta")
    assert tagging.tag_loss(logits, labels, weight=torch.ones(2)).device.type == "meta"


def test_loss_by_hand():
    logits, labels = torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.tensor([0, 1])
    p = torch.tensor([2.0, 0.0]).softmax(0)[0]
    plain = -p.log() - torch.tensor(0.5).log()
    assert tagging.tag_loss(logits, labels) == pytest.approx(float(plain))
    focal = -(1 - p) ** 2 * p.log() - 0.25 * torch.tensor(0.5).log()
    assert tagging.tag_loss(logits, labels, focal_gamma=2) == pytest.approx(float(focal))
    weighted = -3 * p.log() - torch.tensor(0.5).log()
    assert tagging.tag_loss(logits, labels, weight=torch.tensor([3.0, 1.0])) == pytest.approx(float(weighted))


def test_tag_weights_have_mean_one_and_lift_the_rare():
    rows = [{"labels": [-100, 0, 0, 0, 0, 0, 0, 0, 0, 1]}]
    weights = tagging.tag_weights(rows, 2, power=1.0)
    assert weights.tolist() == pytest.approx([9 / 16, 9 / 2])
    assert tagging.tag_weights(rows, 2, power=0.0).tolist() == [1, 1]


def trainer(model, tokenizer, folder, texts, **options):
    settings = Settings(window=64)
    from transformers import TrainingArguments

    arguments = {"save_strategy": "no"} | {name: options.pop(name) for name in list(options)
                                           if name in TrainingArguments.__dataclass_fields__}

    return tagging.TaggerTrainer(
        model=model, processing_class=tokenizer, settings=settings,
        train_dataset=tagging.training_rows(texts, model, tokenizer, settings).rows,
        args=TrainingArguments(str(folder), use_cpu=True, report_to="none", disable_tqdm=True,
                               **arguments), **options)


TEXTS = [example("no flu", (3, 6)), example("colon cancer of the colon", (0, 12)), example("the colon"),
         example("Flu, cancer", (0, 3), (5, 11))]


@pytest.mark.parametrize("options", [{}, {"case_feature": True},
                                     {"case_feature": True, "attn_implementation": "eager"}])
def test_padding_changes_no_score(options, bare_bert):
    model = tagging.new_model(str(bare_bert), TAGS, **options).model.eval()
    row = {"input_ids": torch.tensor([[2, 5, 9, 3, 0, 0]]), "attention_mask": torch.tensor([[1, 1, 1, 1, 0, 0]]),
           "cases": torch.tensor([[6, 1, 2, 6, 6, 6]])}
    row = row if options else {name: row[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        padded = model(**row).logits[:, :4]
        alone = model(**{name: values[:, :4] for name, values in row.items()}).logits
    torch.testing.assert_close(padded, alone)


def test_the_loss_is_the_librarys_over_any_batches(model, tokenizer, tmp_path):
    made = trainer(model, tokenizer, tmp_path, TEXTS)
    batch = collate(made.train_dataset, pad=0)
    with torch.no_grad():
        mine = made.compute_loss(model, dict(batch))
        theirs = model(**batch).loss
        halves = trainer(model, tokenizer, tmp_path, TEXTS, half_copies=True).compute_loss(model, dict(batch))
    torch.testing.assert_close(mine, theirs)
    assert halves == pytest.approx(float(theirs), rel=0.03)
    assert halves != theirs


def test_a_crf_computes_its_loss_in_the_networks_forward(bare_bert, tokenizer, tmp_path):
    """Else DDP, which wraps the network, would not gather the gradient of its weights."""
    model = tagging.new_model(str(bare_bert), TAGS, crf=True, dropout=0.0).model.eval()
    made, seen = trainer(model, tokenizer, tmp_path, TEXTS), []
    batch = collate(made.train_dataset, pad=0)
    model.register_forward_hook(lambda module, given, outputs: seen.append(outputs))
    loss = made.compute_loss(model, dict(batch), num_items_in_batch=torch.tensor(100))
    [outputs] = seen
    torch.testing.assert_close(loss, outputs.loss)
    wanted = model.crf(outputs.logits, batch["labels"], batch["labels"] != -100).sum() / 100
    torch.testing.assert_close(loss, wanted)
    tags = int((batch["labels"] != -100).sum())
    torch.testing.assert_close(made.compute_loss(model, dict(batch)), wanted * 100 / tags)


@pytest.mark.parametrize("options", [{}, {"half_copies": True, "batch_tokens": 40}])
def test_training_learns_by_heart(bare_bert, tokenizer, tmp_path, options):
    torch.manual_seed(0)
    model, _ = tagging.new_model(str(bare_bert), TAGS, case_feature=bool(options), crf=bool(options), dropout=0.0)
    made = trainer(model, tokenizer, tmp_path, TEXTS, dev=TEXTS, max_steps=60, learning_rate=3e-3, **options)
    made.train()
    assert made.evaluate()["eval_strict_f1"] == 1
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


class Embeddings(TrainerCallback):
    """The word embeddings in training."""

    def on_step_end(self, *_, model=None, **__):
        self.seen = type(model.get_input_embeddings())


@pytest.mark.parametrize(("weight_decay", "kind"), [(0.0, TrainedRows), (0.01, nn.Embedding)])
def test_rows_that_no_text_has_are_left_out_where_they_would_not_change(model, tokenizer, tmp_path, weight_decay, kind):
    watch, before = Embeddings(), model.get_input_embeddings().weight.detach().clone()
    trainer(model, tokenizer, tmp_path, TEXTS, max_steps=2, weight_decay=weight_decay, callbacks=[watch]).train()
    assert watch.seen is kind
    read = {i for text in TEXTS for i in tokenizer(text.text)["input_ids"]}
    rows = (model.get_input_embeddings().weight != before).any(1).nonzero()[:, 0].tolist()
    assert (set(rows) == read) == (kind is TrainedRows)
    assert read <= set(rows)


def test_a_frozen_encoder_is_steady_and_has_no_dropout(model, tokenizer, tmp_path):
    tagging.choose_trained(model, "head")
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    made = trainer(model, tokenizer, tmp_path, TEXTS, max_steps=2, learning_rate=1e-2)
    made.train()
    assert {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])} == \
        {"classifier.weight", "classifier.bias"}
    assert not model.bert.training


# The recipe


@pytest.fixture(scope="module")
def arguments(bare_bert, corpus):
    return [RECIPE, "--model_name_or_path", bare_bert, "--train_file", corpus["train"], "--dev_file", corpus["dev"],
            "--config", ROOT / "recipes" / "configs" / "tagger_minilm.yaml", "--num_train_epochs", "2",
            "--window", "40", "--stride", "8"]


@pytest.fixture(scope="module")
def tagger_run(arguments, corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "tagger"
    done = run_python(*arguments, "--test_file", corpus["test"], "--run_dir", folder, "--decode", "crf",
                      "--case_feature", "true")
    assert done.returncode == 0, done.stderr
    (folder / "stdout.txt").write_text(done.stdout, encoding="utf-8")
    return folder


def test_a_run_leaves_every_file_and_says_what_it_found(tagger_run, corpus):
    files = {str(path.relative_to(tagger_run)) for path in tagger_run.rglob("*") if path.is_file()}
    assert {"config.yaml", "provenance.json", "report.json", "report.html", "submission.csv", "trainer_log.json",
            "predictions/dev.jsonl", "predictions/test.jsonl", "model/model.safetensors", "model/tagger.json"} <= files
    printed = (tagger_run / "stdout.txt").read_text()
    assert "classifier.weight" in printed
    assert "start at random" in printed
    assert "overlapping windows" in printed
    report = json.loads((tagger_run / "report.json").read_text())
    assert report["strict"]["support"] == sum(len(row.spans) for row in read_examples(corpus["test"]))
    log = json.loads((tagger_run / "trainer_log.json").read_text())
    assert len([entry for entry in log if "eval_strict_f1" in entry]) == 2


def test_predict_gives_the_runs_own_answers(tagger_run, corpus, tmp_path):
    out = tmp_path / "again.jsonl"
    assert cli.main(["predict", "--run", str(tagger_run), "--input", str(corpus["test"]), "--output", str(out)]) == 0
    assert read_predictions(out) == read_predictions(tagger_run / "predictions" / "test.jsonl")


def test_bad_options_and_data_are_told_in_one_line(arguments, corpus, tmp_path):
    from conftest import load_recipe

    from pipelines import config

    recipe = load_recipe("finetune_token_tagger")

    def fault(*options, **files):
        given = [str(argument) for argument in arguments[1:]]
        for split, path in files.items():
            given[given.index(f"--{split}_file") + 1] = str(path)
        with pytest.raises(UserError) as error:
            recipe.run(*config.parse((recipe.RecipeArguments, recipe.TrainingArguments),
                                     arguments=[*given, "--run_dir", str(tmp_path / "run"), *map(str, options)]))
        return str(error.value)

    assert "wanted one of argmax, viterbi, crf" in fault("--decode", "beam")
    assert "wanted one of full, lora, head, last_n" in fault("--tune", "most")
    assert "--decode crf scores whole" in fault("--decode", "crf", "--focal_gamma", "2")
    assert "--decode crf scores whole" in fault("--decode", "crf", "--label_smoothing_factor", "0.1")
    assert "wanted one of strict_f1, strict_precision" in fault("--metric_for_best_model", "macro_f1")
    (tmp_path / "none.json").write_text(json.dumps([{"id": "1", "sentence": "no flu", "entities": []}]))
    assert "no mention" in fault(train=tmp_path / "none.json")
    assert "wanted 4 to 64" in fault("--window", "65")
    assert not (tmp_path / "run" / "model").exists()


def test_without_dev_nothing_stops_early(bare_bert, corpus, tmp_path, capsys):
    from conftest import load_recipe

    from pipelines import config

    recipe = load_recipe("finetune_token_tagger")
    arguments = ["--model_name_or_path", bare_bert, "--train_file", corpus["train"], "--test_file", corpus["test"],
                 "--run_dir", tmp_path / "run", "--max_steps", 1, "--early_stopping_patience", 3]
    recipe.run(*config.parse((recipe.RecipeArguments, recipe.TrainingArguments), arguments=list(map(str, arguments))))
    assert "--early_stopping_patience 3 has no effect: there is no dev" in capsys.readouterr().out
    assert (tmp_path / "run" / "report.json").is_file()


def test_types_that_training_lacks_are_told(tmp_path, capsys):
    from conftest import load_recipe

    from pipelines.config import DataArguments

    recipe, files = load_recipe("finetune_token_tagger"), {}
    for split, labels in (("train", ["Flu"]), ("test", ["Flu", "Cold", "Cold"])):
        files[split] = str(tmp_path / f"{split}.json")
        Path(files[split]).write_text(json.dumps([
            {"id": f"{split}{number}", "text": f"a {label.lower()} {split}",
             "entities": [{"start": 2, "end": 2 + len(label), "label": label}]}
            for number, label in enumerate(labels)]))
    recipe.check_types(recipe.checked_examples(files, DataArguments(), show=True), files, show=True)
    assert "types that training lacks, which count as missed: Cold (2)" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("tune", ["lora", "head", "last_n"])
def test_modes_from_the_command_line(arguments, tmp_path, tune):
    done = run_python(*arguments, "--tune", tune, "--last_n", "1", "--run_dir", tmp_path / "run",
                      "--class_weight_power", "0.5", "--focal_gamma", "2", "--label_smoothing_factor", "0.1",
                      "--early_stopping_patience", "1")
    assert done.returncode == 0, done.stderr
    cost = json.loads((tmp_path / "run" / "report.json").read_text())["cost"]
    assert 0 < cost["trained_parameters"] < cost["parameters"]
    assert Path(tmp_path / "run" / "model" / "tagger.json").is_file()
