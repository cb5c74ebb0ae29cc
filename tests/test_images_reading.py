"""Pictures from folders, archives and tables; all that is wrong with them in one list."""

import json
import zipfile

import pytest
from pictures import CLASSES, folder_of, picture, zipped
from PIL import Image

from pipelines.checks.audit import audit
from pipelines.corpora import Columns, read_corpora, read_corpus, read_examples
from pipelines.corpora.class_splits import oddities, read_class_splits, write_cut
from pipelines.corpora.convert import convert, gold_content
from pipelines.corpora.images.reading import log_shared, refuse_texts, split_folders
from pipelines.corpora.images.sources import holds_pictures
from pipelines.corpora.source import Source
from pipelines.corpora.splits import split_examples
from pipelines.corpora.stream import stream_examples
from pipelines.errors import DataError, UserError

SIZES = "train=0.6,dev=0.2,test=0.2"


def labels_of(examples):
    return {example.id: example.label for example in examples}


def table_of(folder, lines, name="t.csv"):
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_class_of_a_picture_is_its_folder(tmp_path):
    folder = folder_of(tmp_path / "p", 2)
    examples = read_examples(folder, answer="label")
    assert labels_of(examples) == {
        "dark/0.png": "dark",
        "dark/1.png": "dark",
        "light/0.png": "light",
        "light/1.png": "light",
    }
    assert examples[0].text == ""
    assert examples[0].features == str(folder / "dark" / "0.png")


def test_pictures_beside_each_other_have_no_class(tmp_path):
    picture("dark", 0).save(tmp_path / "a.png")
    [example] = read_examples(tmp_path, answer="label", labelled=False)
    assert (example.id, example.label) == ("a.png", None)


def test_an_archive_is_read_as_the_folder_is(tmp_path):
    folder = folder_of(tmp_path / "p", 3)
    archive = zipped(folder, tmp_path / "p.zip")
    assert labels_of(read_examples(archive, answer="label")) == labels_of(
        read_examples(folder, answer="label")
    )
    streamed = list(stream_examples(str(archive), columns=Columns()))
    assert [example.id for example in streamed] == sorted(labels_of(streamed))
    assert all(example.label is None for example in streamed)


@pytest.mark.parametrize("separator", [",", "\t"])
def test_a_table_names_pictures_and_classes(tmp_path, separator):
    folder_of(tmp_path / "p", 1)
    rows = [("file", "kind"), ("p/dark/0.png", "dark"), ("p/light/0.png", "light")]
    lines = [separator.join(row) for row in rows]
    examples = read_examples(table_of(tmp_path, lines), answer="label")
    assert labels_of(examples) == {"p/dark/0.png": "dark", "p/light/0.png": "light"}


def test_json_lines_with_ids_and_groups(tmp_path):
    folder_of(tmp_path / "p", 2)
    rows = [
        {"id": f"{label}{n}", "image": f"p/{label}/{n}.png", "label": label, "group": f"g{n}"}
        for label in CLASSES
        for n in range(2)
    ]
    table = table_of(tmp_path, map(json.dumps, rows), "t.jsonl")
    examples = read_examples(table, answer="label")
    assert [example.id for example in examples] == ["dark0", "dark1", "light0", "light1"]
    assert {example.group for example in examples} == {"g0", "g1"}


def test_uncertain_columns_are_refused_and_an_option_decides(tmp_path):
    folder_of(tmp_path / "p", 1)
    lines = ["a,b,c", "p/dark/0.png,p/light/0.png,x", "p/light/0.png,p/dark/0.png,y"]
    table = table_of(tmp_path, lines)
    with pytest.raises(UserError, match=r"a and b all name pictures; say by --text_column"):
        read_examples(table, answer="label")
    columns = Columns(text_column="b", label_column="c")
    examples = read_examples(table, answer="label", columns=columns)
    assert labels_of(examples) == {"p/light/0.png": "x", "p/dark/0.png": "y"}
    with pytest.raises(UserError, match=r"--label_column d; it has a, b, c"):
        read_examples(table, answer="label", columns=Columns(text_column="b", label_column="d"))


def test_texts_are_no_pictures(tmp_path):
    table = table_of(tmp_path, ["text,label", "see a.png,x", "a plain text,y", "and this,x"])
    assert not holds_pictures(Source(table))
    examples = read_examples(table, answer="label")
    assert [example.features for example in examples] == [None] * 3
    with pytest.raises(DataError, match="holds texts; wanted a folder or zip archive of pictures"):
        refuse_texts("t.csv", examples)
    (tmp_path / "texts" / "x").mkdir(parents=True)
    (tmp_path / "texts" / "x" / "a.txt").write_text("a text")
    picture("dark", 0).save(tmp_path / "texts" / "x" / "a.png")
    assert not holds_pictures(Source(tmp_path / "texts"))
    assert holds_pictures(Source(tmp_path / "texts"), Columns(layout="images"))


def test_options_for_texts_are_refused(tmp_path):
    folder = folder_of(tmp_path / "p", 1)
    with pytest.raises(UserError, match="--pair_column, --strict_tags has no meaning for pictures"):
        read_corpus(folder, columns=Columns(pair_column="x", strict_tags=True))
    with pytest.raises(UserError, match="spans needs texts"):
        read_corpus(folder, answer="spans")


def test_all_faults_are_in_one_list(tmp_path):
    folder = folder_of(tmp_path / "p", 2)
    (folder / "dark" / "1.png").write_bytes(b"no picture")
    content = (folder / "light" / "1.png").read_bytes()
    (folder / "light" / "1.png").write_bytes(content[: len(content) // 2])
    (folder / "light" / "notes.txt").write_text("a text in the folder of a class")
    (folder / "empty").mkdir()
    corpus = read_corpus(folder, answer="label", columns=Columns(layout="images"))
    assert [(fault.id, fault.kind) for fault in corpus.faults] == [
        ("empty", "missing_value"),
        ("dark/1.png", "unreadable_row"),
        ("light/1.png", "unreadable_row"),
        ("light/notes.txt", "unreadable_row"),
    ]
    with pytest.raises(DataError, match="4 faults") as error:
        read_examples(folder, answer="label", columns=Columns(layout="images"))
    for part in ("empty folder", "dark/1.png", "damaged or cut off", "no picture by its name"):
        assert part in str(error.value)
    columns = Columns(layout="images", skip_bad_rows=True)
    assert list(labels_of(read_examples(folder, answer="label", columns=columns))) == [
        "dark/0.png",
        "light/0.png",
    ]


def test_rows_of_a_table_that_name_nothing_are_faults(tmp_path):
    folder_of(tmp_path / "p", 1)
    lines = ["id,image,label", "1,p/dark/0.png,x", "2,,y", "1,p/light/0.png,y", "3,gone.png,y"]
    corpus = read_corpus(table_of(tmp_path, lines), answer="label")
    found = [(fault.row, fault.kind) for fault in corpus.faults]
    assert found == [
        (0, "duplicate_id"),
        (1, "unreadable_row"),
        (2, "duplicate_id"),
        (3, "unreadable_row"),
    ]
    assert "gone.png: no such file" in str(corpus.faults[-1])


def test_an_archive_leads_nowhere_else(tmp_path):
    archive = tmp_path / "a.zip"
    picture("dark", 0).save(tmp_path / "secret.png")
    content = (tmp_path / "secret.png").read_bytes()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as f:
        for name in ("dark/0.png", "../secret.png", "/secret.png", "dark/../../secret.png"):
            f.writestr(name, content)
        f.writestr("dark/zeros.png", b"\0" * 2**22)
    corpus = read_corpus(archive, answer="label")
    assert [example.id for example in corpus.examples] == ["dark/0.png"]
    assert sum("leads out of the archive" in fault.message for fault in corpus.faults) == 3
    assert sum("200 times smaller" in fault.message for fault in corpus.faults) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "secret.png"]
    with pytest.raises(UserError, match="--max_unzipped"):
        read_corpus(archive, columns=Columns(max_unzipped=3))


def test_a_damaged_archive_is_named(tmp_path):
    archive = zipped(folder_of(tmp_path / "p", 2), tmp_path / "p.zip")
    content = bytearray(archive.read_bytes())
    start = content.index(b"IDAT") + 8
    content[start : start + 4] = b"\0\0\0\0"
    archive.write_bytes(content)
    [fault] = read_corpus(archive, answer="label").faults
    assert "damaged or cut off" in fault.message


def test_folders_of_splits(tmp_path):
    for name, first in (("train", 0), ("val", 4), ("test", 6)):
        folder_of(tmp_path / "p" / name, 2, first=first)
    found = split_folders(str(tmp_path / "p"))
    assert found == {
        split: str(tmp_path / "p" / name)
        for split, name in (("train", "train"), ("dev", "val"), ("test", "test"))
    }
    archive = zipped(tmp_path / "p", tmp_path / "p.zip")
    inside = split_folders(str(archive))
    assert inside["dev"] == f"{archive}/val"
    assert labels_of(read_examples(inside["dev"], answer="label")) == labels_of(
        read_examples(found["dev"], answer="label")
    )
    assert set(labels_of(read_examples(tmp_path / "p", answer="label")).values()) == set(CLASSES)
    assert split_folders(found["train"]) == split_folders(inside["train"]) == {}
    (tmp_path / "p" / "dev").mkdir()
    with pytest.raises(UserError, match="dev and val are both for dev"):
        split_folders(str(tmp_path / "p"))


def test_near_duplicates_stay_in_one_split_and_are_named(tmp_path):
    folder = folder_of(tmp_path / "p", 12, side=96)
    for number in range(4):  # of dark/0, in other sizes
        copy = picture("dark", 0, side=96).resize((60 + 20 * number, 70))
        copy.save(folder / "dark" / f"copy{number}.jpg")
    picture("light", 3, side=96).save(folder / "dark" / "wrong.png")
    corpus = read_corpus(folder, answer="label")
    notes = " ".join(corpus.notes)
    assert "5 near duplicates, kept in one split: dark/0.png = dark/copy0.jpg" in notes
    assert "of different classes: dark/wrong.png (dark) = light/3.png (light)" in notes
    for seed in range(5):
        parts = split_examples(corpus.examples, {"train": 0.6, "test": 0.4}, seed=seed)
        for copies in (["dark/0.png", "dark/copy0.jpg", "dark/copy3.jpg"], ["light/3.png"]):
            at_once = [set(copies) <= set(labels_of(part)) for part in parts.values()]
            assert sum(at_once) == 1


def test_a_cut_is_stratified_and_read_back_from_where_it_is_written(tmp_path):
    files = {"train": str(folder_of(tmp_path / "p", 20))}
    cut = read_class_splits(files, columns=Columns(), sizes=SIZES, seed=1)
    assert cut.labels == CLASSES
    for split, count in (("train", 12), ("dev", 4), ("test", 4)):
        labels = list(labels_of(cut.usable(split)).values())
        assert [labels.count(label) for label in CLASSES] == [count, count]
    again = read_class_splits(files, columns=Columns(), sizes=SIZES, seed=1)
    assert again.splits == cut.splits
    for path in write_cut(cut, files, tmp_path / "run"):
        assert str(tmp_path) not in path.read_text()
        read = read_examples(path, answer="label")
        assert labels_of(read) == labels_of(cut.splits[path.stem])


@pytest.mark.parametrize("kept", [("dark",), ()])
def test_one_class_or_none_is_refused(tmp_path, kept):
    folder = folder_of(tmp_path / "p", 3)
    for label in CLASSES:
        if label not in kept:
            for path in (folder / label).iterdir():
                path.rename(folder / f"{label}{path.name}") if not kept else path.unlink()
            (folder / label).rmdir()
    with pytest.raises(DataError, match=r"one class|without a class"):
        read_class_splits({"train": str(folder)}, columns=Columns(), sizes=SIZES, seed=0)


def test_pictures_of_train_in_test_are_logged(tmp_path, caplog):
    folders = {"train": folder_of(tmp_path / "a", 3), "test": folder_of(tmp_path / "b", 3, first=2)}
    with caplog.at_level("WARNING", logger="pipelines"):
        log_shared(read_corpora(folders, answer="label"))
    assert "test: 2 pictures of it nearly in train too" in caplog.text


def test_odd_pictures_are_read_and_counted(tmp_path):
    folder = folder_of(tmp_path / "p", 2)
    picture("dark", 8).convert("L").save(folder / "dark" / "grey.png")
    Image.new("RGBA", (9, 9), (1, 2, 3, 0)).save(folder / "light" / "clear.png")
    corpus = read_corpus(folder, answer="label")
    assert not corpus.faults
    assert f"{folder}: 1 grey: dark/grey.png" in corpus.notes
    assert f"{folder}: 1 transparent: laid on white: light/clear.png" in corpus.notes


def test_pictures_have_no_text_in_common(tmp_path):
    files = {name: str(folder_of(tmp_path / name, 3)) for name in ("train", "dev")}
    read = read_class_splits(files, columns=Columns(), sizes=SIZES, seed=0)
    assert not [line for line in oddities(read) if "word for word" in line]
    [split] = audit([read_corpus(files["train"], answer="label")]).splits
    assert (split.repeated, split.contradicting) == (0, 0)


def test_pictures_are_converted_to_json_lines_alone(tmp_path):
    examples = read_examples(folder_of(tmp_path / "p", 2), answer="label")
    content = gold_content(examples)
    convert(content, tmp_path / "out" / "a.jsonl")
    assert labels_of(read_examples(tmp_path / "out" / "a.jsonl", answer="label")) == labels_of(
        examples
    )
    assert "../p/dark/0.png" in (tmp_path / "out" / "a.jsonl").read_text()
    with pytest.raises(UserError, match="csv cannot represent pictures"):
        convert(content, tmp_path / "a.csv")
