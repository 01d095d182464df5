//! What is printed for each type of port.

use super::*;
use crate::control::config::Document;
use crate::port::link::TunLink;

/// The port `vm1` on a bridge, with these keys.
fn port(keys: &str) -> PortConfig {
    named("vm1", keys)
}

fn named(name: &str, keys: &str) -> PortConfig {
    let mut text = format!("[bridge.lan]\n[port.{name}]\n{keys}\n");
    if keys.contains("patch") {
        text += "[bridge.wan]\n[port.other]\ntype = \"patch\"\nbridge = \"wan\"\npeer = \"vm1\"\n";
    }
    let config = Document::parse(&text, "t").and_then(|document| document.to_config());
    config.unwrap_or_else(|errors| panic!("{errors}\n{text}")).ports.remove(name).unwrap()
}

const PINNED: &str = "bridge = \"lan\"\npin.mac = \"02:00:00:00:00:01\"\n";

fn link(is_tap: bool, mtu: u32) -> Link {
    let (name, kind) = ("vm1".into(), Some("tun".into()));
    let tun = is_tap.then(|| TunLink { is_tap, ..TunLink::default() });
    Link { index: 7, name, up: true, carrier: true, mtu, mac: None, kind, alias: None, controller: None, tun }
}

fn around(link: Option<&Link>) -> Around<'_> {
    Around { link, vhost: false }
}

/// What attaches a guest of this QEMU to the port `vm1` that has no device.
fn of_qemu(version: &str, keys: &str) -> AttachInfo {
    let query = AttachQuery { qemu_version: Some(version.into()), ..AttachQuery::default() };
    attach("vm1", &port(&format!("{PINNED}{keys}")), &query, &around(None)).unwrap()
}

fn qemu(version: &str, keys: &str) -> String {
    of_qemu(version, keys).qemu.join(" ")
}

#[test]
fn a_tap_that_qemu_opens() {
    let port = port(&format!("{PINNED}type = \"netdev\""));
    let tap = link(true, 1500);
    let query = AttachQuery::default();
    let info = attach("vm1", &port, &query, &around(Some(&tap))).unwrap();
    assert_eq!(
        info.qemu.join(" "),
        "-netdev tap,id=vm1,ifname=vm1,script=no,downscript=no \
         -device virtio-net-pci,netdev=vm1,mac=02:00:00:00:00:01"
    );
    assert_eq!(
        info.libvirt,
        "<interface type='ethernet'>\n  <mac address='02:00:00:00:00:01'/>\n  \
         <target dev='vm1' managed='no'/>\n  <model type='virtio'/>\n</interface>\n"
    );
    assert_eq!((info.qemu_version, info.qemu_remarks.len(), info.libvirt_remarks.len()), (None, 0, 0));

    // More queues and a longer packet than usual, and a kernel that carries the frames.
    let tap = link(true, 9000);
    let around = Around { vhost: true, ..around(Some(&tap)) };
    let query = AttachQuery { queues: Some(4), ..AttachQuery::default() };
    let info = attach("vm1", &port, &query, &around).unwrap();
    assert_eq!(
        info.qemu.join(" "),
        "-netdev tap,id=vm1,ifname=vm1,script=no,downscript=no,queues=4,vhost=on \
         -device virtio-net-pci,netdev=vm1,mac=02:00:00:00:00:01,mq=on,vectors=10,host_mtu=9000"
    );
    assert!(info.libvirt.contains("  <driver queues='4'/>\n  <mtu size='9000'/>\n"), "{}", info.libvirt);
    let several = TunLink { is_tap: true, multi_queue: true, ..TunLink::default() };
    let tap = Link { tun: Some(several), ..link(true, 1500) };
    let info = attach("vm1", &port, &AttachQuery::default(), &Around { link: Some(&tap), ..around }).unwrap();
    assert!(info.qemu[1].contains(",queues=2,"), "it cannot be opened as one of one queue");
    let around = Around { vhost: true, ..self::around(None) };
    let query = AttachQuery { vhost: Some(false), ..AttachQuery::default() };
    assert!(!attach("vm1", &port, &query, &around).unwrap().qemu[1].contains("vhost"));
}

#[test]
fn a_tap_that_the_switch_makes_has_the_queues_it_was_made_with() {
    let made = |queues: u32, asked: Option<u32>| {
        let keys = format!("{PINNED}type = \"netdev\"\ncreate = true\nmtu = 9000\nqueues = {queues}");
        let query = AttachQuery { queues: asked, ..AttachQuery::default() };
        attach("vm1", &port(&keys), &query, &around(None)).map(|info| info.qemu.join(" "))
    };
    let line = made(4, None).unwrap();
    assert!(line.contains(",queues=4 ") && line.ends_with(",mq=on,vectors=10,host_mtu=9000"), "{line}");
    assert!(made(4, Some(2)).unwrap().contains(",queues=2 "));
    assert!(!made(1, Some(1)).unwrap().contains("queues"));
    for (queues, asked) in [(4, 1), (4, 5), (1, 2), (1, 0)] {
        let why = made(queues, Some(asked)).unwrap_err();
        assert!(why.contains(&format!("port set vm1 queues={asked}")), "{why}");
    }
}

#[test]
fn a_device_elsewhere_or_not_there_is_remarked() {
    let query = AttachQuery::default();
    for (netns, enter) in [("blue", "ip netns exec blue"), ("/proc/7/ns/net", "nsenter --net=/proc/7/ns/net")]
    {
        let port = port(&format!("{PINNED}type = \"netdev\"\ndevice = \"tap7\"\nnetns = \"{netns}\""));
        let info = attach("vm1", &port, &query, &around(None)).unwrap();
        assert!(info.qemu[1].starts_with("tap,id=vm1,ifname=tap7,"), "{:?}", info.qemu);
        assert_eq!(info.qemu_remarks, info.libvirt_remarks);
        assert_eq!(info.qemu_remarks.len(), 2, "{:?}", info.qemu_remarks);
        assert!(info.qemu_remarks[0].contains(enter) && info.qemu_remarks[1].contains("no tap7 yet"));
    }
}

#[test]
fn a_stream_connects_again_as_each_qemu_can() {
    const DEVICE: &str = "-device virtio-net-pci,netdev=vm1,mac=02:00:00:00:00:01";
    let listen = "type = \"stream\"\nlisten = \"/run/a,b.sock\"";
    for (version, again) in
        [("7.2", ""), ("8.0", ",reconnect=1"), ("9.1.3", ",reconnect=1"), ("9.2", ",reconnect-ms=1000")]
    {
        let expected = format!(
            "-netdev stream,id=vm1,server=off,addr.type=unix,addr.path=/run/a,,b.sock{again} {DEVICE}"
        );
        let info = of_qemu(version, listen);
        assert_eq!(info.qemu.join(" "), expected);
        assert_eq!(info.qemu_remarks.len(), usize::from(version == "7.2"));
        assert_eq!(info.libvirt_remarks, info.qemu_remarks);
    }
    let newest = attach("vm1", &port(&format!("{PINNED}{listen}")), &AttachQuery::default(), &around(None));
    let newest = newest.unwrap();
    assert_eq!(newest.qemu_version.as_deref(), Some("9.2"));
    assert!(newest.qemu_remarks[0].contains("QEMU 9.2"), "{:?}", newest.qemu_remarks);

    let connect = "type = \"stream\"\nconnect = \"/home/yard/vm1.sock\"\nmtu = 9000";
    let expected = format!(
        "-netdev stream,id=vm1,server=on,addr.type=unix,addr.path=/home/yard/vm1.sock {DEVICE},host_mtu=9000"
    );
    assert_eq!(qemu("7.2", connect), expected);
    assert_eq!(qemu("10.1", connect), expected);
    assert_eq!(of_qemu("7.2", connect).qemu_version, None);
}

#[test]
fn datagrams_have_a_socket_on_each_side() {
    let info = of_qemu("7.2", "type = \"dgram\"\nlisten = \"/run/yard.sock\"\nconnect = \"/run/vm1.sock\"");
    assert_eq!(
        info.qemu[1],
        "dgram,id=vm1,local.type=unix,local.path=/run/vm1.sock,remote.type=unix,remote.path=/run/yard.sock"
    );
    let alone = port(&format!("{PINNED}type = \"dgram\"\nlisten = \"/run/yard.sock\""));
    let why = attach("vm1", &alone, &AttachQuery::default(), &around(None)).unwrap_err();
    assert!(why.contains("port set vm1 connect=PATH"), "{why}");
}

#[test]
fn a_guest_of_vhost_user_shares_its_memory() {
    let listen = "type = \"vhost-user\"\nlisten = \"/run/vm1.sock\"";
    let info = of_qemu("8.2", listen);
    assert_eq!(
        info.qemu.join(" "),
        "-object memory-backend-memfd,id=vm1,size=512M,share=on -machine memory-backend=vm1 \
         -chardev socket,id=vm1,path=/run/vm1.sock,reconnect=1 -netdev vhost-user,id=vm1,chardev=vm1 \
         -device virtio-net-pci,netdev=vm1,mac=02:00:00:00:00:01"
    );
    assert!(info.qemu_remarks[0].contains("--memory"), "{:?}", info.qemu_remarks);
    assert!(info.libvirt_remarks.is_empty());
    assert!(
        info.libvirt.contains(
            "  <source type='unix' path='/run/vm1.sock' mode='client'>\n    \
             <reconnect enabled='yes' timeout='1'/>\n  </source>\n"
        ) && info.libvirt.starts_with("<!-- ")
            && info.libvirt.contains("<access mode='shared'/>"),
        "{}",
        info.libvirt
    );
    assert!(qemu("9.2", listen).contains(",path=/run/vm1.sock,reconnect-ms=1000 "));

    let query = AttachQuery { memory: Some("none".into()), queues: Some(2), ..AttachQuery::default() };
    let port = port(&format!("{PINNED}type = \"vhost-user\"\nconnect = \"/run/vm1.sock\""));
    let info = attach("vm1", &port, &query, &around(None)).unwrap();
    assert_eq!(
        info.qemu.join(" "),
        "-chardev socket,id=vm1,path=/run/vm1.sock,server=on,wait=off \
         -netdev vhost-user,id=vm1,chardev=vm1,queues=2 \
         -device virtio-net-pci,netdev=vm1,mac=02:00:00:00:00:01,mq=on,vectors=6"
    );
    assert!(info.libvirt.contains("  <source type='unix' path='/run/vm1.sock' mode='server'/>\n"));
    assert!(info.libvirt.contains("  <driver queues='2'/>\n"));
    assert_eq!((info.qemu_version, info.qemu_remarks), (None, Vec::new()));
}

#[test]
fn libvirt_gets_arguments_where_it_has_no_interface() {
    let xml = of_qemu("8.0", "type = \"stream\"\nlisten = \"/run/a&b's<.sock\"").libvirt;
    assert!(
        xml.contains("<qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>"),
        "{xml}"
    );
    assert!(xml.contains("  <qemu:arg value='-netdev'/>\n"), "{xml}");
    assert!(xml.contains("addr.path=/run/a&amp;b&apos;s&lt;.sock,reconnect=1'/>\n"), "{xml}");
    assert_eq!(xml.matches("<qemu:arg ").count(), 4, "{xml}");
}

#[test]
fn a_port_without_room_for_a_guest_says_which_has() {
    let query = AttachQuery::default();
    for (keys, link, culprit) in [
        ("bridge = \"lan\"\ntype = \"tap\"", None, "a TAP that the switch itself holds"),
        ("type = \"tun\"", None, "a TUN"),
        ("bridge = \"lan\"\ntype = \"patch\"\npeer = \"other\"", None, "leads to port other"),
        ("bridge = \"lan\"\ntype = \"vxlan\"\nvni = 7\nremotes = \"10.8.0.2\"", None, "is a tunnel"),
        ("bridge = \"lan\"\ntype = \"netdev\"", Some(link(false, 1500)), "is on vm1, which is no TAP"),
    ] {
        let why = attach("vm1", &port(keys), &query, &around(link.as_ref())).unwrap_err();
        assert!(why.contains(culprit) && why.contains("expected a port of its own"), "{why}");
        assert_eq!(why.lines().count(), 1, "{why}");
    }
}

#[test]
fn what_no_guest_can_be_is_refused() {
    let vhost = port(&format!("{PINNED}type = \"vhost-user\"\nlisten = \"/run/vm1.sock\""));
    for memory in ["0", "", "-1", "512m", "1.5G", "G", "512M,share=off", "99999999999999999999", "+5M"] {
        let query = AttachQuery { memory: Some(memory.into()), ..AttachQuery::default() };
        let why = attach("vm1", &vhost, &query, &around(None)).unwrap_err();
        assert!(why.contains("is no size of a guest's memory"), "{memory}: {why}");
    }
    for memory in ["1", "2048M", "4G", "none"] {
        let query = AttachQuery { memory: Some(memory.into()), ..AttachQuery::default() };
        assert!(attach("vm1", &vhost, &query, &around(None)).is_ok(), "{memory}");
    }
    for queues in [0, 257, u32::MAX] {
        let query = AttachQuery { queues: Some(queues), ..AttachQuery::default() };
        assert!(attach("vm1", &vhost, &query, &around(None)).is_err(), "{queues}");
    }
    for version in ["", "9", "nine.two", "-1.2", ".2"] {
        let query = AttachQuery { qemu_version: Some(version.into()), ..AttachQuery::default() };
        assert!(attach("vm1", &vhost, &query, &around(None)).unwrap_err().contains("version"), "{version}");
    }
    let stream = port(&format!("{PINNED}type = \"stream\"\nlisten = \"/run/vm1.sock\""));
    let query = AttachQuery { queues: Some(2), ..AttachQuery::default() };
    assert!(attach("vm1", &stream, &query, &around(None)).unwrap_err().contains("one queue"));
    let query = AttachQuery { qemu_version: Some("7.1".into()), ..AttachQuery::default() };
    assert!(attach("vm1", &stream, &query, &around(None)).unwrap_err().contains("7.2 or later"));
    assert!(attach("vm1", &vhost, &query, &around(None)).is_ok());
}

#[test]
fn an_address_is_made_of_the_name_unless_exactly_one_is_pinned() {
    let mac_of =
        |name: &str, pin: &str| mac(name, &named(name, &format!("bridge = \"lan\"\n{pin}type = \"netdev\"")));
    let made = mac_of("vm1", "");
    assert_eq!(made, mac_of("vm1", ""));
    assert_ne!(made, mac_of("vm2", ""));
    assert_ne!(made, own_mac("vm1"), "a bridge of the same name has another");
    assert_eq!(made.octets()[0] & 3, 2, "locally administered, no group");
    assert_eq!(mac_of("vm1", "pin.mac = \"02:00:00:00:00:01, 02:00:00:00:00:02\"\n"), made);
    assert_eq!(mac_of("vm1", "pin.mac = \"02:00:00:00:00:02\"\n").to_string(), "02:00:00:00:00:02");
}

#[test]
fn what_qemu_calls_a_port_begins_with_a_letter() {
    assert_eq!((id("vm1"), id("1vm"), id("_x.-")), ("vm1".into(), "port1vm".into(), "port_x.-".into()));
}
