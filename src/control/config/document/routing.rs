//! Edits of routers and rules.
//!
//! Where a router may be left out, it is the only one that there is. Rules and translations are numbered from 1, in the
//! order of the file.

use std::net::IpAddr;

use super::{Document, Edits, Item, Node, Table, edit};
use crate::control::config::{Prefix, StaticNeighbor, rule};

impl Document {
    /// Adds a router. Errors when there is one of this name.
    pub fn router_add(&mut self, name: &str, keys: &Edits) -> Result<(), String> {
        let routers = tables(&mut self.root, "router")?;
        add(routers, name, keys, "router")
    }

    /// Changes keys of a router; dots reach into its tables. Errors when there is none of this name.
    pub fn router_set(&mut self, router: Option<&str>, keys: &Edits) -> Result<(), String> {
        edit(self.router(router)?, keys)
    }

    /// Removes a router and its rules. Errors when there is none of this name.
    pub fn router_del(&mut self, name: &str) -> Result<(), String> {
        self.router(Some(name))?;
        tables(&mut self.root, "router")?.remove(name);
        self.array("rule")?.retain(|rule| rule.string("router") != Some(name));
        Ok(())
    }

    /// Adds an interface to a router. Errors when it has one of this name.
    pub fn interface_add(&mut self, router: Option<&str>, name: &str, keys: &Edits) -> Result<(), String> {
        add(tables(self.router(router)?, "interface")?, name, keys, "interface")
    }

    /// Changes keys of a router's interface. Errors when it has none of this name.
    pub fn interface_set(&mut self, router: Option<&str>, name: &str, keys: &Edits) -> Result<(), String> {
        match tables(self.router(router)?, "interface")?.get_mut(name).map(|interface| &mut interface.node) {
            Some(Node::Table(interface)) => edit(interface, keys),
            _ => Err(format!("there is no interface {name}")),
        }
    }

    /// Removes an interface from a router. Errors when it has none of this name.
    pub fn interface_del(&mut self, router: Option<&str>, name: &str) -> Result<(), String> {
        let removed = tables(self.router(router)?, "interface")?.remove(name);
        removed.map(|_| ()).ok_or_else(|| format!("there is no interface {name}"))
    }

    /// Adds a route to a router.
    pub fn route_add(&mut self, router: Option<&str>, keys: &Edits) -> Result<(), String> {
        push(array(self.router(router)?, "route")?, keys, None, "route")
    }

    /// Removes the routes of a router to the network `to`, or "default"; with `via`, only this next hop of them, and with
    /// `metric`, only those that have it. Errors when there is none, or the document is no valid configuration.
    pub fn route_del(
        &mut self,
        router: Option<&str>,
        to: &str,
        via: Option<IpAddr>,
        metric: Option<u32>,
    ) -> Result<(), String> {
        let network = match to {
            "default" => None,
            to => Some(to.parse::<Prefix>()?),
        };
        let name = self.router_name(router)?;
        // The typed routes, in the same order, know what the text may write in several ways.
        let config = self.to_config().map_err(|errors| errors.to_string())?;
        let mut typed = config.routers.get(&name).into_iter().flat_map(|router| &router.routes);
        let routes = array(self.router(Some(&name))?, "route")?;
        let mut removed = false;
        routes.retain_mut(|item| {
            let Some(route) = typed.next() else { return true };
            let named = network.map_or(route.to.length == 0, |network| route.to == network)
                && metric.is_none_or(|metric| route.metric == metric)
                && via.is_none_or(|via| route.via.contains(&via));
            removed |= named;
            let left: Vec<_> = route.via.iter().filter(|hop| via.is_some_and(|via| via != **hop)).collect();
            if named
                && !left.is_empty()
                && let Node::Table(table) = &mut item.node
            {
                let hops = left.iter().map(|hop| hop.to_string().into()).collect();
                table.insert("via".into(), Item::leaf(toml::Value::Array(hops)));
                return true;
            }
            !named
        });
        match removed {
            true => Ok(()),
            false => Err(format!("there is no such static route to {to} (route show lists them)")),
        }
    }

    /// Adds a translation to a router, as number `at`, or as the last one.
    pub fn nat_add(&mut self, router: Option<&str>, keys: &Edits, at: Option<usize>) -> Result<(), String> {
        push(array(self.router(router)?, "nat")?, keys, at, "nat")
    }

    /// Removes the translation `number` of a router. Errors when there is none.
    pub fn nat_del(&mut self, router: Option<&str>, number: usize) -> Result<(), String> {
        take(array(self.router(router)?, "nat")?, number, "nat").map(|_| ())
    }

    /// Adds a static neighbour to a router.
    pub fn neighbor_add(&mut self, router: Option<&str>, keys: &Edits) -> Result<(), String> {
        push(array(self.router(router)?, "neighbor")?, keys, None, "neighbor")
    }

    /// Removes the static neighbours of a router with this address, at all interfaces unless told which. Errors when there
    /// is none, or the document is no valid configuration.
    pub fn neighbor_del(
        &mut self,
        router: Option<&str>,
        interface: Option<&str>,
        address: IpAddr,
    ) -> Result<(), String> {
        let name = self.router_name(router)?;
        let config = self.to_config().map_err(|errors| errors.to_string())?;
        let mut typed = config.routers.get(&name).into_iter().flat_map(|router| &router.neighbors);
        let neighbors = array(self.router(Some(&name))?, "neighbor")?;
        let before = neighbors.len();
        neighbors.retain(|_| {
            let is = |neighbor: &StaticNeighbor| {
                neighbor.address == address && interface.is_none_or(|name| neighbor.interface == name)
            };
            !typed.next().is_some_and(is)
        });
        match neighbors.len() < before {
            true => Ok(()),
            false => Err(format!("there is no such static neighbour {address} (neighbor show lists them)")),
        }
    }

    /// Adds a rule, as number `at`, or as the last one. The keys of `match` may stand beside the others. A rule that names
    /// neither router nor bridge is of the only router.
    pub fn rule_add(&mut self, keys: &Edits, at: Option<usize>) -> Result<(), String> {
        let inside = |key: &String| match rule::read::MATCH_KEYS.contains(&key.as_str()) {
            true => format!("match.{key}"),
            false => key.clone(),
        };
        let mut keys: Edits = keys.iter().map(|(key, value)| (inside(key), value.clone())).collect();
        if !keys.contains_key("router") && !keys.contains_key("bridge") {
            keys.insert("router".into(), Some(self.router_name(None)?.into()));
        }
        push(self.array("rule")?, &keys, at, "rule")
    }

    /// Removes the rule `number`. Errors when there is none.
    pub fn rule_del(&mut self, number: usize) -> Result<(), String> {
        take(self.array("rule")?, number, "rule").map(|_| ())
    }

    /// Makes the rule `from` the rule `to`; those between move up or down. Errors when there is no such number.
    pub fn rule_move(&mut self, from: usize, to: usize) -> Result<(), String> {
        let rules = self.array("rule")?;
        if !(1..=rules.len()).contains(&to) {
            return Err(no_number("rule", to, rules.len()));
        }
        let rule = take(rules, from, "rule")?;
        rules.insert(to - 1, rule);
        Ok(())
    }

    /// The name of the router that is meant.
    fn router_name(&self, name: Option<&str>) -> Result<String, String> {
        let names: Vec<&String> = match self.root.get("router").map(|item| &item.node) {
            Some(Node::Table(routers)) => routers.keys().collect(),
            _ => Vec::new(),
        };
        match (name, &names[..]) {
            (Some(name), names) if names.iter().any(|known| *known == name) => Ok(name.to_owned()),
            (Some(name), _) => Err(format!("there is no router {name}")),
            (None, [only]) => Ok((*only).clone()),
            (None, []) => Err("there is no router (router add makes one)".into()),
            (None, [first, ..]) => {
                Err(format!("there are {} routers (expected the name of one, such as {first})", names.len()))
            }
        }
    }

    fn router(&mut self, name: Option<&str>) -> Result<&mut Table, String> {
        let name = self.router_name(name)?;
        match tables(&mut self.root, "router")?.get_mut(&name).map(|router| &mut router.node) {
            Some(Node::Table(router)) => Ok(router),
            _ => Err(format!("there is no router {name}")),
        }
    }
}

/// The tables under `key`, which is made when it is not there.
pub(super) fn tables<'t>(table: &'t mut Table, key: &str) -> Result<&'t mut Table, String> {
    let item = table.entry(key.into()).or_insert(Item { line: None, node: Node::Table(Table::new()) });
    match &mut item.node {
        Node::Table(tables) => Ok(tables),
        _ => Err(format!("`{key}` is no table")),
    }
}

/// The array of tables under `key`, which is made when it is not there.
pub(super) fn array<'t>(table: &'t mut Table, key: &str) -> Result<&'t mut Vec<Item>, String> {
    let item = table.entry(key.into()).or_insert(Item { line: None, node: Node::Array(Vec::new()) });
    match &mut item.node {
        Node::Array(items) => Ok(items),
        _ => Err(format!("`{key}` is no array of tables")),
    }
}

/// Adds a table of this name. Errors when there is one.
pub(super) fn add(tables: &mut Table, name: &str, keys: &Edits, what: &str) -> Result<(), String> {
    if tables.contains_key(name) {
        return Err(format!("{what} {name} exists already"));
    }
    let mut table = Table::new();
    edit(&mut table, keys)?;
    tables.insert(name.to_owned(), Item { line: None, node: Node::Table(table) });
    Ok(())
}

/// Puts a table with these keys into an array, as number `at`, or as the last one.
fn push(items: &mut Vec<Item>, keys: &Edits, at: Option<usize>, what: &str) -> Result<(), String> {
    let mut table = Table::new();
    edit(&mut table, keys)?;
    let place = at.unwrap_or(items.len() + 1);
    if !(1..=items.len() + 1).contains(&place) {
        return Err(format!("no {what} can be number {place} (expected 1 to {})", items.len() + 1));
    }
    items.insert(place - 1, Item { line: None, node: Node::Table(table) });
    Ok(())
}

fn take(items: &mut Vec<Item>, number: usize, what: &str) -> Result<Item, String> {
    match (1..=items.len()).contains(&number) {
        true => Ok(items.remove(number - 1)),
        false => Err(no_number(what, number, items.len())),
    }
}

fn no_number(what: &str, number: usize, count: usize) -> String {
    match count {
        0 => format!("there is no {what} {number}: there is none"),
        count => format!("there is no {what} {number} (expected 1 to {count})"),
    }
}
