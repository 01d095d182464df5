//! What a person reads whose port security is wrong, and what a right one comes to.

use tapyard::control::config::{Config, Document, GuardConfig};
use tapyard::wire::ethernet::Mac;

/// A port with these keys, the first of which is on line 5.
fn parse(keys: &str) -> Result<Config, String> {
    let text = format!("[bridge.lan]\n[port.vm1]\ntype = \"tap\"\nbridge = \"lan\"\n{keys}\n");
    let config = Document::parse(&text, "t.toml").and_then(|document| document.to_config());
    config.map_err(|errors| errors.to_string())
}

fn guard(keys: &str) -> GuardConfig {
    parse(keys).unwrap_or_else(|errors| panic!("{errors}")).ports["vm1"].guard.clone()
}

#[track_caller]
fn expect(keys: &str, expected: &[&str]) {
    let errors = parse(keys).expect_err(keys);
    assert_eq!(errors.lines().collect::<Vec<_>>(), expected, "in:\n{keys}");
}

#[test]
fn nothing_is_guarded_by_itself() {
    assert_eq!(guard(""), GuardConfig::default());
    assert_eq!(guard("pin = {}"), GuardConfig::default(), "as `port set vm1 pin.ip=` leaves it");
    assert!(!parse("").unwrap().bridges["lan"].neighbor_suppression);
}

#[test]
fn pins_are_one_or_a_list() {
    let mac = |last| Mac::new([2, 0, 0, 0, 0, last]);
    let ip = |text: &str, len| (text.parse().unwrap(), len);
    let one = guard("pin.mac = \"02:00:00:00:00:01\"\npin.ip = \"10.9.0.2\"");
    assert_eq!((one.mac, one.ip), (vec![mac(1)], vec![ip("10.9.0.2", 32)]));
    let some = guard(
        "pin = { mac = [\"02:00:00:00:00:01\", \"02-00-00-00-00-02\"], ip = [\"10.9.0.0/28\", \"fd00::2\", \"::/0\"] }",
    );
    assert_eq!(some.mac, [mac(1), mac(2)]);
    assert_eq!(some.ip, [ip("10.9.0.0", 28), ip("fd00::2", 128), ip("::", 0)]);
    let with_commas = guard("pin.ip = \"10.9.0.2, fd00::2\"");
    assert_eq!(with_commas.ip, [ip("10.9.0.2", 32), ip("fd00::2", 128)]);
    let guards = guard("dhcp-guard = true\nra-guard = true");
    assert_eq!(guards, GuardConfig { dhcp: true, router: true, ..GuardConfig::default() });
}

#[test]
fn wrong_macs() {
    const STATION: &str = "is no address of a station (expected \"02:00:00:00:00:01\")";
    expect(
        "pin.mac = \"02:00:00:00:00\"",
        &[
            "t.toml:5: port.vm1.pin.mac: \"02:00:00:00:00\" is no MAC address (expected \"02:00:00:00:00:01\")",
        ],
    );
    expect(
        "[port.vm1.pin]\nmac = [\n\"02:00:00:00:00:01\",\n\"01:00:5e:00:00:01\",\n]",
        &[&format!("t.toml:8: port.vm1.pin.mac[1]: \"01:00:5e:00:00:01\" {STATION}")],
    );
    expect(
        "pin.mac = []",
        &["t.toml:5: port.vm1.pin.mac: [] is no list of MAC addresses (expected 1 to 256 of them)"],
    );
}

#[test]
fn wrong_addresses() {
    const ADDRESS: &str =
        "is no IP address or network (expected \"10.9.0.2\", \"10.9.0.0/28\" or \"fd00::2\")";
    const HOST: &str = "is no address of a host (expected \"10.9.0.2\", \"10.9.0.0/28\" or \"fd00::2\")";
    for wrong in ["10.9.0", "10.9.0.2/33", "fd00::/129", "10.9.0.2/", "10.9.0.2/-1", "host", ""] {
        expect(
            &format!("pin.ip = \"{wrong}\""),
            &[&format!("t.toml:5: port.vm1.pin.ip: \"{wrong}\" {ADDRESS}")],
        );
    }
    for wrong in ["224.0.0.1", "ff02::1", "0.0.0.0", "::", "::/64", "::ffff:10.9.0.2"] {
        expect(
            &format!("pin.ip = \"{wrong}\""),
            &[&format!("t.toml:5: port.vm1.pin.ip: \"{wrong}\" {HOST}")],
        );
    }
    expect("pin.ip = 10", &[&format!("t.toml:5: port.vm1.pin.ip: 10 {ADDRESS}")]);
    expect(
        "pin.ip = [\"10.9.0.2\", \"10.9.0.2/24\"]",
        &[
            "t.toml:5: port.vm1.pin.ip[1]: \"10.9.0.2/24\" is no network (expected \"10.9.0.0/24\", or \"10.9.0.2\" alone)",
        ],
    );
    let many: Vec<String> = (0..257).map(|n| format!("\"10.9.{}.{}\"", n / 256, n % 256)).collect();
    let errors = parse(&format!("pin.ip = [{}]", many.join(","))).unwrap_err();
    assert!(errors.ends_with("is no list of IP addresses (expected 1 to 256 of them)"), "{errors}");
    assert_eq!(guard(&format!("pin.ip = [{}]", many[..256].join(","))).ip.len(), 256);
}

#[test]
fn wrong_keys() {
    expect(
        "pin = { macs = \"02:00:00:00:00:01\" }",
        &["t.toml:5: port.vm1.pin.macs: unknown key `macs` (did you mean `mac`?)"],
    );
    expect("pin = true", &["t.toml:5: port.vm1.pin: true is no table (expected KEY = VALUE pairs)"]);
    expect("dhcp-guard = 1", &["t.toml:5: port.vm1.dhcp-guard: 1 is no boolean (expected true or false)"]);
    expect(
        "ra-gaurd = true",
        &["t.toml:5: port.vm1.ra-gaurd: unknown key `ra-gaurd` (did you mean `ra-guard`?)"],
    );
    expect(
        "[bridge.b]\nneighbor-suppression = \"yes\"",
        &["t.toml:6: bridge.b.neighbor-suppression: \"yes\" is no boolean (expected true or false)"],
    );
    let tun =
        Document::parse("[port.t0]\ntype = \"tun\"\nra-guard = true\n", "t.toml").and_then(|d| d.to_config());
    assert_eq!(
        tun.unwrap_err().to_string().trim_end(),
        "t.toml:3: port.t0.ra-guard: `ra-guard` is no key of type tun (expected on tap, netdev, stream, dgram, vhost-user, patch, vxlan, geneve or gre only)"
    );
}
