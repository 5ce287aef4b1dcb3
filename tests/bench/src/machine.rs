//! On what a run was made: a figure without it is none.

use std::fs;

use serde::{Deserialize, Serialize};

/// The machine and how busy it was.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    pub kernel: String,
    pub processor: String,
    pub processors: usize,
    /// Tasks that wanted to run, on average over a minute: before and after the run.
    pub load_before: String,
    pub load_after: String,
    pub measured_at: String,
}

impl Machine {
    pub fn now() -> Self {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Self {
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            processor: model.map_or("unknown", |(_, model)| model).to_owned(),
            processors: std::thread::available_parallelism().map_or(1, Into::into),
            load_before: load(),
            load_after: String::new(),
            measured_at: jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
        }
    }

    pub fn finish(&mut self) {
        self.load_after = load();
    }

    pub fn sentence(&self) -> String {
        let Self { kernel, processor, processors, load_before, load_after, measured_at } = self;
        let after =
            if load_after.is_empty() { String::new() } else { format!(" before and {load_after} after") };
        format!("{measured_at}: Linux {kernel}, {processors} × {processor}, load {load_before}{after}")
    }
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("unknown").to_owned()
}
