//! `protext search`: queries from a file against a collection on disk.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::ValueEnum;
use protext_core::Modality;
use protext_engine::input::{InputOptions, Source, open};
use protext_engine::m8::{M8_COLUMNS, m8_lines};
use protext_engine::search::{Query, SearchAnswer, SearchRequest, search};
use protext_engine::{Engine, Limits, OpenCollection, Target};
use protext_index::{Filter, Keywords};

use super::pair_rows::DEFAULT_TEXT_ENCODER;
use crate::fault::UsageError;
use crate::qdrant;
use crate::wiring::{self, ModelArgs};

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  protext search query.fasta --index proteome.index -k 5\n  \
    protext search query.fasta --index proteome.index --format m8 > hits.m8\n  \
    protext search --id P69905 --index proteome.index\n  \
    protext search --text \"copper transport across membranes\" --gene HBA1 --index proteome.index\n  \
    protext search query.fasta --index go.index -k 3\n  \
    protext search --id P69905 --index proteome.index --index go.index --target texts\n  \
    protext search --keywords \"alcohol dehydrogenase\" --index proteome.index\n  \
    protext search query.fasta --index proteome.index --filter 'taxon under 7711 and length between 100 and 500'\n\n\
    An id or gene is looked for in the searched collection first, then in the others that are open.")]
pub(crate) struct Args {
    /// Queries: FASTA, TSV, CSV, JSON lines or Parquet, plain or gzip; - for standard input.
    #[arg(required_unless_present_any = ["id", "text", "gene", "keywords"])]
    input: Option<PathBuf>,
    /// A record of any open collection as the query; may be given several times.
    #[arg(long, value_name = "ID")]
    id: Vec<String>,
    /// A sentence as the query; may be given several times.
    #[arg(long, value_name = "TEXT")]
    text: Vec<String>,
    /// A gene symbol of any open collection as the query; may be given several times.
    #[arg(long, value_name = "SYMBOL")]
    gene: Vec<String>,
    /// Words to look for in genes, descriptions and texts: alone, or beside each other query, when both rankings are
    /// fused.
    #[arg(long, value_name = "WORDS")]
    keywords: Option<String>,
    /// Only records for which this holds, such as 'organism = "Homo sapiens" and length < 500' (docs/API.md).
    #[arg(long, value_name = "EXPR")]
    filter: Option<String>,
    /// Text encoder, for --text.
    #[arg(long, value_name = "ID", default_value = DEFAULT_TEXT_ENCODER)]
    text_encoder: String,
    /// A collection's folder, or its address in Qdrant (qdrant://host:6333/name); may be given several times.
    #[arg(long, value_name = "FOLDER", required = true)]
    index: Vec<PathBuf>,
    /// What to search, when several collections are open: proteins, texts or genes.
    #[arg(long)]
    target: Option<Target>,
    /// Hits of each query.
    #[arg(short, default_value_t = 10)]
    k: usize,
    /// Compare with every record.
    #[arg(long)]
    exact: bool,
    /// Order so many first hits anew by the residues of query and hit; slower, and better at remote relatives.
    #[arg(long, value_name = "N", default_value_t = 0)]
    rerank: usize,
    /// m8 (BLAST's twelve columns, from real local alignments), tsv, or json (one object a query).
    #[arg(long, value_enum, default_value_t = FormatArg::Tsv)]
    format: FormatArg,
    /// Name the columns in a first line (tsv and m8).
    #[arg(long)]
    header: bool,
    /// Leave bad queries out and go on.
    #[arg(long)]
    keep_going: bool,
    #[command(flatten)]
    model: ModelArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FormatArg {
    M8,
    Tsv,
    Json,
}

const TSV_COLUMNS: [&str; 13] = [
    "query",
    "rank",
    "target",
    "cosine",
    "length",
    "gene",
    "organism",
    "description",
    "text",
    "probability",
    "expected_false_hits",
    "taxon",
    "keyword_score",
];

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.k == 0 {
        return Err(UsageError("-k is 0, but must be at least 1".to_owned()).into());
    }
    let filter = args.filter.as_deref().map(Filter::parse).transpose()?.map(Arc::new);
    let keywords = args.keywords.as_deref().map(Keywords::parse).transpose()?;
    let collections = open_collections(&args.index)?;
    let mut embedders = Vec::new();
    if args.input.is_some() {
        embedders.push(wiring::start_embedder(&args.model, true)?);
    }
    if !args.text.is_empty() {
        let model = args.model.for_modality(Modality::Text, &args.text_encoder);
        embedders.push(wiring::start_embedder(&model, true)?);
    }
    let engine = Engine::new(embedders, collections, Limits::default());
    let engine = Arc::new(wiring::calibrated(engine, wiring::registry()?.cache(), &args.model)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    write_header(&mut out, &args)?;
    let mut n_failed = 0;
    for query in queries(&args)? {
        let answer = query.and_then(|(name, query)| {
            let request = SearchRequest {
                query,
                keywords: keywords.clone(),
                filter: filter.clone(),
                collection: None,
                target: args.target,
                k: args.k,
                exact: args.exact,
                align: args.format == FormatArg::M8,
                rerank: args.rerank,
            };
            let answer = runtime.block_on(search(&engine, request));
            answer
                .map(|answer| (name.clone(), answer))
                .map_err(|error| anyhow::Error::from(error).context(name))
        });
        match answer {
            Ok((name, answer)) => write_answer(&mut out, args.format, &name, &answer)?,
            Err(error) if args.keep_going => {
                n_failed += 1;
                eprintln!("left out: {}", crate::fault::message(&error));
            }
            Err(error) => return Err(error),
        }
    }
    out.flush()?;
    if n_failed > 0 {
        eprintln!("{n_failed} queries were left out");
    }
    Ok(ExitCode::SUCCESS)
}

/// Opens collections under the names of their folders, or under their own where they lie on a server.
pub(crate) fn open_collections(folders: &[PathBuf]) -> anyhow::Result<BTreeMap<String, OpenCollection>> {
    let mut open = BTreeMap::new();
    for folder in folders {
        let name = qdrant::name_of(folder)?;
        if open.insert(name.clone(), qdrant::open_to_read(folder)?).is_some() {
            return Err(
                UsageError(format!("two of the collections are called {name:?}; rename one folder")).into()
            );
        }
    }
    Ok(open)
}

pub(super) type NamedQuery = anyhow::Result<(String, Query)>;
/// A query by its name; none where keywords alone are asked for.
type NamedSearch = anyhow::Result<(String, Option<Query>)>;

fn queries(args: &Args) -> anyhow::Result<Box<dyn Iterator<Item = NamedSearch>>> {
    let ids = args.id.iter().map(|id| (id.clone(), Query::Id(id.clone())));
    let genes = args.gene.iter().map(|symbol| (symbol.clone(), Query::Gene(symbol.clone())));
    let texts = args.text.iter().map(|text| (text.clone(), Query::Text(text.clone())));
    let named: Vec<NamedQuery> = ids.chain(genes).chain(texts).map(Ok).collect();
    let some = |query: NamedQuery| query.map(|(name, query)| (name, Some(query)));
    match (&args.input, &args.keywords) {
        (None, Some(words)) if named.is_empty() => Ok(Box::new(std::iter::once(Ok((words.clone(), None))))),
        (None, _) => Ok(Box::new(named.into_iter().map(some))),
        (Some(input), _) => Ok(Box::new(named.into_iter().chain(sequences(input)?).map(some))),
    }
}

/// The sequences of a file as queries, by id.
pub(super) fn sequences(input: &Path) -> anyhow::Result<Box<dyn Iterator<Item = NamedQuery>>> {
    let records = open(&Source::from_arg(input), &InputOptions::new(Modality::Protein))?;
    let file = records.file().to_owned();
    Ok(Box::new(records.map(move |record| {
        let record = record?;
        let name = record.id.clone();
        let sequence = record.payload.as_str().to_owned();
        // Judged here too, so that a refusal names the record.
        protext_core::ProteinSequence::parse(&sequence, protext_core::ResiduePolicy::default()).map_err(
            |error| {
                anyhow::Error::from(error).context(format!("{file}: record {} (id {name:?})", record.number))
            },
        )?;
        Ok((name, Query::Sequence(sequence)))
    })))
}

fn write_header(out: &mut impl std::io::Write, args: &Args) -> std::io::Result<()> {
    match args.format {
        FormatArg::Tsv if args.header => writeln!(out, "{}", TSV_COLUMNS.join("\t")),
        FormatArg::M8 if args.header => writeln!(out, "{}", M8_COLUMNS.join("\t")),
        _ => Ok(()),
    }
}

fn write_answer(
    out: &mut impl std::io::Write,
    format: FormatArg,
    name: &str,
    answer: &SearchAnswer,
) -> anyhow::Result<()> {
    match format {
        FormatArg::M8 => write!(out, "{}", m8_lines(name, answer))?,
        FormatArg::Tsv => {
            for hit in &answer.hits {
                let record = &hit.record;
                let (gene, organism) =
                    (record.gene.as_deref().unwrap_or(""), record.organism.as_deref().unwrap_or(""));
                let (rank, id, length, description) =
                    (hit.rank, &record.id, record.length, &record.description);
                let cosine = hit.cosine.map_or_else(String::new, |cosine| format!("{cosine:.4}"));
                let keyword_score = hit.keyword_score.map_or_else(String::new, |score| score.to_string());
                let taxon = record.taxon_id.map_or_else(String::new, |taxon| taxon.to_string());
                let text = record.text.as_deref().unwrap_or("");
                let (probability, false_hits) = hit.homology.map_or_else(Default::default, |known| {
                    (format!("{:.3}", known.probability), format!("{:.2e}", known.expected_false_hits))
                });
                writeln!(
                    out,
                    "{name}\t{rank}\t{id}\t{cosine}\t{length}\t{gene}\t{organism}\t{description}\t{text}\t\
                     {probability}\t{false_hits}\t{taxon}\t{keyword_score}"
                )?;
            }
        }
        FormatArg::Json => {
            let hits = answer.hits.iter().map(|hit| {
                serde_json::json!({
                    "rank": hit.rank, "id": hit.record.id, "cosine": hit.cosine,
                    "probability": hit.homology.map(|known| known.probability),
                    "expected_false_hits": hit.homology.map(|known| known.expected_false_hits), "rerank_score": hit.rerank_score, "description": hit.record.description,
                    "organism": hit.record.organism, "gene": hit.record.gene, "length": hit.record.length,
                    "text": hit.record.text, "taxon_id": hit.record.taxon_id, "source": hit.record.source,
                    "fields": hit.record.fields, "keyword_score": hit.keyword_score, "fused_score": hit.fused_score,
                })
            });
            let hits: Vec<_> = hits.collect();
            let answer = serde_json::json!({
                "query": name, "collection": answer.collection, "target": answer.target, "hits": hits,
                "long": answer.long, "explanation": answer.explanation,
            });
            writeln!(out, "{answer}")?;
        }
    }
    Ok(())
}
