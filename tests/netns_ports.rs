//! TAP, TUN and netdev ports on real devices: kernel stacks in namespaces of their own, joined by a wire of a few lines
//! that uses nothing but [`Port`].
//!
//! Needs root, iproute2, ping and util-linux.

mod port_harness;

use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;

use tapyard::packet::{Batch, Capabilities, Counters, DropReason, Frame};
use tapyard::port::link::Links;
use tapyard::port::netdev::{self, NetdevOptions};
use tapyard::port::tap::{self, Mode, TapOptions};
use tapyard::port::{Opened, Port, PortError, Rx};
use tapyard::sys::netns::Netns;

use port_harness::{Space, Wire, frames_of, need_root, pings, transfer, wait_for};

const FIRST: Ipv4Addr = Ipv4Addr::new(10, 91, 0, 1);
const SECOND: Ipv4Addr = Ipv4Addr::new(10, 91, 0, 2);

/// Set in a child process that only opens a TAP and prints why it could not.
const CHILD: &str = "TAPYARD_TEST_CHILD";

#[test]
fn superframes_pass_whole_between_two_taps() {
    let (a, b) = (Space::new(), Space::new());
    let wire = Wire::between(tap::open(&a.tap(FIRST), 1).unwrap(), tap::open(&b.tap(SECOND), 1).unwrap());
    pings(&a, SECOND);
    transfer(&a, &b, SECOND, 50 << 20);
    let ended = wire.end();
    assert!(ended.longest > 1514, "no superframe came in: the longest frame had {} bytes", ended.longest);
    assert!(ended.superframes > 0, "no frame said that it is a superframe");
    assert_eq!(ended.counters.dropped_total(), 0, "{:?}", ended.counters);
}

#[test]
fn each_worker_has_a_queue_and_flows_spread_over_them() {
    let (a, b) = (Space::new(), Space::new());
    let (first, second) = (tap::open(&a.tap(FIRST), 2).unwrap(), tap::open(&b.tap(SECOND), 2).unwrap());
    assert_eq!((first.queues.len(), second.queues.len()), (2, 2));
    let wire = Wire::between(first, second);
    pings(&a, SECOND);
    transfer(&b, &a, FIRST, 10 << 20);
    assert_eq!(wire.end().counters.dropped_total(), 0);
}

#[test]
fn superframes_pass_whole_between_two_netdevs() {
    let (a, b, switch) = (Space::new(), Space::new(), Space::new());
    let wire = Wire::between(switch.netdev("to-a", &a, FIRST, 1), switch.netdev("to-b", &b, SECOND, 1));
    pings(&a, SECOND);
    transfer(&a, &b, SECOND, 50 << 20);
    let ended = wire.end();
    assert!(ended.longest > 1514, "no superframe came in: the longest frame had {} bytes", ended.longest);
    assert_eq!(ended.counters.dropped(DropReason::Refused), 0, "{:?}", ended.counters);
}

#[test]
fn a_netdev_shared_by_two_workers_gives_each_frame_to_one_of_them() {
    let (a, switch) = (Space::new(), Space::new());
    let mut shared = switch.netdev("shared", &a, FIRST, 2);
    let mut sender = a.open_netdev("p-shared");
    let mut batch = Batch::default();
    for flow in 0..64 {
        add(&mut batch, &udp_frame(flow));
    }
    assert_eq!(send_all(&mut sender, &mut batch).tx_frames, 64);
    let mut seen = Vec::new();
    wait_for("64 frames", || {
        for queue in &mut shared.queues {
            seen.extend(receive(frames_of(queue)));
        }
        (seen.len() >= 64).then_some(())
    });
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 64);
    assert_eq!(send_one(&mut switch.open_netdev("shared"), &udp_frame(64)).tx_frames, 1);
    for queue in &mut shared.queues {
        assert_eq!(
            receive(frames_of(queue)),
            Vec::<Vec<u8>>::new(),
            "a frame came twice, or what the host sends was read"
        );
    }
}

#[test]
fn plain_taps_carry_finished_frames_of_one_segment() {
    let (a, b) = (Space::new(), Space::new());
    let plain = |space: &Space, address| TapOptions { offload: false, ..space.tap(address) };
    let (first, second) =
        (tap::open(&plain(&a, FIRST), 1).unwrap(), tap::open(&plain(&b, SECOND), 1).unwrap());
    assert_eq!(first.capabilities, Capabilities::NONE);
    let wire = Wire::between(first, second);
    pings(&a, SECOND);
    transfer(&a, &b, SECOND, 1 << 20);
    let ended = wire.end();
    assert!(ended.longest <= 1514);
    assert_eq!(ended.superframes, 0);
}

#[test]
fn a_tun_carries_bare_packets() {
    let (a, b) = (Space::new(), Space::new());
    let tun = |space: &Space, address| TapOptions { mode: Mode::Tun, ..space.tap(address) };
    let (first, second) = (tap::open(&tun(&a, FIRST), 1).unwrap(), tap::open(&tun(&b, SECOND), 1).unwrap());
    assert_eq!(first.link.as_ref().and_then(|link| link.mac), None);
    let wire = Wire::between(first, second);
    pings(&a, SECOND);
    transfer(&a, &b, SECOND, 5 << 20);
    let ended = wire.end();
    assert!(ended.superframes > 0, "no packet said that it is a superframe");
    assert_eq!(ended.counters.dropped_total(), 0);
}

#[test]
fn the_device_gets_its_settings_and_keeps_them_when_it_persists() {
    let a = Space::new();
    let mac = "02:00:5e:10:00:01".parse().unwrap();
    let options = TapOptions {
        mtu: Some(9000),
        mac: Some(mac),
        owner: Some(1234),
        group: Some(4321),
        persist: true,
        addresses: vec![(FIRST.into(), 24), ("fd00:91::1".parse().unwrap(), 64)],
        ..a.tap(FIRST)
    };
    let opened = tap::open(&options, 1).unwrap();
    let link = opened.link.as_ref().unwrap();
    assert_eq!((link.mtu, link.mac, link.name.as_str()), (9000, Some(mac), "tap"));
    drop(opened);
    let link = a.link("tap").expect("a persistent device stays");
    assert_eq!((link.up, link.mtu, link.mac, link.kind.as_deref()), (true, 9000, Some(mac), Some("tun")));
    let addresses = a.inside(|| Links::open().unwrap().addresses(link.index).unwrap());
    assert!(
        addresses.contains(&FIRST.into()) && addresses.contains(&"fd00:91::1".parse().unwrap()),
        "{addresses:?}"
    );
    let shown = a.ip("tuntap show");
    assert!(
        shown.contains("persist") && shown.contains("user 1234") && shown.contains("group 4321"),
        "{shown}"
    );
    // Attaching again finds all as it is to be.
    tap::open(&options, 1).unwrap();
}

#[test]
fn a_device_that_does_not_persist_goes_with_its_port() {
    let a = Space::new();
    drop(tap::open(&a.tap(FIRST), 1).unwrap());
    a.until_no_link("tap");
}

#[test]
fn an_existing_device_is_attached_to_as_it_is() {
    let (a, b) = (Space::new(), Space::new());
    a.ip("tuntap add tap mode tap");
    b.ip("tuntap add tap mode tap multi_queue");
    let (single, multi) = (tap::open(&a.tap(FIRST), 2).unwrap(), tap::open(&b.tap(SECOND), 1).unwrap());
    let read_from = |port: &Opened| port.queues.iter().filter(|queue| queue.fd().is_some()).count();
    assert_eq!((read_from(&single), single.queues.len()), (1, 2), "the second worker only sends");
    assert_eq!((read_from(&multi), multi.queues.len()), (1, 1));
    let wire = Wire::between(single, multi);
    pings(&a, SECOND);
    wire.end();
    assert!(a.link("tap").is_some(), "it was not ours to remove");
}

#[test]
fn offloads_that_an_earlier_user_left_on_a_device_are_taken_off_a_plain_one() {
    let (a, b) = (Space::new(), Space::new());
    a.ip("tuntap add tap mode tap");
    drop(tap::open(&a.tap(FIRST), 1).unwrap());
    let first = tap::open(&TapOptions { offload: false, ..a.tap(FIRST) }, 1).unwrap();
    let wire = Wire::between(first, tap::open(&TapOptions { offload: false, ..b.tap(SECOND) }, 1).unwrap());
    transfer(&a, &b, SECOND, 1 << 20);
    wire.end();
}

#[test]
fn a_deleted_tap_is_gone() {
    let a = Space::new();
    let mut port = tap::open(&a.tap(FIRST), 1).unwrap();
    a.ip("link del tap");
    until_gone(&mut port);
    assert_eq!(send_one(&mut port, &udp_frame(1)).dropped(DropReason::PortMissing), 1);
}

#[test]
fn a_deleted_netdev_is_gone_and_one_that_is_down_is_not() {
    let (a, switch) = (Space::new(), Space::new());
    let mut port = switch.netdev("x", &a, FIRST, 1);
    switch.ip("link set x down");
    let mut counters = Counters::default();
    for _ in 0..3 {
        assert_ne!(frames_of(&mut port.queues[0]).rx(&mut Batch::default(), &mut counters), Rx::Gone);
    }
    switch.ip("link set x up");
    switch.ip("link del x");
    until_gone(&mut port);
    assert_eq!(send_one(&mut port, &udp_frame(1)).dropped(DropReason::PortMissing), 1);
}

#[test]
fn a_netdev_deleted_while_it_is_down_is_gone_once_a_frame_was_to_leave_by_it() {
    let (a, switch) = (Space::new(), Space::new());
    let mut port = switch.netdev("x", &a, FIRST, 1);
    switch.ip("link set x down");
    let mut counters = Counters::default();
    while frames_of(&mut port.queues[0]).rx(&mut Batch::default(), &mut counters) != Rx::Drained {}
    switch.ip("link del x");
    assert_eq!(send_one(&mut port, &udp_frame(1)).dropped(DropReason::PortMissing), 1);
    until_gone(&mut port);
}

#[test]
fn a_netdev_deleted_while_its_port_reads_is_gone() {
    let (a, switch) = (Space::new(), Space::new());
    let mut port = switch.netdev("x", &a, FIRST, 1);
    let reader = thread::spawn(move || until_gone(&mut port));
    switch.ip("link del x");
    reader.join().unwrap();
}

#[test]
fn a_device_that_is_down_drops_and_resumes() {
    let (a, b, switch) = (Space::new(), Space::new(), Space::new());
    let wire = Wire::between(tap::open(&a.tap(FIRST), 1).unwrap(), switch.netdev("x", &b, SECOND, 1));
    pings(&a, SECOND);
    a.ip("link set tap down");
    switch.ip("link set x down");
    // A neighbour entry of its own keeps b asking across the break.
    assert!(!a.ping(SECOND, 56).status.success());
    switch.ip("link set x up");
    a.ip("link set tap up");
    pings(&a, SECOND);
    let ended = wire.end();
    assert!(!ended.gone);

    let mut down = tap::open(&TapOptions { device: "other".into(), ..a.tap(FIRST) }, 1).unwrap();
    a.ip("link set other down");
    assert_eq!(send_one(&mut down, &udp_frame(1)).dropped(DropReason::PortDown), 1);
    a.ip("link set other up");
    assert_eq!(send_one(&mut down, &udp_frame(1)).tx_frames, 1);
    let mut down = switch.netdev("y", &b, SECOND, 1);
    switch.ip("link set y down");
    assert_eq!(send_one(&mut down, &udp_frame(1)).dropped(DropReason::PortDown), 1);
    switch.ip("link set y up");
    assert_eq!(send_one(&mut down, &udp_frame(1)).tx_frames, 1);
}

#[test]
fn tags_come_through_a_netdev_where_they_were() {
    let (a, switch) = (Space::new(), Space::new());
    let mut port = switch.netdev("x", &a, FIRST, 1);
    let mut sender = a.open_netdev("p-x");
    let plain = udp_frame(7);
    let with = |tags: &[u8]| [&plain[..12], tags, &plain[12..]].concat();
    let sent = [
        with(&[0x81, 0x00, 0x20, 0x0a]),
        with(&[0x88, 0xa8, 0x00, 0x64, 0x81, 0x00, 0x00, 0x0a]),
        with(&[0x81, 0x00, 0x60, 0x00]),
        plain.clone(),
    ];
    let mut batch = Batch::default();
    sent.iter().for_each(|frame| add(&mut batch, frame));
    assert_eq!(send_all(&mut sender, &mut batch).tx_frames, 4);
    let mut seen = Vec::new();
    wait_for("4 frames", || {
        seen.extend(receive(frames_of(&mut port.queues[0])));
        (seen.len() >= 4).then_some(())
    });
    assert_eq!(seen, sent);
}

#[test]
fn a_frame_that_cannot_be_sent_does_not_hold_up_the_others() {
    let (a, switch) = (Space::new(), Space::new());
    let mut batch = Batch::default();
    for flow in 0..40 {
        add(&mut batch, &udp_frame(flow));
    }
    let long = [&udp_frame(40)[..], &[0; 3000]].concat();
    add(&mut batch, &long);
    add(&mut batch, &udp_frame(41));
    let lying = &mut batch.frames_mut()[5].offload;
    (lying.needs_csum, lying.csum_start, lying.csum_offset) = (true, 5000, 6);

    let mut port = switch.netdev("x", &a, FIRST, 1);
    let counters = send_all(&mut port, &mut batch);
    assert_eq!(counters.dropped(DropReason::Refused), 1, "{counters:?}");
    assert_eq!(counters.dropped(DropReason::ExceedsMtu), 1, "{counters:?}");
    assert_eq!(counters.tx_frames, 40, "{counters:?}");

    add(&mut batch, &udp_frame(0)[..13]);
    let mut port = tap::open(&a.tap(FIRST), 1).unwrap();
    let counters = send_all(&mut port, &mut batch);
    assert_eq!(counters.dropped(DropReason::Refused), 1, "{counters:?}");
    assert_eq!(counters.dropped(DropReason::Runt), 1, "{counters:?}");
    assert_eq!(counters.tx_frames, 41, "{counters:?}");
}

#[test]
fn errors_name_the_device_and_the_remedy() {
    let a = Space::new();
    let options = a.tap(FIRST);
    let with = |device: &str| TapOptions { device: device.into(), ..options.clone() };
    let fails = |options: &TapOptions, says: &str| told(tap::open(options, 2), says);

    fails(&with("a-name-of-16-byt"), "is no name for a device: give 1 to 15 bytes");
    let blue = TapOptions { netns: Some(Netns::new("no-such-blue")), ..with("t") };
    fails(&blue, "t: no network namespace \"no-such-blue\": make it first (ip netns add no-such-blue)");

    let held = TapOptions { queues: Some(1), ..with("held") };
    let _holder = tap::open(&held, 1).unwrap();
    fails(&held, "held: another program holds this device: stop that program");

    a.ip("tuntap add single mode tap");
    a.ip("tuntap add many mode tap multi_queue");
    a.ip("tuntap add tun mode tun");
    a.ip("link add veth type veth peer name peer");
    let two = TapOptions { queues: Some(2), ..with("single") };
    fails(&two, "single: exists with a single queue, and queues = 2 was asked for: leave queues out");
    let plain = TapOptions { offload: false, ..with("many") };
    fails(&plain, "many: exists with several queues, which offload = false cannot use: leave offload out");
    let plain = TapOptions { offload: false, queues: Some(2), ..with("new") };
    fails(&plain, "new: a device with offload = false has one queue, and queues = 2 was asked for");
    fails(&with("tun"), "tun: exists and is not a TAP but a TUN: give the port another device");
    let plain = TapOptions { offload: false, ..with("tun") };
    fails(&plain, "tun: exists and is not a TAP but a TUN: give the port another device");
    fails(&with("veth"), "veth: exists and is not a TAP but a veth: give the port another device");

    let long = TapOptions { mtu: Some(1 << 20), ..with("long") };
    fails(&long, "long: cannot set its MTU to 1048576: Invalid argument (os error 22): correct that setting");
    let group = TapOptions { mac: Some("01:00:5e:00:00:01".parse().unwrap()), ..with("group") };
    fails(&group, "group: cannot set its MAC address to 01:00:5e:00:00:01: ");
    let prefix = TapOptions { addresses: vec![(FIRST.into(), 33)], ..with("prefix") };
    fails(&prefix, "prefix: cannot give it the address 10.91.0.1/33: Invalid argument (os error 22)");
    a.until_no_link("prefix");

    let missing = NetdevOptions::new("missing", Some(a.netns()));
    told(netdev::open(&missing, 1), "missing: no such interface: create it first");
}

#[test]
fn without_privilege_the_error_says_how_to_get_it() {
    if std::env::var_os(CHILD).is_some() {
        return print_errors();
    }
    need_root();
    // The program's own folder may be closed to that user.
    let program = std::env::temp_dir().join(format!("typ-{}", std::process::id()));
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let mut child = Command::new(&program);
    child.uid(65534).gid(65534);
    let output = run_child(&mut child, "without_privilege_the_error_says_how_to_get_it");
    std::fs::remove_file(&program).unwrap();
    assert!(
        output.contains("typ-child: not permitted: run as root, give the program the right (setcap"),
        "{output}"
    );
    assert!(
        output.contains("lo: not permitted: run as root, give the program the right (setcap"),
        "{output}"
    );
}

#[test]
fn without_the_driver_the_error_says_how_to_load_it() {
    if std::env::var_os(CHILD).is_some() {
        return print_errors();
    }
    need_root();
    let mut child = Command::new("unshare");
    child.args(["--mount", "--net", "sh", "-c", "mount -t tmpfs none /dev/net && exec \"$0\" \"$@\""]);
    child.arg(std::env::current_exe().unwrap());
    let output = run_child(&mut child, "without_the_driver_the_error_says_how_to_load_it");
    assert!(
        output.contains("typ-child: /dev/net/tun is missing: load the driver (modprobe tun)"),
        "{output}"
    );
}

fn print_errors() {
    for error in [
        tap::open(&TapOptions::new("typ-child"), 1).err(),
        tap::open(&TapOptions { offload: false, ..TapOptions::new("typ-child") }, 1).err(),
        netdev::open(&NetdevOptions::new("lo", None), 1).err(),
    ] {
        println!("{}", error.map_or_else(|| "opened".into(), |e| e.to_string()));
    }
}

fn run_child(child: &mut Command, test: &str) -> String {
    let output = child.args(["--exact", test, "--nocapture"]).env(CHILD, "1").output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    text
}

fn told(result: Result<Opened, PortError>, says: &str) {
    let error = result.err().unwrap_or_else(|| panic!("opened, and should have said: {says}")).to_string();
    assert!(error.contains(says), "said: {error}\nnot:  {says}");
    assert!(!error.contains('\n'), "{error}");
}

/// A UDP frame to nobody, of its own flow.
fn udp_frame(flow: u16) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 0x77, 2, 0, 0, 0, 0, 0x66, 0x08, 0x00];
    frame.extend([0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 10, 91, 0, 66, 10, 91, 0, 77]);
    frame.extend((4000 + flow).to_be_bytes());
    frame.extend([0x13, 0x88, 0, 26, 0, 0]);
    frame.resize(60, 0x5a);
    frame
}

fn add(batch: &mut Batch, frame: &[u8]) {
    let at = batch.add().expect("room for a frame");
    batch.frames_mut()[at].copy_from(&Frame::from_bytes(frame));
}

fn send_all(port: &mut Opened, batch: &mut Batch) -> Counters {
    let mut counters = Counters::default();
    let all: Vec<u32> = (0..batch.len() as u32).collect();
    frames_of(&mut port.queues[0]).tx(batch, &all, &mut counters);
    assert_eq!(
        counters.tx_frames + counters.dropped_total(),
        all.len() as u64,
        "a frame is not accounted for"
    );
    counters
}

fn send_one(port: &mut Opened, frame: &[u8]) -> Counters {
    let mut batch = Batch::default();
    add(&mut batch, frame);
    send_all(port, &mut batch)
}

/// What is there to be read that a test sent.
fn receive(port: &mut dyn Port) -> Vec<Vec<u8>> {
    let mut batch = Batch::default();
    port.rx(&mut batch, &mut Counters::default());
    let ours = |frame: &&Frame| frame.bytes().starts_with(&[2, 0, 0, 0, 0, 0x77]);
    batch.frames().iter().filter(ours).map(|frame| frame.bytes().to_vec()).collect()
}

fn until_gone(port: &mut Opened) {
    wait_for("the end of the device", || {
        let end = frames_of(&mut port.queues[0]).rx(&mut Batch::default(), &mut Counters::default());
        (end == Rx::Gone).then_some(())
    });
}
