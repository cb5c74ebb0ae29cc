"""The linear-chain CRF against every sequence written out."""

import itertools

import pytest
import torch

from pipelines.networks.crf import LinearChainCRF, bio_rules

TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


def random_crf(num_tags: int = 4, **options) -> LinearChainCRF:
    torch.manual_seed(0)
    crf = LinearChainCRF(num_tags, **options).double()
    for weights in crf.parameters():
        torch.nn.init.normal_(weights)
    return crf


def by_hand(
    crf: LinearChainCRF, emissions: torch.Tensor, sequences: list[tuple[int, ...]]
) -> torch.Tensor:
    start, transitions, end = crf.start.tolist(), crf.transitions.tolist(), crf.end.tolist()
    rows = emissions.tolist()
    return torch.tensor(
        [
            start[tags[0]]
            + end[tags[-1]]
            + sum(row[tag] for row, tag in zip(rows, tags, strict=True))
            + sum(transitions[a][b] for a, b in itertools.pairwise(tags))
            for tags in sequences
        ]
    ).double()


@pytest.mark.parametrize("length", range(1, 7))
def test_partition_viterbi_and_marginals_equal_brute_force(length):
    crf = random_crf()
    emissions = torch.randn(1, length, 4).double()
    mask = torch.ones(1, length, dtype=torch.bool)
    sequences = list(itertools.product(range(4), repeat=length))
    scores = by_hand(crf, emissions[0], sequences)
    everything = torch.tensor(sequences)

    found = crf.score(
        emissions.expand(len(sequences), -1, -1), everything, mask.expand(len(sequences), -1)
    )
    assert torch.allclose(found, scores)
    assert torch.allclose(crf.log_partition(emissions, mask)[0], scores.logsumexp(0))
    assert crf.viterbi(emissions, mask)[0].tolist() == everything[scores.argmax()].tolist()
    expected = torch.stack(
        [(scores.softmax(0)[:, None] * (everything == tag)).sum(0) for tag in range(4)], dim=1
    )
    assert torch.allclose(crf.marginals(emissions, mask)[0], expected)
    assert torch.allclose(crf(emissions, everything[3:4], mask)[0], -scores.log_softmax(0)[3])


def test_masked_positions_are_passed_over_wherever_they_stand():
    crf = random_crf()
    emissions, tags = torch.randn(1, 5, 4).double(), torch.randint(4, (1, 5))
    whole = torch.ones(1, 5, dtype=torch.bool)
    for places in ([0, 1, 2, 3, 4], [3, 4, 5, 6, 7], [0, 2, 3, 6, 7]):
        mask = torch.zeros(1, 8, dtype=torch.bool)
        mask[0, places] = True
        wide = torch.full((1, 8, 4), 7.0).double()
        wide[0, places] = emissions[0]
        wide_tags = torch.full((1, 8), -100)
        wide_tags[0, places] = tags[0]
        assert torch.allclose(crf(wide, wide_tags, mask), crf(emissions, tags, whole))
        assert (
            crf.viterbi(wide, mask)[0, places].tolist() == crf.viterbi(emissions, whole)[0].tolist()
        )
        assert torch.allclose(
            crf.marginals(wide, mask)[0, places], crf.marginals(emissions, whole)[0]
        )
        assert (crf.marginals(wide, mask)[~mask] == 0).all()


def test_a_row_without_tags_is_the_empty_sequence():
    crf, nothing = random_crf(), torch.zeros(2, 3, dtype=torch.bool)
    nothing[1] = True
    emissions = torch.randn(2, 3, 4).double()
    losses = crf(emissions, torch.zeros(2, 3, dtype=torch.long), nothing)
    assert losses[0] == 0
    assert losses[1] > 0
    losses.sum().backward()
    assert all(torch.isfinite(weights.grad).all() for weights in crf.parameters())


def test_bio_rules():
    first, following = bio_rules(TAGS)
    assert [tag for tag, ok in zip(TAGS, first, strict=True) if ok] == ["O", "B-PER", "B-LOC"]
    assert {
        (a, b) for i, a in enumerate(TAGS) for j, b in enumerate(TAGS) if not following[i, j]
    } == {
        ("O", "I-PER"),
        ("O", "I-LOC"),
        ("B-PER", "I-LOC"),
        ("I-PER", "I-LOC"),
        ("B-LOC", "I-PER"),
        ("I-LOC", "I-PER"),
    }


def test_what_bio_forbids_is_never_decoded_and_has_no_probability():
    crf = random_crf(5, tags=TAGS)
    emissions, mask = torch.zeros(1, 4, 5).double(), torch.ones(1, 4, dtype=torch.bool)
    emissions[0, :, 2] = 50  # I-PER everywhere
    assert crf.viterbi(emissions, mask)[0].tolist() == [1, 2, 2, 2]
    marginals = crf.marginals(emissions, mask)[0]
    assert marginals[0, 2] == 0
    assert torch.allclose(marginals.sum(1), torch.ones(4).double())


def test_marginals_inside_inference_mode():
    crf = random_crf()
    with torch.inference_mode():
        emissions, mask = torch.randn(2, 3, 4).double(), torch.ones(2, 3)
        assert torch.allclose(crf.marginals(emissions, mask).sum(2), torch.ones(2, 3).double())
