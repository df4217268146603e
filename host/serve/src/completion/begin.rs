//! From a request to a running completion.

use std::{collections::BTreeMap, sync::Arc};

use futures::stream;
use tenon_data::collate::Given;
use tenon_plugin::processor::Stages;

use super::{
    Completion, CompletionPrompt, CompletionRequest, TokenDetail,
    driver::{Driver, Plan},
};
use crate::{
    Result, ServeError,
    lane::Ticket,
    prepare::{Ready, blocking},
    scheduler::{Command, Generate, Score},
    service::Service,
};

/// Begins a completion.
pub(crate) async fn begin(
    service: Arc<Service>,
    ticket: Arc<Ticket>,
    request: CompletionRequest,
) -> Result<Completion> {
    request.check()?;
    if !service.generates() {
        return Err(ServeError::Invalid(format!(
            "the model of deployment `{}` does not generate; use predict",
            service.name
        )));
    }
    let request = Arc::new(request);
    let (preparing, asked, held) = (service.clone(), request.clone(), ticket.clone());
    let ready = blocking(move || {
        let _held = held;
        preparing.prepare_completion(&asked)
    })
    .await?;
    let mut settings = request.settings(ready.settings.clone());
    let nothing = settings.max_tokens == Some(0);
    if nothing {
        // Checked as if one were wanted.
        settings.max_tokens = Some(1);
    }
    settings.check()?;
    let mut plan = Plan {
        choices: request.choices(&settings),
        waits: request.waits(&settings),
        details: request.logprobs.is_some(),
        stop: request.stop.clone(),
        prompt: None,
        prompt_tokens: ready.prompt.sequences.iter().map(|s| s.tokens.len()).sum(),
    };
    if request.echo {
        plan.prompt = Some(echo(&service, &request, &ready).await?);
    }
    let mut driver = Driver::new(service.clone(), ticket.clone(), plan, ready.context.clone());
    if nothing {
        driver.generate_nothing();
    } else {
        let (id, replies) = service.generate(|id, replies| Generate {
            id,
            prompt: ready.prompt,
            settings,
            context: ready.context,
            announce: !driver.waits(),
            replies,
            ticket,
        })?;
        driver.listen(id, replies);
    }
    Ok(Completion::new(stream::unfold(
        driver,
        |mut driver| async move {
            let event = driver.next().await?;
            Some((event, driver))
        },
    )))
}

impl Service {
    fn prepare_completion(&self, request: &CompletionRequest) -> Result<Ready> {
        if self.processor(Stages::PREPROCESS).is_some() {
            return self.prepare(request.body());
        }
        let prompt = match &request.prompt {
            CompletionPrompt::Text(text) => Given::Text(text.clone()),
            CompletionPrompt::Tokens(tokens) => Given::Tokens(tokens.clone()),
        };
        let given = BTreeMap::from([(self.text_column()?.to_owned(), prompt)]);
        Ok(Ready {
            prompt: self.prompt(&given)?,
            settings: self.settings(),
            context: Vec::new(),
        })
    }

    /// A token's own text.
    pub(super) fn token_text(&self, token: u32) -> String {
        let bytes = self.tokenizer.as_ref().map(|t| t.token_bytes(token));
        String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
    }

    /// A token with what is told about it.
    pub(super) fn detail(
        &self,
        token: u32,
        log_probability: Option<f32>,
        alternatives: Vec<(u32, f32)>,
    ) -> TokenDetail {
        TokenDetail {
            token,
            text: self.token_text(token),
            log_probability,
            alternatives: alternatives
                .into_iter()
                .map(|(token, p)| (token, self.token_text(token), p))
                .collect(),
        }
    }
}

/// The prompt as it is repeated: its text and, where asked for, its tokens.
async fn echo(
    service: &Arc<Service>,
    request: &CompletionRequest,
    ready: &Ready,
) -> Result<(String, Vec<TokenDetail>)> {
    let Some(tokenizer) = &service.tokenizer else {
        return Err(ServeError::Internal("a model without a tokenizer".into()));
    };
    let (text, tokens) = match &request.prompt {
        CompletionPrompt::Text(text) => (text.clone(), tokenizer.encode(text)?),
        CompletionPrompt::Tokens(tokens) => (tokenizer.decode(tokens)?, tokens.clone()),
    };
    let Some(alternatives) = request.logprobs else {
        return Ok((text, Vec::new()));
    };
    let scores = service
        .ask(|reply| {
            Command::Score(Box::new(Score {
                prompt: ready.prompt.clone(),
                alternatives,
                reply,
            }))
        })
        .await?;
    // The recipe has put special tokens around it; or the model reads it as another sequence, which it
    // does not predict.
    let place = scores.windows(tokens.len().max(1)).position(|window| {
        window
            .iter()
            .map(|score| score.token)
            .eq(tokens.iter().copied())
    });
    let details = match place {
        Some(place) => scores
            .into_iter()
            .skip(place)
            .take(tokens.len())
            .map(|score| service.detail(score.token, score.log_probability, score.alternatives))
            .collect(),
        None => tokens
            .into_iter()
            .map(|token| service.detail(token, None, Vec::new()))
            .collect(),
    };
    Ok((text, details))
}
