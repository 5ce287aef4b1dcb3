//! Metrics of the machine's interfaces: covered or not, and default routes.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::whole;
use crate::coverage::{Exit, InterfaceStatus, Uncovered};

/// A machine full of containers must not fill the monitoring: interfaces beyond it are in the sums only.
const NAMED: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Place {
    interface: String,
    by: String,
    why: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Why {
    why: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Guard {
    guard: &'static str,
}

pub fn tell(registry: &mut Registry, interfaces: &[InterfaceStatus]) {
    let covered = Family::<Place, Gauge>::default();
    for interface in interfaces.iter().take(NAMED) {
        let hooks: Vec<&str> = interface.hooks.iter().map(|hook| hook.label()).collect();
        let why = interface.uncovered.map_or("", Uncovered::label);
        let place = Place { interface: label(&interface.interface), by: hooks.join(" "), why };
        covered.get_or_create(&place).set(i64::from(!hooks.is_empty()));
    }
    let help = "1 where our program is on the interface, and which; 0 where none is, and why";
    registry.register("interface_covered", help, covered);

    // Every reason, so that an alert on one that is not there yet can be written.
    let sums = Family::<Why, Gauge>::default();
    for reason in Uncovered::ALL {
        let found = interfaces.iter().filter(|interface| interface.uncovered == Some(reason)).count();
        sums.get_or_create(&Why { why: reason.label() }).set(whole(found));
    }
    registry.register("interfaces_uncovered", "Interfaces without our programs by reason", sums);

    let exits = Family::<Guard, Gauge>::default();
    for (exit, guard) in [(Exit::Guarded, "present"), (Exit::Unguarded, "missing")] {
        let found = interfaces.iter().filter(|interface| interface.default_route == Some(exit)).count();
        exits.get_or_create(&Guard { guard }).set(whole(found));
    }
    registry.register("default_routes", "Interfaces that default routes leave through", exits);
}

/// The encoder escapes quotes and backslashes; the kernel lets a name hold control characters as well.
fn label(name: &str) -> String {
    let mut shown = String::new();
    for c in name.chars() {
        match c {
            '"' | '\'' | '\\' => shown.push(c),
            c => shown.extend(c.escape_debug()),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_has_no_control_characters() {
        assert_eq!(label("lan0"), "lan0");
        assert_eq!(label("a\"b\\\u{1b}"), "a\"b\\\\u{1b}");
    }
}
