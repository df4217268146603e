//! The whole path through the command line: train, stop, resume, evaluate, register, deploy, ask.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tenon_tests::{
    TINY, eventually, finished, one_document, ready_to_train, signal, train, wait_at_most,
};

#[test]
fn from_rows_to_an_answer() {
    let room = ready_to_train();
    let end = room.json(&train(&[
        "--steps",
        "30",
        "--register",
        "poet",
        "--name",
        "first",
        "--tag",
        "who=me",
    ]));
    let run = &end;
    assert_eq!(run["status"], "finished");
    assert_eq!(run["tags"]["who"], "me");
    let loss = &run["metrics"]["train/loss"];
    assert!(
        loss["last"].as_f64().unwrap() < loss["max"].as_f64().unwrap(),
        "it learns: {loss}"
    );
    assert!(run["inputs"].as_array().unwrap().iter().any(|input| {
        input["role"] == "recipe" && input["digest"].as_str().unwrap().starts_with("sha256:")
    }));

    let second = room.ok(&train(&["--steps", "5", "--seed", "7", "--name", "second"]));
    assert!(
        second.contains("status") && second.contains("finished") && second.contains("train/loss"),
        "{second}"
    );
    let listed = room.ok(&["runs", "list", "--kind", "train"]);
    let names: Vec<&str> = listed
        .lines()
        .map(|line| line.split('\t').nth(1).unwrap())
        .collect();
    assert_eq!(names, ["second", "first"]);
    let best = room.ok(&[
        "runs",
        "list",
        "--sort",
        "metric:train/loss",
        "--ascending",
        "-n",
        "1",
    ]);
    assert!(best.contains("first"), "{best}");
    let shown = room.ok(&["runs", "show", "first"]);
    for needle in [
        "recipe",
        "sha256:",
        "train/loss",
        "seed",
        "who=me",
        "model.json",
    ] {
        assert!(shown.contains(needle), "{needle}: {shown}");
    }
    assert!(
        shown.contains('█') && shown.contains('▁'),
        "a curve: {shown}"
    );
    let points = room.ok(&["runs", "show", "first", "--metric", "train/loss"]);
    assert_eq!(points.lines().count(), 30, "{points}");
    let compared = room.ok(&["runs", "compare", "first", "second"]);
    assert!(
        compared.contains("seed\t0\t7") && compared.contains("train/loss"),
        "{compared}"
    );
    assert!(
        !compared.contains("checkpoint_every"),
        "what is the same is left out: {compared}"
    );
    assert!(
        room.ok(&["runs", "compare", "first", "second", "--all"])
            .contains("checkpoint_every")
    );

    let evaluated = room.json(&[
        "evaluate",
        "poet",
        "--dataset",
        "verses",
        "--evaluator",
        "tenon/perplexity",
        "--device",
        "cpu",
    ]);
    let metrics = evaluated["metrics"].as_object().unwrap();
    assert!(
        metrics.keys().any(|name| name.contains("perplexity")),
        "{metrics:?}"
    );
    assert!(evaluated["report"].is_object());
    let id = evaluated["id"].as_str().unwrap();
    let report = one_document(&room.ok(&["runs", "artifact", id, "report.json"]));
    assert_eq!(report, evaluated["report"]);

    room.ok(&["model", "alias", "poet", "production", "1"]);
    assert!(room.ok(&["model", "list"]).contains("production → 1"));
    assert_eq!(
        room.json(&["model", "show", "poet@production"])["version"]["version"],
        1
    );
    room.ok(&[
        "model",
        "register",
        "poet",
        "second",
        "--description",
        "short",
    ]);
    let detail = room.json(&["model", "show", "poet"]);
    assert_eq!(detail["versions"].as_array().unwrap().len(), 2);
    let weights = room.path("poet.safetensors");
    room.ok(&["model", "export", "poet@production", "--output", &weights]);
    let bytes = fs::read(&weights).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    assert!(
        header
            .as_object()
            .unwrap()
            .keys()
            .any(|name| name.contains("wte")),
        "{header}"
    );
    room.fails(2, &["model", "export", "poet", "--output", &weights]);

    let deployed = room.json(&[
        "deploy",
        "poet",
        "poet@production",
        "--max-tokens",
        "8",
        "--device",
        "cpu",
    ]);
    assert_eq!(deployed["model"], "poet@1");
    assert!(
        room.ok(&["deployments", "list"])
            .starts_with("poet\tpoet@1\t")
    );
    let answer = room.json(&[
        "predict",
        "poet",
        "{\"inputs\": {\"text\": \"the sun\"}}",
        "--device",
        "cpu",
    ]);
    assert!(!answer.is_null(), "{answer}");
    // The same question to a server.
    let server = room.up(&["--device", "cpu"]);
    assert_eq!(
        room.json(&["predict", "poet", "{\"inputs\": {\"text\": \"the sun\"}}"]),
        answer
    );
    assert_eq!(
        room.json(&["deployments", "show", "poet"])["counters"]["requests"],
        1
    );
    drop(server);
    room.ok(&["deployments", "remove", "poet"]);
    room.fails(2, &["predict", "poet", "{}"]);
    assert_eq!(room.json(&["store", "verify"])["damage"], json!([]));
}

#[test]
fn a_model_is_fine_tuned() {
    let room = ready_to_train();
    room.ok(&train(&["--steps", "5", "--register", "poet"]));
    let end = room.json(&[
        "train",
        "--from",
        "poet@1",
        "--dataset",
        "verses",
        "--steps",
        "5",
        "--register",
        "poet",
        "--device",
        "cpu",
    ]);
    assert_eq!(end["status"], "finished");
    let parent = room.json(&["model", "show", "poet@1"]);
    let child = room.json(&["model", "show", "poet@2"]);
    assert_eq!(
        child["version"]["manifest"]["parent"],
        parent["version"]["digest"]
    );
}

/// A training that does not end by itself within the test.
const LONG: [&str; 4] = ["--minutes", "30", "--name", "long"];

/// Waits until the plain progress on standard error speaks of a loss: then steps are done, and the curve
/// has a point.
fn wait_for_steps(child: &mut std::process::Child) -> std::thread::JoinHandle<String> {
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains("loss ") {
        let length = stderr.read_line(&mut said).unwrap();
        assert!(length > 0, "it ended: {said}");
    }
    std::thread::spawn(move || {
        let mut rest = said;
        while stderr.read_line(&mut rest).unwrap() > 0 {}
        rest
    })
}

fn steps(run: &Value) -> i64 {
    run["metrics"]["train/loss"]["step"].as_i64().unwrap()
}

#[test]
fn ctrl_c_stops_with_a_checkpoint_and_resume_goes_on() {
    let room = ready_to_train();
    // Few steps are enough to end; the first stop comes long before.
    let mut child = room
        .command(&train(&["--steps", "20000", "--name", "long"]))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let said = wait_for_steps(&mut child);
    signal(&child, Signal::INT);
    let status = wait_at_most(&mut child, tenon_tests::PATIENCE).expect("it stops");
    let said = said.join().unwrap();
    assert_eq!(status.code(), Some(130), "{said}");
    for needle in [
        "checkpoint",
        "press Ctrl-C again",
        "was interrupted",
        "hint: go on with: tenon runs resume",
    ] {
        assert!(said.contains(needle), "{needle}: {said}");
    }
    let stopped = room.json(&["runs", "show", "long"]);
    assert_eq!(stopped["status"], "interrupted");
    let before = steps(&stopped);
    assert!((1..20_000).contains(&before), "{before}");

    let id = stopped["id"].as_str().unwrap();
    let end = room.json(&["runs", "resume", id, "--device", "cpu"]);
    assert_eq!(end["id"], id, "the same run");
    assert_eq!(end["status"], "finished");
    assert_eq!(steps(&end), 20_000);
    let said = room.fails(2, &["runs", "resume", id]);
    assert!(said.contains("finished"), "{said}");
}

#[test]
fn ctrl_c_twice_leaves_at_once_and_nothing_is_broken() {
    let room = ready_to_train();
    let mut child = room
        .command(&train(&LONG))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let said = wait_for_steps(&mut child);
    signal(&child, Signal::INT);
    signal(&child, Signal::INT);
    // Two signals at once may count as one: a third one surely counts.
    std::thread::sleep(Duration::from_millis(50));
    let _ = rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::INT);
    let status = wait_at_most(&mut child, Duration::from_secs(30)).expect("it leaves");
    assert_eq!(status.code(), Some(130), "{}", said.join().unwrap());
    assert_eq!(
        room.json(&["runs", "show", "long"])["status"],
        "interrupted"
    );
    assert_eq!(room.json(&["store", "verify"])["damage"], json!([]));
}

#[test]
fn a_server_trains_what_was_left_to_it() {
    let room = ready_to_train();
    let server = room.up(&["--device", "cpu"]);
    let mut args = train(&LONG);
    args.retain(|arg| *arg != "--device" && *arg != "cpu");
    args.push("--detach");
    let queued = room.json(&args);
    let id = queued["id"].as_str().unwrap().to_owned();
    eventually("the first steps", || {
        room.json(&["runs", "show", &id])["metrics"]["train/loss"]
            .is_object()
            .then_some(())
    });
    // Following is another's business: its Ctrl-C leaves the run alone.
    let mut follower = room
        .command(&["runs", "follow", &id, "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    let mut stdout = BufReader::new(follower.stdout.take().unwrap());
    stdout.read_line(&mut first).unwrap();
    assert!(one_document(&first)["event"].is_string(), "{first}");
    signal(&follower, Signal::INT);
    let status = wait_at_most(&mut follower, Duration::from_secs(30)).expect("it leaves");
    assert_eq!(status.code(), Some(130));
    assert_eq!(room.json(&["runs", "show", &id])["status"], "running");

    let follower = room
        .command(&["runs", "follow", &id, "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let said = room.ok(&["runs", "stop", &id]);
    assert!(said.contains("tenon runs resume"), "{said}");
    let done = finished(follower);
    assert_eq!(done.status.code(), Some(130), "{}", done.stderr);
    let events: Vec<Value> = done.stdout.lines().map(one_document).collect();
    assert!(events.iter().any(|event| event["event"] == "metric"));
    let last = events.last().unwrap();
    assert_eq!(
        (&last["event"], &last["data"]["run"]["status"]),
        (&json!("end"), &json!("interrupted"))
    );

    // Stopping the server stops its trainings with a checkpoint.
    room.json(&["runs", "resume", &id, "--detach"]);
    eventually("it runs", || {
        (room.json(&["runs", "show", &id])["status"] == "running").then_some(())
    });
    let done = server.stop();
    assert_eq!(done.status.code(), Some(0), "{}", done.stderr);
    let run = room.json(&["runs", "show", &id]);
    assert_eq!(run["status"], "interrupted");
    assert!(run["error"].as_str().unwrap().contains("resumed"), "{run}");
}

#[test]
fn what_cannot_be_trained_is_refused_before_it_starts() {
    let room = ready_to_train();
    let recipe = |name: &'static str| {
        [
            "train",
            "--recipe",
            name,
            "--dataset",
            "verses",
            "--tokenizer",
            "verses",
            "--steps",
            "1",
        ]
    };
    let said = room.fails(2, &recipe("tenon/gtp"));
    assert!(
        said.contains("tenon/gtp") && said.contains("tenon/gpt"),
        "what is installed: {said}"
    );
    let said = room.fails(2, &recipe("tenon/perplexity"));
    assert!(
        said.contains("evaluator") && said.contains("recipe"),
        "{said}"
    );
    let said = room.fails(2, &train(&[]));
    assert!(said.contains("steps") && said.contains("epochs"), "{said}");
    let none: Vec<&str> = train(&["--steps", "1"])
        .into_iter()
        .map(|arg| if arg == TINY { "{\"n_layer\": 0}" } else { arg })
        .collect();
    let said = room.fails(2, &none);
    assert!(said.contains("n_layer"), "{said}");
    let config = room.file("train.json", "{\"dataset\": \"verses\", \"stepz\": 1}");
    let said = room.fails(2, &["train", "--config", &config]);
    assert!(said.contains("stepz"), "{said}");
    let said = room.fails(
        2,
        &[
            "train",
            "--recipe",
            "tenon/gpt",
            "--dataset",
            "versus",
            "--tokenizer",
            "verses",
            "--steps",
            "1",
        ],
    );
    assert!(said.contains("versus") && said.contains("verses"), "{said}");
    let error = room.error(2, &recipe("tenon/gtp"));
    assert_eq!(error["kind"], "not-found");
    let runs = room.json(&["runs", "list", "--kind", "train"]);
    assert_eq!(runs["total"], 0, "nothing was started: {runs}");
}
