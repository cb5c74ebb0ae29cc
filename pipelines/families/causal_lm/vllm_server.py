"""Answers from a vLLM server in place of a network in this process: same prompts, same parser.

vLLM pins its own versions of torch and transformers, so it runs in an environment of its own, on
this machine or another (`vllm serve FOLDER`), and is asked over HTTP by its completions endpoint.
Prompts go as token ids and answers come as token ids: the server tokenises nothing.
"""

from __future__ import annotations

import json
import logging
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig

from pipelines.errors import EngineLost, UserError, without_passwords
from pipelines.examples import JsonObject
from pipelines.families.causal_lm.generation import Answer, Grammar
from pipelines.families.causal_lm.loading import (
    Loaded,
    base_of,
    load_config,
    most_tokens,
    read_model,
    scaling_of,
)
from pipelines.families.causal_lm.shots import load_shots

AT_A_TIME = 256  # requests; vLLM batches what is running by itself
KEY = "VLLM_API_KEY"  # the environment variable with the key of a server that wants one
BUSY = (429, 502, 503, 504)
WAITS = (1, 2, 4)  # seconds before the tries after the first
PATIENCE = 600  # seconds for one answer
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class VllmServer:
    """A served model.

    Attributes:
        url: of the server.
        name: of the model, as the server calls it.
        config: of the model, with as many positions as the server takes tokens.
        end: the id of the end token.
        at_a_time: requests that are under way together.
    """

    url: str
    name: str
    config: PreTrainedConfig
    end: int
    at_a_time: int = AT_A_TIME

    def answers(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        limits: Sequence[int],
        grammars: Sequence[Grammar | None],
        advance: Callable[[int], object] = lambda count: None,
    ) -> list[list[Answer]]:
        """Generates greedily; see `generation.generate_samples`.

        A grammar holds for the whole answer: it is not narrowed after each mention to the rest of
        the text. Probabilities are those that the server gives.

        Raises:
            UserError: when the server refuses a request.
            EngineLost: when it does not answer.
        """
        requests = [
            self._request(prompt, limit, grammar)
            for prompt, limit, grammar in zip(prompts, limits, grammars, strict=True)
        ]
        with ThreadPoolExecutor(self.at_a_time) as pool:
            running = [pool.submit(self._answer, request) for request in requests]
            try:
                for future in as_completed(running):
                    future.result()
                    advance(1)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return [[future.result()] for future in running]

    def _request(self, prompt: Sequence[int], limit: int, grammar: Grammar | None) -> JsonObject:
        request: JsonObject = {
            "model": self.name,
            "prompt": list(prompt),
            "max_tokens": limit,
            "stop_token_ids": [self.end],
            "logprobs": 0,
            "return_token_ids": True,
            # All that the model's generation_config.json could change on the server.
            "temperature": 0,
            "repetition_penalty": 1,
            "frequency_penalty": 0,
            "presence_penalty": 0,
        }
        rules = grammar("") if grammar is not None else None
        if rules is not None:
            request["structured_outputs"] = {"grammar": rules}
        return request

    def _answer(self, request: JsonObject) -> Answer:
        content = ask(f"{self.url}/v1/completions", request)
        try:
            [choice] = content["choices"]
            ids = list(map(int, choice["token_ids"]))
            log_probabilities = list(map(float, choice["logprobs"]["token_logprobs"]))
            reason = choice["finish_reason"]
        except (KeyError, TypeError, ValueError) as error:
            raise EngineLost(
                f"{self.url}: answered without token ids or log-probabilities "
                f"({type(error).__name__}: {error}); wanted a vLLM that gives both, as 0.33 does"
            ) from None
        if ids and ids[-1] == self.end:
            ids.pop()
        return Answer(ids, log_probabilities, ended=reason == "stop")


def connect(folder: str | Path, url: str, *, at_a_time: int = AT_A_TIME) -> Loaded:
    """The model of a folder, as a server has it.

    Args:
        folder: a model folder, for its tokenizer and prompt.
        url: of the server.
        at_a_time: requests that are under way together.

    Raises:
        UserError: for a model whose answers are more than greedy text, and where the server has
            several models or none.
        EngineLost: when no server answers.
    """
    folder = Path(folder)
    if not url.startswith(("http://", "https://")):
        shown = without_passwords(url)
        raise UserError(f"got --server {shown}; wanted a URL such as http://127.0.0.1:8000")
    if "@" in urllib.parse.urlsplit(url).netloc:
        raise UserError(
            f"got --server {without_passwords(url)}; wanted a URL without a name and a password; "
            f"a server's key goes into the environment variable {KEY}"
        )
    settings, tokenizer, prompt = read_model(folder)
    asked = {
        "classes": prompt.answer == "label",
        "samples": prompt.samples,
        "verification": prompt.verify,
        "candidates of another model": prompt.candidates,
    }
    if more := [name for name, wanted in asked.items() if wanted]:
        raise UserError(
            f"{folder}: answers with {' and '.join(more)}, which --engine vllm does not do; take "
            "--engine local or ray"
        )
    served = _served_model(url)
    name, root = str(served["id"]), str(served.get("root") or served["id"])
    config = load_config(
        str(folder) if (folder / "config.json").is_file() else base_of(settings, folder)
    )
    longest = served.get("max_model_len") or most_tokens(config)
    config.get_text_config().max_position_embeddings = min(int(longest), most_tokens(config))
    if Path(root).resolve() != folder.resolve():
        logger.warning(
            "%s serves %s, which need not be the model of %s: answers are those of what it serves",
            without_passwords(url),
            root,
            folder,
        )
    end = tokenizer.eos_token_id
    server: Any = VllmServer(url.rstrip("/"), name, config, int(end), at_a_time)
    by = settings.get("shots_by")
    shots = load_shots(folder, prompt, by) if by else None
    return Loaded(server, tokenizer, prompt, shots, scaling=scaling_of(settings))


def _served_model(url: str) -> JsonObject:
    content = ask(f"{url.rstrip('/')}/v1/models")
    try:
        models = list(content["data"])
        names = [str(model["id"]) for model in models]
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{without_passwords(url)}: is no vLLM server ({type(error).__name__}: {error}); start "
            "one by `vllm serve FOLDER`"
        ) from None
    if len(models) != 1:
        raise UserError(
            f"{without_passwords(url)}: serves {len(models)} models ({', '.join(names)}); start a "
            "server with the one of the run"
        )
    model: JsonObject = models[0]
    return model


def ask(url: str, content: JsonObject | None = None) -> Any:
    """What a server answers, by POST where there is something to send.

    Raises:
        UserError: when it refuses the request.
        EngineLost: when it does not answer, is busy for long, or wants a key.
    """
    shown = without_passwords(url)
    headers = {"Content-Type": "application/json"}
    if os.environ.get(KEY):
        headers["Authorization"] = f"Bearer {os.environ[KEY]}"
    try:
        request = urllib.request.Request(
            url,
            data=None if content is None else json.dumps(content).encode(),
            headers=headers,
        )
    except ValueError as error:
        raise UserError(
            f"got --server {shown}; wanted a URL such as http://127.0.0.1:8000"
        ) from error
    if request.type not in ("http", "https"):
        raise UserError(f"got --server {shown}; wanted a URL such as http://127.0.0.1:8000")
    for wait in (*WAITS, None):
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            reason = f"{error.code}: {_message(error)}"
            if error.code in (401, 403):
                raise EngineLost(f"{shown}: wants a key ({reason}); set {KEY}") from None
            if error.code not in BUSY:
                raise UserError(f"{shown}: refused ({reason})") from None
        except (OSError, HTTPException, ValueError) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        if wait is not None:
            time.sleep(wait)
    raise EngineLost(f"{shown}: no answer ({reason}); start a server by `vllm serve FOLDER`")


def _message(error: urllib.error.HTTPError) -> str:
    """What a server says of a refusal, in one line."""
    text = error.read(4000).decode(errors="replace")
    try:
        content = json.loads(text)
        inner = content.get("error", content)
        text = str(inner["message"] if isinstance(inner, dict) else inner)
    except (ValueError, AttributeError, KeyError):
        pass
    return " ".join(text.split())[:300]
