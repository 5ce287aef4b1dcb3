//! What a policy says, written into the maps of a new generation.

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap};
use policy_common::Addr;
use policy_common::abi::{MailServer, Net, ScopeKey, Settings};

use super::error::DatapathError;
use super::generation::Generation;
use crate::policy::compile::Tables;
use crate::policy::long_list::LongList;

impl Generation {
    /// Fills the policy maps, before the programs that ask them are loaded.
    pub(super) fn fill(&mut self, tables: &Tables, long_list: &LongList) -> Result<(), DatapathError> {
        self.fill_long_list(tables, long_list)?;
        let mut nets: LpmTrie<_, _, _> = self.policy_map("NETS")?;
        for net in tables.nets.iter().filter(|net| !long_list.holds(net)) {
            let key = Key::new(8 + u32::from(net.len), net.addr);
            nets.insert(&key, net.value, 0).map_err(|source| DatapathError::Fill { map: "NETS", source })?;
        }
        let mut words: Array<_, u64> = self.policy_map("NETS_FIRST_BYTES")?;
        for (index, word) in (0..).zip(&long_list.first_bytes_of_others(&tables.nets)) {
            let failed = |source| DatapathError::Fill { map: "NETS_FIRST_BYTES", source };
            words.set(index, word, 0).map_err(failed)?;
        }
        let mut scopes: LpmTrie<_, _, _> = self.policy_map("SCOPES")?;
        for (scope, permit) in &tables.permits {
            let key =
                Key::new(ScopeKey::PREFIX_BITS + u32::from(permit.len), ScopeKey::new(*scope, permit.addr));
            scopes
                .insert(&key, permit.value, 0)
                .map_err(|source| DatapathError::Fill { map: "SCOPES", source })?;
        }
        let mut servers: Array<_, MailServer> = self.policy_map("MAIL_SERVERS")?;
        for (index, server) in (0..).zip(&tables.mail_servers) {
            servers
                .set(index, server, 0)
                .map_err(|source| DatapathError::Fill { map: "MAIL_SERVERS", source })?;
        }
        let mut settings: Array<_, Settings> = self.policy_map("SETTINGS")?;
        for (index, value) in (0..).zip(&tables.settings) {
            settings
                .set(index, value, 0)
                .map_err(|source| DatapathError::Fill { map: "SETTINGS", source })?;
        }
        Ok(())
    }

    fn fill_long_list(&mut self, tables: &Tables, list: &LongList) -> Result<(), DatapathError> {
        let failed = |map| move |source| DatapathError::Fill { map, source };
        let mut listed: HashMap<_, Addr, Net> = self.policy_map("LISTED")?;
        for net in tables.nets.iter().filter(|net| list.holds(net)) {
            listed.insert(net.addr, net.value, 0).map_err(failed("LISTED"))?;
        }
        let mut sieve: Array<_, u64> = self.policy_map("SIEVE")?;
        for (index, word) in (0..).zip(list.sieve()) {
            sieve.set(index, word, 0).map_err(failed("SIEVE"))?;
        }
        Ok(())
    }
}
