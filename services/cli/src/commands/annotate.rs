//! `protext annotate`: what proteins do, as ranked texts with source and confidence.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::ValueEnum;
use protext_core::Modality;
use protext_engine::annotate::{AnnotateAnswer, AnnotateRequest, annotate};
use protext_engine::{Engine, Limits};

use super::pair_rows::DEFAULT_TEXT_ENCODER;
use super::search::sequences;
use crate::fault::UsageError;
use crate::qdrant;
use crate::shipped::Shipped;
use crate::wiring::{self, ModelArgs};

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  protext annotate proteins.fasta\n  \
    protext annotate proteins.fasta --index go.index -k 3 --format json\n\n\
    Without --index the functions that ship are offered (GO terms of many kinds). The confidence of a text is its share \
    among all texts that were offered.")]
pub(crate) struct Args {
    /// Proteins: FASTA, TSV, CSV, JSON lines or Parquet, plain or gzip; - for standard input.
    input: PathBuf,
    /// A collection of texts (see `protext index build --target texts`).
    #[arg(long, value_name = "FOLDER")]
    index: Option<PathBuf>,
    /// Annotations of each protein.
    #[arg(short, default_value_t = 5)]
    k: usize,
    /// tsv, or json (one object a protein).
    #[arg(long, value_enum, default_value_t = FormatArg::Tsv)]
    format: FormatArg,
    /// Leave bad records out and go on.
    #[arg(long)]
    keep_going: bool,
    /// Text encoder of the functions that ship.
    #[arg(long, value_name = "ID", default_value = DEFAULT_TEXT_ENCODER)]
    text_encoder: String,
    #[command(flatten)]
    model: ModelArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FormatArg {
    Tsv,
    Json,
}

const TSV_COLUMNS: &str = "query\trank\tid\tname\tconfidence\tcosine\tsource\ttext";

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.k == 0 {
        return Err(UsageError("-k is 0, but must be at least 1".to_owned()).into());
    }
    let engine = Arc::new(engine(&args)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if args.format == FormatArg::Tsv {
        writeln!(out, "{TSV_COLUMNS}")?;
    }
    let mut n_failed = 0;
    for query in sequences(&args.input)? {
        let answer = query.and_then(|(name, query)| {
            let request = AnnotateRequest { query, collection: None, k: args.k };
            let answer = runtime.block_on(annotate(&engine, request));
            Ok((name.clone(), answer.with_context(|| name)?))
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
        eprintln!("{n_failed} proteins were left out");
    }
    Ok(ExitCode::SUCCESS)
}

/// The protein encoder, the texts to offer, and how sure a cosine makes us.
fn engine(args: &Args) -> anyhow::Result<Engine> {
    let registry = wiring::registry()?;
    if wiring::find_towers(registry.cache(), &args.model)?.is_none() {
        let said = format!(
            "no towers to texts ship for {}; train some (`protext train projection`) and give them by --towers",
            args.model.encoder
        );
        return Err(UsageError(said).into());
    }
    let texts = match &args.index {
        Some(folder) => qdrant::open_to_read(folder)?,
        None => {
            let model = args.model.for_modality(Modality::Text, &args.text_encoder);
            Shipped::functions().open(registry.cache(), &wiring::start_embedder(&model, true)?)?
        }
    };
    let embedder = wiring::start_embedder(&args.model, true)?;
    let engine =
        Engine::new(vec![embedder], BTreeMap::from([("texts".to_owned(), texts)]), Limits::default());
    wiring::calibrated(engine, registry.cache(), &args.model)
}

fn write_answer(
    out: &mut impl std::io::Write,
    format: FormatArg,
    name: &str,
    answer: &AnnotateAnswer,
) -> anyhow::Result<()> {
    if format == FormatArg::Json {
        let annotations = answer.annotations.iter().map(|found| {
            serde_json::json!({
                "rank": found.rank, "id": found.record.id, "name": found.record.description,
                "text": found.record.text, "source": found.record.source, "cosine": found.cosine,
                "confidence": found.confidence,
            })
        });
        let annotations: Vec<_> = annotations.collect();
        let answer = serde_json::json!({
            "query": name, "n_texts": answer.n_texts, "space": answer.space, "annotations": annotations,
            "long": answer.long,
        });
        writeln!(out, "{answer}")?;
        return Ok(());
    }
    for found in &answer.annotations {
        let (rank, cosine, record) = (found.rank, found.cosine, &found.record);
        let confidence = found.confidence.map_or("-".to_owned(), |value| format!("{value:.3}"));
        let (id, title) = (&record.id, &record.description);
        let (source, text) = (record.source.as_deref().unwrap_or(""), record.text.as_deref().unwrap_or(""));
        writeln!(out, "{name}\t{rank}\t{id}\t{title}\t{confidence}\t{cosine:.4}\t{source}\t{text}")?;
    }
    Ok(())
}
