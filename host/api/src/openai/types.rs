//! Bodies and answers as OpenAI's API has them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A text to be continued. What is left out, the deployment decides.
#[derive(Clone, Debug, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CompletionBody {
    /// Name of a deployment.
    pub model: String,
    /// What is to be continued.
    pub prompt: PromptBody,
    /// Tokens at most. 0: nothing is generated, which makes sense with `echo`.
    #[serde(default)]
    pub max_tokens: Option<usize>,
    /// 0: always the likeliest token.
    #[serde(default)]
    pub temperature: Option<f32>,
    /// Only the likeliest tokens that together reach this probability.
    #[serde(default)]
    pub top_p: Option<f32>,
    /// Choices for each prompt.
    #[serde(default)]
    pub n: Option<usize>,
    /// Candidates to choose the best `n` from.
    #[serde(default)]
    pub best_of: Option<usize>,
    /// Whether the choices come piece by piece.
    #[serde(default)]
    pub stream: Option<bool>,
    /// How they come.
    #[serde(default)]
    pub stream_options: Option<StreamOptions>,
    /// The tokens are told with their log probabilities, and with this many alternatives.
    #[serde(default)]
    pub logprobs: Option<usize>,
    /// Whether the prompt comes first.
    #[serde(default)]
    pub echo: Option<bool>,
    /// What ends a choice.
    #[serde(default)]
    pub stop: Option<StopBody>,
    /// Of the sampling.
    #[serde(default)]
    pub seed: Option<i64>,
    /// Only 0 is supported.
    #[serde(default)]
    pub presence_penalty: Option<f64>,
    /// Only 0 is supported.
    #[serde(default)]
    pub frequency_penalty: Option<f64>,
    /// Not supported.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub logit_bias: Option<BTreeMap<String, Value>>,
    /// Not supported.
    #[serde(default)]
    pub suffix: Option<String>,
    /// Ignored.
    #[serde(default)]
    pub user: Option<String>,
    /// Beyond OpenAI: only the `k` likeliest tokens.
    #[serde(default)]
    pub top_k: Option<usize>,
    /// Beyond OpenAI: no ending before this many tokens.
    #[serde(default)]
    pub min_tokens: Option<usize>,
    /// Beyond OpenAI: more than 1 is a beam search.
    #[serde(default)]
    pub beams: Option<usize>,
}

/// What is to be continued: one prompt or several, as text or as token ids.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(
    untagged,
    expecting = "`prompt` must be a text, a list of texts, a list of token ids, or a list of such lists"
)]
pub(crate) enum PromptBody {
    /// One text.
    Text(String),
    /// One prompt, as token ids.
    Tokens(Vec<u32>),
    /// Several texts.
    Texts(Vec<String>),
    /// Several prompts, as token ids.
    TokenLists(Vec<Vec<u32>>),
}

/// What ends a choice; it is not part of it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(untagged, expecting = "`stop` must be a text or a list of texts")]
pub(crate) enum StopBody {
    /// One text.
    One(String),
    /// Whichever of several comes first.
    Several(Vec<String>),
}

/// How the pieces come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
pub(crate) struct StreamOptions {
    /// Whether a last piece without choices tells the usage.
    #[serde(default)]
    pub include_usage: bool,
}

/// A completion, or a piece of one.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct CompletionAnswer {
    /// The same for all pieces of one completion.
    pub id: String,
    /// Always `text_completion`.
    pub object: &'static str,
    /// Seconds since 1970.
    pub created: i64,
    /// The deployment.
    pub model: String,
    /// The choices: prompt by prompt, `n` for each.
    pub choices: Vec<ChoiceAnswer>,
    /// Tokens of the request. In a stream only the last piece has it, and only if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<UsageAnswer>)]
    pub usage: Option<Option<UsageAnswer>>,
}

/// A choice, or a piece of one.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct ChoiceAnswer {
    /// Its text.
    pub text: String,
    /// Its number.
    pub index: usize,
    /// Its tokens, where they were asked for.
    pub logprobs: Option<LogprobsAnswer>,
    /// `stop` or `length`; nothing while it goes on.
    pub finish_reason: Option<&'static str>,
}

/// Tokens with their log probabilities, in lists of equal length.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub(crate) struct LogprobsAnswer {
    /// The tokens' texts.
    pub tokens: Vec<String>,
    /// Nothing for a token that the model does not predict: the first of all.
    pub token_logprobs: Vec<Option<f32>>,
    /// The likeliest tokens at each place.
    pub top_logprobs: Vec<Option<BTreeMap<String, f32>>>,
    /// Where each token begins in the choice's text, in characters.
    pub text_offset: Vec<usize>,
}

/// Tokens of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct UsageAnswer {
    /// Of all prompts.
    pub prompt_tokens: usize,
    /// Generated, in all choices.
    pub completion_tokens: usize,
    /// Both.
    pub total_tokens: usize,
}

/// The models.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ModelsAnswer {
    /// Always `list`.
    pub object: &'static str,
    /// The deployments.
    pub data: Vec<ModelAnswer>,
}

/// A model: a deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ModelAnswer {
    /// The deployment's name.
    pub id: String,
    /// Always `model`.
    pub object: &'static str,
    /// Seconds since 1970.
    pub created: i64,
    /// What is deployed.
    pub owned_by: String,
}

/// A failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ErrorAnswer {
    /// What went wrong.
    pub error: ErrorDetail,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ErrorDetail {
    /// In words, with the remedy.
    pub message: String,
    /// `invalid_request_error`, `rate_limit_error`, `server_error`, ….
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The parameter that is wrong.
    pub param: Option<String>,
    /// A stable word.
    pub code: Option<String>,
}
