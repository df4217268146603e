//! `tenon model …`.

use serde_json::{Value, json};
use tenon_api::types::{ModelDetail, ModelList, ModelVersions, RegisterRequest};
use tenon_track::{ModelVersion, Origin, RegisteredModel};

use super::{Context, model_export, model_import};
use crate::args::{AliasModel, ModelCommand, RegisterModel, ShowModel};
use crate::client::Request;
use crate::failure::Result;
use crate::output::{Page, Table, text};

/// Does what the command line says.
pub fn run(context: &Context, command: ModelCommand) -> Result<()> {
    match command {
        ModelCommand::List => list(context),
        ModelCommand::Show(args) => show(context, &args),
        ModelCommand::Register(args) => register(context, args),
        ModelCommand::Alias(args) => alias(context, &args),
        ModelCommand::Import(args) => model_import::import(context, &args),
        ModelCommand::Export(args) => model_export::export(context, &args),
    }
}

fn list(context: &Context) -> Result<()> {
    let answer = context.client()?.send(Request::get(&["models"]))?;
    context.output.answer(answer, |list: &ModelList, page| {
        let terminal = page.is_terminal();
        let mut table = Table::new(["model", ">latest", "aliases", "changed", "description"]);
        for model in &list.models {
            table.row([
                model.name.clone(),
                model.latest.to_string(),
                aliases(model),
                text::moment(model.updated, terminal),
                model.description.clone(),
            ]);
        }
        page.table(
            &table,
            "no models; register one with `tenon model register NAME RUN`, or import one",
        );
    })
}

fn aliases(model: &RegisteredModel) -> String {
    let aliases = model.aliases.iter();
    let aliases = aliases.map(|(alias, version)| format!("{alias} → {version}"));
    aliases.collect::<Vec<_>>().join(", ")
}

fn show(context: &Context, args: &ShowModel) -> Result<()> {
    let client = context.client()?;
    let mut answer = client.send(Request::get(&["models", &args.model]))?;
    if args.model.contains('@') {
        return context.output.answer(answer, |detail: &ModelDetail, page| {
            if let Some(version) = &detail.version {
                describe(version, page);
            }
        });
    }
    let versions = client.send(Request::get(&["models", &args.model, "versions"]))?;
    if let (Value::Object(answer), Some(versions)) = (&mut answer, versions.get("versions")) {
        answer.insert("versions".to_owned(), versions.clone());
    }
    let versions: ModelVersions = serde_json::from_value(versions).map_err(|error| {
        crate::failure::Failure::failed("protocol", format!("these are no versions: {error}"))
    })?;
    context.output.answer(answer, |detail: &ModelDetail, page| {
        overview(&detail.model, &versions.versions, page);
    })
}

fn overview(model: &RegisteredModel, versions: &[ModelVersion], page: &mut Page) {
    let terminal = page.is_terminal();
    page.fields([
        ("model", model.name.clone()),
        ("description", model.description.clone()),
        ("aliases", aliases(model)),
        ("made", text::moment(model.created, terminal)),
    ]);
    page.heading("versions");
    let mut table = Table::new([
        ">version",
        "registered",
        "recipe",
        "run",
        "parent",
        "metrics",
    ]);
    for version in versions {
        let manifest = &version.manifest;
        let metrics = manifest.metrics.iter();
        let metrics = metrics.map(|(name, value)| format!("{name} {}", text::number(*value)));
        table.row([
            version.version.to_string(),
            text::moment(version.created, terminal),
            format!("{}@{}", manifest.recipe.name, manifest.recipe.version),
            manifest.run.clone().unwrap_or_default(),
            manifest.parent.clone().unwrap_or_default(),
            metrics.collect::<Vec<_>>().join(", "),
        ]);
    }
    page.table(&table, "no versions");
}

fn describe(version: &ModelVersion, page: &mut Page) {
    let manifest = &version.manifest;
    page.fields([
        ("model", format!("{}@{}", version.model, version.version)),
        ("description", version.description.clone()),
        (
            "registered",
            text::moment(version.created, page.is_terminal()),
        ),
        ("digest", version.digest.clone()),
        ("run", manifest.run.clone().unwrap_or_default()),
        (
            "imported from",
            manifest.origin.as_ref().map(origin).unwrap_or_default(),
        ),
        ("parent", manifest.parent.clone().unwrap_or_default()),
        (
            "recipe",
            format!(
                "{}@{} ({})",
                manifest.recipe.name, manifest.recipe.version, manifest.recipe.digest
            ),
        ),
        ("configuration", manifest.recipe_config.to_string()),
        ("vocabulary", text::count(u64::from(manifest.vocabulary))),
        ("tokenizer", manifest.tokenizer.clone().unwrap_or_default()),
        ("weights", manifest.weights.clone()),
    ]);
    if !manifest.metrics.is_empty() {
        page.heading("metrics");
        let mut table = Table::new(["metric", ">value"]);
        for (name, value) in &manifest.metrics {
            table.row([name.clone(), text::number(*value)]);
        }
        page.table(&table, "");
    }
}

fn origin(origin: &Origin) -> String {
    let mut text = origin.source.clone();
    if let Some(revision) = &origin.revision {
        text.push_str(&format!(" at {revision}"));
    }
    if let Some(hub) = &origin.hub {
        text.push_str(&format!(" ({hub})"));
    }
    text
}

fn register(context: &Context, args: RegisterModel) -> Result<()> {
    let request = RegisterRequest {
        run: args.run,
        description: args.description.unwrap_or_default(),
        ..RegisterRequest::default()
    };
    let request = Request::post(&["models", &args.model, "versions"]).json(&json!(request));
    let answer = context.client()?.send(request)?;
    context
        .output
        .answer(answer, |version: &ModelVersion, page| {
            page.line(format!(
                "registered {}@{} ({})",
                version.model,
                version.version,
                text::digest(&version.digest, page.is_terminal())
            ));
        })
}

fn alias(context: &Context, args: &AliasModel) -> Result<()> {
    let path = ["models", &args.model, "aliases", &args.alias];
    let request = match args.version {
        Some(version) => Request::put(&path).json(&json!({ "version": version })),
        None => Request::delete(&path),
    };
    let answer = context.client()?.send(request)?;
    context.output.answer(answer, |_: &Value, page| {
        page.line(match args.version {
            Some(version) => format!("{}@{} is version {version}", args.model, args.alias),
            None => format!("{}@{} is no more", args.model, args.alias),
        });
    })
}
