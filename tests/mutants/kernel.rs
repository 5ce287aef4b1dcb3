//! Bugs in the kernel programs, and in what only whole packets in a kernel can show.

use super::Catcher::{self, Accounting, Lab, LongLists, TestRun};
use super::{Mutant, mutant};

const PACKET: &str = "policy-common/src/packet.rs";
const LOOKUPS: &str = "policy-ebpf/src/policy.rs";
const VERDICT: &str = "policy-ebpf/src/verdict.rs";
const REPORT: &str = "policy-ebpf/src/report.rs";
const SKB: &str = "policy-ebpf/src/skb.rs";

const DROPS: Catcher = TestRun("the_door_drops_and_counts_as_the_table_says");
const ANSWERS: Catcher = TestRun("the_door_answers_where_it_can_and_lets_nothing_out");
const AUDIT: Catcher = TestRun("audit_mode_counts_the_same_and_stops_nothing");
const KERNEL_GUARD: Catcher = TestRun("the_guard_drops_what_a_process_of_the_gateway_sends");
const KERNEL_RANDOM: Catcher = TestRun("random_policies_mean_the_same_in_the_kernel");
const LONG_LIST: Catcher = TestRun("a_long_list_changes_no_verdict");
const SIEVE: Catcher = LongLists("every_address_gets_the_answer_of_its_longest_prefix");
const OWN_ACCOUNTS: Catcher = Accounting("with_a_long_list_each_host_has_its_own_account_all_the_same");
const WHOLE: Catcher = Lab("nothing_denied_leaves_and_everything_else_arrives");

pub const MUTANTS: &[Mutant] = &[
    mutant("drop returned as pass", VERDICT, "Action::Drop => TCX_DROP", "Action::Drop => TCX_NEXT", DROPS),
    mutant("pass ends the chain", VERDICT, "Action::Pass => TCX_NEXT", "Action::Pass => 0", DROPS),
    mutant("no answer possible: let it pass", VERDICT, "unwrap_or(TCX_DROP)", "unwrap_or(TCX_NEXT)", ANSWERS),
    mutant(
        "audit and enforce exchanged",
        VERDICT,
        "if settings.is_audit() {",
        "if !settings.is_audit() {",
        AUDIT,
    ),
    mutant("denied packets not counted", REPORT, "    count(counter::packets(reason));\n", "", DROPS),
    mutant(
        "only the first blocked port counts",
        LOOKUPS,
        "for slot in *ports {",
        "for slot in [ports[0]] {",
        DROPS,
    ),
    mutant(
        "nobody is looked up in quarantine",
        LOOKUPS,
        "|widest| *widest as u8)",
        "|_| scope::NONE)",
        DROPS,
    ),
    mutant("unused slots block port 0", LOOKUPS, "if slot == 0 {", "if false {", DROPS),
    mutant(
        "prefix look-up without the family's bits",
        LOOKUPS,
        "FULL_ADDR: u32 = 8 + ADDR_BITS",
        "FULL_ADDR: u32 = ADDR_BITS",
        DROPS,
    ),
    mutant(
        "scope look-up without the scope's bits",
        LOOKUPS,
        "ScopeKey::PREFIX_BITS + ADDR_BITS",
        "ADDR_BITS",
        KERNEL_RANDOM,
    ),
    mutant("the sieve stops what is listed", LOOKUPS, "word & bits != bits", "word & bits != 0", LONG_LIST),
    mutant("the list is never asked", LOOKUPS, "if words == 0 {", "if words != 1 {", LONG_LIST),
    mutant(
        "groups are taken for none",
        LOOKUPS,
        "if ONE_TREATMENT.load() != 0 {",
        "if ONE_TREATMENT.load() != 2 {",
        KERNEL_RANDOM,
    ),
    mutant(
        "the sieve forgets one address",
        "policy-user/src/policy/long_list.rs",
        "for prefix in singles() {",
        "for prefix in singles().skip(1) {",
        SIEVE,
    ),
    mutant(
        "one bit of each word of the sieve is lost on the way to the kernel",
        "policy-user/src/datapath/fill.rs",
        "sieve.set(index, word, 0)",
        "sieve.set(index, word & word.wrapping_sub(1), 0)",
        LONG_LIST,
    ),
    mutant("known networks are never asked", LOOKUPS, "word & bit == 0", "word & bit != 0", DROPS),
    mutant(
        "a wide network has one first byte",
        "policy-common/src/first_bytes.rs",
        "(first..=first | free as u8)",
        "(first..=first)",
        SIEVE,
    ),
    mutant(
        "one first byte in each word is lost on the way to the kernel",
        "policy-user/src/datapath/fill.rs",
        "words.set(index, word, 0)",
        "words.set(index, word & word.wrapping_sub(1), 0)",
        DROPS,
    ),
    mutant(
        "a constant may lie where the agent writes",
        "policy-ebpf/src/maps.rs",
        "#[used]\n#[unsafe(no_mangle)]\npub static SIEVE_WORDS",
        "#[unsafe(no_mangle)]\npub static SIEVE_WORDS",
        OWN_ACCOUNTS,
    ),
    mutant("destination MAC taken for the source's", SKB, "self.load::<6>(6)", "self.load::<6>(0)", DROPS),
    mutant(
        "settings of a group ignored",
        LOOKUPS,
        "group.within(interface).within(",
        "interface.within(",
        KERNEL_RANDOM,
    ),
    mutant(
        "a local process counts as let in",
        LOOKUPS,
        "            Origin::Local\n",
        "            Origin::Door\n",
        KERNEL_GUARD,
    ),
    mutant(
        "only the linear part is looked at",
        SKB,
        "        self.ctx.len()\n",
        "        (self.ctx.data_end() - self.ctx.data()) as u32\n",
        WHOLE,
    ),
    mutant(
        "fewer inline tags are followed than Linux strips",
        PACKET,
        "MAX_INLINE_TAGS: usize = 8",
        "MAX_INLINE_TAGS: usize = 6",
        WHOLE,
    ),
];
