"""`choose_model.py` with recipes that take a moment: budget, goal, skips, failures and resuming."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml
from conftest import ROOT, class_files, load_recipe

SCRIPT = ROOT / "recipes" / "choose_model.py"
FAKE = str(ROOT / "tests" / "fake_rung.py")


def rung(**options):
    own = {
        name: options.pop(name) for name in ("cheap", "votes", "llm", "teachers") if name in options
    }
    return {"recipe": FAKE, "options": options, **own}


@pytest.fixture
def files(tmp_path):
    return class_files(tmp_path, train=160, dev=300, test=300)


@pytest.fixture
def choose(files, tmp_path, monkeypatch, capsys):
    """Runs the recipe in this process on a ladder; gives exit code, output and errors."""

    def call(ladder, *words, data=None, fractions=(1,)):
        file = tmp_path / "ladder.yaml"
        file.write_text(yaml.safe_dump(ladder, sort_keys=False), encoding="utf-8")
        folder = ["--run_dir", str(tmp_path / "choice"), "--ladder", str(file)]
        data = files[:4] if data is None else data
        command = [str(SCRIPT), *data, *folder, "--fractions", *map(str, fractions)]
        command += map(str, words)
        monkeypatch.setattr(sys, "argv", command)
        code = 0
        try:
            load_recipe("choose_model").main()
        except SystemExit as stop:
            code = stop.code
        written = capsys.readouterr()
        return code, written.out, written.err

    return call


def result(tmp_path):
    return json.loads((tmp_path / "choice" / "choice.json").read_text(encoding="utf-8"))


def statuses(tmp_path):
    return {row["name"]: row["status"] for row in result(tmp_path)["rungs"]}


def starts(tmp_path, name, part="rungs"):
    file = tmp_path / "choice" / part / name / "starts.txt"
    return len(file.read_text(encoding="utf-8").splitlines()) if file.exists() else 0


LADDER = {
    "base": rung(quality=0.5, cheap=True),
    "small": rung(quality=0.8, cheap=True),
    "middle": rung(quality=0.95, seconds=0.004),
    "large": rung(quality=0.99, seconds=0.012),
}


@pytest.mark.slow
def test_the_climb_stops_at_the_first_rung_that_surely_reaches_the_goal(choose, tmp_path):
    code, out, _ = choose(LADDER, "--goal", 0.9)
    assert code == 0
    found = {"base": "finished", "small": "finished", "middle": "finished", "large": "not reached"}
    assert statuses(tmp_path) == found
    assert result(tmp_path)["answer"]["chosen"] == "middle"
    assert result(tmp_path)["answer"]["reached"]
    assert starts(tmp_path, "large") == 0
    assert "middle" in out


@pytest.mark.slow
def test_until_budget_climbs_on(choose, tmp_path):
    choose(LADDER, "--goal", 90, "--until", "budget", "--budget", "10m")
    assert set(statuses(tmp_path).values()) == {"finished"}
    assert result(tmp_path)["answer"]["chosen"] == "middle"
    assert result(tmp_path)["goal"] == 0.9


@pytest.mark.slow
def test_each_rung_is_estimated_from_a_probe_before_it_runs(choose, tmp_path):
    ladder = {"base": rung(), "slow": rung(seconds=0.01, quality=0.9)}
    _, out, _ = choose(ladder)
    row = result(tmp_path)["rungs"][1]
    assert starts(tmp_path, "slow", "parts/probe") == 1
    assert row["estimate"]["source"] == "probe"
    # 160 examples at a hundredth of a second, from 80 of them.
    assert row["estimate"]["seconds"] == pytest.approx(row["cost"]["seconds"], rel=0.5)
    assert row["cost"]["seconds"] > 1.6
    assert result(tmp_path)["estimate_error"]["rungs"].keys() == {"base", "slow"}
    assert "slow: about" in out


@pytest.mark.slow
def test_a_fixed_number_of_steps_takes_as_long_on_any_data(choose, tmp_path):
    choose({"base": rung(), "steps": rung(seconds=0.1, max_steps=30)})
    row = result(tmp_path)["rungs"][1]
    assert row["estimate"]["seconds"] == pytest.approx(row["cost"]["seconds"], rel=0.4)


@pytest.mark.slow
def test_the_next_model_is_that_of_more_work_not_of_a_slower_start(choose, tmp_path):
    choose(LADDER, "--until", "budget", "--budget", "5m")
    rows = {row["name"]: row for row in result(tmp_path)["rungs"]}
    assert rows["middle"]["next"]["rung"] == "large"
    assert rows["large"]["next"] is None
    assert rows["middle"]["cost"]["work_seconds"] == pytest.approx(0.65, abs=0.05)


@pytest.mark.slow
def test_what_does_not_fit_the_budget_is_skipped(choose, tmp_path):
    ladder = {"base": rung(), "slow": rung(seconds=0.15), "after": rung(quality=0.7)}
    code, _, errors = choose(ladder, "--budget", "36s")
    assert code == 0
    rows = {row["name"]: row for row in result(tmp_path)["rungs"]}
    assert rows["slow"]["status"] == "skipped"
    assert "of the budget are left" in rows["slow"]["reason"]
    assert starts(tmp_path, "slow") == 0
    assert rows["after"]["status"] == "finished"
    assert "slow: skipped" in errors


@pytest.mark.slow
def test_what_does_not_fit_memory_is_skipped(choose, tmp_path):
    choose({"base": rung(), "huge": rung(memory=1e18)})
    [_, row] = result(tmp_path)["rungs"]
    assert row["status"] == "skipped"
    assert "of memory" in row["reason"]


@pytest.mark.slow
def test_a_rung_that_fails_is_reported_and_the_climb_goes_on(choose, tmp_path):
    code, _, errors = choose(
        {"base": rung(), "broken": rung(fail="it broke"), "after": rung(quality=0.9)}
    )
    assert code == 0
    rows = {row["name"]: row for row in result(tmp_path)["rungs"]}
    assert rows["broken"]["status"] == "failed"
    assert rows["broken"]["reason"] == "it broke (see parts/probe/broken.log)"
    assert rows["after"]["status"] == "finished"
    assert "it broke" in errors


def test_where_all_fail_there_is_no_answer(choose, tmp_path):
    code, _, errors = choose({"base": rung(fail="it broke")})
    assert code == 2
    assert "no rung could be trained: base: it broke" in errors


@pytest.mark.slow
def test_what_is_finished_is_never_trained_again(choose, tmp_path):
    choose(LADDER, "--goal", 0.9)
    earlier = result(tmp_path)
    choose(LADDER, "--goal", 0.9)
    assert [starts(tmp_path, name) for name in LADDER] == [1, 1, 1, 0]
    assert result(tmp_path)["answer"] == earlier["answer"]
    assert result(tmp_path)["rungs"] == earlier["rungs"]
    # A higher goal takes further rungs alone.
    choose(LADDER, "--goal", 0.97)
    assert [starts(tmp_path, name) for name in LADDER] == [1, 1, 1, 1]


def test_other_data_in_the_same_folder_is_refused(choose, files, tmp_path):
    choose({"base": rung()})
    with open(files[1], "a", encoding="utf-8") as f:
        f.write('{"id": "more", "text": "more", "label": "a"}\n')
    code, _, errors = choose({"base": rung()})
    assert code == 2
    assert "data changed since the choice was started" in errors


@pytest.mark.extensive
@pytest.mark.slow
def test_a_rung_that_was_changed_since_is_refused(choose, tmp_path):
    choose({"base": rung(), "small": rung(quality=0.8)})
    code, _, errors = choose({"base": rung(), "small": rung(quality=0.9)})
    assert code == 2
    assert "small changed, in the ladder or in a config" in errors
    # Under another name, it is another rung.
    code, _, _ = choose({"base": rung(), "better": rung(quality=0.9)})
    assert code == 0
    assert statuses(tmp_path) == {"base": "finished", "better": "finished"}


@pytest.mark.extensive
@pytest.mark.slow
def test_parts_that_other_fractions_cut_are_refused(choose, tmp_path):
    ladder = {"base": rung(), "small": rung(quality=0.9, learns=2)}
    choose(ladder, fractions=(0.25, 0.5))
    [curve] = result(tmp_path)["curves"].values()
    assert [point["examples"] for point in curve["points"]] == [40, 80, 160]
    choose(ladder, fractions=(0.5, 0.25, 1))
    assert starts(tmp_path, "small", "parts/0.25") == 1
    code, _, errors = choose(ladder, fractions=(0.25,))
    assert code == 2
    assert "other --fractions" in errors


@pytest.mark.extensive
@pytest.mark.slow
def test_language_models_of_the_same_last_name_are_two_rungs(choose, tmp_path):
    ladder = {"base": rung(), "llm": {**rung(quality=0.9), "llm": True}}
    ladder["llm"]["options"]["model_name_or_path"] = "own"
    choose(ladder, "--llms", "a/model", "b/model")
    assert list(statuses(tmp_path)) == ["base", "llm-a-model", "llm-b-model"]
    code, _, errors = choose(ladder, "--llms", "a/model", "a/model")
    assert code == 2
    assert "name each model once" in errors


@pytest.mark.slow
def test_rungs_by_name_keep_the_baseline(choose, tmp_path):
    choose(LADDER, "--rungs", "large")
    assert list(statuses(tmp_path)) == ["base", "large"]
    code, _, errors = choose(LADDER, "--rungs", "larg")
    assert code == 2
    assert "there is no rung larg; did you mean large?" in errors


def test_cheap_rungs_run_side_by_side(choose, tmp_path):
    ladder = {
        # Neither ends before the other has started.
        "first": rung(cheap=True, wait_for=str(tmp_path / "choice/parts/probe/second/starts.txt")),
        "second": rung(cheap=True, wait_for=str(tmp_path / "choice/parts/probe/first/starts.txt")),
    }
    code, _, _ = choose(ladder, "--jobs", 2, "--budget", "60s")
    assert code == 0
    assert statuses(tmp_path) == {"first": "finished", "second": "finished"}


@pytest.mark.extensive
@pytest.mark.slow
def test_times_of_another_choice_on_this_machine_take_the_place_of_a_probe(choose, tmp_path):
    choose(LADDER, "--rungs", "small")
    (tmp_path / "choice").rename(tmp_path / "earlier")
    choose(LADDER, "--rungs", "small")
    assert result(tmp_path)["rungs"][1]["estimate"]["source"] == "finished run"
    assert starts(tmp_path, "small", "parts/probe") == 0


TAUGHT = rung(quality=0.97, unlabelled="{unlabelled}", teachers=2)
TAUGHT["options"]["teachers"] = "{teachers}"
READERS = LADDER | {"taught": TAUGHT}


def unlabelled(tmp_path, count=400):
    file = tmp_path / "texts.txt"
    file.write_text("".join(f"new text {n}\n" for n in range(count)), encoding="utf-8")
    return ["--unlabelled", file, "--max_unlabelled", 320]


@pytest.mark.slow
def test_a_rung_learns_from_the_best_before_it_on_unlabelled_texts(choose, tmp_path):
    words = [*unlabelled(tmp_path), "--until", "budget"]
    code, _, _ = choose(READERS, *words)
    assert code == 0
    rows = {row["name"]: row for row in result(tmp_path)["rungs"]}
    assert rows["taught"]["teachers"] == ["middle", "large"]
    folder = tmp_path / "choice"
    config = yaml.safe_load((folder / "rungs" / "taught" / "config.yaml").read_text())
    assert config["teachers"] == [str(folder / "rungs" / name) for name in ("large", "middle")]
    # The probe reads half of train, so half of the texts.
    assert (folder / "rungs" / "taught" / "texts.txt").read_text() == "320"
    assert (folder / "parts" / "probe" / "taught" / "texts.txt").read_text() == "160"
    # What taught it was trained first.
    own = [rows[name]["cost"]["training_seconds"] for name in ("middle", "large")]
    assert rows["taught"]["cost"]["training_seconds"] == pytest.approx(sum(own))
    assert "taught by middle, large" in (folder / "choice.html").read_text(encoding="utf-8")
    assert choose(READERS, *words)[0] == 0
    assert starts(tmp_path, "taught") == 1
    code, _, errors = choose(READERS, *words[:2], "--max_unlabelled", 100)
    assert code == 2
    assert "max_unlabelled changed" in errors


@pytest.mark.extensive
@pytest.mark.slow
def test_without_unlabelled_texts_what_reads_them_is_left_out(choose, tmp_path):
    code, out, _ = choose(READERS)
    assert code == 0
    assert "without --unlabelled, left out: taught" in out
    assert "taught" not in statuses(tmp_path)
    code, _, errors = choose(READERS, "--rungs", "taught")
    assert code == 2
    assert "taught reads unlabelled texts; give --unlabelled FILE" in errors
    code, _, errors = choose(LADDER, *unlabelled(tmp_path))
    assert code == 2
    assert "none of the models to try reads" in errors


def test_a_rung_without_teachers_is_skipped(choose, tmp_path):
    ladder = {"base": LADDER["base"], "taught": TAUGHT}
    choose(ladder, *unlabelled(tmp_path))
    row = result(tmp_path)["rungs"][1]
    assert (row["status"], row["reason"]) == (
        "skipped",
        "no model before it is finished that could teach",
    )


@pytest.mark.slow
def test_test_is_scored_for_the_chosen_its_neighbours_and_the_baseline(
    choose, files, tmp_path, monkeypatch
):
    from pipelines.studies.choice import results

    def answers_of(climb, name, split):
        # What `pipelines predict` does, for which the fake has no model.
        from fake_rung import answer

        from pipelines.corpora.writing import write_predictions

        quality = {"base": 0.5, "small": 0.8, "middle": 0.95, "large": 0.99}[name]
        file = climb.plan.folder / split / f"{name}.jsonl"
        gold = climb.plan.splits[split]
        write_predictions(file, [answer(example, quality, 42) for example in gold])
        return file

    monkeypatch.setattr(results, "predict", answers_of)
    choose(LADDER, "--goal", 0.9, "--until", "budget", "--budget", "5m", data=files)
    rows = {row["name"]: row["test"] for row in result(tmp_path)["rungs"]}
    assert rows["base"]
    assert rows["large"]
    assert rows["middle"]["score"] == pytest.approx(0.95, abs=0.05)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--goal", "1.5"], "wanted a score such as 0.8, or 80"),
        (["--goal", "0"], "wanted a score such as 0.8, or 80"),
        (["--goal", "180"], "wanted a score such as 0.8, or 80"),
        (["--budget", "45"], "wanted a time with its unit"),
        (["--budget", "soon"], "wanted a time with its unit"),
        (["--until", "dawn"], "wanted goal or budget"),
        (["--jobs", "0"], "wanted 1 or more"),
        (["--fractions", "0"], "wanted shares of train"),
        (["--price", "-1"], "wanted a price of an hour"),
        (["--ablate", "seed=1,2"], "got --ablate, which is for a single model"),
        (["--sample_submission", "s.csv"], "got --sample_submission, which is for a single model"),
        (["--ladder", "none.yaml"], "no such file"),
    ],
)
def test_options_that_do_not_fit_are_refused(choose, tmp_path, words, message):
    code, _, errors = choose(LADDER, *words)
    assert code == 2
    assert message in errors
    assert not (tmp_path / "choice").exists()


def test_dev_is_cut_from_train_where_there_is_none(choose, files, tmp_path):
    choose({"base": rung()}, data=files[:2])
    found = result(tmp_path)
    assert found["examples"] == {"train": 144, "dev": 16}
    assert any("dev was cut from train" in note for note in found["notes"])
    assert any("too few" in note for note in found["notes"])


def test_one_class_is_refused(choose, tmp_path):
    file = tmp_path / "one.jsonl"
    rows = [{"id": str(n), "text": f"text {n}", "label": "a"} for n in range(60)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    code, _, errors = choose({"base": rung()}, data=["--train_file", str(file)])
    assert code == 2
    assert "class" in errors


@pytest.mark.extensive
@pytest.mark.slow
@pytest.mark.parametrize("moment", ["parts/probe/slow", "rungs/slow"])
def test_a_killed_choice_goes_on_where_it_was_and_ends_with_the_same_answer(
    choose, files, tmp_path, moment
):
    ladder = {
        "base": rung(),
        "slow": rung(seconds=0.01, quality=0.8),
        "last": rung(seconds=0.025, quality=0.97),
    }
    choose(ladder, "--goal", 0.9)
    undisturbed = result(tmp_path)
    (tmp_path / "choice").rename(tmp_path.parent / f"{tmp_path.name}-whole")
    words = ["--ladder", str(tmp_path / "ladder.yaml"), "--run_dir", str(tmp_path / "choice")]
    command = [sys.executable, str(SCRIPT), *files[:4], *words, "--fractions", "1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([*command, "--goal", "0.9"], env=environment)
    begun = tmp_path / "choice" / moment / "starts.txt"
    for _ in range(1200):
        if begun.exists():
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    child = int(begun.read_text(encoding="utf-8").split()[0])
    for _ in range(200):
        if not os.path.exists(f"/proc/{child}") or is_zombie(child):
            break
        time.sleep(0.05)
    else:
        raise AssertionError("the rung outlived the choice")
    code, _, _ = choose(ladder, "--goal", 0.9)
    assert code == 0
    found = result(tmp_path)
    assert found["answer"]["chosen"] == undisturbed["answer"]["chosen"] == "last"
    kept = ("name", "status", "score", "interval", "next")
    for old, new in zip(undisturbed["rungs"], found["rungs"], strict=True):
        assert [old[name] for name in kept] == [new[name] for name in kept]
    assert starts(tmp_path, "base") == 1


def is_zombie(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
            return f.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
