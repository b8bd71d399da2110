//! `protext eval homology`: do domains find their CATH superfamily?

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use anyhow::Context as _;
use half::f16;
use ndarray::{Array2, ArrayView2};
use protext_core::Modality;
use protext_engine::eval::{
    CathDomain, CathTable, HomologyConfidence, HomologyMetrics, HomologyQueries, MMSEQS_HINT, check_homology,
    from_ranked_lists, from_vectors, mmseqs_ranked_lists,
};
use protext_engine::input::{InputRecord, Payload};
use protext_engine::rerank::{ResidueRows, mean_of_residues, rerank_score};
use protext_engine::{EmbedRecordsSettings, Embedder, embed_records};
use rayon::prelude::*;
use serde::Serialize;

use super::{reliability_plot, reliability_table, table_row, write_json, write_text};
use crate::commands::embed::{RecordArgs, output_space};
use crate::fault::UsageError;
use crate::wiring::{self, ModelArgs};
use crate::{interrupt, progress};

#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  protext eval homology --data cath_s20.tsv.gz --split test --json homology.json"
)]
pub(crate) struct Args {
    /// Table with the columns domain, superfamily, topology, sequence and, if it has parts, split.
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Part whose domains ask.
    #[arg(long, default_value = "test")]
    split: String,
    #[command(flatten)]
    model: ModelArgs,
    /// Where the figures go as JSON; - for standard output.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Leave MMseqs2 out.
    #[arg(long)]
    no_mmseqs: bool,
    /// Also measure with so many first hits of each query ordered anew by their residues; holds the rows of all residues
    /// in memory (about a gigabyte for CATH S20).
    #[arg(long, value_name = "N", default_value_t = 0)]
    rerank: usize,
    /// Where the figures go as tables in Markdown.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Where the reliability diagram of the probabilities goes, as SVG.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

#[derive(Serialize)]
struct Report<'a> {
    task: &'static str,
    data: String,
    split: &'a str,
    encoder: &'a str,
    space: String,
    #[serde(flatten)]
    ours: HomologyMetrics,
    /// Every space that the encoder's projections lead to, the main one included.
    spaces: BTreeMap<String, HomologyMetrics>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reranked: Option<HomologyMetrics>,
    /// How well the main space's probabilities and expected false hits hold, where its card states some.
    #[serde(skip_serializing_if = "Option::is_none")]
    confidence: Option<HomologyConfidence>,
    baselines: Baselines,
}

#[derive(Serialize)]
struct Baselines {
    raw_encoder: HomologyMetrics,
    mmseqs: Option<HomologyMetrics>,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let table = CathTable::read(&args.data)?;
    let selected = table.in_split(&args.data, &args.split)?;
    let queries = HomologyQueries::new(&table.domains, &selected)?;
    let embedder = wiring::start_embedder(&args.model, true)?;
    let space = output_space(&embedder, true)?.to_string();
    let rows = embed_domains(&embedder, &args.data, &table.domains, args.rerank > 0)?;
    let raw = unit_rows(rows.pooled);
    let mmseqs = if args.no_mmseqs { None } else { mmseqs(&table.domains, &queries)? };
    let reranked = match (args.rerank, rows.joint.first()) {
        (n_first @ 1.., Some(main)) => {
            let residues = Residues { rows: &rows.residues, dim: embedder.encoder_space().dim };
            Some(rerank_all(&queries, &main.view(), residues, n_first))
        }
        _ => None,
    };
    let measured = embedder.joint_spaces().zip(&rows.joint);
    let spaces: BTreeMap<String, HomologyMetrics> = measured
        .map(|(space, vectors)| (space.to_string(), from_vectors(&queries, &vectors.view())))
        .collect();
    let calibration = wiring::find_projection(wiring::registry()?.cache(), &args.model)?
        .filter(|head| head.card.space().to_string() == space)
        .and_then(|head| head.card.homology);
    let confidence = calibration
        .zip(rows.joint.first())
        .map(|(known, main)| check_homology(&queries, &main.view(), &known));
    let report = Report {
        task: "homology",
        data: args.data.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        split: &args.split,
        encoder: &args.model.encoder,
        ours: spaces.get(&space).cloned().context("the main space was measured")?,
        space,
        spaces,
        reranked,
        confidence,
        baselines: Baselines { raw_encoder: from_vectors(&queries, &raw.view()), mmseqs },
    };
    print(&report);
    write_json(args.json.as_deref(), &report)?;
    write_text(args.markdown.as_deref(), &markdown(&report))?;
    if let Some(path) = &args.plot {
        let found = report.confidence.as_ref().ok_or_else(|| {
            UsageError(
                "the projection's card says nothing about relatedness, so there is nothing to plot".into(),
            )
        })?;
        write_text(Some(path), &reliability_plot::draw("hit is of the superfamily", &found.probability)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Rows of every domain, in order.
struct DomainRows {
    pooled: Array2<f32>,
    /// One matrix a joint space of the embedder.
    joint: Vec<Array2<f32>>,
    /// Rows of the residues of each domain, if asked for.
    residues: Vec<Vec<f16>>,
}

fn embed_domains(
    embedder: &Embedder,
    data: &Path,
    domains: &[CathDomain],
    per_residue: bool,
) -> anyhow::Result<DomainRows> {
    let stop: &AtomicBool = interrupt::flag()?;
    let total = domains.iter().map(|domain| domain.sequence.len() as u64).sum();
    let bar = progress::residues(Some(total), "embedding domains");
    let mut pooled = Vec::with_capacity(embedder.encoder_space().dim * domains.len());
    let mut residues = Vec::new();
    let mut by_space: Vec<Vec<f32>> = embedder.joint_spaces().map(|_| Vec::new()).collect();
    let record = |(index, domain): (usize, &CathDomain)| {
        let payload = Payload::Sequence(domain.sequence.clone());
        Ok(InputRecord::new(index as u64 + 1, domain.id.clone(), payload))
    };
    let records = domains.iter().enumerate().map(record);
    let settings: EmbedRecordsSettings = RecordArgs::default().settings(Modality::Protein, per_residue, true);
    embed_records(
        embedder,
        &data.display().to_string(),
        records,
        &settings,
        |outcome| -> anyhow::Result<()> {
            if stop.load(std::sync::atomic::Ordering::Relaxed) {
                return Err(interrupt::Interrupted.into());
            }
            let record = outcome?;
            bar.inc(record.content.len() as u64);
            pooled.extend_from_slice(record.encoded.pooled.as_slice());
            if let Some(rows) = &record.encoded.residues {
                residues.push(rows.iter().map(|&value| f16::from_f32(value)).collect());
            }
            for (values, vector) in by_space.iter_mut().zip(&record.joint) {
                values.extend_from_slice(vector.as_slice());
            }
            Ok(())
        },
    )?;
    bar.finish_and_clear();
    let matrix = |values, dim| Array2::from_shape_vec((domains.len(), dim), values);
    Ok(DomainRows {
        pooled: matrix(pooled, embedder.encoder_space().dim)?,
        residues,
        joint: embedder
            .joint_spaces()
            .zip(by_space)
            .map(|(space, values)| matrix(values, space.dim))
            .collect::<Result<_, _>>()?,
    })
}

/// Rows of the residues of every domain, and their width.
#[derive(Clone, Copy)]
struct Residues<'a> {
    rows: &'a [Vec<f16>],
    dim: usize,
}

/// Each query's list by cosine, its first hits ordered anew as a search with `rerank` orders them.
fn rerank_all(
    queries: &HomologyQueries,
    vectors: &ArrayView2<'_, f32>,
    residues: Residues<'_>,
    n_first: usize,
) -> HomologyMetrics {
    let bar = progress::count(queries.rows.len() as u64, "ordering anew");
    let list = |&query: &usize| {
        let cosines = vectors.dot(&vectors.row(query));
        let mut ranked: Vec<usize> = (0..cosines.len()).filter(|&row| row != query).collect();
        ranked.sort_by(|&a, &b| cosines[b].total_cmp(&cosines[a]).then(a.cmp(&b)));
        let n_first = n_first.min(ranked.len());
        let of = |row: usize| residues.rows[row].iter().map(|value| value.to_f32()).collect::<Vec<f32>>();
        let rows: Vec<Vec<f32>> =
            std::iter::once(query).chain(ranked[..n_first].iter().copied()).map(of).collect();
        let mean = mean_of_residues(rows.iter().map(Vec::as_slice), residues.dim);
        let own = ResidueRows::new(&rows[0], &mean);
        let mut scored: Vec<(f32, usize)> = rows[1..]
            .iter()
            .zip(&ranked)
            .map(|(rows, &hit)| (rerank_score(cosines[hit], &own, &ResidueRows::new(rows, &mean)), hit))
            .collect();
        scored.sort_by(|one, other| other.0.total_cmp(&one.0));
        ranked.iter_mut().zip(scored).for_each(|(place, (_, hit))| *place = hit);
        bar.inc(1);
        ranked
    };
    let lists: Vec<Vec<usize>> = queries.rows.par_iter().map(list).collect();
    bar.finish_and_clear();
    from_ranked_lists(queries, &lists)
}

fn unit_rows(mut rows: Array2<f32>) -> Array2<f32> {
    for mut row in rows.rows_mut() {
        let norm = row.dot(&row).sqrt().max(f32::MIN_POSITIVE);
        row /= norm;
    }
    rows
}

fn mmseqs(domains: &[CathDomain], queries: &HomologyQueries) -> anyhow::Result<Option<HomologyMetrics>> {
    let lists = mmseqs_ranked_lists(domains, queries)?;
    if lists.is_none() {
        eprintln!("{MMSEQS_HINT}");
    }
    Ok(lists.map(|lists| from_ranked_lists(queries, &lists)))
}

/// Scores one matrix; used when a projection is fitted.
pub(crate) fn score(queries: &HomologyQueries, vectors: &ArrayView2<'_, f32>) -> HomologyMetrics {
    from_vectors(queries, vectors)
}

fn print(report: &Report<'_>) {
    println!(
        "{} queries of split {} in {}; 95% intervals by superfamily",
        report.ours.n_queries, report.split, report.data
    );
    println!("{:<50} {:>22} {:>22} {:>22} {:>22}", "", "top1", "hit_at_10", "sens_1fp", "map");
    for [name, top1, at_10, sens, map] in table(report) {
        println!("{name:<50} {top1:>22} {at_10:>22} {sens:>22} {map:>22}");
    }
    if report.baselines.mmseqs.is_none() {
        println!("MMseqs2: not run");
    }
    if let Some(HomologyConfidence { probability, false_hits }) = &report.confidence {
        println!("expected calibration error of the probabilities: {:.3}", probability.ece);
        for pair in false_hits {
            println!("false hits a query: {} expected, {:.3} found", pair.expected, pair.found);
        }
    }
}

/// Name, top1, hit_at_10, sens_1fp and map of every space and baseline.
fn table(report: &Report<'_>) -> Vec<[String; 5]> {
    let line = |name: &str, metrics: &HomologyMetrics| {
        let cell = |key: &str| metrics.intervals[key].to_string();
        let [top1, at_10, sens, map] = ["top1", "hit_at_10", "sens_1fp", "map"].map(cell);
        [name.to_owned(), top1, at_10, sens, map]
    };
    let mut lines = vec![line(&format!("{}, raw", report.encoder), &report.baselines.raw_encoder)];
    lines.extend(report.baselines.mmseqs.as_ref().map(|metrics| line("MMseqs2 -s 7.5", metrics)));
    let others = report.spaces.iter().filter(|(space, _)| **space != report.space);
    lines.extend(others.map(|(space, metrics)| line(space, metrics)));
    lines.push(line(&report.space, &report.ours));
    let reranked = report.reranked.as_ref();
    lines.extend(reranked.map(|metrics| line("the same, first hits ordered anew by residues", metrics)));
    lines
}

fn markdown(report: &Report<'_>) -> String {
    let mut page = format!(
        "{} queries of split {} in `{}`, each against all other domains of the file. Encoder `{}`. 95% intervals by \
         superfamily.\n\n| space | top-1 | hit at 10 | sens_1fp | mAP |\n|---|---|---|---|---|\n",
        report.ours.n_queries, report.split, report.data, report.encoder
    );
    page.extend(table(report).iter().map(|cells| table_row(cells)));
    if let Some(HomologyConfidence { probability, false_hits }) = &report.confidence {
        let _ = write!(
            page,
            "\nProbability that a hit is of the query's superfamily, over the first ten hits of each query: expected \
             calibration error {:.3}.\n\n{}\n| false hits a query, expected | found |\n|---|---|\n",
            probability.ece,
            reliability_table("probability", "hits", probability)
        );
        for pair in false_hits {
            let _ = writeln!(page, "| {} | {:.3} |", pair.expected, pair.found);
        }
    }
    page
}
