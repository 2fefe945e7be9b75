"""A Hugging Face hub on 127.0.0.1: the few addresses that huggingface_hub asks for, and faults on demand."""

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


class LoopbackHub:
    """Serves repositories from memory; use as a context manager.

    upload(repo, {file: bytes}, *branches)   → the commit, to which the branches now point
    requests                                 [(method, path, Range or None)]
    """

    def __init__(self):
        self.commits, self.branches, self.requests = {}, {}, []
        self.gated = set()  # repositories whose files nobody may have
        self.cut = {}  # {file: so many bytes are sent, once, and then the connection breaks}
        self.spoiled = set()  # files whose last byte arrives as another
        self.holding = {}  # {file: an Event that must be set before the file is sent}
        self.down = False  # every answer is 503

    def __enter__(self):
        handler = type("Handler", (_Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Nothing answers at this address any more."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def upload(self, repo, files, *branches):
        commit = hashlib.sha1(repr((repo, sorted(files.items()))).encode()).hexdigest()
        self.commits[repo, commit] = dict(files)
        for branch in branches or ("main",):
            self.branches[repo, branch] = commit
        return commit

    def upload_folder(self, repo, folder, *branches):
        return self.upload(repo, {path.name: path.read_bytes() for path in folder.iterdir()}, *branches)

    def sent(self, file, method="GET"):
        """The Range of each request for a file of that name."""
        return [wanted for how, path, wanted in self.requests if how == method and path.endswith("/" + file)]


class _Handler(BaseHTTPRequestHandler):
    hub = None

    def do_GET(self):
        self._answer()

    def do_HEAD(self):
        self._answer()

    def log_message(self, *_):
        pass

    def _answer(self):
        path, query = unquote(urlsplit(self.path).path), urlsplit(self.path).query
        self.hub.requests.append((self.command, path, self.headers.get("Range")))
        if self.hub.down:
            self._refuse(503, "")
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+?)(?:/(revision|tree)/([^/]+))?", path):
            self._metadata(match[1], match[2], match[3] or "main", "blobs=true" in query.lower())
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._file(*match.groups())
        else:
            self._refuse(404, "")

    def _find(self, repo, revision):
        """(commit, its files), or None after an answer that there is none."""
        if repo not in {name for name, _ in self.hub.commits}:
            return self._refuse(401, "RepoNotFound")
        commit = self.hub.branches.get((repo, revision), revision)
        if (repo, commit) not in self.hub.commits:
            return self._refuse(404, "RevisionNotFound")
        return commit, self.hub.commits[repo, commit]

    def _metadata(self, repo, kind, revision, with_sums):
        if not (found := self._find(repo, revision)):
            return
        commit, files = found
        if kind == "tree":
            self._json([_described(name, data, "path", "oid", "oid") for name, data in files.items()])
        else:
            siblings = [_described(name, data, "rfilename", "blobId", "sha256") for name, data in files.items()]
            if not with_sums:
                siblings = [{"rfilename": name} for name in files]
            self._json({"id": repo, "sha": commit, "siblings": siblings})

    def _file(self, repo, revision, name):
        if not (found := self._find(repo, revision)):
            return
        commit, files = found
        if repo in self.hub.gated:
            return self._refuse(401, "GatedRepo")
        if name not in files:
            return self._refuse(404, "EntryNotFound", commit)
        data = files[name]
        etag = hashlib.sha256(data).hexdigest() if _large(name) else _git_sum(data)
        if name in self.hub.spoiled:
            data = data[:-1] + bytes([data[-1] ^ 1])
        start = int(re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "bytes=0-"))[1])
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("X-Repo-Commit", commit)
        self.send_header("ETag", f'"{etag}"')
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if self.command == "GET":
            if name in self.hub.holding:
                self.hub.holding[name].wait(60)
            end = self.hub.cut.pop(name, len(data))
            self.wfile.write(data[start:end])
        self.close_connection = True

    def _json(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _refuse(self, status, code, commit=None):
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        if commit:
            self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _large(name):
    return not name.endswith((".json", ".md"))


def _git_sum(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _described(name, data, file, blob, checksum):
    entry = {"type": "file", file: name, "size": len(data), blob: _git_sum(data)}
    if _large(name):
        entry["lfs"] = {checksum: hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
    return entry
