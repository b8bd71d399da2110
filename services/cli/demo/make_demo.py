#!/usr/bin/env python3
"""Makes proteins.fasta: an excerpt of the UniProt entries in Debian's mmseqs2-examples.

Usage: make_demo.py /usr/share/doc/mmseqs2/example-data/DB.fasta.gz

Rule: entries of 40 to 500 residues without fragments. Candidates are entries that share a description with at least
two others, at most six of each; the first 2,000 in sha256 order of their accession are taken. The package has more
candidates than that, so a family may be left with one member; were there fewer, the rest would follow in that order.
QUERIES names the entries that are held out; entries with four fifths of their 8-mers in a query stay out as well.
"""
import collections
import gzip
import hashlib
import pathlib
import sys

QUERIES = ["A0A0C5AWA4", "A0A0R1X808", "B4S4U8", "D6SBD8", "Q3Z8Z5"]
N_PROTEINS = 2000


def entries(path):
    header, lines = None, []
    for line in gzip.open(path, "rt"):
        if line.startswith(">"):
            if header:
                yield header, "".join(lines)
            header, lines = line[1:].strip(), []
        else:
            lines.append(line.strip())
    yield header, "".join(lines)


def accession(header):
    return header.split("|")[1]


def description(header):
    return header.split(" ", 1)[1].split(" OS=")[0].lower()


def order(entry):
    return hashlib.sha256(accession(entry[0]).encode()).hexdigest()


def words(sequence):
    return {sequence[i : i + 8] for i in range(len(sequence) - 7)}


def fasta(path, chosen):
    text = "".join(
        f">{header}\n" + "".join(f"{sequence[i:i + 60]}\n" for i in range(0, len(sequence), 60))
        for header, sequence in chosen
    )
    path.write_text(text)


def main():
    here = pathlib.Path(__file__).parent
    all_entries = [
        (header, sequence)
        for header, sequence in entries(sys.argv[1])
        if header.count("|") >= 2 and 40 <= len(sequence) <= 500 and "fragment" not in header.lower()
    ]
    all_entries.sort(key=order)
    queries = [entry for entry in all_entries if accession(entry[0]) in QUERIES]
    seen = [words(sequence) for _, sequence in queries]
    families = collections.defaultdict(list)
    for entry in all_entries:
        own = words(entry[1])
        if not any(len(own & other) >= 0.8 * len(own) for other in seen):
            families[description(entry[0])].append(entry)
    chosen = [entry for members in families.values() if len(members) >= 3 for entry in members[:6]]
    chosen = sorted(chosen, key=order)[:N_PROTEINS]
    rest = [entry for members in families.values() if len(members) < 3 for entry in members]
    chosen += sorted(rest, key=order)[: N_PROTEINS - len(chosen)]
    fasta(here / "proteins.fasta", sorted(chosen, key=order))
    fasta(here / "queries.fasta", queries)
    print(f"{len(chosen)} proteins, {len(queries)} queries")


main()
