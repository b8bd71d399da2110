/// Makes `ring` the process's TLS cryptography unless another one was chosen before, which serves as well. Whoever sets up
/// a client calls it first.
pub fn install_crypto_provider() {
    // Fails only where a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
