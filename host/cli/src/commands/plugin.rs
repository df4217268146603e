//! `tenon plugin …`.

use serde_json::Value;
use tenon_api::types::{PluginCheck, PluginDetail, PluginList, WorldCheck};
use tenon_registry::InstalledPlugin;

use super::Context;
use super::input::{file_body, word};
use crate::args::{
    CheckPlugin, InstallPlugins, ListPlugins, PluginCommand, RemovePlugin, ShowPlugin,
};
use crate::client::{Method, Request};
use crate::failure::{Failure, Result};
use crate::output::{Page, Table, text};

/// Does what the command line says.
pub fn run(context: &Context, command: PluginCommand) -> Result<()> {
    match command {
        PluginCommand::Install(args) => install(context, &args),
        PluginCommand::List(args) => list(context, &args),
        PluginCommand::Show(args) => show(context, &args),
        PluginCommand::Check(args) => check(context, &args),
        PluginCommand::Remove(args) => remove(context, &args),
    }
}

fn install(context: &Context, args: &InstallPlugins) -> Result<()> {
    // Every file is there before the first is installed.
    for path in &args.files {
        file_body(path, "")?;
    }
    let client = context.client()?;
    let mut installed = Vec::new();
    for path in &args.files {
        let request = Request::post(&["plugins"])
            .query_some("replace", args.replace.then_some("true"))
            .body(file_body(path, "application/wasm")?);
        let plugin = client
            .send(request)
            .map_err(|failure| failure.about(&path.display().to_string()))?;
        installed.push(plugin);
    }
    let plugins = serde_json::json!({ "plugins": installed });
    context.output.answer(plugins, |list: &PluginList, page| {
        for plugin in &list.plugins {
            page.line(format!(
                "installed {} {} ({})",
                plugin.kind,
                plugin.id(),
                text::digest(&plugin.digest, page.is_terminal())
            ));
        }
    })
}

fn list(context: &Context, args: &ListPlugins) -> Result<()> {
    let request = Request::get(&["plugins"]).query_some("kind", args.kind.map(word));
    let answer = context.client()?.send(request)?;
    context.output.answer(answer, |list: &PluginList, page| {
        let mut table = Table::new(["plugin", "version", "kind", ">size", "summary"]);
        for plugin in &list.plugins {
            table.row([
                plugin.name.clone(),
                plugin.version.clone(),
                plugin.kind.to_string(),
                text::bytes(plugin.size),
                plugin.summary.clone(),
            ]);
        }
        page.table(
            &table,
            "no plugins; install some with `tenon plugin install FILE…`",
        );
    })
}

fn show(context: &Context, args: &ShowPlugin) -> Result<()> {
    let request = plugin_request(Method::Get, &args.plugin);
    let answer = context.client()?.send(request)?;
    context
        .output
        .answer(answer, |detail: &PluginDetail, page| describe(detail, page))
}

fn describe(detail: &PluginDetail, page: &mut Page) {
    let plugin = &detail.plugin;
    let terminal = page.is_terminal();
    let others: Vec<_> = detail
        .versions
        .iter()
        .filter(|other| other.digest != plugin.digest)
        .map(|other| {
            let replaced = if other.replaced { " (replaced)" } else { "" };
            format!("{}{replaced}", other.version)
        })
        .collect();
    page.fields([
        ("plugin", plugin.id()),
        ("kind", plugin.kind.to_string()),
        ("summary", plugin.summary.clone()),
        ("digest", plugin.digest.clone()),
        ("size", text::bytes(plugin.size)),
        ("installed", text::moment(plugin.installed_at, terminal)),
        ("asks for", plugin.capabilities.join(", ")),
        ("versions", others.join(", ")),
    ]);
    settings(&plugin.config_schema, page);
    if let Some(readme) = &detail.readme {
        page.heading("README");
        page.line(readme.trim_end());
    }
}

/// The configuration as a table, as far as its schema is that simple.
fn settings(schema: &Value, page: &mut Page) {
    let Some(properties) = schema["properties"].as_object() else {
        return;
    };
    if properties.is_empty() {
        return;
    }
    let required: Vec<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    page.heading("configuration");
    let mut table = Table::new(["setting", "type", "default", "meaning"]);
    for (name, property) in properties {
        let kind = match &property["enum"] {
            Value::Array(words) => words.iter().map(text::value).collect::<Vec<_>>().join("|"),
            _ => match &property["type"] {
                Value::Array(kinds) => kinds.iter().map(text::value).collect::<Vec<_>>().join("|"),
                kind => text::value(kind),
            },
        };
        let default = match &property["default"] {
            Value::Null if required.contains(&name.as_str()) => "(needed)".to_owned(),
            default => text::value(default),
        };
        table.row([
            name.clone(),
            kind,
            default,
            text::value(&property["description"]),
        ]);
    }
    page.table(&table, "");
}

fn check(context: &Context, args: &CheckPlugin) -> Result<()> {
    let request =
        Request::post(&["plugins", "check"]).body(file_body(&args.file, "application/wasm")?);
    let path = args.file.display().to_string();
    let answer = context
        .client()?
        .send(request)
        .map_err(|failure| failure.about(&path))?;
    let fits = answer["kind"].is_string();
    context
        .output
        .answer(answer, |check: &PluginCheck, page| explain(check, page))?;
    if fits {
        Ok(())
    } else {
        Err(Failure::failed(
            "wrong-world",
            format!("{path} fits no world of the contract"),
        ))
    }
}

fn explain(check: &PluginCheck, page: &mut Page) {
    match &check.description {
        Some(about) => page.fields([
            ("plugin", format!("{}@{}", about.name, about.version)),
            ("kind", about.kind.clone()),
            ("summary", about.summary.clone()),
            ("digest", check.digest.clone()),
            ("asks for", about.capabilities.join(", ")),
            (
                "README",
                if check.has_readme { "yes" } else { "no" }.to_owned(),
            ),
        ]),
        None => page.fields([
            ("digest", check.digest.clone()),
            (
                "describes itself",
                "no: it was built without a description".to_owned(),
            ),
        ]),
    }
    for (title, names) in [("imports", &check.imports), ("exports", &check.exports)] {
        page.heading(title);
        for name in names {
            page.line(format!("  {name}"));
        }
        if names.is_empty() {
            page.line("  nothing");
        }
    }
    page.heading("worlds");
    for world in &check.worlds {
        let verdict = if world.fits { "fits" } else { "does not fit" };
        page.line(format!("  {} ({}): {verdict}", world.world, world.kind));
        // Three of four worlds are never meant: what they miss is noise.
        if !world.fits && (check.kind.is_none() || is_meant(world, check)) {
            for missing in &world.missing_exports {
                page.line(format!("    it does not export {missing}"));
            }
            for unknown in &world.unknown_imports {
                page.line(format!("    it imports {unknown}"));
            }
            for mismatch in &world.mismatches {
                page.line(format!("    {mismatch}"));
            }
        }
    }
}

fn is_meant(world: &WorldCheck, check: &PluginCheck) -> bool {
    let described = check.description.as_ref();
    described.is_some_and(|description| description.kind == world.kind)
}

fn remove(context: &Context, args: &RemovePlugin) -> Result<()> {
    let request = plugin_request(Method::Delete, &args.plugin)
        .query_some("force", args.force.then_some("true"));
    let answer = context.client()?.send(request)?;
    context
        .output
        .answer(answer, |plugin: &InstalledPlugin, page| {
            page.line(format!("removed {} ({})", plugin.id(), plugin.digest));
        })
}

/// `owner/name[@version]` is two segments, a digest is one.
fn plugin_request(method: Method, spec: &str) -> Request {
    let mut segments = vec!["plugins"];
    segments.extend(spec.splitn(2, '/'));
    Request::api(method, &segments)
}
