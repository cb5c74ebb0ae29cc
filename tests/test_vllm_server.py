"""`pipelines predict --engine vllm`: a server with vLLM's completions endpoint, on a tiny Llama that knows its answers."""

import json
import threading
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from bulk_inputs import files, write
from conftest import ANSWERED

from pipelines.cli import main
from pipelines.families import causal_lm
from pipelines.families.causal_lm import vllm_server
from pipelines.families.causal_lm.generation import generate

# Of vLLM 0.33's CompletionRequest, those that are sent; another name would be ignored there.
FIELDS = {
    *("model", "prompt", "max_tokens", "stop_token_ids", "logprobs", "return_token_ids"),
    *("temperature", "repetition_penalty", "frequency_penalty", "presence_penalty"),
    "structured_outputs",
}


class Served(ThreadingHTTPServer):
    """Answers as vLLM does, by our own generation; `faults` are statuses that come first."""

    daemon_threads = True

    def __init__(self, loaded, folder):
        super().__init__(("127.0.0.1", 0), Handler)
        self.loaded, self.lock = loaded, threading.Lock()
        self.models = [{"id": "tiny", "root": str(folder), "max_model_len": 400}]
        self.requests, self.headers, self.faults, self.refused = [], [], [], ""
        self.url = f"http://127.0.0.1:{self.server_port}"

    def completion(self, request):
        assert set(request) <= FIELDS, set(request) - FIELDS
        rules = request.get("structured_outputs", {}).get("grammar")
        model, tokenizer, *_ = self.loaded
        with self.lock:
            [answer] = generate(
                model,
                tokenizer,
                [request["prompt"]],
                limits=[request["max_tokens"]],
                grammars=[None if rules is None else lambda text: None if text else rules],
            )
        ids = answer.ids + request["stop_token_ids"] * answer.ended
        return {
            "choices": [
                {
                    "token_ids": ids,
                    "logprobs": {"token_logprobs": answer.log_probabilities},
                    "finish_reason": "stop" if answer.ended else "length",
                }
            ]
        }


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.reply(200, {"data": self.server.models})

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(request)
        self.server.headers.append(self.headers["Authorization"])
        text = self.server.loaded.tokenizer.decode(request["prompt"])
        if self.server.refused and self.server.refused in text:
            self.reply(400, {"error": {"message": "This prompt\nis too long."}})
        elif self.server.faults:
            self.reply(self.server.faults.pop(), {"error": {"message": "try again"}})
        else:
            self.reply(200, self.server.completion(request))

    def reply(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Says nothing."""


@contextmanager
def serving(loaded, folder):
    server = Served(loaded, folder)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def saved(answering, folder, **change):
    causal_lm.save(
        folder / "model",
        model=answering.model,
        tokenizer=answering.tokenizer,
        prompt=replace(answering.prompt, **change),
        base_model="tiny",
    )
    (folder / "config.yaml").write_text("{}")
    return folder


@pytest.fixture(scope="module")
def run(answering, tmp_path_factory):
    return saved(answering, tmp_path_factory.mktemp("served") / "run")


@pytest.fixture
def server(answering, run, monkeypatch):
    monkeypatch.setattr(vllm_server, "WAITS", (0, 0))
    with serving(answering, run / "model") as server:
        yield server


@pytest.fixture
def shards(tmp_path):
    texts = list(ANSWERED)
    for name, part in {"a": texts[:3], "b": texts[3:]}.items():
        rows = [{"id": f"{name}{number}", "text": text} for number, text in enumerate(part)]
        write(tmp_path / "in" / f"{name}.jsonl", rows)
    return str(tmp_path / "in" / "*.jsonl")


def predict(run, shards, out, *more):
    words = ["predict", "--run", run, "--input", shards, "--output", out, *more]
    try:
        return main(list(map(str, words)))
    except SystemExit as stop:
        return stop.code


def spans(folder):
    found = {}
    for path in folder.glob("*.jsonl"):
        for row in map(json.loads, path.open()):
            found[row["id"]] = row["spans"]
    return found


def test_the_answers_are_those_of_the_network_in_this_process(run, server, shards, tmp_path):
    assert predict(run, shards, tmp_path / "local") == 0
    vllm = ("--engine", "vllm", "--server", server.url)
    assert predict(run, shards, tmp_path / "vllm", *vllm, "--workers", 3) == 0
    mine, theirs = spans(tmp_path / "local"), spans(tmp_path / "vllm")
    assert sum(map(len, mine.values())) == 5
    assert mine.keys() == theirs.keys()
    for id, found in mine.items():
        for left, right in zip(found, theirs[id], strict=True):
            # The grammar of a whole answer leaves more choices.
            assert right.pop("score") == pytest.approx(left.pop("score"), abs=0.05)
            assert left == right
    assert len(server.requests) == len(ANSWERED)
    assert all(request["structured_outputs"]["grammar"] for request in server.requests)
    assert {request["temperature"] for request in server.requests} == {0}
    # No answer of this process is mixed with those.
    assert predict(run, shards, tmp_path / "vllm", "--resume") == 2


def test_an_answer_is_what_generation_in_this_process_gives(answering, run, server):
    texts = [*ANSWERED, *ANSWERED]
    prompts = [causal_lm.prompt_ids(answering.tokenizer, text, answering.prompt) for text in texts]
    limits = [100] * len(ANSWERED) + [3] * len(ANSWERED)  # those of three tokens are cut off
    served = causal_lm.connect(run / "model", server.url).model
    counted = []
    theirs = served.answers(
        prompts, limits=limits, grammars=[None] * len(prompts), advance=counted.append
    )
    mine = generate(answering.model, answering.tokenizer, prompts, limits=limits)
    assert [answer.ended for answer in mine] == [True] * len(ANSWERED) + [False] * len(ANSWERED)
    for own, [other] in zip(mine, theirs, strict=True):
        assert (other.ids, other.ended) == (own.ids, own.ended)
        assert other.log_probabilities == pytest.approx(own.log_probabilities, abs=1e-4)
    assert sum(counted) == len(prompts)


def test_a_request_that_is_refused_is_a_row_set_aside(run, server, shards, tmp_path, monkeypatch):
    monkeypatch.setenv("VLLM_API_KEY", "k" * 20)
    server.refused = "BRCA1"
    out = tmp_path / "out"
    assert predict(run, shards, out, "--engine", "vllm", "--server", server.url) == 0
    [row] = map(json.loads, (out / "failed" / "a.jsonl").open())
    assert row["id"] == "a1"
    assert row["reason"].endswith("refused (400: This prompt is too long.)")
    assert set(server.headers) == {f"Bearer {'k' * 20}"}
    assert not [path for path, content in files(out).items() if b"k" * 20 in content]


def test_a_busy_server_is_asked_again(run, server, shards, tmp_path):
    server.faults = [503, 429]
    out = tmp_path / "out"
    given = ("--engine", "vllm", "--server", server.url, "--workers", 1)
    assert predict(run, shards, out, *given) == 0
    assert len(server.requests) == len(ANSWERED) + 2
    assert not (out / "failed").exists()


def test_a_server_that_is_lost_stops_the_job_which_goes_on_later(
    run, server, shards, tmp_path, capsys
):
    out, given = tmp_path / "out", ("--engine", "vllm", "--server", server.url, "--workers", 1)
    server.faults = [503] * 3
    assert predict(run, shards, out, *given, "--max_failed", 0) == 2
    error = capsys.readouterr().err
    assert "no answer (503: try again); start a server by `vllm serve FOLDER`" in error
    assert "0 of 2 shards are finished, --resume does the others" in error
    assert predict(run, shards, out, *given, "--resume") == 0
    assert len(spans(out)) == len(ANSWERED)


def test_what_cannot_be_is_one_line(answering, run, server, shards, tmp_path, capsys):
    def refusal(*more, run=run):
        assert predict(run, shards, tmp_path / "out", *more) == 2
        [line] = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
        return line

    vllm = ("--engine", "vllm", "--server", server.url)
    assert "no effect on --engine vllm" in refusal(*vllm, "--batch_tokens", 9)
    assert "--server is an option of --engine vllm" in refusal("--server", server.url)
    wrong = refusal("--engine", "vllm", "--server", "localhost:8000")
    assert "got --server localhost:8000; wanted a URL such as" in wrong
    secret = refusal("--engine", "vllm", "--server", "http://ada:hunter2@127.0.0.1:9")
    assert "the environment variable VLLM_API_KEY" in secret
    assert "hunter2" not in secret
    assert "no answer (" in refusal("--engine", "vllm", "--server", "http://127.0.0.1:9")
    server.models = [{"id": "tiny"}, {"id": "other"}]
    assert "serves 2 models (tiny, other)" in refusal(*vllm)
    server.models = [{"name": "tiny"}]
    assert "is no vLLM server (KeyError: 'id')" in refusal(*vllm)
    for change, named in ({"verify": True}, "verification"), ({"samples": 4}, "samples"):
        other = saved(answering, tmp_path / named, **change)
        assert f"answers with {named}, which --engine vllm does not do" in refusal(*vllm, run=other)


def test_a_server_without_log_probabilities_is_refused(run, server, shards, tmp_path, capsys):
    server.completion = lambda request: {"choices": [{"text": "none"}]}
    given = ("--engine", "vllm", "--server", server.url)
    assert predict(run, shards, tmp_path / "out", *given) == 2
    assert "wanted a vLLM that gives both, as 0.33 does" in capsys.readouterr().err


def test_another_model_may_be_served(run, server, shards, tmp_path, caplog):
    caplog.set_level("WARNING", logger="pipelines")
    server.models = [{"id": "other/model", "max_model_len": 400}]
    out = tmp_path / "out"
    assert predict(run, shards, out, "--engine", "vllm", "--server", server.url) == 0
    assert "serves other/model, which need not be the model of" in caplog.text
