//! `tapyard bench` without privilege: the engine, what is printed, compared and drawn. Trials are of milliseconds: nothing here
//! depends on how fast anything is.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{self, Command, Output};

use serde_json::{Value, json};

const ENGINES: [&str; 6] =
    ["engine", "engine-vxlan", "engine-geneve", "engine-gre", "engine-routed", "engine-nat"];

const DEVICES: [&str; 7] = ["tap", "netdev", "vxlan", "geneve", "gre", "routed", "nat"];

fn command(line: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args(["60", env!("CARGO_BIN_EXE_tapyard"), "bench"]).args(line.split_whitespace());
    command
}

fn bench(line: &str) -> Output {
    command(line).output().expect("the program starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn results(line: &str) -> Value {
    let output = bench(line);
    assert_eq!(output.status.code(), Some(0), "{line}: {}", stderr(&output));
    // No bar where stderr is no terminal.
    assert_eq!(stderr(&output), "");
    serde_json::from_slice(&output.stdout).expect("it is one document of JSON")
}

/// A file that is gone with its owner.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        Scratch(std::env::temp_dir().join(format!("tapyard-bench-{}-{name}", process::id())))
    }

    fn with(name: &str, value: &Value) -> Scratch {
        let scratch = Scratch::new(name);
        fs::write(&scratch.0, value.to_string()).expect("a temporary file can be written");
        scratch
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Asserts that a figure is one of so many rounds.
fn assert_figure(figure: &Value, rounds: usize) {
    let number = |key: &str| figure[key].as_f64().unwrap_or_else(|| panic!("{key} of {figure}"));
    assert!(number("min") <= number("median") && number("median") <= number("max"), "{figure}");
    assert_eq!(figure["rounds"].as_array().map(Vec::len), Some(rounds), "{figure}");
}

#[test]
fn every_engine_carries_every_size_and_accounts_for_every_frame() {
    let line = format!("{} --sizes all --seconds 0.002 --json", ENGINES.join(" "));
    let results = results(&line);
    let cells = results["results"].as_array().expect("a list");
    assert_eq!(cells.len(), ENGINES.len() * 9);
    for cell in cells {
        let (account, throughput) = (&cell["account"], &cell["throughput_fps"]["median"]);
        let count = |key: &str| account[key].as_u64().unwrap_or_else(|| panic!("{key} of {cell}"));
        // As many as go: the engine takes all, and nothing waits anywhere.
        assert!(count("received") > 0 && throughput.as_f64() > Some(0.0), "{cell}");
        assert_eq!(count("sent"), count("received"), "{cell}");
        assert_eq!((&account["losses"], &account["switch"]), (&json!([]), &Value::Null), "{cell}");
        for latency in cell["latency"].as_array().expect("a list") {
            assert!(latency["samples"].as_u64() > Some(0), "{cell}");
            let median = |key: &str| latency[key]["median"].as_f64().expect("a number");
            let steps = ["p50_ns", "p90_ns", "p99_ns", "p999_ns", "max_ns"].map(median);
            assert!(steps.is_sorted(), "{cell}");
        }
    }
}

#[test]
fn the_json_says_what_was_measured_where_and_how() {
    let results = results("engine --sizes 64,64,1518 --seconds 0.002 --rounds 3 --json");
    assert_eq!(results["schema"], "tapyard-bench/1");
    assert_eq!(results["version"], env!("CARGO_PKG_VERSION"));
    for key in ["cpu", "cores", "kernel", "memory_bytes"] {
        assert!(results["machine"].get(key).is_some(), "{results}");
    }
    let date = results["date"].as_str().expect("a text");
    assert!(date.len() == 20 && date.ends_with('Z') && date > "2024", "{date}");
    assert_eq!(results["settings"]["rounds"], 3);
    for list in ["scaling", "left_out", "failed"] {
        assert_eq!(results[list], json!([]), "{list}");
    }
    let cells = results["results"].as_array().expect("a list");
    let sizes: Vec<_> = cells.iter().map(|cell| (&cell["size"], &cell["frame_bytes"])).collect();
    assert_eq!(sizes, [(&json!("64"), &json!(60)), (&json!("1518"), &json!(1514))]);
    for cell in cells {
        for key in ["throughput_fps", "throughput_bps", "cpu_ns_per_frame"] {
            assert_figure(&cell[key], 3);
        }
        assert!(cell["cpu_ns_per_frame"]["min"].as_f64() > Some(0.0), "{cell}");
    }
}

#[test]
fn the_table_has_a_line_for_each_path_and_size() {
    let output = bench("engine engine-nat --sizes 64,super --seconds 0.002");
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for begin in ["PATH ", "engine        64", "engine     super", "engine-nat    64", "engine-nat super"] {
        let words: Vec<_> = begin.split_whitespace().collect();
        let has = text.lines().any(|line| {
            let line: Vec<_> = line.split_whitespace().collect();
            line.starts_with(&words)
        });
        assert!(has, "{begin:?} is missing in\n{text}");
    }
    assert!(text.contains("Linux ") && text.contains("trials of 0.002 s, 1 round\n"), "{text}");
}

#[test]
fn scaling_is_measured_alone_or_beside_paths() {
    let alone = results("--scale ports,workers --seconds 0.002 --json");
    assert_eq!(alone["results"], json!([]));
    let by: Vec<_> = alone["scaling"].as_array().expect("a list").iter().map(|scale| &scale["by"]).collect();
    assert_eq!(by, ["ports", "workers"]);
    let points = alone["scaling"][0]["points"].as_array().expect("a list");
    let numbers: Vec<_> = points.iter().map(|point| point["number"].as_u64()).collect();
    assert_eq!(numbers, [Some(2), Some(8), Some(64), Some(256)]);
    for point in points {
        assert!(point["throughput_fps"]["median"].as_f64() > Some(0.0), "{point}");
    }
    let beside = results("engine --sizes 64 --scale rules --seconds 0.002 --json");
    assert_eq!(beside["results"].as_array().map(Vec::len), Some(1));
    assert_eq!(beside["scaling"][0]["path"], "engine-routed");
}

#[test]
fn the_page_stands_for_itself() {
    let page = Scratch::new("page.html");
    let line = format!(
        "engine engine-vxlan --sizes 64,super --scale ports --seconds 0.002 --report {}",
        page.0.display()
    );
    let output = bench(&line);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let html = fs::read_to_string(&page.0).expect("it was written");
    assert!(html.starts_with("<!DOCTYPE html>") && html.ends_with("</html>\n"), "{html}");
    for outside in ["http:", "https:", "//", "src=", "href=", "@import", "url(", "<script"] {
        assert!(!html.contains(outside), "{outside} in\n{html}");
    }
    // Throughput twice, processor time, and the scaling, at least: delays are there only where a rate passed.
    assert!(html.matches("<svg").count() >= 4, "{html}");
    for tag in ["svg", "g", "table", "h2", "h3", "p", "div", "title", "circle", "text", "span"] {
        let opened = html.matches(&format!("<{tag}>")).count() + html.matches(&format!("<{tag} ")).count();
        let begin = format!("<{tag} ");
        let empty = html.split(&begin).skip(1);
        let ends_itself = |rest: &&str| rest.split('>').next().is_some_and(|tag| tag.ends_with('/'));
        let empty = empty.filter(ends_itself).count();
        assert_eq!(opened - empty, html.matches(&format!("</{tag}>")).count(), "<{tag}>");
    }
    assert!(html.contains("engine-vxlan, super: ") && html.contains("By ports"), "{html}");
}

#[test]
fn a_page_that_cannot_be_written_is_refused_before_anything_is_measured() {
    let output = bench("engine --seconds 60 --report /nonexistent/bench.html");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).starts_with("tapyard: /nonexistent/bench.html: cannot be written: "),
        "{}",
        stderr(&output)
    );
}

/// A run of three rounds whose throughputs these are.
fn run(throughputs: [f64; 3]) -> Value {
    let mut results = results("engine --sizes 64 --seconds 0.002 --rounds 3 --json");
    let mut sorted = throughputs;
    sorted.sort_by(f64::total_cmp);
    results["results"][0]["throughput_fps"] =
        json!({ "median": sorted[1], "min": sorted[0], "max": sorted[2], "rounds": throughputs });
    results
}

#[test]
fn two_runs_are_compared_figure_by_figure() {
    let (a, b) =
        (Scratch::with("a", &run([100e6, 104e6, 98e6])), Scratch::with("b", &run([200e6, 204e6, 198e6])));
    let compare = |a: &Scratch, b: &Scratch, more: &str| {
        bench(&format!("--compare {} {} {more}", a.0.display(), b.0.display()))
    };
    let output = compare(&a, &b, "");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    let line = text.lines().find(|line| line.contains("frames/s")).expect("a line of the throughput");
    let words: Vec<_> = line.split_whitespace().collect();
    assert_eq!(words, ["engine", "64", "frames/s", "100M", "200M", "2.00x", "better"], "{text}");
    let back: Value = serde_json::from_slice(&compare(&b, &a, "--json").stdout).expect("it is JSON");
    assert_eq!((&back[0]["verdict"], &back[0]["ratio"]), (&json!("worse"), &json!(0.5)), "{back}");
    let same: Value = serde_json::from_slice(&compare(&a, &a, "--json").stdout).expect("it is JSON");
    for change in same.as_array().expect("a list") {
        assert_eq!((&change["verdict"], change["ratio"].as_f64()), (&json!("noise"), Some(1.0)), "{same}");
    }
}

#[test]
fn runs_that_do_not_compare_are_refused_in_one_line() {
    let good = run([1e6, 1e6, 1e6]);
    let changed = |change: fn(&mut Value)| {
        let mut other = good.clone();
        change(&mut other);
        other
    };
    let a = Scratch::with("good", &good);
    for (name, other, why) in [
        ("schema", changed(|run| run["schema"] = json!("tapyard-bench/0")), "measure again"),
        ("machine", changed(|run| run["machine"]["cpu"] = json!("another")), "differ in their machine"),
        ("build", changed(|run| run["settings"]["build"] = json!("other")), "differ in their build"),
        ("seconds", changed(|run| run["settings"]["seconds"] = json!(9.0)), "differ in the length of trials"),
        ("size", changed(|run| run["results"][0]["size"] = json!("65")), "nothing in common"),
        ("text", json!("text"), "it has no schema"),
        ("lacking", json!({ "schema": "tapyard-bench/1" }), "not what bench --json prints: missing field"),
    ] {
        let b = Scratch::with(name, &other);
        let output = bench(&format!("--compare {} {}", a.0.display(), b.0.display()));
        let said = stderr(&output);
        assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{name}: {said}");
        assert!(said.starts_with("tapyard: ") && said.contains(why), "{name}: {said}");
    }
    let output = bench(&format!("--compare {} /nonexistent", a.0.display()));
    assert!(stderr(&output).starts_with("tapyard: /nonexistent: "), "{}", stderr(&output));
}

#[test]
fn wrong_usage_is_refused() {
    for line in [
        "nothing",
        "engine --sizes 63",
        "engine --sizes 9019",
        "engine --seconds 0",
        "engine --seconds 61",
        "engine --rounds 0",
        "engine --workers 0",
        "--scale everything",
        "--compare one",
        "engine --compare one two",
    ] {
        let output = bench(line);
        assert_eq!((output.status.code(), stdout(&output)), (Some(2), String::new()), "{line}");
    }
}

/// Measures as who may make so many network namespaces. Only root can become such a user.
fn with_namespaces(most: u32, line: &str) -> Output {
    // In a user namespace of its own the limit is the test's to set, and touches nobody else.
    let script = format!(
        "echo {most} > /proc/sys/user/max_net_namespaces && exec timeout 100 {} bench {line}",
        env!("CARGO_BIN_EXE_tapyard")
    );
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "sh", "-c", &script]).process_group(0);
    command.output().expect("unshare is installed")
}

/// The names of the paths in a list of the results.
fn names(list: &Value) -> Vec<&str> {
    let list = list.as_array().expect("a list").iter();
    list.map(|entry| entry["path"].as_str().expect("a name")).collect()
}

#[test]
fn what_needs_privilege_is_left_out_with_the_remedy_unless_it_was_asked_for() {
    let asked = with_namespaces(0, "tap --sizes 64");
    let said = stderr(&asked);
    assert_eq!((asked.status.code(), said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains("user.max_net_namespaces=15000") || said.contains("/dev/net/tun"), "{said}");
    let output = with_namespaces(0, "--sizes 64 --seconds 0.002 --json");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let results: Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    assert_eq!(names(&results["results"]), ENGINES);
    assert_eq!(names(&results["left_out"]), DEVICES);
    for left in results["left_out"].as_array().expect("a list") {
        assert_eq!(format!("tapyard: {}\n", left["reason"].as_str().expect("a text")), said);
    }
}

/// One namespace is enough to leave the host's network, and then there is none for the guests.
#[test]
fn paths_that_fail_by_default_are_said_and_the_others_are_measured() {
    let output = with_namespaces(1, "--sizes 64 --seconds 0.002 --json");
    let results: Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!((names(&results["results"]), names(&results["failed"])), (ENGINES.to_vec(), DEVICES.to_vec()));
    assert_eq!(results["left_out"], json!([]));
    let line = |path: &str| format!("tapyard: {path}: 64: cannot make a network namespace: ");
    let said = stderr(&output);
    assert_eq!(said.lines().count(), DEVICES.len(), "{said}");
    for (said, path) in said.lines().zip(DEVICES) {
        assert!(said.starts_with(&line(path)), "{said}");
    }
}
