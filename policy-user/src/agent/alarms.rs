//! Looks for what goes wrong beside the packets: events lost, a log that can't be written, a reload that was refused, and
//! interfaces that are not covered as the policy means it.

mod interfaces;

use super::enforcement::Enforcement;
use super::log_writer::LogWriter;
use crate::policy::Topic;
use interfaces::Interfaces;

/// What has been told already.
pub struct Alarms {
    lost: u64,
    store: Option<String>,
    reload: Option<String>,
    interfaces: Interfaces,
}

impl Alarms {
    /// What was lost before this agent began is no news.
    pub fn new(enforcement: &Enforcement) -> Self {
        let lost = enforcement.lost_events().unwrap_or(0);
        Self { lost, store: None, reload: None, interfaces: Interfaces::default() }
    }

    /// Tells what is new since the last look.
    pub fn look(&mut self, enforcement: &Enforcement, writer: &LogWriter) {
        let notifier = writer.notifier();
        if let Ok(lost) = enforcement.lost_events() {
            if lost > self.lost {
                let told = format!(
                    "{} blocked attempts have no row in the log, because they came faster than they could be read; \
                     they were blocked and counted",
                    lost - self.lost
                );
                notifier.alarm(Topic::Lost, "events", &told);
            }
            self.lost = lost;
        }
        let store = writer.store_status().error;
        if let Some(error) = store.as_ref().filter(|_| self.store.is_none()) {
            let told = format!("the block log can't be written: {error}; enforcement and counters go on");
            notifier.alarm(Topic::Store, "block log", &told);
        }
        self.store = store;
        let reload = enforcement.reload_error().map(str::to_owned);
        if let Some(error) = reload.as_ref().filter(|_| self.reload != reload) {
            let told = format!("a reload was refused, the policy before stays in force: {error}");
            // Another mistake in the file is news.
            notifier.alarm(Topic::Reload, error, &told);
        }
        self.reload = reload;
        for (subject, told) in self.interfaces.look(enforcement.in_force(), &enforcement.survey()) {
            log::error!("ALARM: {told}");
            notifier.alarm(Topic::Coverage, &subject, &told);
        }
    }
}
