"""The example of docs/API.md, run against a service: collections, records, searches and forms of answers over plain HTTP."""

import struct
import sys

import requests

base = f"http://{sys.argv[1]}"
session = requests.Session()
# Where the service asks for keys: session.headers["Authorization"] = "Bearer ptx_..."


def ask(method, path, **options):
    answer = session.request(method, base + path, timeout=60, **options)
    if not answer.ok:
        problem = answer.json()
        raise SystemExit(f"{problem['title']}: {problem['detail']}")
    return answer


# Make a collection and write three proteins; the service embeds them.
ask("POST", "/v1/collections", json={"name": "globins", "holds": "proteins"})
globins = {
    "P69905": "MVLSPADKTNVKAAWGKVGAHAGEYGAEALERMFLSFPTTKTYFPHFDLSHGSAQVKGHGKKVADALTNAVAHVDDMPNALSALSDLHAHKLRVDPVNFKLLSHCLLVTLAAHLPAEFTPAVHASLDKFLASVSTVLTSKYR",
    "P68871": "MVHLTPEEKSAVTALWGKVNVDEVGGEALGRLLVVYPWTQRFFESFGDLSTPDAVMGNPKVKAHGKKVLGAFSDGLAHLDNLKGTFATLSELHCDKLHVDPENFRLLGNVLVCVLAHHFGKEFTPPVQAAYQKVVAGVANALAHKYH",
    "P02144": "MGLSDGEWQLVLNVWGKVEADIPGHGQEVLIRLFKGHPETLEKFDKFKHLKSEDEMKASEDLKKHGATVLTALGGILKKKGHHEAEIKPLAQSHATKHKIPVKYLEFISECIIQVLQSKHPGDFGADAQGAMNKALELFRKDMASNYKELGFQG",
}
records = [{"id": accession, "sequence": sequence} for accession, sequence in globins.items()]
written = ask("POST", "/v1/collections/globins/records", json={"records": records}).json()
assert written["n_inserted"] == 3, written

# Search by sequence and by id.
found = ask("POST", "/v1/search", json={"sequence": globins["P68871"], "collection": "globins", "k": 3}).json()
assert found["hits"][0]["id"] == "P68871", found
found = ask("POST", "/v1/search", json={"id": "P69905", "collection": "globins", "k": 2}).json()
assert len(found["hits"]) == 2, found

# FASTA in, m8 out.
fasta = "".join(f">{accession}\n{sequence}\n" for accession, sequence in globins.items())
headers = {"Content-Type": "text/x-fasta", "Accept": "text/tab-separated-values"}
lines = ask("POST", "/v1/search", params={"collection": "globins", "k": 3}, data=fasta, headers=headers).text
assert lines.splitlines()[0].split("\t")[:2] == ["P69905", "P69905"], lines

# Vectors as plain floats.
answer = ask("POST", "/v1/embeddings", json={"input": list(globins.values())}, headers={"Accept": "application/octet-stream"})
n_rows, dim = int(answer.headers["X-Rows"]), int(answer.headers["X-Dim"])
assert n_rows == 3 and len(answer.content) == 4 * n_rows * dim
first_row = struct.unpack(f"<{dim}f", answer.content[: 4 * dim])
assert any(first_row)

# Every record, streamed.
with session.get(f"{base}/v1/collections/globins/records", headers={"Accept": "application/x-ndjson"}, stream=True, timeout=60) as lines:
    assert sum(1 for line in lines.iter_lines() if line) == 3

# What is refused says why, record by record.
refused = session.post(f"{base}/v1/collections/globins/records", json={"records": [{"id": "x", "sequence": "M1"}]}, timeout=60)
assert refused.status_code == 422 and refused.json()["errors"][0]["record"] == 1, refused.text

ask("DELETE", "/v1/collections/globins/records/P02144")
ask("DELETE", "/v1/collections/globins")
