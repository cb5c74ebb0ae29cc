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


@contextlib.contextmanager
def hub_server() -> Iterator[Hub]:
    """Serves on a free port of this machine while the body runs."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

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
            hub.large[oid] = content
            self.answer({})

        def do_POST(self):
            path, content = urlsplit(self.path).path, self.body()
            hub.requests.append(path)
            if hub.refuses or self.headers.get("Authorization") != f"Bearer {TOKEN}":
                self.answer({"error": "this token may not write"}, 403)
            elif path == "/api/repos/create":
                asked = json.loads(content)
                name = f"{asked['organization']}/{asked['name']}"
                hub.repositories.setdefault(name, asked.get("visibility") == "private")
                self.answer({"url": f"{hub.url}/{name}", "id": name, "name": name})
            elif path == "/api/validate-yaml":
                head = json.loads(content)["content"].split("---\n")[1]
                errors = [] if isinstance(yaml.safe_load(head), dict) else [{"message": "no head"}]
                self.answer({"errors": errors, "warnings": []}, 400 if errors else 200)
            elif "/preupload/" in path:
                files = [
                    {
                        "path": file["path"],
                        "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                        "shouldIgnore": False,
                    }
                    for file in json.loads(content)["files"]
                ]
                self.answer({"files": files})
            elif path.endswith("/info/lfs/objects/batch"):
                objects = [
                    {**one, "actions": {"upload": {"href": f"{hub.url}/large/{one['oid']}"}}}
                    for one in json.loads(content)["objects"]
                ]
                self.answer({"transfer": "basic", "objects": objects})
            elif "/commit/" in path:
                name = "/".join(path.split("/")[3:5])
                for line in content.splitlines():
                    entry = json.loads(line)
                    keep(name, entry["key"], entry["value"])
                commit = "0" * 40
                self.answer({"commitOid": commit, "commitUrl": f"{hub.url}/{name}/commit/{commit}"})
            else:
                self.answer({"error": f"no {path}"}, 404)

    def keep(name, key, value):
        kept = hub.files.setdefault(name, {})
        if key == "file":
            kept[value["path"]] = base64.b64decode(value["content"])
        elif key == "lfsFile":
            kept[value["path"]] = hub.large[value["oid"]]

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
