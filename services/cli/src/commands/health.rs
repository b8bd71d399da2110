//! `protext health`: is the service ready? For container health checks, where no curl is.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;

/// Longest wait for a connection, and for each part of the answer.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Address of the service.
    #[arg(long, value_name = "ADDRESS:PORT", env = "PROTEXT_LISTEN", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut address = args.listen;
    if address.ip().is_unspecified() {
        // A service that listens everywhere also listens here.
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    let status = ask(address).with_context(|| format!("no answer from http://{address}/readyz"))?;
    println!("{status}");
    Ok(ExitCode::from(u8::from(!status.contains(" 200 "))))
}

/// The status line of `GET /readyz`.
fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(1 << 12).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned())
}
