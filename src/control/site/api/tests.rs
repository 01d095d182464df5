use super::*;
use crate::control::config::Document;
use crate::control::http::Pages;
use crate::control::site::Site;
use crate::control::yard::Yard;

const YARD: &str = "bridge.lan = {}
    bridge.wan = {}
    port.a = { type = \"patch\", bridge = \"lan\", peer = \"b\" }
    port.b = { type = \"patch\", bridge = \"wan\", peer = \"a\" }";

fn yard() -> (Yard, Site) {
    let yard = Yard::start(Document::parse(YARD, "t").unwrap(), None).unwrap();
    let site = Site::new(yard.view());
    (yard, site)
}

fn get(site: &Site, target: &str) -> (Status, Value) {
    let response = site.get(&Request::of(target));
    (response.status(), serde_json::from_slice(response.body()).unwrap())
}

#[test]
fn every_part_is_what_the_whole_has_of_it() {
    let (_yard, site) = yard();
    let (status, whole) = get(&site, "/api/state");
    assert_eq!(status, Status::OK);
    assert_eq!(whole.as_object().unwrap().len(), PARTS.len());
    for (name, _) in PARTS {
        assert_eq!(get(&site, &format!("/api/{name}")), (Status::OK, whole[name].clone()), "{name}");
    }
    assert_eq!(whole["ports"][0]["wire"], "b");
    assert_eq!(whole["version"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(get(&site, "/api/talkers"), (Status::OK, json!([])));
}

#[test]
fn a_search_is_what_the_query_says_within_bounds() {
    let (_yard, site) = yard();
    let (status, found) = get(&site, "/api/fdb");
    assert_eq!((status, &found["count"]), (Status::OK, &json!(2)), "the bridges' own");
    assert_eq!(get(&site, "/api/fdb?port=a&text=&limit=5").1["count"], 0);
    let (_, one) = get(&site, "/api/fdb?limit=1");
    assert_eq!((one["entries"].as_array().unwrap().len(), &one["count"]), (1, &json!(2)));
    for limit in ["1001", "-1", "x", "99999999999999999999"] {
        let (status, said) = get(&site, &format!("/api/fdb?limit={limit}"));
        assert_eq!(status, Status::BAD_REQUEST, "{limit}");
        assert_eq!(said, json!({ "error": "limit is no number from 0 to 1000" }));
    }
    let (status, said) = get(&site, "/api/fdb?port=%3Cimg%3E");
    assert_eq!(
        (status, said),
        (Status::BAD_REQUEST, json!({ "error": "there is no port <img> (port show lists them)" }))
    );
}

#[test]
fn a_trace_needs_a_port_and_a_frame() {
    let (_yard, site) = yard();
    for (query, why) in [
        ("", "port is missing (/api/trace?port=&frame=)"),
        ("?port=a&frame=", "frame is missing (/api/trace?port=&frame=)"),
        ("?port=a&frame=arp&remote=peer", "remote is no IP address"),
        ("?port=z&frame=arp", "there is no port z (port show lists them)"),
    ] {
        let refused = (Status::BAD_REQUEST, json!({ "error": why }));
        assert_eq!(get(&site, &format!("/api/trace{query}")), refused, "{query}");
    }
    let (status, walk) = get(&site, "/api/trace?port=a&frame=ip+dst+10.9.0.2/icmp");
    assert_eq!((status, &walk["port"]), (Status::OK, &json!("a")), "{walk}");
    assert!(!walk["verdict"].as_str().unwrap().is_empty());
}

#[test]
fn all_who_ask_together_are_answered_so_often_and_no_more() {
    let (mut pace, began) = (Pace::default(), Instant::now());
    let later = |millis| began + Duration::from_millis(millis);
    assert!((0..ASKED).all(|n| pace.take(later(u64::from(n)))));
    assert!(!pace.take(later(999)));
    assert!(pace.take(later(1000)));

    let slow = || Ok(Value::Null);
    let pace = Mutex::default();
    let refused = (0..=ASKED).filter(|_| paced(&pace, slow).is_err()).count();
    assert!(refused <= 1);
    let full = Mutex::new(Pace { second: Some(Instant::now() + Duration::from_secs(60)), asked: ASKED });
    assert_eq!(paced(&full, slow).unwrap_err().0, Status::TOO_MANY_REQUESTS);
}

#[test]
fn a_snapshot_is_shared_while_it_is_fresh_and_lives_the_longer_the_more_it_took() {
    let (yard, _site) = yard();
    let (memory, view) = (Memory::default(), yard.view());
    let first = memory.snapshot(&PARTS, &view).unwrap();
    *lock(&memory.0) = Some((Instant::now() + Duration::from_secs(60), first.clone()));
    assert!(Arc::ptr_eq(&first.whole, &memory.snapshot(&PARTS, &view).unwrap().whole));
    *lock(&memory.0) = Some((Instant::now(), first.clone()));
    let before = Instant::now();
    assert!(!Arc::ptr_eq(&first.whole, &memory.snapshot(&PARTS, &view).unwrap().whole));
    let until = lock(&memory.0).as_ref().unwrap().0;
    assert!(until >= before + FRESH);
}

#[test]
fn what_is_not_there_is_said_in_json() {
    let (yard, site) = yard();
    assert_eq!(get(&site, "/api/config"), (Status::NOT_FOUND, json!({ "error": "there is no /api/config" })));
    drop(yard);
    let ended = (Status::UNAVAILABLE, json!({ "error": "the switch ends" }));
    assert_eq!(get(&site, "/api/talkers"), ended);
    assert_eq!(get(&site, "/api/state"), ended);
}

#[test]
fn the_page_is_small_and_has_nothing_inline_and_nothing_from_elsewhere() {
    let (_yard, site) = yard();
    let mut bytes = 0;
    for path in ["/", "/page.css", "/page.js", "/picture.js", "/icon.svg"] {
        let response = site.get(&Request::of(path));
        assert_eq!(response.status(), Status::OK);
        let text = str::from_utf8(response.body()).unwrap();
        bytes += text.len();
        let text = text.replace("http://www.w3.org/2000/svg", "");
        for bad in ["://", "innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", " style=", " onclick="] {
            assert!(!text.contains(bad), "{path} has {bad}");
        }
    }
    assert!(bytes < 60_000, "{bytes}");
}
