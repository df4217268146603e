//! `tenon tokenizer …`.

use serde_json::json;
use tenon_api::types::{EndEvent, TokenizerList, TrainTokenizerRequest};
use tenon_data::TokenizerRecord;

use super::input::file_body;
use super::{Context, follow};
use crate::args::{
    ImportTokenizer, ShowTokenizer, TokenizerCommand, TokenizerKind, TrainTokenizer,
};
use crate::client::Request;
use crate::failure::Result;
use crate::output::{Page, Table, text};

/// Does what the command line says.
pub fn run(context: &Context, command: TokenizerCommand) -> Result<()> {
    match command {
        TokenizerCommand::Train(args) => train(context, args),
        TokenizerCommand::Import(args) => import(context, &args),
        TokenizerCommand::List => list(context),
        TokenizerCommand::Show(args) => show(context, &args),
    }
}

fn train(context: &Context, args: TrainTokenizer) -> Result<()> {
    let request = TrainTokenizerRequest {
        dataset: args.dataset,
        columns: args.columns,
        kind: match args.kind {
            None | Some(TokenizerKind::Char) => tenon_data::TokenizerKind::Char,
            Some(TokenizerKind::Bpe) => tenon_data::TokenizerKind::Bpe,
        },
        vocabulary: args.vocabulary,
        min_frequency: args.min_frequency,
        special_tokens: (!args.special_tokens.is_empty()).then_some(args.special_tokens),
        unknown_token: None,
        experiment: None,
        tags: Default::default(),
    };
    let client = context.client()?;
    let request = Request::post(&["tokenizers", &args.name, "train"]).json(&json!(request));
    let run = client.typed(request)?;
    follow::to_the_end(
        context,
        &client,
        &run,
        |end: &EndEvent, page| match serde_json::from_value(end.report.clone().unwrap_or_default())
        {
            Ok(record) => describe(&record, page),
            Err(_) => page.line(format!("run {} finished", end.run.id)),
        },
    )
}

fn import(context: &Context, args: &ImportTokenizer) -> Result<()> {
    let request =
        Request::put(&["tokenizers", &args.name]).body(file_body(&args.file, "application/json")?);
    let path = args.file.display().to_string();
    let answer = context
        .client()?
        .send(request)
        .map_err(|failure| failure.about(&path))?;
    context
        .output
        .answer(answer, |record: &TokenizerRecord, page| {
            describe(record, page)
        })
}

fn list(context: &Context) -> Result<()> {
    let answer = context.client()?.send(Request::get(&["tokenizers"]))?;
    context.output.answer(answer, |list: &TokenizerList, page| {
        let terminal = page.is_terminal();
        let mut table = Table::new(["tokenizer", ">vocabulary", "kind", "made", "trained on"]);
        for record in &list.tokenizers {
            table.row([
                format!("{}@{}", record.name, record.version),
                text::count(u64::from(record.vocabulary)),
                kind(record),
                text::moment_of(&record.created_at, terminal),
                record
                    .trained_on
                    .as_ref()
                    .map_or_else(String::new, |source| source.dataset.clone()),
            ]);
        }
        page.table(
            &table,
            "no tokenizers; train one with `tenon tokenizer train NAME …`",
        );
    })
}

fn show(context: &Context, args: &ShowTokenizer) -> Result<()> {
    let answer = context
        .client()?
        .send(Request::get(&["tokenizers", &args.tokenizer]))?;
    context
        .output
        .answer(answer, |record: &TokenizerRecord, page| {
            describe(record, page)
        })
}

fn describe(record: &TokenizerRecord, page: &mut Page) {
    let source = record.trained_on.as_ref();
    let from = |value: &dyn Fn(&tenon_data::tokenizer::TrainingSource) -> String| {
        source.map_or_else(String::new, value)
    };
    page.fields([
        ("tokenizer", format!("{}@{}", record.name, record.version)),
        ("kind", kind(record)),
        ("vocabulary", text::count(u64::from(record.vocabulary))),
        ("special tokens", record.special_tokens.join(" ")),
        ("digest", record.digest.clone()),
        (
            "made",
            text::moment_of(&record.created_at, page.is_terminal()),
        ),
        ("trained on", from(&|source| source.dataset.clone())),
        ("columns", from(&|source| source.columns.join(", "))),
    ]);
}

fn kind(record: &TokenizerRecord) -> String {
    match record.kind {
        Some(tenon_data::TokenizerKind::Char) => "char",
        Some(tenon_data::TokenizerKind::Bpe) => "bpe",
        None => "imported",
    }
    .to_owned()
}
