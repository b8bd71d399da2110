//! `protext texts go`: terms of the Gene Ontology as texts.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::ValueEnum;
use protext_engine::output::table::Column;
use protext_texts::go::{Namespace, Ontology, TermChoice};

use super::fetching::{ENVIRONMENT, FetchArgs, Fetching};
use super::writing::{OutputArgs, TextTable};

const COLUMNS: &[Column] =
    &[Column::text("id"), Column::text("name"), Column::text("namespace"), Column::text("text")];

#[derive(clap::Args)]
#[command(after_help = format!("Examples:\n  protext texts go go-basic.obo --namespace mf -o functions.tsv.gz\n  \
    protext texts go go_terms.tsv.gz --min-depth 2 --min-definition 40 -o terms.parquet\n  \
    protext texts go --fetch --release 2026-01 -o go.tsv.gz\n\n\
    A text is \"name: definition\". Obsolete terms are left out.\n{ENVIRONMENT}"))]
pub(crate) struct Args {
    /// go-basic.obo, or a table with go_id, namespace, name, definition, is_a and status; plain or gzip.
    #[arg(required_unless_present = "fetch")]
    input: Option<PathBuf>,
    /// Download go-basic.obo from the GO project.
    #[arg(long, conflicts_with = "input")]
    fetch: bool,
    /// Only this part of the ontology.
    #[arg(long, value_enum)]
    namespace: Option<NamespaceArg>,
    /// Fewest is_a steps from a root: leaves out terms that say little.
    #[arg(long, value_name = "STEPS", default_value_t = 0)]
    min_depth: u32,
    /// Fewest characters of a definition.
    #[arg(long, value_name = "CHARACTERS", default_value_t = 0)]
    min_definition: usize,
    #[command(flatten)]
    fetching: FetchArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum NamespaceArg {
    /// Molecular function.
    #[value(alias = "molecular_function")]
    Mf,
    /// Biological process.
    #[value(alias = "biological_process")]
    Bp,
    /// Cellular component.
    #[value(alias = "cellular_component")]
    Cc,
}

impl From<NamespaceArg> for Namespace {
    fn from(arg: NamespaceArg) -> Self {
        match arg {
            NamespaceArg::Mf => Self::MolecularFunction,
            NamespaceArg::Bp => Self::BiologicalProcess,
            NamespaceArg::Cc => Self::CellularComponent,
        }
    }
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let mut table = TextTable::create(&args.output, COLUMNS, "terms")?;
    let ontology = if args.fetch {
        let fetching = Fetching::start(&args.fetching, "go-basic.obo")?;
        let ontology = fetching.run(async { Ok(fetching.fetcher.go_ontology().await?) })?;
        fetching.tell();
        ontology
    } else {
        Ontology::open(&args.input.context("the parser asks for an input or --fetch")?)?
    };
    let chosen = ontology.chosen(&TermChoice {
        namespace: args.namespace.map(Namespace::from),
        min_depth: args.min_depth,
        min_definition: args.min_definition,
    });
    for term in &chosen.terms {
        let (id, text) = (term.id.to_string(), term.text());
        let cells = [id.as_str(), &term.name, term.namespace.name(), &text];
        table.push(&cells.map(Into::into))?;
    }
    table.leave_out(chosen.n_obsolete, "left out, obsolete");
    table.leave_out(chosen.n_other_namespace, "left out, another namespace");
    table.leave_out(chosen.n_shallow, "left out, closer to the root than --min-depth");
    table.leave_out(chosen.n_short, "left out, definition shorter than --min-definition");
    table.finish()
}
