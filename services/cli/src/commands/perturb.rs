//! `protext perturb`: what perturbing a gene, or several together, changes; and genetic interactions of pairs.

use std::io::{BufRead as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::ValueEnum;
use protext_core::{Head, HeadTask, PairHead};
use protext_engine::eval::perturbation::PerturbationData;
use protext_engine::perturbation::{
    DETAILS_FILE, GenePairPredictor, HeadDetails, PerturbationAnswer, PerturbationError,
    PerturbationPredictor, PerturbationPredictors,
};
use protext_onnx::{Device, OnnxHead, OnnxPairHead};
use protext_registry::heads::{ReadyPredictor, predictor_from_folder, predictor_named};

use super::gene_heads::GeneTableArgs;
use crate::fault::UsageError;
use crate::wiring;

/// Heads that ship: responses and screens first, then pairs.
pub(crate) const RANKED_HEADS: [&str; 2] = ["protext-replogle-k562", "protext-replogle-rpe1"];
const SCREEN_HEAD: &str = "protext-screens";
const PAIR_HEADS: [&str; 2] = ["protext-horlbeck", "protext-norman"];

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  protext perturb POLR2A\n  \
    protext perturb RPL3 HSPA5+XBP1 --top 50 --format json\n  \
    protext perturb CD28 LCP2 --head protext-screens\n  \
    protext perturb BRCA1+PARP1 --head protext-horlbeck\n\n\
    Heads that ship: protext-replogle-k562 and -rpe1 (genes that a CRISPRi knock-down raises: 1 is the strongest, 0 not among \
    the first 1,000), protext-screens (scores of seven CRISPR screens), protext-horlbeck and protext-norman (genetic \
    interaction of pairs). Symbols may be official, retired or aliases, in any case; one that means no gene, or several, is \
    an error with close spellings.")]
pub(crate) struct Args {
    /// Genes; A+B stands for two that are perturbed together, - for standard input (one request a line).
    #[arg(required = true)]
    genes: Vec<String>,
    #[command(flatten)]
    head: HeadArgs,
    #[command(flatten)]
    table: GeneTableArgs,
    /// Largest predicted changes that are shown.
    #[arg(long, value_name = "N", default_value_t = 20)]
    top: usize,
    /// tsv, or json (one object a request).
    #[arg(long, value_enum, default_value_t = FormatArg::Tsv)]
    format: FormatArg,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FormatArg {
    Tsv,
    Json,
}

/// The head that answers.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct HeadArgs {
    /// A head that ships, by name, or a folder of your own (see `protext train head --task perturbation`).
    #[arg(long, value_name = "NAME or FOLDER")]
    head: Option<String>,
}

impl HeadArgs {
    /// The files of the head named, else of the first that ships.
    pub(crate) fn named(&self) -> anyhow::Result<ReadyPredictor> {
        find(self.head.as_deref().unwrap_or(RANKED_HEADS[0]))
    }

    /// The files of the head named, else of the one that ships for this kind of data; of several, the one in the file's name.
    pub(crate) fn files(&self, path: &Path, data: &PerturbationData) -> anyhow::Result<ReadyPredictor> {
        if let Some(head) = &self.head {
            return find(head);
        }
        let candidates: &[&str] = match data {
            PerturbationData::Ranked(_) => &RANKED_HEADS,
            PerturbationData::Screens(_) => &[SCREEN_HEAD],
            PerturbationData::Pairs(_) => &PAIR_HEADS,
        };
        let file = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let in_name = |id: &&&str| id.rsplit('-').next().is_some_and(|word| file.contains(word));
        match (candidates, candidates.iter().find(in_name)) {
            ([only], _) | (_, Some(only)) => find(only),
            _ => Err(UsageError(format!(
                "{}: several heads ship for such data and the file's name says none; name one of {} by --head",
                path.display(),
                candidates.join(", ")
            ))
            .into()),
        }
    }
}

fn find(head: &str) -> anyhow::Result<ReadyPredictor> {
    let registry = wiring::registry()?;
    if let Some(ready) = predictor_named(registry.cache(), head)? {
        return Ok(ready);
    }
    if Path::new(head).is_dir() {
        return Ok(predictor_from_folder(Path::new(head))?);
    }
    let known = [&RANKED_HEADS[..], &[SCREEN_HEAD], &PAIR_HEADS].concat().join(", ");
    Err(UsageError(format!("no head is called {head:?}, and no folder; those that ship are {known}")).into())
}

/// Opens a head for perturbations.
pub(crate) fn open(files: &ReadyPredictor, genes: &GeneTableArgs) -> anyhow::Result<PerturbationPredictor> {
    let registry = wiring::registry()?;
    ensure_task(files, HeadTask::Perturbation)?;
    let runtime = wiring::load_runtime(registry.cache(), Device::Auto)?;
    let open = |name: &str| -> anyhow::Result<Arc<dyn Head>> {
        Ok(Arc::new(OnnxHead::open(&runtime, files.card.clone(), files.file(name)?)?))
    };
    let details = HeadDetails::read(files.file(DETAILS_FILE)?)?;
    let table = genes.open()?;
    Ok(PerturbationPredictor::new(table, open("head.onnx")?, open("text.onnx")?, details)?)
}

/// Opens a head for pairs of genes.
pub(crate) fn open_pairs(files: &ReadyPredictor, genes: &GeneTableArgs) -> anyhow::Result<GenePairPredictor> {
    let registry = wiring::registry()?;
    ensure_task(files, HeadTask::Pair)?;
    let runtime = wiring::load_runtime(registry.cache(), Device::Auto)?;
    let open = |head: &str, pair: &str| -> anyhow::Result<Arc<dyn PairHead>> {
        Ok(Arc::new(OnnxPairHead::open(&runtime, files.card.clone(), files.file(head)?, files.file(pair)?)?))
    };
    let details = HeadDetails::read(files.file(DETAILS_FILE)?)?;
    let table = genes.open()?;
    let (head, text) = (open("head.onnx", "pair.onnx")?, open("text.onnx", "text_pair.onnx")?);
    Ok(GenePairPredictor::new(table, head, text, details)?)
}

/// The heads for perturbations that ship, for the service; each is opened when it is first asked.
pub(crate) fn shipped() -> anyhow::Result<PerturbationPredictors> {
    let registry = wiring::registry()?;
    let mut ids = Vec::new();
    for id in RANKED_HEADS.into_iter().chain([SCREEN_HEAD]) {
        if predictor_named(registry.cache(), id)?.is_some() {
            ids.push(id.to_owned());
        }
    }
    let open =
        |id: &str| find(id).and_then(|files| open(&files, &GeneTableArgs::default())).map_err(Into::into);
    Ok(PerturbationPredictors::new(ids, Box::new(open)))
}

fn ensure_task(files: &ReadyPredictor, expected: HeadTask) -> anyhow::Result<()> {
    let (head, found) = (files.card.id.clone(), files.card.task);
    if found == expected {
        return Ok(());
    }
    Err(protext_core::HeadError::Task { head, expected, found }.into())
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.top == 0 {
        return Err(UsageError("--top is 0, but must be at least 1".to_owned()).into());
    }
    let requests = requests(&args.genes)?;
    let files = args.head.named()?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if files.card.task == HeadTask::Pair {
        let predictor = open_pairs(&files, &args.table)?;
        pairs(&mut out, &predictor, &requests, args.format)?;
    } else {
        let predictor = open(&files, &args.table)?;
        let answers =
            requests.iter().map(|genes| predictor.predict(genes, args.top).with_context(|| genes.join("+")));
        let answers: Vec<PerturbationAnswer> = answers.collect::<Result<_, _>>()?;
        write_answers(&mut out, &answers, args.format)?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Genes of each request.
fn requests(given: &[String]) -> anyhow::Result<Vec<Vec<String>>> {
    let mut lines = Vec::new();
    for one in given {
        if one == "-" {
            for line in std::io::stdin().lock().lines() {
                lines.push(line.context("cannot read standard input")?);
            }
        } else {
            lines.push(one.clone());
        }
    }
    lines.retain(|line| !line.trim().is_empty());
    let genes = |line: &String| line.split('+').map(|gene| gene.trim().to_owned()).collect();
    Ok(lines.iter().map(genes).collect())
}

fn write_answers(
    out: &mut impl std::io::Write,
    answers: &[PerturbationAnswer],
    format: FormatArg,
) -> anyhow::Result<()> {
    if format == FormatArg::Json {
        for answer in answers {
            writeln!(out, "{}", serde_json::to_string(answer)?)?;
        }
        return Ok(());
    }
    writeln!(
        out,
        "genes\tname\tpredicted\tlow\thigh\ttraining_mean\ttext_ridge\tin_training\tnearest_training_gene\tdistance"
    )?;
    for answer in answers {
        let symbols = answer.genes.iter().map(|gene| gene.symbol.as_str()).collect::<Vec<_>>().join("+");
        let trained = answer.genes.iter().map(|gene| if gene.in_training { "yes" } else { "no" });
        let trained = trained.collect::<Vec<_>>().join("+");
        let near =
            answer.genes.iter().map(|gene| gene.nearest.as_ref().map_or("-", |near| near.symbol.as_str()));
        let near = near.collect::<Vec<_>>().join("+");
        let distance = answer
            .genes
            .iter()
            .map(|gene| gene.nearest.as_ref().map_or("-".to_owned(), |near| format!("{:.3}", near.distance)));
        let distance = distance.collect::<Vec<_>>().join("+");
        for mover in &answer.movers {
            writeln!(
                out,
                "{symbols}\t{}\t{:.4}\t{:.4}\t{:.4}\t{:.4}\t{:.4}\t{trained}\t{near}\t{distance}",
                mover.name, mover.predicted, mover.low, mover.high, mover.training_mean, mover.text_ridge
            )?;
        }
    }
    Ok(())
}

/// Genetic interactions of requests of two genes each.
fn pairs(
    out: &mut impl std::io::Write,
    predictor: &GenePairPredictor,
    requests: &[Vec<String>],
    format: FormatArg,
) -> anyhow::Result<()> {
    let (mut genes, mut asked) = (Vec::new(), Vec::new());
    for request in requests {
        let [a, b] = &request[..] else {
            let said =
                format!("{}: head {} takes pairs; write two genes as A+B", request.join("+"), predictor.id());
            return Err(UsageError(said).into());
        };
        for (at, gene) in [a, b].into_iter().enumerate() {
            let found = predictor.table().resolve(gene);
            let found = found.map_err(|source| PerturbationError::Gene { position: at + 1, source });
            genes.push(Some(found.with_context(|| request.join("+"))?.gene));
        }
        asked.push((genes.len() - 2, genes.len() - 1, 0.0));
    }
    let [ours, text] = predictor.scores(&genes, &asked)?;
    let output = &predictor.details().outputs[0];
    if format == FormatArg::Tsv {
        writeln!(out, "gene_a\tgene_b\tgi_score\tlow\thigh\ttraining_mean\ttext_ridge\tin_training")?;
    }
    for (at, (a, b, _)) in asked.iter().enumerate() {
        let symbol = |place: usize| {
            genes[place].map(|gene| predictor.table().genes()[gene].symbol.as_str()).unwrap_or_default()
        };
        let trained = [predictor.knows(genes[*a]), predictor.knows(genes[*b])];
        let (score, half) = (ours[at], f64::from(output.half_width));
        if format == FormatArg::Json {
            let answer = serde_json::json!({
                "head": predictor.id(), "gene_a": symbol(*a), "gene_b": symbol(*b), "gi_score": score,
                "low": score - half, "high": score + half, "training_mean": output.training_mean,
                "text_ridge": text[at], "in_training": trained,
            });
            writeln!(out, "{answer}")?;
            continue;
        }
        let trained = trained.map(|known| if known { "yes" } else { "no" }).join("+");
        let (a, b, mean, text) = (symbol(*a), symbol(*b), output.training_mean, text[at]);
        writeln!(
            out,
            "{a}\t{b}\t{score:.4}\t{:.4}\t{:.4}\t{mean:.4}\t{text:.4}\t{trained}",
            score - half,
            score + half
        )?;
    }
    Ok(())
}
