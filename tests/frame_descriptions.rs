//! Frames made of descriptions: what is said stands in them, what is left out is filled in, checksums are right as
//! etherparse computes them; and hexadecimal in all the forms that other tools print.

use std::fs;
use std::process::Command;

use etherparse::{LinkExtSlice, NetSlice, SlicedPacket, TransportSlice};
use proptest::prelude::*;
use tapyard::packet::Layer;
use tapyard::packet::describe::{Defaults, describe};

fn described(text: &str) -> Vec<u8> {
    describe(text, &Defaults::default()).unwrap_or_else(|why| panic!("{text}: {why}"))
}

/// The frame's layers, whose checksums are right.
#[track_caller]
fn verified(bytes: &[u8]) -> SlicedPacket<'_> {
    checked(SlicedPacket::from_ethernet(bytes).expect("headers that parse"))
}

#[track_caller]
fn checked(packet: SlicedPacket<'_>) -> SlicedPacket<'_> {
    let (found, expected) = match (&packet.net, &packet.transport) {
        (Some(NetSlice::Ipv4(ip)), transport) => {
            let header = ip.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            match transport {
                Some(TransportSlice::Tcp(tcp)) => {
                    (tcp.checksum(), tcp.calc_checksum_ipv4(header.source, header.destination).unwrap())
                }
                Some(TransportSlice::Udp(udp)) => {
                    (udp.checksum(), udp.to_header().calc_checksum_ipv4(&header, udp.payload()).unwrap())
                }
                Some(TransportSlice::Icmpv4(icmp)) => {
                    (icmp.checksum(), icmp.icmp_type().calc_checksum(icmp.payload()))
                }
                _ => (0, 0),
            }
        }
        (Some(NetSlice::Ipv6(ip)), transport) => {
            let (header, addresses) = (ip.header().to_header(), ip.header());
            match transport {
                Some(TransportSlice::Tcp(tcp)) => {
                    (tcp.checksum(), tcp.to_header().calc_checksum_ipv6(&header, tcp.payload()).unwrap())
                }
                Some(TransportSlice::Udp(udp)) => {
                    (udp.checksum(), udp.to_header().calc_checksum_ipv6(&header, udp.payload()).unwrap())
                }
                Some(TransportSlice::Icmpv6(icmp)) => {
                    let kind = icmp.icmp_type();
                    let sum = kind.calc_checksum(addresses.source(), addresses.destination(), icmp.payload());
                    (icmp.checksum(), sum.unwrap())
                }
                _ => (0, 0),
            }
        }
        _ => (0, 0),
    };
    assert_eq!(found, expected, "the checksum of {packet:?}");
    packet
}

#[test]
fn what_is_said_stands_in_the_frame() {
    let bytes = described(
        "eth dst 02:00:00:00:00:99 src 02:00:00:00:00:98/vlan 100 tpid 0x88a8/vlan 10 pcp 3 dei/\
         ip src 10.9.0.1 dst 10.9.0.2 ttl 7 tos 0xb9 id 77 df/tcp sport 1 dport 2 flags fin,ack seq 5 ack 6 window 8/\
         payload 0xc0ffee",
    );
    assert_eq!(bytes[..12], [2, 0, 0, 0, 0, 0x99, 2, 0, 0, 0, 0, 0x98]);
    assert_eq!(bytes[12..22], [0x88, 0xa8, 0, 100, 0x81, 0, 0x70, 10, 8, 0]);
    let packet = verified(&bytes);
    assert_eq!(packet.link_exts.iter().filter(|tag| matches!(tag, LinkExtSlice::Vlan(_))).count(), 2);
    let Some(NetSlice::Ipv4(ip)) = &packet.net else { panic!("{packet:?}") };
    let header = ip.header();
    assert_eq!((header.source(), header.destination()), ([10, 9, 0, 1], [10, 9, 0, 2]));
    assert_eq!((header.ttl(), header.dcp().value(), header.ecn().value()), (7, 0x2e, 1));
    assert_eq!((header.identification(), header.dont_fragment(), header.more_fragments()), (77, true, false));
    let Some(TransportSlice::Tcp(tcp)) = &packet.transport else { panic!("{packet:?}") };
    assert_eq!((tcp.source_port(), tcp.destination_port(), tcp.window_size()), (1, 2, 8));
    assert_eq!((tcp.sequence_number(), tcp.acknowledgment_number()), (5, 6));
    assert_eq!((tcp.fin(), tcp.ack(), tcp.syn(), tcp.rst()), (true, true, false, false));
    assert_eq!(tcp.payload(), [0xc0, 0xff, 0xee]);
}

#[test]
fn lower_layers_are_implied_and_follow_from_upper_ones() {
    for (text, to, ether_type) in [
        ("tcp dport 80", [2, 0, 0, 0, 0, 2], [8, 0]),
        ("ip dst 10.9.0.2", [2, 0, 0, 0, 0, 2], [8, 0]),
        ("ip dst 239.1.2.3/udp", [1, 0, 0x5e, 1, 2, 3], [8, 0]),
        ("ip dst 255.255.255.255/udp dport 67", [0xff; 6], [8, 0]),
        ("ip6 dst ff02::1:2/udp dport 547", [0x33, 0x33, 0, 1, 0, 2], [0x86, 0xdd]),
        ("ip dst fd00::1/tcp", [2, 0, 0, 0, 0, 2], [0x86, 0xdd]),
        ("icmp6", [2, 0, 0, 0, 0, 2], [0x86, 0xdd]),
        ("icmp", [2, 0, 0, 0, 0, 2], [8, 0]),
        ("arp dst 10.9.0.2", [0xff; 6], [8, 6]),
        ("arp reply", [2, 0, 0, 0, 0, 2], [8, 6]),
        ("payload 100", [2, 0, 0, 0, 0, 2], [0x88, 0xb5]),
        ("eth", [2, 0, 0, 0, 0, 2], [0x88, 0xb5]),
        ("eth type 0x88cc dst 01:80:c2:00:00:0e", [1, 0x80, 0xc2, 0, 0, 0x0e], [0x88, 0xcc]),
    ] {
        let bytes = described(text);
        verified(&bytes);
        assert_eq!(
            (&bytes[..6], &bytes[6..12], &bytes[12..14]),
            (&to[..], &[2, 0, 0, 0, 0, 1][..], &ether_type[..]),
            "{text}"
        );
        assert!(bytes.len() >= 60, "{text}");
    }
    let request = described("eth src 02:00:00:00:00:77/arp src 10.9.0.1 dst 10.9.0.2");
    assert_eq!(
        request[14..42],
        [0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 0x77, 10, 9, 0, 1, 0, 0, 0, 0, 0, 0, 10, 9, 0, 2]
    );
}

#[test]
fn a_port_that_carries_ip_gets_a_packet() {
    let defaults = Defaults { layer: Layer::Ip, ..Defaults::default() };
    let bytes = describe("ip src 10.9.0.1/udp dport 53/payload 3", &defaults).unwrap();
    checked(SlicedPacket::from_ip(&bytes).unwrap());
    assert_eq!((bytes.len(), bytes[0]), (20 + 8 + 3, 0x45));
    for (text, why) in [
        ("eth/ip", "column 1: the port carries IP, and no `eth` (expected ip or ip6 first)"),
        ("vlan 3/ip", "column 1: the port carries IP, and no `vlan` (expected ip or ip6 first)"),
        ("arp", "column 1: the port carries IP, and no `arp` (expected ip or ip6 first)"),
        ("payload 3", "the port carries IP (expected ip or ip6)"),
    ] {
        assert_eq!(describe(text, &defaults), Err(why.to_owned()));
    }
}

#[test]
fn what_is_wrong_is_said_with_its_column() {
    for (text, why) in [
        (
            "",
            "column 1: a layer is missing (expected eth, vlan, arp, ip, ip6, tcp, udp, icmp, icmp6, payload)",
        ),
        ("ip//tcp", "column 4: a layer is missing"),
        ("ipv4", "column 1: \"ipv4\" is no layer (expected eth, vlan,"),
        (
            "ip src 10.9.0",
            "column 8: \"10.9.0\" is no `src` of `ip` (expected an IP address, as 10.9.0.1 or fd00::1)",
        ),
        (
            "eth src 2/ip",
            "column 9: \"2\" is no `src` of `eth` (expected a MAC address, as 02:00:00:00:00:01)",
        ),
        (
            "ip src 10.9.0.1 dst fd00::1",
            "column 21: \"fd00::1\" is no `dst` of `ip` (expected an IPv4 address, as its src)",
        ),
        (
            "ip6 src 10.9.0.1",
            "column 9: \"10.9.0.1\" is no `src` of `ip6` (expected an IPv6 address, as fd00::1)",
        ),
        ("ip/tcp dport 65536", "column 14: \"65536\" is no `dport` of `tcp` (expected 0 to 65535)"),
        (
            "ip/tcp port 80",
            "column 8: \"port\" is no key of `tcp` (expected sport, dport, flags, seq, ack, window)",
        ),
        ("ip/tcp dport", "column 13: the value of `dport` is missing"),
        ("ip ttl 1 ttl 2", "column 10: `ttl` is said twice (expected once in a layer)"),
        ("ip offset 9", "column 11: \"9\" is no `offset` of `ip` (expected a multiple of 8, at most 65528)"),
        ("tcp flags sin", "column 11: \"sin\" is no `flags` of `tcp` (expected words such as syn,ack)"),
        (
            "tcp/ip",
            "column 5: `ip` cannot be behind `tcp` (expected eth, vlan, arp or ip, tcp, udp or icmp, payload in this order)",
        ),
        ("ip/payload 2/payload 3", "column 14: `payload` cannot be behind `payload`"),
        ("vlan 4096", "column 6: \"4096\" is no `id` of `vlan` (expected 0 to 4095)"),
        ("ip src fd00::1/icmp", "`icmp` is of IPv4 (expected `icmp6`, or addresses of IPv4)"),
        ("ip/udp/payload 65530", "the payload is too long for an IP packet"),
        ("eth/payload 65590", "a frame of 65604 bytes is too long (expected at most 65597)"),
        ("0200000", "column 1: \"0200000\" is no bytes (expected hexadecimal digits, two a byte)"),
        ("02 00 0g", "column 7: \"0g\" is no bytes (expected hexadecimal digits, two a byte)"),
        ("02 00\n00 0g", "line 2, column 4: \"0g\" is no bytes"),
    ] {
        let said = describe(text, &Defaults::default()).unwrap_err();
        assert!(said.starts_with(why) && !said.contains('\n'), "{text}\n{said}\n{why}");
    }
}

#[test]
fn hexadecimal_is_read_as_it_is_copied() {
    let bytes = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5, 0xab];
    for text in [
        "020000000002020000000001 88b5 ab",
        "02:00:00:00:00:02:02:00:00:00:00:01:88:b5:ab",
        "0x020000000002 0x020000000001 88-B5-AB",
        "  02 00 00 00 00 02\n  02 00 00 00 00 01\n88 b5 ab\n",
        "0000 02 00 00 00 00 02 02 00\n0008 00 00 00 01 88 b5 ab",
        "0000   02 00 00 00 00 02 02 00 00 00 00 01 88 b5 ab      ...............",
        "0x0000:  0200 0000 0002 0200 0000 0001 88b5 ab",
        "000000000000000000000000 88b5",
        "0000 0000 0000 0200",
    ] {
        let expected = match text.strip_prefix("000000000000") {
            Some(_) => [&[0; 12][..], &[0x88, 0xb5]].concat(),
            None if text == "0000 0000 0000 0200" => vec![0, 0, 0, 0, 0, 0, 2, 0],
            None => bytes.to_vec(),
        };
        assert_eq!(described(text), expected, "{text}");
    }
}

/// A file that is removed when the test is over.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new(name: &str, bytes: &[u8]) -> Scratch {
        let path = std::env::temp_dir().join(format!("tapyard-describe-{}-{name}", std::process::id()));
        fs::write(&path, bytes).expect("a folder for temporary files");
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn the_dumps_of_tools_are_read() {
    for len in (14..80).chain([255, 256, 257, 1514]) {
        // Bytes whose characters look like hexadecimal digits.
        let bytes: Vec<_> = (0..len).map(|at| b"ab01cdef 29:|"[at % 13]).collect();
        let file = Scratch::new("dump", &bytes);
        let canonical: (&str, &[&str]) = ("hexdump", &["-v", "-C"]);
        for (tool, options) in [canonical, ("xxd", &[]), ("xxd", &["-g1"]), ("od", &["-v", "-Ax", "-tx1"])] {
            let output =
                Command::new(tool).args(options).arg(&file.0).output().expect("the tool is installed");
            assert!(output.status.success(), "{tool}");
            let text = String::from_utf8(output.stdout).expect("a dump is text");
            // hexdump and od end with the length alone.
            let text = match tool {
                "xxd" => &text[..],
                _ => text.trim_end().rsplit_once('\n').expect("more than one line").0,
            };
            assert_eq!(described(text), bytes, "{tool} {options:?}\n{text}");
        }
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,80}") {
        let _ = describe(&text, &Defaults::default());
    }

    #[test]
    fn no_words_make_it_panic(words in prop::collection::vec(prop::sample::select(WORDS), 0..12)) {
        for layer in [Layer::Ethernet, Layer::Ip] {
            if let Err(why) = describe(&words.join(" "), &Defaults { layer, ..Defaults::default() }) {
                prop_assert!(!why.contains('\n'), "{}", why);
            }
        }
    }
}

const WORDS: &[&str] = &[
    "eth",
    "vlan",
    "arp",
    "ip",
    "ip6",
    "tcp",
    "udp",
    "icmp",
    "icmp6",
    "payload",
    "/",
    "/",
    "/",
    "src",
    "dst",
    "type",
    "sport",
    "dport",
    "flags",
    "id",
    "offset",
    "mf",
    "df",
    "10.9.0.1",
    "fd00::1",
    "224.0.0.1",
    "02:00:00:00:00:01",
    "7",
    "0x10",
    "65535",
    "65528",
    "syn",
    "0000:",
    "é",
];
