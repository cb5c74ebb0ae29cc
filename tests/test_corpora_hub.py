"""Data sets in the form that `datasets` keeps them in, without a network."""

import datasets
import pytest

from pipelines.corpora import Columns, read_corpus, read_examples
from pipelines.corpora.hub import dataset_of, examples_of
from pipelines.errors import DataError, UserError
from pipelines.examples import Example, Span

TOKENS = [["Ataxia", "and", "breast", "cancer"], ["No", "mention"]]
TAGS = datasets.ClassLabel(names=["O", "B-Disease", "I-Disease"])
GOLD = [
    Example(
        "a",
        "Ataxia and breast cancer",
        (Span(0, 6, "Disease"), Span(11, 24, "Disease")),
        tokens=((0, 6), (7, 10), (11, 17), (18, 24)),
    ),
    Example("b", "No mention", (), tokens=((0, 2), (3, 10))),
]


@pytest.fixture
def dataset():
    features = datasets.Features(
        {
            "id": datasets.Value("string"),
            "tokens": datasets.List(datasets.Value("string")),
            "pos_tags": datasets.List(datasets.ClassLabel(names=["NN", "CC"])),
            "ner_tags": datasets.List(TAGS),
        }
    )
    columns = {
        "id": ["a", "b"],
        "tokens": TOKENS,
        "pos_tags": [[0, 1, 0, 0], [0, 0]],
        "ner_tags": [[1, 0, 1, 2], [0, 0]],
    }
    return datasets.Dataset.from_dict(columns, features=features)


def test_names_of_class_labels_are_the_tags(dataset, tmp_path):
    dataset.save_to_disk(tmp_path / "saved")
    assert read_examples(tmp_path / "saved") == GOLD


def test_a_split_has_to_be_named_where_there_are_several(dataset, tmp_path):
    datasets.DatasetDict(train=dataset, test=dataset.select([1])).save_to_disk(tmp_path / "saved")
    assert read_examples(f"{tmp_path / 'saved'}:test") == GOLD[1:]
    with pytest.raises(
        UserError, match=r"wanted one of its splits train, test; name it, as in .*saved:train"
    ):
        read_corpus(tmp_path / "saved")
    with pytest.raises(UserError, match="wanted one of its splits train, test"):
        read_corpus(f"{tmp_path / 'saved'}:dev")


def test_a_tag_outside_the_names_is_a_fault(tmp_path):
    columns = {"tokens": [["a"], ["b"]], "tags": [[0], [-1]]}
    features = datasets.Features(
        {"tokens": datasets.List(datasets.Value("string")), "tags": datasets.List(TAGS)}
    )
    datasets.Dataset.from_dict(columns, features=features).save_to_disk(tmp_path / "saved")
    corpus = read_corpus(tmp_path / "saved")
    assert [(fault.row, fault.kind) for fault in corpus.faults] == [(1, "wrong_type")]


def test_columns_are_found_and_named_as_in_files(tmp_path):
    entities = [[{"start": 2, "end": 8, "type": "Disease"}]]
    records = datasets.Dataset.from_dict({"Satz": ["A cancer."], "entities": entities})
    records.save_to_disk(tmp_path / "saved")
    wanted = (Span(2, 8, "Disease"),)
    assert read_examples(tmp_path / "saved")[0].spans == wanted
    assert read_examples(tmp_path / "saved", columns=Columns(text_column="Satz"))[0].spans == wanted


def test_a_name_that_the_hub_cannot_give_says_so(monkeypatch, caplog):
    def unreachable(*arguments, **keywords):
        assert "owner/name: no such file" in caplog.text  # before the Hub takes its time
        raise ConnectionError("Couldn't reach 'owner/name' on the Hub (offline)")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(
        UserError,
        match=r"owner/name: neither a file nor a data set .*Couldn't reach.*check the name",
    ):
        read_corpus("owner/name")
    with pytest.raises(UserError, match="no such file"):
        read_corpus("folder/name.csv")


def test_a_hub_name_gives_configuration_and_split(dataset, monkeypatch):
    asked = []

    def loaded(*arguments):
        asked.append(arguments)
        return datasets.DatasetDict(train=dataset, test=dataset.select([1]))

    monkeypatch.setattr(datasets, "load_dataset", loaded)
    assert read_examples("owner/name:test") == GOLD[1:]
    assert read_examples("owner/name:large:train") == GOLD
    assert asked == [("owner/name", None), ("owner/name", "large")]


MENTIONS = [
    Example("a", "Ataxia and flu", (Span(0, 6, "Disease"), Span(11, 14, "Other"))),
    Example("b", "No mention", ()),
    Example("c", "Größe 𝒳 flu", (Span(8, 11, "Disease"),)),
]
CLASSES = [Example("a", "good film", label="pos"), Example("b", "bad film", label="neg")]
SEVERAL = [
    Example("a", "good film", label=("fun", "long")),
    Example("b", "bad film", label=()),
    Example("c", "so-so film", label=("long",)),
]
PAIRS = [
    Example("a", "It rains.", label="yes", pair="It is wet."),
    Example("b", "It snows.", label="no", pair="It is hot."),
]
NUMBERS = [Example("a", "good film", label=4.5), Example("b", "bad film", label=1.25)]


@pytest.mark.parametrize("examples", [MENTIONS, CLASSES, SEVERAL, PAIRS, NUMBERS])
def test_examples_go_into_a_data_set_and_come_back(examples):
    made = dataset_of(examples)
    assert len(made) == len(examples)
    assert examples_of(made) == examples


def test_unlabelled_examples_come_back_without_an_answer():
    texts = [Example("a", "A flu."), Example("b", "No.")]
    made = dataset_of(texts)
    assert made.column_names == ["id", "text"]
    assert examples_of(made, labelled=False) == texts


def test_a_data_set_in_memory_is_read_as_a_saved_one(dataset, tmp_path):
    dataset.save_to_disk(tmp_path / "saved")
    assert examples_of(dataset) == read_examples(tmp_path / "saved") == GOLD


def test_what_a_data_set_cannot_be_made_of_or_read_from_is_refused(dataset):
    both = [Example("a", "flu", (), label="x"), Example("b", "flu", label="y")]
    with pytest.raises(UserError, match="say which by answer="):
        dataset_of(both)
    assert dataset_of(both, answer="label").column_names == ["id", "text", "label"]
    with pytest.raises(UserError, match="wanted texts"):
        dataset_of([Example("a", "", features="a.png", label="x")])
    with pytest.raises(UserError, match=r"wanted one of them, such as dataset\['train'\]"):
        examples_of(datasets.DatasetDict(train=dataset))
    columns = {"text": ["flu"], "spans": [[{"start": 0, "end": 9, "label": "X"}]]}
    outside = datasets.Dataset.from_dict(columns)
    with pytest.raises(DataError, match="data set, row 0"):
        examples_of(outside)
