#!/usr/bin/env bash
# Trains one pair of towers for each change of the recipe and writes their validation figures to ablations.tsv beside this
# file. Usage: docs/results/ablations.sh PROTEXT SHARED_DATA FUNCTION_PAIRS OWN_FUNCTIONS
set -euo pipefail
protext=$1 shared=$2 function_pairs=$3 own_functions=$4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
here=$(cd "$(dirname "$0")" && pwd)

# Name, then what is changed; "-" takes both files of further pairs.
variants() {
    cat <<'LIST'
the recipe, one member|- 
no further pairs|none
only pairs of other proteins|functions
only further texts of the training proteins|own
batches of 2,048|- --batch-size 2048
no hub correction|- --hub-neighbours 0
all sentences kept|- --sentence-dropout 0
no noise|- --noise 0
half as much dropout|- --dropout 0.25
shared space of 256|- --shared-dim 256
2,048 hidden units|- --hidden-dim 2048
two hidden blocks|- --n-hidden 2
256 protein components|- --protein-components 256
1,280 protein components|- --protein-components 1280
LIST
}

train() {
    local name=${1%%|*} change=${1#*|}
    local extra=(--extra "$function_pairs" --extra "$own_functions")
    case ${change%% *} in
        none) extra=() ;;
        functions) extra=(--extra "$function_pairs") ;;
        own) extra=(--extra "$own_functions") ;;
    esac
    local flags=${change#* }
    [ "$flags" = "$change" ] && flags=
    for seed in 1 2; do
        local out="$work/${name//[^a-z0-9]/_}-$seed"
        # shellcheck disable=SC2086 # flags are several words
        "$protext" train projection --data "$shared/text/protein_text.tsv.gz" "${extra[@]}" \
            --hold-out "$shared/proteins/human_swissprot.tsv.gz" --hold-out "$shared/proteins/yeast_swissprot.tsv.gz" \
            -o "$out" --batch-size 6144 --epochs 45 --patience 45 --learning-rate 0.002 --sentence-dropout 0.5 \
            --noise 0.4 $flags --seed "$seed" >/dev/null
        awk -v name="$name" -v seed="$seed" -F ' = ' '
            /^valid_/ { figures[$1] = $2 }
            END {
                printf "%s\t%s", name, seed
                for (i = split("protein_to_text_recall_at_10 text_to_protein_recall_at_10 protein_to_text_mrr text_to_protein_mrr", keys, " "); i > 0; i--) order[i] = keys[i]
                for (i = 1; i <= 4; i++) printf "\t%.4f", figures["valid_" order[i]]
                print ""
            }' "$out/card.toml" >"$out.tsv"
    done
}
export -f train
export protext shared function_pairs own_functions work
variants | tr '\n' '\0' | xargs -0 -P "$(nproc)" -I {} bash -c 'train "$1"' _ {}
{
    printf 'change\tseed\trecall@10 protein to text\trecall@10 text to protein\tMRR protein to text\tMRR text to protein\n'
    cat "$work"/*.tsv
} >"$here/ablations.tsv"
cat "$here/ablations.tsv"
