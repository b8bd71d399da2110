#!/usr/bin/env python3
"""Disturbs batch jobs over real proteins and writes docs/results/jobs_chaos.md and jobs_chaos.json. Called by `make jobs-chaos`.

    jobs_chaos.py PROTEXT PROTEINS.tsv.gz... [--records 20000] [--kills 20] [--seed 7]

The proteins are the shortest distinct ones of at least 30 residues in the tables. One job is done three times:

1. by one worker that nobody disturbs;
2. by two workers of a queue, killed (SIGKILL) at random moments and started again, with the NATS server killed and started
   again twice in the middle;
3. in an object store, with the same kills, and with the network between workers and NATS cut for a minute, and later the
   network between workers and the store.

All must give the same bytes. Workers reach NATS and the store through a proxy in this script, which holds every byte back
during a cut, and reads how often the queue delivered each shard. Needs `nats-server` and Python's `moto[server]`.
"""

import argparse
import atexit
import csv
import datetime
import gzip
import hashlib
import json
import os
import pathlib
import platform
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
import xml.etree.ElementTree as xml
import zipfile
from collections import Counter

HERE = pathlib.Path(__file__).parent
MIN_RESIDUES = 30
# Small enough that a kill costs seconds, as 20 kills are to be in one short job.
SHARD_RESIDUES = 16_384
CUT_S = 60
# Longest time for one run.
PATIENCE_S = 2_400


def proteins(tables, n):
    """The n shortest distinct sequences with the accession that has each first, shortest first."""
    csv.field_size_limit(1 << 30)
    found = {}
    for table in sorted(tables):
        with gzip.open(table, "rt") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                if len(row["sequence"]) >= MIN_RESIDUES:
                    found.setdefault(row["sequence"], row["accession"])
    chosen = sorted(found, key=lambda sequence: (len(sequence), sequence))[:n]
    if len(chosen) < n:
        sys.exit(f"the tables hold {len(chosen)} distinct proteins, fewer than {n}")
    return [(found[sequence], sequence) for sequence in chosen]


def write_fasta(path, records):
    path.write_text("".join(f">{name}\n{sequence}\n" for name, sequence in records))
    return path


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(what, is_there, patience_s=PATIENCE_S, every_s=0.2):
    end = time.monotonic() + patience_s
    while not is_there():
        if time.monotonic() > end:
            sys.exit(f"{what} did not come within {patience_s} s")
        time.sleep(every_s)


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


class Proxy:
    """Passes bytes on to a port of this machine; `cut` holds all of them back, as a network that is down."""

    # A delivery of a shard: the subject of its acknowledgement, then the order.
    DELIVERY = re.compile(rb'\$JS\.ACK\.PROTEXT\.shards\.[0-9.]+ [^{}]{1,400}?\{"place":"[^"]*","job":"([^"]*)","shard":(\d+)\}')

    def __init__(self, port, counts_deliveries=False):
        self.to, self.counts_deliveries = port, counts_deliveries
        self.flows = threading.Event()
        self.flows.set()
        self.deliveries = Counter()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def cut(self, time_s):
        self.flows.clear()
        time.sleep(time_s)
        self.flows.set()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            threading.Thread(target=self.join, args=(client,), daemon=True).start()

    def join(self, client):
        self.flows.wait()
        try:
            server = socket.create_connection(("127.0.0.1", self.to))
        except OSError:
            client.close()
            return
        threading.Thread(target=self.pump, args=(server, client, self.counts_deliveries), daemon=True).start()
        self.pump(client, server, False)

    def pump(self, source, sink, counts):
        seen = b""
        try:
            while data := source.recv(1 << 16):
                self.flows.wait()
                if counts:
                    seen = self.count(seen + data)
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def count(self, text):
        """Counts what is whole, and gives back what may be the start of a delivery."""
        end = 0
        for found in self.DELIVERY.finditer(text):
            self.deliveries[found[1].decode(), int(found[2])] += 1
            end = found.end()
        return text[end:][-2_000:]


class Nats:
    def __init__(self, folder):
        self.port, self.store = free_port(), folder / "nats"
        self.start()

    def start(self):
        command = ["nats-server", "--addr", "127.0.0.1", "--port", str(self.port), "--jetstream", "--store_dir", self.store]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for("nats-server", lambda: answers(self.port), 60)

    def restart(self):
        self.process.kill()
        self.process.wait()
        time.sleep(2)
        self.start()


class Moto:
    """An object store in memory: moto's S3. It is asked directly here, by workers through the proxy."""

    def __init__(self, folder):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for("moto's server", lambda: answers(self.port), 60)
        urllib.request.urlopen(self.request("", "PUT")).close()

    def request(self, key, method="GET"):
        # moto asks for a signature and does not check it.
        scope = "chaos/20260101/us-east-1/s3/aws4_request"
        signed = f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=00"
        return urllib.request.Request(f"{self.url}/lab/{key}".rstrip("/"), method=method, headers={"Authorization": signed})

    def get(self, key):
        # moto resets a connection now and then where many are open.
        for tries_left in range(5, -1, -1):
            try:
                with urllib.request.urlopen(self.request(key), timeout=60) as answer:
                    return answer.read()
            except (ConnectionError, TimeoutError):
                if not tries_left:
                    raise
                time.sleep(0.5)

    def list(self, prefix):
        """Keys below a prefix, with the marks that change with their contents."""
        found, token = {}, None
        while True:
            query = {"list-type": "2", "prefix": prefix, **({"continuation-token": token} if token else {})}
            page = xml.fromstring(self.get(f"?{urllib.parse.urlencode(query)}"))
            space = page.tag.split("}")[0] + "}"
            for entry in page.iter(f"{space}Contents"):
                found[entry.findtext(f"{space}Key")] = entry.findtext(f"{space}ETag")
            token = page.findtext(f"{space}NextContinuationToken")
            if not token:
                return found


class FolderView:
    """What a job's folder shows: shards that are done, tries of each."""

    def __init__(self, place, name):
        self.folder = place / name
        self.tries = {}

    def n_done(self):
        try:
            return len(os.listdir(self.folder / "out"))
        except FileNotFoundError:
            return 0

    def look(self):
        try:
            for name in os.listdir(self.folder / "attempts"):
                if name.isdigit():
                    self.note(int(name), (self.folder / "attempts" / name).read_bytes())
        except FileNotFoundError:
            pass

    def note(self, shard, text):
        tried = json.loads(text)
        if tried["n_begun"] > self.tries.get(shard, (0, 0))[0]:
            self.tries[shard] = (tried["n_begun"], len(tried["failures"]))


class StoreView(FolderView):
    """The same of a job in the object store."""

    def __init__(self, store, name):
        super().__init__(pathlib.Path("jobs"), name)
        self.store, self.marks = store, {}

    def n_done(self):
        return len(self.store.list(f"{self.folder}/out/"))

    def look(self):
        for key, mark in self.store.list(f"{self.folder}/attempts/").items():
            if self.marks.get(key) != mark:
                self.marks[key] = mark
                try:
                    self.note(int(key.rsplit("/", 1)[1]), self.store.get(key))
                except urllib.error.HTTPError as error:
                    # A job that was done meanwhile has removed it.
                    if error.code != 404:
                        raise


class Desk:
    """The program with a place for jobs."""

    def __init__(self, protext, folder, settings):
        self.protext, self.folder = protext, folder
        self.environment = {**os.environ, "PROTEXT_JOBS": str(folder / "jobs"), "PROTEXT_EMBEDDING_CACHE_MIB": "0", **settings}
        self.peak_mib = 0
        self.ended = []

    def run(self, *args):
        done = subprocess.run([self.protext, *args], env=self.environment, capture_output=True)
        if done.returncode != 0:
            sys.exit(f"{' '.join(args)} failed: {done.stderr.decode()[-800:]}")
        return done.stdout

    def submit(self, name, fasta, output, *further):
        self.run("jobs", "submit", "embed", str(fasta), "-o", str(output), "--name", name, "--shard-residues",
                 str(SHARD_RESIDUES), "--no-run", *further)

    def status(self, name):
        return json.loads(self.run("jobs", "show", name, "--json"))

    def worker(self, *further, n_sessions=1):
        command = [self.protext, "worker", "--workers", str(n_sessions), *further]
        with open(self.folder / "workers.log", "ab") as log:
            worker = subprocess.Popen(command, env=self.environment, stdout=subprocess.DEVNULL, stderr=log)
        # Whatever ends this script, no worker outlives it.
        atexit.register(lambda: worker.returncode is None and worker.kill())
        return worker

    def end(self, worker, how=None):
        """Waits for a worker, after a signal if one is named. Its peak memory is noted."""
        if how:
            # `send_signal` would reap a worker that has ended, and its figures with it.
            os.kill(worker.pid, how)
        _, status, usage = os.wait4(worker.pid, 0)
        worker.returncode = os.waitstatus_to_exitcode(status)
        if how and worker.returncode not in (0, -how):
            self.ended.append(worker.returncode)
        self.peak_mib = max(self.peak_mib, usage.ru_maxrss / 1024)
        return worker.returncode


def undisturbed(protext, folder, name, fasta):
    desk, output = Desk(protext, folder, {}), folder / f"{name}.npz"
    desk.submit(name, fasta, output)
    started = time.monotonic()
    if desk.end(desk.worker("--once", n_sessions=2)) != 0:
        sys.exit("the worker that nobody disturbed failed")
    wall_s, status = time.monotonic() - started, desk.status(name)
    return {
        "wall_s": wall_s, "peak_mib": desk.peak_mib, "sha256": hashlib.sha256(output.read_bytes()).hexdigest(),
        "n_shards": status["shards"]["n"], "n_retries": status["shards"]["n_retries"], "path": output,
    }


def disturbed(desk, view, name, queue, chance, n_kills, events):
    """Lets two workers do the job, kills one at each of `n_kills` points of progress, and has `events` happen at theirs."""
    n_shards = desk.status(name)["shards"]["n"]
    moments = [(chance.uniform(0.02, 0.97) * n_shards, None) for _ in range(n_kills)]
    moments = sorted(moments + [(share * n_shards, event) for share, event in events], key=lambda moment: moment[0])
    workers = [desk.worker("--queue", queue) for _ in range(2)]
    happened, n_killed, started = [], 0, time.monotonic()
    is_over = threading.Event()

    def watch():
        while not is_over.wait(0.4):
            view.look()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    for at, event in moments:
        wait_for(f"shard {at:.0f} of {n_shards}", lambda: view.n_done() >= at)
        if event:
            happened.append(f"{time.monotonic() - started:.0f} s: {event()}")
            continue
        # Anywhere in a shard, in its writing, or while a worker starts.
        time.sleep(chance.uniform(0, 3))
        which = chance.randrange(2)
        desk.end(workers[which], signal.SIGKILL)
        workers[which] = desk.worker("--queue", queue)
        n_killed += 1
    wait_for("the output", lambda: desk.status(name)["state"] in ("done", "failed"), every_s=1)
    wall_s = time.monotonic() - started
    view.look()
    is_over.set()
    watcher.join()
    for worker in workers:
        desk.end(worker, signal.SIGTERM)
    status = desk.status(name)
    if desk.ended:
        print((desk.folder / "workers.log").read_text()[-3000:], flush=True)
    if status["state"] != "done":
        sys.exit(f"{name} failed: {status.get('error')}")
    return {"wall_s": wall_s, "n_kills": n_killed, "happened": happened, "ended_by_themselves": desk.ended, "peak_mib": desk.peak_mib, "n_shards": n_shards,
            "n_retries": status["shards"]["n_retries"], "n_records": status["manifest"]["n_done"]}


def check_tries(found, view, deliveries, name):
    """No shard may have been begun more often than it was delivered, or tried again by itself."""
    delivered = {shard: n for (job, shard), n in deliveries.items() if job == name}
    worst = [
        f"shard {shard}: begun {begun} times, delivered {delivered.get(shard, 0)} times, {failed} failures"
        for shard, (begun, failed) in view.tries.items()
        if begun > delivered.get(shard, 0) + failed
    ]
    found |= {
        "n_deliveries": sum(delivered.values()),
        "most_deliveries": max(delivered.values()),
        "most_tries": max(begun for begun, _ in view.tries.values()),
        "n_shards_seen": len(view.tries),
        "above": worst,
    }


def with_queue(protext, folder, fasta, chance, n_kills):
    name = "killed"
    nats = Nats(folder)
    proxy = Proxy(nats.port, counts_deliveries=True)
    desk, output, queue = Desk(protext, folder, {}), folder / f"{name}.npz", f"nats://127.0.0.1:{proxy.port}"

    def restart():
        nats.restart()
        return "NATS killed and started again"

    try:
        desk.submit(name, fasta, output, "--queue", queue)
        view = FolderView(folder / "jobs", name)
        found = disturbed(desk, view, name, queue, chance, n_kills, [(0.35, restart), (0.7, restart)])
    finally:
        nats.process.kill()
    check_tries(found, view, proxy.deliveries, name)
    return found | {"sha256": hashlib.sha256(output.read_bytes()).hexdigest(), "path": output}


def with_cuts(protext, folder, fasta, chance, n_kills):
    name = "cut"
    nats, store = Nats(folder / "far"), Moto(folder)
    to_nats, to_store = Proxy(nats.port, counts_deliveries=True), Proxy(store.port)
    queue = f"nats://127.0.0.1:{to_nats.port}"
    settings = {
        "PROTEXT_JOBS": "s3://lab/jobs", "AWS_ENDPOINT": f"http://127.0.0.1:{to_store.port}", "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "chaos", "AWS_SECRET_ACCESS_KEY": "chaos", "AWS_REGION": "us-east-1",
    }
    desk = Desk(protext, folder, settings)

    def cut(proxy, what):
        def happen():
            proxy.cut(CUT_S)
            return f"network to {what} cut for {CUT_S} s"

        return happen

    try:
        desk.submit(name, fasta, "s3://lab/cut.npz", "--queue", queue)
        view = StoreView(store, name)
        events = [(0.3, cut(to_nats, "NATS")), (0.6, cut(to_store, "the object store"))]
        found = disturbed(desk, view, name, queue, chance, n_kills, events)
        output = folder / "cut.npz"
        output.write_bytes(store.get("cut.npz"))
    finally:
        nats.process.kill()
        store.process.kill()
    check_tries(found, view, to_nats.deliveries, name)
    return found | {"sha256": hashlib.sha256(output.read_bytes()).hexdigest(), "path": output}


def ids_of(path):
    """The ids of an .npz of vectors, in their order: fixed-width text, as NumPy writes it."""
    with zipfile.ZipFile(path) as archive:
        data = archive.read("ids.npy")
    n_header = int.from_bytes(data[8:10], "little")
    header, body = data[10 : 10 + n_header].decode(), data[10 + n_header :]
    kind, width = re.search(r"'descr': '[<|]([US])(\d+)'", header).groups()
    step = int(width) * (4 if kind == "U" else 1)
    parts = (body[at : at + step] for at in range(0, len(body), step))
    return [part.decode("utf-32-le" if kind == "U" else "utf-8").rstrip("\0") for part in parts]


def row(found, wanted):
    same = "yes" if found["sha256"] == wanted else "NO"
    return (f"{found['wall_s']:.0f} s | {found.get('n_kills', 0)} | {found['n_retries']} | {found.get('most_tries', 1)} of "
            f"{found.get('most_deliveries', 1)} | {found['n_lost']}, {found['n_twice']} | {same} | {found['peak_mib']:.0f} MiB")


def page(figures):
    alone, killed, cut, small = (figures[key] for key in ("undisturbed", "killed", "cut", "small"))
    wanted = alone["sha256"]
    lines = [
        "# Batch jobs, disturbed",
        "",
        f"`{figures['command']}` on {figures['date']}, {figures['machine']}, ESM-2 8M in fp32. The job embeds the {figures['n_records']:,} shortest "
        f"distinct proteins of {MIN_RESIDUES} residues or more in the Swiss-Prot tables ({figures['n_residues']:,} residues, the longest protein "
        f"{figures['longest']}), in {alone['n_shards']} shards of {SHARD_RESIDUES:,} residues. Seed {figures['seed']}. Other programs used the machine at the same "
        "time, so wall times are for comparing with each other at most.",
        "",
        "| run | wall time | workers killed | shards begun again | most tries of a shard, of most deliveries | records lost, twice | same bytes | peak memory of a worker |",
        "|---|---|---|---|---|---|---|---|",
        f"| one worker of two sessions, undisturbed | {row(alone, wanted)} |",
        f"| two workers of a queue, killed, NATS restarted twice | {row(killed, wanted)} |",
        f"| the same in an object store, both networks cut for {CUT_S} s | {row(cut, wanted)} |",
        "",
        f"sha256 of the output: `{wanted}`. Output is checked against the input id by id, in order.",
        "",
        "A kill is SIGKILL to one of two `protext worker` processes at a random moment, which is started again at once. The queue is "
        "Debian's `nats-server` with JetStream, the store moto's S3 server (an imitation in memory, not S3 itself). The cut is a proxy that holds back "
        "every byte.",
        "",
        *(f"- {what}: " + "; ".join(found["happened"]) + f". {found['n_deliveries']} deliveries of {found['n_shards']} shards, tries above deliveries plus "
          f"failures: {len(found['above'])} of {found['n_shards_seen']} shards looked at; workers that ended by themselves: "
          f"{len(found['ended_by_themselves'])}" for what, found in (("killed", killed), ("cut", cut))),
        "",
        "## Memory",
        "",
        f"Every tenth of the same proteins, {small['n_records']:,}, by one worker that nobody disturbed: {small['peak_mib']:.0f} MiB at most; all of them: "
        f"{alone['peak_mib']:.0f} MiB ({alone['peak_mib'] / small['peak_mib']:.2f} times).",
        "",
    ]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("protext")
    parser.add_argument("tables", nargs="+")
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=pathlib.Path, default=HERE)
    args = parser.parse_args()
    if not shutil.which("nats-server"):
        sys.exit("nats-server is not installed; apt-get install nats-server")
    protext, records = os.path.abspath(args.protext), proteins(args.tables, args.records)
    figures = {
        "command": "make jobs-chaos" + "".join(
            f", with --{name} {getattr(args, name)}" for name in ("records", "kills", "seed") if getattr(args, name) != parser.get_default(name)
        ),
        "date": datetime.date.today().isoformat(), "seed": args.seed,
        "machine": f"{len(os.sched_getaffinity(0))} cores, {platform.machine()}, load {os.getloadavg()[0]:.1f} at the start",
        "n_records": len(records), "n_residues": sum(len(sequence) for _, sequence in records), "longest": len(records[-1][1]),
    }
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        (folder / "far").mkdir()
        fasta = write_fasta(folder / "all.fasta", records)
        few = write_fasta(folder / "few.fasta", records[::10])
        figures["small"] = undisturbed(protext, folder, "small", few) | {"n_records": len(records[::10])}
        figures["undisturbed"] = undisturbed(protext, folder, "alone", fasta)
        print(json.dumps(figures, indent=1, default=str), flush=True)
        figures["killed"] = with_queue(protext, folder, fasta, random.Random(args.seed), args.kills)
        print(json.dumps(figures["killed"], indent=1, default=str), flush=True)
        figures["cut"] = with_cuts(protext, folder, fasta, random.Random(args.seed + 1), args.kills)
        names = [name for name, _ in records]
        for key in ("undisturbed", "killed", "cut"):
            ids = ids_of(figures[key].pop("path"))
            figures[key] |= {"n_lost": len(set(names) - set(ids)), "n_twice": len(ids) - len(set(ids)), "in_order": ids == names}
        del figures["small"]["path"]
    (args.out / "jobs_chaos.json").write_text(json.dumps(figures, indent=1) + "\n")
    (args.out / "jobs_chaos.md").write_text(page(figures))
    print(page(figures))
    runs = [figures[key] for key in ("undisturbed", "killed", "cut")]
    is_right = len({run["sha256"] for run in runs}) == 1 and all(run["in_order"] for run in runs)
    if not is_right or any(run.get("above") for run in runs):
        sys.exit("the runs are not what they should be; see the page")


main()
