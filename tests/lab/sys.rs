//! The only unsafe code of the lab: packet sockets and tun devices, for which no safe wrapper exists.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, SystemTime};

use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType};

/// An `AF_PACKET` socket bound to one interface of the caller's network namespace.
pub(crate) struct PacketSocket(OwnedFd);

/// What the kernel tells about a received frame beside its bytes.
pub(crate) struct Received {
    pub length: usize,
    pub outgoing: bool,
    /// TPID and TCI of a tag that the kernel had taken out of the frame.
    pub vlan: Option<(u16, u16)>,
    /// When the kernel saw it.
    pub time: Option<SystemTime>,
}

impl PacketSocket {
    /// Opens a non-blocking socket for all protocols on `ifindex`.
    pub fn open(ifindex: u32, ignore_outgoing: bool) -> io::Result<Self> {
        // Protocol 0 receives nothing until bind() names the interface, so no foreign frame slips in before.
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = Self(rustix::net::socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)?);
        socket.set_option(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 64 << 20)?;
        socket.set_option(libc::SOL_PACKET, libc::PACKET_AUXDATA, 1)?;
        socket.set_option(libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)?;
        socket.set_option(libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, i32::from(ignore_outgoing))?;
        socket.bind(ifindex)?;
        Ok(socket)
    }

    /// Sends one whole frame.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        rustix::net::send(&self.0, frame, SendFlags::empty())?;
        Ok(())
    }

    /// Takes the next frame; `WouldBlock` when there is none.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let mut control = [0u64; 16];
        // SAFETY: these are plain C structures for which all zero is a valid value.
        let (mut from, mut message): (libc::sockaddr_ll, libc::msghdr) =
            unsafe { (mem::zeroed(), mem::zeroed()) };
        let mut vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        message.msg_name = (&raw mut from).cast();
        message.msg_namelen = mem::size_of_val(&from) as u32;
        message.msg_iov = &raw mut vector;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = mem::size_of_val(&control);
        // SAFETY: every pointer in `message` leads to a live buffer of the length beside it.
        let length = unsafe { libc::recvmsg(self.0.as_raw_fd(), &raw mut message, 0) };
        let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
        let mut received =
            Received { length, outgoing: from.sll_pkttype == libc::PACKET_OUTGOING, vlan: None, time: None };
        received.read_control(&message);
        Ok(received)
    }

    /// Frames the kernel had to drop because this socket was full, since the last call.
    pub fn lost(&self) -> io::Result<u32> {
        // SAFETY: a plain C structure for which all zero is a valid value.
        let mut statistics: libc::tpacket_stats = unsafe { mem::zeroed() };
        let mut size = mem::size_of_val(&statistics) as libc::socklen_t;
        // SAFETY: the kernel writes at most `size` bytes into `statistics`, which lives through the call.
        let status = unsafe {
            libc::getsockopt(
                self.0.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut statistics).cast(),
                &raw mut size,
            )
        };
        check(status)?;
        Ok(statistics.tp_drops)
    }

    fn bind(&self, ifindex: u32) -> io::Result<()> {
        // SAFETY: a plain C structure for which all zero is a valid value.
        let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = ifindex as i32;
        let size = mem::size_of_val(&address) as libc::socklen_t;
        // SAFETY: `address` lives through the call and `size` is its size.
        check(unsafe { libc::bind(self.0.as_raw_fd(), (&raw const address).cast(), size) })
    }

    fn set_option(&self, level: i32, name: i32, value: i32) -> io::Result<()> {
        let size = mem::size_of_val(&value) as libc::socklen_t;
        // SAFETY: `value` lives through the call and `size` is its size.
        check(unsafe { libc::setsockopt(self.0.as_raw_fd(), level, name, (&raw const value).cast(), size) })
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Received {
    /// Takes what stands in the control data of a message that `recvmsg` has just filled.
    fn read_control(&mut self, message: &libc::msghdr) {
        // SAFETY: recvmsg filled the control buffer and its length, which is all that the macro reads.
        let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
        // SAFETY: a non-null header lies inside the control buffer, which is aligned for it.
        while let Some(fields) = unsafe { header.as_ref() } {
            // SAFETY: the same header, whose data lies behind it.
            let data = unsafe { libc::CMSG_DATA(header) };
            match (fields.cmsg_level, fields.cmsg_type) {
                (libc::SOL_PACKET, libc::PACKET_AUXDATA) => {
                    // SAFETY: such a message carries exactly one `tpacket_auxdata`; it may be unaligned.
                    let auxiliary = unsafe { data.cast::<libc::tpacket_auxdata>().read_unaligned() };
                    let valid = auxiliary.tp_status & libc::TP_STATUS_VLAN_VALID != 0;
                    self.vlan = valid.then_some((auxiliary.tp_vlan_tpid, auxiliary.tp_vlan_tci));
                }
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                    // SAFETY: such a message carries exactly one `timespec`; it may be unaligned.
                    let time = unsafe { data.cast::<libc::timespec>().read_unaligned() };
                    let since_epoch = Duration::new(time.tv_sec as u64, time.tv_nsec as u32);
                    self.time = Some(SystemTime::UNIX_EPOCH + since_epoch);
                }
                _ => {}
            }
            // SAFETY: both come from the same filled message.
            header = unsafe { libc::CMSG_NXTHDR(message, header) };
        }
    }
}

/// Makes a tun device in the caller's network namespace, without the four bytes of packet information in front. It is gone
/// when the returned file is closed.
pub(crate) fn open_tun(name: &str) -> io::Result<std::fs::File> {
    let file = std::fs::File::options().read(true).write(true).open("/dev/net/tun")?;
    // SAFETY: a plain C structure for which all zero is a valid value.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    // The last byte stays zero: the name is a C string.
    let room = request.ifr_name.len() - 1;
    if name.len() > room {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the name is too long"));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one ifreq, and `request` lives through the call.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) })?;
    Ok(file)
}

/// Has a tun device, which must be down, say that its packets begin as those of this hardware type (`ARPHRD_*`).
pub(crate) fn set_hardware(tun: &std::fs::File, hardware: u16) -> io::Result<()> {
    // SAFETY: TUNSETLINK takes a number, no pointer.
    check(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETLINK as _, libc::c_ulong::from(hardware)) })
}

fn check(status: i32) -> io::Result<()> {
    if status < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
