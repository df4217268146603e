//! Every class of failure: its status, its kind, and that it names the thing.

use std::sync::Arc;

use crate::common::{Multipart, alphabet, component, json_request, options, place, place_with};
use axum::body::Body;
use axum::http::{Request, header};
use serde_json::json;
use tenon_api::{BodyLimits, Options, StoreOptions};
use tenon_store::Faults;

#[tokio::test]
async fn what_is_not_there_is_named_and_what_is_there_too() {
    let place = place().await;
    place.import("letters", &[("train", alphabet(4, 8))]).await;
    place.install("recipe-gpt").await;
    for (path, words) in [
        (
            "/api/v1/plugins/tenon/nothing",
            ["tenon/nothing", "tenon/gpt"],
        ),
        (
            "/api/v1/plugins/tenon/gpt@9.9.9",
            ["tenon/gpt@9.9.9", "installed versions"],
        ),
        (
            "/api/v1/plugins/sha256:00000000",
            ["sha256:00000000", "installed"],
        ),
        ("/api/v1/datasets/poems", ["poems", "letters"]),
        ("/api/v1/datasets/letters@7", ["letters@7", "latest is 1"]),
        ("/api/v1/datasets/poems/versions", ["poems", "letters"]),
        (
            "/api/v1/datasets/letters/preview?split=dev",
            ["`dev`", "`train`"],
        ),
        ("/api/v1/tokenizers/words", ["words", "tokenizer"]),
        ("/api/v1/runs/nothing", ["nothing", "list runs"]),
        ("/api/v1/runs/nothing/events", ["nothing", "list runs"]),
        ("/api/v1/experiments/nothing", ["nothing", "default"]),
        ("/api/v1/models/nothing", ["nothing", "none is registered"]),
        (
            "/api/v1/models/nothing/versions",
            ["nothing", "none is registered"],
        ),
        ("/api/v1/models/nothing@2/weights", ["nothing", "model"]),
        (
            "/api/v1/deployments/nothing",
            ["nothing", "none is deployed"],
        ),
        ("/api/v1/nothing", ["GET /api/v1/nothing", "openapi.json"]),
        ("/", ["GET /", "openapi.json"]),
    ] {
        let text = place.get(path).await.error(404, "not-found");
        for word in words {
            assert!(text.contains(word), "{path}: {text} lacks {word}");
        }
    }
    let run = &place.get("/api/v1/runs").await.expect(200)["runs"][0];
    let run = run["id"].as_str().unwrap();
    let metric = place
        .get(&format!("/api/v1/runs/{run}/metrics/train/loss"))
        .await;
    assert!(metric.error(404, "not-found").contains("train/loss"));
    let artifact = place
        .get(&format!("/api/v1/runs/{run}/artifacts/a/b.txt"))
        .await;
    let text = artifact.error(404, "not-found");
    assert!(
        text.contains("a/b.txt") && text.contains("report.json"),
        "{text}"
    );
    let predict = place
        .post("/api/v1/deployments/nothing/predict", json!({}))
        .await;
    assert!(predict.error(404, "not-found").contains("nothing"));
}

#[tokio::test]
async fn a_request_that_cannot_be_meant_is_a_bad_request() {
    let place = place().await;
    place.import("letters", &[("train", alphabet(4, 8))]).await;
    for (path, word) in [
        ("/api/v1/runs?kind=dance", "dance"),
        ("/api/v1/runs?limit=0", "limit is 0"),
        ("/api/v1/runs?limit=many", "limit"),
        ("/api/v1/runs?color=red", "color"),
        ("/api/v1/runs?sort=beauty", "beauty"),
        ("/api/v1/runs/compare?ids=", "0 runs"),
        ("/api/v1/plugins?kind=song", "song"),
        ("/api/v1/plugins/sha256:xyz", "sha256:xyz"),
        ("/api/v1/datasets/a%20b", "a b"),
        ("/api/v1/datasets/letters/preview?rows=100000", "100000"),
        ("/api/v1/datasets/letters@1/versions", "letters@1"),
    ] {
        let text = place.get(path).await.error(400, "invalid");
        assert!(text.contains(word), "{path}: {text}");
    }
    let broken = Request::post("/api/v1/train")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from("{\"dataset\": "))
        .unwrap();
    let text = place.ask(broken).await.error(400, "invalid");
    assert!(text.contains("EOF") && text.contains("line 1"), "{text}");
    let nothing_to_train = place
        .post("/api/v1/train", json!({"dataset": "letters"}))
        .await;
    let text = nothing_to_train.error(400, "invalid");
    assert!(text.contains("recipe"), "{text}");
}

#[tokio::test]
async fn a_configuration_that_violates_its_schema_is_refused_with_the_place() {
    let place = place().await;
    place.install("transform-filter").await;
    place.install("recipe-gpt").await;
    let rows = alphabet(4, 8);
    place.import("letters", &[("train", rows)]).await;
    place
        .post(
            "/api/v1/tokenizers/letters/train",
            json!({"dataset": "letters", "columns": ["text"]}),
        )
        .await
        .expect(202);

    let mut training = crate::common::tiny_training();
    training["recipe_config"] = json!({"n_head": 0});
    training.as_object_mut().unwrap().remove("tokenizer");
    let text = place.post("/api/v1/train", training).await;
    let error = text.expect(400)["error"].clone();
    assert_eq!(error["kind"], "config", "{error}");
    assert_eq!(error["plugin"], "tenon/gpt", "{error}");
    assert!(
        error["message"].as_str().unwrap().contains("n_head"),
        "{error}"
    );

    let steps = json!({"input": "letters", "steps": [
        {"plugin": "tenon/filter", "config": {"columns": ["text"]}},
        {"plugin": "tenon/filter", "config": {"columns": ["text"], "min_characters": "many"}},
    ]});
    let answer = place.post("/api/v1/datasets/short/transform", steps).await;
    let error = answer.expect(400)["error"].clone();
    assert_eq!(error["kind"], "config", "{error}");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("step 2") && message.contains("min_characters"),
        "{error}"
    );
    let runs = place
        .get("/api/v1/runs?kind=transform,train")
        .await
        .expect(200);
    assert_eq!(runs["total"], 0, "what is refused leaves no run");
}

#[tokio::test]
async fn a_body_of_another_form_is_named() {
    let place = place().await;
    let wrong = [
        (json!({"texts": "not a list"}), "texts"),
        (json!({"texts": [1]}), "texts[0]"),
        (json!({"text": "a"}), "text"),
        (json!([]), "EncodeRequest"),
    ];
    for (body, word) in wrong {
        let answer = place
            .post("/api/v1/tokenizers/letters/encode", body.clone())
            .await;
        let text = answer.error(422, "invalid-body");
        assert!(text.contains(word), "{body}: {text}");
    }
    let mut training = crate::common::tiny_training();
    training["batch"]["rows"] = json!("eight");
    let text = place
        .post("/api/v1/train", training)
        .await
        .error(422, "invalid-body");
    assert!(text.contains("batch.rows"), "{text}");
    let plain = Request::post("/api/v1/train")
        .body(Body::from("{}"))
        .unwrap();
    let text = place.ask(plain).await.error(415, "unsupported-media-type");
    assert!(text.contains("application/json"), "{text}");
    let form = json_request("POST", "/api/v1/datasets/letters/import", &json!({}));
    let text = place.ask(form).await.error(415, "unsupported-media-type");
    assert!(text.contains("multipart"), "{text}");
}

#[tokio::test]
async fn what_stands_in_the_way_is_a_conflict() {
    let place = place().await;
    let new = json!({"name": "poems"});
    place
        .post("/api/v1/experiments", new.clone())
        .await
        .expect(201);
    let text = place
        .post("/api/v1/experiments", new)
        .await
        .error(409, "conflict");
    assert!(text.contains("poems"), "{text}");
    let text = place
        .delete("/api/v1/experiments/default")
        .await
        .error(409, "conflict");
    assert!(text.contains("default"), "{text}");
    place.import("letters", &[("train", alphabet(4, 8))]).await;
    let runs = place.get("/api/v1/runs").await.expect(200);
    let run = runs["runs"][0]["id"].as_str().unwrap();
    for verb in ["stop", "resume"] {
        let path = format!("/api/v1/runs/{run}/{verb}");
        let request = Request::post(&path).body(Body::empty()).unwrap();
        let text = place.ask(request).await.error(409, "conflict");
        assert!(text.contains("finished"), "{text}");
    }
}

#[tokio::test]
async fn a_component_that_is_none_is_refused() {
    let place = place().await;
    let install = async |bytes: Vec<u8>| {
        let request = Request::post("/api/v1/plugins")
            .body(Body::from(bytes))
            .unwrap();
        place.ask(request).await
    };
    let text = install(b"PK\x03\x04".to_vec()).await.error(400, "corrupt");
    assert!(text.contains("no WebAssembly"), "{text}");
    let core = b"\0asm\x01\0\0\0".to_vec();
    install(core.clone()).await.error(400, "wrong-world");
    let mut cut = component("transform-filter");
    cut.truncate(cut.len() / 2);
    install(cut).await.error(400, "corrupt");
    assert_eq!(
        place.get("/api/v1/plugins").await.expect(200)["plugins"],
        json!([])
    );

    let check = async |bytes: Vec<u8>| {
        let request = Request::post("/api/v1/plugins/check")
            .body(Body::from(bytes))
            .unwrap();
        place.ask(request).await
    };
    check(core).await.error(400, "wrong-world");
    let report = check(component("transform-filter")).await.expect(200);
    assert_eq!(report["kind"], "transform");
    assert_eq!(report["worlds"][0]["fits"], true);
    assert_eq!(
        place.get("/api/v1/plugins").await.expect(200)["plugins"],
        json!([])
    );
}

#[tokio::test]
async fn bodies_have_limits_that_say_so() {
    let limits = BodyLimits {
        json: 1000,
        component: 2000,
        tokenizer: 3000,
        upload: 4000,
    };
    let place = place_with(
        options(),
        Options {
            limits,
            ..Options::default()
        },
    )
    .await;
    let long = "x".repeat(5000);
    let json = place
        .post("/api/v1/tokenizers/a/encode", json!({"texts": [long]}))
        .await;
    assert!(json.error(413, "too-large").contains("1000 bytes"));
    // Also where the length is not announced.
    let chunks = vec![long.clone(); 3]
        .into_iter()
        .map(Ok::<_, std::io::Error>);
    let stream = futures::stream::iter(chunks);
    let component = Request::post("/api/v1/plugins")
        .body(Body::from_stream(stream))
        .unwrap();
    assert!(
        place
            .ask(component)
            .await
            .error(413, "too-large")
            .contains("2000 bytes")
    );
    let tokenizer = Request::put("/api/v1/tokenizers/a")
        .body(Body::from(long.clone()))
        .unwrap();
    assert!(
        place
            .ask(tokenizer)
            .await
            .error(413, "too-large")
            .contains("3000 bytes")
    );
    let announced = place
        .upload(
            "a",
            Multipart::new().file("train", "a.txt", long.as_bytes()),
        )
        .await;
    assert!(announced.error(413, "too-large").contains("4000 bytes"));
    let upload = Multipart::new().file("train", "a.txt", long.as_bytes());
    let kind = upload.content_type();
    let stream = futures::stream::iter([Ok::<_, std::io::Error>(upload.finish())]);
    let request = Request::post("/api/v1/datasets/a/import")
        .header(header::CONTENT_TYPE, kind)
        .body(Body::from_stream(stream))
        .unwrap();
    assert!(
        place
            .ask(request)
            .await
            .error(413, "too-large")
            .contains("4000 bytes")
    );
    assert_eq!(place.unfinished(), 0);
}

#[tokio::test]
async fn wrong_methods_are_told_the_right_ones() {
    let place = place().await;
    let answer = place.send("PATCH", "/api/v1/runs", json!({})).await;
    assert!(answer.error(405, "method-not-allowed").contains("PATCH"));
    let allowed = answer.headers[header::ALLOW].to_str().unwrap();
    assert!(allowed.contains("GET"), "{allowed}");
    let answer = place.get("/v1/completions").await;
    let error = answer.expect(405)["error"].clone();
    assert_eq!(error["type"], "invalid_request_error", "{error}");
}

#[tokio::test]
async fn a_full_disk_and_a_broken_one_are_told_apart() {
    let faults = Arc::new(Faults::default());
    let mut platform = options();
    platform.store = StoreOptions {
        faults: faults.clone(),
        ..StoreOptions::default()
    };
    let place = place_with(platform, Options::default()).await;
    faults.pretend_free(Some(1000));
    let text = place
        .post("/api/v1/experiments", json!({"name": "a"}))
        .await
        .error(507, "disk-full");
    assert!(
        text.contains("disk full") && text.contains("1000 bytes free"),
        "{text}"
    );
    let upload = Multipart::new().file("train", "a.txt", b"one\ntwo\n");
    place.upload("lines", upload).await.error(507, "disk-full");
    assert_eq!(place.unfinished(), 0);
    let status = place.get("/api/v1/status").await.expect(200);
    assert_eq!(status["store"]["state"], "disk-full");
    let metrics = place.get("/metrics").await.text();
    assert!(metrics.contains("tenon_store_writable 0"), "{metrics}");
    faults.pretend_free(None);
    place
        .post("/api/v1/experiments", json!({"name": "a"}))
        .await
        .expect(201);

    faults.break_sync(true);
    let first = place
        .post("/api/v1/experiments", json!({"name": "b"}))
        .await;
    assert!(first.status.is_server_error(), "{}", first.text());
    faults.break_sync(false);
    let text = place
        .post("/api/v1/experiments", json!({"name": "c"}))
        .await
        .error(503, "read-only");
    assert!(text.contains("read-only"), "{text}");
    place.get("/api/v1/experiments").await.expect(200);
}
