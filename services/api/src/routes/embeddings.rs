//! `POST /v1/embeddings`: OpenAI's shape, so that the `openai` client works as it is.
//!
//! `input` is a sequence (or a text, by the model's modality) or an array of them; `space` is ours: `encoder`
//! (default) for the model's own rows, `joint` for unit vectors that collections are searched with.

use actix_web::{HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures_util::future::join_all;
use protext_core::{
    Encoded, EncoderInput, LongPolicy, LongReport, Modality, ProteinSequence, ResidueNotes, Text,
};
use protext_engine::{EmbedOptions, Embedder, Engine, EngineError};
use serde::{Deserialize, Serialize};

use crate::error::{Problem, ProblemKind};
use crate::server::AppState;

#[derive(Deserialize)]
pub(super) struct Request {
    input: Input,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    encoding_format: EncodingFormat,
    #[serde(default)]
    dimensions: Option<usize>,
    #[serde(default)]
    space: SpaceChoice,
    #[serde(default)]
    long: Option<LongPolicy>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Input {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum EncodingFormat {
    #[default]
    Float,
    Base64,
}

#[derive(Deserialize, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum SpaceChoice {
    #[default]
    Encoder,
    Joint,
}

#[derive(Serialize)]
struct Response<'a> {
    object: &'static str,
    data: Vec<Embedding>,
    model: &'a str,
    usage: Usage,
    space: &'a protext_core::Space,
}

#[derive(Serialize)]
struct Embedding {
    object: &'static str,
    index: usize,
    embedding: Values,
    long: LongReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    residues: Option<ResidueNotes>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Values {
    Float(Vec<f32>),
    Base64(String),
}

/// Tokens that were run, special ones and overlaps of long inputs included.
#[derive(Serialize)]
struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
}

pub(super) async fn post(
    state: web::Data<AppState>,
    body: web::Json<Request>,
) -> Result<HttpResponse, Problem> {
    let request = body.into_inner();
    let engine = &state.engine;
    let embedder = pick(engine, request.model.as_deref())?;
    let raw = match request.input {
        Input::One(text) => vec![text],
        Input::Many(texts) => texts,
    };
    check_count(raw.len(), engine.limits().max_records)?;
    let inputs = parse_all(engine, embedder, &raw)?;
    let modality = embedder.encoder().modality();
    let long = request.long.unwrap_or_else(|| Engine::default_long(modality));
    let options = match request.space {
        SpaceChoice::Encoder => EmbedOptions::new(long),
        SpaceChoice::Joint => EmbedOptions::to_project(long),
    };
    let encoded = embed_all(embedder, &inputs, options).await?;
    let (space, vectors) = match request.space {
        SpaceChoice::Encoder => {
            (embedder.encoder_space(), encoded.iter().map(|e| e.pooled.as_slice().to_vec()).collect())
        }
        SpaceChoice::Joint => joint_vectors(embedder, &encoded)?,
    };
    check_dimensions(request.dimensions, space.dim)?;
    let n_tokens = encoded.iter().map(|e| e.n_tokens).sum();
    let data = vectors.into_iter().zip(&encoded).zip(&inputs).enumerate();
    let data = data.map(|(index, ((vector, encoded), (_, residues)))| Embedding {
        object: "embedding",
        index,
        embedding: encode_values(vector, request.encoding_format),
        long: encoded.report,
        residues: residues.filter(|notes| !notes.is_clean()),
    });
    Ok(HttpResponse::Ok().json(Response {
        object: "list",
        data: data.collect(),
        model: embedder.encoder().id(),
        usage: Usage { prompt_tokens: n_tokens, total_tokens: n_tokens },
        space,
    }))
}

/// The encoder named; without a name, the protein encoder.
fn pick<'a>(engine: &'a Engine, model: Option<&str>) -> Result<&'a Embedder, Problem> {
    Ok(engine.embedder(model.filter(|name| !name.is_empty()), Modality::Protein)?)
}

fn check_count(n_records: usize, max_records: usize) -> Result<(), Problem> {
    match n_records {
        0 => {
            Err(Problem::new(ProblemKind::Invalid, "input is empty: give one record or more")
                .in_field("input"))
        }
        n if n > max_records => {
            let detail =
                format!("input has {n} records, more than the limit of {max_records}; send them in parts");
            Err(Problem::new(ProblemKind::TooLarge, detail).in_field("input"))
        }
        _ => Ok(()),
    }
}

fn check_dimensions(asked: Option<usize>, dim: usize) -> Result<(), Problem> {
    match asked {
        Some(asked) if asked != dim => {
            let detail = format!("this space has {dim} dimensions and cannot be shortened to {asked}");
            Err(Problem::new(ProblemKind::Invalid, detail).in_field("dimensions"))
        }
        _ => Ok(()),
    }
}

fn parse_all(
    engine: &Engine,
    embedder: &Embedder,
    raw: &[String],
) -> Result<Vec<(EncoderInput, Option<ResidueNotes>)>, Problem> {
    let parse = |raw: &String| match embedder.encoder().modality() {
        Modality::Protein => ProteinSequence::parse(raw, engine.residue_policy())
            .map(|(sequence, notes)| (EncoderInput::Protein(sequence), Some(notes))),
        Modality::Text => Text::parse(raw).map(|text| (EncoderInput::Text(text), None)),
    };
    let parsed = raw.iter().enumerate().map(|(index, raw)| {
        parse(raw)
            .map_err(|error| Problem::from(EngineError::Parse(error)).in_field("input").in_record(index + 1))
    });
    parsed.collect()
}

/// All records go to the batcher before the first is waited for, so that they can share batches.
async fn embed_all(
    embedder: &Embedder,
    inputs: &[(EncoderInput, Option<ResidueNotes>)],
    options: EmbedOptions,
) -> Result<Vec<Encoded>, Problem> {
    let results = join_all(inputs.iter().map(|(input, _)| embedder.embed(input, options))).await;
    let named = results.into_iter().enumerate();
    named.map(|(index, result)| result.map_err(|error| Problem::from(error).in_record(index + 1))).collect()
}

fn joint_vectors<'a>(
    embedder: &'a Embedder,
    encoded: &[Encoded],
) -> Result<(&'a protext_core::Space, Vec<Vec<f32>>), Problem> {
    let missing =
        EngineError::NotLoaded { what: "projection for this encoder", instead: "space \"encoder\"" };
    let space = embedder.joint_space().ok_or(missing)?;
    let vectors = embedder.project(&encoded.iter().collect::<Vec<_>>(), space)?;
    Ok((space, vectors.into_iter().map(protext_core::JointVector::into_vec).collect()))
}

fn encode_values(vector: Vec<f32>, format: EncodingFormat) -> Values {
    match format {
        EncodingFormat::Float => Values::Float(vector),
        EncodingFormat::Base64 => {
            let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
            Values::Base64(BASE64.encode(bytes))
        }
    }
}
