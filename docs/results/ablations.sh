#!/usr/bin/env bash
# Trains one pair of towers for each change of the recipe and writes their validation figures to ablations.tsv beside this
# file. Usage: [PAIRS=none] docs/results/ablations.sh PROTEXT SHARED_DATA FUNCTION_PAIRS OWN_FUNCTIONS
# PAIRS=none keeps to the summaries: a third of the proteins to embed, and half of the steps.
set -euo pipefail
protext=$1 shared=$2 function_pairs=$3 own_functions=$4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
here=$(cd "$(dirname "$0")" && pwd)

# Name, which further pairs, and the flag that is changed. All but the first four rows are compared with the second.
variants() {
    cat <<'LIST'
the recipe, one member|functions
no further pairs|none
only further texts of the training proteins|own
both kinds of further pairs|functions own
no words|none|--word-components 0
192 components of words|none|--word-components 192
batches of 2,048|none|--batch-size 2048
no hub correction|none|--hub-neighbours 0
all sentences kept|none|--sentence-dropout 0
no noise|none|--noise 0
half as much dropout|none|--dropout 0.25
shared space of 256|none|--shared-dim 256
2,048 hidden units|none|--hidden-dim 2048
two hidden blocks|none|--n-hidden 2
256 protein components|none|--protein-components 256
1,280 protein components|none|--protein-components 1280
LIST
}

# The flags of `make towers` but for one member, with one of them changed.
flags() {
    local -A flag=([--batch-size]=6144 [--epochs]=${EPOCHS:-45} [--patience]=45 [--learning-rate]=0.002
        [--sentence-dropout]=0.5 [--noise]=0.4 [--word-components]=384)
    [ $# -eq 2 ] && flag[$1]=$2
    for name in "${!flag[@]}"; do echo "$name ${flag[$name]}"; done
}

# One run a core: runs that share cores wait for one another.
train() {
    local name pairs change extra=() out
    IFS='|' read -r name pairs change <<<"$1"
    [[ $pairs == *functions* ]] && extra+=(--extra "$function_pairs")
    [[ $pairs == *own* ]] && extra+=(--extra "$own_functions")
    for seed in 1 2; do
        out="$work/${name//[^a-z0-9]/_}-$seed"
        # shellcheck disable=SC2046,SC2086 # flags are several words
        taskset --cpu-list "$CORE" "$protext" train projection --data "$shared/text/protein_text.tsv.gz" "${extra[@]}" \
            --hold-out "$shared/proteins/human_swissprot.tsv.gz" --hold-out "$shared/proteins/yeast_swissprot.tsv.gz" \
            -o "$out" $(flags $change) --seed "$seed" >/dev/null
        awk -v name="$name" -v seed="$seed" -F ' = ' '
            { figures[$1] = $2 }
            END {
                printf "%s\t%s\t%.4f\t%.4f\t%.4f\t%.4f\n", name, seed,
                    figures["valid_protein_to_text_recall_at_10"], figures["valid_text_to_protein_recall_at_10"],
                    figures["valid_protein_to_text_mrr"], figures["valid_text_to_protein_mrr"]
            }' "$out/card.toml" >"$out.tsv"
    done
}
export -f flags train
export protext shared function_pairs own_functions work
variants | awk -F '|' -v pairs="${PAIRS:-}" 'pairs == "" || $2 == pairs' | tr '\n' '\0' | xargs -0 -P "$(nproc)" --process-slot-var=CORE -I {} bash -c 'train "$1"' _ {}
{
    printf 'change\tseed\trecall@10 protein to text\trecall@10 text to protein\tMRR protein to text\tMRR text to protein\n'
    cat "$work"/*.tsv
} >"$here/ablations.tsv"
cat "$here/ablations.tsv"
