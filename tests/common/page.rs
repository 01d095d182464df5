//! A page of the documentation, as a reader pastes it: its configurations and its commands are taken out of it and run, its
//! namespaces under names that no other test has.

use std::collections::BTreeMap;

use super::{Host, Yard, bounded};

/// What somebody has on his machine who reads a page and does as it says.
pub(crate) struct Reader {
    page: &'static str,
    /// The switches, by the names of their control sockets; they end before their namespaces.
    switches: BTreeMap<String, Yard>,
    files: BTreeMap<String, String>,
    /// The configurations that the switches run.
    running: Vec<String>,
    /// The namespaces, by the names that the page gives them.
    hosts: BTreeMap<String, Host>,
}

/// The commands and files in the section of `page` under `heading`: its indented lines. What a fence is around is output.
pub(crate) fn section(page: &'static str, heading: &str) -> Vec<&'static str> {
    let mut lines = page.lines().skip_while(|line| line.strip_prefix("## ") != Some(heading));
    assert!(lines.next().is_some(), "the page has no section {heading}");
    let mut fenced = false;
    let section = lines.take_while(|line| !line.starts_with("## ")).filter(|line| {
        let is_fence = line.starts_with("```");
        fenced ^= is_fence;
        !fenced && !is_fence
    });
    section.filter_map(|line| if line.is_empty() { Some("") } else { line.strip_prefix("    ") }).collect()
}

impl Reader {
    /// A reader who has done nothing yet.
    pub(crate) fn of(page: &'static str) -> Reader {
        let (switches, files, hosts) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Reader { page, switches, files, running: Vec::new(), hosts }
    }

    /// Runs what is in a section; `look` is called before its `kill`.
    pub(crate) fn paste(&mut self, heading: &str, mut look: impl FnMut(&Reader)) {
        let mut lines = section(self.page, heading).into_iter().filter(|line| !line.is_empty());
        while let Some(line) = lines.next() {
            if self.write_file(line, &mut lines) {
                continue;
            }
            if let Some(jobs) = line.strip_prefix("kill ") {
                look(self);
                self.end(jobs);
            } else {
                self.run(line);
            }
        }
    }

    /// Writes the files of a section, and runs none of its commands.
    pub(crate) fn paste_files(&mut self, heading: &str) {
        let mut lines = section(self.page, heading).into_iter();
        while let Some(line) = lines.next() {
            self.write_file(line, &mut lines);
        }
    }

    /// Writes the file that `line` begins, if it begins one.
    fn write_file(&mut self, line: &str, rest: &mut impl Iterator<Item = &'static str>) -> bool {
        let Some(file) = line.strip_prefix("cat > ").and_then(|name| name.strip_suffix(" <<'END'")) else {
            return false;
        };
        let text = rest.take_while(|line| *line != "END").map(|line| format!("{line}\n")).collect();
        self.files.insert(file.to_owned(), text);
        true
    }

    fn run(&mut self, line: &str) {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            ["ip", "netns", "add", name] => {
                self.hosts.insert(name.to_owned(), Host::with_ipv6(name));
            }
            ["ip", "netns", "del", name] => {
                self.hosts.remove(name).unwrap_or_else(|| panic!("{line}: there is none"));
            }
            ["ip", "netns", "exec", host, "tapyard", "run", "--config", file, "&"] => self.start(host, file),
            ["ip", "netns", "exec", host, program, ref args @ ..] => {
                let output = self.host(host).run(20, program, args);
                assert!(output.status.success(), "{line}: {output:?}");
            }
            ["tapyard", "--control", socket, ref args @ ..] => {
                let switch = self.switches.get(socket).unwrap_or_else(|| panic!("{line}: it does not run"));
                assert!(!switch.cli(args).is_empty(), "{line} says nothing");
            }
            ["ip", ref args @ ..] => {
                let names = args.iter().map(|word| self.hosts.get(*word).map_or(*word, Host::name));
                let output = bounded(10, "ip", &names.collect::<Vec<_>>());
                assert!(output.status.success(), "{line}: {output:?}");
            }
            _ => panic!("the page has a command that this test does not know: {line}"),
        }
    }

    /// Runs a switch in the namespace `host` with a file that the page has written.
    pub(crate) fn start(&mut self, host: &str, file: &str) {
        let text = self.file(file);
        let (mut socket, mut config) = (None, String::new());
        for line in text.lines() {
            match line.strip_prefix("control = ") {
                Some(path) => socket = Some(path.trim_matches('"').to_owned()), // the test's is another
                None => config += &format!("{line}\n"),
            }
        }
        for (name, host) in &self.hosts {
            config = config.replace(&format!("\"{name}\""), &format!("\"{host}\""));
        }
        let socket = socket.expect("two switches on one machine have a socket each");
        self.running.push(file.to_owned());
        self.switches.insert(socket, Yard::start_in(self.host(host), &config));
    }

    /// Ends all switches; `jobs` are the shell's words for them, each by a part of its command that no other has.
    fn end(&mut self, jobs: &str) {
        for job in jobs.split(' ') {
            let part =
                job.strip_prefix("%?").unwrap_or_else(|| panic!("{job} is not by a part of its command"));
            let meant: Vec<_> = self.running.iter().filter(|file| file.contains(part)).cloned().collect();
            assert_eq!(meant.len(), 1, "{job} of {:?}", self.running);
            self.running.retain(|file| *file != meant[0]);
        }
        assert!(self.running.is_empty(), "{jobs} leaves {:?}", self.running);
        self.switches.clear(); // which asserts that all frames are accounted for
    }

    /// The namespace that the page calls so.
    pub(crate) fn host(&self, name: &str) -> &Host {
        self.hosts.get(name).unwrap_or_else(|| panic!("the page has made no namespace {name}"))
    }

    /// The switch that runs at `site`, by the name of its socket.
    pub(crate) fn switch(&self, site: &str) -> &Yard {
        self.switches.get(&format!("/run/tapyard/{site}.sock")).expect("it runs")
    }

    /// All switches that run.
    pub(crate) fn switches(&self) -> impl Iterator<Item = &Yard> {
        self.switches.values()
    }

    /// What the page has written into a file.
    pub(crate) fn file(&self, name: &str) -> &str {
        self.files.get(name).unwrap_or_else(|| panic!("the page has not written {name}"))
    }

    /// Whether all is removed that the page has made.
    pub(crate) fn has_cleaned_up(&self) -> bool {
        self.switches.is_empty() && self.hosts.is_empty()
    }
}
