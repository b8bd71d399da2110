//! `protext ppi`: do proteins interact? Pairs of a table, one protein against a file, or all of a file against all.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Instant;

use clap::ValueEnum;
use protext_core::Modality;
use protext_engine::heads::{InteractionOptions, InteractionTable};
use protext_engine::input::{InputOptions, Source, open};
use protext_engine::ppi::{Partner, PpiPredictor, Scored};

use super::feature_rows::FeatureSources;
use super::pair_rows::find_sequences;
use super::ppi_model;
use crate::fault::UsageError;
use crate::wiring::{self, ModelArgs};
use crate::{interrupt, progress};

/// Pairs that are scored and written together.
const BLOCK: usize = 4096;

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    protext ppi pairs.tsv --sequences proteins.fasta.gz\n  \
    protext ppi --query receptor.fasta --against proteome.fasta.gz --top 50\n  \
    protext ppi --all complex.fasta --top 10 --format json\n  \
    protext ppi --all proteome.fasta.gz --min-probability 0.9\n\n\
    A table of pairs has two columns of ids (protein_a and protein_b, id_a and id_b, a and b, ...) and perhaps sequence_a and \
    sequence_b. Each answer says whether a protein was trained on, and which training protein is nearest: predictions far \
    from all of them deserve less trust.")]
pub(crate) struct Args {
    /// Table of pairs: TSV, CSV, JSON lines or Parquet, plain or gzip.
    #[arg(required_unless_present_any = ["all", "query"], conflicts_with_all = ["all", "query"])]
    pairs: Option<PathBuf>,
    /// FASTA or tables with id and sequence, where the pairs have none; by default the tables in ../proteins beside them, or in
    /// $PROTEXT_SHARED/data/proteins.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    sequences: Vec<PathBuf>,
    /// Proteins, every one of which is paired with every other.
    #[arg(long, value_name = "FILE", conflicts_with = "query")]
    all: Option<PathBuf>,
    /// Proteins, each of which is paired with those of --against.
    #[arg(long, value_name = "FILE", requires = "against")]
    query: Option<PathBuf>,
    /// Proteins to pair with those of --query.
    #[arg(long, value_name = "FILE", requires = "query")]
    against: Option<PathBuf>,
    /// Best answers of each protein; by default 10, unless --min-probability is given.
    #[arg(long, value_name = "N")]
    top: Option<usize>,
    /// Only pairs of at least this probability. Without --top they are written as they are found, each pair once.
    #[arg(long, value_name = "P")]
    min_probability: Option<f64>,
    /// Leave pairs out whose proteins have no sequence, and go on.
    #[arg(long)]
    keep_going: bool,
    /// tsv, or json (one object a pair).
    #[arg(long, value_enum, default_value_t = FormatArg::Tsv)]
    format: FormatArg,
    /// Head in a folder of its own instead of the one that ships for the encoder.
    #[arg(long, value_name = "FOLDER")]
    head: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FormatArg {
    Tsv,
    Json,
}

const TSV_COLUMNS: &str = "protein_a\tprotein_b\tprobability\tscore\ta_in_training\ta_nearest\ta_similarity\tb_in_training\t\
                           b_nearest\tb_similarity";

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    check(&args)?;
    let asked = Asked::read(&args)?;
    let registry = wiring::registry()?;
    let runtime = wiring::load_runtime(registry.cache(), args.model.device)?;
    let predictor = ppi_model::open_for(registry.cache(), &runtime, &args.model, args.head.as_ref())?;
    let sources = FeatureSources::for_head(predictor.head().card(), &args.model, &runtime)?;
    let partners = ppi_model::partners(&predictor, &sources, &asked.proteins)?;
    let out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut writer = Writer { out, format: args.format, partners: &partners, least: args.min_probability };
    writer.header()?;
    let answered = answer(&args, &predictor, &asked, &mut writer);
    let flushed = writer.out.flush();
    answered?;
    flushed?;
    Ok(ExitCode::SUCCESS)
}

fn check(args: &Args) -> anyhow::Result<()> {
    if args.top == Some(0) {
        return Err(UsageError("--top is 0, but must be at least 1".to_owned()).into());
    }
    if let Some(least) = args.min_probability.filter(|least| !(0.0..=1.0).contains(least)) {
        return Err(UsageError(format!("--min-probability is {least}, but must be from 0 to 1")).into());
    }
    Ok(())
}

/// Proteins, each once, and which of them are paired.
struct Asked {
    proteins: Vec<(String, String)>,
    kind: Kind,
}

enum Kind {
    Pairs(Vec<(usize, usize)>),
    /// The first so many proteins with the others.
    Queries(usize),
    All,
}

impl Asked {
    fn read(args: &Args) -> anyhow::Result<Self> {
        if let Some(path) = &args.pairs {
            let sequences =
                if args.sequences.is_empty() { find_sequences(path) } else { args.sequences.clone() };
            let options =
                InteractionOptions { columns: None, sequences, labelled: false, strict: !args.keep_going };
            let table = InteractionTable::read(path, &options)?;
            ppi_model::tell_left_out(path, &table);
            let pairs = table.pairs.iter().map(|pair| (pair.a, pair.b)).collect();
            return Ok(Self { proteins: ppi_model::parsed(&table.proteins)?, kind: Kind::Pairs(pairs) });
        }
        if let (Some(query), Some(against)) = (&args.query, &args.against) {
            let mut proteins = read_proteins(query)?;
            let n_queries = proteins.len();
            proteins.extend(read_proteins(against)?);
            return Ok(Self { proteins: ppi_model::parsed(&proteins)?, kind: Kind::Queries(n_queries) });
        }
        let proteins = args.all.as_deref().map(read_proteins).transpose()?.unwrap_or_default();
        if proteins.len() < 2 {
            let said = "--all names a file of one protein; a pair has two";
            return Err(UsageError(said.to_owned()).into());
        }
        Ok(Self { proteins: ppi_model::parsed(&proteins)?, kind: Kind::All })
    }
}

fn read_proteins(path: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let records = open(&Source::from_arg(path), &InputOptions::new(Modality::Protein))?;
    records
        .map(|record| {
            let record = record?;
            Ok((record.id.clone(), record.payload.as_str().to_owned()))
        })
        .collect()
}

fn answer(
    args: &Args,
    predictor: &PpiPredictor,
    asked: &Asked,
    writer: &mut Writer<'_, impl Write>,
) -> anyhow::Result<()> {
    let n = asked.proteins.len();
    let top = args.top.or(args.min_probability.is_none().then_some(10));
    let stop = interrupt::flag()?;
    let started = Instant::now();
    match (&asked.kind, top) {
        (Kind::Pairs(pairs), _) => {
            for block in pairs.chunks(BLOCK) {
                writer.write(&predictor.pairs(writer.partners, block)?)?;
            }
        }
        (Kind::Queries(n_queries), _) => {
            for one in 0..*n_queries {
                let others: Vec<usize> =
                    (*n_queries..n).filter(|&other| asked.proteins[other] != asked.proteins[one]).collect();
                let mut found = predictor.one_against(writer.partners, one, &others)?;
                found.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.b.cmp(&b.b)));
                found.truncate(top.unwrap_or(usize::MAX));
                writer.write(&found)?;
            }
        }
        (Kind::All, Some(top)) => {
            let bar = progress::count(n as u64, "pairing proteins");
            let found = predictor.all_against_all(writer.partners, top, |_| {
                bar.inc(1);
                !stop.load(Ordering::Relaxed)
            })?;
            bar.finish_and_clear();
            for found in found.ok_or(interrupt::Interrupted)? {
                writer.write(&found)?;
            }
            tell_time(n, started);
        }
        (Kind::All, None) => {
            let bar = progress::count(n as u64, "pairing proteins");
            for one in 0..n {
                let others: Vec<usize> = (one + 1..n).collect();
                writer.write(&predictor.one_against(writer.partners, one, &others)?)?;
                bar.inc(1);
                if stop.load(Ordering::Relaxed) {
                    return Err(interrupt::Interrupted.into());
                }
            }
            bar.finish_and_clear();
            tell_time(n, started);
        }
    }
    Ok(())
}

/// What all against all took beyond embedding.
fn tell_time(n_proteins: usize, started: Instant) {
    let n_pairs = n_proteins * (n_proteins - 1) / 2;
    eprintln!("scored {n_pairs} pairs of {n_proteins} proteins in {:.1} s", started.elapsed().as_secs_f64());
}

/// Writes answers as they come.
struct Writer<'a, W: Write> {
    out: W,
    format: FormatArg,
    partners: &'a [Partner],
    least: Option<f64>,
}

impl<W: Write> Writer<'_, W> {
    fn header(&mut self) -> std::io::Result<()> {
        match self.format {
            FormatArg::Tsv => writeln!(self.out, "{TSV_COLUMNS}"),
            FormatArg::Json => Ok(()),
        }
    }

    fn write(&mut self, found: &[Scored]) -> std::io::Result<()> {
        for scored in found {
            if self.least.is_some_and(|least| scored.probability < least) {
                continue;
            }
            let (a, b) = (&self.partners[scored.a], &self.partners[scored.b]);
            match self.format {
                FormatArg::Tsv => writeln!(
                    self.out,
                    "{}\t{}\t{:.4}\t{:.4}\t{}\t{}",
                    a.id,
                    b.id,
                    scored.probability,
                    scored.score,
                    cells(a),
                    cells(b)
                )?,
                FormatArg::Json => {
                    let line = serde_json::json!({
                        "protein_a": a.id, "protein_b": b.id, "probability": scored.probability,
                        "score": scored.score, "a": known(a), "b": known(b),
                    });
                    writeln!(self.out, "{line}")?;
                }
            }
        }
        Ok(())
    }
}

/// Whether it was trained on, its nearest training protein and the similarity.
fn cells(partner: &Partner) -> String {
    let trained = if partner.in_training { "yes" } else { "no" };
    match &partner.nearest {
        Some(nearest) => format!("{trained}\t{}\t{:.3}", nearest.id, nearest.similarity),
        None => format!("{trained}\t-\t-"),
    }
}

fn known(partner: &Partner) -> serde_json::Value {
    serde_json::json!({ "in_training": partner.in_training, "nearest_training_protein": partner.nearest })
}
