//! iptables with a set of addresses, IPv4 only.

use anyhow::{Context, Result, ensure};

use super::Filter;
use crate::stage::Stage;

pub(super) struct Ipset;

impl Filter for Ipset {
    fn enter(&mut self, stage: &Stage) -> Result<()> {
        run(stage, "ipset", "create allowed hash:ip")?;
        run(stage, "ipset", "add allowed 10.25.0.25")?;
        run(
            stage,
            "iptables",
            "-A FORWARD -i lan0 -p tcp --dport 25 -m set ! --match-set allowed src -j DROP",
        )?;
        Ok(())
    }

    fn leave(&mut self, stage: &Stage) -> Result<()> {
        run(stage, "iptables", "-F FORWARD")?;
        run(stage, "ipset", "destroy allowed")?;
        // An empty chain still costs every packet a call. Where iptables is not the one on top of nftables, there is none.
        stage.gateway().nft("delete table ip filter\n").or_else(|_| run(stage, "iptables", "-X").map(drop))
    }

    fn dropped(&self, stage: &Stage) -> Result<Option<u64>> {
        let rules = run(stage, "iptables", "-nvxL FORWARD")?;
        let rule =
            rules.lines().find(|line| line.contains("allowed")).context("iptables has no such rule")?;
        Ok(Some(rule.split_whitespace().next().context("iptables told no number")?.parse()?))
    }
}

fn run(stage: &Stage, program: &str, words: &str) -> Result<String> {
    let output = stage.gateway().command(program).args(words.split(' ')).output()?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{program} {words}` failed: {told}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
