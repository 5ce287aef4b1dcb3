//! An Ethernet address.

use std::fmt;
use std::str::FromStr;

/// An Ethernet address; written and read as `02:00:00:00:00:77`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    pub const BROADCAST: Self = Self([0xff; 6]);
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes: Vec<u8> =
            text.split(':').map(|part| u8::from_str_radix(part, 16)).collect::<Result<_, _>>()?;
        let six = bytes.try_into().map_err(|_| anyhow::anyhow!("{text} has not six parts"))?;
        Ok(Self(six))
    }
}
