//! HTTP in: listen, TLS, router, resolution, API
