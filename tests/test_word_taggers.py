"""The word-level networks against their formulas, against torch's layers, and with padding on either side."""

import pytest
import torch
from transformers import AutoModelForTokenClassification

from pipelines.corpora.lexicon import Entry, Lexicon
from pipelines.networks.feedforward import FeedforwardConfig, FeedforwardTagger
from pipelines.networks.recurrent import CELLS, RecurrentConfig, RecurrentTagger
from pipelines.networks.tagger import pack

TAGS = dict(enumerate(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]))
MATCHES = ["O", "B", "I", "E", "S"]
SMALL = {"vocab_size": 30, "embedding_dim": 6, "id2label": TAGS}
NETWORKS = {
    "ffnn": lambda **k: FeedforwardTagger(FeedforwardConfig(**SMALL, hidden_sizes=[5], **k)),
    "deep": lambda **k: FeedforwardTagger(
        FeedforwardConfig(**SMALL, hidden_sizes=[5, 4, 3], activation="prelu", **k)
    ),
    "window": lambda **k: FeedforwardTagger(
        FeedforwardConfig(**SMALL, window=2, hidden_sizes=[5], **k)
    ),
    "affixes": lambda **k: FeedforwardTagger(
        FeedforwardConfig(**SMALL, character_feature="affixes", **k)
    ),
    "cnn": lambda **k: FeedforwardTagger(
        FeedforwardConfig(**SMALL, character_feature="cnn", window=1, **k)
    ),
    "lexicon": lambda **k: FeedforwardTagger(FeedforwardConfig(**SMALL, lexicon_tags=MATCHES, **k)),
    "rnn-window": lambda **k: RecurrentTagger(
        RecurrentConfig(**SMALL, window=2, bidirectional=True, hidden_size=4, **k)
    ),
    "gru-window-lexicon-affixes": lambda **k: RecurrentTagger(
        RecurrentConfig(
            **SMALL,
            cell="gru",
            window=1,
            lexicon_tags=MATCHES,
            character_feature="affixes",
            hidden_size=4,
            **k,
        )
    ),
    "lstm-library-window": lambda **k: RecurrentTagger(
        RecurrentConfig(**SMALL, cell="lstm", library_cell=True, window=1, hidden_size=4, **k)
    ),
    **{
        f"{cell}{'-library' * library}{'-both' * both}": lambda cell=cell, library=library, both=both, **k: (
            RecurrentTagger(
                RecurrentConfig(
                    **SMALL,
                    cell=cell,
                    library_cell=library,
                    bidirectional=both,
                    hidden_size=4,
                    num_layers=2,
                    initial_state="learned",
                    **k,
                )
            )
        )
        for cell in CELLS
        for library in (False, True)
        for both in (False, True)
    },
}


def network(name: str, **options):
    torch.manual_seed(1)
    return NETWORKS[name](**options).double()


def sentences(model, lengths=(4, 1, 6)):
    """Rows of word numbers, tag numbers and letters."""
    torch.manual_seed(2)
    words = [torch.randint(2, 30, (length,)) for length in lengths]
    spelt = [
        torch.tensor(model.embeddings.characters_of([f"Wörd{n}x" * 3 for n in row]))
        for row in words
    ]
    return words, [torch.randint(0, 2, (length,)) * 1 for length in lengths], spelt


def padded(rows, width, *, left: bool, value=0):
    out = torch.full((len(rows), width, *rows[0].shape[1:]), value, dtype=torch.long)
    for number, row in enumerate(rows):
        out[number, width - len(row) :] = row if left else out[number, width - len(row) :]
        if not left:
            out[number, : len(row)] = row
    return out


def batch(model, rows, width, *, left=False):
    words, tags, spelt = rows
    mask = padded([torch.ones_like(row) for row in words], width, left=left)
    characters = padded(spelt, width, left=left) if spelt[0].numel() else None
    return {
        "input_ids": padded(words, width, left=left),
        "attention_mask": mask,
        "labels": padded(tags, width, left=left, value=-100),
        "characters": characters,
        "matches": matches_of(model, padded(words, width, left=left)),
    }


def matches_of(model, numbers):
    """A lexicon that says something of each word by its number."""
    return numbers % len(MATCHES) if model.matches is not None else None


def loss_and_gradients(model, inputs):
    model.zero_grad()
    loss = model(**inputs).loss
    loss.backward()
    return loss.item(), {
        name: weights.grad.clone()
        for name, weights in model.named_parameters()
        if weights.grad is not None
    }


def test_the_parameters_of_the_course_notebook():
    model = FeedforwardTagger(
        FeedforwardConfig(vocab_size=16_836, embedding_dim=300, hidden_sizes=[512], num_labels=9)
    )
    assert [weights.numel() for weights in model.parameters()] == [
        5_050_800,
        153_600,
        512,
        4_608,
        9,
    ]


@pytest.mark.parametrize("crf", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_padding_changes_neither_loss_nor_gradient(name, crf):
    model = network(name, crf=crf)
    rows = sentences(model)
    loss, gradients = loss_and_gradients(model, batch(model, rows, 6))
    for width, left in ((11, False), (6, True), (9, True)):
        again, others = loss_and_gradients(model, batch(model, rows, width, left=left))
        assert again == pytest.approx(loss, abs=1e-12)
        for key in gradients:
            assert torch.allclose(gradients[key], others[key], atol=1e-12), key


@pytest.mark.parametrize("name", NETWORKS)
def test_a_sentence_gets_the_same_scores_alone_as_in_a_batch(name):
    model = network(name).eval()
    rows = sentences(model)
    together = model(**batch(model, rows, 8)).logits
    for number in range(3):
        alone = model(
            **batch(model, [part[number : number + 1] for part in rows], len(rows[0][number]))
        ).logits
        assert torch.allclose(together[number, : len(rows[0][number])], alone[0])


@pytest.mark.parametrize("name", NETWORKS)
def test_a_word_that_comes_again_is_read_once_and_trains_the_same(name):
    # The word numbered 1 is the unknown one: its spelling tells two of them apart.
    model = network(name)
    numbers = torch.tensor([[5, 7, 5, 1, 1], [7, 5, 1, 9, 7]])
    words = [["five", "seven", "five", "Ulm", "oak"], ["seven", "five", "oak", "nine", "seven"]]
    spelt = torch.tensor([model.embeddings.characters_of(row) for row in words])
    inputs = {
        "input_ids": numbers,
        "labels": torch.tensor([[1, 0, 1, 3, 0], [0, 1, 2, 0, 4]]),
        "characters": spelt if spelt.numel() else None,
        "matches": matches_of(model, numbers),
    }
    loss, gradients = loss_and_gradients(model.eval(), inputs)
    read = []
    model.embeddings.register_forward_hook(lambda _, given, found: read.append(len(found)))
    again, others = loss_and_gradients(model.train(), inputs)
    assert read == [5 if spelt.numel() else 4]
    assert again == pytest.approx(loss, abs=1e-12)
    for key in gradients:
        assert torch.allclose(gradients[key], others[key], atol=1e-12), key


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize(
    ("cell", "activation"), [("rnn", "tanh"), ("rnn", "relu"), ("gru", "tanh"), ("lstm", "tanh")]
)
def test_cells_by_hand_give_outputs_and_gradients_of_the_library(cell, activation, both):
    options = {
        **SMALL,
        "cell": cell,
        "activation": activation,
        "bidirectional": both,
        "hidden_size": 4,
        "num_layers": 2,
        "initial_state": "learned",
    }
    by_hand = RecurrentTagger(RecurrentConfig(**options))
    library = RecurrentTagger(RecurrentConfig(**options, library_cell=True))
    hidden = 4
    shared = {
        name: value for name, value in by_hand.state_dict().items() if not name.startswith("layers")
    }
    library.load_state_dict(shared, strict=False)
    with torch.no_grad():
        by_hand.initial.normal_()
        library.initial.copy_(by_hand.initial)
        for ours, theirs in zip(by_hand.layers, library.layers, strict=True):
            for one, other in zip(ours, theirs, strict=True):
                if cell == "gru":
                    one.a.normal_()
                layer = other.layer
                layer.weight_ih_l0.copy_(one.W.weight)
                layer.weight_hh_l0.copy_(one.U.weight)
                layer.bias_ih_l0.copy_(one.W.bias)
                layer.bias_hh_l0.zero_()
                if cell == "gru":
                    layer.bias_hh_l0[2 * hidden :] = one.a
    rows = sentences(by_hand)
    ours, theirs = by_hand(**batch(by_hand, rows, 6)), library(**batch(library, rows, 6))
    assert torch.allclose(ours.logits, theirs.logits, atol=1e-5)
    ours.loss.backward()
    theirs.loss.backward()
    assert torch.allclose(
        by_hand.embeddings.words.weight.grad, library.embeddings.words.weight.grad, atol=1e-5
    )
    assert torch.allclose(by_hand.initial.grad, library.initial.grad, atol=1e-5)
    for ours, theirs in zip(by_hand.layers, library.layers, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            assert torch.allclose(one.W.weight.grad, other.layer.weight_ih_l0.grad, atol=1e-5)
            assert torch.allclose(one.U.weight.grad, other.layer.weight_hh_l0.grad, atol=1e-5)
            assert torch.allclose(one.W.bias.grad, other.layer.bias_ih_l0.grad, atol=1e-5)


def test_the_rnn_is_its_formula():
    model = RecurrentTagger(RecurrentConfig(**SMALL, hidden_size=4)).double()
    [[cell]] = model.layers
    words = torch.tensor([[3, 7, 3]])
    state, expected = torch.zeros(4).double(), []
    for vector in model.embeddings.words.weight[words[0]]:
        state = torch.tanh(cell.W.weight @ vector + cell.U.weight @ state + cell.W.bias)
        expected.append(model.classifier.weight @ state + model.classifier.bias)
    assert torch.allclose(model(words).logits[0], torch.stack(expected))


def test_the_window_is_its_formula():
    model = network("window").eval()
    [layer] = model.layers
    words = torch.tensor([[3, 7, 5]])
    zero, vectors = torch.zeros(6).double(), list(model.embeddings.words.weight[words[0]])
    around = [zero, zero, *vectors, zero, zero]
    for place in range(3):
        hidden = torch.relu(layer.weight @ torch.cat(around[place : place + 5]) + layer.bias)
        assert torch.allclose(model(words).logits[0, place], model.classifier(hidden))


@pytest.mark.parametrize("both", [False, True])
def test_a_step_of_the_rnn_reads_a_window(both):
    config = RecurrentConfig(**SMALL, hidden_size=4, window=1, bidirectional=both)
    model = RecurrentTagger(config).double().eval()
    words = torch.tensor([[3, 7, 5]])
    zero, vectors = torch.zeros(6).double(), list(model.embeddings.words.weight[words[0]])
    around = [zero, *vectors, zero]
    inputs = [torch.cat(around[position : position + 3]) for position in range(3)]
    hidden = [[], [], []]
    for direction, cell in enumerate(model.layers[0]):
        state = torch.zeros(4).double()
        for position in reversed(range(3)) if direction else range(3):
            step = cell.W.weight @ inputs[position] + cell.U.weight @ state + cell.W.bias
            state = torch.tanh(step)
            hidden[position].append(state)
    expected = [model.classifier(torch.cat(states)) for states in hidden]
    assert torch.allclose(model(words).logits[0], torch.stack(expected))


def test_a_word_in_a_match_is_another_word(tmp_path):
    model = network("lexicon")
    words, matches = torch.tensor([[5, 5, 5]]), torch.tensor([[0, 4, 0]])
    assert not torch.allclose(*model(words, matches=matches).logits[0, :2])
    # In training too, where equal words are read once.
    first, second, third = model.train()(words, matches=matches).logits[0]
    assert torch.equal(first, third)
    assert not torch.allclose(first, second)
    with pytest.raises(ValueError, match="`matches`, from `extra_inputs`"):
        model(words)


def test_the_lexicon_is_saved_with_the_network(tmp_path):
    lexicon = Lexicon({"new york": Entry("LOC", "Q60"), "rome": Entry("LOC")})
    options = {"lexicon_tags": lexicon.tags(), "window": 1, "hidden_size": 4}
    model = RecurrentTagger(RecurrentConfig(**SMALL, **options)).eval()
    model.lexicon = lexicon
    model.save_pretrained(tmp_path)
    loaded = AutoModelForTokenClassification.from_pretrained(tmp_path)
    words = ["Rome", "and", "New", "York"]
    inputs = loaded.extra_inputs(words)
    assert inputs == model.extra_inputs(words) == {"matches": [4, 0, 1, 3]}
    batch = {"input_ids": torch.tensor([[3, 4, 5, 6]]), "matches": torch.tensor([[4, 0, 1, 3]])}
    assert torch.equal(loaded(**batch).logits, model(**batch).logits)
    (tmp_path / "lexicon.json").unlink()
    with pytest.raises(OSError, match=r"lexicon\.json"):
        AutoModelForTokenClassification.from_pretrained(tmp_path)


def test_prelu_by_hand_and_refused_through_the_library():
    model = RecurrentTagger(RecurrentConfig(**SMALL, hidden_size=4, activation="prelu"))
    model(torch.tensor([[2, 3]]), labels=torch.tensor([[0, 1]])).loss.backward()
    assert model.layers[0][0].f.weight.grad is not None
    with pytest.raises(ValueError, match="PReLU"):
        RecurrentConfig(**SMALL, activation="prelu", library_cell=True)


def test_a_random_state_is_drawn_in_training_only():
    model = RecurrentTagger(RecurrentConfig(**SMALL, hidden_size=4, initial_state="random"))
    words = torch.tensor([[2, 3]])
    assert not torch.equal(model.train()(words).logits, model(words).logits)
    zero = RecurrentTagger(RecurrentConfig(**SMALL, hidden_size=4))
    zero.load_state_dict(model.state_dict())
    assert torch.equal(model.eval()(words).logits, zero.eval()(words).logits)


def test_variational_dropout_takes_one_mask_a_sentence():
    model = FeedforwardTagger(
        FeedforwardConfig(**SMALL, dropout=0.5, variational_dropout=True)
    ).train()
    packed = pack(torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]]).bool())
    kept = model.drop(torch.ones(7, 200), packed)
    for sentence in range(2):
        rows = kept[packed.sentence == sentence]
        assert (rows == rows[0]).all()
    assert not torch.equal(kept[packed.sentence == 0][0], kept[packed.sentence == 1][0])
    assert set(kept.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(model.eval().drop(torch.ones(7, 200), packed), torch.ones(7, 200))
    model = RecurrentTagger(
        RecurrentConfig(**SMALL, dropout=0.5, variational_dropout=True, library_cell=True)
    )
    with pytest.raises(ValueError, match="library_cell"):
        model(torch.tensor([[2, 3]]))


def test_dropout_of_words_makes_them_unknown():
    model = network("ffnn", word_dropout=1.0)
    words, unknown = torch.tensor([[5, 6]]), torch.tensor([[1, 1]])
    assert torch.equal(model.train()(words).logits, model.eval()(unknown).logits)
    assert not torch.equal(model(words).logits, model(unknown).logits)


@pytest.mark.parametrize("name", ["window", "rnn-both", "rnn-window", "lstm-library"])
def test_one_word_five_thousand_words_and_none(name):
    model = network(name, crf=True).eval()
    with torch.no_grad():
        assert model(torch.tensor([[3]])).logits.shape == (1, 1, 5)
        assert torch.isfinite(model(torch.randint(2, 30, (1, 5000))).logits).all()
        for width in (0, 3):
            empty = torch.zeros(2, width, dtype=torch.long)
            assert model(empty, attention_mask=empty).logits.shape == (2, width, 5)


@pytest.mark.parametrize("name", ["deep", "affixes", "gru", "lstm-library-both"])
def test_saved_and_loaded_it_scores_alike(name, tmp_path):
    model = network(name, crf=True).float().eval()
    model.save_pretrained(tmp_path)
    loaded, report = AutoModelForTokenClassification.from_pretrained(
        tmp_path, output_loading_info=True
    )
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    inputs = batch(model, sentences(model), 6)
    assert torch.allclose(loaded(**inputs).loss, model(**inputs).loss)
    assert loaded.crf.allowed_first.tolist() == [True, True, False, True, False]


def test_padding_has_no_vector_and_frozen_vectors_stay():
    model = FeedforwardTagger(FeedforwardConfig(**SMALL, train_embeddings=False))
    assert (model.embeddings.words.weight[0] == 0).all()
    _, gradients = loss_and_gradients(model, batch(model, sentences(model), 6))
    assert "embeddings.words.weight" not in gradients


def test_a_character_feature_without_characters_is_refused():
    with pytest.raises(ValueError, match="characters_of"):
        network("affixes")(torch.tensor([[2, 3]]))


def test_affixes_and_letters():
    affixes = network("affixes").embeddings.characters_of(["Warsaw", "warsaw", "Warsawa", "a"])
    assert len({len(row) for row in affixes}) == 1
    same = [one == other for one, other in zip(affixes[0], affixes[1], strict=True)]
    assert same == [True] * 7 + [False, True]  # all but the shape
    assert affixes[0][:3] == affixes[2][:3]
    cnn = network("cnn").embeddings
    [short, long] = cnn.characters_of(["ab", "x" * 50])
    assert short[:2] == [97, 98]
    assert set(short[2:]) == {0}
    assert len(short) == len(long)


@pytest.mark.parametrize("trained", [True, False])
def test_vectors_that_are_not_trained_stay_so_when_loaded(trained, tmp_path):
    FeedforwardTagger(
        FeedforwardConfig(vocab_size=9, embedding_dim=4, hidden_sizes=[3], train_embeddings=trained)
    ).save_pretrained(tmp_path)
    loaded = AutoModelForTokenClassification.from_pretrained(tmp_path)
    assert loaded.embeddings.words.weight.requires_grad == trained
    assert loaded.classifier.weight.requires_grad
