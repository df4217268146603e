//! `POST /v1/completions`.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::Json;
use axum::extract::{FromRequest, Request, State};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use jiff::Timestamp;
use tenon_serve::{
    CompletionEvent, CompletionPrompt, CompletionRequest, Deployment, Deployments, ServeError,
};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::OpenAiError;
use super::stream::{self as pieces, Collected};
use super::types::{CompletionAnswer, CompletionBody, ErrorAnswer, PromptBody, StopBody};
use crate::error::ApiError;
use crate::extract::JsonBody;
use crate::router::Context;

/// Prompts of one request.
const MOST_PROMPTS: usize = 2048;
/// Prompts of one request that are served at a time: the others wait here, not in the deployment's
/// queue, where they would keep other clients out.
const SIDE_BY_SIDE: usize = 32;

/// The events of a request's prompts: each with the prompt's number.
pub(super) type Events = BoxStream<'static, (usize, Result<CompletionEvent, ServeError>)>;

pub(super) fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::new().routes(routes!(complete))
}

/// Continues a text. With `stream`, server-sent events: `data: {…}` for each piece, at last
/// `data: [DONE]`.
#[utoipa::path(
    post, path = "/v1/completions", tag = "openai", request_body = CompletionBody,
    responses(
        (status = 200, description = "The completion, or its pieces", content(
            (CompletionAnswer = "application/json"),
            (CompletionAnswer = "text/event-stream"),
        )),
        (status = "default", body = ErrorAnswer),
    )
)]
async fn complete(
    State(context): State<Context>,
    request: Request,
) -> Result<Response, OpenAiError> {
    let JsonBody(body) = JsonBody::<CompletionBody>::from_request(request, &context).await?;
    check(&body)?;
    let prompts = prompts(&body.prompt)?;
    let wanted = request_of(&body);
    let deployment = context.app.deployments.get(&body.model);
    let deployment = deployment.map_err(|error| OpenAiError::of_model(ApiError::from(error)))?;
    let per_prompt = choices(&body, &deployment, prompts.len())?;
    let head = Head::new(deployment.name);
    let events = run(
        context.app.deployments.clone(),
        &head.model,
        wanted,
        prompts,
    );
    if body.stream == Some(true) {
        let include_usage = body.stream_options.unwrap_or_default().include_usage;
        return Ok(pieces::send(head, per_prompt, events, include_usage)
            .await?
            .into_response());
    }
    let mut events = events;
    let mut collected = Collected::default();
    while let Some((prompt, event)) = events.next().await {
        collected.add(prompt, event.map_err(ApiError::from)?);
    }
    Ok(Json(collected.answer(head)).into_response())
}

/// Choices of each prompt, which number those of the next one. With one prompt it does not matter; with
/// several, nobody but the request may decide it.
fn choices(
    body: &CompletionBody,
    deployment: &Deployment,
    prompts: usize,
) -> Result<usize, OpenAiError> {
    let decided = body.n.or(body.best_of.map(|_| 1));
    let default = deployment.spec.generation.count.unwrap_or(1) as usize;
    if body.stream == Some(true)
        && prompts > 1
        && decided.is_none()
        && deployment.processor.is_some()
    {
        let message = "several prompts in a stream need `n`: the deployment's processor may ask for any \
                       number of choices";
        return Err(OpenAiError::param("n", message));
    }
    Ok(decided.unwrap_or(default))
}

/// What all pieces of a completion say.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub id: String,
    pub created: i64,
    pub model: String,
}

impl Head {
    fn new(model: String) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let now = Timestamp::now();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            id: format!("cmpl-{:016x}{number:08x}", now.as_nanosecond() as u64),
            created: now.as_second(),
            model,
        }
    }

    /// An answer without choices.
    pub(super) fn answer(&self) -> CompletionAnswer {
        CompletionAnswer {
            id: self.id.clone(),
            object: "text_completion",
            created: self.created,
            model: self.model.clone(),
            choices: Vec::new(),
            usage: None,
        }
    }
}

/// Refuses what would be ignored.
fn check(body: &CompletionBody) -> Result<(), OpenAiError> {
    for (name, penalty) in [
        ("presence_penalty", body.presence_penalty),
        ("frequency_penalty", body.frequency_penalty),
    ] {
        if penalty.is_some_and(|penalty| penalty != 0.0) {
            return Err(OpenAiError::param(name, format!("{name} is not supported")));
        }
    }
    if body
        .logit_bias
        .as_ref()
        .is_some_and(|bias| !bias.is_empty())
    {
        let message = "logit_bias is not supported: a processor can constrain tokens";
        return Err(OpenAiError::param("logit_bias", message));
    }
    if body
        .suffix
        .as_ref()
        .is_some_and(|suffix| !suffix.is_empty())
    {
        return Err(OpenAiError::param("suffix", "suffix is not supported"));
    }
    if body.stream_options.is_some() && body.stream != Some(true) {
        let message = "stream_options needs `stream`";
        return Err(OpenAiError::param("stream_options", message));
    }
    Ok(())
}

fn prompts(body: &PromptBody) -> Result<Vec<CompletionPrompt>, OpenAiError> {
    let prompts: Vec<CompletionPrompt> = match body {
        PromptBody::Text(text) => vec![CompletionPrompt::Text(text.clone())],
        PromptBody::Tokens(tokens) => vec![CompletionPrompt::Tokens(tokens.clone())],
        PromptBody::Texts(texts) => texts.iter().cloned().map(CompletionPrompt::Text).collect(),
        PromptBody::TokenLists(lists) => lists
            .iter()
            .cloned()
            .map(CompletionPrompt::Tokens)
            .collect(),
    };
    if prompts.is_empty() || prompts.len() > MOST_PROMPTS {
        return Err(OpenAiError::param(
            "prompt",
            format!(
                "there are {} prompts; one request has between 1 and {MOST_PROMPTS}",
                prompts.len()
            ),
        ));
    }
    Ok(prompts)
}

/// The request of each prompt, still with an empty one.
fn request_of(body: &CompletionBody) -> CompletionRequest {
    CompletionRequest {
        max_tokens: body.max_tokens,
        min_tokens: body.min_tokens,
        temperature: body.temperature,
        top_p: body.top_p,
        top_k: body.top_k,
        n: body.n,
        best_of: body.best_of,
        beams: body.beams,
        stop: match &body.stop {
            None => Vec::new(),
            Some(StopBody::One(text)) => vec![text.clone()],
            Some(StopBody::Several(texts)) => texts.clone(),
        },
        seed: body.seed.map(i64::cast_unsigned),
        echo: body.echo.unwrap_or(false),
        logprobs: body.logprobs,
        ..CompletionRequest::text("")
    }
}

/// Runs the prompts, some at a time. Dropping the stream cancels them.
fn run(
    deployments: Deployments,
    model: &str,
    request: CompletionRequest,
    prompts: Vec<CompletionPrompt>,
) -> Events {
    let model = model.to_owned();
    let streams = prompts
        .into_iter()
        .enumerate()
        .map(move |(number, prompt)| {
            let (deployments, model) = (deployments.clone(), model.clone());
            let request = CompletionRequest {
                prompt,
                ..request.clone()
            };
            let begun = async move {
                match deployments.complete(&model, request).await {
                    Ok(completion) => completion.map(move |event| (number, event)).boxed(),
                    Err(error) => stream::once(async move { (number, Err(error)) }).boxed(),
                }
            };
            stream::once(begun).flatten().boxed()
        });
    stream::iter(streams)
        .flatten_unordered(SIDE_BY_SIDE)
        .boxed()
}
