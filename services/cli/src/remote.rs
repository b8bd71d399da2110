//! Encoders that run elsewhere: from manifest and environment to an encoder, and what it spent.
//!
//! One account serves all of them, so a limit holds for the whole process whatever it embeds.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use protext_registry::Cache;
use protext_registry::remote::{RemoteManifest, WireFormat};
use protext_remote::{ApiKey, NumberFormat, Patience, RemoteEncoder, RemoteSpec, SpendAccount, SpendLimits};

use crate::fault::UsageError;

/// Tokens that one process may spend unless told otherwise: about the summaries of all human genes, and at most $0.65
/// with the dearest encoder that ships.
const DEFAULT_LIMIT_TOKENS: u64 = 5_000_000;
/// Requests at once at most, whatever is asked for.
const MAX_WORKERS: usize = 64;

static ACCOUNT: OnceLock<Arc<SpendAccount>> = OnceLock::new();

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// The account of this process.
fn account() -> anyhow::Result<Arc<SpendAccount>> {
    if let Some(account) = ACCOUNT.get() {
        return Ok(Arc::clone(account));
    }
    let limits = limits(variable)?;
    Ok(Arc::clone(ACCOUNT.get_or_init(|| Arc::new(SpendAccount::new(limits)))))
}

/// `PROTEXT_SPEND_LIMIT_TOKENS` (a number, or `none`) and `PROTEXT_SPEND_LIMIT_USD`.
fn limits(variable: impl Fn(&str) -> Option<String>) -> Result<SpendLimits, UsageError> {
    let wrong = |name: &str, value: &str, rule: &str| UsageError(format!("{name}={value:?}: {rule}"));
    let plain = |value: &str| value.trim().replace(['_', ','], "");
    let name = "PROTEXT_SPEND_LIMIT_TOKENS";
    let max_tokens = match variable(name) {
        None => Some(DEFAULT_LIMIT_TOKENS),
        Some(value) if value.trim() == "none" => None,
        Some(value) => {
            let tokens = plain(&value)
                .parse()
                .map_err(|_| wrong(name, &value, "write a number of tokens, or none"))?;
            Some(tokens)
        }
    };
    let name = "PROTEXT_SPEND_LIMIT_USD";
    let max_usd = variable(name).map(|value| {
        let usd = plain(&value).parse::<f64>().ok().filter(|usd| usd.is_finite() && *usd >= 0.0);
        usd.ok_or_else(|| wrong(name, &value, "write an amount of US dollars, such as 2.50"))
    });
    Ok(SpendLimits { max_tokens, max_usd: max_usd.transpose()? })
}

/// What defines the encoder, with the environment's address and key.
pub(crate) fn spec(manifest: &RemoteManifest, cache: &Cache) -> RemoteSpec {
    let table = &manifest.remote;
    RemoteSpec {
        id: manifest.id.clone(),
        model: table.model.clone(),
        base_url: base_url(manifest),
        dim: manifest.dim,
        asks_dim: table.dimensions.is_some(),
        window: manifest.window,
        normalize: manifest.normalize,
        key_variable: table.key_env.clone(),
        key: table.key_env.as_deref().and_then(variable).map(ApiKey::new),
        number_format: match table.encoding_format {
            WireFormat::Unsaid => NumberFormat::Unsaid,
            WireFormat::Float => NumberFormat::Float,
            WireFormat::Base64 => NumberFormat::Base64,
        },
        max_inputs: table.max_inputs,
        max_request_tokens: table.max_tokens_per_request,
        bytes_per_token: table.bytes_per_token,
        usd_per_million_tokens: table.price_per_million_tokens,
        timeout: Duration::from_secs(table.timeout_s),
        patience: Patience {
            n_tries: table.n_tries,
            first_wait: Duration::from_millis(table.first_wait_ms),
            longest_wait: Duration::from_secs(table.longest_wait_s),
        },
        environment_proxies: true,
        cache: cache.root().join("remote"),
    }
}

/// Opens the encoder; what it spends is on this process's account.
pub(crate) fn open_encoder(manifest: &RemoteManifest, cache: &Cache) -> anyhow::Result<RemoteEncoder> {
    Ok(RemoteEncoder::open(spec(manifest, cache), account()?)?)
}

/// Requests at once: as many as asked for, else the manifest's.
pub(crate) fn n_workers(manifest: &RemoteManifest, asked: usize) -> usize {
    let n_workers = if asked == 0 { manifest.remote.concurrent_requests } else { asked };
    n_workers.clamp(1, MAX_WORKERS)
}

fn base_url(manifest: &RemoteManifest) -> String {
    let table = &manifest.remote;
    table.base_url_env.as_deref().and_then(variable).unwrap_or_else(|| table.base_url.clone())
}

/// Whether a key is there, or none is needed.
pub(crate) fn has_key(manifest: &RemoteManifest) -> bool {
    manifest.remote.key_env.as_deref().is_none_or(|name| variable(name).is_some())
}

/// The address, unless it holds what should not be shown.
fn shown_url(manifest: &RemoteManifest) -> String {
    let url = base_url(manifest);
    let at = url.rfind('@').map_or(0, |at| at + 1);
    url[at..].split('?').next().unwrap_or_default().to_owned()
}

/// Such as that it runs at `https://api.openai.com/v1`.
pub(crate) fn where_it_runs(manifest: &RemoteManifest) -> String {
    format!("it runs at {}", shown_url(manifest))
}

/// Which variable it needs, and whether it is set.
pub(crate) fn key_state(manifest: &RemoteManifest) -> String {
    match &manifest.remote.key_env {
        None => "needs no key".to_owned(),
        Some(name) if has_key(manifest) => format!("the key in {name} is set"),
        Some(name) => format!("set the key: export {name}=..."),
    }
}

/// `protext models info`.
pub(crate) fn print_info(manifest: &RemoteManifest, cache: &Cache) {
    let table = &manifest.remote;
    println!("{}\n{}", manifest.id, manifest.title);
    println!("licence     {}", manifest.licence);
    println!("rows        {} dimensions, in {}", manifest.dim, spec(manifest, cache).space());
    println!("window      {} tokens, long inputs: {:?}", manifest.window, manifest.long);
    println!("runs at     {}, as model {}", shown_url(manifest), table.model);
    if let Some(name) = &table.base_url_env {
        println!("            ({name} takes the place of {})", table.base_url);
    }
    println!("key         {}", key_state(manifest));
    println!(
        "requests    up to {} texts or {} tokens each, {} at once; a token is taken for {} bytes",
        table.max_inputs, table.max_tokens_per_request, table.concurrent_requests, table.bytes_per_token
    );
    match table.price_per_million_tokens {
        Some(price) => println!("price       ${price} a million tokens, as the manifest states it"),
        None => println!("price       not stated"),
    }
    println!("paid rows   {}", spec(manifest, cache).cache.display());
    println!("notes       {}", manifest.notes);
}

/// Says on standard error what this process spent, if it embedded anything elsewhere.
pub(crate) fn tell_spent() {
    let Some(account) = ACCOUNT.get() else { return };
    let spent = account.spent();
    if spent.n_tokens == 0 && spent.n_cached == 0 && spent.n_requests == 0 {
        return;
    }
    let price = if spent.usd > 0.0 { format!(" (about ${:.4})", spent.usd) } else { String::new() };
    eprintln!(
        "spent elsewhere: {} requests, {} tokens{price}; {} texts were paid for before",
        spent.n_requests, spent.n_tokens, spent.n_cached
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_and_mistakes_are_named() {
        let read = |tokens: Option<&str>, usd: Option<&str>| {
            limits(|name| if name.ends_with("TOKENS") { tokens } else { usd }.map(str::to_owned))
        };
        assert_eq!(read(None, None).unwrap().max_tokens, Some(DEFAULT_LIMIT_TOKENS));
        let limits = read(Some("2_000_000"), Some("1.5")).unwrap();
        assert_eq!((limits.max_tokens, limits.max_usd), (Some(2_000_000), Some(1.5)));
        assert_eq!(read(Some("none"), None).unwrap().max_tokens, None);
        for (tokens, usd) in
            [(Some("many"), None), (Some("-1"), None), (None, Some("NaN")), (None, Some("-1"))]
        {
            let error = read(tokens, usd).unwrap_err().to_string();
            assert!(error.contains("PROTEXT_SPEND_LIMIT_"), "{error}");
        }
    }
}
