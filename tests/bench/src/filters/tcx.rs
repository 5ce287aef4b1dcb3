//! Programs between which any filter at the same hooks must lie: one that does nothing, and one that drops everything.

use anyhow::Result;
use aya::programs::TcAttachType;
use aya::programs::tc::SchedClassifierLink;

use super::{Blocked, Filter};
use crate::programs::Classifier;
use crate::stage::Stage;

pub(super) struct Tcx {
    classifier: Classifier,
    on_blocked: Blocked,
    at: &'static [(&'static str, TcAttachType)],
    links: Vec<SchedClassifierLink>,
}

/// Where a door is.
pub(super) const DOOR: &[(&str, TcAttachType)] = &[("lan0", TcAttachType::Ingress)];
/// Where a door and a guard are.
pub(super) const DOOR_AND_GUARD: &[(&str, TcAttachType)] =
    &[("lan0", TcAttachType::Ingress), ("wan0", TcAttachType::Egress)];

impl Tcx {
    pub fn load(
        program: &'static str,
        on_blocked: Blocked,
        at: &'static [(&'static str, TcAttachType)],
    ) -> Result<Self> {
        Ok(Self { classifier: Classifier::load(program)?, on_blocked, at, links: Vec::new() })
    }
}

impl Filter for Tcx {
    fn enter(&mut self, stage: &Stage) -> Result<()> {
        for (interface, side) in self.at {
            self.links.push(self.classifier.attach_at(stage.gateway(), interface, *side)?);
        }
        Ok(())
    }

    fn leave(&mut self, _: &Stage) -> Result<()> {
        self.links.clear();
        Ok(())
    }

    fn dropped(&self, _: &Stage) -> Result<Option<u64>> {
        Ok(None)
    }

    fn on_blocked(&self) -> Blocked {
        self.on_blocked
    }
}
