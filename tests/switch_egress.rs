//! Egress: what fits a port, and doing for a port what it cannot do itself.

mod kit;

use kit::frames::{L4, broadcast, dot1q, frame, l4_start, mac, packet, unfinished, unicast, verified};
use kit::{Sent, Yard, access, patch, plain, port, trunk};
use tapyard::packet::{Capabilities, DropReason, Gso, Offload};
use tapyard::switch::Port;
use tapyard::wire::ethernet::Mac;

const KINDS: [(bool, L4); 4] = [(false, L4::Tcp), (true, L4::Tcp), (false, L4::Udp), (true, L4::Udp)];
const CHECKSUM: Capabilities = Capabilities { checksum: true, ..Capabilities::NONE };

fn header_len(v6: bool, l4: L4) -> usize {
    usize::from(l4_start(v6)) + if l4 == L4::Tcp { 20 } else { 8 }
}

/// A broadcast superframe of `payload` bytes.
fn superframe(v6: bool, l4: L4, payload: usize, gso_size: u16) -> (Vec<u8>, Offload) {
    unfinished(packet(Mac::BROADCAST, mac(1), v6, l4, payload), v6, l4, gso_size)
}

/// The payloads of the frames that left by a port, each of which is finished, in VLAN `vid` if that is not 0.
fn payloads(sent: &[Sent], port: u16, vid: u16) -> Vec<Vec<u8>> {
    let own = sent.iter().filter(|sent| sent.port == port);
    own.map(|sent| {
        assert_eq!(sent.offload, Offload::NONE);
        let tag =
            (sent.bytes[12..14] == [0x81, 0]).then(|| u16::from_be_bytes([sent.bytes[14], sent.bytes[15]]));
        assert_eq!(tag.unwrap_or(0), vid);
        verified(&sent.bytes)
    })
    .collect()
}

fn payload(len: usize) -> Vec<u8> {
    let whole = packet(Mac::BROADCAST, mac(1), false, L4::Udp, len);
    whole[header_len(false, L4::Udp)..].to_vec()
}

#[test]
fn a_frame_leaves_up_to_the_mtu_and_tags_do_not_count() {
    let mut yard = Yard::new([trunk(&[10], Some(1)), trunk(&[10], Some(1)), access(10)]);
    let sized = |len: usize| {
        let mut bytes = unicast(9, 1);
        bytes.resize(14 + len, 0);
        bytes
    };
    for (frame, fits) in [
        (sized(1500), true),
        (sized(1501), false),
        (dot1q(&sized(1500), 10), true),
        (dot1q(&sized(1501), 10), false),
        (dot1q(&dot1q(&sized(1500), 7), 10), true),
        (dot1q(&dot1q(&sized(1501), 7), 10), false),
    ] {
        let dropped = |yard: &Yard| yard.counters(1).dropped(DropReason::ExceedsMtu);
        let before = dropped(&yard);
        assert_eq!(yard.goes(0, &frame).contains(&1), fits, "{} bytes", frame.len());
        assert_eq!(dropped(&yard) - before, u64::from(!fits), "counted at the port it does not fit");
    }
}

#[test]
fn each_port_has_its_own_mtu() {
    let mut yard = Yard::new([port(), Port { mtu: 9000, ..port() }, port(), Port { mtu: 600, ..port() }]);
    let mut bytes = broadcast(1);
    for (len, ports) in
        [(614, &[1, 2, 3][..]), (615, &[1, 2]), (1514, &[1, 2]), (1515, &[1]), (9014, &[1]), (9015, &[])]
    {
        bytes.resize(len, 0);
        assert_eq!(yard.goes(0, &bytes), ports, "{len}");
    }
}

#[test]
fn a_superframe_is_measured_by_its_segments() {
    for (v6, l4) in KINDS {
        let ip_and_l4 = header_len(v6, l4) - 14;
        for (gso_size, fits) in [(1500 - ip_and_l4, true), (1501 - ip_and_l4, false)] {
            for capabilities in [Capabilities::ALL, Capabilities::NONE] {
                for tagged in [false, true] {
                    let to = if tagged { trunk(&[10], None) } else { access(10) };
                    let mut yard = Yard::new([access(10), Port { capabilities, ..to }]);
                    let (bytes, offload) = superframe(v6, l4, 20_000, gso_size as u16);
                    assert_eq!(!yard.send_with(0, &bytes, offload).is_empty(), fits);
                    assert_eq!(yard.counters(1).dropped(DropReason::ExceedsMtu), u64::from(!fits));
                }
            }
        }
    }
}

#[test]
fn a_port_with_every_offload_gets_what_came_in() {
    let mut yard = Yard::new([port(), port(), port()]);
    for (v6, l4) in KINDS {
        for gso_size in [0, 1000, 1448] {
            let (bytes, offload) = superframe(v6, l4, if gso_size == 0 { 1000 } else { 60_000 }, gso_size);
            let lying = Offload { header_len: 0xffff * u16::from(gso_size != 0), ..offload };
            for sent in yard.send_with(0, &bytes, lying) {
                assert!(sent.bytes == bytes);
                assert_eq!(sent.offload, offload, "header_len is exact");
            }
        }
    }
}

#[test]
fn an_unfinished_checksum_is_finished_for_a_port_that_cannot() {
    for (v6, l4) in KINDS {
        for len in [0, 1, 2, 33, 1000, 1400] {
            let whole = packet(Mac::BROADCAST, mac(1), v6, l4, len);
            let (bytes, offload) = unfinished(whole.clone(), v6, l4, 0);
            for (from, form) in [(access(10), whole.clone()), (trunk(&[10], None), dot1q(&whole, 10))] {
                let mut yard = Yard::new([access(10), Port { capabilities: Capabilities::NONE, ..from }]);
                let sent = yard.send_with(0, &bytes, offload);
                assert_eq!(sent, [Sent { port: 1, bytes: form.clone(), offload: Offload::NONE }]);
                verified(&sent[0].bytes);
            }
        }
    }
}

#[test]
fn a_superframe_is_cut_for_a_port_that_cannot() {
    for (v6, l4) in KINDS {
        for (len, gso_size) in
            [(1, 1400), (1400, 1400), (1401, 1400), (65_000, 1400), (65_000, 500), (60_000, 64)]
        {
            for capabilities in [Capabilities::NONE, CHECKSUM] {
                for (to, vid) in [(access(10), 0), (trunk(&[10], None), 10)] {
                    let mut yard = Yard::new([access(10), Port { capabilities, ..to }]);
                    let (bytes, offload) = superframe(v6, l4, len, gso_size);
                    let sent = yard.send_with(0, &bytes, offload);
                    let payloads = payloads(&sent, 1, vid);
                    assert_eq!(payloads.len(), len.div_ceil(gso_size.into()));
                    assert!(payloads.iter().rev().skip(1).all(|p| p.len() == usize::from(gso_size)));
                    assert!(payloads.concat() == payload(len));
                    let tx = yard.counters(1);
                    assert_eq!((tx.tx_frames, tx.copies), (payloads.len() as u64, payloads.len() as u64 - 1));
                }
            }
        }
    }
}

#[test]
fn each_kind_of_superframe_needs_its_own_offload() {
    for (v6, l4) in KINDS {
        let (bytes, offload) = superframe(v6, l4, 5000, 1000);
        for capabilities in [
            Capabilities { tso4: true, ..CHECKSUM },
            Capabilities { tso6: true, ..CHECKSUM },
            Capabilities { uso: true, ..CHECKSUM },
        ] {
            let mut yard = Yard::new([port(), Port { capabilities, ..port() }]);
            let whole = match offload.gso {
                Gso::TcpV4 => capabilities.tso4,
                Gso::TcpV6 => capabilities.tso6,
                _ => capabilities.uso,
            };
            assert_eq!(yard.send_with(0, &bytes, offload).len(), if whole { 1 } else { 5 });
        }
    }
}

#[test]
fn tcp_flags_and_numbers_go_where_they_belong() {
    let (mut bytes, offload) = superframe(false, L4::Tcp, 3000, 1000);
    let flags = 14 + 20 + 13;
    bytes[flags] |= 0x81; // CWR and FIN; PSH and ACK are set.
    let mut yard = Yard::new([port(), plain()]);
    let sent = yard.send_with(0, &bytes, offload);
    let at = |sent: &Sent, range: std::ops::Range<usize>| sent.bytes[range].to_vec();
    assert_eq!(sent.iter().map(|s| s.bytes[flags]).collect::<Vec<_>>(), [0x90, 0x10, 0x19]);
    let sequence: Vec<_> = sent.iter().map(|s| at(s, 38..42)).collect();
    assert_eq!(sequence, [0xffff_f000u32, 0xffff_f3e8, 0xffff_f7d0].map(|n| n.to_be_bytes().to_vec()));
    let id = u16::from_be_bytes([bytes[18], bytes[19]]);
    let ids: Vec<_> = sent.iter().map(|s| u16::from_be_bytes([s.bytes[18], s.bytes[19]])).collect();
    assert_eq!(ids, [id, id.wrapping_add(1), id.wrapping_add(2)]);
}

#[test]
fn a_flooded_superframe_leaves_each_port_as_that_takes_it_in_any_order() {
    let kinds = [(true, 0), (true, 10), (false, 0), (false, 10)];
    for order in 0..24 {
        let mut left = kinds.to_vec();
        let mut order = order;
        let ports: Vec<_> = (1..=4usize)
            .rev()
            .map(|n| {
                let kind = left.remove(order % n);
                order /= n;
                kind
            })
            .collect();
        for (v6, l4) in KINDS {
            for gso_size in [0, 1000] {
                let form = |&(able, vid): &(bool, u16)| {
                    let capabilities = if able { Capabilities::ALL } else { Capabilities::NONE };
                    Port { capabilities, ..if vid == 0 { access(10) } else { trunk(&[10], None) } }
                };
                let mut yard = Yard::new([access(10)].into_iter().chain(ports.iter().map(form)));
                let len = if gso_size == 0 { 1000 } else { 9500 };
                let (bytes, offload) = superframe(v6, l4, len, gso_size);
                let sent = yard.send_with(0, &bytes, offload);
                for (number, &(able, vid)) in (1..).zip(&ports) {
                    let own: Vec<_> = sent.iter().filter(|sent| sent.port == number).collect();
                    if able && own[0].offload.needs_csum {
                        let tagged = dot1q(&bytes, vid);
                        assert!(
                            own.len() == 1 && own[0].bytes == if vid == 0 { &bytes } else { &tagged }[..]
                        );
                        let by = if vid == 0 { 0 } else { 4 };
                        assert_eq!(own[0].offload.csum_start, l4_start(v6) + by);
                    } else {
                        // A checksum that another port needed finished stays so.
                        assert!(!able || gso_size == 0);
                        assert_eq!(payloads(&sent, number, vid).concat(), payload(len));
                    }
                }
            }
        }
    }
}

#[test]
fn superframes_flooded_to_64_plain_ports_do_not_run_out_of_buffers() {
    let mut yard = Yard::new([port()].into_iter().chain((0..64).map(|_| plain())));
    let frames: Vec<_> = (0..4).map(|_| superframe(false, L4::Tcp, 60_000, 1448)).collect();
    assert_eq!(yard.send_all(0, 0, &frames).len(), 4 * 64 * 60_000usize.div_ceil(1448));
}

#[test]
fn a_superframe_of_too_many_segments_is_dropped_whole() {
    let mut yard = Yard::new([port(), plain()]);
    let (bytes, offload) = superframe(false, L4::Tcp, 60_000, 1);
    assert_eq!(yard.send_with(0, &bytes, offload), []);
    assert_eq!(yard.drops(1), [(DropReason::NoBuffer, 1)]);
    let (bytes, offload) = superframe(false, L4::Tcp, 1000, 1);
    assert_eq!(yard.send_with(0, &bytes, offload).len(), 1000, "and leaves nothing behind");
}

#[test]
fn a_superframe_whose_headers_lead_elsewhere_is_cut_by_nobody() {
    let (good, offload) = superframe(false, L4::Tcp, 5000, 1000);
    let spoiled = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        bytes
    };
    let fragment = spoiled(14 + 6, 0x20);
    for bytes in [fragment, spoiled(14 + 9, 17), spoiled(14 + 2, 1), spoiled(14, 0x46)] {
        let mut yard = Yard::new([port(), plain(), port()]);
        let sent = yard.send_with(0, &bytes, offload);
        assert!(sent.len() == 1 && sent[0].port == 2 && sent[0].bytes == bytes, "who takes it whole gets it");
        assert_eq!(yard.drops(1), [(DropReason::Unsegmentable, 1)]);
    }
}

#[test]
fn a_lying_offload_claim_is_dropped_and_teaches_nothing() {
    let (bytes, good) = superframe(false, L4::Tcp, 1000, 500);
    let mut yard = Yard::new([port(), port()]);
    for offload in [
        Offload { csum_start: 1053, ..good },
        Offload { csum_start: 13, ..good },
        Offload { csum_offset: 0xffff, ..good },
        Offload { gso_size: 0, ..good },
        Offload { needs_csum: false, ..good },
        Offload { gso: Gso::Unknown, ..good },
        Offload { gso: Gso::TcpV6, ..good },
        Offload { gso: Gso::Udp, ..good },
    ] {
        assert_eq!(yard.refused(0, &bytes, offload), DropReason::BadOffload, "{offload:?}");
    }
    assert!(yard.fdb(0).entries().is_empty());
}

#[test]
fn superframes_cross_patches_and_are_cut_behind() {
    let far = |port: Port| kit::on(1, port);
    let ends = [patch(3, trunk(&[10], None)), far(patch(2, trunk(&[10], None)))];
    let [near_end, far_end] = ends;
    let plain_trunk = Port { capabilities: Capabilities::NONE, ..trunk(&[10], None) };
    let plain_access = Port { capabilities: Capabilities::NONE, ..access(10) };
    let mut yard = Yard::new([
        access(10),
        access(10),
        near_end,
        far_end,
        far(plain_trunk),
        far(plain_access),
        far(access(10)),
    ]);
    for (v6, l4) in KINDS {
        let (bytes, offload) = superframe(v6, l4, 9000, 1000);
        let sent = yard.send_with(0, &bytes, offload);
        for whole in [1, 6] {
            let own: Vec<_> = sent.iter().filter(|sent| sent.port == whole).collect();
            assert!(own.len() == 1 && own[0].bytes == bytes && own[0].offload == offload);
        }
        assert_eq!(payloads(&sent, 4, 10).concat(), payload(9000));
        assert_eq!(payloads(&sent, 5, 0).concat(), payload(9000));
    }
}

#[test]
fn known_stations_get_finished_unicast() {
    let mut yard = Yard::new([port(), plain(), plain()]);
    yard.send(1, &frame(Mac::BROADCAST, mac(2)));
    let (bytes, offload) = unfinished(packet(mac(2), mac(1), false, L4::Tcp, 9000), false, L4::Tcp, 1448);
    let sent = yard.send_with(0, &bytes, offload);
    assert_eq!(payloads(&sent, 1, 0).concat(), payload(9000));
    assert!(sent.iter().all(|sent| sent.port == 1));
}
