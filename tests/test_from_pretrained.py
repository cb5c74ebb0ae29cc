"""Nothing runs the code of a model repository, or asks whether it may, unless the user says so."""

import ast

import pytest
from conftest import ROOT

FILES = sorted(
    path for folder in ("pipelines", "recipes") for path in (ROOT / folder).rglob("*.py")
)
# Of `peft`, which reads options, or weights into a model that is there: it has no such option.
EXEMPT = {"LoraConfig", "PeftConfig", "PeftModel"}


def calls(source):
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "from_pretrained"
        ):
            yield node


def is_explicit(call):
    receiver = ast.unparse(call.func.value)
    forwards_all = any(
        keyword.arg is None and ast.unparse(keyword.value) == "keywords"
        for keyword in call.keywords
    )
    if receiver in EXEMPT or (receiver == "super()" and forwards_all):
        return True
    return any(keyword.arg == "trust_remote_code" for keyword in call.keywords)


@pytest.mark.parametrize(
    "source", ["AutoModel.from_pretrained(name)", "AutoModel.from_pretrained(name, **options)"]
)
def test_a_call_that_leaves_it_open_is_found(source):
    assert not any(map(is_explicit, calls(source)))


def test_each_call_says_whether_remote_code_is_trusted():
    open_calls = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for path in FILES
        for call in calls(path.read_text(encoding="utf-8"))
        if not is_explicit(call)
    ]
    assert sum(1 for path in FILES for _ in calls(path.read_text(encoding="utf-8"))) > 10
    assert not open_calls, open_calls
