"""Answers to the written questions about padding, distance, windows and units that latch."""

import pytest
import torch

from pipelines.studies.context_and_memory import (
    DISTANCES,
    gradient_by_distance,
    latch_rnn,
    latch_units,
    masking,
)


def test_a_mask_makes_padding_nothing():
    exact, masked, loss_alone, nowhere = masking()
    assert masked.loss == pytest.approx(exact.loss, rel=1e-12)
    assert masked.distance < 1e-12
    assert loss_alone.distance > 1e-3
    assert nowhere.distance > loss_alone.distance
    assert exact.distance == 0


def test_sentences_of_one_length_need_no_mask():
    assert max(row.distance for row in masking((7, 7, 7))) < 1e-12


def test_gradients_vanish_with_distance_but_not_through_attention():
    norms = {
        name: gradient_by_distance(name, hidden_size=8) for name in ("rnn", "gru", "attention")
    }
    assert list(norms["rnn"]) == list(DISTANCES)
    assert DISTANCES[-1] == 4096
    for name in ("rnn", "gru"):
        assert norms[name][1] > norms[name][16] > norms[name][64]
        assert norms[name][4096] < 1e-100
    far = norms["attention"]
    assert far[4096] > 1e-3 * far[1] > 0


def test_the_rnn_unit_latches_but_passes_no_gradient():
    rnn, gru = latch_units()
    assert rnn.right == gru.right == 1.0
    assert rnn.zeros > 0.99
    assert 0.5 < gru.zeros < rnn.zeros
    assert gru.holds_for > 4096
    assert rnn.gradient < 1e-200
    assert gru.gradient > 0.99
    bits = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    states = latch_rnn()(bits)
    assert float(states[0, -1]) == pytest.approx(1.0, abs=1e-4)
    weak = latch_rnn(20.0, 8.0, -10.0)(bits)
    assert float(weak[0, -1]) < 0.5  # u too small to hold the 1
