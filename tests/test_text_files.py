"""Unlabelled text of any size: what a document is, and one line for each file that cannot be read."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.corpora.text_files import expand, pieces, survey
from pipelines.errors import DataError, UserError

LINES = "a cat\nsat down\n\n\nthe flu \n \nno more\n"


@pytest.fixture
def write(tmp_path):
    def to(name, content):
        path = tmp_path / name
        content = content.encode() if isinstance(content, str) else content
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return str(path)

    return to


def read(paths, **options):
    return list(pieces(survey(paths, **options)))


def test_blank_lines_separate_documents(write):
    documents = [(0, "a cat"), (0, "sat down"), (1, "the flu"), (2, "no more")]
    assert read([write("a.txt", LINES)]) == documents
    assert read([write("a.txt.gz", LINES)]) == documents
    assert read([write("b.txt", "\n" + LINES.replace("\n", "\r\n"))]) == documents


def test_lines_are_documents_where_no_blank_line_is_or_by_name(write):
    plain = write("a.txt", "a cat\nsat down\n\n")
    assert read([plain]) == [(0, "a cat"), (1, "sat down")]
    assert read([plain], documents="blank_line") == [(0, "a cat"), (0, "sat down")]
    numbers = [number for number, _ in read([write("b.txt", LINES)], documents="line")]
    assert numbers == [0, 1, 2, 3]


def test_rows_are_documents_and_are_counted_through_all_files(write, tmp_path):
    rows = [{"text": "one"}, {"text": " "}, {"text": None}, {"text": "two\nlines"}]
    jsonl = write("a.jsonl.gz", "".join(json.dumps(row) + "\n" for row in rows))
    table = str(tmp_path / "c.parquet")
    pq.write_table(pa.table({"text": ["three", "", None, "four"], "n": [1, 2, 3, 4]}), table)
    files = survey([jsonl, write("b.txt", LINES), table])
    assert [(file.kind, file.n_documents, file.n_empty) for file in files] == [
        ("jsonl", 2, 2),
        ("lines", 3, 0),
        ("parquet", 2, 2),
    ]
    found = list(pieces(files))
    assert [number for number, _ in found] == [0, 1, 2, 2, 3, 4, 5, 6]
    assert [found[0][1], found[1][1], found[-1][1]] == ["one", "two\nlines", "four"]
    assert sum(file.n_characters for file in files) == sum(len(text) for _, text in found)
    assert "a row of jsonl a document" in files[0].described()


def test_names_and_globs_are_expanded_once(write, tmp_path):
    first, second = write("a.txt", "x"), write("b.txt", "y")
    assert expand([second, str(tmp_path / "*.txt")]) == [second, first]
    with pytest.raises(UserError, match=r"none\*\.txt, .*gone: no such file"):
        expand([first, str(tmp_path / "none*.txt"), str(tmp_path / "gone")])


def test_a_text_with_a_stray_control_character_is_a_text(write):
    path = write("reviews.txt", "jane eyre\x1as brooding hero\na second review\n")
    assert [text for _, text in pieces(survey([path]))] == [
        "jane eyre\x1as brooding hero",
        "a second review",
    ]


def test_all_faults_are_named_at_once_one_line_each(write, tmp_path):
    cut = write("cut.txt.gz", "a cat sat\n" * 1000)
    (tmp_path / "cut.txt.gz").write_bytes((tmp_path / "cut.txt.gz").read_bytes()[:-12])
    table = str(tmp_path / "c.parquet")
    pq.write_table(pa.table({"body": ["three"], "n": [1]}), table)
    (tmp_path / "half.parquet").write_bytes((tmp_path / "c.parquet").read_bytes()[:50])
    faulty = {
        write("empty.txt", " \n\n"): "empty",
        cut: "damaged or cut off gzip file",
        write("binary.txt", b"\x7fELF\0\0\1"): "a binary file",
        write("binary.txt.gz", "text\n\0\1\2\n"): "a binary file",
        write("latin.txt", "ma\xf1ana".encode("latin-1")): "not UTF-8",
        write(
            "rows.jsonl", '{"text": "a"}\n{"body": "b"}\n3\n{"text": 4}\n{"te'
        ): "line 2: no 'text'",
        write("rows.txt", '{"text": "a"}\n'): "rename it to .jsonl",
        write("table.csv", "text\na\n"): "got a .csv file",
        table: "no column 'text'; it has body, n",
        str(tmp_path / "half.parquet"): "not a whole Parquet file",
    }
    with pytest.raises(DataError) as error:
        survey(list(faulty))
    lines = str(error.value).splitlines()
    assert len(lines) == len(faulty)
    for (path, reason), line in zip(faulty.items(), lines, strict=True):
        assert line.startswith(f"{path}: ")
        assert reason in line
    with pytest.raises(DataError, match="holds int64; wanted strings"):
        survey([table], column="n")
    assert survey([table], column="body")[0].n_documents == 1
