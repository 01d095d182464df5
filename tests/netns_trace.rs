//! `tapyard trace` on a switch that runs: what it says comes true, leaves nothing behind, and follows real frames without
//! being in their way.

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use common::frames::{BROADCAST, frame, station};
use common::routed::{HOST, Routed, v4};
use common::traffic::{Stream, ping, wait_for_ping};
use common::{Lan, Yard, as_root, send_signal};
use serde_json::Value;

/// Bytes in hexadecimal.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a trace of a frame says.
fn trace(yard: &Yard, port: &str, bytes: &[u8]) -> Value {
    yard.json(&format!("trace --in {port} --hex {}", hex(bytes)))
}

/// How the frames of a trace end: the outcome, the port that counts it, and why it is dropped.
fn ends(trace: &Value) -> Vec<(&str, &str, Option<&str>)> {
    let ends = trace["ends"].as_array().expect("a list").iter();
    ends.map(|end| (text(&end["outcome"]), text(&end["port"]), end["reason"].as_str())).collect()
}

/// The stages of a trace, in their order.
fn stages(trace: &Value) -> Vec<&str> {
    trace["steps"].as_array().expect("a list").iter().map(|step| text(&step["stage"])).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

/// What can be seen of a switch from outside.
fn seen(yard: &Yard) -> Vec<Value> {
    let learned = yard.learned().into_iter().map(|entry| format!("{entry:?}").into());
    learned.chain(["drops", "bridge", "port"].map(|noun| yard.json(noun))).collect()
}

#[test]
fn what_a_trace_says_of_a_frame_comes_true() {
    as_root(|| {
        let lan = Lan::start("", &[("a", ""), ("b", ""), ("c", "isolated = true"), ("d", "isolated = true")]);
        let (one, two, three) = (station(1), station(2), station(3));
        lan.teach("b", two);
        lan.teach("d", three);
        lan.settle();
        let unicast = frame(two, one);
        let before = seen(&lan.yard);
        let said = trace(&lan.yard, "a", &unicast);
        assert_eq!(ends(&said), [("sent", "b", None)], "{said:#}");
        assert_eq!(stages(&said), ["ingress", "ingress", "learn", "fdb", "egress", "end"], "{said:#}");
        assert_eq!(said["verdict"], "sent by b");
        assert_eq!(said["left"][0]["frame"], hex(&unicast));
        let flooded = trace(&lan.yard, "a", &frame(BROADCAST, one));
        let mut ports: Vec<_> = ends(&flooded).iter().map(|(_, port, _)| port.to_string()).collect();
        ports.sort();
        assert_eq!(ports, ["b", "c", "d"], "{flooded:#}");
        let apart = trace(&lan.yard, "c", &frame(three, one));
        assert_eq!(ends(&apart), [("dropped", "c", Some("isolated"))], "{apart:#}");
        let end = &apart["ends"][0];
        assert_eq!((&end["hop"], &end["name"]), (&"bridge".into(), &"lan".into()));
        assert!(end["meaning"].as_str().is_some_and(|text| text.contains("isolated ports")), "{end}");
        assert!(end["remedy"].as_str().is_some_and(|text| text.contains("`isolated = true`")), "{end}");
        assert_eq!(seen(&lan.yard), before, "nothing has happened");
        lan.check("a", &unicast, &[("b", &unicast)]);
        lan.check_drop("c", &frame(three, station(4)), "isolated");

        let text = lan.yard.ok(&format!("trace --in c --hex {}", hex(&frame(three, one))));
        let first = text.lines().next().expect("some lines");
        let (from, to) = (common::frames::text(one), common::frames::text(three));
        assert!(first.starts_with(&format!("{from} > {to} ")) && first.ends_with(" bytes"), "{first}");
        let last = text.lines().last().expect("some lines");
        assert!(last.starts_with("=> dropped at bridge lan: isolated ("), "{text}");
        assert!(last.contains("look at: both ports say"), "{text}");
        assert!(text.contains("\nbridge lan\n  learn "), "{text}");
    });
}

#[test]
fn a_frame_of_a_capture_is_traced_and_a_wrong_word_is_refused() {
    as_root(|| {
        let lan = Lan::start("", &[("a", ""), ("b", "")]);
        let second = frame(station(2), station(1));
        // The old format, little-endian, of Ethernet.
        let mut capture = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65535, 1].map(u32::to_le_bytes).concat();
        for bytes in [frame(BROADCAST, station(9)), second.clone()] {
            let len = bytes.len() as u32;
            capture.extend([1, 0, len, len].map(u32::to_le_bytes).concat());
            capture.extend(bytes);
        }
        let path = lan.yard.dir().join("some.pcap");
        fs::write(&path, &capture).expect("the directory is ours");
        let path = path.display();
        let said = lan.yard.json(&format!("trace --in a --pcap {path} --frame 2"));
        assert_eq!(said["frame"], hex(&second));
        assert_eq!(stages(&said).iter().filter(|stage| **stage == "flood").count(), 1, "{said:#}");
        for (arguments, why) in [
            (format!("trace --in a --pcap {path} --frame 3"), "there are 2 frames, and no frame 3"),
            ("trace --in nobody ip".to_owned(), "there is no port nobody (port show lists them)"),
            ("trace --in a ip/carrier-pigeon".to_owned(), "carrier-pigeon"),
            ("trace --in a --remote 10.8.0.1 ip".to_owned(), "port a is no tunnel"),
            ("trace --in a --hex ffzz".to_owned(), "--hex: \"ffzz\" is no bytes"),
        ] {
            let said = lan.yard.refused(&arguments);
            assert!(said.contains(why), "{arguments}: {said}");
        }
    });
}

#[test]
fn a_routed_packet_is_traced_through_rules_routes_and_translation() {
    as_root(|| {
        let rest = "[[rule]]\nrouter = \"gw\"\nhook = \"forward\"\nmatch = { protocol = \"udp\" }\naction = \"drop\"\n\
                    [[router.gw.nat]]\ntype = \"masquerade\"\nout = \"net2\"\n";
        let routed = Routed::start(2, rest);
        wait_for_ping(routed.host(1), &v4(2, HOST));
        let yard = &routed.yard;
        yard.ok("nat flush");
        let mac = common::frames::text(routed.host(1).mac("eth"));
        let from = format!("eth src {mac}/ip src {} dst {}", v4(1, HOST), v4(2, HOST));
        let said = yard.json(&format!("trace --in h1 {from}/tcp sport 40000 dport 80 flags syn"));
        assert_eq!(ends(&said), [("sent", "h2", None)], "{said:#}");
        let told = |stage: &str| -> Vec<&str> {
            let steps = said["steps"].as_array().expect("a list").iter();
            steps.filter(|step| step["stage"] == stage).filter_map(|step| step["text"].as_str()).collect()
        };
        let nat = format!("tcp {}:40000 > {}:80 leaves as tcp 10.9.2.254:40000 > ", v4(1, HOST), v4(2, HOST));
        assert!(told("nat").iter().any(|text| text.starts_with(&nat)), "{said:#}");
        assert!(told("session").iter().any(|text| text.starts_with("a new connection")), "{said:#}");
        assert!(
            told("route").iter().any(|text| text.contains("it is on the network of interface net2")),
            "{said:#}"
        );
        let dropped = yard.json(&format!("trace --in h1 {from}/udp dport 53"));
        assert_eq!(ends(&dropped), [("dropped", "h1", Some("filtered"))], "{dropped:#}");
        assert!(dropped.to_string().contains("hook forward: rule 1 matches"), "{dropped:#}");
        // What leaves of these is no copy of the packet, and is not told as one.
        for (to, first) in [
            ("10.9.2.77", "taken by router gw: the address of 10.9.2.77 is not known: it is asked for"),
            ("10.9.1.254", "dropped at router gw: not-local ("),
        ] {
            let said = yard.json(&format!("trace --in h1 eth src {mac}/ip src {} dst {to}/tcp", v4(1, HOST)));
            let verdict = text(&said["verdict"]);
            assert!(
                verdict.starts_with(first) && verdict.contains("; the switch itself sends by h"),
                "{said:#}"
            );
        }
        let nat = yard.json("nat");
        assert!(!nat.to_string().contains("40000"), "no connection was started: {nat}");
        ping(routed.host(1), &v4(2, HOST), 56, 1);
    });
}

/// A `tapyard trace --follow` that runs.
struct Following(Child);

impl Following {
    fn start(yard: &Yard, arguments: &str) -> Following {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tapyard"));
        command.env("TAPYARD_CONTROL", yard.control()).args(["trace", "--follow", "-j"]);
        let child = command.args(arguments.split_whitespace()).stdout(Stdio::piped()).spawn();
        Following(child.expect("the program starts"))
    }

    /// The walks that it prints, as they come.
    fn walks(&mut self) -> impl Iterator<Item = Value> {
        let out = self.0.stdout.take().expect("it is read once");
        let parse = |line: String| serde_json::from_str(&line).expect("a line of JSON");
        BufReader::new(out).lines().map(move |line| parse(line.expect("a line")))
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        send_signal(self.0.id(), libc::SIGTERM);
        let _ = self.0.wait();
    }
}

#[test]
fn real_frames_are_followed_a_few_of_them_and_none_is_lost_by_it() {
    as_root(|| {
        let routed = Routed::start(2, "");
        let (one, two) = (routed.host(1), routed.host(2));
        wait_for_ping(one, &v4(2, HOST));
        let streams = [Stream::start(one, two, &v4(2, HOST)), Stream::start(two, one, &v4(1, HOST))];
        let mut following = Following::start(&routed.yard, "--count 5 --in h1 udp");
        let walks: Vec<_> = following.walks().collect();
        assert_eq!(walks.len(), 5, "it ends by itself");
        for walk in &walks {
            assert_eq!(walk["port"], "h1", "{walk:#}");
            assert!(ends(walk).contains(&("sent", "h2", None)), "{walk:#}");
            assert!(stages(walk).contains(&"route"), "{walk:#}");
            assert_eq!(walk["left"], Value::Array(Vec::new()));
        }
        let mut following = Following::start(&routed.yard, "--rate 100");
        assert!(following.walks().take(100).all(|walk| !ends(&walk).is_empty()));
        drop(following);
        for stream in streams {
            stream.assert_lossless();
        }
    });
}
