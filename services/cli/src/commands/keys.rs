//! `protext keys`: who may use the service.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use clap::Subcommand;
use protext_api::access::{KeyFile, KeyFileError, KeyLimits, Scope};

use crate::fault::{self, UsageError};

#[derive(Subcommand)]
#[command(after_help = "Examples:\n  protext keys create --name lab --scope write\n  \
    protext keys create --name robot --per-minute 600 --per-day 100000\n  \
    protext keys list\n  protext keys revoke 1f0c9a2b\n\n\
    The file is --keys, else PROTEXT_KEYS, else protext/keys.json in $XDG_CONFIG_HOME or ~/.config. It holds digests, never \
    keys. A running service reads it again within seconds.")]
pub(crate) enum Args {
    /// Make a key and print it, once.
    Create {
        #[command(flatten)]
        file: FileArg,
        /// Whose it is; for lists and logs.
        #[arg(long)]
        name: String,
        /// What it allows: read (search, embed, predict), write (records, too) or admin (collections, too).
        #[arg(long, default_value = "read")]
        scope: Scope,
        /// Most requests a minute.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        per_minute: Option<u32>,
        /// Most requests a day, from midnight UTC.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        per_day: Option<u64>,
    },
    /// Show the keys, without what opens them.
    List {
        #[command(flatten)]
        file: FileArg,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make a key useless.
    Revoke {
        #[command(flatten)]
        file: FileArg,
        /// Its id, as `protext keys list` shows it.
        id: String,
    },
}

#[derive(clap::Args)]
pub(crate) struct FileArg {
    /// File of keys.
    #[arg(long, value_name = "FILE", env = "PROTEXT_KEYS")]
    keys: Option<PathBuf>,
}

impl FileArg {
    fn path(&self) -> anyhow::Result<PathBuf> {
        if let Some(path) = &self.keys {
            return Ok(path.clone());
        }
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let config =
            variable("XDG_CONFIG_HOME").or_else(|| variable("HOME").map(|home| home.join(".config")));
        Ok(config.context("name the file of keys with --keys")?.join("protext/keys.json"))
    }
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args {
        Args::Create { file, name, scope, per_minute, per_day } => {
            let (path, limits) =
                (file.path()?, KeyLimits { requests_per_minute: per_minute, requests_per_day: per_day });
            let (record, secret) = KeyFile::create(&path, &name, scope, limits).map_err(usage)?;
            eprintln!("key {} ({name}, {scope}) is in {}; it is shown this once:", record.id, path.display());
            println!("{secret}");
        }
        Args::List { file, json } => list(&KeyFile::load(&file.path()?).map_err(usage)?, json)?,
        Args::Revoke { file, id } => {
            KeyFile::revoke(&file.path()?, &id).map_err(usage)?;
            eprintln!("key {id} is revoked; a running service knows within seconds");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(file: &KeyFile, json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(file)?);
        return Ok(());
    }
    println!("id        scope  state    per minute  per day   age in days  name");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    for key in &file.keys {
        let state = if key.revoked_unix_s.is_some() { "revoked" } else { "works" };
        let limit = |n: Option<u64>| n.map_or("-".to_owned(), |n| n.to_string());
        let (minute, day) = (key.limits.requests_per_minute.map(u64::from), key.limits.requests_per_day);
        let age = now.saturating_sub(key.created_unix_s) / 86_400;
        let (id, scope, name) = (&key.id, key.scope.to_string(), &key.name);
        println!("{id:<9} {scope:<6} {state:<8} {:>10}  {:>8} {age:>12}  {name}", limit(minute), limit(day));
    }
    Ok(())
}

fn usage(error: KeyFileError) -> anyhow::Error {
    UsageError(fault::message(&error.into())).into()
}
