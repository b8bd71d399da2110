//! `protext texts proteins`: UniProt entries to a table of proteins with their function comments.

use std::collections::HashSet;
use std::path::PathBuf;

use protext_engine::output::table::{Cell, Column};
use protext_texts::uniprot::{Entries, Entry};

use super::fetching::{ENVIRONMENT, FetchArgs, Fetching};
use super::writing::{OutputArgs, TextTable};

const COLUMNS: &[Column] = &[
    Column::text("accession"),
    Column::text("entry_name"),
    Column::text("gene"),
    Column::text("organism"),
    Column::number("taxon_id"),
    Column::number("length"),
    Column::text("sequence"),
    Column::text("text"),
];

#[derive(clap::Args)]
#[command(after_help = format!("Examples:\n  protext texts proteins uniprot_sprot_human.dat.gz -o human.tsv.gz\n  \
    protext texts proteins a.json b.xml.gz -o proteins.parquet --keep-empty\n  \
    protext texts proteins --fetch \"organism_id:9606 AND reviewed:true\" -o human.tsv.gz\n\n\
    The text is the FUNCTION comments without citations and evidence, as ProteinCLIP prepares them.\n{ENVIRONMENT}"))]
pub(crate) struct Args {
    /// UniProtKB entries as flat file (.dat), JSON or XML, plain or gzip.
    #[arg(required_unless_present = "fetch")]
    inputs: Vec<PathBuf>,
    /// Ask UniProt's REST service for entries that match a query, instead of reading files.
    #[arg(long, value_name = "QUERY", conflicts_with = "inputs")]
    fetch: Option<String>,
    /// Keep entries without a function comment or without a sequence, with the field empty.
    #[arg(long)]
    keep_empty: bool,
    #[command(flatten)]
    fetching: FetchArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let mut proteins = Proteins {
        table: TextTable::create(&args.output, COLUMNS, "proteins")?,
        seen: HashSet::new(),
        keep_empty: args.keep_empty,
    };
    if let Some(query) = &args.fetch {
        let fetching = Fetching::start(&args.fetching, &format!("uniprot {}", query.trim()))?;
        fetching.run(async {
            let mut pages = fetching.fetcher.uniprot(query)?;
            while let Some(entries) = pages.next_page().await? {
                entries.iter().try_for_each(|entry| proteins.add(entry))?;
            }
            Ok(())
        })?;
        fetching.tell();
    }
    for input in &args.inputs {
        for entry in Entries::open(input)? {
            proteins.add(&entry?)?;
        }
    }
    proteins.table.finish()
}

struct Proteins {
    table: TextTable,
    seen: HashSet<String>,
    keep_empty: bool,
}

impl Proteins {
    fn add(&mut self, entry: &Entry) -> anyhow::Result<()> {
        let text = entry.function_text();
        let sequence = entry.sequence.as_deref().filter(|sequence| !sequence.is_empty());
        if !self.seen.insert(entry.accession.clone()) {
            self.table.leave_out(1_u64, "left out, accession read before");
        } else if text.is_none() && !self.keep_empty {
            self.table.leave_out(1_u64, "left out, without a function comment (--keep-empty keeps them)");
        } else if sequence.is_none() && !self.keep_empty {
            self.table.leave_out(1_u64, "left out, without a sequence (--keep-empty keeps them)");
        } else {
            self.table.push(&[
                entry.accession.as_str().into(),
                entry.entry_name.as_deref().into(),
                entry.gene.as_deref().into(),
                entry.organism.as_deref().into(),
                entry.taxon_id.into(),
                sequence.map_or(Cell::Missing, |sequence| Cell::Number(sequence.len() as u64)),
                sequence.into(),
                text.as_deref().into(),
            ])?;
        }
        Ok(())
    }
}
