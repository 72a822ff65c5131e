//! The disk: a content-addressed store in a standard OCI image layout
