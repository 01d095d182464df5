//! Captures that run, and what tshark reads in them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use super::{Yard, bounded, send_signal, wait_for, wait_until};

const TAPYARD: &str = env!("CARGO_BIN_EXE_tapyard");

/// A `tapyard capture` that runs.
pub(crate) struct Capturing {
    pub(crate) child: Child,
    pub(crate) said: PathBuf,
}

impl Capturing {
    /// Starts `tapyard capture ARGUMENTS`, whose standard output goes to `output`, and waits until it captures.
    pub(crate) fn start(yard: &Yard, arguments: &str, output: Stdio) -> Capturing {
        let said = yard.dir().join("capture.log");
        let mut command = Command::new(TAPYARD);
        command.arg("capture").args(arguments.split_whitespace()).env("TAPYARD_CONTROL", yard.control());
        command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(File::create(&said).expect("the directory is ours"));
        let capturing = Capturing { child: command.spawn().expect("the program starts"), said };
        wait_until("the capture to run", || capturing.said().contains("capturing on"));
        capturing
    }

    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.said).unwrap_or_default()
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let status = wait_for("the capture to end", || self.child.try_wait().expect("it is our child"));
        (status, self.said())
    }

    /// Waits for its end by itself, which is a success; what it said.
    pub(crate) fn finish(self) -> String {
        let (status, said) = self.wait();
        assert!(status.success(), "{status}: {said}");
        said
    }

    /// Ends it as Ctrl-C does.
    pub(crate) fn interrupt(self) -> String {
        send_signal(self.child.id(), libc::SIGINT);
        self.finish()
    }
}

impl Drop for Capturing {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What tshark reads in a file: these fields of each packet.
pub(crate) fn read(file: &Path, fields: &[&str]) -> Vec<Vec<String>> {
    let mut arguments =
        vec!["-n", "-o", "tcp.check_checksum:TRUE", "-r", file.to_str().expect("text"), "-T", "fields"];
    arguments.extend(["-E", "separator=|"]);
    fields.iter().for_each(|field| arguments.extend(["-e", field]));
    let output = bounded(60, "tshark", &arguments);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !complaint.contains("cut short"), "{}: {complaint}", file.display());
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().map(|line| line.split('|').map(str::to_owned).collect()).collect()
}

pub(crate) fn column(rows: &[Vec<String>], at: usize) -> Vec<&str> {
    rows.iter().map(|row| row[at].as_str()).collect()
}

/// How many packets each interface has had, and how many were missed, as the last statistics of a file say; by name.
pub(crate) fn statistics(bytes: &[u8]) -> Vec<(String, u64, u64)> {
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let (mut names, mut counts, mut at) = (Vec::new(), Vec::new(), 0);
    while at < bytes.len() {
        let (kind, len) = (word(at), word(at + 4) as usize);
        let options = |from: usize| {
            let (mut from, end) = (at + from, at + len - 4);
            std::iter::from_fn(move || {
                let half = |at: usize| u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes"));
                let (code, len) = (half(from), usize::from(half(from + 2)));
                let value = (code != 0 && from < end).then(|| &bytes[from + 4..from + 4 + len])?;
                from += 4 + len.next_multiple_of(4);
                Some((code, value))
            })
        };
        let number = |code: u16| {
            let value = options(20).find(|option| option.0 == code).expect("it is said").1;
            u64::from_le_bytes(value.try_into().expect("eight bytes"))
        };
        match kind {
            1 => {
                let name = options(16).find(|option| option.0 == 2).expect("it has a name").1;
                names.push(String::from_utf8(name.to_vec()).expect("text"));
                counts.push((0, 0));
            }
            5 => counts[word(at + 8) as usize] = (number(4), number(5)),
            _ => {}
        }
        at += len;
    }
    names.into_iter().zip(counts).map(|(name, (received, missed))| (name, received, missed)).collect()
}
