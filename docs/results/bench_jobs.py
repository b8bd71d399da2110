#!/usr/bin/env python3
"""Measures batch jobs with the real program and writes docs/results/jobs.md and jobs.json. Called by `make bench-jobs`.

    bench_jobs.py PROTEXT PROTEINS [--records 1600] [--short 1000000]

- Overhead: `protext embed` against `protext jobs submit embed`, turn by turn, each pinned to one core, processor time.
- Two workers against one: `protext worker` processes that each have one core, over one job that was planned beforehand, cut into
  more than twenty shards: a job of few can be shared by whole shards only, and that would be what is measured.
- Memory: peak of a worker over inputs of different sizes; peak and time of planning many short records.
"""

import argparse
import json
import os
import pathlib
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).parent
CORES = sorted(os.sched_getaffinity(0))
# Of the job that workers share; the default, 131,072, would give three shards.
SHARD_RESIDUES = 16_384
MIN_SHARDS = 20


def records(path, n):
    """The first n records of a FASTA file; when there are fewer, further ones with their residues in other orders."""
    texts = pathlib.Path(path).read_text().split(">")[1:]
    shuffle = random.Random(7)
    found = []
    for number in range(n):
        header, sequence = texts[number % len(texts)].split("\n", 1)
        sequence = sequence.replace("\n", "")
        if number >= len(texts):
            sequence = "".join(shuffle.sample(sequence, len(sequence)))
        found.append(f">r{number} {header}\n{sequence}\n")
    return found


class Desk:
    def __init__(self, protext, folder):
        self.protext, self.folder = protext, pathlib.Path(folder)

    def start(self, args, cores=None):
        environment = {**os.environ, "PROTEXT_JOBS": str(self.folder / "jobs"), "PROTEXT_EMBEDDING_CACHE_MIB": "0"}
        pin = ["taskset", "-c", ",".join(map(str, cores))] if cores else []
        return subprocess.Popen(
            pin + [self.protext, *args], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

    def run(self, args, cores=None):
        """Wall time, processor time (s) and peak memory (MiB)."""
        started = time.monotonic()
        child = self.start(args, cores)
        error = child.stderr.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            sys.exit(f"{' '.join(args)} failed: {error.decode()[-500:]}")
        return time.monotonic() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024

    def input(self, name, lines):
        path = self.folder / name
        with open(path, "w") as file:
            file.writelines(lines)
        return str(path)

    def out(self, name):
        path = self.folder / name
        path.unlink(missing_ok=True)
        return str(path)


def overhead(desk, proteins, n_turns):
    path = desk.input("overhead.fasta", proteins)
    times = {"embed": [], "jobs": []}
    for turn in range(n_turns):
        one = CORES[:1]
        times["embed"].append(desk.run(["embed", path, "-o", desk.out("e.npz"), "--workers", "1"], one)[1])
        job = ["jobs", "submit", "embed", path, "-o", desk.out("j.npz"), "--name", f"overhead{turn}", "--workers", "1"]
        times["jobs"].append(desk.run(job, one)[1])
    embed, jobs = (statistics.median(times[key]) for key in ("embed", "jobs"))
    return {"n_records": len(proteins), "n_turns": n_turns, "embed_cpu_s": embed, "job_cpu_s": jobs, "overhead": jobs / embed - 1}


def workers(desk, proteins):
    path = desk.input("workers.fasta", proteins)
    found = {}
    for n in (1, 2):
        name = f"workers{n}"
        output, cut = desk.out(f"{name}.npz"), ["--shard-residues", str(SHARD_RESIDUES)]
        desk.run(["jobs", "submit", "embed", path, "-o", output, "--name", name, "--no-run", *cut])
        n_shards = len(os.listdir(desk.folder / "jobs" / name / "plan" / "in"))
        if n_shards < MIN_SHARDS:
            sys.exit(f"the job has {n_shards} shards, fewer than {MIN_SHARDS}; give more --records")
        started = time.monotonic()
        children = [desk.start(["worker", "--workers", "1", "--once"], [CORES[at % len(CORES)]]) for at in range(n)]
        for child in children:
            child.stderr.read()
            child.wait()
        found[n] = time.monotonic() - started
    same = (desk.folder / "workers1.npz").read_bytes() == (desk.folder / "workers2.npz").read_bytes()
    return {"one_s": found[1], "two_s": found[2], "ratio": found[1] / found[2], "same_bytes": same, "n_cores": len(CORES),
            "n_shards": n_shards, "load": os.getloadavg()[0]}


def memory(desk, proteins):
    found = []
    for n in (len(proteins) // 4, len(proteins)):
        name = f"memory{n}"
        path = desk.input("memory.fasta", proteins[:n])
        desk.run(["jobs", "submit", "embed", path, "-o", desk.out(f"{name}.npz"), "--name", name, "--no-run"])
        found.append({"n_records": n, "peak_mib": desk.run(["worker", "--workers", "1", "--once"])[2]})
    return found


def many(desk, n_records):
    letters, chance = "ACDEFGHIKLMNPQRSTVWY", random.Random(11)
    found = []
    for n in (n_records // 10, n_records):
        path = desk.input("many.fasta", (f">s{i}\n{''.join(chance.choices(letters, k=20))}\n" for i in range(n)))
        name = f"many{n}"
        wall, cpu, peak = desk.run(["jobs", "submit", "embed", path, "-o", desk.out(f"{name}.npz"), "--name", name, "--no-run"])
        found.append({"n_records": n, "wall_s": wall, "cpu_s": cpu, "peak_mib": peak})
        shutil.rmtree(desk.folder / "jobs" / name)
    return found


def page(figures):
    over, two, mem, short = (figures[key] for key in ("overhead", "workers", "memory", "many"))
    lines = [
        "# Batch jobs, measured",
        "",
        f"`make bench-jobs` on {figures['machine']}, with ESM-2 8M in fp32. Other work on the machine makes wall times longer.",
        "",
        "| what | figure | wanted |",
        "|---|---|---|",
        f"| processor time of a job over that of `protext embed` ({over['n_records']} proteins, one core, median of {over['n_turns']}) "
        f"| {over['overhead']:+.1%} ({over['job_cpu_s']:.1f} s, {over['embed_cpu_s']:.1f} s) | at most +5% |",
        f"| two workers of one core against one, wall time with start, {two.get('n_shards', 'few')} shards | {two['ratio']:.2f} times ({two['one_s']:.0f} s, {two['two_s']:.0f} s; "
        f"same bytes: {'yes' if two['same_bytes'] else 'NO'}) | at least 1.8 |",
    ]
    lines += [f"| peak memory of a worker, {row['n_records']} proteins | {row['peak_mib']:.0f} MiB | the same |" for row in mem]
    lines += [
        f"| submitting {row['n_records']:,} records of 20 residues | {row['wall_s']:.0f} s ({row['cpu_s']:.0f} s of a core), peak {row['peak_mib']:.0f} MiB "
        f"| {'under 60 s, ' if row is short[-1] else ''}the same memory |"
        for row in short
    ]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("protext")
    parser.add_argument("proteins")
    parser.add_argument("--records", type=int, default=1600)
    parser.add_argument("--short", type=int, default=1_000_000)
    parser.add_argument("--turns", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        desk = Desk(os.path.abspath(args.protext), folder)
        proteins = records(args.proteins, args.records)
        figures = {
            "machine": f"{len(CORES)} cores, {platform.machine()}, {os.cpu_count()} visible; load {os.getloadavg()[0]:.1f} at the start",
            "overhead": overhead(desk, proteins[: args.records // 2], args.turns),
            "workers": workers(desk, proteins),
            "memory": memory(desk, proteins),
            "many": many(desk, args.short),
        }
    (HERE / "jobs.json").write_text(json.dumps(figures, indent=1) + "\n")
    (HERE / "jobs.md").write_text(page(figures))
    print(page(figures))


main()
