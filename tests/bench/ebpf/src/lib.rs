//! Empty library: gives cargo a target that the benchmark can depend on, so that a change of the programs rebuilds it.
#![no_std]
