//! `protext texts genes`: one text a gene, from tables or from NCBI.

use std::path::PathBuf;

use protext_engine::output::table::Column;
use protext_texts::fetch::GeneSummary;
use protext_texts::gene_table::{Gene, GeneFile, Summaries, read_gene_ids};
use protext_texts::gene_text::{GeneTextOptions, GoDetail, gene_text};
use protext_texts::go::Ontology;

use super::fetching::{ENVIRONMENT, FetchArgs, Fetching};
use super::writing::{OutputArgs, TextTable};
use crate::fault::UsageError;

const COLUMNS: &[Column] = &[
    Column::text("id"),
    Column::text("symbol"),
    Column::text("name"),
    Column::text("text"),
    Column::text("source"),
];

#[derive(clap::Args)]
#[command(after_help = format!("Examples:\n  protext texts genes --genes human_genes.tsv.gz \\\n    \
    --summaries gene_summary.tsv.gz --go go_terms.tsv.gz -o genes.tsv.gz\n  \
    protext texts genes --fetch 9606 -o human_genes.tsv.gz\n  \
    protext texts genes --genes human_genes.tsv.gz --go go-basic.obo --ids entrez_ids.txt --names-only -o genes.parquet\n\n\
    The column source says what a text is made of: summary or name (symbol where neither is known), and go.\n{ENVIRONMENT}"))]
pub(crate) struct Args {
    /// Table with symbol and, where there are, entrez_id, gene_name, aliases, summary, go_curated and go_other.
    #[arg(long, value_name = "FILE", required_unless_present_any = ["fetch", "ids"])]
    genes: Option<PathBuf>,
    /// Table with entrez_id (or symbol) and summary.
    #[arg(long, value_name = "FILE", requires = "genes", conflicts_with_all = ["fetch", "ids"])]
    summaries: Option<PathBuf>,
    /// The Gene Ontology, to name the GO ids of --genes: go-basic.obo or the table of terms.
    #[arg(long, value_name = "FILE", requires = "genes")]
    go: Option<PathBuf>,
    /// Name GO terms without their definitions.
    #[arg(long)]
    names_only: bool,
    /// Take GO terms of any evidence; by default those of go_other only for genes without curated ones.
    #[arg(long)]
    all_go: bool,
    /// Most GO terms of a gene; the three namespaces take turns.
    #[arg(long, value_name = "N", default_value_t = GeneTextOptions::default().max_go_terms)]
    max_go: usize,
    /// Fetch the summaries of an organism's protein-coding genes from NCBI, such as 9606 for human.
    #[arg(long, value_name = "TAXON", conflicts_with = "ids")]
    fetch: Option<u32>,
    /// Fetch the summaries of these NCBI Gene ids, one a line.
    #[arg(long, value_name = "FILE")]
    ids: Option<PathBuf>,
    #[command(flatten)]
    fetching: FetchArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let mut table = TextTable::create(&args.output, COLUMNS, "genes")?;
    let ontology = args.go.as_deref().map(Ontology::open).transpose()?;
    let fetched = fetch(&args, &mut table)?;
    let Some(path) = &args.genes else {
        for gene in fetched {
            push(&mut table, &gene.into(), &args)?;
        }
        return table.finish();
    };
    let file = GeneFile::open(path)?;
    if ontology.is_some() && !file.has_terms() {
        let message =
            format!("{}: --go needs a column go_curated, go_other or go_terms in it", path.display());
        return Err(UsageError(message).into());
    }
    let summaries = summaries(&args, &fetched)?;
    for gene in file {
        let mut gene = gene?;
        gene.record.summary = summaries.of_gene(&gene).map(str::to_owned).or(gene.record.summary);
        if let Some(ontology) = &ontology {
            gene = gene.with_terms(ontology, args.all_go);
        }
        push(&mut table, &gene, &args)?;
    }
    table.finish()
}

fn push(table: &mut TextTable, gene: &Gene, args: &Args) -> anyhow::Result<()> {
    let include_go = if args.names_only { GoDetail::Names } else { GoDetail::NamesAndDefinitions };
    let options = GeneTextOptions { include_go, max_go_terms: args.max_go, ..GeneTextOptions::default() };
    let text = gene_text(&gene.record, &options)?;
    let source = gene.sources(args.max_go > 0);
    table.note(1_u64, told(source));
    let cells = [gene.id.as_str(), &gene.record.symbol, &gene.record.name, &text, source];
    table.push(&cells.map(Into::into))
}

fn told(source: &str) -> &'static str {
    match source {
        "summary;go" => "texts of summary and GO terms",
        "summary" => "texts of a summary alone",
        "name;go" => "texts of name and GO terms, without a summary",
        "name" => "texts of a name alone",
        "go" => "texts of GO terms alone",
        _ => "texts of a symbol alone",
    }
}

/// What NCBI says, if it is to be asked.
fn fetch(args: &Args, table: &mut TextTable) -> anyhow::Result<Vec<GeneSummary>> {
    let ids = args.ids.as_deref().map(read_gene_ids).transpose()?;
    let question = match (args.fetch, &ids) {
        (Some(taxon), _) => format!("ncbi taxon {taxon}"),
        (None, Some(ids)) => format!("ncbi ids {ids:?}"),
        (None, None) => return Ok(Vec::new()),
    };
    let fetching = Fetching::start(&args.fetching, &question)?;
    let (mut genes, mut n_unknown) = (Vec::new(), 0);
    fetching.run(async {
        let ids = match args.fetch {
            Some(taxon) => fetching.fetcher.gene_ids(taxon).await?,
            None => ids.unwrap_or_default(),
        };
        let mut pages = fetching.fetcher.gene_summaries(&ids);
        while let Some(page) = pages.next_page().await? {
            n_unknown += page.unknown_ids.len();
            genes.extend(page.genes);
        }
        Ok(())
    })?;
    fetching.tell();
    table.leave_out(n_unknown, "left out, ids that NCBI does not know");
    table
        .note(genes.iter().filter(|gene| gene.replaced_by.is_some()).count(), "genes that NCBI has replaced");
    Ok(genes)
}

/// Summaries of a file, or those fetched.
fn summaries(args: &Args, fetched: &[GeneSummary]) -> anyhow::Result<Summaries> {
    if let Some(path) = &args.summaries {
        return Ok(Summaries::open(path)?);
    }
    let mut summaries = Summaries::default();
    for gene in fetched {
        if let Some(summary) = &gene.summary {
            summaries.add(Some(&gene.gene_id.to_string()), Some(&gene.symbol), summary);
        }
    }
    Ok(summaries)
}
