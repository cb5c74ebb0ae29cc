"""Shapes, parameters and multiply-adds of a layer by formula equal those of the layer that ran."""

import random
import re
import xml.etree.ElementTree as ElementTree

import pytest
from transformers import (
    AutoConfig,
    BertConfig,
    BertForTokenClassification,
    DistilBertConfig,
    ElectraConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    RobertaConfig,
)

from pipelines import cli
from pipelines.errors import UserError
from pipelines.networks.pooled_classifier import PooledClassifierConfig
from pipelines.reporting.tensor_shapes import diagram, shapes_as_text, write_diagram
from pipelines.studies.layer_sizes import (
    ARCHITECTURES,
    Sizes,
    config_from_sizes,
    config_of_model,
)
from pipelines.studies.tensor_shapes import layer_shapes


def by_name(shapes):
    return {step.step.name: step for step in shapes.steps}


def test_the_sizes_of_the_course_by_hand():
    shapes = layer_shapes(config_from_sizes("distilbert", hidden=20, heads=5), batch=10, tokens=90)
    found = {name: step.shape for name, step in by_name(shapes).items()}
    assert {found[name] for name in "QKV"} == {(10, 90, 20)}
    assert {found[f"{name} per head"] for name in "QKV"} == {(10, 5, 90, 4)}
    assert found["attention map (softmax)"] == (10, 5, 90, 90)
    assert found["dropout of the attention map"] == (10, 5, 90, 90)
    assert found["heads joined"] == found["dropout after feed-forward"] == (10, 90, 20)
    assert found["feed-forward, wide"] == (10, 90, 80)
    assert shapes.steps[-1].step.name == "add and normalise: layer output"
    assert shapes.steps[-1].shape == (10, 90, 20)
    # Four matrices of 20 x 20 with biases; 20 x 80 and back; scale and shift twice.
    counted = 4 * (400 + 20) + (1600 + 80) + (1600 + 20) + 2 * 40
    assert shapes.parameters.counted == shapes.parameters.value == counted == 5060
    dropouts = [step.step.name for step in shapes.steps if step.dropout == 0.1]
    assert dropouts == ["dropout of the attention map", "dropout after feed-forward"]


def random_sizes(count):
    draw = random.Random(0)
    for _ in range(count):
        heads = draw.randint(1, 8)
        divisors = [n for n in range(1, heads + 1) if heads % n == 0]
        yield {
            "hidden": heads * 2 * draw.randint(1, 16),
            "heads": heads,
            "kv_heads": draw.choice(divisors),
            "intermediate": draw.randint(1, 200),
            "batch": draw.randint(1, 6),
            "tokens": draw.randint(1, 200),
        }


@pytest.mark.parametrize("count", [10, pytest.param(60, marks=pytest.mark.slow)])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_formulas_equal_what_ran_for_random_sizes(architecture, count):
    for sizes in random_sizes(count):
        batch, tokens = sizes.pop("batch"), sizes.pop("tokens")
        if architecture != "llama":
            del sizes["kv_heads"]
        config = config_from_sizes(architecture, **sizes)
        shapes = layer_shapes(config, batch=batch, tokens=tokens)
        wrong = [step for step in shapes.steps if not step.agrees]
        assert not wrong, (sizes, batch, tokens)
        assert shapes.parameters.agrees, (shapes.parameters, sizes)
        assert shapes.multiply_adds.agrees, (shapes.multiply_adds, sizes)
        by_step = sum(step.parameters for step in shapes.steps)
        assert by_step == shapes.parameters.counted  # no module is left out of the table


@pytest.mark.parametrize(
    "config",
    [
        RobertaConfig(),
        ElectraConfig(),
        MistralConfig(),
        LlamaConfig(attention_bias=True, mlp_bias=True),
        LlamaConfig(head_dim=32, num_key_value_heads=8),
    ],
    ids=["roberta", "electra", "mistral", "biases", "head_dim"],
)
def test_other_models(config):
    assert layer_shapes(config, batch=2, tokens=7).agrees


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        (DistilBertConfig(), 42_527_232),  # published totals without embeddings
        (BertConfig(), 85_054_464),
        (
            LlamaConfig(  # TinyLlama: 1,100,048,384 with two embeddings and the last norm
                hidden_size=2048,
                num_attention_heads=32,
                num_key_value_heads=4,
                intermediate_size=5632,
                num_hidden_layers=22,
            ),
            1_100_048_384 - 2 * 32_000 * 2048 - 2048,
        ),
    ],
    ids=["distilbert", "bert", "tinyllama"],
)
def test_parameters_of_known_models(config, parameters):
    shapes = layer_shapes(config, batch=1, tokens=4)
    assert shapes.layers * shapes.parameters.value == parameters
    assert f"parameters of {shapes.layers} such layers: {parameters:,}" in shapes_as_text(shapes)
    assert config.num_hidden_layers == shapes.layers  # the given config stays as it is


def test_grouped_queries_have_fewer_keys():
    config = config_from_sizes("llama", hidden=32, heads=8, kv_heads=2)
    steps = by_name(layer_shapes(config, batch=3, tokens=5))
    assert steps["Q"].shape == (3, 5, 32)
    assert steps["K"].shape == steps["V"].shape == (3, 5, 8)
    assert steps["K per head"].shape == (3, 2, 5, 4)
    assert steps["K for all heads"].shape == (3, 8, 5, 4)
    alone = layer_shapes(config_from_sizes("llama", hidden=32, heads=8), batch=3, tokens=5)
    assert "K for all heads" not in by_name(alone)


def test_a_formula_that_is_wrong_is_seen(monkeypatch):
    from pipelines.studies import tensor_shapes

    monkeypatch.setattr(tensor_shapes, "MAP", ("B", "A", "T", "d"))
    shapes = layer_shapes(config_from_sizes("bert", hidden=20, heads=5), batch=2, tokens=7)
    assert not shapes.agrees
    assert "2 × 5 × 7 × 7 != 2 × 5 × 7 × 4" in shapes_as_text(shapes)


def test_sums_of_products():
    sizes = Sizes(B=1, T=2, H=3, A=5, K=7, d=11, F=13)
    assert sizes.value("4·H·H + 2·H·F + 9·H + F") == 36 + 78 + 27 + 13
    assert sizes.value("A·d") == 55


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"hidden": 20, "heads": 3}, "--hidden 20 does not divide into --heads 3"),
        ({"hidden": 0, "heads": 0}, "--hidden 0: wanted at least 1; --heads 0"),
        ({"hidden": -4, "heads": 2}, "--hidden -4"),
        ({"kv_heads": 5, "architecture": "bert", "hidden": 20, "heads": 10}, "only llama"),
        ({"kv_heads": 2, "architecture": "llama", "hidden": 20, "heads": 5}, "a divisor of"),
        ({"architecture": "llama", "hidden": 15, "heads": 5}, "heads of 3 units"),
        ({"architecture": "gpt"}, "--architecture gpt: wanted distilbert, bert, llama"),
        ({"dropout": 1.0}, "--dropout 1"),
        ({"intermediate": 0}, "--intermediate 0"),
    ],
)
def test_sizes_that_no_layer_has(options, expected):
    given = {"architecture": "distilbert", "hidden": 20, "heads": 5} | options
    with pytest.raises(UserError, match=re.escape(expected)):
        config_from_sizes(given.pop("architecture"), **given)


@pytest.mark.parametrize(
    ("batch", "tokens", "expected"),
    [(0, 5, "--batch 0"), (1, -1, "--tokens -1"), (1, 10**10, "a tensor of 5e")],
)
def test_batches_that_are_refused(batch, tokens, expected):
    config = config_from_sizes("distilbert", hidden=20, heads=5)
    with pytest.raises(UserError, match=expected):
        layer_shapes(config, batch=batch, tokens=tokens)


def test_more_tokens_than_a_checkpoint_has_positions():
    with pytest.raises(UserError, match="--tokens 513; this bert has 512 positions"):
        layer_shapes(BertConfig(), batch=1, tokens=513)
    with pytest.raises(UserError, match="has 510 positions"):
        layer_shapes(RobertaConfig(max_position_embeddings=512), batch=1, tokens=511)
    assert layer_shapes(LlamaConfig(), batch=1, tokens=5000).agrees


def test_the_config_of_a_model_or_a_run(tmp_path, tiny_bert, tiny_llama):
    assert config_of_model(tiny_bert).model_type == "bert"
    assert config_of_model(str(tiny_llama)).model_type == "llama"
    run = tmp_path / "run"
    BertForTokenClassification(AutoConfig.from_pretrained(tiny_bert)).save_pretrained(run / "model")
    (run / "model" / "tagger.json").write_text("{}")
    (run / "config.yaml").write_text("seed: 1\n")
    assert config_of_model(str(run)).model_type == "bert"
    pooled = tmp_path / "pooled"
    PooledClassifierConfig(encoder=AutoConfig.from_pretrained(tiny_bert)).save_pretrained(pooled)
    assert config_of_model(str(pooled)).model_type == "bert"
    adapter = tmp_path / "adapter"
    (adapter / "model").mkdir(parents=True)
    (adapter / "model" / "prompt.json").write_text(f'{{"base_model": "{tiny_llama}"}}')
    (adapter / "config.yaml").write_text("seed: 1\n")
    assert config_of_model(str(adapter)).model_type == "llama"
    GPT2Config().save_pretrained(tmp_path / "gpt2")
    with pytest.raises(UserError, match="the layers of a gpt2 are not known"):
        config_of_model(str(tmp_path / "gpt2"))


def test_the_diagram_holds_each_step_inside_its_frame(tmp_path):
    config = config_from_sizes("llama", hidden=2048, heads=32, kv_heads=4)
    shapes = layer_shapes(config, batch=10, tokens=90)
    write_diagram(shapes, tmp_path / "layer.svg")
    root = ElementTree.parse(tmp_path / "layer.svg").getroot()
    kind = "{http://www.w3.org/2000/svg}"
    texts = [text.text for text in root.iter(f"{kind}text")]
    assert all(any(step.step.name in text for text in texts) for step in shapes.steps)
    width, height = float(root.get("width")), float(root.get("height"))
    boxes = [box for box in root.iter(f"{kind}rect") if box.get("x")]
    assert len(boxes) == len(shapes.steps)
    edges = [tuple(float(box.get(name)) for name in ("x", "y", "width", "height")) for box in boxes]
    assert all(x >= 0 and x + w <= width and y + h <= height for x, y, w, h in edges)
    assert len({(x, y) for x, y, _, _ in edges}) == len(edges)
    assert "<&" not in diagram(shapes)


def test_the_command(tmp_path, capsys):
    sizes = ("--batch", "10", "--tokens", "90", "--hidden", "20", "--heads", "5")
    assert cli.main(["shapes", *sizes, "--svg", str(tmp_path / "a.svg")]) == 0
    printed = capsys.readouterr().out
    assert "10 × 5 × 90 × 90" in printed
    assert "4·H·H + 2·H·F + 9·H + F = 5,060 (as counted)" in printed
    assert (tmp_path / "a.svg").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--hidden", "20", "--heads", "3"), "does not divide"),
        (("--model", "mine", "--hidden", "20"), "--model has its own sizes; got --hidden too"),
    ],
)
def test_sizes_that_do_not_fit_are_one_line(options, message, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["shapes", *options])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
