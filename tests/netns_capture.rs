//! Captures of a real switch, read by tshark: both directions, names, superframes whole and cut, reasons of drops; files that
//! rotate, disks that fill, readers that are slow or die; and Wireshark, which finds the ports by itself.

mod common;

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use common::capturing::{Capturing, column, read};
use common::frames::{BROADCAST, arp, frame, station};
use common::traffic::{ping, tcp};
use common::{Host, Lan, Yard, as_root, tap, wait_until};

const TAPYARD: &str = env!("CARGO_BIN_EXE_tapyard");

/// Two hosts, 10.9.0.1 and 10.9.0.2, on the TAP ports `a` and `b` of one bridge.
fn pair() -> (Host, Host, Yard) {
    let (a, b) = (Host::new("a"), Host::new("b"));
    let ports =
        [tap("a", &a, "address = [\"10.9.0.1/24\"]"), tap("b", &b, "address = [\"10.9.0.2/24\"]")].concat();
    let yard = Yard::start(&format!("[bridge.lan]\n{ports}"));
    (a, b, yard)
}

#[test]
fn both_directions_of_all_ports_of_a_bridge_are_there() {
    as_root(|| {
        let lan = Lan::start("", &[("a", ""), ("b", "")]);
        let file = lan.yard.dir().join("lan.pcapng");
        let capturing =
            Capturing::start(&lan.yard, &format!("lan -c 4 -w {}", file.display()), Stdio::null());
        let sent = [frame(BROADCAST, station(1)), frame(station(1), station(2))];
        let before = std::time::SystemTime::now();
        lan.check_flood("a", &sent[0], &["b"]);
        lan.check_flood("b", &sent[1], &["a"]);
        assert!(capturing.finish().ends_with("4 frames captured, 0 missed\n"));
        let fields = [
            "frame.interface_name",
            "frame.packet_flags_direction",
            "frame.len",
            "eth.src",
            "frame.time_epoch",
        ];
        let rows = read(&file, &fields);
        assert_eq!(column(&rows, 0), ["a", "b", "b", "a"]);
        let number = |text: &str| u32::from_str_radix(text.trim_start_matches("0x"), 16).expect("a number");
        let directions: Vec<_> = column(&rows, 1).into_iter().map(number).collect();
        assert_eq!(directions, [1, 2, 1, 2], "in by one, out by the other");
        assert!(column(&rows, 2).iter().all(|len| *len == sent[0].len().to_string()));
        let from = [1, 1, 2, 2].map(|n| common::frames::text(station(n)));
        assert_eq!(column(&rows, 3), from);
        let since = |time: std::time::SystemTime| {
            time.duration_since(std::time::UNIX_EPOCH).expect("later").as_secs_f64()
        };
        for time in column(&rows, 4) {
            let time: f64 = time.parse().expect("a time");
            // The clock may be set while it is read.
            assert!(
                (since(before) - 1.0..since(std::time::SystemTime::now()) + 1.0).contains(&time),
                "{time}"
            );
        }
    });
}

#[test]
fn a_filter_a_length_and_a_direction_choose() {
    as_root(|| {
        let lan = Lan::start("", &[("a", ""), ("b", "")]);
        let file = lan.yard.dir().join("some.pcapng");
        // Options behind the filter count as those before it.
        let arguments = format!("b --out arp -s 20 -c 1 -w {}", file.display());
        let capturing = Capturing::start(&lan.yard, &arguments, Stdio::null());
        lan.check_flood("b", &arp(station(2)), &["a"]);
        lan.check_flood("a", &frame(BROADCAST, station(1)), &["b"]);
        lan.check_flood("a", &arp(station(1)), &["b"]);
        capturing.finish();
        let rows = read(&file, &["frame.interface_name", "frame.cap_len", "frame.len", "eth.src"]);
        let expected = ["b", "20", &arp(station(1)).len().to_string(), &common::frames::text(station(1))];
        assert_eq!(rows, [expected.map(str::to_owned)]);
        for (line, why) in [
            ("capture a prot 80", "filter: column 1: \"prot\" is no test"),
            ("capture nowhere", "there is no port or bridge nowhere"),
            ("capture drops --in", "what is dropped goes nowhere"),
            ("capture a -w - -C 1", "-C, -G and -W need a file"),
        ] {
            let said = lan.yard.refused(line);
            assert!(said.contains(why), "{said}");
        }
    });
}

#[test]
fn frames_are_lines_for_who_looks_at_them() {
    as_root(|| {
        let lan = Lan::start("", &[("a", ""), ("b", "")]);
        let shown = lan.yard.dir().join("shown");
        let output = File::create(&shown).expect("the directory is ours");
        let capturing = Capturing::start(&lan.yard, "a --print -c 2", output.into());
        lan.check_flood("a", &arp(station(1)), &["b"]);
        lan.check_flood("b", &frame(BROADCAST, station(2)), &["a"]);
        capturing.finish();
        let shown = fs::read_to_string(shown).expect("it was made");
        let lines: Vec<_> = shown.lines().map(|line| line.split_once(' ').expect("a time").1).collect();
        let [first, second] = lines[..] else { panic!("{shown}") };
        assert!(first.starts_with("a in  02:") && first.contains("arp who has"), "{shown}");
        assert!(second.starts_with("a out 02:") && second.contains("> ff:ff:ff:ff:ff:ff"), "{shown}");
        assert!(lines.iter().all(|line| line.ends_with(" bytes")), "{shown}");
    });
}

#[test]
fn superframes_are_marked_or_cut() {
    as_root(|| {
        let (a, b, yard) = pair();
        a.assert_offloads_on("a");
        let (whole, cut) = (yard.dir().join("whole.pcapng"), yard.dir().join("cut.pcapng"));
        let fields = ["frame.len", "frame.comment", "tcp.checksum.status"];
        let capturing =
            Capturing::start(&yard, &format!("a --in -c 300 -w {} tcp", whole.display()), Stdio::null());
        tcp(&a, &b, "10.9.0.2", 64 << 20);
        capturing.finish();
        let rows = read(&whole, &fields);
        let long: Vec<_> =
            rows.iter().filter(|row| row[0].parse::<u32>().expect("a length") > 1514).collect();
        assert!(!long.is_empty(), "superframes came");
        for row in &rows {
            let payload = row[0].parse::<u32>().expect("a length") - 66;
            match payload > 1448 {
                true => assert_eq!(
                    row[1],
                    format!(
                        "superframe: {} segments of 1448 bytes, checksum unfinished",
                        payload.div_ceil(1448)
                    )
                ),
                false => assert_eq!((&*row[1], &*row[2]), ("", "1"), "it is finished in what is shown"),
            }
        }

        let arguments = format!("a --in --segment -c 3000 -w {} tcp", cut.display());
        let capturing = Capturing::start(&yard, &arguments, Stdio::null());
        tcp(&a, &b, "10.9.0.2", 64 << 20);
        capturing.finish();
        for row in read(&cut, &fields) {
            assert!(
                row[0].parse::<u32>().expect("a length") <= 1514 && row[1].is_empty() && row[2] == "1",
                "{row:?}"
            );
        }
    });
}

#[test]
fn what_is_dropped_says_why_and_what_to_do() {
    as_root(|| {
        let lan = Lan::start("", &[("a", ""), ("b", "")]);
        let file = lan.yard.dir().join("drops.pcapng");
        let capturing =
            Capturing::start(&lan.yard, &format!("drops -c 2 -w {}", file.display()), Stdio::null());
        lan.check_flood("b", &frame(BROADCAST, station(2)), &["a"]);
        lan.check_drop("a", &frame(station(2), BROADCAST), "bad-source");
        lan.check_drop("b", &frame([1, 0x80, 0xc2, 0, 0, 0], station(2)), "reserved-group");
        capturing.finish();
        let rows = read(&file, &["frame.interface_name", "eth.dst", "frame.comment"]);
        assert_eq!(column(&rows, 0), ["a", "b"]);
        assert_eq!(column(&rows, 1), [&*common::frames::text(station(2)), "01:80:c2:00:00:00"]);
        for (row, reason) in rows.iter().zip(["bad-source", "reserved-group"]) {
            let told = &row[2];
            assert!(
                told.starts_with(&format!("dropped at {}: {reason}: ", row[0])) && told.contains("Remedy: "),
                "{told}"
            );
        }
    });
}

#[test]
fn inside_a_tun_port_are_packets() {
    as_root(|| {
        let (a, b) = (Host::new("a"), Host::new("b"));
        let port = |name: &str, other: &str, host: &Host, address: &str| {
            format!(
                "[port.{name}]\ntype = \"tun\"\nnetns = \"{host}\"\nwire = \"{other}\"\naddress = [\"{address}\"]\n"
            )
        };
        let yard =
            Yard::start(&[port("x", "y", &a, "10.9.0.1/24"), port("y", "x", &b, "10.9.0.2/24")].concat());
        let file = yard.dir().join("packets.pcapng");
        let capturing =
            Capturing::start(&yard, &format!("any -c 4 -w {} icmp", file.display()), Stdio::null());
        ping(&a, "10.9.0.2", 56, 1);
        capturing.finish();
        let rows = read(&file, &["frame.interface_name", "frame.protocols", "ip.src"]);
        assert_eq!(column(&rows, 0), ["x", "y", "y", "x"]);
        assert!(column(&rows, 1).iter().all(|protocols| protocols.starts_with("raw:ip:icmp")), "{rows:?}");
        assert_eq!(column(&rows, 2), ["10.9.0.1", "10.9.0.1", "10.9.0.2", "10.9.0.2"]);
    });
}

#[test]
fn files_rotate_and_the_latest_are_kept() {
    as_root(|| {
        let (a, b, yard) = pair();
        let file = yard.dir().join("many.pcapng");
        let capturing =
            Capturing::start(&yard, &format!("lan -C 1 -W 3 -w {}", file.display()), Stdio::null());
        tcp(&a, &b, "10.9.0.2", 64 << 20);
        let there = || {
            let names =
                fs::read_dir(yard.dir()).expect("it is ours").map(|entry| entry.expect("an entry").path());
            let mut names: Vec<_> = names.filter(|path| path.to_string_lossy().contains("many.")).collect();
            names.sort();
            names
        };
        wait_until("the fourth file", || !there().iter().any(|path| path.ends_with("many.00001.pcapng")));
        capturing.interrupt();
        let files = there();
        assert!((2..=3).contains(&files.len()), "{files:?}");
        for path in &files {
            assert!(path.metadata().expect("it is there").len() <= 1_000_000);
            let rows = read(path, &["frame.interface_name"]);
            assert!(!rows.is_empty() && column(&rows, 0).iter().all(|name| ["a", "b"].contains(name)));
        }
        yard.assert_conserved();
    });
}

#[test]
fn a_full_disk_ends_the_capture_and_nothing_else() {
    as_root(|| {
        let (a, b, yard) = pair();
        let (small, kept) = (yard.dir().join("small"), yard.dir().join("kept.pcapng"));
        fs::create_dir(&small).expect("the directory is ours");
        let script = format!(
            "mount -t tmpfs -o size=300k tmpfs {small} && {TAPYARD} capture a -w {small}/a.pcapng; code=$?; \
             cp {small}/a.pcapng {kept} && exit $code",
            small = small.display(),
            kept = kept.display()
        );
        let said = yard.dir().join("said");
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script]).env("TAPYARD_CONTROL", yard.control());
        command.stderr(File::create(&said).expect("the directory is ours"));
        let child = command.spawn().expect("unshare runs");
        let capturing = Capturing { child, said };
        wait_until("the capture to run", || capturing.said().contains("capturing on"));
        tcp(&a, &b, "10.9.0.2", 16 << 20);
        let (status, said) = capturing.wait();
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains("No space left on device") && said.contains("the capture ends here"), "{said}");
        assert!(!read(&kept, &["frame.len"]).is_empty());
        tcp(&b, &a, "10.9.0.1", 16 << 20);
        yard.assert_conserved();
    });
}

#[test]
fn a_reader_that_does_not_read_is_left() {
    as_root(|| {
        let (a, b, yard) = pair();
        let mut capturing = Capturing::start(&yard, "any", Stdio::piped());
        // More than fits into all that is between.
        tcp(&a, &b, "10.9.0.2", 256 << 20);
        yard.assert_conserved();
        wait_until("the switch to leave it", || {
            let threads = fs::read_dir(format!("/proc/{}/task", yard.pid())).expect("it runs");
            !threads
                .map(|thread| thread.expect("a thread").path().join("comm"))
                .any(|name| fs::read_to_string(name).is_ok_and(|name| name.trim() == "capture"))
        });
        let mut got = Vec::new();
        let mut output = capturing.child.stdout.take().expect("it was asked for");
        output.read_to_end(&mut got).expect("a pipe can be read");
        let (status, said) = capturing.wait();
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains("the capture was ended by the switch"), "{said}");
        assert!(tapyard::packet::pcapng::file(&got).all(|packet| packet.is_ok()), "what came is whole");
        tcp(&b, &a, "10.9.0.1", 16 << 20);
    });
}

#[test]
fn a_reader_that_is_killed_is_forgotten() {
    as_root(|| {
        let (a, b, yard) = pair();
        for _ in 0..40 {
            let mut capturing = Capturing::start(&yard, "any", Stdio::null());
            capturing.child.kill().expect("it is our child");
        }
        tcp(&a, &b, "10.9.0.2", 64 << 20);
        yard.assert_conserved();
    });
}

#[test]
fn wireshark_finds_the_ports_and_captures_from_them() {
    as_root(|| {
        let (a, _b, yard) = pair();
        let folder = yard.dir().join("extcap");
        fs::create_dir(&folder).expect("the directory is ours");
        symlink(TAPYARD, folder.join("tapyard-extcap")).expect("the directory is ours");
        // For root, tshark looks in the folder of the system only.
        let tshark = |arguments: &str| {
            let script = format!(
                "mount --bind {} $(tshark -G folders 2>/dev/null | sed -n 's/^Extcap path:[[:space:]]*//p') && exec tshark {arguments}",
                folder.display()
            );
            let mut command = Command::new("timeout");
            command.args(["-k", "1", "60", "unshare", "--mount", "sh", "-c", &script]);
            command.env("TAPYARD_CONTROL", yard.control()).stdin(Stdio::null());
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            command
        };
        let found = tshark("-D").output().expect("tshark runs");
        let found = String::from_utf8_lossy(&found.stdout).into_owned();
        for name in ["tapyard-port:a", "tapyard-port:b", "tapyard-bridge:lan", "tapyard-any", "tapyard-drops"]
        {
            assert!(found.contains(name), "{found}");
        }
        let capture =
            tshark("-i tapyard-port:a -f icmp -c 2 -l -T fields -e frame.interface_name -e icmp.type")
                .spawn();
        let capture = capture.expect("tshark runs");
        // It says nothing that tells when it captures: the switch's thread does.
        wait_until("Wireshark to capture", || {
            let threads = fs::read_dir(format!("/proc/{}/task", yard.pid())).expect("it runs");
            threads
                .map(|thread| thread.expect("a thread").path().join("comm"))
                .any(|name| fs::read_to_string(name).is_ok_and(|name| name.trim() == "capture"))
        });
        ping(&a, "10.9.0.2", 56, 3);
        let output = capture.wait_with_output().expect("it is our child");
        let (shown, said) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(shown.lines().count(), 2, "{shown}\n{said}");
        assert!(shown.contains("\t8") && shown.contains("\t0"), "{shown}\n{said}");
        assert!(!said.contains("Error by extcap"), "Wireshark takes what is said for errors: {said}");
    });
}
