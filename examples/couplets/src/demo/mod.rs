//! The reference demo: raw text becomes a served model, every step a command that a user would type.

mod plan;
mod report;
mod tenon;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

pub use plan::Plan;
use report::{Row, table};
use tenon::Tenon;

use crate::corpus;

/// What one run of the demo needs to know.
#[derive(Debug, Clone)]
pub struct Options {
    /// The `tenon` binary.
    pub tenon: PathBuf,
    /// The folder with the built components.
    pub plugins: PathBuf,
    /// Real data; nothing: a corpus is made.
    pub data: Option<PathBuf>,
    /// Tenon's data folder.
    pub home: PathBuf,
    /// Where the service listens; 0: a free port.
    pub port: u16,
    /// Minutes of training in all; nothing: what the plan says.
    pub minutes: Option<f64>,
    /// Whether the server ends with the demo instead of going on until Ctrl-C.
    pub exit: bool,
}

const PLUGINS: [&str; 11] = [
    "recipe-palm",
    "recipe-gpt",
    "transform-normalize",
    "transform-filter",
    "transform-dedup",
    "transform-split",
    "transform-continuation",
    "evaluator-perplexity",
    "evaluator-retrieval",
    "evaluator-couplet-rules",
    "evaluator-text-overlap",
];

/// Upper lines that the served model is asked to answer.
const UPPER: [&str; 3] = ["明月松间照", "白云生远岫", "春风吹柳千山绿"];

/// Runs the demo.
///
/// # Errors
/// The first step that fails; it has said why on standard error.
pub fn run(options: &Options) -> Result<()> {
    let started = Instant::now();
    let corpus = corpus_folder(options)?;
    let mut plan = match options.data {
        Some(_) => Plan::real(),
        None => Plan::synthetic(),
    };
    if let Some(minutes) = options.minutes {
        plan = plan.minutes(minutes);
    }
    let tenon = Tenon::start(
        options.tenon.clone(),
        options.home.join("data"),
        options.port,
    )?;
    install(&tenon, &options.plugins)?;
    prepare(&tenon, &corpus)?;

    // Tokens are characters: those of all text that the model will see.
    let size = plan.vocabulary.to_string();
    tenon.run(&[
        "tokenizer",
        "train",
        "couplets",
        "--dataset",
        "lines#train",
        "--columns",
        "src_txt,tgt_txt",
        "--vocabulary",
        &size,
    ])?;

    let jobs = options.home.join("jobs");
    fs::create_dir_all(&jobs).with_context(|| format!("cannot make {}", jobs.display()))?;
    train(&tenon, &jobs, "pre-train", &plan.pretrain("lines"))?;
    let before = evaluate(&tenon, &jobs, "before", "couplets-pretrained", plan.rows)?;
    train(&tenon, &jobs, "fine-tune", &plan.finetune("pairs"))?;
    let after = evaluate(&tenon, &jobs, "after", "couplets", plan.rows)?;

    tenon.run(&[
        "deploy",
        "couplets",
        "couplets",
        "--processor",
        &step("tenon/couplet", &json!({"tones": tone_columns()})),
        "--grant",
        "tones=tones",
    ])?;
    let (answers, curl) = ask(&tenon, &corpus)?;

    println!(
        "\nBefore and after fine-tuning, on couplets that neither has seen (95 % bootstrap intervals):\n"
    );
    print!(
        "{}",
        table(&ROWS, &[("pre-trained", &before), ("fine-tuned", &after)])
    );
    println!("\nThree couplets (the constraint guarantees length, tones and no repeats):\n");
    for (upper, lower) in &answers {
        println!("  {upper}  {lower}");
    }
    if options.data.is_none() {
        println!(
            "\nThe corpus was made by rules from a small lexicon: the model has learnt these rules, not poetry."
        );
    }
    println!("\nThe service answers at {}:\n\n  {curl}\n", tenon.address);
    println!(
        "The demo took {:.1} minutes.",
        started.elapsed().as_secs_f64() / 60.0
    );
    if options.exit {
        return Ok(());
    }
    println!("Ctrl-C ends the service.");
    tenon.wait()
}

/// The metrics of the table, as the evaluation runs log them.
const ROWS: [Row; 7] = [
    Row {
        label: "perplexity",
        metric: "perplexity/perplexity",
        percent: false,
        higher_is_better: Some(false),
    },
    Row {
        label: "true line found among 20",
        metric: "retrieval/accuracy",
        percent: true,
        higher_is_better: Some(true),
    },
    Row {
        label: "equal length",
        metric: "couplet-rules/equal_length",
        percent: true,
        higher_is_better: Some(true),
    },
    Row {
        label: "opposed tones",
        metric: "couplet-rules/opposed_tones",
        percent: true,
        higher_is_better: Some(true),
    },
    Row {
        label: "all rules, unconstrained",
        metric: "couplet-rules/all_rules",
        percent: true,
        higher_is_better: Some(true),
    },
    Row {
        label: "distinct bigrams",
        metric: "text-overlap/distinct_2",
        percent: true,
        higher_is_better: Some(true),
    },
    Row {
        label: "copied from training",
        metric: "text-overlap/copied",
        percent: true,
        higher_is_better: Some(false),
    },
];

/// The folder with the four files: the given one, or one that is made.
fn corpus_folder(options: &Options) -> Result<PathBuf> {
    if let Some(folder) = &options.data {
        return Ok(folder.clone());
    }
    let folder = options.home.join("corpus");
    let size = corpus::Size {
        poems: 20_000,
        train: 40_000,
        dev: 1_000,
    };
    corpus::write(&folder, size, 1)?;
    Ok(folder)
}

/// `NAME` in the folder, packed or not.
fn file(folder: &Path, name: &str) -> Result<String> {
    let found = [folder.join(name), folder.join(format!("{name}.gz"))]
        .into_iter()
        .find(|path| path.is_file());
    let path =
        found.with_context(|| format!("{} has neither {name} nor {name}.gz", folder.display()))?;
    Ok(path.display().to_string())
}

fn install(tenon: &Tenon, plugins: &Path) -> Result<()> {
    let mut arguments = vec!["plugin".to_owned(), "install".to_owned()];
    for name in PLUGINS.iter().chain(&["processor-couplet"]) {
        let path = plugins.join(format!("{name}.wasm"));
        ensure!(
            path.is_file(),
            "{} is not there: `cargo xtask plugins` builds it",
            path.display()
        );
        arguments.push(path.display().to_string());
    }
    tenon.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
    Ok(())
}

/// Import and transform.
fn prepare(tenon: &Tenon, corpus: &Path) -> Result<()> {
    tenon.run(&["data", "import", "poems", &file(corpus, "poems.jsonl")?])?;
    let train = format!("train={}", file(corpus, "couplets-train.jsonl")?);
    let dev = format!("dev={}", file(corpus, "couplets-dev.jsonl")?);
    tenon.run(&[
        "data", "import", "couplets", "--split", &train, "--split", &dev,
    ])?;
    let tones = file(corpus, "tones.tsv")?;
    tenon.run(&["data", "import", "tones", &tones, "--no-header"])?;

    // Every line of a poem with the one that follows it.
    let continuation = step("tenon/continuation", &json!({"column": "text"}));
    let normalize = step("tenon/normalize", &json!({"columns": ["text"]}));
    let split = step(
        "tenon/split",
        &json!({"columns": ["src_txt"], "parts": {"train": 98, "dev": 2}}),
    );
    let dedup = step("tenon/dedup", &json!({"columns": ["src_txt", "tgt_txt"]}));
    tenon.run(&[
        "data",
        "transform",
        "poems",
        "lines",
        "--step",
        &normalize,
        "--step",
        &continuation,
        "--step",
        &dedup,
        "--step",
        &split,
    ])?;
    let normalize = step(
        "tenon/normalize",
        &json!({"columns": ["src_txt", "tgt_txt"]}),
    );
    let filter = step(
        "tenon/filter",
        &json!({"columns": ["src_txt", "tgt_txt"], "lengths": [5, 7], "equal_lengths": true, "classes": ["han"]}),
    );
    tenon.run(&[
        "data",
        "transform",
        "couplets",
        "pairs",
        "--step",
        &normalize,
        "--step",
        &filter,
        "--step",
        &dedup,
    ])?;
    Ok(())
}

/// The columns of the tone table, which has no header.
fn tone_columns() -> Value {
    json!({"character": "column_1", "tone": "column_2"})
}

fn step(plugin: &str, config: &Value) -> String {
    format!("{plugin}={config}")
}

fn job(folder: &Path, name: &str, spec: &Value) -> Result<String> {
    let path = folder.join(format!("{name}.json"));
    fs::write(&path, format!("{spec:#}\n"))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path.display().to_string())
}

fn train(tenon: &Tenon, jobs: &Path, name: &str, spec: &Value) -> Result<Value> {
    tenon.run(&["train", "--config", &job(jobs, name, spec)?])
}

/// Measures a model on couplets that were kept apart; gives the run.
fn evaluate(tenon: &Tenon, jobs: &Path, name: &str, model: &str, rows: u32) -> Result<Value> {
    let spec = json!({
        "name": format!("evaluate {model}"),
        "experiment": "couplets",
        "model": model,
        "dataset": "pairs#dev",
        "rows": rows,
        "evaluators": [
            {"plugin": "tenon/perplexity"},
            {"plugin": "tenon/retrieval", "config": {"answer": "tgt_txt"}},
            {"plugin": "tenon/couplet-rules", "config": {"tones": tone_columns()}, "datasets": {"tones": "tones"}},
            {"plugin": "tenon/text-overlap", "datasets": {"train": "pairs#train"}},
        ],
    });
    let run = tenon.run(&["evaluate", "--config", &job(jobs, name, &spec)?])?;
    let id = run["id"].as_str().context("the evaluation has no run")?;
    tenon.run(&["runs", "show", id])
}

/// Couplets for three upper lines of the model's own vocabulary, and how to ask for another.
fn ask(tenon: &Tenon, corpus: &Path) -> Result<(Vec<(String, String)>, String)> {
    let uppers: Vec<String> = if corpus.join("couplets-dev.jsonl").is_file() {
        // The shipped lexicon is small: lines that were kept apart have only characters of it.
        let rows = tenon.run(&["data", "preview", "pairs#dev", "--rows", "3"])?;
        let rows = rows["rows"].as_array().context("the preview has no rows")?;
        rows.iter()
            .filter_map(|row| Some(row["src_txt"].as_str()?.to_owned()))
            .collect()
    } else {
        UPPER.map(str::to_owned).to_vec()
    };
    let mut answers = Vec::new();
    for upper in &uppers {
        let request = json!({"upper": upper}).to_string();
        let answer = tenon.run(&["predict", "couplets", &request])?;
        let lower = answer["lower"]
            .as_str()
            .context("the answer has no lower line")?;
        answers.push((upper.clone(), lower.to_owned()));
    }
    let upper = uppers.first().context("there are no couplets to ask for")?;
    let curl = format!(
        "curl {}/api/v1/deployments/couplets/predict -H 'content-type: application/json' -d '{}'",
        tenon.address,
        json!({"upper": upper})
    );
    Ok((answers, curl))
}
