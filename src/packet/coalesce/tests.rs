//! Known bytes, and each rule by itself; `tests/coalesce.rs` has the properties.

use super::*;
use crate::packet::{Gso, HEADROOM, MAX_BATCH_FRAMES, MAX_FRAME};
use crate::wire::{be16, set_be16, udp};

/// Five bytes of a TCP connection from 10.0.0.1:1000 to 10.0.0.2:80.
const HELLO: [u8; 45] = [
    0x45, 0x00, 0x00, 0x2d, 0xff, 0xff, 0x40, 0x00, 0x40, 0x06, 0x26, 0xc9, 0x0a, 0x00, 0x00, 0x01, 0x0a,
    0x00, 0x00, 0x02, 0x03, 0xe8, 0x00, 0x50, 0xff, 0xff, 0xff, 0xfe, 0x00, 0x00, 0x00, 0x07, 0x50, 0x10,
    0x01, 0xf4, 0x51, 0xc9, 0x00, 0x00, b'h', b'e', b'l', b'l', b'o',
];
/// The next five bytes: identification and sequence number have wrapped.
const WORLD: [u8; 45] = [
    0x45, 0x00, 0x00, 0x2d, 0x00, 0x00, 0x40, 0x00, 0x40, 0x06, 0x26, 0xc9, 0x0a, 0x00, 0x00, 0x01, 0x0a,
    0x00, 0x00, 0x02, 0x03, 0xe8, 0x00, 0x50, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00, 0x07, 0x50, 0x10,
    0x01, 0xf4, 0x80, 0x07, 0x00, 0x00, b',', b' ', b'w', b'o', b'r',
];
/// The last two, with PSH.
const END: [u8; 42] = [
    0x45, 0x00, 0x00, 0x2a, 0x00, 0x01, 0x40, 0x00, 0x40, 0x06, 0x26, 0xcb, 0x0a, 0x00, 0x00, 0x01, 0x0a,
    0x00, 0x00, 0x02, 0x03, 0xe8, 0x00, 0x50, 0x00, 0x00, 0x00, 0x08, 0x00, 0x00, 0x00, 0x07, 0x50, 0x18,
    0x01, 0xf4, 0x29, 0x29, 0x00, 0x00, b'l', b'd',
];
/// The superframe of the three: the checksum of its IP header is right, that of TCP is the pseudo-header sum.
const SUPERFRAME: [u8; 52] = [
    0x45, 0x00, 0x00, 0x34, 0xff, 0xff, 0x40, 0x00, 0x40, 0x06, 0x26, 0xc2, 0x0a, 0x00, 0x00, 0x01, 0x0a,
    0x00, 0x00, 0x02, 0x03, 0xe8, 0x00, 0x50, 0xff, 0xff, 0xff, 0xfe, 0x00, 0x00, 0x00, 0x07, 0x50, 0x18,
    0x01, 0xf4, 0x14, 0x29, 0x00, 0x00, b'h', b'e', b'l', b'l', b'o', b',', b' ', b'w', b'o', b'r', b'l',
    b'd',
];

const SUPERFRAME_OFFLOAD: Offload = Offload {
    needs_csum: true,
    gso: Gso::TcpV4,
    ecn: false,
    guessed: false,
    gso_size: 5,
    header_len: 40,
    csum_start: 20,
    csum_offset: 16,
};

/// Bytes of tunnel header before each piece, which are 0xa5.
const TUNNEL: usize = 8;

/// IP packets of one owner.
const IP: Piece = Piece { at: 0, len: 0, layer: Layer::Ip, mtu: 1500, owner: 1 };
const ETHERNET: Piece = Piece { layer: Layer::Ethernet, ..IP };

type Made = (Vec<u8>, Offload);

/// Reads `packets` into the next buffer of the batch, glued, and says which pieces those are.
fn read(batch: &mut Batch, packets: &[(Piece, Vec<u8>)]) -> Vec<Piece> {
    let (mut bytes, mut pieces) = (Vec::new(), Vec::new());
    for (piece, packet) in packets {
        bytes.extend([0xa5; TUNNEL]);
        pieces.push(Piece { at: bytes.len() as u32, len: packet.len() as u32, ..*piece });
        bytes.extend(packet);
    }
    batch.spare()[0].fill(&bytes, Offload::NONE);
    batch.commit(1);
    pieces
}

/// What is made of these buffers, in one batch. Pieces that come one by one, or each in a buffer of its own, make the same.
fn unpack_all(buffers: &[Vec<(Piece, Vec<u8>)>]) -> Vec<Made> {
    let made = unpack_buffers(buffers);
    let pieces: Vec<_> = buffers.iter().flatten().collect();
    assert_eq!(push_all(&pieces), made, "one by one");
    let alike =
        |(piece, _): &&(Piece, Vec<u8>)| (piece.mtu, piece.owner) == (pieces[0].0.mtu, pieces[0].0.owner);
    if pieces.len() <= MAX_BATCH_FRAMES && pieces.iter().copied().all(|piece| alike(&piece)) {
        assert_eq!(gather_all(&pieces), made, "each in its buffer");
    }
    made
}

fn push_all(pieces: &[&(Piece, Vec<u8>)]) -> Vec<Made> {
    let (mut batch, mut coalescer) = (Batch::default(), Coalescer::default());
    coalescer.begin();
    for (piece, bytes) in pieces {
        assert!(coalescer.push(&mut batch, piece, bytes));
    }
    coalescer.finish(&mut batch);
    batch.frames().iter().map(made).collect()
}

fn gather_all(pieces: &[&(Piece, Vec<u8>)]) -> Vec<Made> {
    let mut batch = Batch::default();
    for (frame, (piece, bytes)) in batch.spare().iter_mut().zip(pieces) {
        frame.fill(bytes, Offload::NONE);
        frame.layer = piece.layer;
    }
    batch.commit(pieces.len());
    Coalescer::default().gather(&mut batch, pieces.first().map_or(0, |(piece, _)| piece.mtu));
    batch.frames().iter().map(made).collect()
}

fn unpack_buffers(buffers: &[Vec<(Piece, Vec<u8>)>]) -> Vec<Made> {
    let (mut batch, mut coalescer, mut out) = (Batch::default(), Coalescer::default(), Vec::new());
    let pieces: Vec<_> = buffers.iter().map(|packets| read(&mut batch, packets)).collect();
    coalescer.begin();
    for (buffer, pieces) in pieces.iter().enumerate() {
        assert_eq!(coalescer.unpack(&mut batch, buffer, pieces, &mut out), 0);
    }
    out.iter().map(|unpacked| made(&batch.frames()[unpacked.frame as usize])).collect()
}

fn made(frame: &Frame) -> Made {
    let mut checked = frame.offload;
    assert_eq!((checked.check(frame.layer, frame.bytes()), checked), (Ok(()), frame.offload));
    (frame.bytes().to_vec(), frame.offload)
}

/// What is made of IP packets in one buffer.
fn unpack(packets: &[&[u8]]) -> Vec<Made> {
    unpack_all(&[packets.iter().map(|packet| (IP, packet.to_vec())).collect()])
}

fn as_they_came(packets: &[&[u8]]) -> Vec<Made> {
    packets.iter().map(|packet| (packet.to_vec(), Offload::NONE)).collect()
}

fn folded(bytes: &[u8], initial: usize) -> u16 {
    let words =
        bytes.chunks(2).map(|word| usize::from(word[0]) << 8 | usize::from(*word.get(1).unwrap_or(&0)));
    let mut sum = words.sum::<usize>() + initial;
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

/// Writes the lengths and checksums of an IPv4 packet; those of TCP or UDP unfinished.
fn leave_unfinished(packet: &mut [u8]) {
    let (len, ip) = (packet.len(), usize::from(packet[0] & 0xf) * 4);
    set_be16(packet, 2, len as u16);
    set_be16(packet, 10, 0);
    let checksum = !folded(&packet[..ip], 0);
    set_be16(packet, 10, checksum);
    let udp = packet[9] == 17;
    if udp {
        set_be16(packet, ip + 4, (len - ip) as u16);
    }
    let pseudo_header = folded(&packet[12..20], usize::from(packet[9]) + len - ip);
    set_be16(packet, ip + if udp { 6 } else { 16 }, pseudo_header);
}

/// The same, finished.
fn finish(packet: &mut [u8]) {
    leave_unfinished(packet);
    let (ip, udp) = (usize::from(packet[0] & 0xf) * 4, packet[9] == 17);
    let checksum = !folded(&packet[ip..], 0);
    set_be16(packet, ip + if udp { 6 } else { 16 }, checksum);
}

/// Segment `index` of a TCP connection, each of `len` bytes.
fn tcp_segment(index: u16, len: usize) -> Vec<u8> {
    let mut packet = [&HELLO[..40], &vec![index as u8; len]].concat();
    set_be16(&mut packet, 4, 0xffff_u16.wrapping_add(index));
    let sequence = 0xffff_fffe_u32.wrapping_add(u32::from(index) * len as u32);
    packet[24..28].copy_from_slice(&sequence.to_be_bytes());
    finish(&mut packet);
    packet
}

/// Datagram `index` of a UDP flow, of `len` bytes.
fn datagram(index: u16, len: usize) -> Vec<u8> {
    let mut packet = [&HELLO[..24], &[0; 4], &vec![index as u8; len][..]].concat();
    set_be16(&mut packet, 4, index);
    packet[9] = udp::PROTOCOL;
    finish(&mut packet);
    packet
}

/// The same packet over IPv6, its checksum unfinished.
fn over_ipv6(v4: &[u8]) -> Vec<u8> {
    let l4 = v4.len() - 20;
    let mut packet = [&[0x60, 1, 2, 3, 0, 0, v4[9], 64][..], &[0xfd; 16], &[0xfe; 16], &v4[20..]].concat();
    set_be16(&mut packet, 4, l4 as u16);
    let field = 40 + if v4[9] == udp::PROTOCOL { 6 } else { 16 };
    let pseudo_header = folded(&packet[8..40], usize::from(v4[9]) + l4);
    set_be16(&mut packet, field, pseudo_header);
    packet
}

fn finished_over_ipv6(v4: &[u8]) -> Vec<u8> {
    let mut packet = over_ipv6(v4);
    let field = 40 + if v4[9] == udp::PROTOCOL { 6 } else { 16 };
    let checksum = !folded(&packet[40..], 0);
    set_be16(&mut packet, field, checksum);
    packet
}

/// The packet in an Ethernet frame with these tags.
fn in_ethernet(tags: &[u8], packet: &[u8]) -> Vec<u8> {
    let ether_type: &[u8] = if packet[0] >> 4 == 4 { &[0x08, 0x00] } else { &[0x86, 0xdd] };
    [&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1], tags, ether_type, packet].concat()
}

/// `good` with one change, and lengths and checksums that are right again.
fn changed(good: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut packet = good.to_vec();
    change(&mut packet);
    finish(&mut packet);
    packet
}

#[test]
fn segments_become_the_superframe_that_they_were() {
    assert_eq!(unpack(&[&HELLO, &WORLD, &END]), [(SUPERFRAME.to_vec(), SUPERFRAME_OFFLOAD)]);
}

#[test]
fn the_known_bytes_are_what_the_helpers_make() {
    for packet in [&HELLO[..], &WORLD, &END] {
        assert_eq!(changed(packet, |_| {}), packet);
    }
    let mut superframe = SUPERFRAME;
    leave_unfinished(&mut superframe);
    assert_eq!(superframe, SUPERFRAME);
}

#[test]
fn the_frame_stays_in_its_buffer_and_the_next_buffer_continues_it() {
    let (mut batch, mut coalescer, mut out) = (Batch::default(), Coalescer::default(), Vec::new());
    let buffers = [&[&HELLO[..]][..], &[&WORLD, &END], &[&HELLO, b"foreign"]];
    let pieces = buffers.map(|packets| {
        let packets: Vec<_> = packets.iter().map(|packet| (IP, packet.to_vec())).collect();
        read(&mut batch, &packets)
    });
    coalescer.begin();
    for (buffer, made) in [(0, 1), (1, 1), (2, 3)] {
        assert_eq!(coalescer.unpack(&mut batch, buffer, &pieces[buffer], &mut out), 0);
        assert_eq!(out.len(), made, "after buffer {buffer}");
    }
    assert_eq!(out.iter().map(|unpacked| unpacked.frame).collect::<Vec<_>>(), [0, 2, 3]);
    assert!(out.iter().all(|unpacked| unpacked.owner == IP.owner));
    let frames = batch.frames();
    assert_eq!(made(&frames[0]), (SUPERFRAME.to_vec(), SUPERFRAME_OFFLOAD));
    assert_eq!(frames[0].span().start, HEADROOM + TUNNEL);
    assert_eq!((frames[3].bytes(), frames[3].layer), (&b"foreign"[..], Layer::Ip));
    assert_eq!(frames[3].span().start, HEADROOM, "a copy has all the headroom there is");
}

#[test]
fn what_was_sealed_grows_on() {
    let one_each = [&HELLO[..], &WORLD, &END].map(|packet| vec![(IP, packet.to_vec())]);
    assert_eq!(unpack_all(&one_each), [(SUPERFRAME.to_vec(), SUPERFRAME_OFFLOAD)]);
}

#[test]
fn a_new_batch_continues_nothing() {
    let (mut batch, mut coalescer, mut out) = (Batch::default(), Coalescer::default(), Vec::new());
    for packet in [HELLO, WORLD] {
        batch.clear();
        let pieces = read(&mut batch, &[(IP, packet.to_vec())]);
        coalescer.begin();
        coalescer.unpack(&mut batch, 0, &pieces, &mut out);
        assert_eq!(made(&batch.frames()[0]), (packet.to_vec(), Offload::NONE));
    }
    assert_eq!(out.len(), 2);
}

#[test]
fn what_differs_in_anything_else_continues_nothing() {
    type Change = fn(&mut Vec<u8>);
    let changes: [(&str, Change); 24] = [
        ("TOS", |p| p[1] = 1),
        ("identification", |p| p[5] = 1),
        ("the same identification without DF", |p| p[6] = 0),
        ("DF", |p| p[6] = 0),
        ("the reserved flag", |p| p[6] |= 0x80),
        ("TTL", |p| p[8] = 63),
        ("source", |p| p[15] = 3),
        ("destination", |p| p[19] = 3),
        ("source port", |p| p[21] = 0),
        ("destination port", |p| p[23] = 0),
        ("a gap", |p| p[27] = 4),
        ("an overlap", |p| p[27] = 2),
        ("ACK number", |p| p[31] = 8),
        ("a reserved bit", |p| p[32] |= 1),
        ("FIN", |p| p[33] |= 0x01),
        ("SYN", |p| p[33] |= 0x02),
        ("RST", |p| p[33] |= 0x04),
        ("URG", |p| p[33] |= 0x20),
        ("ECE", |p| p[33] |= 0x40),
        ("CWR", |p| p[33] |= 0x80),
        ("no ACK", |p| p[33] = 0),
        ("window", |p| p[34] = 0),
        ("urgent pointer", |p| p[39] = 1),
        ("more payload", |p| p.push(0)),
    ];
    for (what, change) in changes {
        let second = changed(&WORLD, change);
        assert_eq!(unpack(&[&HELLO, &second]), as_they_came(&[&HELLO, &second]), "{what}");
    }
    let changes: [(&str, Change); 6] = [
        ("no payload", |p| p.truncate(40)),
        ("TCP options", |p| {
            p[32] = 0x60;
            p.splice(40..40, [1; 4]);
        }),
        ("IP options", |p| {
            p[0] = 0x46;
            p.splice(20..20, [1; 4]);
        }),
        ("a first fragment", |p| p[6] = 0x20),
        ("a later fragment", |p| p[7] = 1),
        ("another protocol", |p| p[9] = 47),
    ];
    for (what, change) in changes {
        for (first, second) in
            [(HELLO.to_vec(), changed(&WORLD, change)), (changed(&HELLO, change), WORLD.to_vec())]
        {
            assert_eq!(unpack(&[&first, &second]), as_they_came(&[&first, &second]), "{what}");
        }
    }
    let first_pushed = changed(&HELLO, |p| p[33] |= 0x08);
    assert_eq!(unpack(&[&first_pushed, &WORLD]), as_they_came(&[&first_pushed, &WORLD]), "PSH on the first");
    let padded = [&WORLD[..], &[0; 3]].concat();
    assert_eq!(unpack(&[&HELLO, &padded]), as_they_came(&[&HELLO, &padded]), "padding");
    let padded = [&HELLO[..], &[0; 3]].concat();
    assert_eq!(unpack(&[&padded, &WORLD]), as_they_came(&[&padded, &WORLD]), "padding on the first");
}

#[test]
fn options_that_are_the_same_do_not_matter() {
    let with_options = |packet: &[u8]| {
        changed(packet, |p| {
            p[32] = 0x80;
            p.splice(40..40, [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
        })
    };
    let made = unpack(&[&with_options(&HELLO), &with_options(&WORLD)]);
    assert_eq!(made.len(), 1);
    assert_eq!(made[0].1, Offload { header_len: 52, ..SUPERFRAME_OFFLOAD });
    assert_eq!(made[0].0[52..], *b"hello, wor");
    let later = changed(&with_options(&WORLD), |p| p[51] = 3);
    assert_eq!(unpack(&[&with_options(&HELLO), &later]), as_they_came(&[&with_options(&HELLO), &later]));
}

#[test]
fn owner_layer_and_tags_are_the_same() {
    let other_owner = Piece { owner: 2, ..IP };
    let made = unpack_all(&[vec![(IP, HELLO.to_vec()), (other_owner, WORLD.to_vec())]]);
    assert_eq!(made, as_they_came(&[&HELLO, &WORLD]));

    let tagged =
        [[0x81, 0x00, 0, 7], [0x81, 0x00, 0, 8]].map(|tag| [HELLO, WORLD].map(|p| in_ethernet(&tag, &p)));
    let made = unpack_all(&[vec![(ETHERNET, tagged[0][0].clone()), (ETHERNET, tagged[1][1].clone())]]);
    assert_eq!(made, as_they_came(&[&tagged[0][0], &tagged[1][1]]));
    let made = unpack_all(&[tagged[0].iter().map(|frame| (ETHERNET, frame.clone())).collect()]);
    assert_eq!(made.len(), 1);
    assert_eq!(made[0].1, Offload { header_len: 58, csum_start: 38, ..SUPERFRAME_OFFLOAD });

    let made = unpack_all(&[vec![(ETHERNET, in_ethernet(&[], &HELLO)), (IP, WORLD.to_vec())]]);
    assert_eq!(made, as_they_came(&[&in_ethernet(&[], &HELLO), &WORLD]));
}

#[test]
fn a_checksum_that_is_wrong_stays_wrong() {
    for at in 0..HELLO.len() {
        for bit in 0..8 {
            let spoil = |good: &[u8; 45]| {
                let mut bad = *good;
                bad[at] ^= 1 << bit;
                bad
            };
            let (first, second) = (spoil(&HELLO), spoil(&WORLD));
            assert_eq!(unpack(&[&HELLO, &second]), as_they_came(&[&HELLO, &second]), "byte {at}, bit {bit}");
            assert_eq!(unpack(&[&first, &WORLD]), as_they_came(&[&first, &WORLD]), "byte {at}, bit {bit}");
        }
    }
}

/// Of the two zeroes that ones' complement has, cutting gives a checksum that is the right one.
#[test]
fn a_checksum_of_the_other_zero_is_left_alone() {
    // An IP header whose checksum is zero, by its identification; a TCP checksum, by its payload.
    let zero_ip = changed(&WORLD, |p| set_be16(p, 4, be16(&WORLD, 10)));
    assert_eq!(zero_ip[10..12], [0, 0]);
    let before = changed(&HELLO, |p| set_be16(p, 4, be16(&WORLD, 10) - 1));
    let zero_tcp = changed(&WORLD, |p| {
        p[40..42].fill(0);
        finish(p);
        let checksum = be16(p, 36);
        set_be16(p, 40, checksum);
    });
    assert_eq!(zero_tcp[36..38], [0, 0]);
    for (first, second, field) in [(&before[..], zero_ip, 10), (&HELLO, zero_tcp, 36)] {
        assert_eq!(unpack(&[first, &second]).len(), 1);
        let mut ones = second;
        ones[field..field + 2].fill(0xff);
        assert_eq!(unpack(&[first, &ones]), as_they_came(&[first, &ones]));
    }
}

#[test]
fn a_short_piece_or_the_limit_ends_it() {
    let short = changed(&WORLD, |p| p.truncate(44));
    let next = changed(&WORLD, |p| (p[5], p[27]) = (1, 7));
    let made = unpack(&[&HELLO, &short, &next]);
    assert_eq!(made.len(), 2);
    assert_eq!((&made[0].0[40..], &made[1].0), (&b"hello, wo"[..], &next));

    let many: Vec<_> = (0..130).map(|index| tcp_segment(index, 100)).collect();
    let made = unpack(&many.iter().map(|segment| &segment[..]).collect::<Vec<_>>());
    assert_eq!(made.iter().map(|(bytes, _)| (bytes.len() - 40) / 100).collect::<Vec<_>>(), [64, 64, 2]);

    for (made, fixed) in [
        (unpack_all(&[0..23, 23..46, 46..50].map(|r| r.map(|i| (IP, tcp_segment(i, 1440))).collect())), 0),
        (
            unpack_all(
                &[0..23, 23..46, 46..50]
                    .map(|r| r.map(|i| (IP, finished_over_ipv6(&tcp_segment(i, 1440)))).collect()),
            ),
            40,
        ),
    ] {
        let full = made[0].0.len() - fixed;
        assert!(made.len() == 2 && full <= 65_535 && full + 1440 > 65_535, "{full}");
    }
}

#[test]
fn identifications_that_mean_nothing_may_stay_the_same() {
    let same_id = |packet: &[u8]| changed(packet, |p| p[4..6].fill(0));
    let [first, second, third] = [&HELLO[..], &WORLD, &END].map(same_id);
    let made = unpack(&[&first, &second, &third]);
    assert_eq!(made.len(), 1);
    assert_eq!((be16(&made[0].0, 4), &made[0].0[40..]), (0, &b"hello, world"[..]));
    let made = unpack(&[&first, &second, &END]);
    assert_eq!(made.len(), 2, "the same, then counting up");
    let without_df = [&first, &second].map(|p| changed(p, |p| p[6] = 0));
    assert_eq!(unpack(&[&without_df[0], &without_df[1]]), as_they_came(&[&without_df[0], &without_df[1]]));
    let counting = [&HELLO, &WORLD].map(|p| changed(p, |p| p[6] = 0));
    assert_eq!(unpack(&[&counting[0], &counting[1]]).len(), 1);
}

#[test]
fn datagrams_of_one_flow_become_a_superframe() {
    let (first, second, last) = (datagram(7, 5), datagram(8, 5), datagram(9, 2));
    let made = unpack(&[&first, &second, &last]);
    let mut expected = [&datagram(7, 0)[..], &[7; 5], &[8; 5], &[9; 2]].concat();
    leave_unfinished(&mut expected);
    let offload = Offload { gso: Gso::Udp, header_len: 28, csum_offset: 6, ..SUPERFRAME_OFFLOAD };
    assert_eq!(made, [(expected, offload)]);

    let v6 = [&first, &second].map(|p| finished_over_ipv6(p));
    let made = unpack(&[&v6[0], &v6[1]]);
    assert_eq!(made[0].1, Offload { header_len: 48, csum_start: 40, ..offload });
    assert_eq!(made[0].0[44..46], [0, 18], "the UDP length");
    let other_label = changed_label(&v6[1]);
    assert_eq!(unpack(&[&v6[0], &other_label]), as_they_came(&[&v6[0], &other_label]));
}

fn changed_label(v6: &[u8]) -> Vec<u8> {
    let mut packet = v6.to_vec();
    packet[3] ^= 1;
    packet
}

#[test]
fn datagrams_that_would_lose_something_are_left_alone() {
    let (first, second) = (datagram(7, 5), datagram(8, 5));
    let without_df = [&first, &second].map(|p| changed(p, |p| p[6] = 0));
    assert_eq!(unpack(&[&without_df[0], &without_df[1]]), as_they_came(&[&without_df[0], &without_df[1]]));
    let no_checksum = |p: &[u8]| {
        let mut packet = p.to_vec();
        packet[26..28].fill(0);
        packet
    };
    for (first, second) in [(no_checksum(&first), second.clone()), (first.clone(), no_checksum(&second))] {
        assert_eq!(unpack(&[&first, &second]), as_they_came(&[&first, &second]));
    }
    let mut short_udp = second.clone();
    short_udp[25] -= 1;
    assert_eq!(unpack(&[&first, &short_udp]), as_they_came(&[&first, &short_udp]));
    assert_eq!(unpack(&[&short_udp, &datagram(9, 5)]), as_they_came(&[&short_udp, &datagram(9, 5)]));
    assert_eq!(
        unpack(&[&datagram(7, 0), &datagram(8, 0)]),
        as_they_came(&[&datagram(7, 0), &datagram(8, 0)])
    );
}

#[test]
fn an_unfinished_checksum_is_told_by_its_field() {
    let unfinished = |packet: &[u8]| {
        let mut packet = packet.to_vec();
        leave_unfinished(&mut packet);
        packet
    };
    let with_options = changed(&HELLO, |p| {
        p[0] = 0x46;
        p.splice(20..20, [0x94, 4, 0, 0]);
    });
    let offload = Offload { needs_csum: true, csum_start: 20, csum_offset: 16, ..Offload::NONE };
    let tcp = Offload { guessed: true, ..offload };
    let udp = Offload { csum_offset: 6, ..offload };
    let mut with_extensions = over_ipv6(&datagram(1, 9));
    with_extensions[6] = 60;
    with_extensions[5] += 8;
    with_extensions.splice(40..40, [17, 0, 1, 4, 0, 0, 0, 0]);
    for (packet, expected) in [
        (unfinished(&HELLO), tcp),
        (unfinished(&with_options), Offload { csum_start: 24, ..tcp }),
        (unfinished(&datagram(1, 9)), udp),
        (over_ipv6(&HELLO), Offload { csum_start: 40, ..tcp }),
        (over_ipv6(&datagram(1, 9)), Offload { csum_start: 40, ..udp }),
        (with_extensions, Offload { csum_start: 48, ..udp }),
        ([&unfinished(&HELLO)[..], &[0; 3]].concat(), offload),
    ] {
        assert_eq!(unpack(&[&packet]), [(packet.clone(), expected)]);
        for tags in [&[][..], &[0x81, 0, 0, 7], &[0x88, 0xa8, 0, 1, 0x81, 0, 0, 2]] {
            let frame = in_ethernet(tags, &packet);
            let expected = Offload { csum_start: expected.csum_start + 14 + tags.len() as u16, ..expected };
            assert_eq!(unpack_all(&[vec![(ETHERNET, frame.clone())]]), [(frame, expected)]);
        }
    }
    let no_checksum = changed(&datagram(1, 9), |_| {});
    let fragment = |high, low| {
        let mut packet = HELLO.to_vec();
        packet[6..8].copy_from_slice(&[high, low]);
        leave_unfinished(&mut packet);
        packet
    };
    for packet in [
        HELLO.to_vec(),
        [&no_checksum[..26], &[0, 0], &no_checksum[28..]].concat(),
        fragment(0x20, 0),
        fragment(0, 1),
        [&unfinished(&HELLO)[..], &[0, 1]].concat(),
        unfinished(&HELLO)[..44].to_vec(),
        changed(&HELLO, |p| p[9] = 132),
    ] {
        assert_eq!(unpack(&[&packet]), as_they_came(&[&packet]));
    }
}

#[test]
fn unfinished_pieces_are_merged_with_their_like() {
    let unfinished = [HELLO, WORLD].map(|mut packet| {
        leave_unfinished(&mut packet);
        packet
    });
    assert_eq!(unpack(&[&unfinished[0], &unfinished[1], &END]).len(), 2, "the last one is finished");
    let mut end = END;
    leave_unfinished(&mut end);
    let merged = Offload { guessed: true, ..SUPERFRAME_OFFLOAD };
    assert_eq!(unpack(&[&unfinished[0], &unfinished[1], &end]), [(SUPERFRAME.to_vec(), merged)]);
    assert_eq!(unpack(&[&HELLO, &unfinished[1]])[0].0, HELLO);
}

#[test]
fn what_is_longer_than_the_mtu_is_a_superframe() {
    let mut tcp = tcp_segment(0, 5000);
    leave_unfinished(&mut tcp);
    let superframe = Offload { gso_size: 1460, guessed: true, ..SUPERFRAME_OFFLOAD };
    let udp = |packet: &[u8]| {
        let mut packet = packet.to_vec();
        leave_unfinished(&mut packet);
        packet
    };
    let flagged = |flags: u8| {
        let mut packet = tcp.clone();
        packet[33] = flags;
        packet
    };
    let plain = Offload { needs_csum: true, csum_start: 20, csum_offset: 16, ..Offload::NONE };
    let mut lying_udp = udp(&datagram(1, 5000));
    lying_udp[25] ^= 1;
    for (packet, expected) in [
        (tcp.clone(), superframe),
        (flagged(0x90), Offload { ecn: true, ..superframe }),
        (flagged(0x19), superframe),
        (flagged(0x12), plain),
        (flagged(0x14), plain),
        (flagged(0x30), plain),
        (
            udp(&datagram(1, 5000)),
            Offload { gso: Gso::Udp, gso_size: 1472, header_len: 28, csum_offset: 6, ..superframe },
        ),
        (lying_udp, Offload { csum_offset: 6, ..plain }),
        (
            over_ipv6(&tcp),
            Offload { gso: Gso::TcpV6, gso_size: 1440, header_len: 60, csum_start: 40, ..superframe },
        ),
        ([&tcp[..], &[0; 2]].concat(), plain),
        (tcp_segment(0, 5000), Offload::NONE),
        (changed(&tcp, |p| p[9] = 132), Offload::NONE),
    ] {
        assert_eq!(unpack(&[&packet]), [(packet.clone(), expected)]);
    }
    let in_frame = in_ethernet(&[0x81, 0, 0, 7], &tcp);
    let expected = Offload { header_len: 58, csum_start: 38, ..superframe };
    assert_eq!(unpack_all(&[vec![(ETHERNET, in_frame.clone())]]), [(in_frame, expected)]);

    let with_mtu = |mtu, packet: &[u8]| unpack_all(&[vec![(Piece { mtu, ..IP }, packet.to_vec())]])[0].1;
    assert_eq!(with_mtu(5040, &tcp), Offload { guessed: true, ..plain }, "it fits");
    assert_eq!(with_mtu(5039, &tcp), Offload { gso_size: 4999, ..superframe });
    assert_eq!(with_mtu(41, &tcp), Offload { gso_size: 1, ..superframe });
    for mtu in [0, 39, 40] {
        assert_eq!(with_mtu(mtu, &tcp), plain, "no room for payload in an MTU of {mtu}");
    }
}

#[test]
fn superframes_are_not_continued() {
    let unfinished = |mut packet: Vec<u8>| {
        leave_unfinished(&mut packet);
        packet
    };
    let both = [unfinished(tcp_segment(0, 5000)), unfinished(tcp_segment(1, 5000))];
    assert_eq!(unpack(&[&both[0], &both[1]]).len(), 2);
}

#[test]
fn empty_pieces_and_runts_are_frames() {
    let packets = [&[][..], &[0x45], &[0x60; 39], &[], &HELLO[..20], &HELLO[..39]];
    assert_eq!(unpack(&packets), as_they_came(&packets));
    let as_ethernet = packets.map(|packet| (ETHERNET, packet.to_vec())).to_vec();
    assert_eq!(unpack_all(&[as_ethernet]), as_they_came(&packets));
}

#[test]
fn pieces_without_a_buffer_are_counted() {
    let (mut batch, mut out) = (Batch::default(), Vec::new());
    let foreign = |byte| (IP, vec![byte; 30]);
    let pieces = read(&mut batch, &[foreign(1), foreign(2), foreign(3), foreign(4)]);
    while batch.room() > 1 {
        batch.add().unwrap();
    }
    assert_eq!(Coalescer::default().unpack(&mut batch, 0, &pieces, &mut out), 2);
    let bytes: Vec<_> = out.iter().map(|made| batch.frames()[made.frame as usize].bytes()[0]).collect();
    assert_eq!(bytes, [1, 2]);
}

#[test]
fn a_frame_does_not_grow_out_of_its_buffer() {
    for (behind, frames) in [(0, 2), (100, 1)] {
        let (mut batch, mut coalescer, mut out) = (Batch::default(), Coalescer::default(), Vec::new());
        let (first, second) = (tcp_segment(0, 100), tcp_segment(1, 100));
        // The first one lies at the end of the longest buffer there is, and stays there: the filler is not looked at.
        let filler = vec![0xa5; MAX_FRAME - 2 * TUNNEL - first.len() - behind];
        let pieces = [
            read(&mut batch, &[(IP, filler), (IP, first.clone())]),
            read(&mut batch, &[(IP, second.clone())]),
        ];
        coalescer.unpack(&mut batch, 0, &pieces[0][1..], &mut out);
        assert_eq!(batch.frames()[0].span().end, HEADROOM + MAX_FRAME - behind);
        coalescer.unpack(&mut batch, 1, &pieces[1], &mut out);
        assert_eq!(out.len(), frames);
        assert_eq!(batch.frames()[0].bytes().len(), if frames == 1 { 240 } else { 140 });
    }
}
