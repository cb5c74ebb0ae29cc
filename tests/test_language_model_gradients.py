"""Gradients by hand against autograd and central differences, and the command that prints them."""

import pytest
import torch

from pipelines import cli
from pipelines.studies import language_model_gradients as study


def case(tokens, seed=0):
    return study.draw_case(vocab_size=12, embedding_dim=4, hidden_size=5, tokens=tokens, seed=seed)


@pytest.mark.parametrize("tokens", [1, 2, 6])
@pytest.mark.parametrize("seed", [0, 1])
def test_all_three_ways_agree(tokens, seed):
    checks = study.check_gradients(case(tokens, seed))
    assert [check.name for check in checks] == ["U", "b2", "I", "H", "b1", "h(t-1)", "L"]
    assert all(check.agrees for check in checks), checks


def test_the_loss_of_the_formulas_is_that_of_the_network():
    drawn = case(6)
    network, words = drawn.network, drawn.words
    state = study.RecurrentState(
        drawn.before[None, None], torch.zeros_like(drawn.before)[None, None]
    )
    logits = network(input_ids=words[None, :-1], past_key_values=state).logits[0]
    expected = torch.nn.functional.cross_entropy(logits, words[1:], reduction="sum")
    found = float(study.loss(study.weights_of(drawn), words))
    assert found == pytest.approx(float(expected.detach()))


def test_a_wrong_formula_is_noticed(monkeypatch, capsys):
    right = study.gradients_by_hand

    def with_a_factor_too_many(weights, words):
        gradients = right(weights, words)
        return gradients | {"b1": gradients["b1"] * 1.001}

    monkeypatch.setattr(study, "gradients_by_hand", with_a_factor_too_many)
    assert cli.main(["gradients"]) == 1
    assert "all errors below 1e-06: no" in capsys.readouterr().out


def test_the_relative_error():
    one, two = torch.tensor([3.0, 4.0]), torch.tensor([3.0, 3.0])
    assert study.relative_error(one, two) == pytest.approx(1 / 5)
    assert study.relative_error(one * 0, one * 0) == 0


def test_the_command_prints_a_table_of_each(capsys):
    assert cli.main(["gradients", "--tokens", "4"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("h(t-1)") for line in lines) == 2
    assert lines[-1] == "all errors below 1e-06: yes"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--vocab_size", "4", "--tokens", "0"], "--vocab_size 4 (wanted 5 or more), --tokens 0"),
        (["--vocab_size", "5000"], "20,000 or fewer"),
    ],
)
def test_sizes_out_of_range_are_one_line(options, message, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["gradients", *options])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
