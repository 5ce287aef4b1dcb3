//! The authorities that servers' certificates are checked against.

use std::fs;
use std::io;
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// Those of a PEM file; without one, those of the system.
pub fn load(file: Option<&Path>) -> io::Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    match file {
        Some(path) => {
            let pem = fs::read(path)?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                store.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
            }
        }
        None => drop(store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    if store.is_empty() {
        return Err(io::Error::other("no certificate of an authority to check the server's against"));
    }
    Ok(store)
}
