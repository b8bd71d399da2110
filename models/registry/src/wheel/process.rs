//! A child process with a time limit, that leaves no process behind and whose words are kept within bounds.
//!
//! The child leads a process group of its own. The group is killed when the limit is over and also when the child
//! has ended, since what it started has no one to work for then. On Linux the child is killed when Protext is.

use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// How much of the standard error is kept.
const TAIL_BYTES: usize = 16 << 10;
/// How much of it is shown.
const SHOWN_LINES: usize = 5;
const SHOWN_BYTES: usize = 2048;
/// How often the child is looked at.
const POLL: Duration = Duration::from_millis(20);
/// How long a process that left the group may hold the standard error open.
const STRAGGLERS: Duration = Duration::from_secs(2);

/// How a child ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// `None`: the limit was over and it was killed.
    pub(super) status: Option<ExitStatus>,
    /// The end of its standard error.
    tail: Vec<u8>,
}

impl Ended {
    /// The last lines of the standard error, at most 2 kB.
    pub(super) fn last_lines(&self) -> String {
        let said = String::from_utf8_lossy(&self.tail);
        let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let text = lines[lines.len().saturating_sub(SHOWN_LINES)..].join(" / ");
        text[text.ceil_char_boundary(text.len().saturating_sub(SHOWN_BYTES))..].to_owned()
    }
}

/// Runs `command` to its end, at most for `timeout`.
pub(super) fn run(mut command: Command, timeout: Duration) -> io::Result<Ended> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    lead_a_group(&mut command);
    let mut child = command.spawn()?;
    let stderr = child.stderr.take();
    let (send, receive) = channel();
    std::thread::spawn(move || {
        // Nobody listens any more if a straggler held the pipe for too long.
        let _ = send.send(stderr.map(tail_of).unwrap_or_default());
    });
    let was_in_time = wait(&child, timeout);
    // The child has not been waited for yet, so its number still means its group.
    kill_group(&child);
    let status = child.wait()?;
    let tail = receive.recv_timeout(STRAGGLERS).unwrap_or_default();
    Ok(Ended { status: was_in_time?.then_some(status), tail })
}

/// Reads to the end and keeps the last part.
fn tail_of(mut stream: impl Read) -> Vec<u8> {
    let mut tail = Vec::with_capacity(2 * TAIL_BYTES);
    let mut block = [0; 4096];
    loop {
        let n_bytes = match stream.read(&mut block) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Ok(n_bytes @ 1..) => n_bytes,
            // What could be read before a failure is still worth showing.
            Ok(0) | Err(_) => return tail,
        };
        if tail.len() + n_bytes > 2 * TAIL_BYTES {
            tail.drain(..tail.len() - TAIL_BYTES);
        }
        tail.extend_from_slice(&block[..n_bytes]);
    }
}

/// Waits until the child has ended, without releasing its number; `false` when the limit is over.
fn wait(child: &Child, timeout: Duration) -> io::Result<bool> {
    let begun = Instant::now();
    while !has_ended(child)? {
        if begun.elapsed() >= timeout {
            return Ok(false);
        }
        std::thread::sleep(POLL);
    }
    Ok(true)
}

fn has_ended(child: &Child) -> io::Result<bool> {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    Ok(waitid(WaitId::Pid(pid(child)), look)?.is_some())
}

fn kill_group(child: &Child) {
    // Fails only where the whole group has ended by itself.
    let _ = rustix::process::kill_process_group(pid(child), rustix::process::Signal::KILL);
}

fn pid(child: &Child) -> rustix::process::Pid {
    rustix::process::Pid::from_child(child)
}

fn lead_a_group(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    command.process_group(0);
    // A group of its own gets no Ctrl-C from the terminal, so the child would outlive an interrupted Protext.
    #[cfg(target_os = "linux")]
    // SAFETY: the closure makes one system call and touches no memory of the parent.
    unsafe {
        command.pre_exec(|| {
            Ok(rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(tail: &[u8]) -> Ended {
        Ended { status: None, tail: tail.to_vec() }
    }

    #[test]
    fn a_stream_without_end_takes_little_memory() {
        let mut stream = vec![b'x'; 10 << 20];
        stream.extend_from_slice(b"\nthe end\n");
        let tail = tail_of(&stream[..]);
        assert!(tail.capacity() <= 2 * TAIL_BYTES && tail.len() >= TAIL_BYTES);
        let shown = ended(&tail).last_lines();
        assert!(shown.len() <= SHOWN_BYTES && shown.ends_with("the end"));
    }

    #[test]
    fn the_last_lines_are_shown() {
        assert_eq!(ended(b"").last_lines(), "");
        assert_eq!(ended(b"1\n2\n3\n\n4\r\n5\n6\n \n").last_lines(), "2 / 3 / 4 / 5 / 6");
        // Cut between characters, also where one of them is cut by the tail.
        let shown = ended("äö€".repeat(2000).as_bytes()).last_lines();
        assert!(shown.len() <= SHOWN_BYTES && shown.ends_with('€'));
    }

    #[test]
    fn the_end_of_a_child_is_told() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo why >&2; exit 3"]);
        let ended = run(command, Duration::from_secs(60)).unwrap();
        assert_eq!(ended.status.and_then(|status| status.code()), Some(3));
        assert_eq!(ended.last_lines(), "why");
        assert_eq!(
            run(Command::new("/nowhere/python3"), Duration::ZERO).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }
}
