//! One request, one answer.

use std::sync::Arc;

use serde_json::{Value, json};
use tenon_model::Finish;
use tenon_plugin::processor::{self, Output, Stages};

use crate::{
    Result, ServeError,
    lane::Ticket,
    prepare::{Ready, blocking},
    scheduler::{Command, Generate, Predict, Reply},
    service::Service,
};

/// Answers a request. Dropping the future cancels it.
pub(crate) async fn predict(
    service: Arc<Service>,
    ticket: Arc<Ticket>,
    body: Value,
) -> Result<Value> {
    let preparing = service.clone();
    let held = ticket.clone();
    let Ready {
        prompt,
        settings,
        context,
    } = blocking(move || {
        // Held here too: a thread that is busy for somebody who is gone still counts.
        let _held = held;
        preparing.prepare(body)
    })
    .await?;
    let output = if service.generates() {
        let asked = context.clone();
        let (_, mut replies) = service.generate(|id, replies| Generate {
            id,
            prompt,
            settings,
            context: asked,
            announce: false,
            replies,
            ticket: ticket.clone(),
        })?;
        match replies.recv().await {
            Some(Reply::Done(candidates)) => {
                Output::Generated(candidates.into_iter().map(candidate).collect())
            }
            Some(Reply::Failed(error)) => return Err(error),
            // Nothing is announced.
            Some(Reply::Token { .. } | Reply::Ended { .. }) | None => return Err(service.lost()),
        }
    } else {
        let held = ticket.clone();
        let arrays = service.ask(|reply| {
            Command::Predict(Box::new(Predict {
                prompt,
                reply,
                ticket: held,
            }))
        });
        Output::Arrays(arrays.await?)
    };
    if service.processor(Stages::POSTPROCESS).is_none() {
        return Ok(plain(output));
    }
    blocking(move || {
        let _held = ticket;
        service.postprocess(&context, &output)
    })
    .await
}

impl Service {
    fn postprocess(&self, context: &[u8], output: &Output) -> Result<Value> {
        let Some(pool) = self.processor(Stages::POSTPROCESS) else {
            return Err(ServeError::Internal("there is no postprocess".into()));
        };
        let answer = pool.with(|processor| processor.postprocess(context, output))?;
        // It was checked to be JSON.
        serde_json::from_str(&answer).map_err(|error| ServeError::Internal(error.to_string()))
    }
}

/// A candidate as the contract has it.
pub(crate) fn candidate(candidate: tenon_model::Candidate) -> processor::Candidate {
    processor::Candidate {
        text: candidate.text,
        tokens: candidate.tokens,
        log_probability: candidate.log_probability,
        finish: match candidate.finish {
            Finish::Stop => processor::Finish::Stop,
            Finish::Length => processor::Finish::Length,
            Finish::Constraint => processor::Finish::Constraint,
        },
    }
}

/// The answer where no processor makes one.
fn plain(output: Output) -> Value {
    let outputs: Vec<Value> = match output {
        Output::Generated(candidates) => candidates
            .into_iter()
            .map(|candidate| {
                let finish = match candidate.finish {
                    processor::Finish::Stop => "stop",
                    processor::Finish::Length => "length",
                    processor::Finish::Constraint => "constraint",
                };
                json!({
                    "text": candidate.text,
                    "log_probability": candidate.log_probability,
                    "finish": finish,
                })
            })
            .collect(),
        Output::Arrays(arrays) => arrays
            .into_iter()
            .map(
                |array| json!({ "name": array.name, "shape": array.shape, "values": array.values }),
            )
            .collect(),
    };
    json!({ "outputs": outputs })
}
