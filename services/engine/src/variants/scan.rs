//! A full single-site scan: every substitution at every position, as numbers and as a heat map.
//!
//! The map stands alone, as SVG or as an HTML page around it: positions along x, amino acids along y grouped by their
//! chemistry, blue where the substitution is liked more than the wild type, red where less; the wild type has a dot.

use std::fmt::Write as _;

use protext_core::{AminoAcid, LongReport, ProteinSequence};
use serde::Serialize;

use super::error::VariantError;
use super::model::{VariantModel, VariantScore, VariantScores};
use super::mutant::{Mutant, Substitution};
use super::passes::OnPass;

/// Rows of the map, by chemistry: aromatic, aliphatic, small, polar, positive, negative.
const ROWS: &[u8; 20] = b"FWYMILVAGCPSTNQHKRDE";
/// Size of a cell, in pixels.
const CELL: (usize, usize) = (9, 14);
/// Positions in one line of the map; longer proteins take several.
const LINE: usize = 150;
/// Margins of a line of the map: left of it, above it, below it.
const LEFT: usize = 34;
const ABOVE: usize = 30;
const BELOW: usize = 22;
/// Height of the title and of the legend.
const TITLE: usize = 44;

/// Scores of all substitutions of one protein.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scan {
    /// Residues that were scanned.
    pub sequence: String,
    /// Columns of the scores.
    pub amino_acids: String,
    /// `[positions][20]`, log p(amino acid) - log p(wild type), position masked; empty if not asked for. Rows of residues
    /// that are none of the 20 are all zero.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub masked_marginal: Vec<[f32; AminoAcid::COUNT]>,
    /// The same with nothing masked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub wild_type_marginal: Vec<[f32; AminoAcid::COUNT]>,
    /// What the long policy did.
    pub long: LongReport,
}

impl Scan {
    /// Scans a protein. Not for async threads.
    ///
    /// # Errors
    /// [`VariantError`].
    pub fn of(
        model: &VariantModel<'_>,
        sequence: &ProteinSequence,
        wanted: VariantScores,
        on_pass: OnPass<'_>,
    ) -> Result<Self, VariantError> {
        let (sequence, long) = model.within_policy(sequence)?;
        let positions: Vec<usize> = (0..sequence.len()).collect();
        let against_wild_type = |profile: &super::Profile| {
            let wild_types = sequence.as_str().bytes().map(AminoAcid::from_letter);
            let rows =
                wild_types.enumerate().map(|(position, wild_type)| match (profile.at(position), wild_type) {
                    (Some(chances), Some(wild_type)) => {
                        chances.map(|chance| chance - chances[wild_type.index()])
                    }
                    _ => [0.0; AminoAcid::COUNT],
                });
            rows.collect::<Vec<_>>()
        };
        let mut scan = Self {
            sequence: sequence.as_str().to_owned(),
            amino_acids: AminoAcid::all().map(|it| char::from(it.letter())).collect(),
            masked_marginal: Vec::new(),
            wild_type_marginal: Vec::new(),
            long,
        };
        if let Some(masking) = wanted.masked {
            let profile = model.masked_profile(&sequence, &positions, masking, on_pass)?;
            scan.masked_marginal = against_wild_type(&profile);
        }
        if wanted.wild_type {
            let profile = model.wild_type_profile(&sequence, &positions, on_pass)?;
            scan.wild_type_marginal = against_wild_type(&profile);
        }
        Ok(scan)
    }

    /// Every substitution of a standard residue, by position and letter.
    pub fn mutants(&self) -> impl Iterator<Item = Mutant> + '_ {
        self.sequence.bytes().enumerate().flat_map(|(position, letter)| {
            let wild_type = AminoAcid::from_letter(letter);
            let others = AminoAcid::all().filter(move |&mutant| wild_type.is_some_and(|it| it != mutant));
            others.filter_map(move |mutant| {
                Some(Mutant::single(Substitution { position, wild_type: wild_type?, mutant }))
            })
        })
    }

    /// Scores of a mutant, as [`VariantModel::score`] gives them.
    #[must_use]
    pub fn score(&self, mutant: &Mutant) -> VariantScore {
        let sum = |scores: &[[f32; AminoAcid::COUNT]]| {
            let of = |change: &Substitution| {
                Some(f64::from(*scores.get(change.position)?.get(change.mutant.index())?))
            };
            mutant.substitutions().iter().map(of).sum()
        };
        VariantScore {
            masked_marginal: sum(&self.masked_marginal),
            wild_type_marginal: sum(&self.wild_type_marginal),
            embedding_shift: None,
        }
    }

    /// The scores that are drawn: masked where there are, else those of the whole sequence.
    fn drawn(&self) -> (&'static str, &[[f32; AminoAcid::COUNT]]) {
        if self.masked_marginal.is_empty() {
            ("wild-type marginal", &self.wild_type_marginal)
        } else {
            ("masked marginal", &self.masked_marginal)
        }
    }
}

/// How scores become colours.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScanColors {
    /// Scores of this size and beyond have the full colour.
    pub limit: f32,
}

impl ScanColors {
    /// The 98th percentile of the sizes of the scores, so that a few outliers do not bleach the rest.
    #[must_use]
    pub fn fitted(scan: &Scan) -> Self {
        let mut sizes: Vec<f32> = scan.drawn().1.iter().flatten().map(|score| score.abs()).collect();
        sizes.sort_by(f32::total_cmp);
        let at = sizes.len() * 98 / 100;
        Self { limit: sizes.get(at).copied().unwrap_or(1.0).max(0.1) }
    }

    /// White at 0, red below, blue above.
    fn of(self, score: f32) -> String {
        let share = (score / self.limit).clamp(-1.0, 1.0);
        let full = if share < 0.0 { [178.0, 24.0, 43.0] } else { [33.0, 102.0, 172.0] };
        let [r, g, b] = full.map(|channel: f32| (255.0 + (channel - 255.0) * share.abs()).round() as u8);
        format!("#{r:02x}{g:02x}{b:02x}")
    }
}

/// The heat map as SVG; `title` names the protein.
#[must_use]
pub fn scan_svg(scan: &Scan, title: &str, colors: ScanColors) -> String {
    let (kind, scores) = scan.drawn();
    let residues = scan.sequence.as_bytes();
    let n_lines = residues.len().div_ceil(LINE);
    let line_height = ABOVE + ROWS.len() * CELL.1 + BELOW;
    let width = (LEFT + residues.len().min(LINE) * CELL.0 + 16).max(520);
    let height = TITLE + n_lines * line_height + 40;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"10\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"20\" font-size=\"14\">{}</text>\n\
         <text x=\"{LEFT}\" y=\"36\" fill=\"#555\">{kind}: log p(amino acid) - log p(wild type); dots mark the wild type</text>\n",
        escaped(title)
    );
    for (line, (residues, scores)) in residues.chunks(LINE).zip(scores.chunks(LINE)).enumerate() {
        let top = TITLE + line * line_height + ABOVE;
        draw_line(&mut svg, top, line * LINE, residues, scores, colors);
    }
    draw_legend(&mut svg, height - 28, colors);
    svg + "</svg>\n"
}

/// One line of the map: letters, cells, positions.
fn draw_line(
    svg: &mut String,
    top: usize,
    first: usize,
    residues: &[u8],
    scores: &[[f32; AminoAcid::COUNT]],
    colors: ScanColors,
) {
    let (cell_width, cell_height) = CELL;
    let y_of = |row: usize| top + row * cell_height;
    for (row, &letter) in ROWS.iter().enumerate() {
        let (x, y) = (LEFT - 14, y_of(row) + cell_height - 3);
        let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\">{}</text>", char::from(letter));
    }
    for (column, (&residue, scores)) in residues.iter().zip(scores).enumerate() {
        let (x, position) = (LEFT + column * cell_width, first + column + 1);
        let middle = x + cell_width / 2;
        if position == 1 || position % 10 == 0 {
            let y = top - 14;
            let _ = writeln!(svg, "<text x=\"{middle}\" y=\"{y}\" text-anchor=\"middle\">{position}</text>");
        }
        let y = top - 3;
        let residue = char::from(residue);
        let _ = writeln!(
            svg,
            "<text x=\"{middle}\" y=\"{y}\" text-anchor=\"middle\" font-size=\"9\" font-family=\"monospace\">{residue}</text>"
        );
        for (row, &letter) in ROWS.iter().enumerate() {
            let amino_acid = AminoAcid::from_letter(letter).expect("rows are standard letters");
            let (y, score) = (y_of(row), scores[amino_acid.index()]);
            let color = colors.of(score);
            let _ = writeln!(
                svg,
                "<rect x=\"{x}\" y=\"{y}\" width=\"{cell_width}\" height=\"{cell_height}\" fill=\"{color}\">\
                 <title>{residue}{position}{amino_acid} {score:.2}</title></rect>"
            );
            if amino_acid.letter() == residue as u8 {
                let y = y + cell_height / 2;
                let _ = writeln!(svg, "<circle cx=\"{middle}\" cy=\"{y}\" r=\"2\" fill=\"#222\"/>");
            }
        }
    }
    let (width, height) = (residues.len() * cell_width, ROWS.len() * cell_height);
    let _ = writeln!(
        svg,
        "<rect x=\"{LEFT}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" fill=\"none\" stroke=\"#999\"/>"
    );
}

fn draw_legend(svg: &mut String, top: usize, colors: ScanColors) {
    const STEPS: usize = 41;
    for step in 0..STEPS {
        let share = step as f32 / (STEPS - 1) as f32 * 2.0 - 1.0;
        let (x, color) = (LEFT + step * 5, colors.of(share * colors.limit));
        let _ = writeln!(svg, "<rect x=\"{x}\" y=\"{top}\" width=\"5\" height=\"10\" fill=\"{color}\"/>");
    }
    let (middle, end, y) = (LEFT + STEPS * 5 / 2, LEFT + STEPS * 5, top + 22);
    let limit = colors.limit;
    let _ = writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"{y}\">-{limit:.1}</text><text x=\"{middle}\" y=\"{y}\" text-anchor=\"middle\">0</text>\
         <text x=\"{end}\" y=\"{y}\" text-anchor=\"end\">+{limit:.1}</text>"
    );
}

/// The heat map as a page of its own that scrolls sideways.
#[must_use]
pub fn scan_html(scan: &Scan, title: &str, colors: ScanColors) -> String {
    let (svg, title) = (scan_svg(scan, title, colors), escaped(title));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{title}</title>\n\
         <style>body {{ margin: 1rem; font-family: sans-serif }} div {{ overflow-x: auto }} \
         rect:hover {{ stroke: #222; stroke-width: 1 }}</style></head>\n<body>\n\
         <p>Point at a cell to read its substitution and score.</p>\n<div>\n{svg}</div>\n</body>\n</html>\n"
    )
}

/// For text between tags.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(length: usize) -> Scan {
        let sequence: String = "ACDEFGHIKLMNPQRSTVWYX".chars().cycle().take(length).collect();
        let scores =
            (0..length).map(|position| std::array::from_fn(|it| it as f32 / 10.0 - (position % 3) as f32));
        Scan {
            sequence,
            amino_acids: "ACDEFGHIKLMNPQRSTVWY".to_owned(),
            masked_marginal: scores.collect(),
            wild_type_marginal: Vec::new(),
            long: LongReport::Whole,
        }
    }

    #[test]
    fn every_substitution_of_a_standard_residue_is_listed_once() {
        let mutants: Vec<String> = scan(21).mutants().map(|mutant| mutant.to_string()).collect();
        assert_eq!(mutants.len(), 20 * 19);
        assert_eq!((mutants[0].as_str(), mutants[379].as_str()), ("A1C", "Y20W"));
    }

    #[test]
    fn the_map_has_every_cell_and_marks_the_wild_type() {
        let scan = scan(320);
        let svg = scan_svg(&scan, "a <b> & c", ScanColors::fitted(&scan));
        assert_eq!(svg.matches("<title>").count(), 320 * 20);
        let n_standard = scan.sequence.bytes().filter(|&it| AminoAcid::from_letter(it).is_some()).count();
        assert_eq!(svg.matches("<circle").count(), n_standard);
        assert!(svg.contains(">320<") && svg.contains("a &lt;b&gt; &amp; c") && svg.contains("A1W "));
        let page = scan_html(&scan, "p", ScanColors::fitted(&scan));
        assert!(
            page.starts_with("<!doctype html>")
                && !page.contains("http://www.w3.org/1999")
                && !page.contains("src=")
        );
    }

    #[test]
    fn colours_are_white_at_zero_and_full_at_the_limit() {
        let colors = ScanColors { limit: 2.0 };
        assert_eq!(colors.of(0.0), "#ffffff");
        assert_eq!((colors.of(-2.0), colors.of(-9.0)), ("#b2182b".to_owned(), "#b2182b".to_owned()));
        assert_eq!(colors.of(2.0), "#2166ac");
    }
}
