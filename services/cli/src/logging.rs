//! Lines of the log on standard error, and spans of requests for an OpenTelemetry collector.
//!
//! Spans of a service are sent where the variables of OpenTelemetry name a collector (OTLP over HTTP, protobuf), and nowhere else:
//! `OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318`. Its other variables hold, too: `OTEL_SERVICE_NAME`,
//! `OTEL_TRACES_SAMPLER`, `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_BSP_*`.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt};

#[cfg(feature = "otlp")]
pub(crate) use collector::Tracing;
#[cfg(not(feature = "otlp"))]
pub(crate) struct Tracing;

type Layer = Box<dyn tracing_subscriber::Layer<Registry> + Send + Sync>;

/// Starts logging, and spans if this is a service; what it returns is to be kept until the process ends.
///
/// # Errors
/// A collector that is named, but not by an address.
pub(crate) fn start(verbose: u8, is_service: bool) -> anyhow::Result<Tracing> {
    let level = match verbose {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level.to_string()));
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines: Layer = match std::env::var("PROTEXT_LOG").is_ok_and(|form| form == "json") {
        true => lines.json().flatten_event(true).boxed(),
        false => lines.with_target(false).boxed(),
    };
    // A line says itself what its request was.
    let lines = lines.with_filter(filter).with_filter(filter_fn(|seen| !is_span_of_request(seen)));
    #[cfg(feature = "otlp")]
    let (spans, tracing) = if is_service { collector::layer()? } else { Default::default() };
    #[cfg(not(feature = "otlp"))]
    let (spans, tracing): (Option<Layer>, _) = {
        let _ = is_service;
        (None, Tracing)
    };
    let spans = spans.map(|spans| spans.with_filter(filter_fn(is_span_of_request)));
    let layers: Vec<Layer> = [lines.boxed()].into_iter().chain(spans.map(|spans| spans.boxed())).collect();
    tracing_subscriber::registry().with(layers).init();
    Ok(tracing)
}

fn is_span_of_request(seen: &tracing::Metadata<'_>) -> bool {
    seen.is_span() && seen.target() == protext_engine::SPANS
}

#[cfg(feature = "otlp")]
mod collector {
    use anyhow::Context as _;
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_otlp::SpanExporter;
    use opentelemetry_sdk::Resource;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::Layer as _;

    /// Sends the spans that wait when it is dropped.
    #[derive(Default)]
    pub(crate) struct Tracing(Option<SdkTracerProvider>);

    impl Drop for Tracing {
        fn drop(&mut self) {
            if let Some(Err(error)) = self.0.as_ref().map(SdkTracerProvider::shutdown) {
                tracing::warn!(%error, "the last spans did not reach the collector");
            }
        }
    }

    /// Where the environment names a collector.
    pub(super) fn layer() -> anyhow::Result<(Option<super::Layer>, Tracing)> {
        let names = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
        let Some(name) =
            names.into_iter().find(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
        else {
            return Ok((None, Tracing(None)));
        };
        protext_http::install_crypto_provider();
        let exporter = SpanExporter::builder().with_http().build();
        let exporter =
            exporter.with_context(|| format!("{name} names no collector that spans can be sent to"))?;
        let mut resource = Resource::builder();
        if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
            resource = resource.with_service_name("protext");
        }
        let provider = SdkTracerProvider::builder()
            .with_resource(resource.build())
            .with_batch_exporter(exporter)
            .build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("protext"));
        let layer = layer.with_location(false).with_threads(false).with_tracked_inactivity(false);
        Ok((Some(layer.boxed()), Tracing(Some(provider))))
    }
}
