//! What a guest boots: the kernel that `scripts/setup` unpacked, and an initramfs made here of its modules, some of this
//! machine's programs and the agent.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::OnceLock;

use super::super::{bounded, command};

/// What the guest has beside busybox's commands, each with the libraries it needs.
const PROGRAMS: [&str; 3] = ["busybox", "ethtool", "ping"];
const MODULES: [&str; 3] = ["virtio_pci", "virtio_net", "virtio_console"];

/// Mounts what every Linux has, loads the modules (in the order their names tell), and becomes the agent.
const INIT: &str = "#!/bin/busybox sh
export PATH=/sbin:/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in /modules/*; do insmod $module; done
ip link set lo up
exec agent
";

/// The kernel and the initramfs; made once for a test program.
pub(super) struct Image {
    pub(super) kernel: PathBuf,
    pub(super) initramfs: PathBuf,
}

impl Image {
    pub(super) fn get() -> &'static Image {
        static IMAGE: OnceLock<Image> = OnceLock::new();
        IMAGE.get_or_init(Image::make)
    }

    fn make() -> Image {
        let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let unpacked = temporary.with_file_name("guest");
        assert!(
            unpacked.join("complete").exists(),
            "there is no kernel for guests in {}: run scripts/setup",
            unpacked.display()
        );
        let kernel = find(&unpacked.join("boot"), |name| name.starts_with("vmlinuz-"));
        let kernel = kernel.expect("a package of a kernel has one");
        let initramfs = temporary.join("initramfs.cpio");
        // Another test program may be reading the one that is there.
        let new = temporary.join(format!("initramfs-{}.cpio", process::id()));
        fs::write(&new, contents(&unpacked)).unwrap_or_else(|error| panic!("{}: {error}", new.display()));
        fs::rename(&new, &initramfs).expect("both are in one directory");
        Image { kernel, initramfs }
    }
}

fn contents(unpacked: &Path) -> Vec<u8> {
    let mut archive = Archive::default();
    for directory in ["bin", "dev", "proc", "sys", "tmp", "modules"] {
        archive.directory(directory);
    }
    archive.console();
    archive.file("init", INIT.as_bytes());
    archive.file("bin/agent", &agent());
    let mut libraries = BTreeSet::new();
    for program in PROGRAMS {
        let path = which(program);
        archive.file(&format!("bin/{program}"), &read(&path));
        libraries.extend(libraries_of(&path));
    }
    for library in libraries {
        archive.directories_of(&library);
        archive.file(&library, &read(Path::new("/").join(&library).as_path()));
    }
    let mut modules = Vec::new();
    for module in MODULES {
        add_module(&unpacked.join("lib/modules"), module, &mut modules);
    }
    for (n, (name, content)) in modules.iter().enumerate() {
        archive.file(&format!("modules/{n:02}-{name}"), content);
    }
    archive.end()
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The agent, linked so that it needs no library.
fn agent() -> Vec<u8> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/common/guest/agent.rs");
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("agent-{}", process::id()));
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let options = ["--edition", "2024", "-O", "-C", "target-feature=+crt-static", "-C", "strip=symbols"];
    let output = Command::new(rustc).args(options).arg("-o").arg(&program).arg(&source).output();
    let output = output.unwrap_or_else(|error| panic!("rustc: {error}"));
    assert!(output.status.success(), "the agent: {}", String::from_utf8_lossy(&output.stderr));
    let content = read(&program);
    let _ = fs::remove_file(&program);
    content
}

/// Where a program is that `scripts/setup` installs.
fn which(program: &str) -> PathBuf {
    let output = command("sh").args(["-c", &format!("command -v {program}")]).output().expect("sh runs");
    assert!(output.status.success(), "{program} is missing, which guests need: run scripts/setup");
    String::from_utf8(output.stdout).expect("a path is text").trim().into()
}

/// The libraries a program needs, without the leading slash.
fn libraries_of(program: &Path) -> Vec<String> {
    let output = bounded(10, "ldd", &[program.to_str().expect("the path is text")]);
    let text = String::from_utf8(output.stdout).expect("its output is text");
    text.split_whitespace().filter_map(|word| word.strip_prefix('/')).map(str::to_owned).collect()
}

/// Adds a module, after those it names as what it depends on.
fn add_module(tree: &Path, name: &str, modules: &mut Vec<(String, Vec<u8>)>) {
    let file = format!("{name}.ko");
    if modules.iter().any(|(there, _)| *there == file) {
        return;
    }
    let built_in = find(tree, |name| name == "modules.builtin").map(|list| read(&list)).unwrap_or_default();
    if String::from_utf8_lossy(&built_in).lines().any(|line| line.ends_with(&format!("/{file}"))) {
        return;
    }
    let path = find(tree, |candidate| candidate.replace('-', "_") == file);
    let path = path.unwrap_or_else(|| panic!("{} has no {file}", tree.display()));
    let content = read(&path);
    let key = b"\0depends=";
    let at = content.windows(key.len()).position(|window| window == key).expect("every module says it");
    let value = content[at + key.len()..].split(|byte| *byte == 0).next().expect("it ends");
    let value = String::from_utf8_lossy(value).into_owned();
    for other in value.split(',').filter(|other| !other.is_empty()) {
        add_module(tree, other, modules);
    }
    modules.push((file, content));
}

/// A file below `directory` by its name.
fn find(directory: &Path, wanted: impl Fn(&str) -> bool + Copy) -> Option<PathBuf> {
    let (directories, files): (Vec<_>, Vec<_>) =
        fs::read_dir(directory).ok()?.flatten().map(|entry| entry.path()).partition(|path| path.is_dir());
    let named = |path: &PathBuf| path.file_name().is_some_and(|name| wanted(&name.to_string_lossy()));
    files.into_iter().find(named).or_else(|| directories.iter().find_map(|below| find(below, wanted)))
}

/// A cpio archive as the kernel reads it (`newc`: Documentation/driver-api/early-userspace/buffer-format.rst).
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
    directories: BTreeSet<String>,
}

impl Archive {
    fn directory(&mut self, path: &str) {
        if self.directories.insert(path.to_owned()) {
            self.entry(path, 0o040_755, (0, 0), &[]);
        }
    }

    /// The directories on the way to `path`.
    fn directories_of(&mut self, path: &str) {
        for (at, _) in path.match_indices('/') {
            self.directory(&path[..at]);
        }
    }

    fn file(&mut self, path: &str, content: &[u8]) {
        self.entry(path, 0o100_755, (0, 0), content);
    }

    /// What the first process has as its standard output.
    fn console(&mut self) {
        self.entry("dev/console", 0o020_600, (5, 1), &[]);
    }

    fn end(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.entries += 1;
        let (len, name_len) = (content.len() as u32, path.len() as u32 + 1);
        // ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
        let fields = [self.entries, mode, 0, 0, 1, 0, len, 0, 0, device.0, device.1, name_len, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}
