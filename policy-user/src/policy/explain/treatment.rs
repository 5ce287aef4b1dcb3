//! What becomes of a denied packet, and who in the policy says so.

use policy_common::abi::Settings;
use serde::Serialize;

use super::super::compile::{Tables, inside_settings};
use super::super::model::{self, Policy};
use super::Verdict;

/// Mode and action that apply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Treated {
    pub mode: Said,
    pub on_block: Said,
}

/// A setting and who says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Said {
    pub value: &'static str,
    /// Such as "group guests".
    pub by: String,
}

/// Whose settings meet: the client's group and the interface's entry, by their place in the policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    pub group: Option<usize>,
    pub inside: Option<usize>,
}

impl Surroundings {
    /// `settings` is a group's number as the network map has it; 0 is none.
    pub fn new(policy: &Policy, settings: u16, inside: Option<usize>) -> Self {
        let group = usize::from(settings).checked_sub(inside_settings(policy.inside.len()));
        Self { group, inside }
    }

    /// The verdict on a denied packet, as the kernel takes it from the settings table.
    pub fn verdict(self, policy: &Policy, tables: &Tables) -> Verdict {
        let setting = |index: usize| tables.settings.get(index).copied().unwrap_or(Settings::UNSET);
        let group = self.group.map(|group| setting(inside_settings(policy.inside.len()) + group));
        let inside = self.inside.map(|entry| setting(inside_settings(entry)));
        let settings =
            group.unwrap_or(Settings::UNSET).within(inside.unwrap_or(Settings::UNSET)).within(setting(0));
        if settings.is_audit() {
            Verdict::WouldBlock
        } else if settings.is_reject() {
            Verdict::Reject
        } else {
            Verdict::Drop
        }
    }

    /// Who says what of it.
    pub fn treated(self, policy: &Policy) -> Treated {
        let group = self.group.and_then(|group| policy.groups.get(group));
        let inside = self.inside.and_then(|entry| policy.inside.get(entry));
        let said = |of: fn(&model::Treatment) -> Option<&'static str>, default: &'static str| {
            if let Some((group, value)) = group.and_then(|group| Some((group, of(&group.treatment)?))) {
                return Said { value, by: format!("group {}", group.name) };
            }
            match inside.and_then(|entry| Some((entry, of(&entry.treatment)?))) {
                Some((entry, value)) => Said { value, by: format!("interface {}", entry.glob.0) },
                None => Said { value: default, by: "policy".to_owned() },
            }
        };
        Treated {
            mode: said(|it| it.mode.map(model::Mode::label), policy.mode.label()),
            on_block: said(|it| it.on_block.map(model::OnBlock::label), policy.on_block.label()),
        }
    }
}

/// The guard knows no client: the policy's mode holds, and there is nobody an answer could go to.
pub fn verdict_at_guard(tables: &Tables) -> Verdict {
    match tables.settings.first() {
        Some(default) if default.is_audit() => Verdict::WouldBlock,
        _ => Verdict::Drop,
    }
}

pub fn treated_at_guard(policy: &Policy) -> Treated {
    Treated {
        mode: Said { value: policy.mode.label(), by: "policy".to_owned() },
        on_block: Said { value: "drop", by: "the guard, which can't answer".to_owned() },
    }
}
