//! An interface that was named on the command line.

use std::str::FromStr;

use crate::port::netdev::NetdevOptions;
use crate::sys::netns::Netns;

/// `NAME`, or `NETNS:NAME` for one in another network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Interface {
    netns: Option<Netns>,
    name: String,
}

impl Interface {
    pub(super) fn options(&self) -> NetdevOptions {
        NetdevOptions::new(self.name.clone(), self.netns.clone())
    }
}

impl FromStr for Interface {
    type Err = String;

    fn from_str(text: &str) -> Result<Interface, String> {
        let (netns, name) = match text.split_once(':') {
            Some((netns, name)) => (Some(netns), name),
            None => (None, text),
        };
        if name.is_empty() || netns.is_some_and(str::is_empty) {
            return Err("an interface is NAME or NETNS:NAME".into());
        }
        Ok(Interface { netns: netns.map(Netns::new), name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_is_here_or_in_a_namespace() {
        let parse = |text: &str| text.parse::<Interface>().map(|interface| interface.options());
        assert_eq!(parse("eth0"), Ok(NetdevOptions::new("eth0", None)));
        assert_eq!(parse("blue:eth0"), Ok(NetdevOptions::new("eth0", Some(Netns::new("blue")))));
        for text in ["", ":eth0", "blue:"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
