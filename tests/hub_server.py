"""A stand-in of the Hugging Face Hub: creating a repository, and committing small and large files to it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import yaml

TOKEN = "hf_" + "t" * 34
LARGE = (".safetensors", ".crfsuite")  # what the Hub takes outside of the commit


@dataclass
class Hub:
    """What was asked of the server, and what it keeps.

    Attributes:
        repositories: name -> whether it is private.
        files: repository -> path -> content.
        refuses: whether each request is answered with 403.
    """

    url: str = ""
    repositories: dict[str, bool] = field(default_factory=dict)
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    refuses: bool = False

    def create(self, asked):
        """Makes a repository, as it was asked for."""
        name = f"{asked['organization']}/{asked['name']}"
        self.repositories.setdefault(name, asked.get("visibility") == "private")
        return {"url": f"{self.url}/{name}", "id": name, "name": name}

    def commit(self, name, content):
        """Keeps the files of a commit, which has a JSON object a line."""
        kept = self.files.setdefault(name, {})
        for line in content.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                kept[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                kept[value["path"]] = self.large[value["oid"]]
        commit = "0" * 40
        return {"commitOid": commit, "commitUrl": f"{self.url}/{name}/commit/{commit}"}


def upload_mode(file):
    """How the Hub wants a file: within the commit, or before it."""
    mode = "lfs" if file["path"].endswith(LARGE) else "regular"
    return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False}


class Handler(BaseHTTPRequestHandler):
    """Answers as the Hub does."""

    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> Hub:
        return self.server.hub

    def log_message(self, *_):
        pass

    def answer(self, content, status=200):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_PUT(self):
        content = self.body()
        oid = self.path.rsplit("/", 1)[1]
        assert hashlib.sha256(content).hexdigest() == oid
        self.hub.large[oid] = content
        self.answer({})

    def do_POST(self):
        path, content = urlsplit(self.path).path, self.body()
        self.hub.requests.append(path)
        if self.hub.refuses or self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.answer({"error": "this token may not write"}, 403)
        elif path == "/api/repos/create":
            self.answer(self.hub.create(json.loads(content)))
        elif path == "/api/validate-yaml":
            head = json.loads(content)["content"].split("---\n")[1]
            errors = [] if isinstance(yaml.safe_load(head), dict) else [{"message": "no head"}]
            self.answer({"errors": errors, "warnings": []}, 400 if errors else 200)
        elif "/preupload/" in path:
            self.answer({"files": list(map(upload_mode, json.loads(content)["files"]))})
        elif path.endswith("/info/lfs/objects/batch"):
            objects = [
                {**one, "actions": {"upload": {"href": f"{self.hub.url}/large/{one['oid']}"}}}
                for one in json.loads(content)["objects"]
            ]
            self.answer({"transfer": "basic", "objects": objects})
        elif "/commit/" in path:
            self.answer(self.hub.commit("/".join(path.split("/")[3:5]), content))
        else:
            self.answer({"error": f"no {path}"}, 404)


@contextlib.contextmanager
def hub_server() -> Iterator[Hub]:
    """Serves on a free port of this machine while the body runs."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.hub = hub
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
