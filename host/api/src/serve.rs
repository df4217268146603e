//! Offering the API at an address.

use std::future::{Future, IntoFuture};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::app::{App, blocking};
use crate::error::{ApiError, Result};
use crate::options::Options;
use crate::router::router;

/// How long answers that are being sent may take when everything else has ended.
const GRACE: Duration = Duration::from_secs(5);

/// Serves the API until `shutdown` is ready; then takes no more requests, stops the jobs (training
/// writes a checkpoint), finishes the requests that are under way and closes the data folder, provided
/// that the caller has no other clone of `app`.
///
/// # Errors
/// An address beyond this machine without a token; a listener that fails.
pub async fn serve(
    app: App,
    listener: TcpListener,
    options: Options,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let failed = |error: std::io::Error| ApiError::internal(format!("the server: {error}"));
    let address = listener.local_addr().map_err(failed)?;
    options.access.check_address(address)?;
    let url = format!("http://{}", reachable(address));
    let published = {
        let store = app.platform.store.clone();
        blocking(move || Ok(store.publish_server(&url)?)).await?
    };
    tracing::info!(%address, root = %app.platform.store.root().display(), "serving");
    let (tell, mut told) = oneshot::channel();
    let closing = app.clone();
    let begin = async move {
        shutdown.await;
        tracing::info!("shutting down");
        // Beside the requests under way: those that follow a run see it end, those that wait for a
        // model get their answer.
        tokio::task::spawn_blocking(move || {
            let _ = tell.send(closing.close());
        });
    };
    let serving = axum::serve(listener, router(app.clone(), options))
        .with_graceful_shutdown(begin)
        .into_future();
    let mut serving = std::pin::pin!(serving);
    let closed = tokio::select! {
        served = &mut serving => {
            served.map_err(failed)?;
            (&mut told).await
        }
        closed = &mut told => {
            if tokio::time::timeout(GRACE, &mut serving).await.is_err() {
                tracing::warn!("requests that did not end were cut off");
            }
            closed
        }
    };
    drop(published);
    closed.unwrap_or_else(|_| {
        Err(ApiError::internal(
            "the data folder was not closed properly",
        ))
    })
}

/// An address that a client on this machine can use.
fn reachable(address: SocketAddr) -> SocketAddr {
    let mut address = address;
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}
