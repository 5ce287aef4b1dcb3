//! The two programs between which any filter at the same hook must lie.

use anyhow::Result;
use aya::programs::tc::SchedClassifierLink;

use super::{Blocked, Filter};
use crate::programs::Classifier;
use crate::stage::Stage;

pub(super) struct Tcx {
    classifier: Classifier,
    on_blocked: Blocked,
    link: Option<SchedClassifierLink>,
}

impl Tcx {
    pub fn load(program: &'static str, on_blocked: Blocked) -> Result<Self> {
        Ok(Self { classifier: Classifier::load(program)?, on_blocked, link: None })
    }
}

impl Filter for Tcx {
    fn enter(&mut self, stage: &Stage) -> Result<()> {
        self.link = Some(self.classifier.attach(stage.gateway(), "lan0")?);
        Ok(())
    }

    fn leave(&mut self, _: &Stage) -> Result<()> {
        self.link = None;
        Ok(())
    }

    fn dropped(&self, _: &Stage) -> Result<Option<u64>> {
        Ok(None)
    }

    fn on_blocked(&self) -> Blocked {
        self.on_blocked
    }
}
