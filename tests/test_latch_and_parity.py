"""What one unit can and cannot do, by weights by hand on every input and by exact enumeration; the study."""

from __future__ import annotations

import json
from fractions import Fraction
from itertools import product

import pytest
import torch
from conftest import load_recipe

from pipelines.errors import UserError
from pipelines.reporting.gradient_clipping import pictures
from pipelines.studies.gradient_clipping import summarize
from pipelines.studies.latch_and_parity import (
    BitReader,
    BitReaderConfig,
    all_bits,
    answers,
    draw,
    latch_gru,
    latch_holds_for,
    parity_gru,
    threshold_functions,
    two_unit_parity,
)

EVERY_LENGTH = range(1, 13)


def states(unit: torch.nn.GRU, bits: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return unit(bits[..., None])[0][..., 0]


def test_answers_by_hand():
    bits = torch.tensor([[0.0, 1, 0, 1, 1], [0, 0, 0, 0, 0]])
    assert answers("latch", bits).tolist() == [[0, 1, 1, 1, 1], [0, 0, 0, 0, 0]]
    assert answers("parity", bits).tolist() == [[0, 1, 1, 0, 1], [0, 0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("task", "unit"), [("latch", latch_gru()), ("parity", parity_gru()), ("latch", latch_gru(30))]
)
def test_the_weights_by_hand_hold_on_every_input_of_up_to_12_bits(task, unit):
    for length in EVERY_LENGTH:
        bits = all_bits(length)
        assert len(bits.unique(dim=0)) == 2**length
        assert torch.equal((states(unit, bits) > 0.5).float(), answers(task, bits)), length


def test_the_bound_on_the_latch_is_tight():
    # One 1 and then zeros: with a = 3 the state leaks by 0.953 a step and falls under 1/2 right where the bound says.
    longest = latch_holds_for(a=3.0)
    assert 5 < longest < 20
    one_then_zeros = torch.zeros(1, 2 * longest)
    one_then_zeros[0, 0] = 1
    right = states(latch_gru(a=3.0), one_then_zeros)[0] > 0.5
    assert right[:longest].all()
    assert not right[longest + 1 :].any()
    assert latch_holds_for() > 15_000


def test_a_latch_that_does_not_keep_is_found_out():
    assert any(
        not torch.equal((states(latch_gru(a=1.0), bits) > 0.5).float(), answers("latch", bits))
        for bits in map(all_bits, EVERY_LENGTH)
    )


def test_fourteen_of_sixteen_functions_are_threshold_functions_and_parity_is_not():
    found = threshold_functions()
    assert len({function.truth for function in found}) == 16
    assert [function.truth for function in found if function.weights is None] == [
        (0, 1, 1, 0),
        (1, 0, 0, 1),
    ]
    for truth, weights, certificate in found:
        if weights:
            w, u, b = weights
            assert truth == tuple(int(w * x + u * y + b > 0) for x, y in product((0, 1), repeat=2))
        else:
            # The certificate checks by itself: its sum of conditions has no w, no u and no b left, yet wants > 0.
            signed = [
                times if value else -times for times, value in zip(certificate, truth, strict=True)
            ]
            assert (
                sum(
                    sign * x for sign, (x, _) in zip(signed, product((0, 1), repeat=2), strict=True)
                )
                == 0
            )
            assert (
                sum(
                    sign * y for sign, (_, y) in zip(signed, product((0, 1), repeat=2), strict=True)
                )
                == 0
            )
            assert sum(signed) == 0
            assert any(sign > 0 for sign in signed)
            assert min(certificate) >= 0


@pytest.mark.parametrize(
    "function", [torch.sigmoid, torch.tanh, torch.relu, lambda x: (x > 0).float()]
)
def test_what_the_proof_says_of_two_steps_is_so_for_random_units(function):
    """The sum inside the second step is affine in the two bits, for any first state: no threshold of it is parity."""
    generator = torch.Generator().manual_seed(0)
    bits = all_bits(2)
    w, u, b, first = 5 * torch.randn(4, 2000, 1, generator=generator)
    state = function(w * bits[:, 0] + u * first + b)  # (2000, 4)
    total = w * bits[:, 1] + u * state + b
    # Affine in two bits: f(00) + f(11) = f(01) + f(10).
    assert torch.allclose(total[:, 0] + total[:, 3], total[:, 1] + total[:, 2], atol=1e-4)
    second = function(total)
    parity = answers("parity", bits)[:, -1].bool()
    apart = (second[:, parity].min(1).values > second[:, ~parity].max(1).values) | (
        second[:, parity].max(1).values < second[:, ~parity].min(1).values
    )
    assert not apart.any()


def test_two_threshold_units_do_parity():
    for bits in map(all_bits, EVERY_LENGTH):
        assert torch.equal(two_unit_parity(bits), answers("parity", bits))


@pytest.mark.parametrize(("task", "share"), [("latch", 1 / 20), ("parity", 1 / 2)])
def test_drawn_sequences_keep_both_answers_frequent(task, share):
    bits, labels = draw(task, 4000, 20, generator=torch.Generator().manual_seed(0))
    assert bits.mean().item() == pytest.approx(share, abs=0.01)
    assert 0.3 < labels[:, -1].mean() < 0.7
    assert torch.equal(labels, answers(task, bits))


def test_a_network_survives_a_round_trip(tmp_path):
    model = BitReader(BitReaderConfig(cell="gru", hidden_size=3)).eval()
    model.save_pretrained(tmp_path)
    again = BitReader.from_pretrained(tmp_path).eval()
    bits = all_bits(4)
    assert torch.equal(model(bits).logits, again(bits).logits)


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study") / "run"
    recipe = load_recipe("study_gradient_clipping")
    report = recipe.run(
        recipe.StudyArguments(
            run_dir=str(folder),
            tasks=["latch"],
            networks=["rnn"],
            lengths=[6],
            seeds=2,
            steps=12,
            max_grad_norm=0.05,
        )
    )
    return folder, report


@pytest.mark.extensive
@pytest.mark.slow
def test_a_pair_differs_in_the_clipping_only(studied):
    folder, _ = studied
    rows = [
        json.loads(line)
        for line in (folder / "curves.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert [(row["seed"], row["clipped"]) for row in rows] == [
        (0, False),
        (0, True),
        (1, False),
        (1, True),
    ]
    for without, with_clipping in (rows[:2], rows[2:]):
        assert len(without["loss"]) == len(without["gradient_norm"]) == 12
        # The first gradient is taken from the same weights on the same batch; its norm is logged before it is clipped.
        assert without["loss"][0] == with_clipping["loss"][0]
        assert without["gradient_norm"][0] == pytest.approx(with_clipping["gradient_norm"][0])
        assert with_clipping["gradient_norm"][0] > 0.05
        assert without["loss"] != with_clipping["loss"]
    assert rows[0]["loss"][0] != rows[2]["loss"][0]


def test_the_page_holds_the_curves_and_the_proof(studied):
    folder, report = studied
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 2
    header = page[: page.index("</header>")]
    assert "<li>max_grad_norm 0.05</li>" in header
    assert "<dt>machine</dt>" in header
    assert "6 bits: gradient norm" in page
    assert "(u + b) + (w + b) = (b) + (w + u + b)" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert report["one_unit"]["latch_gru_right"] == report["one_unit"]["inputs"] == 8190
    assert all(
        Fraction(weight) is not None
        for function in report["one_unit"]["threshold_functions"]
        for weight in function["weights"] or ()
    )


def test_a_diverged_run_is_reported_and_drawn():
    row = {
        "task": "latch",
        "network": "rnn",
        "length": 6,
        "accuracy": 0.5,
        "accuracy_at_the_end": 0.5,
    }
    rows = [
        row
        | {
            "seed": 0,
            "clipped": clipped,
            "loss": [0.7, None, None],
            "gradient_norm": [2.0, None, None],
        }
        for clipped in (False, True)
    ]
    assert [kind["diverged"] for kind in summarize(rows)] == [1, 1]
    assert all(
        picture.svg.startswith("<svg") for picture in pictures(rows, name="a", title="a", limit=1.0)
    )


def test_bad_options_are_reported_at_once(tmp_path):
    recipe = load_recipe("study_gradient_clipping")
    with pytest.raises(UserError) as caught:
        recipe.run(
            recipe.StudyArguments(
                tasks=["latch", "xor"],
                networks=["lstm"],
                lengths=[0],
                max_grad_norm=0,
                run_dir=str(tmp_path / "run"),
            )
        )
    expected = str(caught.value)
    assert "\n" not in expected
    assert all(
        part in expected for part in ("'xor'", "'lstm'", "--lengths got 0", "--max_grad_norm got 0")
    )
    assert not (tmp_path / "run").exists()
