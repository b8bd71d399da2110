"""A small object store in memory that speaks enough of S3's language for `object_store` clients: whole and conditional puts,
multipart uploads, ranges, listings by prefix and delimiter, deletes. It prints its address and serves until it is stopped.

Requests must be signed with the access key `tests`; any other is answered as S3 answers a wrong key. While the file named by
the first argument exists, connections are cut without an answer, as by a network that is down.
"""

import datetime
import hashlib
import os
import re
import sys
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from xml.sax.saxutils import escape

CUT = sys.argv[1] if len(sys.argv) > 1 else ""
LOCK = threading.Lock()
OBJECTS: dict[str, tuple[bytes, str]] = {}
UPLOADS: dict[str, dict[int, bytes]] = {}


def now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")


class Store(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status: int, body: bytes = b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if not any(name == "Content-Length" for name, _ in headers):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status: int, code: str):
        xml = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>"
        self.answer(status, xml.encode(), [("Content-Type", "application/xml")])

    def handle_one(self):
        if CUT and os.path.exists(CUT):
            self.close_connection = True
            return
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        key = urllib.parse.unquote(url.path).lstrip("/")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if "Credential=tests/" not in self.headers.get("Authorization", ""):
            return self.refuse(403, "InvalidAccessKeyId")
        with LOCK:
            if self.command == "GET" and "list-type" in query:
                return self.list(key.split("/")[0], query)
            if "uploads" in query or "uploadId" in query:
                return self.multipart(key, query, body)
            getattr(self, f"object_{self.command.lower()}")(key, body)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = handle_one

    def object_put(self, key, body):
        known = OBJECTS.get(key)
        if self.headers.get("If-None-Match") == "*" and known:
            return self.refuse(412, "PreconditionFailed")
        if self.headers.get("If-Match") and (not known or known[1] != self.headers["If-Match"]):
            return self.refuse(412, "PreconditionFailed")
        OBJECTS[key] = (body, f'"{hashlib.md5(body).hexdigest()}"')
        self.answer(200, b"", [("ETag", OBJECTS[key][1])])

    def object_get(self, key, _):
        if key not in OBJECTS:
            return self.refuse(404, "NoSuchKey")
        data, etag = OBJECTS[key]
        headers = [("ETag", etag), ("Last-Modified", self.date_time_string())]
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if found:
            start, end = int(found[1]), int(found[2] or len(data) - 1)
            part = data[start : end + 1]
            headers.append(("Content-Range", f"bytes {start}-{start + len(part) - 1}/{len(data)}"))
            return self.answer(206, part, headers)
        self.answer(200, data, headers + [("Content-Length", str(len(data)))])

    object_head = object_get

    def object_delete(self, key, _):
        OBJECTS.pop(key, None)
        self.answer(204)

    def object_post(self, key, body):
        # Many keys of a bucket at once.
        for name in re.findall(rb"<Key>(.*?)</Key>", body):
            OBJECTS.pop(f"{key.split('/')[0]}/{name.decode()}", None)
        self.answer(200, b"<?xml version='1.0'?><DeleteResult></DeleteResult>")

    def list(self, bucket, query):
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        contents, folders = [], set()
        for key in sorted(OBJECTS):
            name = key[len(bucket) + 1 :]
            if not key.startswith(bucket + "/") or not name.startswith(prefix):
                continue
            rest = name[len(prefix) :]
            if delimiter and delimiter in rest:
                folders.add(prefix + rest.split(delimiter)[0] + delimiter)
                continue
            data, etag = OBJECTS[key]
            contents.append(
                f"<Contents><Key>{escape(name)}</Key><LastModified>{now()}</LastModified>"
                f"<ETag>{escape(etag)}</ETag><Size>{len(data)}</Size></Contents>"
            )
        common = [f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" for name in sorted(folders)]
        xml = (
            f"<?xml version='1.0'?><ListBucketResult><Name>{escape(bucket)}</Name><Prefix>{escape(prefix)}</Prefix>"
            f"<IsTruncated>false</IsTruncated>{''.join(contents + common)}</ListBucketResult>"
        )
        self.answer(200, xml.encode(), [("Content-Type", "application/xml")])

    def multipart(self, key, query, body):
        if self.command == "POST" and "uploads" in query:
            upload = hashlib.md5(os.urandom(16)).hexdigest()
            UPLOADS[upload] = {}
            xml = (
                f"<?xml version='1.0'?><InitiateMultipartUploadResult><UploadId>{upload}</UploadId>"
                "</InitiateMultipartUploadResult>"
            )
            return self.answer(200, xml.encode())
        parts = UPLOADS.get(query["uploadId"])
        if parts is None:
            return self.refuse(404, "NoSuchUpload")
        if self.command == "PUT":
            parts[int(query["partNumber"])] = body
            return self.answer(200, b"", [("ETag", f'"{hashlib.md5(body).hexdigest()}"')])
        del UPLOADS[query["uploadId"]]
        if self.command == "DELETE":
            return self.answer(204)
        whole = b"".join(parts[number] for number in sorted(parts))
        OBJECTS[key] = (whole, f'"{hashlib.md5(whole).hexdigest()}-{len(parts)}"')
        xml = f"<?xml version='1.0'?><CompleteMultipartUploadResult><ETag>{escape(OBJECTS[key][1])}</ETag></CompleteMultipartUploadResult>"
        self.answer(200, xml.encode())


server = ThreadingHTTPServer(("127.0.0.1", 0), Store)
server.daemon_threads = True
print(f"http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
