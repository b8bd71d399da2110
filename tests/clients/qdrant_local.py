"""Qdrant's REST routes that Protext calls, answered by the local mode of Qdrant's own Python client.

What filters, payloads, aliases and scores mean is thus Qdrant's own word, but this is not its server: there is no network of
shards here, no quantization, no approximate graph and nothing on a disk. It prints its address and serves until it is stopped.

    qdrant_local.py [--key KEY]

With a key, requests without it are answered as Qdrant answers them. Tests make it misbehave by POST /-/faults:
{"path": regular expression, "method": "PUT", "status": 503, "times": 2, "after": 1, "delay_s": 0, "drop": false} lets the first
`after` fitting requests pass and spoils the next `times`; `drop` closes the connection without an answer; `late` does so once
the work is done. GET /-/requests tells how often each route was called.
"""

import json
import re
import sys
import threading
import time
import warnings
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from qdrant_client import QdrantClient, models

warnings.filterwarnings("ignore")
KEY = sys.argv[sys.argv.index("--key") + 1] if "--key" in sys.argv else ""
LOCK = threading.Lock()
LOCAL = QdrantClient(":memory:")
SETTINGS: dict[str, dict] = {}
FAULTS: list[dict] = []
REQUESTS: Counter = Counter()


class Refusal(Exception):
    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


def filter_of(body):
    return models.Filter.model_validate(body["filter"]) if body.get("filter") else None


def collection_of(name):
    aliases = {alias.alias_name: alias.collection_name for alias in LOCAL.get_aliases().aliases}
    real = aliases.get(name, name)
    if not LOCAL.collection_exists(real):
        raise Refusal(404, f"Not found: Collection `{name}` doesn't exist!")
    return real


def point(found):
    return {"id": found.id, "payload": found.payload, "vector": found.vector}


def create(name, body):
    if LOCAL.collection_exists(name):
        raise Refusal(409, f"Wrong input: Collection `{name}` already exists!")
    vectors = {key: models.VectorParams.model_validate(value) for key, value in body["vectors"].items()}
    quantization = body.get("quantization_config")
    if quantization and set(quantization) - {"scalar", "binary"}:
        raise Refusal(400, "unknown quantization")
    LOCAL.create_collection(name, vectors_config=vectors)
    SETTINGS[name] = body
    return True


def describe(name, _):
    real = collection_of(name)
    body = SETTINGS[real]
    names = ("shard_number", "replication_factor", "write_consistency_factor")
    params = {"vectors": body["vectors"], **{key: body.get(key, 1) for key in names}}
    return {
        "status": "green",
        "points_count": LOCAL.count(real).count,
        "config": {"params": params, "quantization_config": body.get("quantization_config")},
    }


def delete(name, _):
    LOCAL.delete_collection(name)
    SETTINGS.pop(name, None)
    return True


def index(name, body):
    LOCAL.create_payload_index(collection_of(name), body["field_name"], body["field_schema"])
    return {"operation_id": 0, "status": "completed"}


def upsert(name, body):
    real = collection_of(name)
    dims = {key: value["size"] for key, value in SETTINGS[real]["vectors"].items()}
    for one in body["points"]:
        for key, values in one["vector"].items():
            if key not in dims:
                raise Refusal(400, f"Wrong input: Not existing vector name error: {key}")
            if len(values) != dims[key]:
                raise Refusal(400, f"Wrong input: Vector dimension error: expected dim: {dims[key]}, got {len(values)}")
    LOCAL.upsert(real, [models.PointStruct.model_validate(one) for one in body["points"]])
    return {"operation_id": 0, "status": "completed"}


def retrieve(name, body):
    found = LOCAL.retrieve(
        collection_of(name), body["ids"], with_payload=body.get("with_payload", True), with_vectors=body.get("with_vector", False)
    )
    return [point(one) for one in found]


def remove(name, body):
    LOCAL.delete(collection_of(name), models.PointIdsList(points=body["points"]))
    return {"operation_id": 0, "status": "completed"}


def set_payload(name, body):
    LOCAL.set_payload(collection_of(name), body["payload"], body["points"], key=body.get("key"))
    return {"operation_id": 0, "status": "completed"}


def query(name, body):
    real = collection_of(name)
    if body["using"] not in SETTINGS[real]["vectors"]:
        raise Refusal(400, f"Wrong input: Not existing vector name error: {body['using']}")
    found = LOCAL.query_points(
        real,
        query=body["query"],
        using=body["using"],
        limit=body["limit"],
        query_filter=filter_of(body),
        with_payload=body.get("with_payload", False),
        search_params=models.SearchParams.model_validate(body.get("params") or {}),
    )
    return {"points": [{"id": one.id, "score": one.score, "payload": one.payload} for one in found.points]}


def scroll(name, body):
    found, following = LOCAL.scroll(
        collection_of(name),
        scroll_filter=filter_of(body),
        limit=body["limit"],
        offset=body.get("offset"),
        with_payload=body.get("with_payload", True),
        with_vectors=body.get("with_vector", False),
    )
    return {"points": [point(one) for one in found], "next_page_offset": following}


def count(name, body):
    return {"count": LOCAL.count(collection_of(name), count_filter=filter_of(body), exact=True).count}


def change_aliases(body):
    kinds = {"create_alias": models.CreateAliasOperation, "delete_alias": models.DeleteAliasOperation}
    known = {alias.alias_name for alias in LOCAL.get_aliases().aliases}
    actions = []
    for action in body["actions"]:
        (kind, about), = action.items()
        if kind == "delete_alias" and about["alias_name"] not in known:
            continue
        if kind == "create_alias" and LOCAL.collection_exists(about["alias_name"]) and about["alias_name"] in SETTINGS:
            raise Refusal(409, f"Wrong input: Collection `{about['alias_name']}` already exists!")
        actions.append(kinds[kind].model_validate(action))
    LOCAL.update_collection_aliases(actions)
    return True


def all_aliases():
    return {"aliases": [{"alias_name": a.alias_name, "collection_name": a.collection_name} for a in LOCAL.get_aliases().aliases]}


def all_collections():
    return {"collections": [{"name": name} for name in SETTINGS]}


ROUTES = {
    ("PUT", ""): create,
    ("GET", ""): describe,
    ("DELETE", ""): delete,
    ("PUT", "/index"): index,
    ("PUT", "/points"): upsert,
    ("POST", "/points"): retrieve,
    ("POST", "/points/delete"): remove,
    ("POST", "/points/payload"): set_payload,
    ("POST", "/points/query"): query,
    ("POST", "/points/scroll"): scroll,
    ("POST", "/points/count"): count,
}


class Qdrant(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def fault(self, path):
        for fault in FAULTS:
            if re.search(fault["path"], path) and self.command == fault.get("method", self.command) and fault["times"] > 0:
                if fault.get("after", 0) > 0:
                    fault["after"] -= 1
                    continue
                fault["times"] -= 1
                return fault
        return None

    def work(self, path, body):
        if path == "/":
            return {"title": "qdrant - vector search engine", "version": "local mode"}
        if path == "/aliases":
            return all_aliases()
        if path == "/collections":
            return all_collections()
        if path == "/collections/aliases":
            return change_aliases(body)
        found = re.fullmatch(r"/collections/([^/]+)(/.*)?", path)
        route = ROUTES.get((self.command, found[2] or "")) if found else None
        if not route:
            raise Refusal(404, "Not found")
        return route(unquote(found[1]), body)

    def serve(self):
        path = urlsplit(self.path).path
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"null")
        if path == "/-/faults":
            FAULTS[:] = body
            return self.answer(200, {})
        if path == "/-/requests":
            return self.answer(200, dict(REQUESTS))
        REQUESTS[f"{self.command} {re.sub('/collections/[^/]+', '/collections/*', path)}"] += 1
        if KEY and self.headers.get("api-key") != KEY:
            return self.answer(401, {"status": {"error": "Invalid API key or JWT"}, "time": 0})
        fault = self.fault(path) or {}
        time.sleep(fault.get("delay_s", 0))
        if fault.get("drop"):
            self.close_connection = True
            return
        if fault.get("status"):
            return self.answer(fault["status"], {"status": {"error": "made up by a test"}, "time": 0})
        try:
            with LOCK:
                result = self.work(path, body)
        except Refusal as refusal:
            return self.answer(refusal.status, {"status": {"error": str(refusal)}, "time": 0})
        except Exception as error:  # What Qdrant's models refuse, its server refuses.
            return self.answer(400, {"status": {"error": f"{type(error).__name__}: {error}"}, "time": 0})
        if fault.get("late"):
            self.close_connection = True
            return
        self.answer(200, {"result": result, "status": "ok", "time": 0.001})

    do_GET = do_POST = do_PUT = do_DELETE = serve


server = ThreadingHTTPServer(("127.0.0.1", 0), Qdrant)
server.daemon_threads = True
print(f"http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
