"""Cutting, aligning, decoding, merging windows, saving."""

import shutil
from itertools import product

import pytest
import torch
import word_bert
from hypothesis import given
from hypothesis import strategies as st
from transformers import BertConfig
from word_bert import LETTERS, NAMES, TAGS, bert_config, example, word_pieces

from pipelines.errors import UserError
from pipelines.examples import Example, Span
from pipelines.families.token_tagger import (
    Loaded,
    TaggerSettings,
    encode,
    load,
    load_network,
    predict,
    read_tags,
    save,
    tagging,
    unit_logits,
    unreachable,
)
from pipelines.networks.encoder_config import window_of
from pipelines.networks.encoder_tagger import EncoderTagger, EncoderTaggerConfig, case_of
from pipelines.spans import illegal_tags, spans_to_tags


@pytest.fixture(scope="module")
def tokenizer():
    return word_bert.word_pieces()


@pytest.fixture
def model():
    return word_bert.tagger()


@pytest.fixture(scope="module")
def bare_bert(tmp_path_factory):
    return word_bert.write(tmp_path_factory.mktemp("models") / "tiny-bert")


# Cutting and aligning


def test_the_first_sub_word_of_each_unit_carries_its_tag(tokenizer):
    [encoded] = encode([example("No BRCA, flu.")], tokenizer, TaggerSettings(window=64))
    [window] = encoded.windows
    assert encoded.offsets == [(0, 2), (3, 7), (7, 8), (9, 12), (12, 13)]
    assert tokenizer.convert_ids_to_tokens(window.input_ids) == [
        "[CLS]",
        "no",
        "b",
        "##r",
        "##c",
        "##a",
        ",",
        "flu",
        ".",
        "[SEP]",
    ]
    assert window.positions == [1, 2, 6, 7, 8]
    assert window.words == ["", "No", "B", "R", "C", "A", ",", "flu", ".", ""]


def test_rows_have_labels_at_first_sub_words_only(tokenizer, model):
    rows = tagging.training_rows(
        [example("No BRCA flu.", (3, 11))], model, tokenizer, TaggerSettings(window=64)
    ).rows
    assert rows == [
        {"input_ids": rows[0]["input_ids"], "labels": [-100, 0, 1, -100, -100, -100, 2, 0, -100]}
    ]


def test_tokens_of_a_corpus_are_the_units(tokenizer):
    text, tokens = "x-ray (flu) .", ((0, 5), (6, 11), (12, 13))
    [encoded] = encode([example(text, tokens=tokens)], tokenizer, TaggerSettings(window=64))
    assert encoded.offsets == list(tokens)
    assert [encoded.windows[0].words[position] for position in encoded.windows[0].positions] == [
        "x",
        "(",
        ".",
    ]


def test_units_under_one_sub_word_are_one(model):
    from pipelines.networks.word_tokenizer import word_tokenizer

    [encoded] = encode(
        [example("a flu, then (b).")], word_tokenizer(["a", "flu,"]), TaggerSettings()
    )
    assert encoded.offsets == [(0, 1), (2, 6), (7, 11), (12, 16)]


def test_what_tags_cannot_say_is_counted(tokenizer, model):
    texts = [
        example("colon cancer", (0, 12), (6, 12)),
        example("antiflu", (4, 7)),
        example("flu", (0, 3)),
    ]
    found = tagging.training_rows(texts, model, tokenizer, TaggerSettings(window=64))
    assert [(span.start, span.end) for _, span in found.lost] == [(6, 12), (4, 7)]
    other = tagging.training_rows(
        [Example("9", "flu", spans=(Span(0, 3, "Other"),))],
        model,
        tokenizer,
        TaggerSettings(window=64),
    )
    assert other.lost == [("9", Span(0, 3, "Other"))]
    assert other.rows[0]["labels"] == [-100, 0, -100]


def test_empty_texts_train_nothing_and_have_no_spans(tokenizer, model):
    texts = [
        Example("0", "", spans=()),
        Example("1", "flu", spans=()),
        Example("2", " \n", spans=()),
    ]
    found = tagging.training_rows(texts, model, tokenizer, TaggerSettings(window=64))
    assert found.empty == ["0", "2"]
    assert len(found.rows) == 1
    predictions = predict(
        Loaded(model, tokenizer, TaggerSettings(window=64)), texts, progress=False
    )
    assert [prediction.id for prediction in predictions] == ["0", "1", "2"]
    assert predictions[0].spans == predictions[2].spans == ()
    assert predict(Loaded(model, tokenizer, TaggerSettings()), [], progress=False) == []


@given(
    st.lists(
        st.tuples(
            st.text(alphabet=LETTERS + "ABÉß-(),._ \t\u00a0\u0300\u200b漢", max_size=9),
            st.booleans(),
        ),
        max_size=20,
    ),
    st.integers(8, 30),
    st.integers(0, 6),
)
def test_windows_cover_each_unit_once_and_gold_comes_back(words, window, stride):
    text, spans = "", []
    for word, inside in words:
        if inside and word.strip() == word and word:
            spans.append(Span(len(text), len(text) + len(word), "D"))
        text += word + " "
    case = Example("0", text, spans=tuple(spans))
    tokenizer = _TOKENIZER
    [whole] = encode([case], tokenizer, TaggerSettings(window=10_000))
    [cut] = encode([case], tokenizer, TaggerSettings(window=window, stride=stride))
    assert cut.offsets == whole.offsets
    assert sorted(unit for part in cut.windows for unit in part.units) == list(
        range(len(cut.offsets))
    )
    assert all(len(part.input_ids) <= window for part in cut.windows)
    tags = spans_to_tags(case.spans, cut.offsets)
    assert not illegal_tags(tags)
    lost = unreachable(case, tags, cut.offsets)
    reached = [span for span in spans if span not in lost]
    assert spans_to_tags(reached, cut.offsets) == [
        tag if any(span.start < end and start < span.end for span in reached) else "O"
        for tag, (start, end) in zip(tags, cut.offsets, strict=True)
    ]


_TOKENIZER = word_pieces()


def test_a_unit_is_tagged_where_it_has_most_context(tokenizer):
    text = " ".join(LETTERS[:20])
    [encoded] = encode([Example("0", text)], tokenizer, TaggerSettings(window=12, stride=4))
    # Windows of ten letters, six apart: a–j, g–p, m–t. The shared ones go to the nearer middle.
    assert [
        "".join(window.words[position] for position in window.positions)
        for window in encoded.windows
    ] == ["abcdefgh", "ijklmn", "opqrst"]


# Prediction


def test_long_texts_are_predicted_to_their_end(tokenizer):
    """Tags by token alone (no position, no attention across) do not depend on the windows."""

    class ByToken(torch.nn.Module):
        config = BertConfig(**NAMES)
        device = torch.device("cpu")

        def forward(self, input_ids, attention_mask):
            wanted = _TOKENIZER.convert_tokens_to_ids("flu")
            logits = (
                torch.stack(
                    [
                        (input_ids != wanted).float(),
                        (input_ids == wanted).float(),
                        torch.zeros(input_ids.shape),
                    ],
                    dim=-1,
                )
                * 9
            )
            return type("Output", (), {"logits": logits})

    text = "no x flu " * 300
    gold = [(start + 5, start + 8) for start in range(0, len(text), 9)]
    for decode in ("argmax", "viterbi"):
        loaded = Loaded(ByToken(), tokenizer, TaggerSettings(decode, 64, 16))
        [found] = predict(loaded, [Example("0", text)], progress=False)
        assert [(span.start, span.end) for span in found.spans] == gold


def test_answers_do_not_depend_on_the_batch(tokenizer, model):
    texts = [
        Example(str(number), text)
        for number, text in enumerate(
            ["colon cancer", "no flu", "the flu of no colon, no cancer (flu)", "x"]
        )
    ]
    loaded = Loaded(model, tokenizer, TaggerSettings(window=64))
    alone = [
        scores
        for text in texts
        for scores in unit_logits(
            loaded, encode([text], tokenizer, loaded.settings), batch_tokens=64, progress=False
        )
    ]
    together = unit_logits(
        loaded, encode(texts, tokenizer, loaded.settings), batch_tokens=4096, progress=False
    )
    for a, b in zip(alone, together, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_viterbi_is_the_likeliest_legal_sequence(model):
    torch.manual_seed(1)
    texts = [torch.randn(length, 3) * 2 for length in (1, 5, 3, 4)]
    for scores, (tags, probabilities) in zip(
        texts, read_tags(model, texts, decode="viterbi"), strict=True
    ):
        likelihood = scores.log_softmax(-1)
        legal = [
            path
            for path in product(range(3), repeat=len(scores))
            if not illegal_tags([TAGS[t] for t in path])
        ]
        assert tuple(tags) == max(
            legal, key=lambda path: sum(likelihood[i, t] for i, t in enumerate(path))
        )
        assert probabilities == pytest.approx(
            [float(scores.softmax(-1)[i, t]) for i, t in enumerate(tags)]
        )
    assert [tags for tags, _ in read_tags(model, texts, decode="argmax")] == [
        t.argmax(-1).tolist() for t in texts
    ]


def test_a_span_scores_as_its_least_likely_tag(tokenizer, model):
    [found] = encode([Example("0", "colon cancer")], tokenizer, TaggerSettings(window=64))
    loaded = Loaded(model, tokenizer, TaggerSettings("argmax", 64))
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
        tagger.crf.marginals(scores[None], mask)[0]
        .gather(1, torch.tensor(tags)[:, None])[:, 0]
        .tolist()
    )
    with pytest.raises(UserError, match="trained with a CRF"):
        read_tags(model, [scores], decode="crf")


# The network that sees case


def test_case_of_letters():
    assert [case_of(word) for word in ["", "12", "flu", "Flu", "BRCA", "A", "mRNA", "X1", "É"]] == [
        6,
        0,
        1,
        2,
        3,
        4,
        5,
        4,
        4,
    ]


def test_case_reaches_the_scores(tokenizer):
    torch.manual_seed(0)
    tagger = EncoderTagger(
        EncoderTaggerConfig(encoder=bert_config(), case_feature=True, **NAMES)
    ).eval()
    loaded = Loaded(tagger, tokenizer, TaggerSettings(window=64))
    texts = [Example("0", "no flu"), Example("1", "No FLU")]

    def scores():
        return unit_logits(
            loaded, encode(texts, tokenizer, loaded.settings), batch_tokens=64, progress=False
        )

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
    settings = TaggerSettings("crf" if crf else "viterbi", 32, 8)
    save(tmp_path / "model", model=model, tokenizer=tokenizer, settings=settings)
    texts = [Example("0", "No colon cancer, no flu. " * 9)]
    before = predict(Loaded(model, tokenizer, settings), texts, progress=False)
    assert before[0].spans
    assert predict(load(tmp_path / "model"), texts, progress=False) == before
    assert not [
        file for file in (tmp_path / "model").iterdir() if file.suffix in (".bin", ".pt", ".pkl")
    ]


def test_an_unfinished_or_foreign_folder_is_refused(bare_bert, tokenizer, model, tmp_path):
    with pytest.raises(UserError, match=r"tagger\.json"):
        load(bare_bert)
    shutil.copytree(bare_bert, tmp_path / "headless")
    save(tmp_path / "whole", model=model, tokenizer=tokenizer, settings=TaggerSettings())
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
    relative = DebertaV2Config(
        max_position_embeddings=20, position_biased_input=False, relative_attention=True
    )
    assert window_of(relative, tokenizer) == 20
    assert window_of(EncoderTaggerConfig(encoder=relative), tokenizer) == 20


# A tagger that goes on from another


REORDERED = ["O", "I-D", "B-D"]


@pytest.mark.parametrize("crf", [False, True])
def test_tags_in_another_order_keep_their_scores(tokenizer, bare_bert, tmp_path, crf):
    first = tagging.new_model(str(bare_bert), TAGS, crf=crf).model.eval()
    if crf:
        torch.nn.init.normal_(first.crf.transitions)
    save(tmp_path, model=first, tokenizer=tokenizer, settings=TaggerSettings())
    again, new = tagging.new_model(str(tmp_path), REORDERED, crf=crf)
    assert new == []
    ids, order = torch.tensor([[2, 5, 9, 3]]), [0, 2, 1]
    with torch.no_grad():
        torch.testing.assert_close(
            again.eval()(input_ids=ids).logits, first(input_ids=ids).logits[..., order]
        )
    if crf:
        mask, emissions = torch.ones(1, 4, dtype=torch.bool), torch.randn(1, 4, 3)
        torch.testing.assert_close(
            again.crf.log_partition(emissions[..., order], mask),
            first.crf.log_partition(emissions, mask),
        )


def test_a_head_of_other_tags_starts_at_random(tokenizer, bare_bert, tmp_path):
    first = tagging.new_model(str(bare_bert), TAGS, crf=True).model
    torch.nn.init.normal_(first.crf.transitions)
    save(tmp_path, model=first, tokenizer=tokenizer, settings=TaggerSettings())
    # As many tags; and the rules are those of the new ones, in which the third tag opens a mention.
    other, new = tagging.new_model(str(tmp_path), ["O", "B-E", "B-F"], crf=True)
    assert new == [
        "classifier.bias",
        "classifier.weight",
        "crf.end",
        "crf.start",
        "crf.transitions",
    ]
    assert not torch.equal(other.classifier.weight, first.classifier.weight)
    assert not other.crf.transitions.any()
    assert other.crf.allowed_first.all()
    more, new = tagging.new_model(str(tmp_path), [*TAGS, "B-E", "I-E"], crf=True)
    assert {"classifier.weight", "crf.transitions"} <= set(new)
    assert more.crf.allowed_first.tolist() == [True, True, False, True, False]


def test_parts_that_a_tagger_lacks_are_added(tokenizer, bare_bert, tmp_path):
    save(
        tmp_path,
        model=tagging.new_model(str(bare_bert), TAGS, case_feature=True).model,
        tokenizer=tokenizer,
        settings=TaggerSettings(),
    )
    model, new = tagging.new_model(str(tmp_path), TAGS, crf=True)
    assert new == ["crf.end", "crf.start", "crf.transitions"]
    assert not any(parameter.any() for parameter in model.crf.parameters())
    assert model.crf.allowed_first.tolist() == [True, True, False]
    assert model.case_embeddings is not None
    save(tmp_path, model=model, tokenizer=tokenizer, settings=TaggerSettings("crf"))
    assert tagging.new_model(str(tmp_path), TAGS).model.crf is None


def test_a_case_feature_needs_vectors_of_one_width(tmp_path):
    from transformers import ElectraConfig, ElectraModel

    ElectraModel(
        ElectraConfig(
            vocab_size=90,
            embedding_size=8,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=8,
        )
    ).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="embeddings of size 8 and states of size 16"):
        tagging.new_model(str(tmp_path), TAGS, case_feature=True)
