"""`pipelines push` and `--push_to_hub` against a local stand-in of the Hub: what goes up, and what does not."""

import json
import shutil

import pytest
import yaml
from hub_server import TOKEN, hub_server
from huggingface_hub import ModelCard
from recipe_cases import call, one_error

from pipelines import cli
from pipelines.corpora.writing import write_jsonl
from pipelines.errors import UserError
from pipelines.runs import push
from pipelines.runs.run import Run
from pipelines.runs.secrets import without_folders


@pytest.fixture
def hub():
    with hub_server() as server:
        yield server


@pytest.fixture
def online(hub, monkeypatch, tmp_path):
    """This process takes the stand-in for the Hub, and has a token for it."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return hub


@pytest.fixture(scope="module")
def dictionary(tmp_path_factory, corpus):
    """A finished run."""
    folder = tmp_path_factory.mktemp("push") / "dictionary"
    assert call("train_tagger", *command_of(corpus, folder)) == 0
    return folder


def command_of(corpus, folder):
    files = [
        part for split in ("train", "dev", "test") for part in (f"--{split}_file", corpus[split])
    ]
    return ["--network", "dictionary", *files, "--run_dir", folder]


def texts_of(corpus):
    rows = json.loads(corpus["test"].read_text(encoding="utf-8"))
    return [row["sentence"] for row in rows]


@pytest.mark.slow
def test_a_run_goes_up_and_works_when_it_is_fetched(dictionary, online, corpus, tmp_path, capsys):
    assert cli.main(["push", "--run", str(dictionary), "me/diseases", "--private"]) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[-1] == f"{online.url}/me/diseases"
    assert online.repositories == {"me/diseases": True}
    files = online.files["me/diseases"]
    total = sum(map(len, files.values()))
    assert f"{len(files)} files, {total:,} bytes" in shown
    assert {"README.md", "lexical.json", "config.yaml", "provenance.json", "report.json"} <= set(
        files
    )
    assert not [name for name in files if "predictions" in name or name.endswith(".html")]
    card = files["README.md"].decode()
    assert "hf download me/diseases --local-dir dictionary" in card
    assert "OWNER/NAME" not in card
    assert ModelCard(card).data.eval_results
    for name, content in files.items():
        assert str(corpus["train"].parent).encode() not in content, name
        assert TOKEN.encode() not in content, name
    for text in texts_of(corpus):
        assert not [name for name, content in files.items() if text.encode() in content]
    fetched = tmp_path / "fetched"
    for name, content in files.items():
        fetched.mkdir(exist_ok=True)
        (fetched / name).write_bytes(content)
    out = tmp_path / "p.jsonl"
    arguments = ["--input", str(corpus["test"]), "--output", str(out)]
    assert cli.main(["predict", "--run", str(fetched), *arguments]) == 0
    assert out.read_bytes() == (dictionary / "predictions" / "test.jsonl").read_bytes()


@pytest.mark.slow
def test_predictions_go_up_when_they_are_asked_for(dictionary, online):
    push.push(Run.open(dictionary), push.Destination("me/a"), with_predictions=True)
    files = online.files["me/a"]
    assert files["predictions/test.jsonl"] == (dictionary / "predictions/test.jsonl").read_bytes()
    assert files["report.html"] == (dictionary / "report.html").read_bytes()


def test_a_dry_run_asks_the_hub_nothing(dictionary, hub, monkeypatch, capsys):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    assert cli.main(["push", "--run", str(dictionary), "me/diseases", "--dry_run"]) == 0
    out = capsys.readouterr().out
    assert "lexical.json" in out
    assert "not uploaded to me/diseases" in out
    assert not hub.requests


def refusal(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(list(map(str, arguments)))
    assert stop.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    return line


def test_what_is_missing_is_one_line(dictionary, online, monkeypatch, tmp_path, capsys):
    run = ["push", "--run", dictionary]
    assert "wanted OWNER/NAME" in refusal([*run, "diseases"], capsys)
    assert "no such folder" in refusal(["push", "--run", tmp_path / "none", "me/a"], capsys)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    assert "no access token of the Hub; run `hf auth login`" in refusal([*run, "me/a"], capsys)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in refusal([*run, "me/a"], capsys)
    assert not online.requests


def test_a_failed_upload_is_one_line_and_says_how_to_go_on(dictionary, online, capsys):
    online.refuses = True
    line = refusal(["push", "--run", dictionary, "me/a"], capsys)
    assert "the upload failed (" in line
    assert f"`pipelines push --run {dictionary} me/a`" in line
    assert not online.files


def test_a_card_that_was_edited_goes_up_as_it_is(dictionary, tmp_path):
    run = Run(shutil.copytree(dictionary, tmp_path / "run"))
    edited = (run.folder / "README.md").read_text().replace("---\n", "---\nlicense: mit\n", 1)
    (run.folder / "README.md").write_text(edited)
    push.stage(run, tmp_path / "out", "me/a")
    assert ModelCard.load(tmp_path / "out" / "README.md").data.license == "mit"


def test_nothing_pickled_and_no_path_goes_up(dictionary, tmp_path, caplog):
    run = Run(shutil.copytree(dictionary, tmp_path / "run"))
    (run.model / "training_args.bin").write_bytes(b"pickle")
    (run.model / "optimizer.pt").write_bytes(b"pickle")
    (run.model / "README.md").write_text("the library's empty template")
    adapter = {"base_model_name_or_path": "/models/tiny", "r": 8}
    (run.model / "adapter_config.json").write_text(json.dumps(adapter))
    (run.model / "prompt.json").write_text(json.dumps({"base_model": "/models/tiny"}))
    nested = {"encoder": {"_name_or_path": "/models/bert", "vocab": ["/a"]}}
    (run.model / "config.json").write_text(json.dumps(nested))
    config = yaml.safe_load((run.folder / "config.yaml").read_text())
    run.write_config(config | {"hub_token": TOKEN, "lexicon": "/names/mesh.tsv"})
    out = tmp_path / "out"
    names = {str(name) for name in push.stage(run, out, "me/a")}
    assert not names & {"training_args.bin", "optimizer.pt"}
    assert "template" not in (out / "README.md").read_text()
    assert json.loads((out / "adapter_config.json").read_text()) == adapter | {
        "base_model_name_or_path": "tiny"
    }
    written = json.loads((out / "config.json").read_text())
    assert written == {"encoder": {"_name_or_path": "bert", "vocab": ["/a"]}}
    assert "others need that model too" in caplog.text
    published = yaml.safe_load((out / "config.yaml").read_text())
    assert published["lexicon"] == "mesh.tsv"
    assert published["train_file"] == "train.json"
    assert "hub_token" not in published


def test_training_texts_in_a_model_go_up_only_when_texts_may(dictionary, tmp_path):
    run = Run(shutil.copytree(dictionary, tmp_path / "run"))
    write_jsonl(run.model / "shots.jsonl", [{"text": "A patient."}])
    with pytest.raises(UserError, match="training texts"):
        push.stage(run, tmp_path / "out", "me/a")
    names = push.stage(run, tmp_path / "texts", "me/a", with_predictions=True)
    assert "shots.jsonl" in map(str, names)


@pytest.mark.parametrize(
    ("text", "published"),
    [
        ("/data/a b/train.json", "train.json"),
        ("~/x/train.json", "train.json"),
        ("data/train.json", "data/train.json"),
        ("owner/name:train", "owner/name:train"),
        ("https://host.example/a/b", "https://host.example/a/b"),
        ("distil:/models/bert", "distil:bert"),
        ("sqlite:////data/heads.db", "sqlite:///heads.db"),
        ("</s>", "</s>"),
        ("and/or", "and/or"),
        ("/", "/"),
        (["--run_dir", "/runs/a", "--x=/b/c.txt"], ["--run_dir", "a", "--x=c.txt"]),
        ({"/data/train.json": "ab12"}, {"train.json": "ab12"}),
    ],
)
def test_published_text_names_no_folder_of_the_machine(text, published):
    assert without_folders(text) == published


@pytest.mark.parametrize("refuses", [False, True])
def test_a_recipe_pushes_at_its_end(online, corpus, tmp_path, refuses, capsys):
    online.refuses = refuses
    run = tmp_path / "run"
    pushing = ["--push_to_hub", "true", "--hub_model_id", "me/diseases"]
    small = ["--network", "ffnn", "--hidden_size", 8, "--num_train_epochs", 1]
    command = command_of(corpus, run)[2:]
    assert call("train_tagger", *command, *small, *pushing) == (2 if refuses else 0)
    printed = capsys.readouterr()
    names = {"README.md", "report.json", "config.yaml"}
    assert names <= {path.name for path in run.iterdir()}
    if refuses:
        assert "the upload failed (" in one_error(printed.err)
        return
    assert f"uploaded     {online.url}/me/diseases" in printed.out
    assert names <= online.files["me/diseases"].keys()
    assert online.files["me/diseases"]["model.safetensors"]  # by way of the storage of large files
    assert sum("/commit/" in path for path in online.requests) == 1  # none by the trainer itself


def test_push_to_hub_is_checked_before_anything_is_trained(corpus, tmp_path, capsys):
    run = tmp_path / "run"
    assert call("train_tagger", *command_of(corpus, run), "--push_to_hub", "true") == 2
    assert "add --hub_model_id OWNER/NAME" in capsys.readouterr().err
    assert not (run / "model").exists()
