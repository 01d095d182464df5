//! Captures as bytes: what is written reads the same here and in Wireshark's tools, what those write is read here, and no
//! bytes make the reader panic.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use proptest::collection::vec;
use proptest::prelude::*;
use tapyard::packet::Layer;
use tapyard::packet::pcapng::{self, Direction, Interface, MAX_BLOCK, Reader, Record};

/// A packet to write.
#[derive(Clone, Debug)]
struct Wanted {
    interface: usize,
    nanos: u64,
    bytes: Vec<u8>,
    more: usize,
    direction: Option<Direction>,
    comment: String,
}

const NAMES: [(&str, Layer); 3] =
    [("vm1", Layer::Ethernet), ("tun0", Layer::Ip), ("h\u{e4}", Layer::Ethernet)];

fn wanted() -> impl Strategy<Value = Wanted> {
    let direction = prop_oneof![Just(None), Just(Some(Direction::In)), Just(Some(Direction::Out))];
    let fields = (0..3usize, any::<u32>(), vec(any::<u8>(), 0..200), 0..100usize, direction, "\\PC{0,20}");
    fields.prop_map(|(interface, nanos, bytes, more, direction, comment)| {
        let nanos = 1_700_000_000_000_000_000 + u64::from(nanos);
        Wanted { interface, nanos, bytes, more, direction, comment }
    })
}

/// A file with these packets, whose interfaces come as they are needed.
fn write(packets: &[Wanted]) -> Vec<u8> {
    let (mut file, mut known) = (Vec::new(), Vec::new());
    pcapng::section(&mut file, "test");
    for packet in packets {
        let number = known.iter().position(|known| *known == packet.interface).unwrap_or_else(|| {
            let (name, layer) = NAMES[packet.interface];
            pcapng::interface(
                &mut file,
                &Interface { name, layer: Some(layer), snap_len: 0, filter: "tcp or udp" },
            );
            known.push(packet.interface);
            known.len() - 1
        });
        pcapng::packet(
            &mut file,
            &Record {
                interface: number as u32,
                nanos: packet.nanos,
                bytes: &packet.bytes,
                len: packet.bytes.len() + packet.more,
                direction: packet.direction,
                missed: 3,
                comment: &packet.comment,
            },
        );
    }
    for number in 0..known.len() {
        pcapng::statistics(&mut file, number as u32, 1_700_000_000_000_000_000, 10, 3, "");
    }
    file
}

/// The file as a machine of the other byte order writes it: every number of a fixed place turned.
fn turned(file: &[u8]) -> Vec<u8> {
    let mut file = file.to_vec();
    let mut at = 0;
    while at < file.len() {
        let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
        let (kind, len) = (word(at), word(at + 4) as usize);
        let (words, halves, bytes) = match kind {
            0x0a0d_0d0a => (vec![8], vec![12, 14], 24),
            1 => (vec![12], vec![8], 16),
            6 => (vec![8, 12, 16, 20, 24], vec![], 28 + (word(at + 20) as usize).next_multiple_of(4)),
            _ => (vec![8, 12, 16], vec![], 20),
        };
        let mut turn = |at: usize, size: usize| file[at..at + size].reverse();
        [0, 4, len - 4].into_iter().chain(words).for_each(|field| turn(at + field, 4));
        halves.into_iter().for_each(|field| turn(at + field, 2));
        let mut option = at + bytes;
        while option + 4 < at + len {
            let read = |at: usize| u16::from_le_bytes([file[at], file[at + 1]]);
            let (code, size) = (read(option), usize::from(read(option + 2)));
            file[option..option + 2].reverse();
            file[option + 2..option + 4].reverse();
            match (kind, code) {
                (6, 2) | (6 | 5, 4) | (5, 5) => file[option + 4..option + 4 + size].reverse(),
                _ => {}
            }
            option += 4 + size.next_multiple_of(4);
        }
        at += len;
    }
    file
}

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        Scratch(std::env::temp_dir().join(format!("tapyard-files-{}-{name}", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect("the program is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    String::from_utf8(output.stdout).expect("text")
}

proptest! {
    #[test]
    fn what_is_written_reads_the_same_in_both_byte_orders(packets in vec(wanted(), 0..20)) {
        let file = write(&packets);
        for file in [turned(&file), file] {
            let read: Vec<_> = pcapng::file(&file).collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(read.len(), packets.len());
            for ((packet, layer), wanted) in read.iter().zip(&packets) {
                prop_assert_eq!(*layer, Some(NAMES[wanted.interface].1));
                prop_assert_eq!((packet.nanos, packet.bytes, packet.len), (wanted.nanos, &wanted.bytes[..], wanted.bytes.len() + wanted.more));
                prop_assert_eq!(packet.direction, wanted.direction);
                prop_assert_eq!(packet.comment.unwrap_or_default(), &wanted.comment);
            }
        }
    }

    #[test]
    fn damage_is_refused_and_never_makes_it_panic(
        packets in vec(wanted(), 1..5),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        big: bool,
    ) {
        let mut file = write(&packets);
        if big {
            file = turned(&file);
        }
        file.truncate(cut.index(file.len() + 1));
        for (at, byte) in damage {
            if !file.is_empty() {
                let at = at.index(file.len());
                file[at] = byte;
            }
        }
        for packet in pcapng::file(&file) {
            if let Err(why) = packet {
                prop_assert!(!why.contains('\n'));
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..200), kind in 0..8u32, big: bool) {
        let mut reader = Reader::default();
        let mut section = Vec::new();
        pcapng::section(&mut section, "");
        reader.block(&section).unwrap();
        let interface = Interface { name: "x", layer: None, snap_len: 0, filter: "" };
        let mut block = Vec::new();
        pcapng::interface(&mut block, &interface);
        reader.block(&block).unwrap();
        // A whole block of any bytes.
        let len = (bytes.len().next_multiple_of(4) + 12) as u32;
        let mut block = [kind.to_le_bytes(), len.to_le_bytes()].concat();
        block.extend(&bytes);
        block.resize(len as usize - 4, 0);
        block.extend(len.to_le_bytes());
        let _ = reader.block(&block);
        for magic in [[0xd4, 0xc3, 0xb2, 0xa1], [0xa1, 0xb2, 0x3c, 0x4d], [0x0a, 0x0d, 0x0d, 0x0a]] {
            let _ = pcapng::file(&[&magic[..], &bytes].concat()).count();
        }
        let _ = (pcapng::file(&bytes).count(), big);
    }
}

#[test]
fn wireshark_reads_what_is_written() {
    let packet = |interface, nanos, direction, comment: &str| Wanted {
        interface,
        nanos,
        bytes: [&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5][..], &[7; 46]].concat(),
        more: 40,
        direction,
        comment: comment.to_owned(),
    };
    let packets = [
        packet(0, 1_700_000_000_123_456_789, Some(Direction::In), ""),
        packet(2, 1_700_000_001_000_000_001, Some(Direction::Out), "dropped: h\u{e4}"),
    ];
    let file = Scratch::new("shark");
    fs::write(&file.0, write(&packets)).unwrap();
    let path = file.0.to_str().unwrap();
    let fields = ["frame.time_epoch", "frame.interface_name", "frame.cap_len", "frame.len", "frame.comment"];
    let fields: Vec<_> = fields.iter().flat_map(|field| ["-e", field]).collect();
    let shown = run("tshark", &[&["-n", "-r", path, "-T", "fields"], &fields[..]].concat());
    assert_eq!(
        shown,
        "1700000000.123456789\tvm1\t60\t100\t\n1700000001.000000001\th\u{e4}\t60\t100\tdropped: h\u{e4}\n"
    );
    let told = run("capinfos", &[path]);
    for line in ["Name = vm1", "Filter string = tcp or udp", "Number of stat entries = 1"] {
        assert!(told.contains(line), "{told}");
    }
}

#[test]
fn what_wiresharks_tools_write_is_read() {
    let packets: Vec<_> = (0..3)
        .map(|n| Wanted {
            interface: 0,
            nanos: 1_700_000_000_123_456_000 + n,
            bytes: vec![n as u8; 60 + n as usize],
            more: 0,
            direction: None,
            comment: String::new(),
        })
        .collect();
    let (file, other) = (Scratch::new("from"), Scratch::new("to"));
    fs::write(&file.0, write(&packets)).unwrap();
    for (format, exact) in [("pcap", false), ("nsecpcap", true), ("pcapng", true)] {
        run("editcap", &["-F", format, file.0.to_str().unwrap(), other.0.to_str().unwrap()]);
        let bytes = fs::read(&other.0).unwrap();
        let read: Vec<_> = pcapng::file(&bytes).collect::<Result<_, _>>().unwrap();
        assert_eq!(read.len(), 3, "{format}");
        for ((packet, layer), wanted) in read.iter().zip(&packets) {
            let nanos = if exact { wanted.nanos } else { wanted.nanos / 1000 * 1000 };
            assert_eq!(
                (packet.nanos, packet.bytes, *layer),
                (nanos, &wanted.bytes[..], Some(Layer::Ethernet)),
                "{format}"
            );
        }
    }
}

#[test]
fn what_is_no_capture_is_refused_in_one_line() {
    let mut section = Vec::new();
    pcapng::section(&mut section, "");
    let with = |block: &[u8]| [&section[..], block].concat();
    for (bytes, why) in [
        (b"hello, world".to_vec(), "it does not begin as a pcapng file does"),
        (section[..20].to_vec(), "a block of 36 bytes is cut off after 20"),
        (with(&[6, 0, 0, 0, 11, 0, 0, 0]), "a block of 11 bytes is none (expected 12 to 16777216, by fours)"),
        (with(&[6, 0, 0, 0, 12, 0, 0, 0, 12, 0, 0, 0]), "the block of a packet is cut off"),
        (with(&[6, 0, 0, 0, 0, 0, 0, 2]), "a block of 33554432 bytes is none"),
        ([&[0xd4, 0xc3, 0xb2, 0xa1][..], &[0; 30]].concat(), "the header of a packet is cut off"),
    ] {
        let said = pcapng::file(&bytes).last().expect("a word").expect_err("no capture");
        assert!(said.starts_with(why), "{said}");
    }
    const { assert!(MAX_BLOCK > tapyard::packet::MAX_FRAME + 1000) };
}
