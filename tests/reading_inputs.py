"""Helpers of the tests of reading: inputs as tools export them, and what they are read as."""

import json
from pathlib import Path


def lines(*rows):
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n"


def task(id, text, *regions, **annotation):
    result = [
        {"type": "labels", "value": {"start": s, "end": e, "text": text[s:e], "labels": labels}}
        for s, e, labels in regions
    ]
    return {"id": id, "data": {"text": text}, "annotations": [{"result": result, **annotation}]}


def bioc(text, *mentions):
    return {
        "documents": [
            {
                "id": "d1",
                "passages": [
                    {"offset": 0, "text": "Title.", "annotations": []},
                    {
                        "offset": 7,
                        "text": text,
                        "annotations": [
                            {
                                "text": text[s:e],
                                "infons": {"type": kind},
                                "locations": [{"offset": s + 7, "length": e - s}],
                            }
                            for s, e, kind in mentions
                        ],
                    },
                ],
            }
        ]
    }


def written(folder: Path, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def answer_of(example):
    if example.spans is not None:
        return [f"{example.text[span.start : span.end]}/{span.label}" for span in example.spans]
    return example.label
