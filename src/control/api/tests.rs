//! What requests look like on the wire.

use super::*;

fn read(text: &str) -> Result<Request, String> {
    serde_json::from_str(text).map_err(|e| e.to_string())
}

#[test]
fn requests_read_as_documented() {
    let keys = [("vlan".into(), Some(toml::Value::Integer(20))), ("isolated".into(), None)].into();
    let text = r#"{"request":"port-set","name":"vm1","keys":{"vlan":20,"isolated":null}}"#;
    assert_eq!(read(text), Ok(Request::PortSet { name: "vm1".into(), keys }));
    assert_eq!(read(r#"{"request":"stats"}"#), Ok(Request::Stats {}));
    assert_eq!(read(r#"{"request":"fdb-flush"}"#), Ok(Request::FdbFlush(FdbFilter::default())));
    let filter = FdbFilter { vlan: Some(10), ..FdbFilter::default() };
    assert_eq!(read(r#"{"request":"fdb-show","vlan":10}"#), Ok(Request::FdbShow(filter)));
    let search = FdbSearch { text: Some("02:00".into()), limit: Some(5), ..FdbSearch::default() };
    assert_eq!(read(r#"{"request":"fdb-find","text":"02:00","limit":5}"#), Ok(Request::FdbFind(search)));
}

#[test]
fn what_is_written_reads_the_same() {
    let nested = parse(r#"{"storm":{"broadcast":5},"trunk":[1,"2-3"],"mtu":null}"#);
    for request in [
        Request::PortShow { name: None },
        Request::PortAdd { name: "vm1".into(), keys: nested },
        Request::FdbDel { bridge: Some("lan".into()), mac: Mac::new([2, 0, 0, 0, 0, 1]), vlan: Some(1) },
        Request::RouteDel {
            router: None,
            to: "default".into(),
            via: "fd00::1".parse().ok(),
            metric: Some(5),
        },
        Request::RouteGet { router: Some("gw".into()), address: [192, 0, 2, 1].into(), from: None },
        Request::NeighborFlush(NeighborFilter { interface: Some("lan".into()), ..NeighborFilter::default() }),
        Request::NatShow(NatFilter {
            source: "10.0.0.0/8".parse().ok(),
            port: Some(80),
            ..NatFilter::default()
        }),
        Request::RuleAdd { keys: parse(r#"{"action":"drop","state":["new"]}"#), at: Some(1) },
        Request::RuleMove { from: 3, to: 1 },
    ] {
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(read(&text), Ok(request), "{text}");
    }
}

fn parse(text: &str) -> Edits {
    serde_json::from_str(text).unwrap()
}

#[test]
fn what_is_no_request_is_refused_with_what_was_expected() {
    for (text, part) in [
        (r#"{"request":"prot-show"}"#, "unknown variant `prot-show`"),
        (r#"{"request":"port-show","nam":"x"}"#, "unknown field `nam`"),
        (r#"{"request":"fdb-show","color":1}"#, "unknown field `color`"),
        (r#"{"request":"stats","x":1}"#, "unknown field `x`"),
        (r#"{"request":"fdb-add","mac":"02:0:0:0:0","port":"a"}"#, "is no MAC address"),
        (r#"{"request":"fdb-flush","vlan":70000}"#, "70000"),
        (r#"{"request":"nat-show","sauce":"10.0.0.0/8"}"#, "unknown field `sauce`"),
        (r#"{"request":"nat-flush","source":"10.0.0.1/8"}"#, "is no network (expected "),
        (r#"{"request":"rule-del","number":-1}"#, "-1"),
        (r#"{"name":"x"}"#, "missing field `request`"),
        ("[1]", "invalid"),
        ("", "EOF"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
}
