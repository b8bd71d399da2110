//! Heads for residues: a class of each residue, from the rows that the encoder's last layer gives it.

use std::process::ExitCode;

use anyhow::Context as _;
use ndarray::Array2;
use protext_core::{FeatureCard, FeatureKind, HeadTask, LongPolicy, Modality, ResiduePolicy, RowKind};
use protext_engine::heads::{HeadDataError, LabelledRow, LabelledTable, TableOptions};
use protext_engine::input::{InputRecord, Payload};
use protext_engine::{EmbedOptions, EmbedRecordsSettings, Embedder, embed_records};
use protext_train::heads::Targets;

use super::parts::Parts;
use super::records::{Problem, finish, train};
use super::{Args, targets};
use crate::fault::UsageError;
use crate::{progress, wiring};

/// Letters that stand for no label.
const UNLABELLED: [char; 3] = ['-', '.', ' '];

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if !args.features.features.is_empty() || args.features.rows.is_some() {
        let said = "--task residue reads the rows of residues; leave --features and --rows out";
        return Err(UsageError(said.to_owned()).into());
    }
    let options = TableOptions {
        labels: args.label.clone(),
        group: args.split.group.clone(),
        sequences: args.sequences.clone(),
        ..TableOptions::default()
    };
    let mut table = LabelledTable::read(&args.data, &options)?;
    for row in &table.rows {
        check(args, row)?;
    }
    let parts = Parts::new(&args.split, &args.data, &mut table)?;
    let embedder = wiring::start_embedder(&args.features.model, false)?;
    let (rows, owners, letters) = labelled_residues(&embedder, &table.rows)?;
    let (outputs, of_row) = targets::classes(&args.data, letters.iter().map(String::as_str))?;
    let n_classes = outputs.len();
    let problem = Problem {
        rows,
        targets: Targets::Classes { of_row, n_classes },
        outputs,
        parts: parts.of_members(&owners),
        specs: args.mlp.specs(args.method, false),
        balance: args.balance,
    };
    let space = embedder.encoder().space(RowKind::Pooled).context("every encoder has pooled rows")?.clone();
    let encoder = embedder.encoder().id().to_owned();
    // Rows of residues live where their mean, the pooled row, does.
    let feature = FeatureCard { kind: FeatureKind::Residue, modality: Modality::Protein, encoder, space };
    let outcome = train(args, &problem)?;
    finish(args, &problem, outcome, (HeadTask::Residue, vec![feature]))
}

/// As many labels as residues.
fn check(args: &Args, row: &LabelledRow) -> anyhow::Result<()> {
    let residues = row.sequence.chars().filter(|letter| !letter.is_whitespace()).count();
    if residues == 0 {
        let said = format!(
            "{}: record {} ({}) has no sequence; add a column sequence, or give --sequences FILE",
            args.data.display(),
            row.number,
            row.id
        );
        return Err(UsageError(said).into());
    }
    if row.labels[0].chars().count() == residues {
        return Ok(());
    }
    Err(HeadDataError::Value {
        path: args.data.clone(),
        record: row.number,
        id: row.id.clone(),
        column: args.label[0].clone(),
        value: row.labels[0].chars().take(40).collect(),
        rule: "one letter a residue",
    }
    .into())
}

/// Rows of all labelled residues, the record that each belongs to, and its label.
fn labelled_residues(
    embedder: &Embedder,
    records: &[LabelledRow],
) -> anyhow::Result<(Array2<f32>, Vec<usize>, Vec<String>)> {
    let options = EmbedOptions { per_residue: true, ..EmbedOptions::new(LongPolicy::Window) };
    let settings = EmbedRecordsSettings { options, residues: ResiduePolicy::default(), joint: false };
    let dim = embedder.encoder_space().dim;
    let total = records.iter().map(|row| row.sequence.len() as u64).sum();
    let bar = progress::residues(Some(total), "embedding residues");
    let (mut values, mut owners, mut letters) = (Vec::new(), Vec::new(), Vec::new());
    let inputs = records.iter().enumerate().map(|(at, row)| {
        Ok(InputRecord::new(at as u64 + 1, row.id.clone(), Payload::Sequence(row.sequence.clone())))
    });
    embed_records(embedder, "records", inputs, &settings, |outcome| {
        let done = outcome.map_err(anyhow::Error::from)?;
        bar.inc(done.content.len() as u64);
        let owner = done.record.number as usize - 1;
        let rows = done.encoded.residues.as_deref().unwrap_or_default();
        for (row, letter) in rows.chunks_exact(dim).zip(records[owner].labels[0].chars()) {
            if !UNLABELLED.contains(&letter) {
                values.extend_from_slice(row);
                owners.push(owner);
                letters.push(letter.to_string());
            }
        }
        Ok::<_, anyhow::Error>(())
    })?;
    bar.finish_and_clear();
    Ok((Array2::from_shape_vec((owners.len(), dim), values)?, owners, letters))
}
