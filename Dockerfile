# One static binary on an empty image, for amd64 and arm64.
#
#   docker build -t rollcall .
#
# The version of Rust is the one in rust-toolchain.toml. That file stays out of the build: rustup would fetch
# the lints and the formatter for it.
FROM docker.io/library/rust:1.95.0-slim-bookworm AS build
ARG TARGETARCH
WORKDIR /src
COPY . .
# A target is named so that `crt-static` does not reach build scripts and procedural macros. `touch`: the cached
# target directory may be younger than the sources of this build, and cargo compares times.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    case "$TARGETARCH" in \
      amd64) target=x86_64-unknown-linux-gnu ;; \
      arm64) target=aarch64-unknown-linux-gnu ;; \
      *) echo "no build for the architecture '$TARGETARCH'" >&2; exit 1 ;; \
    esac && \
    touch src/lib.rs src/main.rs && \
    RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --release --target "$target" && \
    mkdir -p /image/run/rollcall /image/lib/rollcall && \
    cp "target/$target/release/rollcall" /image/rollcall

FROM scratch
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="rollcall" \
      org.opencontainers.image.description="An HTTP control plane for UDP multicast" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED"
COPY --from=build /image/rollcall /rollcall
# A new volume takes its owner from the directory that it covers.
COPY --from=build --chown=65532:65532 /image/lib/ /var/lib/
COPY --from=build --chown=65532:65532 /image/run/ /run/
ENV ROLLCALL_DATA_DIR=/var/lib/rollcall
VOLUME /var/lib/rollcall
USER 65532:65532
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s --retries=3 CMD ["/rollcall", "healthcheck"]
ENTRYPOINT ["/rollcall"]
CMD ["serve"]
