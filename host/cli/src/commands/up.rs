//! `tenon up`.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::Path;
use std::process;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use tenon_api::{Access, App, Options, Store, Token};
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use super::Context;
use crate::args::Up;
use crate::client::{cannot_open, data_folder, is_alive, platform_options};
use crate::failure::{Exit, Failure, Result};
use crate::output::Output;
use crate::output::progress::say_line;
use crate::signals;

/// How long the server may take to say where it is.
const ANNOUNCE: Duration = Duration::from_secs(10);

/// Serves the data folder until it is asked to stop.
pub fn up(context: &Context, args: &Up) -> Result<()> {
    let address = resolve(&args.address)?;
    let access = access(context.global.token.as_deref(), address)?;
    let root = data_folder(&context.global)?;
    refuse_second(&root)?;
    let app = App::open(&root, platform_options(&context.global)?)
        .map_err(|error| cannot_open(&error))?;
    // Bound before it is served, so that what is printed is true.
    let listener = bind(address)?;
    let root = app.platform.store.root().to_owned();
    let stop = on_signals()?;
    let runtime = Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed("io", format!("no threads can be started: {error}")))?;
    let open = matches!(access, Access::Token(_));
    let (served, announced) = mpsc::channel();
    let output = context.output;
    let announcing = thread::spawn(move || announce(&root, open, output, &announced));
    let options = Options {
        access,
        ..Options::default()
    };
    let result = runtime.block_on(async move {
        let listener = tokio::net::TcpListener::from_std(listener)
            .map_err(|error| Failure::failed("io", format!("{address}: {error}")))?;
        let stopped = async {
            // An error means that nobody watches any more: then there is nothing to wait for.
            let _ = stop.await;
        };
        tenon_api::serve(app, listener, options, stopped)
            .await
            .map_err(|error| Failure::answered(error.status.as_u16(), *error.info))
    });
    drop(served);
    let announced = announcing.join().unwrap_or(Ok(()));
    result.and(announced)
}

/// The address, also by a name such as `localhost`.
fn resolve(text: &str) -> Result<SocketAddr> {
    let wrong = |why: String| {
        Failure::usage(format!("--address {text}: {why}"))
            .hint("expected HOST:PORT, for example 127.0.0.1:7700; port 0 chooses a free one")
    };
    let mut found = text
        .to_socket_addrs()
        .map_err(|error| wrong(error.to_string()))?;
    found
        .next()
        .ok_or_else(|| wrong("it means no address".to_owned()))
}

fn access(token: Option<&str>, address: SocketAddr) -> Result<Access> {
    let refused = |error: tenon_api::ApiError| {
        Failure::answered(error.status.as_u16(), *error.info).exit(Exit::Usage)
    };
    let access = match token {
        Some(token) => Access::Token(Token::new(token).map_err(refused)?),
        None => Access::Loopback,
    };
    access.check_address(address).map_err(|error| {
        refused(error).hint(
            "set a token that every request must carry, with --token or TENON_TOKEN, or listen on \
             127.0.0.1",
        )
    })?;
    Ok(access)
}

/// A server that runs on the folder already is named with its address, not only as a lock.
fn refuse_second(root: &Path) -> Result<()> {
    // The note of a process that is gone may name another's number by now.
    let hint = match Store::server_hint(root) {
        Some(hint) if is_alive(&hint.url) => hint,
        _ => return Ok(()),
    };
    Err(Failure::failed(
        "in-use",
        format!(
            "the data folder {} is served already, at {} by process {}",
            root.display(),
            hint.url,
            hint.pid
        ),
    )
    .hint(format!(
        "commands on this folder find it by themselves, and anywhere with --server {}; serve another \
         folder with --data DIR",
        hint.url
    )))
}

fn bind(address: SocketAddr) -> Result<TcpListener> {
    let listener = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    listener.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            let other = SocketAddr::new(address.ip(), address.port().wrapping_add(1).max(1));
            Failure::failed(
                "in-use",
                format!(
                    "port {} is in use: another program listens on {address}",
                    address.port()
                ),
            )
            .hint(format!(
                "choose another with --address {other}, or --address {}:0 for any that is free",
                address.ip()
            ))
        }
        io::ErrorKind::PermissionDenied => Failure::failed(
            "io",
            format!("port {} may not be listened on: {error}", address.port()),
        )
        .hint("choose one above 1023"),
        _ => Failure::failed("io", format!("cannot listen on {address}: {error}")),
    })
}

/// Ready at the first signal; at the second the process ends at once.
fn on_signals() -> Result<oneshot::Receiver<()>> {
    let (stop, stopped) = oneshot::channel();
    let mut stop = Some(stop);
    signals::watch(move || match stop.take() {
        Some(stop) => {
            say_line("stopping: trainings write a checkpoint; press Ctrl-C again to leave at once");
            let _ = stop.send(());
        }
        None => process::exit(Exit::Interrupted as i32),
    })?;
    Ok(stopped)
}

/// Prints where the server is, once the data folder says so: from then on other commands find it.
fn announce(root: &Path, open: bool, output: Output, served: &mpsc::Receiver<()>) -> Result<()> {
    let begin = Instant::now();
    let hint = loop {
        match Store::server_hint(root) {
            Some(hint) if hint.pid == process::id() => break hint,
            _ if begin.elapsed() > ANNOUNCE => return Ok(()),
            // It has failed meanwhile and says so itself.
            _ if served.try_recv() == Err(mpsc::TryRecvError::Disconnected) => return Ok(()),
            _ => thread::sleep(Duration::from_millis(1)),
        }
    };
    let answer = json!({
        "url": hint.url,
        "data": root.display().to_string(),
        "pid": hint.pid,
        "version": env!("CARGO_PKG_VERSION"),
    });
    if output.is_json() {
        return output.line(&answer);
    }
    let mut page = output.page();
    page.line(format!(
        "tenon {} serves {}",
        env!("CARGO_PKG_VERSION"),
        root.display()
    ));
    page.fields([
        ("  at", hint.url.clone()),
        ("  interface", format!("{}/api/v1/openapi.json", hint.url)),
        (
            "  access",
            if open {
                "whoever has the token".to_owned()
            } else {
                "programs of this machine".to_owned()
            },
        ),
        ("  use it", "tenon status".to_owned()),
        ("  stop it", "Ctrl-C".to_owned()),
    ]);
    output.print(&page)
}
