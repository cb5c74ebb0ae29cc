"""The family of pictures: networks, processors, augmentation, baseline, head, and saliency."""

import numpy as np
import pytest
import torch
from pictures import CLASSES, folder_of, picture
from PIL import Image
from sklearn.linear_model import LogisticRegression
from tiny_image_models import MODELS, write
from transformers import AutoModelForImageClassification

from pipelines.corpora import read_examples
from pipelines.errors import DataError, UserError
from pipelines.examples import Example
from pipelines.families import image_classifier
from pipelines.families.image_classifier import ImageSettings, Loaded, image_head
from pipelines.families.image_classifier.augmentation import Augmentation, augmented
from pipelines.families.image_classifier.image_training import PictureRows, new_network
from pipelines.families.image_classifier.linear import fit_linear
from pipelines.inspection.picture_saliency import saliency
from pipelines.networks.image_net import ResidualBlock, SmallImageNet, SmallImageNetConfig

SETTINGS = ImageSettings(CLASSES)
NOTHING = Augmentation(flip=False, crop=0.0, rotation=0.0, colour=0.0)


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    return read_examples(folder_of(tmp_path_factory.mktemp("p") / "p", 12), answer="label")


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    return Loaded(*new_small(), SETTINGS)


def new_small(**options):
    network, processor = new_network(SETTINGS, **{"image_size": 16, "widths": (4, 6, 8), **options})
    return network.eval(), processor


def test_a_residual_block_is_its_formula():
    torch.manual_seed(0)
    block = ResidualBlock(3, 5, 2).eval()
    x = torch.randn(2, 3, 8, 8)
    first, norm1, _, second, norm2 = block.convolutions
    y = norm2(second(torch.relu(norm1(first(x)))))
    convolution, norm = block.shortcut
    expected = torch.relu(y + norm(convolution(x)))
    assert expected.shape == (2, 5, 4, 4)
    torch.testing.assert_close(block(x), expected)


def test_parameters_of_the_network_are_those_of_its_closed_form():
    widths, classes = (4, 6, 8), 3
    config = SmallImageNetConfig(widths=widths, depth=2, num_labels=classes)
    expected = 25 * 3 * widths[0] + 2 * widths[0]
    for before, width in ((4, 6), (6, 8)):
        expected += 9 * before * width + 9 * width**2 + 4 * width  # first block
        expected += before * width + 2 * width  # its shortcut
        expected += 18 * width**2 + 4 * width  # second block
    expected += widths[-1] * classes + classes
    assert SmallImageNet(config).num_parameters() == expected


def test_the_loss_of_the_network_is_the_cross_entropy_of_its_logits():
    network, _ = new_small()
    x, labels = torch.randn(4, 3, 16, 16), torch.tensor([0, 1, 1, 0])
    output = network(pixel_values=x, labels=labels)
    expected = -output.logits.log_softmax(1)[torch.arange(4), labels].mean()
    torch.testing.assert_close(output.loss, expected)


@pytest.mark.parametrize(
    "options",
    [{"network": "transformer"}, {"widths": (4,)}, {"depth": 0}, {"image_size": 4}],
)
def test_impossible_networks_are_refused(options):
    with pytest.raises(ValueError, match="wanted"):
        SmallImageNetConfig(**{"widths": (4, 6, 8)} | options)


@pytest.mark.parametrize("kind", [None, *MODELS])
def test_what_is_saved_predicts_the_same(kind, small, examples, tmp_path):
    loaded = small
    if kind:
        name = str(write(tmp_path / "checkpoint", kind))
        network, new = image_classifier.load_network(name, SETTINGS)
        assert new
        assert all("classifier" in part for part in new)
        loaded = Loaded(network.eval(), image_classifier.load_processor(name), SETTINGS)
    (tmp_path / "m").mkdir()
    image_classifier.save(
        tmp_path / "m", model=loaded.model, processor=loaded.processor, settings=SETTINGS
    )
    files = {path.name for path in (tmp_path / "m").iterdir()}
    assert {"config.json", "model.safetensors", "preprocessor_config.json"} <= files
    again = image_classifier.load(tmp_path / "m")
    before = image_classifier.predict(loaded, examples, progress=False)
    assert image_classifier.predict(again, examples, progress=False) == before
    assert [prediction.id for prediction in before] == [example.id for example in examples]
    for prediction in before:
        assert prediction.scores.keys() == set(CLASSES)
        assert sum(prediction.scores.values()) == pytest.approx(1, abs=1e-5)
        assert prediction.label == max(prediction.scores, key=prediction.scores.get)
    library = AutoModelForImageClassification.from_pretrained(tmp_path / "m")
    assert library.config.id2label == dict(enumerate(CLASSES))


def test_a_head_of_the_same_classes_is_kept_in_any_order(small, tmp_path):
    image_classifier.save(tmp_path, model=small.model, processor=small.processor, settings=SETTINGS)
    turned = ImageSettings(CLASSES[::-1])
    network, new = image_classifier.load_network(str(tmp_path), turned)
    assert new == []
    torch.testing.assert_close(network.classifier.weight, small.model.classifier.weight.flip(0))


def test_texts_and_token_batches_are_refused(small, examples):
    with pytest.raises(DataError, match="example 7 is a text; wanted pictures"):
        image_classifier.predict(small, [Example("7", "a text")], progress=False)
    with pytest.raises(UserError, match="--batch_tokens 9; pictures have no tokens"):
        image_classifier.predict(small, examples, batch_tokens=9)


def test_a_large_picture_is_reduced_before_it_is_kept(small, tmp_path):
    Image.new("RGB", (900, 600), "red").save(tmp_path / "a.png")
    example = Example("a", "", features=str(tmp_path / "a.png"))
    assert image_classifier.open_example(example, small.processor).size == (48, 32)


def test_augmentation_changes_what_it_is_asked_to_and_nothing_else():
    image = picture("light", 5, side=48)
    pixels = np.asarray(image)
    random = np.random.default_rng
    assert (np.asarray(augmented(image, NOTHING, random(0))) == pixels).all()
    flips = [augmented(image, Augmentation(True, 0, 0, 0), random(seed)) for seed in range(40)]
    mirrored = [(np.asarray(flip) == pixels[:, ::-1]).all() for flip in flips]
    same = [(np.asarray(flip) == pixels).all() for flip in flips]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert 8 < sum(mirrored) < 32
    coloured = np.asarray(augmented(image, Augmentation(False, 0, 0, 0.3), random(1)), dtype=float)
    assert abs(coloured - pixels).max() > 5
    for channel in range(3):  # one increasing table of values for a whole channel
        table = dict(zip(pixels[..., channel].flat, coloured[..., channel].flat, strict=True))
        values = [table[key] for key in sorted(table)]
        assert values == sorted(values)
    turned = augmented(image, Augmentation(False, 0, 90, 0), random(2))
    assert turned.size == image.size
    assert (np.asarray(turned) != pixels).any()


@pytest.mark.parametrize("options", [{"crop": 1.0}, {"colour": -0.1}, {"rotation": 181}])
def test_impossible_augmentation_is_refused(options):
    with pytest.raises(ValueError, match="wanted crop and colour"):
        Augmentation(**options)


def test_rows_depend_on_seed_epoch_and_index_alone(small, examples):
    def rows(seed):
        return PictureRows(
            examples, small.processor, SETTINGS, augmentation=Augmentation(), seed=seed
        )

    first, other = rows(1), rows(1)
    assert len(first) == 24
    assert [int(first[row]["labels"]) for row in (0, 23)] == [0, 1]
    drawn = first[3]["pixel_values"]
    assert drawn.shape == (3, 16, 16)
    first[4]
    assert torch.equal(first[3]["pixel_values"], drawn)
    assert torch.equal(other[3]["pixel_values"], drawn)
    assert not torch.equal(rows(2)[3]["pixel_values"], drawn)
    first.epoch = 1
    assert not torch.equal(first[3]["pixel_values"], drawn)
    plain = PictureRows(examples, small.processor, SETTINGS)
    before = plain[3]["pixel_values"]
    plain.epoch = 5
    assert torch.equal(plain[3]["pixel_values"], before)


@pytest.mark.parametrize("labels", [CLASSES, ("a", "b", "c")])
def test_the_linear_network_answers_as_scikit_learn_does(examples, labels):
    settings = ImageSettings(labels)
    renamed = [
        Example(e.id, "", label=labels[n % len(labels)], features=e.features)
        for n, e in enumerate(examples)
    ]
    loaded = fit_linear(renamed, settings, image_size=8, c=0.01)
    logits = image_classifier.predict_logits(loaded, renamed, progress=False)
    reached = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    images = [image_classifier.open_example(example, loaded.processor) for example in renamed]
    x = image_classifier.pixel_values(loaded.processor, images).flatten(1).numpy()
    x = (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-6)
    y = [labels.index(str(example.label)) for example in renamed]
    model = LogisticRegression(C=0.01, max_iter=300).fit(x, y)
    np.testing.assert_allclose(reached, model.predict_proba(x), atol=2e-3)


@pytest.mark.parametrize("kind", MODELS)
def test_the_best_head_fits_into_the_checkpoint_and_the_rest_stays(kind, examples, tmp_path):
    name = str(write(tmp_path / "checkpoint", kind))
    network, _ = image_classifier.load_network(name, SETTINGS)
    loaded = Loaded(network.eval(), image_classifier.load_processor(name), SETTINGS)
    key = image_head.network_key(loaded)
    grid = {"learning_rate": [1e-4, 0.03], "weight_decay": [0.01], "epochs": [1, 40]}
    train, dev = examples[::2], examples[1::2]
    found = image_head.search_head(
        loaded, train, dev, grid=grid, folder=tmp_path / "search", cache=tmp_path / "cache"
    )
    assert len(found.points) == 4
    assert found.best["macro_f1"] == max(point["macro_f1"] for point in found.points)
    assert image_head.network_key(loaded) == key
    answers = image_classifier.predict(loaded, dev, progress=False)
    right = sum(a.label == e.label for a, e in zip(answers, dev, strict=True))
    assert right / len(dev) == pytest.approx(found.best["accuracy"])
    assert right / len(dev) > 0.9


def test_vectors_are_what_the_head_reads_and_come_from_the_cache(
    examples, small, tmp_path, monkeypatch
):
    vectors = image_head.vectors_of(small, examples, cache=tmp_path)
    head = image_head.head_of(small.model)
    with torch.inference_mode():
        logits = head(torch.from_numpy(vectors)).numpy()
    expected = image_classifier.predict_logits(small, examples, progress=False)
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    monkeypatch.setattr(image_head, "_vectors", lambda *_: pytest.fail("encoded again"))
    again = image_head.vectors_of(small, examples[::-1], cache=tmp_path)
    np.testing.assert_array_equal(again, vectors[::-1])


def test_saliency_is_where_a_linear_model_has_its_weights(examples):
    network, processor = new_network(
        SETTINGS, image_size=16, network="linear", widths=(1, 1), dropout=0.0
    )
    with torch.no_grad():
        network.classifier.weight.zero_()
        network.classifier.weight.view(2, 3, 16, 16)[1, :, 4:8, 8:12] = 1.0
    [found] = saliency(Loaded(network, processor, SETTINGS), examples[:1], ["light"])
    assert found.pixels.shape == (16, 16, 3)
    assert found.heat.shape == (16, 16)
    assert found.heat[5:7, 9:11].min() == 1.0
    assert found.heat[:2].max() == found.heat[12:].max() == 0.0
    image = image_classifier.open_example(examples[0], processor).resize((16, 16), 2)
    assert abs(found.pixels.astype(int) - np.asarray(image).astype(int)).max() <= 1


def test_a_folder_of_other_weights_is_refused(small, tmp_path):
    image_classifier.save(
        tmp_path, model=small.model, processor=small.processor, settings=ImageSettings(("a", "b"))
    )
    with pytest.raises(UserError, match="its weights are not those of the 2 classes"):
        image_classifier.load(tmp_path)
