//! Programs between which any filter at the same hooks must lie: one that does nothing, and one that drops everything.

use anyhow::Result;
use aya::programs::TcAttachType;
use aya::programs::tc::SchedClassifierLink;

use super::{Blocked, Filter};
use crate::programs::Classifier;
use crate::stage::Stage;

/// Where a program is.
type Place = (&'static str, TcAttachType);

/// Where a door is.
pub(super) const DOOR: &[Place] = &[("lan0", TcAttachType::Ingress)];
/// Where a door and a guard are.
pub(super) const DOOR_AND_GUARD: &[Place] =
    &[("lan0", TcAttachType::Ingress), ("wan0", TcAttachType::Egress)];

pub(super) struct Tcx {
    /// One for each place, so that the kernel times the first by itself.
    classifiers: Vec<(Classifier, Place)>,
    on_blocked: Blocked,
    links: Vec<SchedClassifierLink>,
}

impl Tcx {
    pub fn load(program: &'static str, on_blocked: Blocked, places: &[Place]) -> Result<Self> {
        let classifiers: Result<_> =
            places.iter().map(|place| Ok((Classifier::load(program)?, *place))).collect();
        Ok(Self { classifiers: classifiers?, on_blocked, links: Vec::new() })
    }
}

impl Filter for Tcx {
    fn enter(&mut self, stage: &Stage) -> Result<()> {
        for (classifier, (interface, side)) in &mut self.classifiers {
            self.links.push(classifier.attach_at(stage.gateway(), interface, *side)?);
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
