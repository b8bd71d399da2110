//! Perturbation: labelled data of three kinds, told by their columns, and the figures that predictions are held to.
//!
//! Ranked responses (`pert`, `up_ranked`), screens (`screen`, `gene`, `score`) and pairs of genes (`gene_a`, `gene_b`,
//! `gi_score`). Called by `protext eval perturbation` and `protext train head --task perturbation`.

mod data;
mod figures;
mod response_figures;

pub use data::{GenePairs, PerturbationData, RankedResponses, Screens};
pub use figures::{
    Advantage, RankedFigures, RankedOutcome, ScreenFigures, against, pair_spearman, ranked, ranked_figures,
    screen,
};
pub use response_figures::{ResponseFigures, response_figures};
