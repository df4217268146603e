//! The nouns of the native API that the whole path does not touch.

use crate::common::{alphabet, component, place};
use axum::body::Body;
use axum::http::{Request, header};
use serde_json::json;

#[tokio::test]
async fn plugins_are_installed_shown_replaced_and_removed() {
    let place = place().await;
    let installed = place.install("transform-filter").await;
    assert_eq!(installed["name"], "tenon/filter");
    assert_eq!(
        installed,
        place.install("transform-filter").await,
        "again: the same"
    );
    let detail = place.get("/api/v1/plugins/tenon/filter").await.expect(200);
    assert_eq!(detail["plugin"], installed);
    assert!(detail["readme"].as_str().unwrap().contains("tenon/filter"));
    assert_eq!(detail["versions"], json!([installed]));
    let digest = installed["digest"].as_str().unwrap();
    let version = installed["version"].as_str().unwrap();
    for path in [
        format!("/api/v1/plugins/{digest}"),
        format!("/api/v1/plugins/{}", &digest[..20]),
        format!("/api/v1/plugins/tenon/filter@{version}"),
    ] {
        assert_eq!(
            place.get(&path).await.expect(200)["plugin"],
            installed,
            "{path}"
        );
    }
    place.install("recipe-gpt").await;
    let recipes = place.get("/api/v1/plugins?kind=recipe").await.expect(200);
    assert_eq!(recipes["plugins"].as_array().unwrap().len(), 1);

    // Another component of the same name and version: the same one with a custom section more.
    let mut other = component("transform-filter");
    other.extend_from_slice(&[0, 5, 1, b'x', 1, 2, 3]);
    let install = async |query: &str| {
        let request = Request::post(format!("/api/v1/plugins{query}"))
            .body(Body::from(other.clone()))
            .unwrap();
        place.ask(request).await
    };
    let text = install("").await.error(409, "conflict");
    assert!(text.contains(digest) && text.contains("replace"), "{text}");
    let replaced = install("?replace=true").await.expect(201);
    assert_ne!(replaced["digest"], installed["digest"]);
    let all = place.get("/api/v1/plugins?all=true").await.expect(200);
    assert_eq!(all["plugins"].as_array().unwrap().len(), 3);
    let removed = place
        .delete("/api/v1/plugins/tenon/filter")
        .await
        .expect(200);
    assert_eq!(removed["digest"], replaced["digest"]);
    place
        .delete(&format!("/api/v1/plugins/{digest}"))
        .await
        .expect(200);
    place
        .get("/api/v1/plugins/tenon/filter")
        .await
        .error(404, "not-found");
}

#[tokio::test]
async fn a_pipeline_runs_once_for_the_same_rows() {
    let place = place().await;
    place.install("transform-filter").await;
    place
        .import(
            "letters",
            &[("train", alphabet(6, 8)), ("dev", alphabet(2, 8))],
        )
        .await;
    let steps =
        json!([{"plugin": "tenon/filter", "config": {"columns": ["text"], "min_characters": 3}}]);
    let transform = async |output: &str| {
        let wanted = json!({"input": "letters", "steps": steps});
        let path = format!("/api/v1/datasets/{output}/transform");
        let run = place.post(&path, wanted).await.expect(202);
        let run = place.finished(&run).await;
        let id = run["id"].as_str().unwrap().to_owned();
        let report = place
            .get(&format!("/api/v1/runs/{id}/artifacts/report.json"))
            .await
            .json();
        place.document.validate_as("TransformAnswer", &report);
        (run, report)
    };
    let (run, report) = transform("long").await;
    assert_eq!(report["cached"], false);
    assert_eq!(report["steps"][0]["rows_in"], 8, "{report}");
    let inputs: Vec<_> = run["inputs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|input| input["role"].clone())
        .collect();
    assert_eq!(inputs, [json!("input"), json!("step-1")]);
    assert_eq!(
        run["params"]["steps"][0]["config"]["min_characters"], 3,
        "{run}"
    );
    let (_, again) = transform("long").await;
    assert_eq!(again["cached"], true);
    assert_eq!(again["cache_key"], report["cache_key"]);
    assert_eq!(again["version"], report["version"]);

    let wanted = json!({"input": "letters#dev", "steps": steps});
    let text = place
        .post("/api/v1/datasets/long/transform", wanted)
        .await
        .error(400, "invalid");
    assert!(text.contains("letters#dev"), "{text}");
    let wanted = json!({"input": "letters", "steps": [{"plugin": "tenon/nothing"}]});
    let text = place
        .post("/api/v1/datasets/long/transform", wanted)
        .await
        .error(404, "not-found");
    assert!(
        text.contains("step 1") && text.contains("tenon/nothing"),
        "{text}"
    );
    place.install("recipe-gpt").await;
    let wanted = json!({"input": "letters", "steps": [{"plugin": "tenon/gpt"}]});
    let text = place
        .post("/api/v1/datasets/long/transform", wanted)
        .await
        .error(400, "invalid");
    assert!(
        text.contains("recipe") && text.contains("transform"),
        "{text}"
    );
}

#[tokio::test]
async fn tokenizers_are_trained_moved_and_deleted() {
    let place = place().await;
    place.import("letters", &[("train", alphabet(6, 8))]).await;
    let train = async |body| place.post("/api/v1/tokenizers/letters/train", body).await;
    let text = train(json!({"dataset": "letters", "columns": ["words"]}))
        .await
        .error(404, "not-found");
    assert!(
        text.contains("`words`") && text.contains("`text`"),
        "{text}"
    );
    let small = json!({"dataset": "letters", "columns": ["text"], "vocabulary": 8});
    place.finished(&train(small).await.expect(202)).await;
    let record = place.get("/api/v1/tokenizers/letters").await.expect(200);
    assert_eq!(
        (&record["vocabulary"], &record["kind"]),
        (&json!(8), &json!("char"))
    );
    assert_eq!(record["trained_on"]["dataset"], "letters@1");

    let file = place
        .get("/api/v1/tokenizers/letters@1/tokenizer.json")
        .await;
    assert_eq!(file.headers[header::CONTENT_TYPE], "application/json");
    let put = Request::put("/api/v1/tokenizers/copy")
        .body(Body::from(file.bytes.clone()))
        .unwrap();
    let copy = place.ask(put).await.expect(200);
    assert_eq!(
        (&copy["digest"], &copy["version"]),
        (&record["digest"], &json!(1))
    );
    assert_eq!(copy["trained_on"], json!(null));
    let put = Request::put("/api/v1/tokenizers/copy")
        .body(Body::from("{}"))
        .unwrap();
    let text = place.ask(put).await.error(422, "unprocessable");
    assert!(text.contains("tokenizer.json"), "{text}");

    let texts = json!({"texts": ["abz", ""]});
    let ids = place
        .post("/api/v1/tokenizers/copy/encode", texts)
        .await
        .expect(200)["ids"]
        .clone();
    assert_eq!(ids[1], json!([]));
    let bodies = [(false, json!(["ab", ""])), (true, json!(["ab<unk>", ""]))];
    for (with_special, texts) in bodies {
        let body = json!({"ids": ids, "with_special": with_special});
        let decoded = place
            .post("/api/v1/tokenizers/copy/decode", body)
            .await
            .expect(200);
        assert_eq!(decoded["texts"], texts);
    }
    let outside = json!({"ids": [[99]]});
    let text = place
        .post("/api/v1/tokenizers/copy/decode", outside)
        .await
        .error(422, "unprocessable");
    assert!(text.contains("99"), "{text}");
    place.delete("/api/v1/tokenizers/copy").await.expect(200);
    let list = place.get("/api/v1/tokenizers").await.expect(200);
    assert_eq!(list["tokenizers"], json!([record]));
}

#[tokio::test]
async fn runs_go_to_the_bin_and_then_for_good() {
    let place = place().await;
    let run = place.import("letters", &[("train", alphabet(4, 8))]).await;
    let id = run["id"].as_str().unwrap();
    let path = format!("/api/v1/runs/{id}");
    let binned = place.delete(&path).await.expect(200);
    assert!(binned["deleted"].is_string());
    assert_eq!(place.get("/api/v1/runs").await.expect(200)["total"], 0);
    assert_eq!(
        place.get("/api/v1/runs?deleted=true").await.expect(200)["total"],
        1
    );
    let lineage = place.get(&format!("{path}/lineage")).await.expect(200);
    assert_eq!(lineage["nodes"][0]["id"], id);
    place
        .delete(&format!("{path}?purge=true"))
        .await
        .expect(200);
    place.get(&path).await.error(404, "not-found");
}

#[tokio::test]
async fn experiments_are_created_changed_and_removed() {
    let place = place().await;
    let new = json!({"name": "poems", "tags": {"a": "b"}});
    let created = place.post("/api/v1/experiments", new).await.expect(201);
    let id = created["id"].as_str().unwrap();
    let path = format!("/api/v1/experiments/{id}");
    let change = json!({"description": "of poems"});
    let changed = place.send("PATCH", &path, change).await.expect(200);
    assert_eq!(
        (&changed["name"], &changed["tags"]),
        (&json!("poems"), &json!({"a": "b"}))
    );
    let list = place.get("/api/v1/experiments").await.expect(200);
    assert_eq!(list["experiments"].as_array().unwrap().len(), 2);
    assert_eq!(
        place.delete("/api/v1/experiments/poems").await.expect(200)["deleted"],
        json!(["poems"])
    );
    place.get(&path).await.error(404, "not-found");
}

#[tokio::test]
async fn the_store_is_verified_and_swept() {
    let place = place().await;
    place.import("letters", &[("train", alphabet(4, 8))]).await;
    let empty = |path: &str| Request::post(path).body(Body::empty()).unwrap();
    let good = place.ask(empty("/api/v1/store/verify")).await.expect(200);
    assert_eq!(good["damage"], json!([]));
    let blobs = place.blobs() as u64;
    assert_eq!(good["blobs"], blobs);

    place.delete("/api/v1/datasets/letters").await.expect(200);
    let young = place.ask(empty("/api/v1/store/sweep")).await.expect(200);
    assert_eq!(young["removed"], 0, "{young}");
    let runs = place.get("/api/v1/runs").await.expect(200);
    let run = runs["runs"][0]["id"].as_str().unwrap();
    place
        .delete(&format!("/api/v1/runs/{run}?purge=true"))
        .await
        .expect(200);
    // Put within the same millisecond would still count as young.
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    let swept = place
        .post("/api/v1/store/sweep", json!({"grace_seconds": 0}))
        .await
        .expect(200);
    assert_eq!(
        (&swept["removed"], &swept["kept"]),
        (&json!(blobs), &json!(0)),
        "{swept}"
    );

    let blobs = place.app.platform.store.blobs();
    let digest = blobs.put(b"some bytes").unwrap();
    std::fs::write(blobs.path(&digest), b"some bytez").unwrap();
    let bad = place.ask(empty("/api/v1/store/verify")).await.expect(200);
    let damage = bad["damage"].as_array().unwrap();
    assert_eq!(damage.len(), 1, "{bad}");
    assert!(
        damage[0].as_str().unwrap().contains(&digest.to_string()),
        "{bad}"
    );
}

#[tokio::test]
async fn the_process_tells_about_itself() {
    let place = place().await;
    let status = place.get("/api/v1/status").await.expect(200);
    assert_eq!(status["device"], "cpu");
    assert_eq!(status["store"]["state"], "writable");
    assert_eq!(status["counts"]["runs"]["running"], 0);
    let devices = place.get("/api/v1/devices").await.expect(200);
    assert_eq!(devices["devices"][0]["name"], "cpu");
    assert_eq!(devices["devices"][0]["selected"], true);
}
