//! What the reload tests share: a short policy, the same with a list as long as one likes, and how sizes are asked for.

use std::fmt::Write as _;

pub const POLICY: &str = r#"version: 1
name: first
interfaces: { inside: ["lan*"], outside: [wan0] }
networks: { clients: [10.25.0.0/24, "fd25::/64"], internal: [10.0.0.0/8, "fd00::/8"] }
mode: enforce
mail_servers:
  - { name: mx1, address: [10.25.0.25, "fd25::25"] }
end: true
"#;

/// A number of the environment, or the usual one.
pub fn number(variable: &str, usual: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// A policy of so many list entries: a client each, in the fewest bytes.
pub fn large(entries: usize) -> String {
    let mut text = POLICY.replace("name: first", "name: large").replace("end: true\n", "");
    text = text.replace(
        "networks: { clients: [10.25.0.0/24, \"fd25::/64\"], internal: [10.0.0.0/8, \"fd00::/8\"] }",
        "networks:\n  internal: [10.0.0.0/8]\n  clients:\n  - 10.25.0.0/24\nCLIENTS",
    );
    let mut clients = String::new();
    for entry in 0..entries.saturating_sub(20) {
        // Writing to a String can't fail.
        let _ = writeln!(clients, "  - 10.{}.{}.{}", entry >> 16, entry >> 8 & 255, entry & 255);
    }
    text.replace("CLIENTS\n", &clients) + "end: true\n"
}
