//! A DNS answer as the kernel hands it on: to whom it goes, and its bytes.

use super::Macs;
use crate::flow::Addr;

/// Bytes of an answer that are handed on: what resolvers send by UDP at most since 2020 (EDNS buffer of 1232).
pub const ANSWER_BYTES: usize = 1232;

/// Ring-buffer record of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Answer {
    head: AnswerHead,
    bytes: [u8; ANSWER_BYTES],
}

const _: () = assert!(size_of::<Answer>() == 1272);

/// What an [`Answer`] says beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct AnswerHead {
    time: [u8; 8],
    client: Addr,
    client_mac: [u8; 6],
    has_mac: u8,
    length: [u8; 2],
    reserved: [u8; 6],
}

const _: () = assert!(size_of::<AnswerHead>() == 40);

impl AnswerHead {
    /// `time` is in nanoseconds of `CLOCK_BOOTTIME`; the client is whom the frame goes to.
    #[inline(always)]
    pub fn new(time: u64, client: Addr, macs: &Macs, length: u16) -> Self {
        Self {
            time: time.to_be_bytes(),
            client,
            client_mac: macs.dst,
            has_mac: macs.known,
            length: length.to_be_bytes(),
            reserved: [0; 6],
        }
    }
}

impl Answer {
    /// Writes the head of a record that lies in the ring, and tells where its bytes begin.
    ///
    /// # Safety
    ///
    /// `record` points to memory for a whole record that nobody else uses.
    #[inline(always)]
    pub unsafe fn begin(record: *mut Self, head: AnswerHead) -> *mut u8 {
        // SAFETY: the caller's promise; a head of byte arrays may be written anywhere in it.
        unsafe {
            (&raw mut (*record).head).write(head);
            (&raw mut (*record).bytes).cast()
        }
    }

    /// The answer in a ring-buffer record; `None` where the record has another length.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != size_of::<Self>() {
            return None;
        }
        // SAFETY: the length was checked, every bit pattern is a valid Answer (only byte arrays), read_unaligned needs no
        // alignment.
        Some(unsafe { bytes.as_ptr().cast::<Self>().read_unaligned() })
    }

    pub const fn time(&self) -> u64 {
        u64::from_be_bytes(self.head.time)
    }
    pub const fn client(&self) -> Addr {
        self.head.client
    }
    pub const fn client_mac(&self) -> Option<[u8; 6]> {
        if self.head.has_mac != 0 { Some(self.head.client_mac) } else { None }
    }
    /// The DNS message; what lies behind it in the record is left over from others.
    pub fn message(&self) -> &[u8] {
        let length = usize::from(u16::from_be_bytes(self.head.length));
        self.bytes.get(..length).unwrap_or(&self.bytes)
    }
}
