//! The words of the OCI specifications: no I/O, no async
