//! Real guests: a Debian kernel in QEMU, with the network devices that a test gives it.
//!
//! A guest is told what to do as a [`Host`] is: it runs programs ([`Guest::run`]; all of busybox's commands, `ping` and
//! `ethtool`), and is an [`End`] of what [`traffic`](super::traffic) sends. It boots while the test goes on; the first that
//! is asked of it waits for that. It runs without hardware virtualisation, which few test machines have.

pub(crate) mod agent;
mod image;
mod nic;

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::end::{End, Listening};
use super::host::{expect_success, offloads_on, unique};
use super::yard::Scratch;
use super::{Host, send_signal};
use image::Image;
pub(crate) use nic::Nic;

/// How long a guest may take to boot: far longer than it does, even beside others on a machine that is busy.
const BOOT: Duration = Duration::from_secs(120);

/// A virtual machine, which ends with this value.
pub(crate) struct Guest {
    name: String,
    /// The namespace it runs in.
    netns: String,
    arguments: Vec<String>,
    running: Option<Running>,
    files: Scratch,
}

struct Running {
    qemu: Child,
    requests: Mutex<UnixStream>,
    replies: Arc<Replies>,
    next: AtomicU64,
}

/// Who waits for the answer to which request. When the guest has gone, nobody does.
struct Replies {
    ready: Mutex<bool>,
    waiting: Mutex<Option<HashMap<u64, Sender<Output>>>>,
}

impl Guest {
    /// Starts one in `host`, where the TAP devices are that its `nics` take. In the guest they are `eth0`, `eth1`…
    pub(crate) fn boot(name: &str, host: &Host, nics: &[Nic]) -> Guest {
        let files = Scratch::new();
        let mut guest = Guest {
            name: name.to_owned(),
            netns: host.name().to_owned(),
            arguments: arguments(nics),
            running: None,
            files,
        };
        guest.start();
        guest
    }

    fn start(&mut self) {
        assert!(self.running.is_none(), "it runs");
        let image = Image::get();
        let agent = self.files.0.join("agent");
        let _ = fs::remove_file(&agent);
        let listener = UnixListener::bind(&agent).expect("the directory is ours");
        let said = File::create(self.files.0.join("qemu")).expect("the directory is ours");

        let mut command = super::command("qemu-system-x86_64");
        command.args(&self.arguments).arg("-kernel").arg(&image.kernel).arg("-initrd").arg(&image.initramfs);
        // On a machine that is busy, timers do not tick as the kernel would have them while it boots, at which it gives up
        // if it checks; what it says then is seen.
        let options =
            "console=ttyS0 earlyprintk=ttyS0 loglevel=5 no_timer_check nokaslr mitigations=off panic=-1";
        command.args(["-append", options]);
        command.arg("-serial").arg(format!("file:{}", self.files.0.join("console").display()));
        command.arg("-chardev").arg(format!("socket,id=agent,path={}", agent.display()));
        command.args(["-device", "virtio-serial-pci", "-device", "virtserialport,chardev=agent"]);
        command.stdin(Stdio::null()).stdout(said.try_clone().expect("a file can be cloned")).stderr(said);
        let mut qemu = super::raw::spawn_in(&self.netns, &mut command);
        let requests = accept(&listener, &mut qemu).unwrap_or_else(|| {
            let _ = qemu.kill().and_then(|()| qemu.wait());
            panic!("guest {self} does not start: {:?}\n{}", command.get_args(), self.said())
        });
        let replies =
            Arc::new(Replies { ready: Mutex::new(false), waiting: Mutex::new(Some(HashMap::new())) });
        let (from, into) = (requests.try_clone().expect("a socket can be cloned"), replies.clone());
        thread::spawn(move || into.read(from));
        self.running =
            Some(Running { qemu, requests: Mutex::new(requests), replies, next: AtomicU64::new(0) });
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = running.qemu.kill().and_then(|()| running.qemu.wait());
        }
    }

    /// Boots it anew, with the same devices.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.start();
    }

    /// Stops it where it is, as a debugger would: its devices are there, and nothing moves.
    pub(crate) fn freeze(&self) {
        send_signal(self.running().qemu.id(), libc::SIGSTOP);
    }

    /// Has it go on after [`Guest::freeze`].
    pub(crate) fn thaw(&self) {
        send_signal(self.running().qemu.id(), libc::SIGCONT);
    }

    /// Runs a shell command, at most `seconds` long once the guest has booted.
    pub(crate) fn sh(&self, seconds: u32, command: &str) -> Output {
        self.begin(seconds, command).end(self)
    }

    /// Runs a shell command that must succeed; what it printed.
    pub(crate) fn ok(&self, command: &str) -> String {
        expect_success(self.sh(30, command), &format!("{command} in guest {self}"))
    }

    /// `ip …`, which must succeed.
    pub(crate) fn ip(&self, arguments: &str) -> String {
        self.ok(&format!("ip {arguments}"))
    }

    /// Gives a device an address and takes it up.
    pub(crate) fn address(&self, device: &str, address: &str) {
        self.ip(&format!("addr add {address} dev {device}"));
        self.ip(&format!("link set {device} up"));
    }

    /// Whether the device has a carrier; it is up.
    pub(crate) fn carrier(&self, device: &str) -> bool {
        self.ok(&format!("cat /sys/class/net/{device}/carrier")).trim() == "1"
    }

    /// Asserts that the kernel leaves checksums and TCP segmentation to the device.
    pub(crate) fn assert_offloads_on(&self, device: &str) {
        offloads_on(&self.ok(&format!("ethtool -k {device}")), device);
    }

    /// Whether the device offers to take segmentation over.
    pub(crate) fn has_offloads(&self, device: &str) -> bool {
        self.ok(&format!("ethtool -k {device}")).contains("\ntcp-segmentation-offload: on")
    }

    /// Asserts that the device has, and uses, so many pairs of queues.
    pub(crate) fn assert_queues(&self, device: &str, queues: u32) {
        let text = self.ok(&format!("ethtool -l {device}"));
        let lines: Vec<_> = text.lines().filter(|line| line.starts_with("Combined:")).collect();
        let wanted = |line: &&str| line.split_whitespace().nth(1) == Some(&queues.to_string());
        assert!(lines.len() == 2 && lines.iter().all(wanted), "{text}");
    }

    /// Starts a shell command.
    fn begin(&self, seconds: u32, command: &str) -> Job {
        let running = self.running();
        let id = running.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = mpsc::channel();
        if let Some(waiting) = &mut *running.replies.waiting.lock().expect("nobody panics with it") {
            waiting.insert(id, sender);
        }
        let request = format!("{id} {seconds} {}\n{command}", command.len());
        // If it does not arrive, the guest has gone, and so does the answer's sender.
        let _ = running.requests.lock().expect("nobody panics with it").write_all(request.as_bytes());
        Job { command: command.to_owned(), seconds, answer }
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("it runs")
    }

    /// What QEMU and the guest's kernel have said.
    fn said(&self) -> String {
        let text = |file: &str| {
            let bytes = fs::read(self.files.0.join(file)).unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let skip = text.lines().count().saturating_sub(40);
            text.lines().skip(skip).fold(String::new(), |text, line| text + line + "\n")
        };
        format!("--- qemu of {self}\n{}--- console of {self}\n{}", text("qemu"), text("console"))
    }
}

/// Waits until QEMU has connected to the port of the agent; None when it ends instead.
fn accept(listener: &UnixListener, qemu: &mut Child) -> Option<UnixStream> {
    listener.set_nonblocking(true).expect("a socket can be");
    let deadline = Instant::now() + BOOT;
    while Instant::now() < deadline && matches!(qemu.try_wait(), Ok(None)) {
        if let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(false).expect("a socket can be");
            return Some(stream);
        }
        thread::sleep(Duration::from_millis(10));
    }
    None
}

impl Replies {
    /// Hands out what the guest answers, until it is gone.
    fn read(&self, from: UnixStream) {
        let mut from = BufReader::new(from);
        while let Some((id, output)) = self.next(&mut from) {
            let mut waiting = self.waiting.lock().expect("nobody panics with it");
            if let Some(waiter) = waiting.as_mut().and_then(|waiting| waiting.remove(&id)) {
                let _ = waiter.send(output);
            }
        }
        *self.waiting.lock().expect("nobody panics with it") = None;
    }

    fn next(&self, from: &mut impl BufRead) -> Option<(u64, Output)> {
        let mut heading = String::new();
        from.read_line(&mut heading).ok()?;
        if heading == "ready\n" {
            *self.ready.lock().expect("nobody panics with it") = true;
            heading.clear();
            from.read_line(&mut heading).ok()?;
        }
        let mut numbers = heading.split_whitespace().map_while(|word| word.parse::<u64>().ok());
        let (id, status, len) = (numbers.next()?, numbers.next()?, numbers.next()?);
        let mut stdout = vec![0; len as usize];
        from.read_exact(&mut stdout).ok()?;
        let status = ExitStatus::from_raw((status as i32) << 8);
        Some((id, Output { status, stdout, stderr: Vec::new() }))
    }

    fn ready(&self) -> bool {
        *self.ready.lock().expect("nobody panics with it")
    }
}

/// A command that runs in a guest.
struct Job {
    command: String,
    seconds: u32,
    answer: Receiver<Output>,
}

impl Job {
    fn end(self, guest: &Guest) -> Output {
        let running = guest.running();
        let begun = Instant::now();
        loop {
            match self.answer.recv_timeout(Duration::from_millis(20)) {
                Ok(output) => return output,
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    panic!("guest {guest} ended at: {}", self.command)
                }
                Err(mpsc::RecvTimeoutError::Timeout) if running.replies.ready() => break,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    assert!(begun.elapsed() < BOOT, "guest {guest} did not boot within {BOOT:?}");
                }
            }
        }
        // The guest itself ends the command after its time, and says so.
        let patience = Duration::from_secs(self.seconds.into()) + BOOT;
        self.answer
            .recv_timeout(patience)
            .unwrap_or_else(|_| panic!("guest {guest} ended, or hangs, at: {}", self.command))
    }
}

impl End for Guest {
    fn run(&self, seconds: u32, program: &str, args: &[&str]) -> Output {
        let quoted = args.iter().map(|arg| format!(" '{arg}'")).collect::<String>();
        self.sh(seconds, &format!("{program}{quoted}"))
    }

    fn listen(&self, address: IpAddr) -> Listening<'_> {
        let at = SocketAddr::new(address, 5000 + unique() as u16);
        let job = self.begin(120, &format!("agent receive {at}"));
        Listening { at, receiver: Box::new(move || said_by(&job.end(self))) }
    }

    fn send(&self, to: SocketAddr, bytes: usize) -> Result<(), String> {
        said_by(&self.sh(120, &format!("agent send {to} {bytes}")))
    }
}

/// How the agent ended.
fn said_by(output: &Output) -> Result<(), String> {
    let text = String::from_utf8_lossy(&output.stdout);
    if output.status.success() { Ok(()) } else { Err(format!("{} {text}", output.status)) }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if thread::panicking() {
            let status = self.running.as_mut().and_then(|running| running.qemu.try_wait().ok().flatten());
            eprintln!("--- end of qemu of {self}: {status:?}\n{}", self.said());
        }
        self.kill();
    }
}

impl fmt::Display for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// QEMU's arguments, but for those that name files of one run.
fn arguments(nics: &[Nic]) -> Vec<String> {
    let cpus = nics.iter().map(Nic::queues).max().unwrap_or(1);
    // In MiB: a driver fills its rings with buffers, some of which are for superframes.
    let memory = 96 + 32 * nics.len();
    // Memory that another process may map, which vhost-user wants. Room for a further processor, without which QEMU takes
    // the guest's memory barriers for needless: then the guest and who serves its rings would miss each other's calls.
    let machine = format!(
        "-accel tcg,thread=multi -cpu max -smp {cpus},maxcpus=4 -machine q35,memory-backend=mem -m {memory}M \
         -object memory-backend-memfd,id=mem,size={memory}M,share=on \
         -display none -nodefaults -no-user-config -no-reboot"
    );
    let mut arguments: Vec<_> = machine.split_whitespace().map(str::to_owned).collect();
    for (n, nic) in nics.iter().enumerate() {
        arguments.extend(nic.arguments(n));
    }
    arguments
}
