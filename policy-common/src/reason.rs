//! Why a packet got its verdict: numbers that never change, a label for machines, a sentence for admins.

/// The reason of a decision. Numbers are part of the log format and of the counter map: never reuse one.
///
/// 0..=15 let the packet pass, 16..=31 deny it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Reason {
    OtherTraffic = 0,
    InternalDestination = 1,
    GatewayAddress = 2,
    MailServer = 3,
    Exception = 4,
    LaterFragment = 5,
    GatewayMail = 6,

    NotAMailServer = 16,
    UnknownSource = 17,
    DestinationNotAllowed = 18,
    SpoofedMailServer = 19,
    Quarantined = 20,
    Unreadable = 21,
    AmbiguousFragment = 22,
    UncoveredIngress = 23,
    LocalProcess = 24,
}

/// One past the highest number a reason may ever have; the size of tables indexed by reason.
pub const REASON_SLOTS: usize = 32;

impl Reason {
    /// Every reason, by number.
    pub const ALL: [Self; 16] = [
        Self::OtherTraffic,
        Self::InternalDestination,
        Self::GatewayAddress,
        Self::MailServer,
        Self::Exception,
        Self::LaterFragment,
        Self::GatewayMail,
        Self::NotAMailServer,
        Self::UnknownSource,
        Self::DestinationNotAllowed,
        Self::SpoofedMailServer,
        Self::Quarantined,
        Self::Unreadable,
        Self::AmbiguousFragment,
        Self::UncoveredIngress,
        Self::LocalProcess,
    ];

    /// The reason with this number, if there is one.
    pub fn from_number(n: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|r| *r as u8 == n)
    }

    /// Whether this reason denies the packet.
    #[inline(always)]
    pub const fn denies(self) -> bool {
        self as u8 >= 16
    }

    /// The stable word used in logs, filters and metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::OtherTraffic => "other-traffic",
            Self::InternalDestination => "internal-destination",
            Self::GatewayAddress => "gateway-address",
            Self::MailServer => "mail-server",
            Self::Exception => "exception",
            Self::LaterFragment => "later-fragment",
            Self::GatewayMail => "gateway-mail",
            Self::NotAMailServer => "not-a-mail-server",
            Self::UnknownSource => "unknown-source",
            Self::DestinationNotAllowed => "destination-not-allowed",
            Self::SpoofedMailServer => "spoofed-mail-server",
            Self::Quarantined => "quarantined",
            Self::Unreadable => "unreadable",
            Self::AmbiguousFragment => "ambiguous-fragment",
            Self::UncoveredIngress => "uncovered-ingress",
            Self::LocalProcess => "local-process",
        }
    }

    /// One sentence that an admin can act on.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::OtherTraffic => "not TCP to a blocked port",
            Self::InternalDestination => "the destination is inside the company",
            Self::GatewayAddress => "the destination is the gateway itself",
            Self::MailServer => "the source is a designated mail server",
            Self::Exception => "an exception covers source and destination",
            Self::LaterFragment => {
                "a later fragment carries no port; without its first one nobody can reassemble it"
            }
            Self::GatewayMail => {
                "a process of the gateway sent it, and the policy lets the gateway send mail"
            }
            Self::NotAMailServer => "the client is not a designated mail server",
            Self::UnknownSource => "the source address is in none of the policy's client networks",
            Self::DestinationNotAllowed => "the mail server may not send to this destination",
            Self::SpoofedMailServer => {
                "the address is a mail server's, but interface or MAC are not the ones the policy binds it to"
            }
            Self::Quarantined => "the client is in quarantine",
            Self::Unreadable => "the packet hides or cuts off its TCP destination port",
            Self::AmbiguousFragment => "the fragment could overwrite the port of the one before it",
            Self::UncoveredIngress => "the packet came in through an interface that smtpfence does not cover",
            Self::LocalProcess => "a process of the gateway itself tried to send mail",
        }
    }
}
