//! The page, in a real browser: it shows what a switch with traffic does, asks nobody else for anything, and survives hostile
//! names, hundreds of ports, and the end of the switch.

mod common;

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde_json::json;

use common::browser::Browser;
use common::frames::{frame, station};
use common::traffic::{Stream, wait_for_ping};
use common::{Host, Station, Yard, as_root, tap, wait_until};

const PAGE: &str = "http://127.0.0.1:9477/";

/// Two networks, joined by a tunnel whose ends are both here, a router between them, a mirror, and a port that nobody uses.
struct Site {
    // It ends before the namespaces.
    yard: Yard,
    hosts: [Host; 3],
    yard_host: Host,
}

impl Site {
    fn start() -> Site {
        let hosts = [Host::new("a"), Host::new("b"), Host::new("c")];
        let port =
            |name: &str, host: &Host, keys: &str| tap(name, host, &format!("device = \"eth\"\n{keys}"));
        let config = [
            "[switch]\nmetrics = \"127.0.0.1:9477\"\n[bridge.home]\n[bridge.wan]\n[bridge.far]\n",
            &port("vm1", &hosts[0], "bridge = \"home\"\naddress = [\"10.9.1.2/24\"]"),
            &port("vm2", &hosts[2], "bridge = \"home\"\naddress = [\"10.9.1.3/24\"]"),
            &port("server", &hosts[1], "bridge = \"far\"\naddress = [\"10.9.2.2/24\"]"),
            &tap("spare", &hosts[2], "bridge = \"home\""),
            "[port.up]\ntype = \"patch\"\nbridge = \"home\"\npeer = \"down\"\n",
            "[port.down]\ntype = \"patch\"\nbridge = \"wan\"\npeer = \"up\"\n",
            "[port.spy]\ntype = \"tap\"\nmirror = true\n[mirror.watch]\nports = [\"vm1\"]\nto = \"spy\"\n",
            "[port.near]\ntype = \"vxlan\"\nbridge = \"wan\"\nvni = 7\nlocal = \"127.9.1.1\"\nremotes = [\"127.9.1.2\", \"127.9.1.9\"]\n",
            "[port.away]\ntype = \"vxlan\"\nbridge = \"far\"\nvni = 7\nlocal = \"127.9.1.2\"\nremotes = \"127.9.1.1\"\n",
            "[router.gw.interface.home]\nbridge = \"home\"\naddress = \"10.9.1.254/24\"\n",
            "[router.gw.interface.wan]\nbridge = \"wan\"\naddress = \"10.9.2.254/24\"\n",
            "[[router.gw.nat]]\ntype = \"masquerade\"\nout = \"wan\"\n",
        ]
        .concat();
        let yard_host = Host::new("yard");
        let yard = Yard::start_in(&yard_host, &config);
        hosts[0].ip("route add default via 10.9.1.254");
        hosts[2].ip("link set dev spare down");
        wait_for_ping(&hosts[0], "10.9.2.2");
        Site { yard, hosts, yard_host }
    }
}

/// Where a picture of the page is left, for a person to look at.
fn image(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("page-{name}.png"))
}

/// Asserts that nothing was complained of, and that nobody but the switch was asked for anything.
fn assert_content(browser: &Browser<'_>) {
    let complaints = browser.complaints();
    assert!(complaints.is_empty(), "{complaints:#?}");
    assert_alone(browser);
}

/// Asserts that nobody but the switch was asked for anything.
fn assert_alone(browser: &Browser<'_>) {
    let requests = browser.requests();
    assert!(requests.iter().any(|url| url == &format!("{PAGE}api/state")), "{requests:#?}");
    assert!(requests.iter().all(|url| url.starts_with(PAGE)), "{requests:#?}");
}

#[test]
fn the_page_shows_what_the_switch_does() {
    as_root(|| {
        let site = Site::start();
        let [a, b, c] = &site.hosts;
        let browser = Browser::open(&site.yard_host, 1400, 1300);
        browser.prefer("light");
        browser.go(PAGE);
        let stream = Stream::start(a, b, "10.9.2.2");

        let names: Vec<_> = site
            .yard
            .rows("port show")
            .iter()
            .map(|port| port["name"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(names.len(), 9);
        for name in &names {
            browser.wait(&format!("document.querySelector('.chip[data-port={name}]') !== null"));
        }
        let picture = "document.querySelector('#picture').textContent";
        for shown in ["router gw", "home: 10.9.1.254/24", "127.9.1.2", "127.9.1.9", "⇄ down", "» watch"] {
            browser.wait(&format!("{picture}.includes({})", json!(shown)));
        }
        for (kind, links) in [("router", 2), ("patch", 1), ("mirror", 1), ("ok", 2)] {
            browser.wait(&format!("document.querySelectorAll('.link.{kind}').length >= {links}"));
        }
        // A thousand datagrams a second come in by vm1.
        let label = "document.querySelector('.chip[data-port=vm1]').getAttribute('aria-label')";
        browser.wait(&format!("/^vm1 \\(tap, up\\): in \\d[\\d.]* [kM]bit/.test({label})"));
        browser.wait("document.querySelector('.chip[data-port=vm1] .area').getAttribute('d') !== ''");
        browser.wait("document.querySelector('.chip[data-port=spare] .small.warn').textContent === 'down'");
        browser.wait("document.querySelector('#tunnels table').innerText.includes('✓ up')");
        browser.wait("document.querySelectorAll('#workers tbody tr').length > 0");
        browser.wait("document.querySelector('#tables').innerText.includes('sessions of gw')");
        browser.wait("document.querySelector('#total').textContent.includes('frames/s')");

        // Drops come with what to do about them, at the port too.
        let spoofer = Station::open(c, "eth", "vm2");
        for _ in 0..3 {
            spoofer.send(&frame(station(9), [0x01, 0, 0, 0, 0, 1]));
        }
        let drops = "document.querySelector('#drops table').innerText";
        browser.wait(&format!("{drops}.includes('bad-source')"));
        browser.click(".chip[data-port=vm2]");
        browser.wait("document.querySelector('#details h2').textContent === 'vm2'");
        let details = "document.querySelector('#details').textContent";
        for shown in ["bad-source", "Look at: ", "MTU", "1500", "checksum"] {
            browser.wait(&format!("{details}.includes({})", json!(shown)));
        }
        let mac = common::frames::text(c.mac("eth"));
        assert!(!mac.is_empty());
        browser.wait(&format!("{details}.includes({})", json!(mac)));
        browser.screenshot(&image("details"));

        // The search is the switch's own.
        let server = common::frames::text(b.mac("eth"));
        browser.fill("#fdb-text", &server.to_uppercase());
        let found = "document.querySelector('#fdb table').innerText";
        browser.wait(&format!("{found}.includes({}) && {found}.includes('127.9.1.2')", json!(server)));
        browser.fill("#fdb-text", "no such station");
        browser.wait("document.querySelector('#fdb .more').textContent === 'no station'");

        browser.click("#talk");
        browser.wait("document.querySelector('#talkers table').innerText.includes('10.9.2.2:')");

        // The trace is the one of the command.
        browser.fill("#trace-port", "vm1");
        browser.fill("#trace-frame", "ip src 10.9.1.2 dst 10.9.2.2/udp dport 9");
        browser.click("#trace button");
        browser.wait("document.querySelector('#verdict')?.textContent.startsWith('✓ sent by ') === true");
        let walk = site.yard.ok("trace -j --in vm1 ip src 10.9.1.2 dst 10.9.2.2/udp dport 9");
        let walk: serde_json::Value = serde_json::from_str(&walk).expect("it is JSON");
        assert_eq!(browser.text("#verdict"), format!("✓ {}", walk["verdict"].as_str().unwrap()));
        let hops = browser.text("#walk ol");
        assert!(hops.contains("router gw") && hops.contains("out near"), "{hops}");
        browser.fill("#trace-port", "vm2");
        browser.fill("#trace-frame", "eth src 01:00:00:00:00:01");
        browser.click("#trace button");
        browser.wait("document.querySelector('#verdict').textContent.startsWith('✕ dropped at ')");
        assert!(browser.text("#verdict").contains("bad-source"));

        browser.run("location.hash = ''; scrollTo(0, 0)");
        browser.wait("document.querySelector('#details').hidden");
        for (scheme, width) in [("light", 1400), ("dark", 1400), ("light", 390), ("dark", 3840)] {
            browser.prefer(scheme);
            browser.resize(width, if width < 500 { 844 } else { 1100 });
            browser.wait("document.querySelectorAll('.chip').length === 9");
            browser.wait("document.documentElement.scrollWidth <= innerWidth");
            browser.screenshot(&image(&format!("{scheme}-{width}")));
        }
        assert_content(&browser);
        stream.assert_lossless();
    });
}

#[test]
fn names_are_text_whatever_is_in_them() {
    as_root(|| {
        let site = Site::start();
        let browser = Browser::open(&site.yard_host, 1200, 900);
        // No configuration takes such a name; the page is not to depend on that.
        let hostile = "\"><img src=x onerror=document.title='taken'><script>document.title='taken'</script>";
        let swap = format!(
            "const real = window.fetch;
             window.fetch = async (...what) => {{
               const answer = await real(...what), text = await answer.text();
               const swapped = text.replaceAll('\"vm1\"', JSON.stringify({0})).replaceAll('\"gw\"', JSON.stringify({0}))
                 .replaceAll('\"home\"', JSON.stringify({0})).replaceAll('127.9.1.9', JSON.stringify({0}).slice(1, -1));
               return new Response(swapped, {{ status: answer.status, headers: answer.headers }});
             }};",
            json!(hostile)
        );
        browser.before_each_page(&swap);
        browser.go(PAGE);
        let chip = format!(
            "[...document.querySelectorAll('.chip')].find((chip) => chip.dataset.port === {})",
            json!(hostile)
        );
        browser.wait(&format!("{chip} !== undefined"));
        browser.run(&format!("{chip}.dispatchEvent(new MouseEvent('click'))"));
        browser.wait(&format!("document.querySelector('#details h2')?.textContent === {}", json!(hostile)));
        browser.wait("document.querySelector('#tables').textContent.includes('<img')");
        browser.wait("document.querySelector('#tunnels').textContent.includes('<img')");

        // What is typed is told again where it is wrong.
        browser.fill("#filter", hostile);
        browser.fill("#trace-port", "<img src=x onerror=alert(1)>");
        browser.fill("#trace-frame", "<script>alert(1)</script>");
        browser.click("#trace button");
        browser.wait("document.querySelector('#verdict')?.textContent.includes('<img src=x') === true");
        browser.wait("document.querySelectorAll('.chip').length === 4");
        browser.fill("#filter", " ");
        browser.wait("document.querySelectorAll('.chip').length === 9");
        assert_alone(&browser);
        // The switch knows no port of that name, and says so.
        assert!(browser.complaints().iter().all(|complaint| complaint.contains("status of 400")));
        assert_eq!(browser.run("return document.querySelectorAll('img, body script, iframe').length"), 0);
        assert_eq!(browser.run("return document.title"), "Tapyard");
    });
}

#[test]
fn hundreds_of_ports_stay_usable() {
    as_root(|| {
        let host = Host::new("yard");
        let pair = |n: u32| {
            format!(
                "[port.left{n}]\ntype = \"patch\"\nbridge = \"lan\"\npeer = \"right{n}\"\n\
                 [port.right{n}]\ntype = \"patch\"\nbridge = \"wan\"\npeer = \"left{n}\"\n"
            )
        };
        let pairs: String = (1..=120).map(pair).collect();
        let taps: String =
            (1..=16).map(|n| format!("[port.guest{n}]\ntype = \"tap\"\nbridge = \"lan\"\n")).collect();
        let config =
            format!("[switch]\nmetrics = \"127.0.0.1:9477\"\n[bridge.lan]\n[bridge.wan]\n{pairs}{taps}");
        let _yard = Yard::start_in(&host, &config);
        let browser = Browser::open(&host, 1400, 1300);
        browser.go(PAGE);
        for (scheme, width) in [("light", 1400), ("dark", 390), ("dark", 3840)] {
            browser.prefer(scheme);
            browser.resize(width, if width < 500 { 844 } else { 1300 });
            browser.wait("document.querySelectorAll('.chip').length === 256");
            browser.wait("document.documentElement.scrollWidth <= innerWidth");
            browser.screenshot(&image(&format!("many-{scheme}-{width}")));
        }
        browser.resize(1400, 1300);
        browser.fill("#filter", "guest tap");
        browser.wait("document.querySelectorAll('.chip').length === 16");
        browser.wait("document.querySelector('#matches').textContent === '16 of 256 ports'");
        browser.click("#filter");
        browser.run("const box = document.querySelector('#filter'); box.value = ''; box.dispatchEvent(new Event('input'))");
        browser.wait("document.querySelectorAll('.chip').length === 256");
        browser.run("document.querySelector('.title').dispatchEvent(new MouseEvent('click'))");
        browser.wait("document.querySelectorAll('.chip').length === 120");
        assert_content(&browser);
    });
}

#[test]
fn who_does_not_look_asks_nothing_and_the_end_of_the_switch_is_said() {
    as_root(|| {
        let host = Host::new("yard");
        let mut yard = Yard::start_in(&host, "[switch]\nmetrics = \"127.0.0.1:9477\"\n[bridge.lan]\n");
        let browser = Browser::open(&host, 1000, 800);
        browser.go(PAGE);
        browser.wait("document.querySelector('#contact').textContent === '● live'");
        let hide = |hidden: bool| {
            browser.run(&format!(
                "Object.defineProperty(document, 'hidden', {{ configurable: true, get: () => {hidden} }});
                 document.dispatchEvent(new Event('visibilitychange'))"
            ));
        };
        hide(true);
        // What was on its way comes to its end.
        thread::sleep(Duration::from_millis(1500));
        browser.requests();
        thread::sleep(Duration::from_millis(3500));
        assert_eq!(browser.requests(), [""; 0]);
        hide(false);
        wait_until("the page to ask again", || !browser.requests().is_empty());
        assert_eq!(browser.complaints(), [""; 0]);

        assert!(yard.end(libc::SIGTERM).success());
        browser.wait("!document.querySelector('#gone').hidden");
        assert!(browser.text("#gone").starts_with("The switch does not answer"), "{}", browser.text("#gone"));
        yard.run();
        browser.wait("document.querySelector('#gone').hidden");
        browser.wait("document.querySelector('#contact').textContent === '● live'");
    });
}
