//! `protext jobs --url`: the jobs of a service.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use protext_worker::spec::HitFormat;
use protext_worker::{JobSpec, JobState, JobStatus, Manifest, Task};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use tokio::runtime::Runtime;

use super::{tell, watch};
use crate::fault::UsageError;

/// Longest wait for a connection, and between two parts of an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The jobs of a service.
pub(crate) struct Api {
    url: String,
    client: Client,
    runtime: Runtime,
    key: Option<String>,
}

/// The parts of an error that people are told.
#[derive(Deserialize)]
struct Problem {
    detail: String,
}

#[derive(Deserialize)]
struct List {
    jobs: Vec<JobStatus>,
}

impl Api {
    pub(super) fn open(url: &str) -> anyhow::Result<Self> {
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(UsageError(format!("--url {url:?}: write http://HOST:PORT or https://HOST")).into());
        }
        protext_http::install_crypto_provider();
        let client = Client::builder().connect_timeout(PATIENCE).read_timeout(PATIENCE).build()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let key = std::env::var("PROTEXT_API_KEY").ok().filter(|key| !key.is_empty());
        Ok(Self { url: url.trim_end_matches('/').to_owned(), client, runtime, key })
    }

    fn at(&self, path: &str) -> String {
        format!("{}/v1/jobs{path}", self.url)
    }

    fn send(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let request = match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        };
        self.runtime.block_on(async {
            let answer = request.send().await.with_context(|| format!("no answer from {}", self.url))?;
            let status = answer.status();
            if status.is_success() {
                return Ok(answer);
            }
            let text = answer.text().await.unwrap_or_default();
            let said = serde_json::from_str::<Problem>(&text).map_or(text, |problem| problem.detail);
            let message = format!("{} refuses ({status}): {said}", self.url);
            // What the caller can mend is wrong usage; the rest is a failure.
            if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS {
                return Err(UsageError(message).into());
            }
            Err(anyhow::anyhow!(message))
        })
    }

    fn json<T: serde::de::DeserializeOwned>(&self, request: RequestBuilder) -> anyhow::Result<T> {
        let answer = self.send(request)?;
        self.runtime
            .block_on(answer.json())
            .with_context(|| format!("{} gave no answer that can be read", self.url))
    }

    pub(super) fn list(&self) -> anyhow::Result<Vec<JobStatus>> {
        Ok(self.json::<List>(self.client.get(self.at("")))?.jobs)
    }

    pub(super) fn show(&self, id: &str) -> anyhow::Result<JobStatus> {
        self.json(self.client.get(self.at(&format!("/{id}"))))
    }

    pub(super) fn cancel(&self, id: &str) -> anyhow::Result<JobStatus> {
        self.json(self.client.post(self.at(&format!("/{id}/cancel"))))
    }

    pub(super) fn resume(
        &self,
        id: &str,
        leave_out_failed: bool,
        overwrite: bool,
    ) -> anyhow::Result<JobStatus> {
        if overwrite {
            let message = "results of a service's jobs lie with the job; leave --overwrite out";
            return Err(UsageError(message.to_owned()).into());
        }
        let path = format!("/{id}/resume?leave_out_failed={leave_out_failed}");
        self.json(self.client.post(self.at(&path)))
    }

    pub(super) fn remove(&self, id: &str) -> anyhow::Result<()> {
        let status = self.show(id)?;
        if !status.state.is_final() {
            return Err(UsageError(format!("job {id:?} is {}; cancel it first", status.state)).into());
        }
        self.send(self.client.delete(self.at(&format!("/{id}")))).map(|_| ())
    }

    pub(super) fn results(
        &self,
        id: &str,
        output: Option<&Path>,
        failures: bool,
        json: bool,
    ) -> anyhow::Result<ExitCode> {
        if failures {
            let answer = self.send(self.client.get(self.at(&format!("/{id}/results?part=failures"))))?;
            let lines = self.runtime.block_on(answer.text())?;
            std::io::stdout().write_all(lines.as_bytes())?;
        } else if let Some(output) = output {
            self.download(id, output)?;
        } else if json {
            let manifest: Manifest =
                self.json(self.client.get(self.at(&format!("/{id}/results?part=manifest"))))?;
            println!("{}", serde_json::to_string_pretty(&manifest)?);
        } else {
            tell(&self.show(id)?, false)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// To a temporary name first, so that the file is whole or not there.
    fn download(&self, id: &str, output: &Path) -> anyhow::Result<()> {
        let mut answer = self.send(self.client.get(self.at(&format!("/{id}/results"))))?;
        let folder =
            output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let written = || format!("cannot write {}", output.display());
        let mut file = tempfile::NamedTempFile::new_in(folder).with_context(written)?;
        let mut n_bytes = 0;
        self.runtime.block_on(async {
            while let Some(part) = answer.chunk().await? {
                file.write_all(&part).with_context(written)?;
                n_bytes += part.len();
            }
            anyhow::Ok(())
        })?;
        file.as_file().sync_all().with_context(written)?;
        file.persist(output).with_context(written)?;
        eprintln!("{}: {n_bytes} bytes", output.display());
        Ok(())
    }

    /// Sends the input with the job, follows the job, and fetches its result to `output` if one is named.
    pub(super) fn submit(
        &self,
        spec: &JobSpec,
        inputs: &[PathBuf],
        output: Option<&Path>,
        args: &super::RunningArgs,
    ) -> anyhow::Result<ExitCode> {
        let [input] = inputs else {
            return Err(
                UsageError("a service takes one input a job; put the files together".to_owned()).into()
            );
        };
        if matches!(&spec.task, Task::Ppi { head: Some(_), .. }) {
            let message = "a service pairs proteins with the head that it has loaded; leave --head out";
            return Err(UsageError(message.to_owned()).into());
        }
        if output.is_some_and(|output| output.exists() && !spec.overwrite) {
            let message = "the output exists already; choose another, or ask to overwrite it (--overwrite)";
            return Err(UsageError(message.to_owned()).into());
        }
        let body = match input == Path::new("-") {
            true => {
                let mut bytes = Vec::new();
                std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut bytes)?;
                reqwest::Body::from(bytes)
            }
            false => {
                let file =
                    std::fs::File::open(input).with_context(|| format!("cannot read {}", input.display()));
                let file = file.map_err(|error| UsageError(crate::fault::message(&error)))?;
                file_body(file)
            }
        };
        let query = query(spec, input, output);
        let request = self
            .client
            .post(self.at(&format!("?{query}")))
            .header("content-type", "application/octet-stream");
        let status: JobStatus = self.json(request.body(body))?;
        let id = status.id.clone();
        eprintln!("submitted: {id} (at {})", self.url);
        if args.no_run {
            tell(&status, args.json)?;
            return Ok(ExitCode::SUCCESS);
        }
        let status = watch(|| self.show(&id))?;
        if status.state == JobState::Done
            && let Some(output) = output
        {
            self.download(&id, output)?;
        }
        tell(&status, args.json)?;
        Ok(super::ended(&status))
    }
}

/// A file in parts, so that it need not fit in memory.
fn file_body(file: std::fs::File) -> reqwest::Body {
    let parts = futures_util::stream::unfold(Some(file), |file| async move {
        use std::io::Read as _;
        let mut file = file?;
        let mut part = vec![0; 1 << 18];
        // This runtime has nothing else to do.
        match file.read(&mut part) {
            Ok(0) => None,
            Ok(n) => {
                part.truncate(n);
                Some((Ok(part), Some(file)))
            }
            Err(error) => Some((Err(error), None)),
        }
    });
    reqwest::Body::wrap_stream(parts)
}

/// The job as a query, the form in which it comes with its records.
fn query(spec: &JobSpec, input: &Path, output: Option<&Path>) -> String {
    let mut pairs: Vec<(&str, String)> = vec![("kind", spec.task.kind().to_owned())];
    let mut add = |key: &'static str, value: Option<String>| pairs.extend(value.map(|value| (key, value)));
    let word = |value: serde_json::Value| value.as_str().map(str::to_owned);
    let hits = |format: &HitFormat| match format {
        HitFormat::Tsv => "tsv",
        HitFormat::M8 => "m8",
        HitFormat::Json => "json",
    };
    match &spec.task {
        Task::Embed { space, per_residue, format } => {
            let by_ending = || output.and_then(protext_engine::output::OutputFormat::from_path);
            add("space", word(serde_json::json!(space)));
            add("per_residue", Some(per_residue.to_string()));
            add("format", word(serde_json::json!(format.or_else(by_ending))));
        }
        Task::Index { target, index } => {
            add("target", Some(target.to_string()));
            add("index", word(serde_json::json!(index)));
        }
        Task::SearchAll { collection, k, exact, format } => {
            add("collection", Some(collection.clone()));
            add("k", Some(k.to_string()));
            add("exact", Some(exact.to_string()));
            add("format", Some(hits(format).to_owned()));
        }
        Task::Annotate { collection, k, format } => {
            add("collection", collection.clone());
            add("k", Some(k.to_string()));
            add("format", Some(hits(format).to_owned()));
        }
        Task::Ppi { k, min_probability, format, .. } => {
            add("k", Some(k.to_string()));
            add("min_probability", min_probability.map(|least| least.to_string()));
            add("format", Some(hits(format).to_owned()));
        }
    }
    let file = input.file_name().map(|name| name.to_string_lossy());
    let is_plain =
        |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    add("file", file.filter(|name| is_plain(name) && name.len() <= 64).map(std::borrow::Cow::into_owned));
    add("name", spec.name.clone());
    add("encoder", spec.model.encoder.clone());
    add("text_encoder", spec.model.text_encoder.clone());
    add("long", spec.records.long.and_then(|long| word(serde_json::json!(long))));
    add("strict", spec.records.strict.then(|| "true".to_owned()));
    add("keep_first", spec.records.keep_first.then(|| "true".to_owned()));
    add("keep_hours", Some(spec.keep_hours.to_string()));
    let pairs = pairs.iter().map(|(key, value)| format!("{key}={}", escaped(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// Percent-encodes all but what needs none anywhere in an address.
fn escaped(value: &str) -> String {
    let mut out = String::new();
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}
