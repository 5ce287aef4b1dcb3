//! Empty library: gives cargo a target that policy-user can depend on, so that a change of the programs rebuilds it.
#![no_std]
