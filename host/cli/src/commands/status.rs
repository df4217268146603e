//! `tenon status`, `tenon devices`.

use serde_json::{Value, json};
use tenon_api::types::{DeviceList, Status};

use super::Context;
use crate::client::Request;
use crate::failure::Result;
use crate::output::{Page, Table, text};

/// What runs on the data folder, and what it holds.
pub fn status(context: &Context) -> Result<()> {
    let client = context.client()?;
    let mut answer = client.send(Request::get(&["status"]))?;
    // What the server itself cannot say: whether there is one.
    if let Value::Object(fields) = &mut answer {
        fields.insert("server".to_owned(), json!(client.server()));
    }
    let server = client.server().map(str::to_owned);
    context.output.answer(answer, |status: &Status, page| {
        show(status, server.as_deref(), page)
    })
}

fn show(status: &Status, server: Option<&str>, page: &mut Page) {
    let store = &status.store;
    let state = match &store.reason {
        Some(reason) => format!("{}: {reason}", store.state),
        None => store.state.clone(),
    };
    page.fields([
        (
            "server",
            match server {
                Some(url) => format!("{url} (process {})", status.pid),
                None => "none; this command opened the data folder itself".to_owned(),
            },
        ),
        ("version", status.version.clone()),
        ("data", status.root.clone()),
        (
            "store",
            format!(
                "{}, {state}, {} free",
                store.backend,
                text::bytes(store.free_bytes)
            ),
        ),
        ("device", status.device.clone()),
        (
            "started",
            server.map_or_else(String::new, |_| {
                text::moment(status.started, page.is_terminal())
            }),
        ),
        (
            "memory",
            status.resident_bytes.map_or_else(String::new, text::bytes),
        ),
    ]);
    let counts = &status.counts;
    let by = |all: &std::collections::BTreeMap<String, usize>| {
        let parts: Vec<_> = all
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(name, count)| format!("{count} {name}"))
            .collect();
        if parts.is_empty() {
            "0".to_owned()
        } else {
            parts.join(", ")
        }
    };
    page.heading("holds");
    page.fields([
        ("plugins", counts.plugins.to_string()),
        ("datasets", counts.datasets.to_string()),
        ("tokenizers", counts.tokenizers.to_string()),
        ("models", counts.models.to_string()),
        ("runs", by(&counts.runs)),
        ("deployments", by(&counts.deployments)),
    ]);
}

/// The devices that models can run on.
pub fn devices(context: &Context) -> Result<()> {
    let answer = context.client()?.send(Request::get(&["devices"]))?;
    context.output.answer(answer, |list: &DeviceList, page| {
        let mut table = Table::new(["device", "", "description"]);
        for device in &list.devices {
            let mark = match (device.selected, device.hardware, device.name.as_str()) {
                (true, _, _) => "selected",
                (false, false, name) if name != "cpu" => "software",
                _ => "",
            };
            table.row([
                device.name.clone(),
                mark.to_owned(),
                device.description.clone(),
            ]);
        }
        page.table(&table, "no devices");
    })
}
