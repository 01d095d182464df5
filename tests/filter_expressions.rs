//! Filter expressions against tcpdump: of many frames, both take the same; where they differ on purpose, the difference is
//! what the documentation says. And nothing that somebody writes or sends makes them panic.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use tapyard::packet::describe::{Defaults, describe};
use tapyard::packet::expression::{MAX_DEPTH, MAX_TESTS, MAX_TEXT};
use tapyard::packet::{Expression, Frame, Layer, MAX_FRAME};

/// Frames of all that the expressions below ask about.
const FRAMES: &[&str] = &[
    "tcp",
    "ip src 10.9.0.1 dst 10.9.0.2/tcp sport 1234 dport 80",
    "ip src 10.9.0.2 dst 10.9.0.1/tcp sport 80 dport 1234 flags syn,ack",
    "ip src 10.9.0.1 dst 10.9.0.2/tcp sport 443 dport 443 flags fin,psh,ack",
    "ip src 10.9.1.1 dst 10.9.0.2/tcp sport 22 dport 22 flags rst",
    "ip src 10.9.0.1 dst 10.9.0.2/tcp dport 80 flags urg,ece,cwr",
    "ip src 10.9.0.1 dst 10.9.0.2/tcp flags none/payload 1400",
    "ip src 10.9.0.1 dst 10.9.0.1/udp sport 53 dport 53",
    "ip src 10.9.0.1 dst 224.0.0.251/udp sport 5353 dport 5353",
    "ip src 0.0.0.0 dst 255.255.255.255/udp sport 68 dport 67/payload 300",
    "ip src 192.0.2.1 dst 192.0.2.200/udp dport 1500/payload 90",
    "ip src 10.9.0.1 dst 10.9.0.2 mf/udp sport 53 dport 53/payload 64",
    "ip src 10.9.0.1 dst 10.9.0.2 offset 72 proto 17/payload 64",
    "ip src 10.9.0.1 dst 10.9.0.2 offset 72 proto 6/payload 64",
    "ip src 10.9.0.1 dst 10.9.0.2/icmp",
    "ip src 10.9.0.1 dst 10.9.0.2/icmp type 3 code 1/payload 60",
    "ip src 10.9.0.1 dst 10.9.0.2 proto 132/payload 0x0050005000000000000000000000000000",
    "ip src 10.9.0.1 dst 10.9.0.2 proto 47/payload 40",
    "ip src 10.9.0.1 dst 10.9.0.2 proto 2/payload 8",
    "ip src 10.9.0.1 dst 10.9.0.2 proto 50/payload 80",
    "ip src 10.9.0.1 dst 10.9.0.2 proto 51/payload 80",
    "ip src 10.9.0.1 dst 10.9.0.2",
    "ip6 src fd00::1 dst fd00::2/tcp sport 1234 dport 80",
    "ip6 src fd00::2 dst fd00::1/udp sport 53 dport 5353",
    "ip6 src fe80::1 dst ff02::1:2/udp sport 546 dport 547",
    "ip6 src fd00::1 dst fd00::2/icmp6",
    "ip6 src fe80::1 dst ff02::1/icmp6 type 134",
    "ip6 src fd00:0:0:1::1 dst fd00:0:0:2::1 proto 132/payload 0x0050005000000000000000000000000000",
    "ip6 src fd00::1 dst fd00::2 proto 59/payload 10",
    "arp src 10.9.0.1 dst 10.9.0.2",
    "eth dst 02:00:00:00:00:07/arp reply src 10.9.0.2 dst 10.9.0.1",
    "eth type 0x8035/arp src 10.9.0.1 dst 10.9.0.1",
    "eth dst 01:80:c2:00:00:00 type 38/payload 0x424203000000000000000000",
    "eth dst 01:80:c2:00:00:0e type 0x88cc/payload 40",
    "eth src 02:00:00:00:00:05 dst 02:00:00:00:00:06/payload 40",
    "eth dst 02:00:00:00:00:01/payload 1500",
];

/// Expressions that mean the same to tcpdump.
const SAME: &[&str] = &[
    "",
    "ip",
    "ip6",
    "arp",
    "rarp",
    "tcp",
    "udp",
    "sctp",
    "icmp",
    "icmp6",
    "igmp",
    "esp",
    "ah",
    "stp",
    "host 10.9.0.1",
    "src 10.9.0.1",
    "dst host 10.9.0.1",
    "src or dst host 10.9.0.1",
    "src and dst host 10.9.0.1",
    "dst or src host 10.9.0.1",
    "ip host 10.9.0.1",
    "arp host 10.9.0.1",
    "arp src host 10.9.0.2",
    "rarp host 10.9.0.1",
    "host fd00::1",
    "ip6 src host fd00::1",
    "host 10.9.0.1 or 10.9.1.1 or fd00::2",
    "net 10.9.0.0/24",
    "net 10.9.0.0/16",
    "src net 10.9.1.0/24",
    "dst net 0.0.0.0/0",
    "ip net 10.9.0.0/31",
    "net fd00::/64",
    "src net fd00:0:0:1::/64",
    "ip6 net ::/0",
    "port 80",
    "tcp port http or https",
    "src port 80",
    "dst port 53",
    "src and dst port 53",
    "tcp port 80",
    "udp port 53",
    "sctp port 80",
    "udp dst port 67 or 547",
    "port (22 or 53)",
    "portrange 1000-1500",
    "udp portrange 60-70",
    "tcp src portrange 1234-1234",
    "proto 47",
    "proto 17",
    "ip proto 6",
    "ip proto \\tcp",
    "ip6 proto 58",
    "ip6 proto \\udp",
    "ether host 02:00:00:00:00:01",
    "ether src 02:00:00:00:00:05",
    "ether dst host 02:00:00:00:00:06",
    "ether src and dst host 02:00:00:00:00:01",
    "ether proto 0x0806",
    "ether proto \\ip6",
    "ether proto 0x88cc",
    "broadcast",
    "ether broadcast",
    "multicast",
    "ether multicast",
    "ip multicast and not dst host 255.255.255.255",
    "ip6 multicast",
    "less 60",
    "less 100",
    "greater 61",
    "greater 1514",
    "not ip",
    "! tcp && !arp",
    "tcp or udp and port 53",
    "tcp or (udp and port 53)",
    "not (tcp or udp) and ip",
    "not host 10.9.0.1 and 10.9.1.1",
    "((ip)) and (not (not (tcp)))",
    "ip and tcp port 80 || ip6 and udp",
];

/// Flags of TCP in our words and in tcpdump's, which knows them of IPv4 only.
const FLAGS: &[(&str, &str)] = &[
    ("ip and tcp-syn", "tcp[tcpflags] & tcp-syn != 0"),
    ("ip and tcp-ack", "tcp[tcpflags] & tcp-ack != 0"),
    ("ip and tcp-fin", "tcp[tcpflags] & tcp-fin != 0"),
    ("ip and tcp-rst", "tcp[tcpflags] & tcp-rst != 0"),
    ("ip and tcp-push", "tcp[tcpflags] & tcp-push != 0"),
    ("ip and tcp-urg", "tcp[tcpflags] & tcp-urg != 0"),
    ("ip and tcp-ece", "tcp[tcpflags] & tcp-ece != 0"),
    ("ip and tcp-cwr", "tcp[tcpflags] & tcp-cwr != 0"),
    ("ip and tcp-syn and not tcp-ack", "tcp[tcpflags] & (tcp-syn|tcp-ack) = tcp-syn"),
];

fn bytes_of(description: &str) -> Vec<u8> {
    describe(description, &Defaults::default()).unwrap_or_else(|why| panic!("{description}: {why}"))
}

fn frames() -> Vec<Vec<u8>> {
    FRAMES.iter().map(|description| bytes_of(description)).collect()
}

/// The frame with a VLAN tag put in, as the outermost.
fn tagged(bytes: &[u8], tpid: u16, tci: u16) -> Vec<u8> {
    [&bytes[..12], &tpid.to_be_bytes(), &tci.to_be_bytes(), &bytes[12..]].concat()
}

fn expression(text: &str) -> Expression {
    text.parse().unwrap_or_else(|why| panic!("{text}: {why}"))
}

/// The numbers of the frames that are some.
fn ours(text: &str, layer: Layer, frames: &[Vec<u8>]) -> BTreeSet<usize> {
    let expression = expression(text);
    let is = |bytes: &Vec<u8>| {
        let mut frame = Frame::from_bytes(bytes);
        frame.layer = layer;
        expression.matches(&frame)
    };
    (0..frames.len()).filter(|&index| is(&frames[index])).collect()
}

/// A capture file that tcpdump reads, in which a frame's number is its time.
struct Saved(std::path::PathBuf);

impl Saved {
    fn new(name: &str, link: u32, frames: &[Vec<u8>]) -> Saved {
        let mut file = Vec::new();
        for word in [0xa1b2_c3d4, 2 | 4 << 16, 0, 0, 262_144, link] {
            file.extend(u32::to_le_bytes(word));
        }
        for (number, frame) in frames.iter().enumerate() {
            for word in [number as u32, 0, frame.len() as u32, frame.len() as u32] {
                file.extend(word.to_le_bytes());
            }
            file.extend(frame);
        }
        let path = std::env::temp_dir().join(format!("tapyard-filter-{}-{name}", std::process::id()));
        fs::write(&path, file).expect("a folder for temporary files");
        Saved(path)
    }

    /// The numbers of the frames that tcpdump takes.
    fn theirs(&self, text: &str) -> BTreeSet<usize> {
        let output = Command::new("tcpdump")
            .args(["-Z", "root", "-n", "-w", "-", "-r"])
            .arg(&self.0)
            .arg(text)
            .output()
            .expect("tcpdump is installed");
        let said = String::from_utf8_lossy(&output.stderr);
        // It looks for contradictions, and then at no frame.
        if said.contains("expression rejects all packets") {
            return BTreeSet::new();
        }
        assert!(output.status.success(), "{text}: {said}");
        let packets =
            tapyard::packet::pcapng::file(&output.stdout).map(|packet| packet.expect("a whole file").0);
        packets.map(|packet| (packet.nanos / 1_000_000_000) as usize).collect()
    }
}

impl Drop for Saved {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// The descriptions of frames that only one of two has taken.
fn difference(one: &BTreeSet<usize>, other: &BTreeSet<usize>) -> Vec<&'static str> {
    one.symmetric_difference(other).map(|&index| FRAMES[index % FRAMES.len()]).collect()
}

#[test]
fn tcpdump_takes_the_same_frames() {
    let frames = frames();
    let saved = Saved::new("same", 1, &frames);
    let same = SAME.iter().map(|text| (*text, *text));
    for (text, theirs) in same.chain(FLAGS.iter().copied()) {
        let (ours, theirs) = (ours(text, Layer::Ethernet, &frames), saved.theirs(theirs));
        assert_eq!(ours, theirs, "{text}: {:?}", difference(&ours, &theirs));
        let all = text.is_empty();
        assert!(!ours.is_empty() && (all || ours.len() < frames.len()), "{text} tells frames apart");
    }
}

#[test]
fn packets_without_an_ethernet_header_are_asked_the_same() {
    let packets = FRAMES.iter().filter_map(|description| {
        let defaults = Defaults { layer: Layer::Ip, ..Defaults::default() };
        describe(description, &defaults).ok()
    });
    let packets: Vec<_> = packets.collect();
    assert!(packets.len() > 20);
    let saved = Saved::new("bare", 101, &packets);
    for text in SAME.iter().filter(|text| {
        !["ether", "cast", "stp", "rarp", "arp", "not ip"].iter().any(|word| text.contains(word))
    }) {
        assert_eq!(ours(text, Layer::Ip, &packets), saved.theirs(text), "{text}");
    }
    let for_groups = ours("multicast", Layer::Ip, &packets);
    assert_eq!(
        for_groups,
        ours("dst net 224.0.0.0/4 or ff00::/8 or dst host 255.255.255.255", Layer::Ip, &packets)
    );
    assert_eq!(ours("broadcast", Layer::Ip, &packets), ours("dst host 255.255.255.255", Layer::Ip, &packets));
    for nothing in ["ether host 02:00:00:00:00:01", "arp", "vlan", "stp"] {
        assert!(ours(nothing, Layer::Ip, &packets).is_empty(), "{nothing}");
    }
}

#[test]
fn tags_are_looked_through() {
    let plain = frames();
    let saved = Saved::new("plain", 1, &plain);
    let single: Vec<_> = plain.iter().map(|frame| tagged(frame, 0x8100, 0x600a)).collect();
    let double: Vec<_> = single.iter().map(|frame| tagged(frame, 0x88a8, 100)).collect();
    let saved_single = Saved::new("single", 1, &single);
    for text in SAME.iter().filter(|text| !["less", "greater"].iter().any(|word| text.contains(word))) {
        let of_plain = saved.theirs(text);
        assert_eq!(ours(text, Layer::Ethernet, &single), of_plain, "{text}, tagged");
        assert_eq!(ours(text, Layer::Ethernet, &double), of_plain, "{text}, tagged twice");
        if !text.is_empty() {
            // tcpdump looks behind a tag from the word on.
            assert_eq!(
                ours(&format!("vlan 10 and ({text})"), Layer::Ethernet, &single),
                saved_single.theirs(&format!("vlan 10 and ({text})")),
                "{text}"
            );
        }
    }
    let all: BTreeSet<_> = (0..plain.len()).collect();
    for (text, frames, expected) in [
        ("vlan", &plain, false),
        ("vlan", &single, true),
        ("vlan 10", &single, true),
        ("vlan 11", &single, false),
        ("vlan 11 or 10", &single, true),
        ("vlan 10", &double, true),
        ("vlan 100", &double, true),
        ("vlan 100 and vlan 10", &double, true),
        ("vlan (100 and 11)", &double, false),
        ("ether proto 0x8100", &single, true),
        ("ether proto 0x8100", &plain, false),
        ("ether proto 0x88a8", &double, true),
    ] {
        assert_eq!(
            ours(text, Layer::Ethernet, frames),
            if expected { all.clone() } else { BTreeSet::new() },
            "{text}"
        );
    }
}

#[test]
fn extension_headers_of_ipv6_are_looked_through() {
    // A packet to port 53 behind hop-by-hop options, and behind the header of a first fragment.
    let udp = bytes_of("ip6 src fd00::1 dst fd00::2/udp sport 1000 dport 53/payload 8");
    for (next, extension) in
        [(0, [17, 0, 1, 4, 0, 0, 0, 0]), (60, [17, 0, 1, 4, 0, 0, 0, 0]), (44, [17, 0, 0, 1, 0, 0, 0, 7])]
    {
        let mut bytes = [&udp[..54], &extension, &udp[54..]].concat();
        bytes[20] = next;
        let frames = [bytes];
        assert_eq!(ours("udp and dst port 53 and not tcp", Layer::Ethernet, &frames).len(), 1, "{next}");
        if next == 44 {
            let mut later = frames.clone();
            later[0][57] = 9;
            assert_eq!(ours("udp and not port 53", Layer::Ethernet, &later).len(), 1);
        }
    }
}

#[test]
fn what_is_wrong_is_said_with_its_column() {
    for (text, why) in [
        ("tcp prot 80", "column 5: \"prot\" is no operator (expected `and` or `or`)"),
        ("tpc", "column 1: \"tpc\" is no test (expected a test: host, net, port,"),
        ("host", "column 5: the filter ends here (expected an address, as 10.9.0.1 or fd00::1;"),
        ("host example.org", "column 6: \"example.org\" is no address (expected an address, as 10.9.0.1"),
        ("host 10.9.0.0/16", "column 6: \"10.9.0.0/16\" is no address (expected an address,"),
        (
            "host 02:00:00:00:00:01",
            "column 6: \"02:00:00:00:00:01\" is no address (expected an address, as 10.9.0.1 or fd00::1; `ether host` for a MAC address",
        ),
        (
            "net 10.9.0.1",
            "column 5: \"10.9.0.1\" is no network (expected a network, as 10.9.0.0/16 or fd00::/64)",
        ),
        ("net 10.9.0.0/33", "column 5: \"10.9.0.0/33\" is no network"),
        ("ip host fd00::1", "column 9: \"fd00::1\" is no address of that protocol (expected 10.9.0.1)"),
        ("ip6 net 10.0.0.0/8", "column 9: \"10.0.0.0/8\" is no address of that protocol (expected fd00::1)"),
        ("ether host 10.9.0.1", "column 12: \"10.9.0.1\" is no MAC address"),
        ("ether", "column 6: the filter ends here (expected host, src, dst, proto, broadcast or multicast)"),
        (
            "ether port 80",
            "column 1: \"ether\" is no protocol with such a test (expected tcp, udp, sctp, ip or ip6 before `port`)",
        ),
        ("icmp port 80", "column 1: \"icmp\" is no protocol with such a test"),
        ("port 65536", "column 6: \"65536\" is no port (expected ssh, smtp, domain,"),
        ("portrange 80", "column 11: \"80\" is no range of ports (expected two ports, as 1024-2047)"),
        ("portrange 90-80", "column 11: \"90-80\" is no range of ports"),
        ("vlan 4096", "column 6: \"4096\" is no VLAN (expected 0 to 4095)"),
        ("proto 256", "column 7: \"256\" is no protocol (expected tcp, udp,"),
        (
            "ether proto 0x42",
            "column 13: \"0x42\" is no EtherType (expected ip, ip6, arp, rarp, 1536 to 65535)",
        ),
        ("less many", "column 6: \"many\" is no length (expected 0 to 65597)"),
        ("(tcp", "column 5: the filter ends here (expected `and`, `or`, or \")\" for the \"(\" in column 1)"),
        ("tcp)", "column 4: \")\" closes nothing"),
        ("tcp and", "column 8: the filter ends here (expected a test: host,"),
        ("tcp & udp", "column 5: \"&\" is no operator (expected `and` or `or`)"),
        ("ip broadcast", "column 1: \"ip\" is no protocol with such a test (expected ether broadcast,"),
        ("tcp[13] & 2 != 0", "column 1: \"tcp[13]\" is no test (expected words: tcp-syn, tcp-ack, …"),
        ("\u{e9}t\u{e9} or tcp", "column 1: \"\u{e9}t\u{e9}\" is no test"),
        ("tcp or \u{e9}", "column 8: \"\u{e9}\" is no test"),
    ] {
        let said = text.parse::<Expression>().unwrap_err();
        assert!(said.starts_with(why) && !said.contains('\n'), "{text}\n{said}\n{why}");
    }
}

#[test]
fn an_expression_is_bounded() {
    let most = vec!["tcp"; MAX_TESTS].join(" or ");
    expression(&most);
    let too_many = format!("{most} or tcp").parse::<Expression>().unwrap_err();
    assert!(too_many.ends_with("too many tests (expected at most 256)"), "{too_many}");
    expression(&format!("{}tcp{}", "(".repeat(MAX_DEPTH), ")".repeat(MAX_DEPTH)));
    let too_deep = "(".repeat(MAX_DEPTH + 1).parse::<Expression>().unwrap_err();
    assert_eq!(too_deep, "column 33: too many parentheses (expected at most 32 open)");
    let too_long = " ".repeat(MAX_TEXT + 1).parse::<Expression>().unwrap_err();
    assert_eq!(too_long, "4097 bytes of filter are too many (expected at most 4096)");
    let negated = expression(&format!("{}tcp", "not ".repeat(1000)));
    assert!(negated.matches(&Frame::from_bytes(&bytes_of("tcp"))));
}

#[test]
fn it_remembers_its_text() {
    let text = "tcp and not port (22 or 443)";
    assert_eq!(expression(&format!("  {text} ")).to_string(), text);
    assert!(expression("  ").is_all() && !expression(text).is_all());
    let json = serde_json::to_string(&expression(text)).unwrap();
    assert_eq!(json, format!("\"{text}\""));
    assert_eq!(serde_json::from_str::<Expression>(&json).unwrap(), expression(text));
    assert!(serde_json::from_str::<Expression>("\"port\"").is_err());
}

/// Expressions of several tests, with all that joins them.
fn compound() -> impl Strategy<Value = String> {
    let alone = select(&SAME[1..]).prop_map(|text| format!("({text})"));
    alone.prop_recursive(4, 12, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|inner| format!("not {inner}")),
            inner.clone().prop_map(|inner| format!("! ({inner})")),
            vec((inner, select(&["and", "or", "&&", "||"])), 1..4).prop_map(|parts| {
                let mut text = String::from("tcp");
                parts.iter().for_each(|(part, operator)| text += &format!(" {operator} {part}"));
                format!("({text})")
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn operators_bind_as_tcpdump_has_them(text in compound()) {
        let frames = frames();
        let saved = Saved::new("compound", 1, &frames);
        prop_assert_eq!(ours(&text, Layer::Ethernet, &frames), saved.theirs(&text));
    }
}

const WORDS: &[&str] = &[
    "host",
    "net",
    "port",
    "portrange",
    "proto",
    "src",
    "dst",
    "ether",
    "ip",
    "ip6",
    "arp",
    "tcp",
    "udp",
    "icmp6",
    "vlan",
    "less",
    "greater",
    "broadcast",
    "multicast",
    "tcp-syn",
    "and",
    "or",
    "not",
    "(",
    ")",
    "!",
    "&&",
    "||",
    "10.9.0.1",
    "fd00::1",
    "10.0.0.0/8",
    "::/0",
    "80",
    "0x800",
    "http",
    "1-2",
    "02:00:00:00:00:01",
    "stp",
    "lldp",
    "&",
    "é",
    "tcp[",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn no_words_and_no_bytes_make_it_panic(
        words in vec(select(WORDS), 0..10),
        bytes in vec(any::<u8>(), 0..120),
        layer in select(&[Layer::Ethernet, Layer::Ip]),
    ) {
        match words.join(" ").parse::<Expression>() {
            Ok(expression) => {
                let mut frame = Frame::from_bytes(&bytes);
                frame.layer = layer;
                expression.matches(&frame);
            }
            Err(why) => prop_assert!(!why.contains('\n')),
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,60}") {
        let _ = text.parse::<Expression>();
    }

    /// Whatever is cut off or damaged, and whatever is asked.
    #[test]
    fn no_damage_makes_it_panic(
        (description, text) in (select(FRAMES), select(SAME)),
        tags in 0..7usize,
        len in prop_oneof![Just(MAX_FRAME), 0..100usize],
        damage in vec((0..100usize, any::<u8>()), 0..4),
    ) {
        let mut bytes = (0..tags).fold(bytes_of(description), |bytes, _| tagged(&bytes, 0x8100, 1));
        bytes.truncate(len);
        damage.iter().for_each(|(at, byte)| if let Some(there) = bytes.get_mut(*at) { *there = *byte });
        for layer in [Layer::Ethernet, Layer::Ip] {
            let mut frame = Frame::from_bytes(&bytes);
            frame.layer = layer;
            let expression = expression(text);
            let opposite = if text.is_empty() { return Ok(()) } else { format!("not ({text})") };
            let opposite: Expression = opposite.parse().unwrap();
            prop_assert_ne!(expression.matches(&frame), opposite.matches(&frame));
        }
    }
}
