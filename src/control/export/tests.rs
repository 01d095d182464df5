//! What is told, read again as a collector reads it.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::flows::Timeouts;
use super::*;
use crate::packet::DropReason;
use crate::worker::Fate;

fn at(millis: u64) -> Clock {
    Clock { up: Duration::from_millis(millis), date: Duration::from_millis(1_700_000_000_000 + millis) }
}

/// A TCP packet over IPv4, tagged with VLAN 10 and priority 5.
fn tcp_frame() -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x81, 0, 0xa0, 10, 8, 0];
    frame.extend([0x45, 0, 0, 43, 0, 1, 0, 0, 64, 6, 0, 0, 10, 9, 0, 1, 10, 9, 0, 2]);
    frame.extend([0x9c, 0x40, 0x14, 0x51, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x18, 0, 0, 0, 0, 0, 0]);
    frame.extend([0xa5; 3]);
    frame
}

fn tcp_sample() -> Sample {
    let fate = Fate::Sent { port: PortId(1), ports: 1 };
    Sample {
        vlan: 10,
        fate,
        pool: 1234,
        missed: 3,
        ..Sample::new(PortId(0), Layer::Ethernet, &tcp_frame(), 128)
    }
}

fn interface(number: u16, counters: Option<Counters>) -> Interface {
    Interface {
        port: PortId(number),
        name: format!("vm{number}"),
        layer: Layer::Ethernet,
        up: true,
        counters,
    }
}

fn agent() -> sflow::Agent {
    sflow::Agent::new(Some("10.0.0.1".parse().unwrap()), 7, 1000)
}

fn process(limit: usize) -> ipfix::Process {
    let timeouts = Timeouts { active: Duration::from_secs(60), inactive: Duration::from_secs(15) };
    ipfix::Process::new(7, 1000, timeouts, Duration::from_secs(60), limit)
}

// -- sFlow

#[test]
fn an_sflow_datagram_byte_by_byte() {
    let mut told = Vec::new();
    let mut agent = agent();
    agent.sample(&tcp_sample(), at(1000), &mut |datagram| told.push(datagram.to_vec()));
    assert_eq!((told.len(), agent.due()), (0, Some(Duration::from_millis(1500))), "it waits for others");
    agent.tick(at(1500), &mut |datagram| told.push(datagram.to_vec()));
    let mut wanted = Vec::new();
    let mut put = |numbers: &[u32]| wanted.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
    put(&[5, 1, 0x0a00_0001, 7, 1, 1500, 1]); // version, agent, sub-agent, sequence, uptime, samples
    put(&[1, 32 + 8 + 16 + 64 + 8 + 16]); // a flow sample
    put(&[1, 1, 1000, 1234, 3, 1, 2, 2]); // sequence, source, rate, pool, missed, in, out, records
    put(&[1, 16 + 64, 1, 61, 0, 61]); // Ethernet, 61 bytes, nothing stripped
    wanted.extend(tcp_frame());
    wanted.extend([0; 3]);
    let mut put = |numbers: &[u32]| wanted.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
    put(&[1001, 16, 10, 5, 10, 5]);
    assert_eq!(told, [wanted]);
}

#[test]
fn fates_have_their_interfaces_in_sflow() {
    for (fate, output) in [
        (Fate::Sent { port: PortId(4), ports: 1 }, 5),
        (Fate::Sent { port: PortId(4), ports: 3 }, 0x8000_0003),
        (Fate::Taken, 0x3fff_ffff),
        (Fate::Dropped(DropReason::Filtered), 0x4000_0102),
        (Fate::Dropped(DropReason::TtlExceeded), 0x4000_0101),
        (Fate::Dropped(DropReason::Runt), 0x4000_0100),
    ] {
        let mut told = Vec::new();
        let mut agent = agent();
        agent.sample(&Sample { fate, ..tcp_sample() }, at(0), &mut |datagram| told.push(datagram.to_vec()));
        agent.finish(at(0), &mut |datagram| told.push(datagram.to_vec()));
        let read = Datagram::read(&told[0]).samples;
        assert_eq!(read[0].numbers[6], output, "{fate:?}");
    }
}

#[test]
fn counters_are_told_with_the_name_of_their_port() {
    let mut counters = Counters::default();
    (counters.rx_frames, counters.rx_bytes, counters.tx_frames) = (5, 1 << 33, 7);
    counters.drop(DropReason::Runt);
    counters.drop(DropReason::Filtered);
    counters.drop(DropReason::QueueFull);
    let mut told = Vec::new();
    let mut agent = agent();
    let interfaces = [interface(0, Some(counters)), interface(1, None)];
    agent.interfaces(&interfaces, at(0), &mut |datagram| told.push(datagram.to_vec()));
    agent.finish(at(0), &mut |datagram| told.push(datagram.to_vec()));
    let samples = Datagram::read(&told[0]).samples;
    assert_eq!(samples.len(), 1, "of the port that has some");
    let records = &samples[0].records;
    assert_eq!((samples[0].numbers[0], samples[0].numbers[1]), (1, 1), "sequence and source");
    let generic: Vec<u32> =
        records[&1].chunks(4).map(|word| u32::from_be_bytes(word.try_into().unwrap())).collect();
    let unknown = u32::MAX;
    let wanted =
        [1, 6, 0, 0, 1, 3, 2, 0, 5, unknown, unknown, 1, 1, unknown, 0, 0, 7, unknown, unknown, 1, 0, 0];
    assert_eq!(generic, wanted);
    assert_eq!(records[&2].len(), 52);
    assert_eq!(records[&1005], [&[0, 0, 0, 3][..], b"vm0\0"].concat());
}

/// A datagram as a collector reads it.
struct Datagram {
    sequence: u32,
    samples: Vec<ReadSample>,
}

struct ReadSample {
    /// What is before its records.
    numbers: Vec<u32>,
    records: BTreeMap<u32, Vec<u8>>,
}

impl Datagram {
    fn read(mut bytes: &[u8]) -> Datagram {
        assert_eq!(number(&mut bytes), 5);
        let address = if number(&mut bytes) == 1 { 4 } else { 16 };
        bytes = &bytes[address..];
        let [_, sequence, _, count] = [0; 4].map(|_| number(&mut bytes));
        let samples = (0..count).map(|_| ReadSample::read(&mut bytes)).collect();
        assert!(bytes.is_empty(), "{} bytes are left", bytes.len());
        Datagram { sequence, samples }
    }
}

impl ReadSample {
    fn read(bytes: &mut &[u8]) -> ReadSample {
        let head = match number(bytes) {
            1 => 7,
            2 => 2,
            other => panic!("a sample of format {other}"),
        };
        let mut sample = counted(bytes);
        let numbers = (0..head).map(|_| number(&mut sample)).collect();
        let count = number(&mut sample);
        let records = (0..count).map(|_| (number(&mut sample), counted(&mut sample).to_vec())).collect();
        assert!(sample.is_empty(), "{} bytes are left in a sample", sample.len());
        ReadSample { numbers, records }
    }
}

fn number(bytes: &mut &[u8]) -> u32 {
    let (number, rest) = bytes.split_first_chunk().expect("a number");
    *bytes = rest;
    u32::from_be_bytes(*number)
}

fn counted<'a>(bytes: &mut &'a [u8]) -> &'a [u8] {
    let len = number(bytes) as usize;
    let (counted, rest) = bytes.split_at(len);
    *bytes = rest;
    counted
}

// -- IPFIX

#[test]
fn an_ipfix_record_is_read_by_its_template() {
    let mut told = Vec::new();
    let mut process = process(100);
    let mut send = |message: &[u8]| told.push(message.to_vec());
    process.tick(at(0), &mut send);
    process.interfaces(&[interface(0, None), interface(1, None)], at(1), &mut send);
    process.sample(&tcp_sample(), at(2), &mut send);
    process.sample(&Sample { packets: 4, ..tcp_sample() }, at(3), &mut send);
    process.tick(at(15_002), &mut send);
    assert_eq!(process.flows(), 1);
    process.tick(at(15_003), &mut send);
    process.finish(at(15_003), &mut send);

    let mut collector = Collector::default();
    told.iter().for_each(|message| collector.read(message));
    let get = |id: u16, element: u16| -> u64 {
        let record = collector.records.iter().find(|(of, _)| *of == id).expect("such a record");
        record.1[&element].iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
    };
    for (element, value) in [
        (152, 1_700_000_000_002),
        (153, 1_700_000_000_003),
        (1, 86),
        (2, 5),
        (10, 1),
        (14, 2),
        (58, 10),
        (256, 0x800),
        (8, 0x0a09_0001),
        (12, 0x0a09_0002),
        (4, 6),
        (7, 40_000),
        (11, 5201),
        (6, 0x18),
        (89, 64),
        (136, 1),
        (302, 1),
        (56, 0x0200_0000_0001),
        (80, 0x0200_0000_0002),
    ] {
        assert_eq!(get(256, element), value, "information element {element}");
    }
    assert_eq!((get(259, 302), get(259, 304), get(259, 305), get(259, 306)), (1, 4, 1, 999));
    assert_eq!((f64::from_bits(get(259, 311)), get(261, 149), get(261, 34)), (0.001, 7, 1000));
    let names: Vec<_> = collector.records.iter().filter(|(id, _)| *id == 260).collect();
    assert_eq!(names.len(), 2);
    assert!(names[1].1[&82].starts_with(b"vm1\0"), "{names:?}");
}

#[test]
fn a_new_session_begins_with_its_templates() {
    let mut told = Vec::new();
    let mut process = process(100);
    let mut send = |message: &[u8]| told.push(message.to_vec());
    process.tick(at(0), &mut send);
    process.tick(at(30_000), &mut send);
    process.opened("10.0.0.1".parse().unwrap());
    assert_eq!(process.due(), Some(Duration::ZERO));
    process.tick(at(30_001), &mut send);
    assert_eq!(told.len(), 2);
    assert_eq!((&told[0][8..], told[0][4..8] == told[1][4..8]), (&told[1][8..], false), "but for the date");
}

/// What a collector knows and has got.
#[derive(Default)]
struct Collector {
    /// The elements of each template with their lengths.
    templates: BTreeMap<u16, Vec<(u16, u16)>>,
    sequence: u32,
    records: Vec<(u16, BTreeMap<u16, Vec<u8>>)>,
}

impl Collector {
    fn read(&mut self, message: &[u8]) {
        let mut header = &message[..16];
        let [version, len] = [0; 2].map(|_| short(&mut header));
        let [_, sequence, domain] = [0; 3].map(|_| number(&mut header));
        assert_eq!((version, usize::from(len), domain), (10, message.len(), 7));
        assert_eq!(sequence, self.sequence, "records sent before");
        let mut sets = &message[16..];
        while !sets.is_empty() {
            let [id, len] = [0; 2].map(|_| short(&mut sets));
            let (mut set, rest) = sets.split_at(usize::from(len) - 4);
            sets = rest;
            while !set.is_empty() {
                match id {
                    2 | 3 => self.describe(&mut set, id == 3),
                    _ => self.record(id, &mut set),
                }
            }
        }
    }

    fn describe(&mut self, set: &mut &[u8], of_options: bool) {
        let [id, count] = [0; 2].map(|_| short(set));
        if of_options {
            assert!((1..count).contains(&short(set)), "scopes of template {id}");
        }
        let fields = (0..count).map(|_| (short(set), short(set))).collect();
        self.templates.insert(id, fields);
    }

    fn record(&mut self, id: u16, set: &mut &[u8]) {
        let mut record = BTreeMap::new();
        for (element, len) in self.templates.get(&id).expect("its template was told before") {
            let (value, rest) = set.split_at(usize::from(*len));
            *set = rest;
            record.insert(*element, value.to_vec());
        }
        self.sequence += 1;
        self.records.push((id, record));
    }
}

fn short(bytes: &mut &[u8]) -> u16 {
    let (number, rest) = bytes.split_first_chunk().expect("a number");
    *bytes = rest;
    u16::from_be_bytes(*number)
}

// -- Whatever passes

fn any_sample() -> impl Strategy<Value = Sample> {
    let ip = prop_oneof![Just(0x45_u8), Just(0x60), any::<u8>()];
    let bytes = (proptest::collection::vec(any::<u8>(), 0..200), ip, any::<bool>());
    let frame = bytes.prop_map(|(mut bytes, ip, v6)| {
        if bytes.len() > 15 {
            bytes[12..14].copy_from_slice(&if v6 { [0x86, 0xdd] } else { [8, 0] });
            bytes[14] = ip;
        }
        bytes
    });
    let reasons = DropReason::ALL.len();
    let fate = prop_oneof![
        (0..8_u16, 1..5_u16).prop_map(|(port, ports)| Fate::Sent { port: PortId(port), ports }),
        Just(Fate::Taken),
        (0..reasons).prop_map(|at| Fate::Dropped(DropReason::ALL[at])),
    ];
    let layer = prop_oneof![Just(Layer::Ethernet), Just(Layer::Ip)];
    (frame, fate, layer, 0..8_u16, 0..4095_u16, 1..3000_u64, 1..50_u32).prop_map(
        |(frame, fate, layer, port, vlan, pool, packets)| Sample {
            vlan,
            fate,
            pool,
            packets,
            ..Sample::new(PortId(port), layer, &frame, 128)
        },
    )
}

proptest! {
    #[test]
    fn every_sample_is_in_one_sflow_datagram_and_pools_add_up(
        samples in proptest::collection::vec(any_sample(), 1..200),
        v6: bool,
    ) {
        let address = if v6 { "fd00::1" } else { "10.0.0.1" };
        let mut agent = sflow::Agent::new(Some(address.parse().unwrap()), 0, 1000);
        let mut told = Vec::new();
        let mut send = |datagram: &[u8]| told.push(datagram.to_vec());
        for (millis, sample) in (0..).zip(&samples) {
            agent.sample(sample, at(millis), &mut send);
            agent.tick(at(millis), &mut send);
        }
        agent.finish(at(1000), &mut send);
        prop_assert!(told.iter().all(|datagram| datagram.len() <= 1400));
        let read: Vec<_> = told.iter().map(|datagram| Datagram::read(datagram)).collect();
        prop_assert!(read.iter().map(|datagram| datagram.sequence).eq(1..=read.len() as u32));
        let read: Vec<_> = read.iter().flat_map(|datagram| &datagram.samples).collect();
        prop_assert_eq!(read.len(), samples.len());
        let mut pools = BTreeMap::<u32, (u32, u32)>::new();
        for (read, sample) in read.iter().zip(&samples) {
            let (flows, pool) = pools.entry(interface_number(sample.port)).or_default();
            *flows += 1;
            *pool += sample.pool as u32;
            prop_assert_eq!((read.numbers[0], read.numbers[3]), (*flows, *pool));
            let raw = &read.records[&1];
            let header = &*sample.header;
            prop_assert_eq!(&raw[16..16 + header.len()], header);
        }
    }

    #[test]
    fn every_packet_is_in_one_ipfix_record(
        samples in proptest::collection::vec(any_sample(), 1..200),
        limit in 1..50_usize,
        pause in 0..2000_u64,
    ) {
        let mut process = process(limit);
        let mut told = Vec::new();
        let mut send = |message: &[u8]| told.push(message.to_vec());
        for (number, sample) in (0..).zip(&samples) {
            process.tick(at(number * pause), &mut send);
            process.sample(sample, at(number * pause), &mut send);
            prop_assert!(process.flows() <= limit);
        }
        process.finish(at(200 * pause), &mut send);
        prop_assert!(told.iter().all(|message| message.len() <= 1400));
        let mut collector = Collector::default();
        told.iter().for_each(|message| collector.read(message));
        let sum = |element: u16| -> u64 {
            let flows = collector.records.iter().filter(|(id, _)| (256..=258).contains(id));
            let value = |bytes: &Vec<u8>| u64::from_be_bytes(bytes[..].try_into().unwrap());
            flows.filter_map(|(_, record)| record.get(&element).map(value)).sum()
        };
        prop_assert_eq!(sum(2), samples.iter().map(|sample| u64::from(sample.packets)).sum::<u64>());
        prop_assert!(sum(1) + sum(352) <= samples.iter().map(|sample| u64::from(sample.length)).sum::<u64>());
    }
}
