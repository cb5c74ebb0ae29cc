"""Writes the sample corpus: disease mentions in sentences in the manner of biomedical abstracts.

    python data/make_disease_corpus.py [--seed 0] [--out data/samples/disease_ner]

The diseases, their abbreviations, genes, drugs and complications are real; the sentences are made
up from the frames
in ``disease_corpus/`` and report no real finding. A document is a short abstract about one disease:
a title, a
sentence that may introduce its abbreviation in brackets, then background, methods, results and
conclusion. Some documents name no disease at all. The same seed gives the same bytes.

Annotation guideline, after the NCBI Disease corpus where that corpus is of one mind:

1.  A mention is a disease, syndrome, tumour, infection or pathological finding, in full or
abbreviated, wherever it
    stands: "[CRC] patients", "the [Wilson disease] gene". Hereditary disease in general counts too
        ("an [X-linked
    disorder]"), and so do "tumour" and "cancer" alone; "disease", "disorder", "syndrome" alone do
    not.
2.  Words that name the kind belong to it: familial, hereditary, sporadic, classic, early-onset,
juvenile, primary,
    metastatic, advanced, recurrent, "[BRCA1-associated tumours]". Severity and certainty do not:
    "severe [malaria]".
3.  A coordination that shares a word is one mention: "[breast and ovarian cancer]", "[haemophilia A
and B]". Complete
    names are one each: "[gout] and [asthma]", "[SCA3]/[MJD]".
4.  An abbreviation in brackets is a mention of its own, "[Huntington disease] ([HD])", unless the
name goes on after
    it: "[dihydropyrimidine dehydrogenase (DPD) deficiency]".
5.  Not mentions: disease words within the name of a gene, protein, virus, vaccine, person,
institution or register
    ("the ataxia telangiectasia mutated (ATM) kinase", "Cancer Research UK"), "tumour suppressor"
    and "anti-tumour",
    "cancer-free", and complaints (fever, pain, fatigue, cough). NCBI often does mark the "tumour"
    of "tumour suppressor".

The language of the frames: ``{a|b}`` chooses, ``{3-9}`` is a number, ``{name}`` a slot of the
document or a list in
``words.txt``, ``[x]`` a mention, ``@`` short for ``{D}``. Slots: ``D`` the topic as it is called at
that point, ``d``
the same unmarked, ``Ds`` its plural, ``FULL``/``name`` its name marked/unmarked, ``INTRO`` its name
with its
abbreviation introduced, ``syn`` another name, ``E``, ``E2``, ``E3`` other diseases of its kind,
``C`` a common
disease, ``f``, ``f2`` features, ``F`` a list of features, ``coordination``, and ``gene``, ``drug``,
``tissue``,
``mode``, ``He``, ``he``, ``His``, ``man``. A frame that wants what the document has not (a drug,
say) is passed over.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pipelines.corpora.writing import replacing

TABLES = Path(__file__).parent / "disease_corpus"
SENTENCES = {"train": 800, "dev": 150, "test": 150}
NO_MENTION_SHARE = 0.445
NO_TOPIC_SHARE = 0.1
NEW_TOPIC_SHARE = {
    "train": 0.0,
    "dev": 0.2,
    "test": 0.18,
}  # documents about a disease that only this split names
MODES = {"ar": "autosomal recessive", "ad": "autosomal dominant", "xl": "X-linked"}
STAGES = (
    ("title", 1, 1),
    ("opening", 1, 1),
    ("background", 0, 1),
    ("methods", 1, 2),
    ("results", 1, 3),
    ("conclusion", 0, 1),
)  # name, fewest and most sentences: 4 to 9 a document
HEADINGS = {
    "opening": "BACKGROUND",
    "methods": "METHODS",
    "results": "RESULTS",
    "conclusion": "CONCLUSIONS",
}
SEX = {
    "woman": re.compile("ovar|endometri|cervi|eclampsia|gestational"),
    "man": re.compile("prostat|seminoma"),
}
AMERICAN = [
    ("gastro-oesophag", "gastroesophag"),
    ("GORD", "GERD"),
    ("[Aa]em(?=[aio])", "em"),
    ("(?<!i)[Oo]edema", "edema"),
    ("[Oo]esoph", "esoph"),
    ("[Oo]estr", "estr"),
    ("umour", "umor"),
    ("oeliac", "eliac"),
    ("haeo", "heo"),
    ("goitre", "goiter"),
    ("rrhoea", "rrhea"),
    ("pnoea", "pnea"),
    ("entre", "enter"),
    ("[Aa]etio", "etio"),
    ("nalysed", "nalyzed"),
    ("olour", "olor"),
    ("eighbour", "eighbor"),
    ("ounselling", "ounseling"),
    ("ignalling", "ignaling"),
    ("programme", "program"),
    ("neurone", "neuron"),
    ("ynaec", "ynec"),
    ("abelled", "abeled"),
]
LEADABLE = (
    r"(The|An?|We|All|Most|Neither|No|One|Two|Three|Six|These|Our|Patients|About|More|Both|"
    r"Median|Mean)\b"
)
SPOKEN_AS_WORDS = ("MODY", "SARS", "CADASIL", "HELLP")
T = TypeVar("T")


@dataclass(frozen=True)
class Disease:
    kind: str
    name: str
    abbreviation: str
    synonyms: tuple[str, ...]
    gene: str
    drug: str
    tissue: str
    features: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return self.name, self.abbreviation, *self.synonyms

    @property
    def group(self) -> str:
        return "inherited" if self.kind in MODES else self.kind

    @property
    def sex(self) -> str | None:
        return next((sex for sex, names in SEX.items() if names.search(self.name)), None)


@dataclass
class Document:
    """What stays the same through one abstract."""

    topic: Disease | None
    kind: str
    others: Sequence[Disease]
    sex: str
    american: bool
    headings: bool
    introduced: bool = False
    used: list[str] = field(default_factory=list)


class Chooser:
    """Seeded choices by `Random.random` alone, whose sequence is the same in every Python."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed).random

    def chance(self, share: float) -> bool:
        return self.random() < share

    def between(self, low: int, high: int) -> int:
        return low + int(self.random() * (high - low + 1))

    def one(self, options: Sequence[T]) -> T:
        return options[int(self.random() * len(options))]

    def shuffled(self, options: Sequence[T]) -> list[T]:
        return sorted(options, key=lambda _: self.random())


class MissingSlot(LookupError):
    """The document has nothing to put there."""


def read_diseases() -> list[Disease]:
    rows = (line.split("|") for line in _lines("diseases.txt"))
    diseases = []
    for row in rows:
        kind, name, abbreviation, synonyms, gene, drug, tissue, features = (
            cell.strip() for cell in row
        )
        diseases.append(
            Disease(
                kind, name, abbreviation, _listed(synonyms), gene, drug, tissue, _listed(features)
            )
        )
    return diseases


def read_sections(name: str) -> dict[str, list[str]]:
    """The lines under each ``== heading`` of a table."""
    sections: dict[str, list[str]] = {}
    for line in _lines(name):
        if line.startswith("== "):
            lines = sections.setdefault(line[3:], [])
        else:
            lines.append(line)
    return sections


def _lines(name: str) -> list[str]:
    text = (TABLES / name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def _listed(cell: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in cell.split(";") if part.strip())


def expand(
    frame: str, choose: Chooser, slots: Mapping[str, str], words: Mapping[str, list[str]]
) -> str:
    """Fills in a frame from left to right, so that only the chosen alternatives are looked at.

    Raises:
        MissingSlot: when the frame wants a slot that the document has not.
    """
    taken: set[str] = set()  # no list gives the same word twice in one sentence

    def fill(text: str) -> str:
        start = text.find("{")
        if start < 0:
            return text
        end, options = _alternatives(text, start)
        return (
            text[:start]
            + (fill(choose.one(options)) if len(options) > 1 else slot(options[0]))
            + fill(text[end:])
        )

    def slot(name: str) -> str:
        if number := re.fullmatch(r"(\d+)-(\d+)", name):
            return str(choose.between(int(number[1]), int(number[2])))
        if decimal := re.fullmatch(r"(\d)\.(\d)-(\d)\.(\d)", name):
            tenths = choose.between(int(decimal[1] + decimal[2]), int(decimal[3] + decimal[4]))
            return f"{tenths // 10}.{tenths % 10}"
        if name in words:
            word = fill(
                choose.one([word for word in words[name] if word not in taken] or words[name])
            )
            taken.add(word)
            return word
        if not slots.get(name):
            raise MissingSlot(name)
        return fill(slots[name])

    return fill(frame.replace("@", "{D}"))


def _alternatives(text: str, start: int) -> tuple[int, list[str]]:
    """The end of the brace group that opens at ``start``, and its alternatives."""
    depth, options, begin = 0, [], start + 1
    for position in range(start, len(text)):
        character = text[position]
        if character == "|" and depth == 1:
            options.append(text[begin:position])
            begin = position + 1
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return position + 1, [*options, text[begin:position]]
    raise ValueError(f"unclosed brace in {text!r}")


def slots_of(
    document: Document, choose: Chooser, words: Mapping[str, list[str]], named: Mapping[str, int]
) -> dict[str, str]:
    """What one sentence of the document may draw on; mentions come in square brackets.

    Args:
        named: how often each mention has come so far: the rarest diseases are named first, so that
            most of them come.
    """
    man = document.sex == "man"
    slots = {
        "man": document.sex,
        "He": "He" if man else "She",
        "he": "he" if man else "she",
        "His": "His" if man else "Her",
    }
    topic = document.topic
    if topic is None:
        return slots
    name = topic.name
    if document.introduced and topic.abbreviation and choose.chance(0.85):
        name = topic.abbreviation
    elif document.introduced and topic.synonyms and choose.chance(0.3):
        name = choose.one(topic.synonyms)
    features = choose.shuffled(topic.features)
    near = [other for other in document.others if other.tissue == topic.tissue]
    others = choose.shuffled(near if len(near) >= 3 and choose.chance(0.15) else document.others)
    others.sort(key=lambda other: sum(named.get(name, 0) for name in other.names))
    common = [
        word for word in words["common"] if word[1:-1] not in f"{topic.name} {topic.synonyms}"
    ]
    slots |= {
        "D": f"[{name}]",
        "d": name,
        "FULL": f"[{topic.name}]",
        "name": topic.name,
        "Ds": f"[{name}s]" if re.search(r"(oma|cancer|tumour|aemia|[A-Z]{2})$", name) else "",
        "INTRO": f"[{topic.name}]" + (f" ([{topic.abbreviation}])" if topic.abbreviation else ""),
        "syn": f"[{choose.one(topic.synonyms)}]" if topic.synonyms else "",
        "F": _series([f"[{feature}]" for feature in features]) if len(features) > 1 else "",
        "f": f"[{features[0]}]",
        "f2": f"[{features[1]}]" if len(features) > 1 else "",
        "C": choose.one(common),
        "coordination": choose.one(words[f"coordination {topic.group}"]),
        "gene": topic.gene,
        "drug": topic.drug,
        "tissue": topic.tissue,
        "mode": MODES.get(topic.kind, ""),
    }
    for slot, other in zip(("E", "E2", "E3"), others, strict=False):
        slots[slot] = f"[{choose.one((other.name, other.name, other.name, *other.synonyms))}]"
    return slots


def _series(items: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(items[:-1]), items[-1]]))


def polish(text: str, document: Document) -> str:
    """Spelling of the document, articles, blanks, and a capital at the start."""
    if document.american:
        for british, american in AMERICAN:
            text = re.sub(british, lambda found, new=american: _cased_like(found[0], new), text)  # type: ignore[misc]
    text = re.sub(r" +", " ", text)
    text = re.sub(r" (?=[,.;:?)])", "", text).strip()
    text = re.sub(r"(?<!\S)(an?|An?(?=\s\S))(?=\s+\[?([^\s\]]+))", _article, text)
    first = text.split(" ", 1)[0]
    if re.fullmatch(r"[\[(]?[^\W\d_A-Z]?[a-zà-ÿ'’-]+\W*", first) or re.match(
        r"\[?[\dα-ω]+-", first
    ):
        text = re.sub(r"[a-zà-ÿ]", lambda found: found[0].upper(), text, count=1)
    return text


def _cased_like(old: str, new: str) -> str:
    return new[0].upper() + new[1:] if old[0].isupper() and not old.isupper() else new


def _article(found: re.Match[str]) -> str:
    if found[1] == "A" and found.start() > 0:
        return "A"  # "hepatitis A and B"
    return found[1][0] + ("n" if _sounds_like_vowel(found[2]) else "")


def _sounds_like_vowel(word: str) -> bool:
    if word[0].isdigit():
        return re.match(r"8|1[18](?!\d)", word) is not None
    if re.match(r"[A-Z]([A-Z\d]|-|$)", word) and not word.startswith(SPOKEN_AS_WORDS):
        return word[0] in "AEFHILMNORSX"
    if re.match(r"(eu|uni[^n]|us[eu]|ur[eio]|uve|one|ub)", word, re.IGNORECASE):
        return False
    return word[0].lower() in "aeiouαεω" or word.startswith(("hour", "heir"))


def to_example(id: str, marked: str) -> dict[str, object]:
    """Turns ``a [b] c`` into a sentence and the half-open offsets of its mentions."""
    sentence, entities = "", []
    for number, part in enumerate(re.split(r"[\[\]]", marked)):
        if number % 2:
            entities.append(
                {
                    "text": part,
                    "start": len(sentence),
                    "end": len(sentence) + len(part),
                    "type": "Disease",
                }
            )
        sentence += part
    return {"id": id, "sentence": sentence, "entities": entities}


class Corpus:
    """The tables, and what must not come twice."""

    def __init__(self, seed: int) -> None:
        self.choose = Chooser(seed)
        self.words = read_sections("words.txt")
        self.frames = self._by_kind_and_stage()
        self.seen: set[str] = set()
        self.named: Counter[str] = Counter()
        diseases = self.choose.shuffled(read_diseases())
        listed = {feature for disease in diseases for feature in disease.features}
        rare = [
            disease for disease in diseases if disease.abbreviation and disease.name not in listed
        ]
        self.only = {"train": [], "dev": rare[:10], "test": rare[10:36]}
        self.shared = [disease for disease in diseases if disease not in rare[:36]]
        self.owed: dict[str, float] = {}  # documents of a sort that are due but not yet written
        self.topics: list[Disease] = []  # of the training documents, no disease twice

    def _by_kind_and_stage(self) -> dict[tuple[str, str], list[str]]:
        frames: dict[tuple[str, str], list[str]] = {}
        for heading, lines in read_sections("frames.txt").items():
            *kinds, stage = heading.split()
            for kind in kinds:
                frames.setdefault((kind, stage), []).extend(lines)
        return frames

    def split(self, name: str, size: int, first_document: int) -> list[dict[str, object]]:
        """Writes documents until the split has ``size`` sentences; the last one is cut to fit."""
        examples: list[dict[str, object]] = []
        number, self.owed = first_document, {}
        while len(examples) < size:
            document = self._document(name)
            for position, marked in enumerate(self._sentences(document, name, examples)):
                examples.append(to_example(f"{number}-{position}", marked))
            number += 1
        return examples[:size]

    def _due(self, what: str, share: float) -> bool:
        """True for that share of the calls, evenly spread, for small splits too."""
        owed = self.owed.get(what, 0.9) + share
        self.owed[what] = owed - (owed >= 1)
        return owed >= 1

    def _document(self, split: str) -> Document:
        choose = self.choose
        topic = None
        known = (
            self.shared
            if split == "train"
            else [
                disease
                for disease in self.shared
                if any(self.named[name] for name in disease.names)
            ]
        )
        others = known + self.only[split]
        if not self._due("no topic", NO_TOPIC_SHARE):
            if self._due("new topic", NEW_TOPIC_SHARE[split]):
                topic = choose.one(self.only[split])
            elif split == "train":
                again = self.topics and choose.chance(0.2)
                topic = choose.one(self.topics) if again else self.shared[len(self.topics)]
                if not again:
                    self.topics.append(topic)
            else:
                topic = choose.one(self.topics)
        sex = (topic.sex if topic else None) or choose.one(("man", "woman"))
        if topic:
            others = [
                other
                for other in others
                if other.group == topic.group and other is not topic and other.sex in (None, sex)
            ]
        kind = "none" if topic is None else "case" if choose.chance(0.12) else topic.group
        return Document(
            topic, kind, others, sex, american=choose.chance(0.5), headings=choose.chance(0.2)
        )

    def _sentences(
        self, document: Document, split: str, before: Sequence[Mapping[str, object]]
    ) -> list[str]:
        sentences: list[str] = []
        without = sum(not example["entities"] for example in before)
        for stage, fewest, most in STAGES:
            for turn in range(self.choose.between(fewest, most)):
                total = len(before) + len(sentences)
                lacking = (
                    NO_MENTION_SHARE * (total + 1)
                    - without
                    - sum("[" not in sentence for sentence in sentences)
                )
                wants_mention = document.topic is not None and (
                    stage in ("title", "opening")
                    or self.choose.chance(0.15 if lacking > 0 else 0.92)
                )
                marked = self._sentence(document, split, stage, wants_mention)
                if marked is None:
                    continue
                if document.headings and turn == 0 and stage in HEADINGS:
                    marked = f"{HEADINGS[stage]}: {marked}"
                sentences.append(marked)
                document.introduced = document.introduced or stage == "opening"
        return sentences

    def _sentence(
        self, document: Document, split: str, stage: str, wants_mention: bool
    ) -> str | None:
        """A sentence that is new to the corpus, or None where the frames give none."""
        own = self.frames.get((document.kind, stage), [])
        general = self.frames.get(("any", stage), [])
        for _ in range(200):
            frame = self.choose.one(general if general and self.choose.chance(0.2) else own or [""])
            try:
                slots = slots_of(
                    document, self.choose, self.words, self.named if split == "train" else {}
                )
                marked = expand(frame, self.choose, slots, self.words)
            except MissingSlot:
                continue
            mentions = re.findall(r"\[(.*?)\]", marked)
            if (
                not frame
                or frame in document.used
                or bool(mentions) != wants_mention
                or (frame.count("@") < 2 and len(mentions) > len(dict.fromkeys(mentions)))
            ):
                continue
            marked = polish(self._lengthened(marked, stage), document)
            if stage == "title":
                marked = self._title_case(marked)
            plain = marked.replace("[", "").replace("]", "").lower()
            if plain in self.seen or self._misleads(marked, document, split):
                continue
            self.seen.add(plain)
            self.named.update(re.findall(r"\[(.*?)\]", marked))
            document.used.append(frame)
            return marked
        return None

    def _lengthened(self, marked: str, stage: str) -> str:
        """Adds now and then what authors put before and after a finding."""
        if stage not in ("background", "results", "conclusion") or len(marked) > 140:
            return marked
        if self.choose.chance(0.2) and (start := re.match(LEADABLE, marked)):
            marked = f"{{lead}} {start[0].lower()}{marked[start.end() :]}"
        if (
            self.choose.chance(0.25)
            and marked.endswith(".")
            and "," not in marked
            and stage == "results"
        ):
            marked = f"{marked[:-1]}, {{tail}}."
        return expand(marked, self.choose, {}, self.words)

    def _title_case(self, title: str) -> str:
        style = self.choose.random()
        if style < 0.05 and title.isascii():
            return title.upper()
        if style < 0.13:
            return re.sub(r"(?<![\w'.-])[a-z][a-z-]{3,}", lambda word: word[0].capitalize(), title)
        return title

    def _misleads(self, marked: str, document: Document, split: str) -> bool:
        """Whether the topic's abbreviation is ambiguous, or another split's name is given away."""
        mentions = re.findall(r"\[(.*?)\]", marked)
        rest = re.sub(r"\[.*?\]", "", marked)
        if (
            document.topic
            and document.topic.abbreviation
            and re.search(rf"(?<!\w){re.escape(document.topic.abbreviation)}(?!\w)", rest)
        ):
            return True
        hidden = [
            disease
            for other, diseases in self.only.items()
            if other != split
            for disease in diseases
        ]
        return any(
            name.lower() == mention.lower()
            for mention in mentions
            for disease in hidden
            for name in (disease.name, *disease.synonyms)
        )


def make(seed: int = 0) -> dict[str, list[dict[str, object]]]:
    """The three splits, as lists of ``{"id", "sentence", "entities"}``."""
    corpus = Corpus(seed)
    splits, first = {}, 1001
    for name, size in SENTENCES.items():
        splits[name] = corpus.split(name, size, first)
        first = int(str(splits[name][-1]["id"]).split("-")[0]) + 1
    return splits


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "samples" / "disease_ner"
    )
    arguments = parser.parse_args()
    for name, examples in make(arguments.seed).items():
        with replacing(arguments.out / f"{name}.json") as f:
            f.write(
                "[\n"
                + ",\n".join(json.dumps(example, ensure_ascii=False) for example in examples)
                + "\n]\n"
            )
        print(f"{arguments.out / f'{name}.json'}: {len(examples)} sentences")


if __name__ == "__main__":
    main()
