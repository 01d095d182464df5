//! docs/routing.md, as a reader pastes it. What the page says of the result is asked beside.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use common::overlay::dropped;
use common::page::Reader;
use common::traffic::{ping, ping_in_vain, tcp};
use common::{Yard, as_root, number, wait_for};

const PAGE: &str = include_str!("../docs/routing.md");

/// Whether `from` gets an answer of the service of `server` that the page makes known outside, by the address outside.
fn is_served(reader: &Reader, from: &str) -> bool {
    let listener =
        reader.host("server").enter(|| TcpListener::bind("10.2.0.2:80")).expect("the page has this address");
    listener.set_nonblocking(true).expect("a socket can be");
    let server = thread::spawn(move || {
        for _ in 0..40 {
            match listener.accept() {
                Ok((mut stream, peer)) => {
                    stream.write_all(b"served").expect("the client listens");
                    return Some(peer.ip());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    thread::sleep(Duration::from_millis(50))
                }
                Err(error) => panic!("accept: {error}"),
            }
        }
        None
    });
    let outside = "10.7.0.2:8080".parse().expect("an address");
    let said = reader.host(from).enter(|| {
        let mut stream = TcpStream::connect_timeout(&outside, Duration::from_secs(1))?;
        let mut said = String::new();
        stream.read_to_string(&mut said).map(|_| said)
    });
    let peer = server.join().expect("the server does not panic");
    // Who is on the server's own network looks like one from outside, or the answer would not come back this way.
    if from == "server" && peer.is_some() {
        assert_eq!(peer.map(|peer| peer.to_string()), Some("10.7.0.2".into()));
    }
    said.is_ok_and(|said| said == "served")
}

/// The row of a rule, by its number.
fn rule(yard: &Yard, number: usize) -> serde_json::Value {
    yard.rows("rule show").into_iter().nth(number - 1).unwrap_or_else(|| panic!("there is no rule {number}"))
}

#[test]
fn a_router_from_two_bridges_to_rules() {
    as_root(|| {
        let mut reader = Reader::of(PAGE);
        reader.paste("Three hosts on one machine", |_| panic!("nothing runs yet"));
        reader.paste("A router between two bridges", |_| panic!("it goes on"));
        let hosts = [("office", ["10.1.0.2", "fd00:1::2"]), ("server", ["10.2.0.2", "fd00:2::2"])];
        for [(from, _), (to, addresses)] in [hosts, [hosts[1], hosts[0]]] {
            for address in addresses {
                ping(reader.host(from), address, 4000, 2);
                tcp(reader.host(from), reader.host(to), address, 4 << 20);
            }
        }
        let explained = reader.switch("site").ok("route get 10.2.0.2 --from 10.1.0.2");
        for said in ["at router gw: forward", "10.2.0.2 is in 10.2.0.0/24, on interface dmz", "leaves by lan"]
        {
            assert!(explained.contains(said) && PAGE.contains(said), "{said}: {explained}");
        }

        reader.paste("An uplink, masquerade and a port forward", |_| panic!("it goes on"));
        for from in ["site", "office", "server"] {
            assert!(is_served(&reader, from), "{from}");
        }
        let sessions: Vec<_> = reader
            .switch("site")
            .rows("nat show --rules")
            .iter()
            .map(|row| number(row, "sessions"))
            .collect();
        assert_eq!(sessions, [1, 3], "as the page shows");

        let mut looked = false;
        reader.paste("Rules", |reader| {
            let yard = reader.switch("site");
            assert!(is_served(reader, "site"));
            assert!(!is_served(reader, "server"), "no rule accepts what server opens");
            ping_in_vain(reader.host("server"), "10.1.0.2", 1);
            assert!(dropped(yard, "filtered") >= 2);
            assert!(number(&rule(yard, 1), "frames") > 0 && number(&rule(yard, 3), "frames") == 1);
            // Neighbour discovery of the router alone has not been forgotten.
            wait_for("the router to answer", || {
                let output = reader.host("office").run(5, "ping", &["-c", "1", "-W", "1", "fd00:1::1"]);
                output.status.success().then_some(())
            });
            ping(reader.host("office"), "fd00:2::2", 100, 2);
            yard.ok("rule move 3 1");
            yard.ok("rule del 3");
            assert_eq!(rule(yard, 1)["match"], "in wan out dmz protocol tcp destination-port 80");
            looked = true;
        });
        assert!(looked && reader.has_cleaned_up());
    });
}

/// The commands in the last column of the page's table of what is done by which command elsewhere.
fn comparisons() -> Vec<&'static str> {
    let rows = PAGE.lines().skip_while(|line| !line.starts_with("| task |")).skip(2);
    let cells = rows.map_while(|line| line.strip_suffix(" |")?.rsplit_once(" | ")).map(|(_, here)| here);
    let commands = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    commands.filter_map(|command| command.strip_prefix("tapyard ")).collect()
}

#[test]
fn what_is_compared_with_other_tools_are_commands() {
    as_root(|| {
        let yard = Yard::start(
            "[bridge.lan]\n[bridge.outside]\n\
             [router.gw.interface.lan]\nbridge = \"lan\"\naddress = \"10.9.0.1/24\"\n\
             [router.gw.interface.wan]\nbridge = \"outside\"\naddress = \"10.7.0.2/24\"\n",
        );
        let commands = comparisons();
        assert!(commands.len() >= 15, "{commands:?}");
        // With a second router the others would have to say which.
        let (last, others): (Vec<_>, Vec<_>) =
            commands.into_iter().partition(|line| *line == "router add lab");
        for line in others.into_iter().chain(last) {
            // A next hop that stands for any, and the rest of a rule.
            let line = line.replace("--via A --via B", "--via 10.7.0.1 --via 10.7.0.3 --metric 5");
            yard.ok(&line.replace('…', "action=drop"));
        }
    });
}
