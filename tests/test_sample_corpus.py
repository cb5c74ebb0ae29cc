"""The sample corpus: what it promises, counted on the committed files by patterns that know nothing of its maker."""

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "data" / "make_disease_corpus.py"
TABLES = ROOT / "data" / "disease_corpus"
SAMPLES = ROOT / "data" / "samples" / "disease_ner"
SIZES = {"train": 800, "dev": 150, "test": 150}
SPLITS = {
    name: json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8")) for name in SIZES
}
ALL = [example for examples in SPLITS.values() for example in examples]


def mentions(examples):
    return [entity["text"] for example in examples for entity in example["entities"]]


def marked(example):
    text = example["sentence"]
    for entity in reversed(example["entities"]):
        text = f"{text[: entity['start']]}[{entity['text']}]{text[entity['end'] :]}"
    return text


def document(example):
    return example["id"].rsplit("-", 1)[0]


def write(folder, *options):
    subprocess.run(
        [sys.executable, str(SCRIPT), "--out", str(folder), *options],
        check=True,
        capture_output=True,
    )
    return {name: (folder / f"{name}.json").read_bytes() for name in SIZES}


def test_the_committed_files_are_what_the_seed_gives(tmp_path):
    assert write(tmp_path / "again", "--seed", "0") == {
        name: (SAMPLES / f"{name}.json").read_bytes() for name in SIZES
    }


def test_another_seed_gives_another_corpus_of_the_same_size(tmp_path):
    files = write(tmp_path / "other", "--seed", "1")
    assert {name: len(json.loads(text)) for name, text in files.items()} == SIZES
    assert all(files[name] != (SAMPLES / f"{name}.json").read_bytes() for name in SIZES)


def test_files_stay_small():
    assert (
        sum(path.stat().st_size for folder in (SAMPLES, TABLES) for path in folder.iterdir())
        < 500_000
    )


@pytest.mark.parametrize("name", SIZES)
def test_layout_offsets_and_no_mention_share(name):
    examples = SPLITS[name]
    assert len(examples) == SIZES[name]
    for example in examples:
        assert list(example) == ["id", "sentence", "entities"]
        end = 0
        for entity in example["entities"]:
            assert list(entity) == ["text", "start", "end", "type"]
            assert entity["type"] == "Disease"
            assert end <= entity["start"] < entity["end"], "in order, not overlapping, not empty"
            assert (
                example["sentence"][entity["start"] : entity["end"]]
                == entity["text"]
                == entity["text"].strip()
            )
            end = entity["end"]
    assert 0.43 <= sum(not example["entities"] for example in examples) / len(examples) <= 0.47


def test_ids_are_unique_and_count_the_sentences_of_their_document():
    assert len({example["id"] for example in ALL}) == len(ALL)
    lengths = Counter(map(document, ALL))
    assert [example["id"] for example in ALL] == [
        f"{id}-{n}" for id, length in lengths.items() for n in range(length)
    ]
    assert 4 <= sum(lengths.values()) / len(lengths) <= 8


def test_splits_share_no_document_and_no_sentence_comes_twice():
    documents = [{document(example) for example in examples} for examples in SPLITS.values()]
    assert not any(a & b for i, a in enumerate(documents) for b in documents[:i])
    sentences = Counter(example["sentence"].lower() for example in ALL)
    assert [sentence for sentence, count in sentences.items() if count > 1] == []


def test_names_that_only_one_split_has():
    train = {mention.lower() for mention in mentions(SPLITS["train"])}
    share = {
        name: sum(mention.lower() not in train for mention in mentions(examples))
        / len(mentions(examples))
        for name, examples in SPLITS.items()
    }
    assert 0.28 <= share["test"] <= 0.42
    assert 0.10 <= share["dev"] <= 0.40
    assert len({mention.lower() for mention in mentions(ALL)}) >= 400


def test_a_dictionary_of_train_mentions_is_neither_enough_nor_useless():
    names = sorted(
        {mention.lower() for mention in mentions(SPLITS["train"])}, key=len, reverse=True
    )
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, names))})(?!\w)")
    found = {
        (example["id"], *match.span())
        for example in SPLITS["test"]
        for match in pattern.finditer(example["sentence"].lower())
    }
    gold = {
        (example["id"], entity["start"], entity["end"])
        for example in SPLITS["test"]
        for entity in example["entities"]
    }
    assert 0.55 <= 2 * len(found & gold) / (len(found) + len(gold)) <= 0.75


PHENOMENA = {  # what makes the task hard: pattern on the sentence with its mentions in [ ], least number of sentences
    "abbreviation introduced": (r"\[[^]]+\] \(\[[A-Z][\w-]+( I+)?\]\)", 60),
    "abbreviation alone": (r"(?<!\()\[[A-Z][A-Za-z]?[A-Z\d][A-Z\d-]*\](?!\))", 100),
    "coordination in one mention": (r"\[[^]]+ (and|or|and/or) [^]]+\]", 20),
    "two complete names coordinated": (r"\] and \[", 40),
    "kind within the mention": (
        r"(?i)\[(familial|hereditary|sporadic|classic|early-onset|late-onset|juvenile|metastatic|advanced)\b",
        12,
    ),
    "gene before the mention's head": (r"\[[A-Z0-9-]+-(associated|related) ", 3),
    "severity outside the mention": (r"(?i)\b(severe|untreated|suspected|experimental) \[", 3),
    "mention as a modifier": (
        r"\] (patients|families|kindreds|cell lines|gene|locus|region|group|registry)",
        30,
    ),
    "brackets within a mention": (r"\[[^]]*\([^]]*\)[^]]*\]", 2),
    "slash": (r"\]/\[", 2),
    "mention of five words or more": (r"\[(?:[^] ]+ ){4,}[^] ]+\]", 10),
    "the same mention twice": (r"(?i)(\[[^]]+\]).*\1", 8),
    "non-ASCII in a mention": (r"\[[^]]*[^\x00-\x7f][^]]*\]", 8),
    "British spelling": (r"(?i)\[[^]]*(tumour|aemi|oedema|oesoph|rrhoea)[^]]*\]", 10),
    "American spelling": (r"(?i)\[[^]]*(tumor|[^a]emia|edema\b|esoph|rrhea)[^]]*\]", 20),
    "capitals throughout": (r"^[^a-z]*\[[A-Z -]{12,}\]", 1),
    "X-linked and the like": (
        r"\[(autosomal (dominant|recessive)|X-linked) (disorder|disease|condition)\]",
        6,
    ),
    "disease's name within a gene's or protein's": (
        r"(?i)(ataxia telangiectasia mutated|(lymphoma|tumou?r protein|syndrome|fibrosis|polyposis coli|cancer|leuk\w+|"
        r"retinoblastoma|melanoma|nephroblastoma)( \w+)? (protein|kinase|helicase|antigen|factor|transmembrane|\d)\b)",
        25,
    ),
    "tumour suppressor or necrosis factor": (r"tumou?r (suppressor|necrosis)", 6),
    "cancer-free": (r"(cancer|tumou?r)-free", 3),
    "virus": (r"(?i)(hepatitis|measles|sarcoma|leuk\w+|influenza A|rabies|fever|dengue) virus", 3),
    "institution": (
        r"(National Cancer|Heart Association|Arthritis|Sclerosis Society|Fibrosis Foundation|Diabetes "
        r"Association|Alzheimer's Society|Malaria|Leuk\w+ Research|Stroke Association|Epilepsy)",
        8,
    ),
    "eponym's person": (
        r"(?i)(Huntington|Osler|Alzheimer|Dr Down|Addison|Parkinson|Wilson|Crohn|Hodgkin|Burkitt|"
        r"Graves|Hashimoto|Marfan|Gaucher|Hirschsprung|Behçet|Sjögren)[^]]* (practised|was born|grew|"
        r"described|recorded|and his|were)",
        3,
    ),
    "abbreviation of something else": (
        r"\((APCs|RA|PD|MS/MS|ED|AD|CD|HS|CH|HR|MR|AAs|GO|PCR|AC)\)",
        12,
    ),
    "complaint": (
        r"(?i)\b(fever|fatigue|headache|cough|itching|back pain|chest pain|dizziness)\b",
        10,
    ),
}


@pytest.mark.parametrize("name", PHENOMENA)
def test_what_makes_the_task_hard_is_there(name):
    pattern, least = PHENOMENA[name]
    assert sum(bool(re.search(pattern, marked(example))) for example in ALL) >= least


def test_an_abbreviation_is_introduced_before_it_is_used_alone():
    used = 0
    introduced = {}
    for example in ALL:
        known = introduced.setdefault(document(example), set())
        used += any(entity["text"] in known for entity in example["entities"])
        known.update(re.findall(r"\] \(\[([^]]+)\]\)", marked(example)))
    assert used >= 100


NOT_A_MENTION = re.compile(
    r"(?i)tumou?r[ -](suppressor|necrosis|free|protein|virus)|anti-tumou?r|cancer-free|cancer regist|heat-shock|virus|"
    r"vaccine|protein|kinase|helicase|factor|antigen|methyltransferase|transmembrane|susceptibility|colorectal cancer "
    r"\(DCC\)|lymphoma 2|leuk\w+ \(MLL\)|leuk\w+ 1|Wilms tumou?r 1|telangiectasia mutated|oncogene|complementation|"
    r"molecule|homologue|Council|Foundation|Society|Association|Consortium|Fund|Cancer (Research|Institute|Center)|"
    r"Unit|Campaign"
)


def test_a_name_is_marked_wherever_it_stands():
    """A mention's text unmarked elsewhere is a look-alike by the guideline, or the annotation is not consistent."""
    names = {mention.lower() for mention in mentions(ALL) if len(mention) > 4}
    pattern = re.compile(
        rf"(?<!\w)(?:{'|'.join(sorted(map(re.escape, names), key=len, reverse=True))})(?!\w)"
    )
    missed = []
    for example in ALL:
        rest = re.sub(r"\[[^]]*\]", "#", marked(example))
        missed += [
            rest
            for match in pattern.finditer(rest.lower())
            if not NOT_A_MENTION.search(rest[max(0, match.start() - 10) : match.end() + 45])
        ]
    assert missed == []


def test_an_abbreviation_has_one_meaning_within_a_document():
    for example in ALL:
        own = {
            entity["text"]
            for other in ALL
            if document(other) == document(example)
            for entity in other["entities"]
        }
        rest = re.sub(r"\[[^]]*\]", "#", marked(example))
        for abbreviation in (text for text in own if re.fullmatch(r"[A-Z][A-Z\d-]+", text)):
            assert not re.search(rf"(?<!\w){re.escape(abbreviation)}(?!\w)", rest), marked(example)


def test_sentences_are_well_formed():
    for example in ALL:
        text = example["sentence"]
        assert re.search(r"[.?]$|[\w)]$", text), text
        assert not re.search(
            r"[{}@\[\]]|  | [,.;:?]|\( | \)|\b([Tt]he|[Ii]n|[Oo]f|an?) \1\b|\.\.|,\.", text
        ), text
        assert not re.match(r"[a-z]+ ", text) or re.match(r"(p16|mTOR)", text), text
        assert not re.search(
            r"(\ba|^A) ([aeio](?!ne )\w|un[^i]|u[lm]|X-|8\d|11\b|18\b|[FHLMNSX](?!ARS|ODY)[A-Z])",
            text,
        ), text
        assert not re.search(r"\b[Aa]n ([bcdfgjklmnpqrstvwz]|uni[^n]|eu|us[eu]|[1-7]\b)", text), (
            text
        )


def test_every_alternative_that_bears_a_slots_name_is_meant_as_a_word():
    """`{country|a cohort}` writes the word "country"; `{{country}|a cohort}` names one."""
    frames = (TABLES / "frames.txt").read_text(encoding="utf-8")
    names = re.findall(r"(?m)^== (\w+)$", (TABLES / "words.txt").read_text(encoding="utf-8"))
    names += [
        "gene",
        "drug",
        "tissue",
        "mode",
        "f",
        "f2",
        "F",
        "C",
        "E",
        "E2",
        "E3",
        "D",
        "d",
        "Ds",
        "FULL",
        "INTRO",
    ]
    assert "country" in names
    alternatives = re.findall(r"(?<=\|)\w+(?=[|}])|(?<=\{)\w+(?=\|)", frames)
    english = {"gene", "model", "test", "mutation", "common", "p", "origin", "cells"}
    assert [word for word in alternatives if word in names and word not in english] == []


def test_the_tables_are_as_wide_as_promised():
    diseases = [
        line
        for line in (TABLES / "diseases.txt").read_text(encoding="utf-8").splitlines()
        if line and line[0] != "#"
    ]
    frames = [
        line
        for line in (TABLES / "frames.txt").read_text(encoding="utf-8").splitlines()
        if line and line[0] not in "#="
    ]
    assert len({line.split("|")[1].strip().lower() for line in diseases}) == len(diseases) >= 300
    assert len(set(frames)) >= 300
