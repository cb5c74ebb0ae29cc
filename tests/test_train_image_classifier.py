"""The recipe for pictures: options, runs, pages, and the commands that go on with a run."""

import json
from functools import partial
from html.parser import HTMLParser

import pytest
import recipe_cases
import yaml
from conftest import load_recipe
from pictures import CLASSES, folder_of, zipped
from recipe_cases import one_error
from tiny_image_models import write

from pipelines import cli

TINY = [
    *("--image_size", 16, "--widths", 4, 8, "--num_train_epochs", 4),
    *("--per_device_train_batch_size", 4, "--learning_rate", 0.01),
]


call = partial(recipe_cases.call, "train_image_classifier")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with folders of train, val and test."""
    top = tmp_path_factory.mktemp("pictures") / "p"
    for name, count, first in (("train", 16, 0), ("val", 6, 16), ("test", 8, 24)):
        folder_of(top / name, count, first=first)
    return top


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "small"
    assert call("--train_file", folder, "--run_dir", out, *TINY) == 0
    return out


class Images(HTMLParser):
    """The addresses of the images of a page, by section."""

    def __init__(self, text):
        super().__init__()
        self.found, self.section = {}, ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag == "section":
            self.section = values["id"]
        if tag == "img":
            self.found.setdefault(self.section, []).append(values["src"])


def test_a_run_names_its_splits_and_scores_beside_the_pixels(run, folder):
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["dev_file"] == str(folder / "val")
    report = json.loads((run / "report.json").read_text())
    assert (report["task"], report["split"], report["examples"]) == (
        "sequence_classification",
        "test",
        16,
    )
    assert report["baselines"].keys() == {"majority", "linear_pixels"}
    assert report["baselines"]["majority"]["accuracy"] == 0.5
    assert report["baselines"]["linear_pixels"]["accuracy"] == 1.0
    assert report["accuracy"] > 0.8
    assert report["cost"]["seconds"]["baseline_linear_pixels"] > 0
    lines = (run / "predictions" / "test.jsonl").read_text().splitlines()
    assert {json.loads(line)["id"] for line in lines} == {
        f"{label}/{number}.png" for label in CLASSES for number in range(24, 32)
    }


def test_the_page_holds_its_pictures(run):
    page = (run / "report.html").read_text()
    images = Images(page).found
    assert len(images["pictures"]) == 16
    assert len(images["saliency"]) == 4  # each class, with and without what it depends on
    assert len(images["examples"]) == 16
    addresses = [address for section in images.values() for address in section]
    assert all(address.startswith("data:image/jpeg;base64,") for address in addresses)
    assert "http" not in page.replace("http://www.w3.org", "").replace("https://www.w3.org", "")


@pytest.mark.parametrize("form", ["folder", "zip", "csv"])
def test_new_pictures_are_predicted_from_any_source(form, run, folder, tmp_path):
    source = folder / "test"
    if form == "zip":
        source = zipped(source, tmp_path / "t.zip")
    if form == "csv":
        paths = sorted(source.rglob("*.png"))
        source = tmp_path / "t.csv"
        rows = [f"{path.relative_to(folder / 'test').as_posix()},{path}" for path in paths]
        source.write_text("\n".join(["id,image", *rows]) + "\n")
    out = tmp_path / "p.jsonl"
    command = ["predict", "--run", run, "--input", source, "--output", out]
    assert cli.main(list(map(str, command))) == 0
    assert out.read_bytes() == (run / "predictions" / "test.jsonl").read_bytes()


def test_runs_are_compared_and_scored_again(run, folder, tmp_path, capsys):
    linear = tmp_path / "linear"
    assert call("--train_file", folder, "--network", "linear", "--run_dir", linear) == 0
    report = json.loads((linear / "report.json").read_text())
    assert report["baselines"].keys() == {"majority"}
    capsys.readouterr()
    assert cli.main(["compare", str(run), str(linear)]) == 0
    shown = capsys.readouterr().out
    assert "small" in shown
    assert "linear" in shown
    predictions = run / "predictions" / "test.jsonl"
    gold = ["--gold", str(folder / "test"), "--predictions", str(predictions)]
    assert cli.main(["evaluate", *gold, "--html", str(tmp_path / "e.html")]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["vit", "resnet"])
@pytest.mark.parametrize("tune", ["full", "head"])
def test_a_checkpoint_is_fine_tuned_or_gets_a_head(kind, tune, folder, tmp_path):
    name = write(tmp_path / "checkpoint", kind)
    options = ["--num_train_epochs", 1] if tune == "full" else ["--cache_dir", tmp_path / "cache"]
    out = tmp_path / "run"
    arguments = ["--train_file", folder, "--model_name_or_path", name, "--tune", tune]
    assert call(*arguments, *options, "--run_dir", out) == 0
    report = json.loads((out / "report.json").read_text())
    assert report["cost"]["parameters"] > report["cost"]["trained_parameters"] * (tune == "head")
    assert (out / "grid.json").exists() == (tune == "head")
    if tune == "head":
        grid = json.loads((out / "grid.json").read_text())
        assert len(grid["points"]) == 16
        assert report["accuracy"] > 0.8


def test_an_archive_with_splits_is_trained_on_and_compared(folder, tmp_path, capsys):
    archive = zipped(folder, tmp_path / "p.zip")
    out = tmp_path / "run"
    assert call("--train_file", archive, "--network", "linear", "--run_dir", out) == 0
    data = json.loads((out / "provenance.json").read_text())["data"]
    assert [file.removeprefix(f"{archive}/") for file in data] == ["train", "val", "test"]
    assert len(set(data.values())) == 1
    assert cli.main(["compare", str(out), str(out / "predictions" / "test.jsonl")]) == 0


def test_dev_and_test_are_cut_where_there_are_none(folder, tmp_path):
    out = tmp_path / "run"
    arguments = ["--train_file", folder / "train", "--network", "linear", "--run_dir", out]
    assert call(*arguments, "--sizes", "train=0.5,dev=0.25,test=0.25") == 0
    report = json.loads((out / "report.json").read_text())
    assert (report["split"], report["examples"]) == ("test", 8)
    assert cli.main(["compare", str(out), str(out / "predictions" / "test.jsonl")]) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--network", "transformer"], "got --network transformer; wanted one of convolutional"),
        (["--network", "linear", "--depth", 2], "--network linear does not read --depth"),
        (["--network", "linear", "--num_train_epochs", 2], "does not read --num_train_epochs"),
        (["--head_epochs", 3], "--network convolutional does not read --head_epochs"),
        (["--tune", "head"], "does not read --tune"),
        (["--crop", 1.5], "wanted crop and colour from 0 to below 1"),
        (["--widths", 4], "wanted two widths or more"),
        (["--neftune_noise_alpha", 1], "pictures have no embeddings of words"),
        (["--model_name_or_path", "no/such/model"], "no such model folder"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, message, folder, tmp_path, capsys):
    assert call("--train_file", folder, "--run_dir", tmp_path / "run", *options) == 2
    assert message in capsys.readouterr().err


def test_the_sample_is_drawn_once_and_whole(tmp_path, monkeypatch):
    recipe = load_recipe("train_image_classifier")
    monkeypatch.setattr(recipe, "SAMPLE", tmp_path / "windows")
    drawn = []

    def draw(command, check):
        drawn.append(command[-1])
        folder_of(command[-1] / "train", 2)
        folder_of(command[-1] / "test", 2)

    monkeypatch.setattr(recipe.subprocess, "run", draw)
    for _ in range(2):
        options = recipe.RecipeArguments()
        recipe.find_splits(options)
        assert options.train_file == str(tmp_path / "windows" / "train")
        assert options.test_file == str(tmp_path / "windows" / "test")
    assert len(drawn) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["windows"]


def test_all_faults_end_the_job_with_one_list(folder, tmp_path, capsys):
    bad = folder_of(tmp_path / "bad", 4)
    (bad / "dark" / "0.png").write_text("no picture")
    (bad / "light" / "1.png").write_bytes((bad / "light" / "1.png").read_bytes()[:60])
    (bad / "none").mkdir()
    assert call("--train_file", bad) == 2
    said = capsys.readouterr().err
    assert "3 faults" in one_error(said)
    for part in ("dark/0.png", "light/1.png", "none"):
        assert part in said


def test_texts_are_refused(tmp_path, capsys):
    table = tmp_path / "t.csv"
    table.write_text("text,label\n" + "".join(f"text {n},{'xy'[n % 2]}\n" for n in range(40)))
    assert call("--train_file", table, "--run_dir", tmp_path / "run") == 2
    assert "holds texts; wanted a folder or zip archive of pictures" in capsys.readouterr().err


@pytest.mark.slow
def test_options_are_searched(folder, tmp_path):
    out = tmp_path / "run"
    search = ["--search", "learning_rate=0.0001,0.02", "--search_sampler", "grid"]
    assert call("--train_file", folder, "--run_dir", out, *TINY[:-2], *search) == 0
    found = yaml.safe_load((out / "config.yaml").read_text())
    assert found["learning_rate"] == 0.02
    assert found["search"] == ["learning_rate=0.0001,0.02"]
