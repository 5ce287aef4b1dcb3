//! The maps and load-time constants of the kernel programs.
//!
//! Policy maps belong to one generation: the agent fills them before it attaches the programs and never writes them again.
//! State maps are pinned and shared by all generations.
//!
//! Every load-time constant is `#[used]`: LLVM otherwise puts any other constant with the same first value in the same place, and
//! then the agent overwrites that one too.

use aya_ebpf::Global;
use aya_ebpf::bindings::{BPF_F_NO_PREALLOC, BPF_F_RDONLY_PROG};
use aya_ebpf::macros::map;
use aya_ebpf::maps::lpm_trie::LpmTrie;
use aya_ebpf::maps::{Array, HashMap, LruPerCpuHashMap, PerCpuArray, PerCpuHashMap, RingBuf};
use policy_common::Addr;
use policy_common::abi::{
    ATTEMPT_SETS, AttemptSalt, AttemptSet, HOST_ENTRIES, HostCounts, HostKey, MAX_BLOCKED_PORTS,
    MAX_SPARED_PORTS, MAX_SUBMISSION_PORTS, MailServer, Net, Permit, Quarantine, SUBMITTERS, ScopeKey,
    Settings, Submissions, counter,
};
use policy_common::first_bytes::WORDS;

/// Blocked TCP ports in host order; 0 is an unused slot. Read-only data, so the verifier folds it into the code.
#[used]
#[unsafe(no_mangle)]
pub static BLOCKED_PORTS: Global<[u16; MAX_BLOCKED_PORTS]> = Global::new([0; MAX_BLOCKED_PORTS]);

/// Submission ports, likewise.
#[used]
#[unsafe(no_mangle)]
pub static SUBMISSION_PORTS: Global<[u16; MAX_SUBMISSION_PORTS]> = Global::new([0; MAX_SUBMISSION_PORTS]);

/// Ports that stay open in quarantine, likewise.
#[used]
#[unsafe(no_mangle)]
pub static SPARED_PORTS: Global<[u16; MAX_SPARED_PORTS]> = Global::new([0; MAX_SPARED_PORTS]);

/// 1 where the policy lets processes of the gateway itself use blocked ports.
#[used]
#[unsafe(no_mangle)]
pub static GATEWAY_MAIL: Global<u8> = Global::new(0);

/// 1 where all denied packets are treated alike, whatever their client's group and their interface.
#[used]
#[unsafe(no_mangle)]
pub static ONE_TREATMENT: Global<u8> = Global::new(0);

/// First eight bytes of the SHA-256 of the policy text, as a number in network order: one load instead of eight.
#[used]
#[unsafe(no_mangle)]
pub static REVISION: Global<u64> = Global::new(0);

/// Words of SIEVE, a power of two; 0 where the policy has no long list, and then the verifier cuts look-ups in it out.
#[used]
#[unsafe(no_mangle)]
pub static SIEVE_WORDS: Global<u32> = Global::new(0);

/// A 0 that the verifier doesn't know to be one; nobody writes it.
#[map]
pub static ZERO: Array<u64> = Array::with_max_entries(1, BPF_F_RDONLY_PROG);

/// Policy map: prefix -> what the policy says about its addresses. The agent sizes it to the policy.
#[map]
pub static NETS: LpmTrie<Addr, Net> = LpmTrie::with_max_entries(1, BPF_F_NO_PREALLOC | BPF_F_RDONLY_PROG);

/// Policy map: which first bytes the prefixes in NETS have. See [`policy_common::first_bytes`].
#[map]
pub static NETS_FIRST_BYTES: Array<u64> = Array::with_max_entries(WORDS as u32, BPF_F_RDONLY_PROG);

/// Policy map: the single addresses of a long list, which are then not in NETS: it gets slower with every entry.
#[map]
pub static LISTED: HashMap<Addr, Net> = HashMap::with_max_entries(1, BPF_F_RDONLY_PROG);

/// Policy map: tells most addresses that are not in LISTED from those that are, in one cache line. See [`policy_common::sieve`].
#[map]
pub static SIEVE: Array<u64> = Array::with_max_entries(1, BPF_F_RDONLY_PROG);

/// Policy map: scope and prefix -> permit.
#[map]
pub static SCOPES: LpmTrie<ScopeKey, Permit> =
    LpmTrie::with_max_entries(1, BPF_F_NO_PREALLOC | BPF_F_RDONLY_PROG);

/// Policy map: the table of mail servers.
#[map]
pub static MAIL_SERVERS: Array<MailServer> = Array::with_max_entries(1, BPF_F_RDONLY_PROG);

/// Policy map: how denied packets are treated; entry 0 is the default.
#[map]
pub static SETTINGS: Array<Settings> = Array::with_max_entries(1, BPF_F_RDONLY_PROG);

/// Policy map: covered inside interface -> index of its settings. The agent adds interfaces as they appear. An interface
/// that is not in it has no door, which is what the guard asks for.
#[map]
pub static DOORS: HashMap<u32, u32> = HashMap::with_max_entries(1024, BPF_F_RDONLY_PROG);

/// State map: the gateway's own addresses, kept up to date by the agent. 4 Ki entries: far above any real gateway.
#[map]
pub static GATEWAY_ADDRS: HashMap<Addr, u8> = HashMap::with_max_entries(4096, BPF_F_RDONLY_PROG);

/// State map: client -> its quarantine.
#[map]
pub static QUARANTINE: HashMap<Addr, Quarantine> = HashMap::with_max_entries(16_384, BPF_F_RDONLY_PROG);

/// State map: the widest scope among those of QUARANTINE, some of which may be over.
#[map]
pub static WIDEST_SCOPE: Array<u32> = Array::with_max_entries(1, BPF_F_RDONLY_PROG);

/// State map: exact counters, one slot for each of [`counter`].
#[map]
pub static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(counter::SLOTS, 0);

/// State map: denied attempts and how many packets each took. Only folding rests on it, no verdict: forgetting one makes a
/// retransmission count as a new attempt. An array, not an LRU hash: that takes 280 ns for an attempt that pushes one out.
#[map]
pub static ATTEMPTS: Array<AttemptSet> = Array::with_max_entries(ATTEMPT_SETS, 0);

/// State map: the secret that ATTEMPTS is ordered by. The agent draws it before it attaches the first program.
#[map]
pub static ATTEMPT_SALT: Array<AttemptSalt> = Array::with_max_entries(1, BPF_F_RDONLY_PROG);

/// State map: one record per denied attempt. 4 MiB hold 43,000 of them while the agent is away.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(4 << 20, 0);

/// State map: what each host has attempted, exactly. Not an LRU: a flood of made-up senders evicts nobody.
#[map]
pub static HOSTS: PerCpuHashMap<HostKey, HostCounts> = PerCpuHashMap::with_max_entries(HOST_ENTRIES, 0);

/// State map: how many entries of HOSTS belong to an interface (key without MAC) and to a MAC there. Two processors may add
/// at once and one be missed, so these are limits and no counts.
#[map]
pub static HOST_SHARES: HashMap<HostKey, u32> = HashMap::with_max_entries(HOST_ENTRIES, 0);

/// State map: what each host hands in on submission ports. An LRU: it only informs, and must not fill up.
#[map]
pub static SUBMISSIONS: LruPerCpuHashMap<HostKey, Submissions> =
    LruPerCpuHashMap::with_max_entries(SUBMITTERS, 0);
