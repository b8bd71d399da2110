//! `POST /v1/predict/variants`: scores of a protein's mutants, and scans of every substitution.

use std::collections::BTreeSet;

use actix_web::{HttpResponse, web};
use protext_core::{LongPolicy, LongReport, ResidueNotes};
use protext_engine::variants::{
    Masking, MutantSource, Scan, VariantAnswer, VariantRequest, VariantScore, VariantScores, predict_variants,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::body::ReadBody;
use crate::error::{Problem, ProblemKind};
use crate::openapi::schemas;
use crate::state::AppState;

/// One protein, by sequence or by the id of a record, with mutants or a scan.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = VariantsBody)]
pub(crate) struct Body {
    #[serde(default)]
    sequence: Option<String>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    mutants: Vec<String>,
    #[serde(default)]
    scan: bool,
    #[serde(default = "default_scores")]
    #[schema(value_type = Vec<Score>)]
    scores: BTreeSet<Score>,
    #[serde(default = "default_masking")]
    #[schema(value_type = schemas::Masking)]
    masking: Masking,
    #[serde(default = "default_long")]
    #[schema(value_type = schemas::LongPolicy)]
    long: LongPolicy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = VariantScoreName)]
enum Score {
    MaskedMarginal,
    WildTypeMarginal,
    EmbeddingShift,
}

#[derive(Serialize)]
struct Answer<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    lm_head: Option<&'a str>,
    length: usize,
    variants: Vec<Variant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scan: Option<&'a Scan>,
    long: LongReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    residues: Option<ResidueNotes>,
}

#[derive(Serialize)]
struct Variant {
    mutant: String,
    #[serde(flatten)]
    score: VariantScore,
}

fn default_scores() -> BTreeSet<Score> {
    BTreeSet::from([Score::MaskedMarginal, Score::WildTypeMarginal])
}

fn default_masking() -> Masking {
    Masking::Each
}

fn default_long() -> LongPolicy {
    LongPolicy::Window
}

/// How likely does the protein language model find substitutions?
#[utoipa::path(post, path = "/v1/predict/variants", tag = "predict",
    request_body(content = Body, example = json!({"sequence": "MKTAYIAKQRQISFVKSHFSRQ", "mutants": ["K2W", "A4G:K2W"]})),
    responses((status = 200, description = "Scores", body = schemas::VariantsAnswer)))]
pub(crate) async fn post(state: web::Data<AppState>, body: ReadBody) -> Result<HttpResponse, Problem> {
    let body: Body = body.json()?;
    let answer = predict_variants(&state.engine, request(body)?).await?;
    Ok(HttpResponse::Ok().json(on_wire(&answer)))
}

fn request(body: Body) -> Result<VariantRequest, Problem> {
    let Body { sequence, id, model, mutants, scan, scores, masking, long } = body;
    let invalid = |detail: &str, field| Err(Problem::new(ProblemKind::Invalid, detail).in_field(field));
    let source = match (sequence, id) {
        (Some(sequence), None) => MutantSource::Sequence(sequence),
        (None, Some(id)) => MutantSource::Id(id),
        _ => return invalid("give exactly one of sequence and id", "sequence"),
    };
    if scores.is_empty() {
        return invalid(
            "name at least one of masked_marginal, wild_type_marginal, embedding_shift",
            "scores",
        );
    }
    let shift = scores.contains(&Score::EmbeddingShift);
    if shift && mutants.is_empty() {
        let detail = "a scan has no embedding_shift, which takes one pass a mutant; name the mutants";
        return invalid(detail, "scores");
    }
    let scores = VariantScores {
        masked: scores.contains(&Score::MaskedMarginal).then_some(masking),
        wild_type: scores.contains(&Score::WildTypeMarginal),
        shift,
    };
    Ok(VariantRequest { source, encoder: model, mutants, scan, scores, long })
}

fn on_wire(answer: &VariantAnswer) -> Answer<'_> {
    let variants = answer.variants.iter();
    Answer {
        model: &answer.encoder,
        lm_head: answer.head.as_deref(),
        length: answer.sequence.len(),
        variants: variants
            .map(|(mutant, score)| Variant { mutant: mutant.to_string(), score: *score })
            .collect(),
        scan: answer.scan.as_ref(),
        long: answer.long,
        residues: Some(answer.residues).filter(|notes| !notes.is_clean()),
    }
}
