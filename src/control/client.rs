//! The other end of the control socket: what the `tapyard` commands ask through.

use std::env;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::api::{Answer, Request};
use super::config::DEFAULT_SOCKET;

/// The environment variable that names the control socket.
pub const SOCKET_VARIABLE: &str = "TAPYARD_CONTROL";

/// How long an answer may take: as long as opening very many ports does.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection to a switch that runs.
pub struct Client {
    path: PathBuf,
    patience: Duration,
    stream: BufReader<UnixStream>,
}

/// The control socket that somebody has named: `given`, else what `TAPYARD_CONTROL` says.
pub fn named_socket(given: Option<&Path>) -> Option<PathBuf> {
    let named = || env::var_os(SOCKET_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    given.map(Path::to_owned).or_else(named)
}

/// The control socket that is meant: the one that is named, else the default.
pub fn socket_path(given: Option<&Path>) -> PathBuf {
    named_socket(given).unwrap_or_else(|| DEFAULT_SOCKET.into())
}

impl Client {
    /// Connects to the socket at `path`. An error is one line with the remedy.
    pub fn connect(path: &Path) -> Result<Client, String> {
        Client::connect_within(path, PATIENCE)
    }

    /// The same, where every answer has to come within `patience`.
    pub fn connect_within(path: &Path, patience: Duration) -> Result<Client, String> {
        let stream = UnixStream::connect(path).map_err(|error| {
            let remedy = match error.kind() {
                ErrorKind::NotFound => {
                    "no such socket: is `tapyard run` running? --control PATH names another"
                }
                ErrorKind::ConnectionRefused if !is_socket(path) => {
                    "no socket is there: --control PATH names another"
                }
                ErrorKind::ConnectionRefused => "nobody answers: `tapyard run` has ended without cleaning up",
                ErrorKind::PermissionDenied => "no permission: be root, or in the socket's group",
                _ => return format!("{}: {error}", path.display()),
            };
            format!("{}: {remedy}", path.display())
        })?;
        let both = stream.set_read_timeout(Some(patience)).and(stream.set_write_timeout(Some(patience)));
        both.map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Client { path: path.to_owned(), patience, stream: BufReader::new(stream) })
    }

    /// Sends a request and waits for its answer. An error is what the switch said, or one line on what went wrong on
    /// the way.
    pub fn call<T: DeserializeOwned>(&mut self, request: &Request) -> Result<T, String> {
        let value = self.call_raw(request)?;
        serde_json::from_value(value)
            .map_err(|error| self.failed(format!("an answer of another version: {error}")))
    }

    /// Like [`Client::call`], with the answer as it came.
    pub fn call_raw(&mut self, request: &Request) -> Result<serde_json::Value, String> {
        let mut line =
            serde_json::to_vec(request).map_err(|error| format!("this cannot be asked: {error}"))?;
        line.push(b'\n');
        // A switch that refuses the connection says why and closes: there may be an answer to a failed write.
        let sent = self.stream.get_mut().write_all(&line);
        let mut answer = String::new();
        match (self.stream.read_line(&mut answer), sent) {
            (Ok(0) | Err(_), Err(error)) => return Err(self.failed(error)),
            (Ok(0), Ok(())) => return Err(self.failed("the switch closed the connection")),
            (Err(error), Ok(())) if error.kind() == ErrorKind::WouldBlock => {
                return Err(self.failed(format!("no answer within {:?}", self.patience)));
            }
            (Err(error), Ok(())) => return Err(self.failed(error)),
            (Ok(_), _) => {}
        }
        match serde_json::from_str(&answer) {
            Ok(Answer::Ok(value)) => Ok(value),
            Ok(Answer::Error(why)) => Err(why),
            Err(error) => Err(self.failed(format!("no answer of a tapyard: {error}"))),
        }
    }

    /// Like [`Client::call`], for a request whose answer a stream follows: that is what is to be read then, however long it
    /// takes to come. Dropping the reader ends it.
    pub fn stream<T: DeserializeOwned>(
        mut self,
        request: &Request,
    ) -> Result<(T, BufReader<UnixStream>), String> {
        let value = self.call(request)?;
        self.stream.get_ref().set_read_timeout(None).map_err(|error| self.failed(error))?;
        Ok((value, self.stream))
    }

    fn failed(&self, why: impl std::fmt::Display) -> String {
        format!("{}: {why}", self.path.display())
    }
}

fn is_socket(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.file_type().is_socket())
}
