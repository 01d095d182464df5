//! A switch with a silent interface on each port: exact frames in, exact frames out.

use std::cell::Cell;
use std::time::Duration;

use super::frames::show;
use super::raw::PacketSocket;
use super::{Host, PATIENCE, Yard, tap, wait_until};

/// A packet socket on the far end of a port: sends frames into the switch, and receives what the switch sends.
pub(crate) struct Station {
    port: String,
    socket: PacketSocket,
    sent: Cell<u64>,
}

impl Station {
    /// Opens one on `device` of `host`, which is the far end of `port`.
    pub(crate) fn open(host: &Host, device: &str, port: &str) -> Station {
        let socket = host.enter(|| PacketSocket::open(device));
        let socket = socket.unwrap_or_else(|error| panic!("a packet socket on {device} of {host}: {error}"));
        Station { port: port.to_owned(), socket, sent: Cell::new(0) }
    }

    /// Sends one frame into the switch.
    pub(crate) fn send(&self, frame: &[u8]) {
        self.socket
            .send(frame)
            .unwrap_or_else(|error| panic!("sending into {}: {error}: {}", self.port, show(frame)));
        self.sent.set(self.sent.get() + 1);
    }

    /// Sends one frame as [`Station::send`], but lets the device refuse it (ENOBUFS: its queue is full).
    pub(crate) fn try_send(&self, frame: &[u8]) -> bool {
        let taken = self.socket.send(frame).is_ok();
        self.sent.set(self.sent.get() + u64::from(taken));
        taken
    }

    /// The next frame; panics when none comes.
    pub(crate) fn receive(&self) -> Vec<u8> {
        let frame = self.socket.receive(PATIENCE).expect("the interface is there");
        frame.unwrap_or_else(|| panic!("nothing arrived behind port {}", self.port))
    }

    /// All that has arrived and was not received yet.
    pub(crate) fn drain(&self) -> Vec<Vec<u8>> {
        // A frame that the switch has written is at the socket as soon as the kernel's softirq ran.
        let grace = Duration::from_millis(20);
        std::iter::from_fn(|| self.socket.receive(grace).expect("the interface is there")).collect()
    }

    /// How many frames were sent.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.get()
    }
}

/// A switch whose ports end in one namespace each (`ports` names them), without addresses, so that only tests speak.
pub(crate) struct Lan {
    pub(crate) yard: Yard,
    stations: Vec<Station>,
    /// Dropped last: a namespace takes its devices along.
    hosts: Vec<Host>,
}

impl Lan {
    /// Starts a switch with TAP ports, or with `netdev` ports on veths where the keys say so: each a name and the keys of
    /// its table. `rest` is the rest of the configuration (the bridge `lan` is there by itself when `rest` has none).
    pub(crate) fn start(rest: &str, ports: &[(&str, &str)]) -> Lan {
        let yard = Host::new("yard");
        let mut hosts: Vec<_> = ports.iter().map(|(name, _)| Host::new(name)).collect();
        let mut config = format!("{}{rest}\n", if rest.contains("[bridge.") { "" } else { "[bridge.lan]\n" });
        for ((name, keys), host) in ports.iter().zip(&hosts) {
            if keys.contains("type = \"netdev\"") {
                host.veth(name, "", &yard, name);
                config += &format!("[port.{name}]\nbridge = \"lan\"\n{keys}\n");
            } else {
                config += &tap(name, host, keys);
            }
        }
        let stations = |(host, (name, _)): (&Host, &(&str, &str))| Station::open(host, name, name);
        let switch = Yard::start_in(&yard, &config);
        let stations = hosts.iter().zip(ports).map(stations).collect();
        hosts.push(yard);
        Lan { yard: switch, stations, hosts }
    }

    /// The station behind `port`.
    pub(crate) fn at(&self, port: &str) -> &Station {
        self.stations.iter().find(|station| station.port == port).unwrap_or_else(|| panic!("no port {port}"))
    }

    /// The namespace behind `port`.
    pub(crate) fn host(&self, port: &str) -> &Host {
        let index = self.stations.iter().position(|station| station.port == port);
        &self.hosts[index.unwrap_or_else(|| panic!("no port {port}"))]
    }

    /// The namespace that the switch runs in.
    pub(crate) fn switch_host(&self) -> &Host {
        self.hosts.last().expect("it was put there")
    }

    /// Waits until the switch has received all that the stations sent.
    pub(crate) fn settle(&self) {
        wait_until("the switch to receive what was sent", || {
            let rows = self.yard.rows("port show");
            self.stations.iter().all(|station| {
                let row = rows.iter().find(|row| row["name"] == station.port.as_str());
                row.is_none_or(|row| row["rx_frames"].as_u64() >= Some(station.sent()))
            })
        });
    }

    /// Sends `frame` into `from` and asserts that exactly `expected` comes out: (port, frame) each, and nothing anywhere
    /// else.
    pub(crate) fn check(&self, from: &str, frame: &[u8], expected: &[(&str, &[u8])]) {
        self.at(from).send(frame);
        for (port, wanted) in expected {
            let got = self.at(port).receive();
            assert_eq!(
                got,
                *wanted,
                "{}\nsent into {from} came out of {port} as\n{}",
                show(frame),
                show(&got)
            );
        }
        self.settle();
        for station in &self.stations {
            let stray: Vec<_> = station.drain().iter().map(|frame| show(frame)).collect();
            assert!(
                stray.is_empty(),
                "{}\nsent into {from} also came out of {}: {stray:#?}",
                show(frame),
                station.port
            );
        }
    }

    /// [`Lan::check`] for a frame that comes out of `to` unchanged.
    pub(crate) fn check_flood(&self, from: &str, frame: &[u8], to: &[&str]) {
        let expected: Vec<_> = to.iter().map(|port| (*port, frame)).collect();
        self.check(from, frame, &expected);
    }

    /// Asserts that `frame` sent into `from` comes out nowhere and is counted there once more as dropped for `reason`.
    pub(crate) fn check_drop(&self, from: &str, frame: &[u8], reason: &str) {
        let before = self.yard.drops(from, reason);
        self.check(from, frame, &[]);
        wait_until(&format!("a drop of {reason} on {from}: {}", show(frame)), || {
            self.yard.drops(from, reason) == before + 1
        });
    }

    /// Makes `mac` known behind `port`, then forgets what the others received.
    pub(crate) fn teach(&self, port: &str, mac: [u8; 6]) {
        self.at(port).send(&super::frames::frame(super::frames::BROADCAST, mac));
        self.yard.wait_until_learned(mac, port);
        self.settle();
        for station in &self.stations {
            station.drain();
        }
    }
}
