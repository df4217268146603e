//! `tenon deploy`, `tenon deployments …`, `tenon predict`.

use serde_json::{Map, Value, json};
use tenon_api::types::DeploymentList;
use tenon_serve::{Deployment, DeploymentState};

use super::Context;
use super::input::{plugin_with_config, read_json};
use super::train::set;
use crate::args::{Deploy, DeploymentsCommand, Predict, RemoveDeployment, ShowDeployment};
use crate::client::Request;
use crate::failure::Result;
use crate::output::{Page, Table, text};

/// Serves a model under a name.
pub fn deploy(context: &Context, args: &Deploy) -> Result<()> {
    let generation = &args.generation;
    let mut settings = Map::new();
    for (name, value) in [
        ("max_tokens", json!(generation.max_tokens)),
        ("temperature", json!(generation.temperature)),
        ("top_k", json!(generation.top_k)),
        ("top_p", json!(generation.top_p)),
        ("beams", json!(generation.beams)),
    ] {
        set(&mut settings, name, value);
    }
    let mut spec = Map::new();
    set(&mut spec, "name", json!(args.name));
    set(&mut spec, "model", json!(args.model));
    if let Some(processor) = &args.processor {
        let mut processor = plugin_with_config(processor, "processor")?;
        for grant in &args.grants {
            processor["datasets"][&grant.name] = json!(grant.value);
        }
        set(&mut spec, "processor", processor);
    }
    set(&mut spec, "max_batch", json!(args.max_batch));
    set(&mut spec, "queue", json!(args.queue));
    if !settings.is_empty() {
        set(&mut spec, "generation", Value::Object(settings));
    }
    let client = context.client()?;
    let answer = client.send(Request::post(&["deployments"]).json(&Value::Object(spec)))?;
    let server = client.server().map(str::to_owned);
    context
        .output
        .answer(answer, |deployment: &Deployment, page| {
            describe(deployment, page);
            page.line(match &server {
                Some(url) => format!(
                    "\nask it at {url}/api/v1/deployments/{}/predict",
                    deployment.name
                ),
                None => "\nit is served once a server runs: tenon up".to_owned(),
            });
            page.line(format!("or with: tenon predict {} 'JSON'", deployment.name));
        })
}

/// Does what the command line says.
pub fn run(context: &Context, command: DeploymentsCommand) -> Result<()> {
    match command {
        DeploymentsCommand::List => list(context),
        DeploymentsCommand::Show(args) => show(context, &args),
        DeploymentsCommand::Remove(args) => remove(context, &args),
    }
}

fn list(context: &Context) -> Result<()> {
    let answer = context.client()?.send(Request::get(&["deployments"]))?;
    context
        .output
        .answer(answer, |list: &DeploymentList, page| {
            let mut table = Table::new([
                "deployment",
                "model",
                "state",
                ">requests",
                ">errors",
                ">p50",
                ">p95",
                "reason",
            ]);
            for deployment in &list.deployments {
                let counters = &deployment.counters;
                table.row([
                    deployment.name.clone(),
                    deployment.model.clone(),
                    deployment.state.name().to_owned(),
                    text::count(counters.requests),
                    text::count(counters.errors),
                    latency(deployment, counters.latency.p50),
                    latency(deployment, counters.latency.p95),
                    deployment.reason.clone().unwrap_or_default(),
                ]);
            }
            page.table(
                &table,
                "no deployments; make one with `tenon deploy NAME MODEL`",
            );
        })
}

fn latency(deployment: &Deployment, seconds: f64) -> String {
    if deployment.counters.latency.count == 0 {
        return String::new();
    }
    format!("{} ms", text::number(seconds * 1e3))
}

fn show(context: &Context, args: &ShowDeployment) -> Result<()> {
    let answer = context
        .client()?
        .send(Request::get(&["deployments", &args.name]))?;
    context
        .output
        .answer(answer, |deployment: &Deployment, page| {
            describe(deployment, page)
        })
}

fn describe(deployment: &Deployment, page: &mut Page) {
    let terminal = page.is_terminal();
    let plugin = |plugin: &tenon_track::PluginRef| {
        format!(
            "{}@{} ({})",
            plugin.name,
            plugin.version,
            text::digest(&plugin.digest, terminal)
        )
    };
    let counters = &deployment.counters;
    let counted = deployment.state == DeploymentState::Ready && counters.requests > 0;
    page.fields([
        ("deployment", deployment.name.clone()),
        (
            "model",
            format!(
                "{} ({})",
                deployment.model,
                text::digest(&deployment.model_digest, terminal)
            ),
        ),
        ("state", deployment.state.name().to_owned()),
        ("reason", deployment.reason.clone().unwrap_or_default()),
        ("recipe", plugin(&deployment.recipe)),
        (
            "processor",
            deployment
                .processor
                .as_ref()
                .map_or_else(String::new, plugin),
        ),
        (
            "generation",
            match serde_json::to_string(&deployment.spec.generation) {
                Ok(text) if text != "{}" => text,
                _ => String::new(),
            },
        ),
        (
            "batch",
            format!(
                "{} at a time, {} may wait",
                deployment.spec.max_batch, deployment.spec.queue
            ),
        ),
        ("changed", text::moment(deployment.updated, terminal)),
        (
            "requests",
            if counted {
                format!(
                    "{}, {} errors, {} cancelled, {} refused",
                    text::count(counters.requests),
                    text::count(counters.errors),
                    text::count(counters.cancelled),
                    text::count(counters.refused)
                )
            } else {
                String::new()
            },
        ),
        (
            "latency",
            if counted && counters.latency.count > 0 {
                format!(
                    "p50 {}, p95 {}, p99 {}",
                    latency(deployment, counters.latency.p50),
                    latency(deployment, counters.latency.p95),
                    latency(deployment, counters.latency.p99)
                )
            } else {
                String::new()
            },
        ),
    ]);
}

fn remove(context: &Context, args: &RemoveDeployment) -> Result<()> {
    let answer = context
        .client()?
        .send(Request::delete(&["deployments", &args.name]))?;
    context.output.answer(answer, |_: &Value, page| {
        page.line(format!("removed {}", args.name));
    })
}

/// Asks a deployment.
pub fn predict(context: &Context, args: &Predict) -> Result<()> {
    let request = read_json(&args.request, "the request")?;
    let answer = context
        .client()?
        .send(Request::post(&["deployments", &args.name, "predict"]).json(&request))?;
    // The answer is whatever its processor makes of it.
    context.output.document(&answer)
}
