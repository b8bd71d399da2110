//! `protext texts annotations`: pairs of protein and function text, for pretraining the joint space.

use std::collections::HashSet;
use std::path::PathBuf;

use protext_engine::output::table::Column;
use protext_texts::enzyme::Enzymes;
use protext_texts::function_pairs::{EnzymeTexts, FunctionPairs, PairChoice, ProteinSet, function_pairs};
use protext_texts::go::{EvidenceCode, Ontology, ProteinTerms};

use super::writing::{OutputArgs, TextTable};

const COLUMNS: &[Column] = &[
    Column::text("accession"),
    Column::text("cluster30"),
    Column::text("group"),
    Column::text("text"),
    Column::text("sequence"),
];

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  protext texts annotations --proteins human.tsv.gz diverse.tsv.gz \\\n    \
    --annotations swissprot_go_2014.tsv.gz --go go_terms.tsv.gz --enzyme enzyme_2001.dat.gz \\\n    \
    --per-cluster 2 --max-length 1022 --limit 20000 -o pairs.tsv.gz\n  \
    protext texts annotations --proteins human.tsv.gz --annotations goa_human.gaf.gz --evidence EXP,IDA,IPI,IMP \\\n    \
    --go go-basic.obo -o pairs.parquet\n\n\
    Proteins with a molecular function or an ENZYME entry are taken. A text is that of the ENZYME entries, then a sentence\n\
    a GO term: its name and the first sentence of its definition. Rows go round by round, one protein of each cluster in a round, so that the first rows are the most diverse."
)]
pub(crate) struct Args {
    /// Tables with accession, sequence and, where there are, cluster30 and group; plain or gzip.
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    proteins: Vec<PathBuf>,
    /// GO annotations: GAF 2, or tables with accession and go_mf (or go_terms); plain or gzip.
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    annotations: Vec<PathBuf>,
    /// The Gene Ontology: go-basic.obo or the table of terms.
    #[arg(long, value_name = "FILE")]
    go: PathBuf,
    /// ENZYME's flat file.
    #[arg(long, value_name = "FILE")]
    enzyme: Option<PathBuf>,
    /// Evidence codes to take from GAF files, such as EXP,IDA; all by default.
    #[arg(long, value_name = "CODES", value_delimiter = ',')]
    evidence: Vec<EvidenceCode>,
    /// Most proteins of a cluster.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    per_cluster: Option<usize>,
    /// Longest sequence, in residues.
    #[arg(long, value_name = "RESIDUES", value_parser = at_least_one)]
    max_length: Option<usize>,
    /// Most rows.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    limit: Option<usize>,
    #[command(flatten)]
    output: OutputArgs,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "a whole number from 1 is needed".to_owned())
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let mut table = TextTable::create(&args.output, COLUMNS, "pairs")?;
    let ontology = Ontology::open(&args.go)?;
    let enzymes =
        args.enzyme.as_deref().map(|path| EnzymeTexts::collect(Enzymes::open(path)?)).transpose()?;
    let enzymes = enzymes.unwrap_or_default();
    let set = ProteinSet::read(&args.proteins, args.max_length)?;
    let accessions: HashSet<&str> = set.proteins.iter().map(|protein| protein.accession.as_str()).collect();
    let mut terms = ProteinTerms::default();
    for path in &args.annotations {
        terms.add(ProteinTerms::open(path, |accession| accessions.contains(accession), &args.evidence)?);
    }
    for path in &set.without_clusters {
        eprintln!("{}: no column cluster30, so each protein is a cluster of its own", path.display());
    }
    table.leave_out(set.n_duplicates, "proteins left out, accession read before");
    table.leave_out(set.n_without_sequence, "proteins left out, without a sequence");
    table.leave_out(set.n_too_long, "proteins left out, longer than --max-length");
    let choice = PairChoice { per_cluster: args.per_cluster, limit: args.limit };
    let found = function_pairs(set.proteins, &terms, &ontology, &enzymes, &choice);
    push_pairs(&mut table, &found)?;
    tell_terms(&mut table, &found, &terms, &enzymes);
    table.finish()
}

fn push_pairs(table: &mut TextTable, found: &FunctionPairs) -> anyhow::Result<()> {
    for pair in &found.pairs {
        let protein = &pair.protein;
        let cluster = protein.cluster.as_ref().unwrap_or(&protein.accession);
        let group = protein.group.as_ref().unwrap_or(cluster);
        let cells = [&protein.accession, cluster, group, &pair.text, &protein.sequence];
        table.push(&cells.map(|cell| cell.as_str().into()))?;
    }
    table.leave_out(found.n_without_function, "proteins left out, no molecular function and no enzyme");
    table.leave_out(found.n_past_cluster, "proteins left out, past --per-cluster");
    table.leave_out(found.n_past_limit, "proteins left out, past --limit");
    Ok(())
}

fn tell_terms(table: &mut TextTable, found: &FunctionPairs, terms: &ProteinTerms, enzymes: &EnzymeTexts) {
    let n_enzymes = found.pairs.iter().filter(|pair| pair.is_enzyme).count();
    table.note(n_enzymes, "rows with an ENZYME entry");
    table.note(found.terms.n_vague, "annotations left out, a root or \"protein binding\"");
    table.note(found.terms.n_obsolete, "annotations left out, obsolete without a successor");
    table.note(found.terms.n_unknown, "annotations left out, not in the ontology");
    table.note(terms.n_not, "annotations left out, qualified NOT");
    table.note(terms.n_other_evidence, "annotations left out, of other evidence");
    table.note(terms.n_other_proteins, "annotations or rows of proteins that are not in --proteins");
    table.note(enzymes.n_not_in_use, "ENZYME entries left out, deleted or transferred");
}
