//! Ports that guests attach to by a socket, in the configuration.

use tapyard::control::config::Document;

fn document(text: &str) -> Document {
    Document::parse(text, "t.toml").unwrap_or_else(|errors| panic!("{errors}"))
}

fn errors(text: &str) -> Vec<String> {
    let errors = document(text).to_config().expect_err("it is wrong");
    errors.to_string().lines().map(str::to_owned).collect()
}

/// A bridge with ports of these keys, a line each.
fn ports(ports: &[&str]) -> String {
    let lines = (1..).zip(ports).map(|(n, keys)| format!("port.vm{n} = {{ bridge = \"lan\", {keys} }}\n"));
    format!("bridge.lan = {{}}\n{}", lines.collect::<String>())
}

#[test]
fn one_side_listens_and_the_other_connects() {
    for (keys, key, says) in [
        ("type = \"stream\"", "listen", "missing (expected `listen` or `connect`, the path of a socket)"),
        (
            "type = \"vhost-user\", listen = \"/a\", connect = \"/b\"",
            "connect",
            "one side listens, the other connects (expected `listen` or `connect`, not both)",
        ),
        (
            "type = \"stream\", connect = \"/a\", owner = 0",
            "owner",
            "is of who listens (expected `listen` beside it)",
        ),
        (
            "type = \"dgram\", listen = \"/a\", connect = \"/a\"",
            "connect",
            "is `listen` too (expected two sockets, one for each side)",
        ),
    ] {
        assert_eq!(errors(&ports(&[keys])), [format!("t.toml:2: port.vm1.{key}: {says}")], "{keys}");
    }
}

#[test]
fn a_port_that_would_be_anothers_guest_is_hardly_meant() {
    let warnings = |second: &str| -> Vec<String> {
        let document = document(&ports(&["type = \"stream\", listen = \"/run/vm.sock\"", second]));
        let config = document.to_config().unwrap_or_else(|errors| panic!("{errors}"));
        document.warnings(&config).iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        warnings("type = \"vhost-user\", connect = \"/run/vm.sock\""),
        [
            "t.toml:3: port.vm2.connect: warning: port vm1 listens there itself: the two join their bridges, as a patch does better"
        ]
    );
    assert_eq!(warnings("type = \"stream\", connect = \"/run/other.sock\""), [""; 0]);
}
