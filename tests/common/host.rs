//! A host: a network namespace with a name that no other test has.

use std::fmt;
use std::fs;
use std::panic::resume_unwind;
use std::process::{self, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use super::{bounded, raw};

/// A number that no other call in this process gets.
pub(super) fn unique() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A network namespace; deleted, with all devices in it, when dropped. Prints as its name, for configurations.
pub(crate) struct Host(String);

impl Host {
    /// A namespace in which only loopback is up. IPv6 is off, so that nothing is sent that the test did not ask for.
    pub(crate) fn new(label: &str) -> Host {
        let host = Host::with_ipv6(label);
        for which in ["all", "default"] {
            let key = format!("/proc/sys/net/ipv6/conf/{which}/disable_ipv6");
            host.enter(|| fs::write(&key, "1")).unwrap_or_else(|error| panic!("{key}: {error}"));
        }
        host
    }

    /// The same with IPv6 on, as a kernel has it by default.
    pub(crate) fn with_ipv6(label: &str) -> Host {
        Host::named(&format!("ty{}-{}{label}", process::id(), unique()))
    }

    /// One of a name that [`Host::name`] gave, when that one is gone.
    pub(crate) fn named(name: &str) -> Host {
        let host = Host(name.to_owned());
        expect_success(bounded(10, "ip", &["netns", "add", &host.0]), "ip netns add");
        host.ip("link set dev lo up");
        host
    }

    /// The namespace's name.
    pub(crate) fn name(&self) -> &str {
        &self.0
    }

    /// Runs `f` on a thread inside this namespace. What it opens stays there, wherever it is used afterwards.
    pub(crate) fn enter<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                raw::enter_namespace(&self.0).unwrap_or_else(|error| panic!("entering {self}: {error}"));
                f()
            });
            inside.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Runs a program in this namespace, at most `seconds` long.
    pub(crate) fn run(&self, seconds: u32, program: &str, args: &[&str]) -> Output {
        self.enter(|| bounded(seconds, program, args))
    }

    /// `ip -n THIS …`, which must succeed; its standard output.
    pub(crate) fn ip(&self, arguments: &str) -> String {
        let output = self.try_ip(arguments);
        expect_success(output, &format!("ip -n {self} {arguments}"))
    }

    /// `ip -n THIS …`, which may fail.
    pub(crate) fn try_ip(&self, arguments: &str) -> Output {
        let args: Vec<_> = ["-n", &self.0].into_iter().chain(arguments.split_whitespace()).collect();
        bounded(10, "ip", &args)
    }

    /// Whether an interface of this name is here.
    pub(crate) fn has(&self, device: &str) -> bool {
        self.try_ip(&format!("link show dev {device}")).status.success()
    }

    /// The MAC address of an interface.
    pub(crate) fn mac(&self, device: &str) -> [u8; 6] {
        let text = self.ip(&format!("-o link show dev {device}"));
        let mac = text
            .split_whitespace()
            .skip_while(|word| *word != "link/ether")
            .nth(1)
            .expect("an Ethernet device");
        super::frames::mac(mac)
    }

    /// A veth pair: `device` here with `address`, `far_device` in `far` without any; both up.
    pub(crate) fn veth(&self, device: &str, address: &str, far: &Host, far_device: &str) {
        self.ip(&format!("link add name {device} type veth peer name {far_device} netns {far}"));
        if !address.is_empty() {
            self.ip(&format!("addr add {address} dev {device}"));
        }
        self.ip(&format!("link set dev {device} up"));
        far.ip(&format!("link set dev {far_device} up"));
    }

    /// Asserts that the kernel leaves checksums and TCP segmentation to the device, as it does by default.
    pub(crate) fn assert_offloads_on(&self, device: &str) {
        let text = expect_success(self.run(10, "ethtool", &["-k", device]), "ethtool -k");
        offloads_on(&text, device);
    }
}

/// Asserts that, in what `ethtool -k` says, checksums and TCP segmentation are left to the device.
pub(super) fn offloads_on(text: &str, device: &str) {
    for feature in ["tx-checksumming", "tcp-segmentation-offload", "generic-segmentation-offload"] {
        assert!(text.contains(&format!("\n{feature}: on")), "{feature} is off on {device}:\n{text}");
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let output = bounded(10, "ip", &["netns", "del", &self.0]);
        if !output.status.success() {
            eprintln!("ip netns del {self}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The standard output of a program that must have succeeded.
pub(super) fn expect_success(output: Output, what: &str) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {} {stderr}", output.status);
    String::from_utf8(output.stdout).expect("its output is text")
}
