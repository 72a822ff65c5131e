# hubcap in a container: the sidecar of self-hosted runners.
#
#     docker build -t hubcap .
#     docker run -d -p 127.0.0.1:5443:5443 -v hubcap-store:/store -v hubcap-state:/state hubcap
#
# The build stage follows rust-toolchain.toml; change both together.
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked

FROM debian:bookworm-slim
# The upstreams' certificates are checked against the system's roots.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /state hubcap \
    && install -d -o hubcap -g hubcap /store && install -d -o hubcap -g hubcap -m 0700 /state
COPY --from=build /src/target/release/hubcap /usr/local/bin/hubcap
USER hubcap
ENV HUBCAP_STORE=/store HUBCAP_STATE=/state HUBCAP_LISTEN=0.0.0.0:5443
VOLUME ["/store", "/state"]
EXPOSE 5443
HEALTHCHECK --interval=30s --timeout=3s --start-period=2s CMD ["hubcap", "health"]
ENTRYPOINT ["hubcap"]
CMD ["serve"]
