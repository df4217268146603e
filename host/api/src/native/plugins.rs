//! Plugins: installing, checking, listing, removing.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use tenon_plugin::PluginError;
use tenon_registry::{InstallOptions, InstalledPlugin, RegistryError};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::{App, blocking};
use crate::error::{ApiError, Result};
use crate::extract::{UrlPath, UrlQuery, read};
use crate::router::Context;
use crate::types::{
    ErrorBody, InstallQuery, ListPluginsQuery, PluginCheck, PluginDescription, PluginDetail,
    PluginList, RemoveQuery, WorldCheck,
};

pub(super) fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::new()
        .routes(routes!(list, install))
        .routes(routes!(check))
        .routes(routes!(show_digest, remove_digest))
        .routes(routes!(show, remove))
}

/// The installed plugins.
#[utoipa::path(
    get, path = "/api/v1/plugins", tag = "plugins", params(ListPluginsQuery),
    responses((status = 200, body = PluginList), (status = "default", body = ErrorBody))
)]
async fn list(
    State(context): State<Context>,
    UrlQuery(query): UrlQuery<ListPluginsQuery>,
) -> Result<Json<PluginList>> {
    let plugins = blocking(move || {
        let registry = &context.platform.registry;
        let mut plugins = if query.all {
            registry.list_all()?
        } else {
            registry.list()?
        };
        if let Some(kind) = &query.kind {
            if !tenon_plugin::Kind::ALL
                .iter()
                .any(|known| known.name() == kind)
            {
                return Err(ApiError::invalid(format!("`{kind}` is no kind of plugin"))
                    .with_hint("the kinds are transform, recipe, evaluator and processor"));
            }
            plugins.retain(|plugin| plugin.kind.name() == kind);
        }
        Ok(PluginList { plugins })
    });
    Ok(Json(plugins.await?))
}

/// Installs a component: the body is its bytes. The same bytes again change nothing.
#[utoipa::path(
    post, path = "/api/v1/plugins", tag = "plugins", params(InstallQuery),
    request_body(content = Vec<u8>, content_type = "application/wasm"),
    responses((status = 201, body = InstalledPlugin), (status = "default", body = ErrorBody))
)]
async fn install(
    State(context): State<Context>,
    UrlQuery(query): UrlQuery<InstallQuery>,
    request: Request,
) -> Result<(StatusCode, Json<InstalledPlugin>)> {
    let bytes = read(request, context.limits.component, "a component").await?;
    let plugin = blocking(move || {
        let options = InstallOptions {
            replace: query.replace,
        };
        let installed = context.platform.registry.install(&bytes, options);
        installed.map_err(|error| match error {
            RegistryError::Plugin(error) => refused(&error),
            RegistryError::Conflict { .. } => ApiError::from(error)
                .with_hint("raise the plugin's version, or install it with `replace`"),
            error => error.into(),
        })
    });
    Ok((StatusCode::CREATED, Json(plugin.await?)))
}

/// Whatever a component does while it is installed is the fault of the component.
fn refused(error: &PluginError) -> ApiError {
    let failure = ApiError::from(error);
    if failure.is_servers_fault() && !matches!(error, PluginError::Host(_)) {
        failure.with_status(StatusCode::UNPROCESSABLE_ENTITY)
    } else {
        failure
    }
}

/// Tells what a component is, without installing it: the body is its bytes.
#[utoipa::path(
    post, path = "/api/v1/plugins/check", tag = "plugins",
    request_body(content = Vec<u8>, content_type = "application/wasm"),
    responses((status = 200, body = PluginCheck), (status = "default", body = ErrorBody))
)]
async fn check(State(context): State<Context>, request: Request) -> Result<Json<PluginCheck>> {
    let bytes = read(request, context.limits.component, "a component").await?;
    let report = blocking(move || Ok(tenon_plugin::check(&bytes)?)).await?;
    Ok(Json(PluginCheck {
        kind: report.kind().map(|kind| kind.name().to_owned()),
        summary: report.to_string(),
        digest: report.digest,
        imports: report.imports,
        exports: report.exports,
        description: report.description.map(|description| PluginDescription {
            name: description.name,
            version: description.version,
            kind: description.kind.name().to_owned(),
            summary: description.summary,
            config_schema: description.config_schema,
            capabilities: description.capabilities,
        }),
        has_readme: report.has_readme,
        worlds: report
            .worlds
            .into_iter()
            .map(|world| WorldCheck {
                kind: world.kind.name().to_owned(),
                fits: world.fits(),
                world: world.world,
                missing_exports: world.missing_exports,
                unknown_imports: world.unknown_imports,
                mismatches: world.mismatches,
            })
            .collect(),
    }))
}

/// A plugin by name, `name` or `name@version`.
#[utoipa::path(
    get, path = "/api/v1/plugins/{owner}/{plugin}", tag = "plugins",
    params(
        ("owner" = String, Path, description = "What stands before the slash of the name"),
        ("plugin" = String, Path, description = "What stands after it; `name@version` for a version"),
    ),
    responses((status = 200, body = PluginDetail), (status = "default", body = ErrorBody))
)]
async fn show(
    State(context): State<Context>,
    UrlPath((owner, plugin)): UrlPath<(String, String)>,
) -> Result<Json<PluginDetail>> {
    detail(context, format!("{owner}/{plugin}")).await
}

/// A plugin by its digest, or the first digits of it.
#[utoipa::path(
    get, path = "/api/v1/plugins/{digest}", tag = "plugins",
    params(("digest" = String, Path, description = "`sha256:` and at least 8 digits")),
    responses((status = 200, body = PluginDetail), (status = "default", body = ErrorBody))
)]
async fn show_digest(
    State(context): State<Context>,
    UrlPath(digest): UrlPath<String>,
) -> Result<Json<PluginDetail>> {
    detail(context, digest).await
}

async fn detail(context: Context, spec: String) -> Result<Json<PluginDetail>> {
    let detail = blocking(move || {
        let registry = &context.platform.registry;
        let plugin = registry.find(&spec)?;
        let mut versions = registry.list_all()?;
        versions.retain(|other| other.name == plugin.name);
        let readme = if plugin.has_readme {
            registry.readme(&plugin.digest)?
        } else {
            None
        };
        Ok(PluginDetail {
            readme,
            plugin,
            versions,
        })
    });
    Ok(Json(detail.await?))
}

/// Removes a plugin by name, `name` (its highest version) or `name@version`.
#[utoipa::path(
    delete, path = "/api/v1/plugins/{owner}/{plugin}", tag = "plugins",
    params(
        ("owner" = String, Path, description = "What stands before the slash of the name"),
        ("plugin" = String, Path, description = "What stands after it; `name@version` for a version"),
        RemoveQuery,
    ),
    responses((status = 200, body = InstalledPlugin), (status = "default", body = ErrorBody))
)]
async fn remove(
    State(context): State<Context>,
    UrlPath((owner, plugin)): UrlPath<(String, String)>,
    UrlQuery(query): UrlQuery<RemoveQuery>,
) -> Result<Json<InstalledPlugin>> {
    delete(context, format!("{owner}/{plugin}"), query.force).await
}

/// Removes a plugin by its digest.
#[utoipa::path(
    delete, path = "/api/v1/plugins/{digest}", tag = "plugins",
    params(("digest" = String, Path, description = "`sha256:` and at least 8 digits"), RemoveQuery),
    responses((status = 200, body = InstalledPlugin), (status = "default", body = ErrorBody))
)]
async fn remove_digest(
    State(context): State<Context>,
    UrlPath(digest): UrlPath<String>,
    UrlQuery(query): UrlQuery<RemoveQuery>,
) -> Result<Json<InstalledPlugin>> {
    delete(context, digest, query.force).await
}

async fn delete(context: Context, spec: String, force: bool) -> Result<Json<InstalledPlugin>> {
    let removed = blocking(move || {
        let registry = &context.platform.registry;
        let plugin = registry.find(&spec)?;
        let user = if force {
            None
        } else {
            user_of(&context.app, &plugin)?
        };
        Ok(registry.remove(&plugin.digest, |_| user)?)
    });
    Ok(Json(removed.await?))
}

/// What still needs a plugin.
fn user_of(app: &App, plugin: &InstalledPlugin) -> Result<Option<String>> {
    if let Some(name) = app.deployments.using_plugin(&plugin.digest).first() {
        return Ok(Some(format!("the deployment `{name}`")));
    }
    let versions = app.platform.tracker.all_versions()?;
    let model = versions
        .iter()
        .find(|version| version.manifest.recipe.digest == plugin.digest);
    Ok(model.map(|version| format!("the model {}@{}", version.model, version.version)))
}
