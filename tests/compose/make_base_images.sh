#!/usr/bin/env bash
# Makes the base images that Dockerfile and compose.yaml name where no image registry can be reached: from Debian packages,
# and this machine's Rust toolchain. Needs root, debootstrap and docker. Images that are there are left alone.
#   make_base_images.sh [debian] [nats] [rust]     those that are named; all of them by default
set -euo pipefail

debian=debian:bookworm-slim
nats=nats:2.9
rust=rust:1.95-bookworm
wanted=" ${*:-debian nats rust} "
is_wanted() { [[ $wanted == *" $1 "* ]]; }
here() { docker image inspect "$1" > /dev/null 2>&1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if ! here "$debian"; then
    command -v debootstrap > /dev/null || apt-get install --yes --quiet debootstrap
    debootstrap --variant=minbase bookworm "$work/debian"
    # What this machine trusts beyond Debian's own authorities, the image trusts, once ca-certificates is installed.
    mkdir -p "$work/debian/usr/local/share/ca-certificates" "$work/debian/etc/ssl/certs"
    cp -L /etc/ssl/certs/ca-certificates.crt "$work/debian/etc/ssl/certs/"
    csplit --quiet --prefix "$work/debian/usr/local/share/ca-certificates/host-" --suffix-format '%03d.crt' \
        --elide-empty-files /etc/ssl/certs/ca-certificates.crt '/-----BEGIN CERTIFICATE-----/' '{*}'
    rm -rf "$work"/debian/var/{cache/apt,lib/apt/lists}/*
    tar -C "$work/debian" -c . | docker import --change 'CMD ["bash"]' - "$debian"
fi

if is_wanted nats && ! here "$nats"; then
    mkdir -p "$work/nats"
    cat > "$work/nats/Dockerfile" <<DOCKERFILE
FROM $debian
RUN apt-get update && apt-get install --yes --no-install-recommends nats-server && rm -rf /var/lib/apt/lists/*
ENTRYPOINT ["nats-server"]
DOCKERFILE
    docker build --network host --tag "$nats" "$work/nats"
fi

if is_wanted rust && ! here "$rust"; then
    mkdir -p "$work/rust"
    cp -r "$(rustc --print sysroot)" "$work/rust/toolchain"
    rm -rf "$work/rust/toolchain/share"
    cat > "$work/rust/Dockerfile" <<DOCKERFILE
FROM $debian
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
COPY toolchain /usr/local/rust
ENV PATH=/usr/local/rust/bin:\$PATH CARGO_HOME=/usr/local/cargo
DOCKERFILE
    docker build --network host --tag "$rust" "$work/rust"
fi
docker image ls --format '{{.Repository}}:{{.Tag}} {{.Size}}'
