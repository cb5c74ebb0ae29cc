"""Parameters by hand and as the course counts them; multiply-adds counted by torch equal the closed forms."""

from __future__ import annotations

import pytest
import torch
from transformers import BertConfig, BertForTokenClassification

from pipelines.inspection.parameters import (
    closed_form,
    parameter_table,
    rnn_and_window,
    table_as_text,
)
from pipelines.networks.encoder_tagger import EncoderTagger, EncoderTaggerConfig
from pipelines.networks.feedforward import FeedforwardConfig, FeedforwardTagger
from pipelines.networks.recurrent import RecurrentConfig, RecurrentTagger
from pipelines.networks.tagger_ensemble import ensemble_of

TAGS = dict(
    enumerate(
        ["O", *(f"{prefix}-{label}" for label in ("PER", "LOC", "ORG", "MISC") for prefix in "BI")]
    )
)
SMALL = {"vocab_size": 40, "embedding_dim": 7, "id2label": TAGS}


def test_the_numbers_of_the_course():
    with torch.device("meta"):
        model = FeedforwardTagger(FeedforwardConfig(vocab_size=16_836, id2label=TAGS))
    sizes = [parameter.numel() for parameter in model.parameters()]
    assert sizes == [5_050_800, 153_600, 512, 4_608, 9]


def test_rows_by_hand():
    table = parameter_table(
        RecurrentTagger(RecurrentConfig(**SMALL, hidden_size=5, train_embeddings=False))
    )
    found = {
        row.name: (row.shape, row.parameters, row.trainable, row.multiply_adds)
        for row in table.rows
    }
    assert found == {
        "embeddings.words.weight": ((40, 7), 280, False, 0),
        "layers.0.0.W.weight": ((5, 7), 35, True, 35),
        "layers.0.0.W.bias": ((5,), 5, True, None),
        "layers.0.0.U.weight": ((5, 5), 25, True, 25),
        "classifier.weight": ((9, 5), 45, True, 45),
        "classifier.bias": ((9,), 9, True, None),
    }
    assert (table.parameters, table.trainable, table.multiply_adds) == (399, 119, 105)
    assert "280" in table_as_text(table)
    assert "T·105 multiply-adds (as counted): H·(H + D + C), H = 5, D = 7, C = 9" in table_as_text(
        table
    )


@pytest.mark.parametrize(
    "options",
    [
        {"window": 0, "hidden_sizes": [5]},
        {"window": 2, "hidden_sizes": [5]},
        {"window": 1, "hidden_sizes": [5, 3]},
        {"window": 1, "hidden_sizes": [5], "character_feature": "affixes"},
        {"window": 0, "hidden_sizes": [5], "character_feature": "cnn", "character_dim": 6},
        *(
            {"cell": cell, "library_cell": library}
            for cell in ("rnn", "gru", "lstm")
            for library in (False, True)
        ),
        {"cell": "gru", "num_layers": 2, "bidirectional": True},
        {"cell": "rnn", "num_layers": 3},
        {"cell": "rnn", "window": 2},
        {"cell": "gru", "window": 1, "num_layers": 2, "bidirectional": True},
        {"cell": "lstm", "bidirectional": True, "crf": True},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
@pytest.mark.parametrize("tokens", [1, 9])
def test_closed_forms_equal_what_torch_counts(options, tokens):
    if "cell" not in options:
        model = FeedforwardTagger(FeedforwardConfig(**SMALL, **options))
    else:
        model = RecurrentTagger(RecurrentConfig(**SMALL, hidden_size=5, **options))
    table = parameter_table(model, tokens=tokens)
    assert table.closed_form[1] == round(table.multiply_adds) == pytest.approx(table.multiply_adds)
    assert table.elsewhere == pytest.approx(0)
    assert table.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert model.training


def test_closed_forms_of_the_issue():
    T, H, D, C, w = 1, 11, 7, 9, 2
    window = FeedforwardTagger(FeedforwardConfig(**SMALL, window=w, hidden_sizes=[H]))
    assert closed_form(window)[1] == T * H * (C + (2 * w + 1) * D)
    rnn = RecurrentTagger(RecurrentConfig(**SMALL, hidden_size=H))
    assert closed_form(rnn)[1] == T * H * (H + D + C)


def test_an_encoder_has_products_in_its_attention_and_no_closed_form():
    model = BertForTokenClassification(
        BertConfig(
            vocab_size=30,
            hidden_size=8,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=12,
        )
    ).eval()
    table = parameter_table(model, tokens=10)
    # Two layers: four 8x8 and two 8x12 matrices; scores and their sum over 10 tokens; the classifier of two labels.
    assert table.elsewhere == pytest.approx(2 * 2 * 10 * 8)
    assert table.multiply_adds == pytest.approx(2 * (4 * 64 + 2 * 96) + 320 + 16)
    assert table.closed_form is None
    assert "matmuls without parameters, at 10 tokens" in table_as_text(table)


def test_layers_and_what_they_give():
    config = BertConfig(
        vocab_size=30,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=12,
    )
    table = parameter_table(BertForTokenClassification(config).eval(), tokens=10)
    layers = table.layers
    assert list(layers) == [
        "bert.embeddings",
        "bert.encoder.layer.0",
        "bert.encoder.layer.1",
        "classifier",
    ]
    # Four 8x8 and two 8x12 matrices with biases, and two norms; each with its attention.
    layer = layers["bert.encoder.layer.0"]
    assert layer.parameters == 4 * 72 + (8 * 12 + 12) + (12 * 8 + 8) + 2 * 16
    assert layer.output == (1, 10, 8)
    assert layer.multiply_adds == pytest.approx(4 * 64 + 2 * 96 + 160)
    assert sum(part.parameters for part in layers.values()) == table.parameters
    assert sum(part.multiply_adds for part in layers.values()) == pytest.approx(table.multiply_adds)
    outputs = {row.name: row.output for row in table.rows if row.output}
    assert outputs["bert.embeddings.word_embeddings.weight"] == (1, 10, 8)
    assert outputs["bert.encoder.layer.1.intermediate.dense.weight"] == (1, 10, 12)
    assert outputs["classifier.weight"] == (1, 10, 2)
    text = table_as_text(table)
    assert "  = bert.encoder.layer.0" in text
    assert "query" not in table_as_text(table, layers_only=True)


def test_a_module_with_weights_of_its_own_and_modules_inside_counts_no_product_twice():
    config = RecurrentConfig(**SMALL, hidden_size=5, cell="gru", initial_state="learned")
    table = parameter_table(RecurrentTagger(config), tokens=4)
    rows = {row.name: row for row in table.rows}
    assert rows["initial"].multiply_adds == 0
    assert sum(row.multiply_adds or 0 for row in table.rows) == table.multiply_adds
    assert (rows["layers.0.0.U.weight"].output, rows["layers.0.0.U.weight"].runs) == ((1, 15), 4)


def test_a_case_feature_and_an_ensemble():
    bert = BertConfig(
        vocab_size=30,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=12,
    )
    config = EncoderTaggerConfig(encoder=bert, case_feature=True, id2label=TAGS)
    one = parameter_table(EncoderTagger(config), tokens=6)
    assert one.layers["case_embeddings"].output == (1, 6, 8)
    both = parameter_table(ensemble_of([EncoderTagger(config), EncoderTagger(config)]), tokens=6)
    assert both.parameters == 2 * one.parameters
    assert both.multiply_adds == pytest.approx(2 * one.multiply_adds)


@pytest.mark.parametrize("window", [0, 1, 2, 3])
@pytest.mark.parametrize(("H", "D"), [(5, 7), (60, 10), (12, 3), (6, 3)])
def test_rnn_minus_window(H, D, window):
    rnn, feedforward = rnn_and_window(H, D, window)
    assert rnn - feedforward == H * (H - 2 * window * D)


def test_sequences_and_pictures_are_counted_as_they_are_read():
    from pipelines.networks.image_net import SmallImageNet, SmallImageNetConfig
    from pipelines.networks.sequence_regression import SequenceRegressionConfig, SequenceRegressor

    steps = SequenceRegressor(
        SequenceRegressionConfig(
            input_size=3, hidden_size=4, input_mean=[0.0] * 3, input_scale=[1.0] * 3
        )
    )
    table = parameter_table(steps, tokens=5)
    assert table.parameters == sum(weight.numel() for weight in steps.parameters())
    picture = SmallImageNet(SmallImageNetConfig(image_size=16, widths=[4, 8], num_labels=2))
    assert parameter_table(picture).parameters == picture.num_parameters()
    # A picture is one input, however many tokens a text would have.
    whole = parameter_table(picture, tokens=1).multiply_adds
    assert parameter_table(picture, tokens=32).multiply_adds == whole > 16 * 16
