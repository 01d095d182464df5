//! The program inside a guest. It is the crate root of what `image` compiles for the guest, and a module here besides, so
//! that what looks at the project's code looks at it too.
//!
//! Without arguments it is the guest's first process, once `/init` has prepared it, and does as it is told over a
//! virtio-serial port: `ID SECONDS LENGTH\n` and a shell command of that length; the answer is `ID STATUS LENGTH\n` and
//! what the command printed. Commands run side by side. When the test is gone, so is the guest.

#[path = "../content.rs"]
pub(crate) mod content;

use std::env;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, exit};
use std::sync::{Arc, Mutex};
use std::thread;

pub(crate) fn main() {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let address = |text: &str| text.parse::<SocketAddr>().map_err(|error| format!("{text}: {error}"));
    let result = match arguments[..] {
        ["receive", at] => address(at)
            .and_then(|at| TcpListener::bind(at).map_err(|error| format!("listening at {at}: {error}")))
            .and_then(|listener| content::receive(&listener)),
        ["send", to, bytes] => address(to).and_then(|to| {
            let bytes = bytes.parse().map_err(|error| format!("{bytes}: {error}"))?;
            content::send(to, bytes)
        }),
        _ => serve().map_err(|error| error.to_string()),
    };
    if let Err(error) = result {
        println!("{error}");
        exit(1);
    }
}

fn serve() -> std::io::Result<()> {
    let port =
        fs::read_dir("/dev")?.flatten().find(|file| file.file_name().to_string_lossy().starts_with("vport"));
    let port = port.expect("the guest has a virtio-serial port").path();
    let port = File::options().read(true).write(true).open(port)?;
    let answers = Arc::new(Mutex::new(port.try_clone()?));
    let mut requests = BufReader::new(port);
    // This waits until the test's end of the port is open.
    answers.lock().expect("nobody panics with it").write_all(b"ready\n")?;
    while let Some((id, seconds, command)) = request(&mut requests) {
        let answers = answers.clone();
        thread::spawn(move || {
            let run = ["-s", "KILL", &seconds, "sh", "-c", &format!("exec 2>&1\n{command}")];
            let output = Command::new("timeout").args(run).output().expect("busybox has timeout");
            // As shells tell it: 128 and the signal.
            let status = output.status.code().unwrap_or(137);
            let heading = format!("{id} {status} {}\n", output.stdout.len());
            let answer = [heading.as_bytes(), &output.stdout].concat();
            let _ = answers.lock().expect("nobody panics with it").write_all(&answer);
        });
    }
    Command::new("reboot").arg("-f").status().map(drop)
}

/// The next request: its number, how long it may take, the command. None when the test is gone.
fn request(from: &mut impl BufRead) -> Option<(String, String, String)> {
    let mut heading = String::new();
    from.read_line(&mut heading).ok().filter(|len| *len > 0)?;
    let mut words = heading.split_whitespace().map(str::to_owned);
    let (id, seconds, len) = (words.next()?, words.next()?, words.next()?.parse().ok()?);
    let mut command = vec![0; len];
    from.read_exact(&mut command).ok()?;
    Some((id, seconds, String::from_utf8(command).ok()?))
}
