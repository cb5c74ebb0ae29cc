"""The family: rows, training, saving, loading and prediction of sequence regressors."""

import numpy as np
import pytest
import torch

from pipelines.errors import DataError, UserError
from pipelines.examples import BATCH, Example, Steps
from pipelines.families import sequence_regressor
from pipelines.families.sequence_regressor import regressor_training
from pipelines.networks.sequence_regression import NETWORKS


def example(number, steps, label=None):
    steps = np.asarray(steps, dtype="<f4")
    return Example(f"e{number}", "", label=label, features=Steps(steps.tobytes(), steps.shape[1]))


@pytest.fixture(scope="module")
def examples():
    random = np.random.default_rng(0)
    sequences = [random.normal(size=(1 + n % 7, 2)) for n in range(60)]
    return [example(n, steps, float(steps.sum())) for n, steps in enumerate(sequences)]


def new(examples, network="shared", **options):
    torch.manual_seed(0)
    return regressor_training.new_network(examples, network=network, hidden_size=6, **options)


def test_scales_are_those_of_the_steps_and_numbers_of_training(examples):
    config = new(examples).config
    steps = np.concatenate(list(map(sequence_regressor.sequence_of, examples)))
    numbers = np.array([one.label for one in examples])
    np.testing.assert_allclose(config.input_mean, steps.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(config.input_scale, steps.std(axis=0), rtol=1e-5)
    assert config.target_mean == pytest.approx(numbers.mean())
    assert config.target_scale == pytest.approx(numbers.std())


def test_what_does_not_vary_has_scale_1():
    config = new([example(0, [[1, 2]], 3.0), example(1, [[1, 4]], 3.0)]).config
    assert config.input_scale == [1.0, 1.0]
    assert config.target_scale == 1.0


@pytest.mark.parametrize(("network", "steps"), [("truncated", 1), ("padded", 7)])
def test_steps_are_the_shortest_or_longest_of_training(network, steps, examples):
    assert new(examples, network).config.steps == steps


def test_a_number_of_minus_100_is_a_label_like_any_other(examples):
    odd = [example(n, [[n, 1]], -100.0 if n else -90.0) for n in range(4)]
    model = new(odd)
    rows = regressor_training.training_rows(odd, model)
    assert all(row["labels"] != -100 for row in rows)
    batch = regressor_training.pad_rows(rows)
    output = model(batch["features"], batch["attention_mask"])
    errors = model.standardised(output.logits[:, 0]) - batch["labels"]
    labels = torch.tensor([one.label for one in odd])
    wanted = model(batch["features"], batch["attention_mask"], labels).loss
    torch.testing.assert_close((errors**2).mean(), wanted)


def test_a_batch_is_padded_with_its_mask(examples):
    rows = regressor_training.training_rows(examples[:3], new(examples))
    batch = regressor_training.pad_rows(rows)
    assert batch["features"].shape == (3, 3, 2)
    assert batch["attention_mask"].tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    assert batch["features"][0, 1:].abs().sum() == 0


@pytest.mark.parametrize("network", NETWORKS)
def test_what_is_saved_predicts_the_same(network, examples, tmp_path):
    model = new(examples, network).eval()
    before = sequence_regressor.predict(sequence_regressor.Loaded(model), examples)
    sequence_regressor.save(tmp_path, model=model)
    loaded = sequence_regressor.load(tmp_path)
    assert sequence_regressor.predict(loaded, examples) == before
    alone = model(torch.from_numpy(sequence_regressor.sequence_of(examples[5]).copy())[None])
    assert before[5].value == pytest.approx(alone.logits.item(), rel=1e-5)


def test_a_file_in_parts_gives_the_same(examples):
    loaded = sequence_regressor.Loaded(new(examples, "padded").eval())
    many = [Example(f"{n}", "", features=examples[n % 60].features) for n in range(BATCH + 100)]
    whole = sequence_regressor.predict(loaded, many)
    parts = [*sequence_regressor.predict(loaded, many[:BATCH])]
    parts += sequence_regressor.predict(loaded, many[BATCH:])
    assert parts == whole


def test_examples_of_another_width_are_all_named(examples):
    loaded = sequence_regressor.Loaded(new(examples).eval())
    odd = [examples[0], example(100, [[1, 2, 3]]), Example("t", "text"), example(101, [[1]])]
    with pytest.raises(DataError) as error:
        sequence_regressor.predict(loaded, odd)
    assert "1 without a sequence of vectors (id t)" in str(error.value)
    assert "2 with steps of 1, 3 numbers (id e100, e101)" in str(error.value)
    assert "steps of 2 numbers" in str(error.value)


def test_sequences_longer_than_those_of_training_are_named(examples, caplog):
    loaded = sequence_regressor.Loaded(new(examples, "padded").eval())
    sequence_regressor.predict(loaded, [example(200, np.ones((9, 2)))])
    assert "longer than the longest of training, 7 steps; the end" in caplog.text
    assert "e200" in caplog.text


@pytest.mark.parametrize("damage", ["regressor.json", "config.json", "model.safetensors"])
def test_a_damaged_model_is_one_line(damage, examples, tmp_path):
    sequence_regressor.save(tmp_path, model=new(examples))
    content = (tmp_path / damage).read_bytes()
    (tmp_path / damage).write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=str(tmp_path)):
        sequence_regressor.load(tmp_path)
    (tmp_path / "regressor.json").unlink()
    with pytest.raises(UserError, match=r"no regressor\.json"):
        sequence_regressor.load(tmp_path)
