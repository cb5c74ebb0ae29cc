"""Two sentences with two mentions, in every layout that a corpus may come in."""

import json

A = "Germline BRCA1 mutations cause breast cancer , not colon cancer ."
B = "No mention here ."
A_MENTIONS = [("breast cancer", 31, 44), ("colon cancer", 51, 63)]
A_TOKENS, B_TOKENS = A.split(), B.split()
A_TAGS = ["O", "O", "O", "O", "B-Disease", "I-Disease", "O", "O", "B-Disease", "I-Disease", "O"]
B_TAGS = ["O"] * 4
NUMBERS = {"O": 0, "B-Disease": 1, "I-Disease": 2}
A_NUMBERS, B_NUMBERS = [NUMBERS[tag] for tag in A_TAGS], [NUMBERS[tag] for tag in B_TAGS]
NAMES = ["O", "B-Disease", "I-Disease"]


def mentions(make):
    return [make(*mention) for mention in A_MENTIONS]


def rows(name, a, b=()):
    """Two rows, text and one more column."""
    return [{"id": "a", "text": A, name: a}, {"id": "b", "text": B, name: b}]


def token_rows(name, a, b=(), tokens="tokens"):
    return [{"id": "a", tokens: A_TOKENS, name: a}, {"id": "b", tokens: B_TOKENS, name: b}]


def lines(values):
    return "\n".join(map(json.dumps, values))


def conll(separator, *, middle=()):
    return (
        "\n\n".join(
            "\n".join(
                separator.join([token, *middle, tag])
                for token, tag in zip(tokens, tags, strict=True)
            )
            for tokens, tags in ((A_TOKENS, A_TAGS), (B_TOKENS, B_TAGS))
        )
        + "\n"
    )


OBJECTS = mentions(
    lambda text, start, end: {"text": text, "start": start, "end": end, "type": "Disease"}
)
RANGES = [(4, 6), (8, 10)]
LAYOUTS = {
    "list of objects": rows("entities", OBJECTS),
    "inclusive ends": rows(
        "entities", mentions(lambda t, s, e: {"text": t, "start": s, "end": e - 1})
    ),
    "inclusive ends without texts": rows(
        "entities", mentions(lambda t, s, e: {"start": s, "end": e - 1})
    ),
    "offsets only": rows(
        "spans", mentions(lambda t, s, e: {"start": s, "end": e, "label": "Disease"})
    ),
    "start and length": rows(
        "annotations", mentions(lambda t, s, e: {"offset": s, "length": e - s, "text": t})
    ),
    "start and text": rows("annotations", mentions(lambda t, s, e: {"begin": s, "mention": t})),
    "offsets as strings": rows(
        "entities", mentions(lambda t, s, e: {"start": str(s), "end": str(e), "name": t})
    ),
    "transformers pipeline": rows(
        "entities",
        mentions(
            lambda t, s, e: {
                "entity_group": "Disease",
                "score": 0.9,
                "word": t,
                "start": s,
                "end": e,
            }
        ),
    ),
    "camel case": rows(
        "Entities",
        mentions(lambda t, s, e: {"startOffset": s, "endOffset": e, "entityType": "Disease"}),
    ),
    "nested offsets": rows(
        "entities",
        mentions(lambda t, s, e: {"id": "T1", "type": "Disease", "text": [t], "offsets": [[s, e]]}),
    ),
    "BioC locations": rows(
        "annotations",
        mentions(lambda t, s, e: {"text": t, "locations": [{"offset": s, "length": e - s}]}),
    ),
    "spaCy triples": rows("entities", mentions(lambda t, s, e: [s, e, "Disease"])),
    "spaCy pairs": [
        [A, {"entities": mentions(lambda t, s, e: [s, e, "Disease"])}],
        [B, {"entities": []}],
    ],
    "doccano": rows("label", mentions(lambda t, s, e: [s, e, "Disease"])),
    "doccano relations": rows(
        "entities",
        mentions(lambda t, s, e: {"id": 7, "label": "Disease", "start_offset": s, "end_offset": e}),
    ),
    "pairs of offsets": rows("spans", mentions(lambda t, s, e: [s, e])),
    "pairs of strings": rows("ner", mentions(lambda t, s, e: [t, "Disease"])),
    "Label Studio": [
        {
            "id": "a",
            "data": {"text": A},
            "annotations": [
                {
                    "result": mentions(
                        lambda t, s, e: {
                            "type": "labels",
                            "value": {"start": s, "end": e, "text": t, "labels": ["Disease"]},
                        }
                    )
                }
            ],
        },
        {"id": "b", "data": {"text": B}, "annotations": [{"result": []}]},
    ],
    "Prodigy": rows(
        "spans",
        [
            {"start": s, "end": e, "label": "Disease", "token_start": i, "token_end": j - 1}
            for (_, s, e), (i, j) in zip(A_MENTIONS, RANGES, strict=True)
        ],
    ),
    "strings": rows("diseases", [text for text, _, _ in A_MENTIONS]),
    "strings by type": rows("labels", {"Disease": [text for text, _, _ in A_MENTIONS]}, {}),
    "objects with texts": rows(
        "mentions", mentions(lambda t, s, e: {"mention": t, "type": "Disease"})
    ),
    "a string with separators": rows(
        "disease", "; ".join(text for text, _, _ in A_MENTIONS), "none"
    ),
    "a list in a string": rows("entities", "['breast cancer', 'colon cancer']", "[]"),
    "parallel lists": rows(
        "entities",
        {"start": [31, 51], "end": [44, 63], "type": ["Disease"] * 2},
        {"start": [], "end": [], "type": []},
    ),
    "token ranges with texts": token_rows(
        "entities",
        [
            {"text": t, "start": i, "end": j}
            for (t, _, _), (i, j) in zip(A_MENTIONS, RANGES, strict=True)
        ],
    ),
    "inclusive token ranges": token_rows(
        "entities",
        [
            {"text": t, "start": i, "end": j - 1}
            for (t, _, _), (i, j) in zip(A_MENTIONS, RANGES, strict=True)
        ],
    ),
    "token ranges": token_rows("spans", [[*pair, "Disease"] for pair in RANGES]),
    "token ranges in a text": rows(
        "spans", [{"start_token": i, "end_token": j} for i, j in RANGES]
    ),
    "token ranges beside a text": [
        row | {"text": text}
        for row, text in zip(
            token_rows("spans", [[*pair, "Disease"] for pair in RANGES]), (A, B), strict=True
        )
    ],
    "character offsets beside tokens": [
        row | {"text": text}
        for row, text in zip(
            token_rows("spans", mentions(lambda t, s, e: [s, e])), (A, B), strict=True
        )
    ],
    "lists of token numbers": token_rows(
        "ner", [{"index": [i, j - 1], "type": "Disease"} for i, j in RANGES]
    ),
    "character offsets in tokens": token_rows("entities", OBJECTS),
    "strings in tokens": token_rows("entities", [text for text, _, _ in A_MENTIONS], tokens="text"),
    "tags": token_rows("ner_tags", A_TAGS, B_TAGS),
    "tags of a text": rows("NER", A_TAGS, B_TAGS),
    "tags in one string": rows("tags", " ".join(A_TAGS), " ".join(B_TAGS)),
    "tags without types": token_rows(
        "labels", [tag[0] for tag in A_TAGS], [tag[0] for tag in B_TAGS]
    ),
    "bare types": token_rows("labels", [tag.split("-")[-1] for tag in A_TAGS], B_TAGS),
    "text and tokens": [
        row | {"text": text}
        for row, text in zip(token_rows("ner", A_TAGS, B_TAGS), (A, B), strict=True)
    ],
    "JSON lines": lines(rows("entities", OBJECTS)),
    "JSON lines with blank lines": "\n"
    + lines(rows("entities", OBJECTS)).replace("\n", "\n\n\n")
    + "\n\n",
    "object of columns": {"id": ["a", "b"], "text": [A, B], "entities": [OBJECTS, []]},
    "object of columns of tokens": {
        "text": [A_TOKENS, B_TOKENS],
        "NER": [A_TAGS, B_TAGS],
        "index": [[0, 1], [2, 3]],
    },
    "pandas columns": {"text": {"0": A, "1": B}, "entities": {"0": OBJECTS, "1": []}},
    "object with one list": {"version": "1.0", "data": rows("entities", OBJECTS)},
    "object in an object": {"corpus": {"name": "x", "documents": rows("entities", OBJECTS)}},
    "objects by id": {"a": {"text": A, "entities": OBJECTS}, "b": {"text": B, "entities": []}},
    "numeric tags with names": {
        "names": NAMES,
        "data": token_rows("ner_tags", A_NUMBERS, B_NUMBERS),
    },
    "numeric tags with id2label": {
        "id2label": dict(enumerate(NAMES)),
        "data": token_rows("tags", A_NUMBERS, B_NUMBERS),
    },
    "numeric tags with label2id": {
        "label2id": NUMBERS,
        "rows": token_rows("tags", A_NUMBERS, B_NUMBERS),
    },
    "numeric tags as pandas writes them": {
        "names": NAMES,
        "data": token_rows(
            "tags", [float(number) for number in A_NUMBERS], [float(number) for number in B_NUMBERS]
        ),
    },
    "numeric tags in strings": {
        "names": NAMES,
        "data": token_rows(
            "tags", [str(number) for number in A_NUMBERS], [str(number) for number in B_NUMBERS]
        ),
    },
    "numeric tags with features": {
        "features": {"ner_tags": {"names": NAMES}},
        "tokens": [A_TOKENS, B_TOKENS],
        "ner_tags": [A_NUMBERS, B_NUMBERS],
    },
    "CoNLL with tabs": conll("\t"),
    "CoNLL with blanks": conll(" "),
    "CoNLL with blanks and a stray tab": conll(" ").replace("cancer ", "cancer\t", 1),
    "CoNLL with line ends of old Macs": conll(" ").replace("\n", "\r"),
    "CoNLL-2003": "-DOCSTART- -X- -X- O\n\n" + conll(" ", middle=["NN", "I-NP"]),
    "CoNLL with comments": "# source = made up\n" + conll("\t"),
    "PubTator": f"a|t|{A}\na|a|No abstract.\n"
    + "".join(f"a\t{s}\t{e}\t{t}\tDisease\tD001\n" for t, s, e in A_MENTIONS)
    + "a\tCID\tD001\tD002\n"
    + f"\nb|t|{B}\nb|a|\n",
}


def written(folder, content, name="corpus.json"):
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path
