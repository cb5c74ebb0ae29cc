"""`pipelines export`: what is written gives the run's own answers, and what a format cannot hold is refused."""

import json
import shutil
import sys
from collections import Counter, namedtuple
from pathlib import Path
from types import SimpleNamespace

import gguf
import numpy as np
import pytest
import torch
import yaml
from conftest import ANSWERED, answered
from demo_runs import write_dictionary
from peft import LoraConfig, get_peft_model
from tokenizers import normalizers, pre_tokenizers
from transformers import AutoModelForCausalLM
from transformers.modeling_gguf_pytorch_utils import LlamaTensorProcessor

from pipelines import exporting
from pipelines.cli import main
from pipelines.corpora.lexicon import Entry, Lexicon
from pipelines.corpora.predictions import read_predictions
from pipelines.corpora.writing import write_jsonl
from pipelines.errors import UserError
from pipelines.examples import Example, Prediction, Span
from pipelines.exporting import export, gguf_format, onnx_format
from pipelines.exporting.comparison import answer, equal_share, rows_of
from pipelines.exporting.source import Source
from pipelines.families import causal_lm, sequence_classifier, token_tagger
from pipelines.families.class_answers import ClassifierSettings
from pipelines.families.token_tagger import span_training, tagging
from pipelines.networks.tagger_ensemble import ensemble_of
from pipelines.networks.text_classifier import TextClassifier, TextClassifierConfig
from pipelines.runs.run import Run

TEXTS = [
    "Colon cancer is no flu, she said.",
    "No FLU was Seen.",
    "All is well, " * 9,  # longer than a window
    "BRCA1",
]


def write_run(folder: Path, examples, **more) -> Run:
    """The files of a run but for its model: how it read its dev set, and that set."""
    rows = []
    for example in examples:
        spans = [{"start": s.start, "end": s.end, "label": s.label} for s in example.spans or ()]
        known = {"spans": spans} if example.label is None else {"label": example.label}
        rows.append({"id": example.id, "text": example.text, **known})
    folder.mkdir(parents=True)
    write_jsonl(folder.parent / "dev.jsonl", rows)
    options = {"dev_file": str(folder.parent / "dev.jsonl"), **more}
    (folder / "config.yaml").write_text(yaml.safe_dump(options), encoding="utf-8")
    return Run(folder)


@pytest.fixture(scope="module")
def tagger_run(tiny_bert, tmp_path_factory) -> Run:
    """A tagger with case, lexicon and CRF, whose dev set has its own answers as gold."""
    torch.manual_seed(1)
    tags = ["O", "B-D", "I-D"]
    parts = {"case_feature": True, "crf": True, "lexicon": Lexicon({"no flu": Entry()})}
    model = tagging.new_model(tiny_bert, tags, **parts).model.eval()
    with torch.no_grad():
        for vectors in (model.case_embeddings, *model.matches.values()):
            vectors.weight.normal_()
        model.crf.transitions.normal_()
    tokenizer = token_tagger.load_tokenizer(tiny_bert)
    settings = token_tagger.TaggerSettings(decode="crf", window=32, stride=8)
    examples = [Example(str(number), text) for number, text in enumerate(TEXTS)]
    loaded = token_tagger.Loaded(model, tokenizer, settings)
    gold = [
        Example(example.id, example.text, spans=prediction.spans)
        for example, prediction in zip(
            examples, token_tagger.predict(loaded, examples, progress=False), strict=True
        )
    ]
    assert sum(len(example.spans) for example in gold) > 5
    run = write_run(tmp_path_factory.mktemp("tagger") / "run", gold)
    token_tagger.save(run.model, model=model, tokenizer=tokenizer, settings=settings)
    return run


@pytest.fixture(scope="module")
def classifier_run(tiny_bert, tmp_path_factory) -> Run:
    settings = ClassifierSettings(("a", "b", "c"), max_length=40)
    torch.manual_seed(2)
    model = sequence_classifier.load_network(tiny_bert, settings, pooling="mean").eval()
    tokenizer = sequence_classifier.load_tokenizer(tiny_bert)
    examples = [
        Example(str(number), text, label="abc"[number % 3]) for number, text in enumerate(TEXTS)
    ]
    run = write_run(tmp_path_factory.mktemp("classifier") / "run", examples)
    sequence_classifier.save(run.model, model=model, tokenizer=tokenizer, settings=settings)
    return run


@pytest.fixture(scope="module")
def generator_run(answering, tmp_path_factory) -> Run:
    """An adapter on the tiny Llama that knows the answers, which it all but keeps."""
    folder = tmp_path_factory.mktemp("generator")
    base = folder / "base"
    answering.model.save_pretrained(base)
    answering.tokenizer.save_pretrained(base)
    torch.manual_seed(3)
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
        LoraConfig(
            r=2, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM"
        ),
    )
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.mul_(0.02)
    run = write_run(folder / "run", answered())
    causal_lm.save(
        run.model,
        model=model,
        tokenizer=answering.tokenizer,
        prompt=answering.prompt,
        base_model=str(base),
    )
    return run


def predicted(run: Path, texts: Path, folder: Path) -> list[Prediction]:
    out = folder / f"{run.name}.jsonl"
    code = main(["predict", "--run", str(run), "--input", str(texts), "--output", str(out)])
    assert code == 0
    return read_predictions(out)


def onnx_or_skip():
    for name in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(name, reason="`pip install 'ner-pipelines[export]'` for ONNX")


@pytest.mark.slow
def test_an_onnx_tagger_gives_the_runs_own_answers(tagger_run, tmp_path, capsys):
    onnx_or_skip()
    out = tmp_path / "onnx"
    assert main(["export", "--run", str(tagger_run.folder), "--to", "onnx", "--out", str(out)]) == 0
    assert "onnx float32" in capsys.readouterr().out
    content = json.loads((out / "export.json").read_text(encoding="utf-8"))
    before, after = content["comparison"]["models"]
    assert before["score"] == after["score"] == after["equal"] == 1
    assert set(content["inputs"]) == {"input_ids", "cases", "matches", "attention_mask"}
    assert content["files"]["model.onnx"]["bytes"] == (out / "model.onnx").stat().st_size
    texts = tagger_run.folder.parent / "dev.jsonl"
    theirs = predicted(out, texts, tmp_path)
    for mine, other in zip(predicted(tagger_run.folder, texts, tmp_path), theirs, strict=True):
        assert answer(mine) == answer(other)
        for left, right in zip(mine.spans, other.spans, strict=True):
            assert left.score == pytest.approx(right.score, abs=1e-4)
    with pytest.raises(UserError, match=r"an export itself"):
        export(Run(out), to="onnx", out=tmp_path / "again")
    (out / "lexicon.json").rename(out / "away.json")
    with pytest.raises(UserError, match=r"could not load it .*lexicon\.json"):
        token_tagger.load(out)
    (out / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(UserError, match=r"ONNX Runtime .* could not load it"):
        token_tagger.load(out)


@pytest.mark.slow
def test_an_onnx_span_tagger_gives_the_runs_own_answers(tiny_bert, tmp_path):
    onnx_or_skip()
    torch.manual_seed(1)
    parts = {"case_feature": True, "lexicon": Lexicon({"no flu": Entry("D")})}
    options = {"tune": "full", "last_n": 1, "lora": None, "max_width": 3, "nested": True}
    made = span_training.model_to_train(tiny_bert, ["D", "E"], **options, **parts)
    model = made.model.eval()
    with torch.no_grad():
        for vectors in (model.case_embeddings, *model.matches.values()):
            vectors.weight.normal_()
        model.classifier.weight.normal_()
        model.classifier.bias.fill_(-0.5)
    tokenizer = token_tagger.load_tokenizer(tiny_bert)
    settings = token_tagger.TaggerSettings(token_tagger.SPANS, window=32, stride=8)
    examples = [Example(str(number), text) for number, text in enumerate([*TEXTS, ""])]
    own = token_tagger.predict(
        token_tagger.Loaded(model, tokenizer, settings), examples, progress=False
    )
    assert sum(len(prediction.spans) for prediction in own) > 5
    gold = [
        Example(example.id, example.text, spans=prediction.spans)
        for example, prediction in zip(examples, own, strict=True)
    ]
    run = write_run(tmp_path / "run", gold, nested=True)
    token_tagger.save(run.model, model=model, tokenizer=tokenizer, settings=settings)
    content = export(run, to="onnx", out=tmp_path / "onnx", progress=False)
    assert {"first", "last", "cases", "matches"} < set(content["inputs"])
    theirs = token_tagger.predict(token_tagger.load(tmp_path / "onnx"), examples, progress=False)
    for mine, other in zip(own, theirs, strict=True):
        assert answer(mine) == answer(other)
        for left, right in zip(mine.spans, other.spans, strict=True):
            assert left.score == pytest.approx(right.score, abs=1e-4)


@pytest.mark.extensive
@pytest.mark.slow
def test_an_int8_classifier_is_smaller_and_nearly_the_same(classifier_run, tmp_path):
    onnx_or_skip()
    sizes, logits = {}, {}
    examples = classifier_run.examples("dev")
    for dtype in onnx_format.DTYPES:
        out = tmp_path / dtype
        content = export(classifier_run, to="onnx", out=out, dtype=dtype, progress=False)
        assert sorted(path.name for path in out.glob("*.onnx")) == ["model.onnx"]
        loaded = sequence_classifier.load(out)
        sizes[dtype] = content["files"]["model.onnx"]["bytes"]
        logits[dtype] = sequence_classifier.predict_logits(loaded, examples, progress=False)
        share = content["comparison"]["models"][1]["equal"]
        answers = [
            sequence_classifier.predict(sequence_classifier.load(folder), examples, progress=False)
            for folder in (classifier_run.model, out)
        ]
        assert share == np.mean([answer(a) == answer(b) for a, b in zip(*answers, strict=True)])
    own = sequence_classifier.predict_logits(
        sequence_classifier.load(classifier_run.model), examples, progress=False
    )
    assert np.abs(logits["float32"] - own).max() < 1e-5
    assert 1e-5 < np.abs(logits["int8"] - own).max() < 0.1 * np.abs(own).max()
    assert sizes["int8"] < sizes["float32"]
    import onnx

    kinds = Counter(node.op_type for node in onnx.load(tmp_path / "int8" / "model.onnx").graph.node)
    assert kinds["MatMulInteger"] == 2 * 5  # of each layer all but the last matmul


@pytest.mark.parametrize("dtype", gguf_format.DTYPES)
def test_a_gguf_file_gives_the_runs_own_answers(dtype, generator_run, tmp_path):
    out = tmp_path / "gguf"
    content = export(generator_run, to="gguf", out=out, dtype=dtype, progress=False)
    before, after = content["comparison"]["models"]
    assert before["score"] == after["score"] == after["equal"] == 1
    reader = gguf.GGUFReader(out / "model.gguf")
    assert reader.fields["general.architecture"].contents() == "llama"
    assert reader.fields["tokenizer.ggml.pre"].contents() == "gpt-2"
    assert reader.fields["tokenizer.ggml.eos_token_id"].contents() == 2
    stored = {tensor.name: tensor.tensor_type for tensor in reader.tensors}
    assert stored["blk.1.attn_q.weight"] == gguf_format.STORED[dtype][0]
    assert stored["blk.1.attn_norm.weight"] == gguf.GGMLQuantizationType.F32
    assert len(stored) == 3 + 2 * 9  # embeddings, last norm and head, and nine a layer


def test_predict_reads_a_gguf_folder(generator_run, tmp_path):
    out = tmp_path / "gguf"
    words = ["--run", str(generator_run.folder), "--to", "gguf", "--int8", "--out", str(out)]
    assert main(["export", *words]) == 0
    texts = generator_run.folder.parent / "dev.jsonl"
    found = predicted(out, texts, tmp_path)
    assert [[(s.start, s.end) for s in each.spans] for each in found] == list(ANSWERED.values())


def test_a_merged_folder_is_one_of_transformers(generator_run, tmp_path):
    out = tmp_path / "merged"
    content = export(generator_run, to="merged", out=out, progress=False)
    assert content["comparison"]["models"][1]["equal"] == 1
    assert not (out / "adapter_config.json").exists()
    plain = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32)
    merged = Source(causal_lm, "causal_lm", generator_run.model).load().model
    base = AutoModelForCausalLM.from_pretrained(generator_run.folder.parent / "base")
    ids = torch.tensor([causal_lm.load(out).tokenizer("Colon cancer.")["input_ids"]])
    with torch.no_grad():
        assert (plain(ids).logits - merged(ids).logits).abs().max() < 1e-5
        assert (plain(ids).logits - base(ids).logits).abs().max() > 1e-4


def test_rows_of_heads_are_interleaved_as_llama_cpp_reads_them():
    rows = torch.arange(8.0)[:, None]  # two heads of four features
    assert gguf_format.interleaved(rows, 2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
    weight = torch.randn(12, 5)
    back = LlamaTensorProcessor()._reverse_permute_weights(
        gguf_format.interleaved(weight, 3).numpy(), 3
    )
    assert np.array_equal(back, weight.numpy())


def test_how_a_text_is_cut_gets_the_name_that_llama_cpp_has(generator_run, tokenizer):
    source = Source(causal_lm, "causal_lm", generator_run.model)
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    digits = pre_tokenizers.Digits(individual_digits=True)
    cases = {
        "gpt-2": byte_level,
        "smollm": pre_tokenizers.Sequence([digits, byte_level]),
        "Metaspace": pre_tokenizers.Metaspace(),
        "Digits": pre_tokenizers.Sequence([pre_tokenizers.Digits(), byte_level]),
    }
    tokenizer = causal_lm.load_tokenizer(str(generator_run.model))
    for name, cut in cases.items():
        tokenizer.backend_tokenizer.pre_tokenizer = cut
        if name in ("gpt-2", "smollm"):
            assert gguf_format.pre_tokenizer_name(source, tokenizer) == name
            continue
        with pytest.raises(UserError, match=rf"{name}.*only byte-level BPE.*--to merged"):
            gguf_format.pre_tokenizer_name(source, tokenizer)
    tokenizer.backend_tokenizer.pre_tokenizer = byte_level
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    with pytest.raises(UserError, match="only byte-level BPE"):
        gguf_format.pre_tokenizer_name(source, tokenizer)


def test_a_tokenizer_that_changes_when_written_is_refused(generator_run, tmp_path):
    out = tmp_path / "gguf"
    export(generator_run, to="gguf", out=out, progress=False)
    source = Source(causal_lm, "causal_lm", generator_run.model)
    tokenizer = causal_lm.load_tokenizer(str(generator_run.model))
    gguf_format.check_tokenizer(source, out, tokenizer, ["flu 12"], "gpt-2")
    tokenizer.add_tokens(["flu"])
    with pytest.raises(UserError, match="cuts 'flu 12' differently"):
        gguf_format.check_tokenizer(source, out, tokenizer, ["flu 12"], "gpt-2")


def refused(run: Path, to: str, tmp_path: Path) -> str:
    with pytest.raises(UserError) as error:
        export(Run.open(run), to=to, out=tmp_path / "out", progress=False)
    assert sorted(path.name for path in tmp_path.iterdir() if "out" in path.name) == []
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_format_that_cannot_hold_a_family_is_refused(tagger_run, generator_run, tmp_path):
    assert "it can be exported --to merged or gguf" in refused(
        generator_run.folder, "onnx", tmp_path
    )
    assert "no adapter to merge" in refused(tagger_run.folder, "merged", tmp_path)
    assert "does not hold the family token_tagger; it can be exported --to onnx" in refused(
        tagger_run.folder, "gguf", tmp_path
    )
    dictionary = write_dictionary(tmp_path / "dictionary")
    for to in exporting.FORMATS:
        message = refused(dictionary, to, tmp_path)
        assert "the family lexical" in message
        assert "`pipelines bundle --run" in message


def test_networks_on_words_and_ensembles_are_refused(tiny_bert, tagger_run):
    source = Source(token_tagger, "token_tagger", tagger_run.model)
    tagger = tagging.new_model(tiny_bert, ["O", "B-D", "I-D"]).model
    onnx_format.check_model(source, SimpleNamespace(model=tagger))
    for model, expected in (
        (ensemble_of([tagger, tagger]), "an ensemble of 2 taggers"),
        (
            TextClassifier(TextClassifierConfig(vocab_size=9)),
            "a TextClassifier, a network on words",
        ),
    ):
        with pytest.raises(UserError, match=expected):
            onnx_format.check_model(source, SimpleNamespace(model=model))


def test_what_an_export_cannot_do_is_said_in_one_line(generator_run, tmp_path, monkeypatch):
    run, out = generator_run, tmp_path / "out"
    with pytest.raises(
        UserError, match=r"got int8 with --to merged, .*int8 is of --to onnx and gguf"
    ):
        export(run, to="merged", out=out, dtype="int8")
    (tmp_path / "there").mkdir()
    with pytest.raises(UserError, match="there: exists already"):
        export(run, to="merged", out=tmp_path / "there")
    bare = Run(tmp_path / "bare")
    shutil.copytree(run.folder, bare.folder)
    (bare.folder / "config.yaml").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match=r"has no dev set .* --dev_file"):
        export(bare, to="merged", out=out)
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1000))
    with pytest.raises(UserError, match=r"the disk has 1000 B left, the export takes about"):
        export(run, to="merged", out=out)
    assert not out.exists()


def test_an_export_that_breaks_off_leaves_nothing(generator_run, tmp_path, monkeypatch, capsys):
    def full(*arguments):
        raise OSError(28, "No space left on device", "model.gguf")

    monkeypatch.setattr(gguf_format, "add_metadata", full)
    out = tmp_path / "out"
    with pytest.raises(SystemExit):
        main(["export", "--run", str(generator_run.folder), "--to", "gguf", "--out", str(out)])
    assert "the disk is full" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("missing", ["onnxruntime", "onnxscript"])
def test_a_library_that_is_missing_is_named(missing, tagger_run, tmp_path, monkeypatch):
    for name in ("onnxruntime", "onnx", "onnxscript"):
        module = None if name == missing else SimpleNamespace()
        monkeypatch.setitem(sys.modules, name, module)
    message = refused(tagger_run.folder, "onnx", tmp_path)
    assert missing in message
    assert "pip install 'ner-pipelines[export]'" in message


def test_an_export_that_is_worse_ends_with_code_1(generator_run, tmp_path, monkeypatch, caplog):
    plain = gguf_format.tensors

    def damaged(model, dtype):
        for name, values, stored in plain(model, dtype):
            yield name, values * 0 if "ffn" in name else values, stored

    monkeypatch.setattr(gguf_format, "tensors", damaged)
    out = tmp_path / "out"
    assert (
        main(["export", "--run", str(generator_run.folder), "--to", "gguf", "--out", str(out)]) == 1
    )
    assert "the strict F1 of the export differs by -" in caplog.text
    comparison = json.loads((out / "export.json").read_text(encoding="utf-8"))["comparison"]
    assert not comparison["within_tolerance"]


def test_scores_and_equal_answers_by_hand():
    gold = [Example("0", "a b", spans=(Span(0, 1, "D"),)), Example("1", "c", spans=())]
    right = [Prediction("0", spans=(Span(0, 1, "D", 0.9),)), Prediction("1", spans=())]
    wrong = [
        Prediction("0", spans=(Span(0, 1, "D", 0.2),)),
        Prediction("1", spans=(Span(0, 1, "D"),)),
    ]
    assert equal_share(right, wrong) == 0.5
    measured = [exporting.Measured(right, 4.0), exporting.Measured(wrong, 1.0)]
    rows = rows_of(
        exporting.TASKS["span_extraction"], gold, measured, names=("run", "int8"), sizes=(10, 3)
    )
    assert [row["score"] for row in rows] == [1, pytest.approx(2 / 3)]
    assert [row["equal"] for row in rows] == [1, 0.5]
    assert [row["seconds_per_text"] for row in rows] == [2, 0.5]
